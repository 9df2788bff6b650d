//! Somebody else answers in place of the called service.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bowline_model::{
    experiment::{Expectation, Finding, Want},
    fault::{FaultId, FaultKind, PathHarm, RogueServer},
};

use super::{
    described::{Described, measures, reconnect_if_shared, steal},
    faulty_certificates::called_address,
};
use serde_json::{Value, json};

use crate::{
    attack::{self, TlsVersion},
    experiment::{ExperimentError, Stage, StepFuture, Trial},
    probe::{self, LoadError},
    scope::Edge,
    system::AwsCall,
};

/// Where the spoofed name leads: a loopback address at which nothing of the mesh listens.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 66, 66));

/// A label that names nothing.
const SPOOFED: &str = "bowline-chaos-spoofed";

/// A name that leads to a man in the middle harms nobody.
pub const DNS_SPOOFING: Described = Described {
    name: "dns-spoofing",
    title: "DNS spoofing (man in the middle)",
    hypothesis: "A spoofed answer leads nobody to give anything away",
    how: "DNS answers for the called name, and for another in its namespace, lead elsewhere, and the caller's task asks for \
          both; then whatever the caller's sidecars send to the called service \
          ends at a rogue server, whose certificate names the service and comes from an authority of its own",
    expected: "requests by the alias are not led astray by the answer; then the caller's application gets 503 with the cause unknown_ca, never the rogue's answer; \
               the rogue completes no handshake and reads nothing",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        let want = Want::Refused { status: 503, causes: vec!["unknown_ca".to_owned()] };
        let rogue = RogueServer::UntrustedCa;
        Ok(Box::new(Impostor { edge, rogue, spoofs: true, want, path_fault: None, findings: Vec::new() }))
    },
};

/// Nobody falls back to less than TLS 1.3.
pub const TLS_DOWNGRADE: Described = Described {
    name: "tls-downgrade",
    title: "TLS downgrade",
    hypothesis: "Plaintext and old TLS are refused, by who calls and by who is called",
    how: "whatever the caller's sidecars send to the called service ends at a rogue server that answers in the clear; \
          attackers on the host call the called sidecar in the clear, and by TLS 1.2 with a stolen certificate",
    expected: "the caller's application gets 503, never the rogue's answer; the rogue reads nothing; \
               the attackers meet alerts",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        let (want, rogue) = (Want::Status(503), RogueServer::Plaintext);
        Ok(Box::new(Impostor { edge, rogue, spoofs: false, want, path_fault: None, findings: Vec::new() }))
    },
};

struct Impostor {
    edge: Edge,
    rogue: RogueServer,
    spoofs: bool,
    want: Want,
    path_fault: Option<FaultId>,
    /// Of what the caller's task is told of names.
    findings: Vec<Finding>,
}

impl Impostor {
    /// Spoofs the name that the caller uses, and one for which DNS is asked; asks for both in its task.
    async fn spoof(&mut self, stage: &Stage) -> Result<(), ExperimentError> {
        let alias = self.edge.alias.names.first().cloned().unwrap_or_default();
        let in_dns = private_name(stage, &self.edge).await?;
        for name in [Some(&alias), in_dns.as_ref()].into_iter().flatten() {
            stage.begin(FaultKind::Name { name: name.clone(), address: ELSEWHERE }).await?;
        }
        let none = || ExperimentError::failed("the caller has no healthy task");
        let task = self.edge.calling_task().ok_or_else(none)?.id.clone();
        if let Some(name) = in_dns {
            let told = probe::addresses(stage.system(), &task, &name).await.map_err(failed)?;
            let what = format!("the caller's task is told the rogue's address for {name}");
            self.findings.push(Finding::new(what, told.contains(&ELSEWHERE), listed(&told)));
        }
        let told = probe::addresses(stage.system(), &task, &alias).await.map_err(failed)?;
        let what = format!("for {alias} it is not: its sidecar answers that by itself");
        let held = !told.is_empty() && !told.contains(&ELSEWHERE);
        self.findings.push(Finding::new(what, held, listed(&told)));
        let (_, credentials) = steal(stage, &task).await?;
        let (_, address) = called_address(&self.edge)?;
        let met = attack::request(address, TlsVersion::Tls13, Some(&credentials), &self.edge.path).await?;
        let what = "who is in the mesh is served meanwhile";
        self.findings.push(Finding::new(what, met.is_served(), met.to_string()));
        Ok(())
    }
}

/// A name in the called service's private DNS namespace, where it is in one, that no sidecar answers by itself: for those
/// DNS is asked.
async fn private_name(stage: &Stage, edge: &Edge) -> Result<Option<String>, ExperimentError> {
    let call = AwsCall {
        service: "servicediscovery",
        target: "Route53AutoNaming_v20170314",
        operation: "ListNamespaces",
        input: json!({}),
        credentials: None,
    };
    let answer = stage.system().aws(call).await?;
    let namespaces = answer["Namespaces"].as_array().cloned().unwrap_or_default();
    let is_private = |namespace: &&Value| namespace["Type"] == "DNS_PRIVATE";
    let mut names = namespaces.iter().filter(is_private).filter_map(|namespace| namespace["Name"].as_str());
    let cluster = &edge.alias.cluster;
    let is_within = |name: &&str| cluster.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    Ok(names.find(is_within).map(|namespace| format!("{SPOOFED}.{namespace}")))
}

fn listed(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "no address".to_owned(),
        _ => addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn failed(error: LoadError) -> ExperimentError {
    ExperimentError::failed(error.to_string())
}

impl Trial for Impostor {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        // Asking for names takes a while, before anything is led astray.
        let detect_within = if self.spoofs { measures::SPOOF_DETECTED } else { Duration::from_secs(2) };
        Expectation {
            detect_within,
            recover_within: measures::RECOVERY,
            ..Expectation::refused(self.want.clone())
        }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            if self.spoofs {
                self.spoof(stage).await?;
            }
            let path = FaultKind::Path {
                callers: self.edge.caller.healthy_ids(),
                cluster: self.edge.alias.cluster.clone(),
                called: Vec::new(),
                harm: PathHarm::Rogue(self.rogue),
            };
            self.path_fault = Some(stage.begin(path).await?.id);
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            reconnect_if_shared(stage, self.edge.caller.healthy_ids()).await?;
            if self.rogue != RogueServer::Plaintext {
                return Ok(std::mem::take(&mut self.findings));
            }
            let (_, address) = called_address(&self.edge)?;
            let plain = attack::plaintext(address, &self.edge.path).await;
            let what = format!("an attacker who calls {address} in the clear meets an alert");
            let mut findings = vec![Finding::new(what, plain.is_alert(), plain.to_string())];
            let none = || ExperimentError::failed("the caller has no healthy task");
            let task = self.edge.calling_task().ok_or_else(none)?;
            let (_, credentials) = steal(stage, &task.id).await?;
            for (version, called, is_right) in
                [(TlsVersion::Tls12, "TLS 1.2", false), (TlsVersion::Tls13, "TLS 1.3", true)]
            {
                let met = attack::request(address, version, Some(&credentials), &self.edge.path).await?;
                // That TLS 1.3 with the same certificate is served shows that the version was the matter.
                let (held, outcome) = match is_right {
                    true => (met.is_served(), "is served"),
                    false => (met.is_alert(), "meets an alert"),
                };
                let what = format!("who calls {address} by {called} with a genuine certificate {outcome}");
                findings.push(Finding::new(what, held, met.to_string()));
            }
            Ok(findings)
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(id) = self.path_fault.clone() else { return Ok(Vec::new()) };
            let seen = stage.system().evidence(id).await?;
            let text = format!(
                "{} connections, {} handshakes, {} bytes in plaintext",
                seen.connections, seen.handshakes, seen.plaintext_bytes
            );
            Ok(vec![
                Finding::new("the rogue server is called", seen.connections > 0, text.clone()),
                Finding::new(
                    "the rogue server completes no handshake and reads nothing",
                    seen.handshakes == 0 && seen.plaintext_bytes == 0,
                    text,
                ),
            ])
        })
    }
}
