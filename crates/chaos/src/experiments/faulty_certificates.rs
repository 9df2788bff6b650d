//! Certificates that nobody must believe: of who calls, and of who is called.

use bowline_model::{
    experiment::{Expectation, Finding, Want},
    fault::{FaultKind, FaultyCertificate},
    task::TaskId,
};
use tokio::time;

use super::described::{Described, measures, steal};
use crate::{
    attack::{self, Credentials, TlsVersion},
    experiment::{ExperimentError, Stage, StepFuture, Trial},
    scope::{Edge, Scope},
    system::Mesh,
};

/// Client certificates without an identity are refused.
pub const INVALID_CLIENT_CERTIFICATE: Described = Described {
    name: "invalid-client-certificate",
    title: "Invalid client certificate",
    hypothesis: "Invalid client certificates are refused",
    how: "the caller's sidecars show a certificate of the mesh's own authority that names no identity; \
          an attacker on the host does so, too",
    expected: "the caller's application gets 403 with the cause wrong_identity; the attacker's handshake ends in an alert",
    prepare: |mesh, scope| of_caller(mesh, scope, FaultyCertificate::NoIdentity, &["wrong_identity"]),
};

/// Revoked client certificates are refused.
pub const CERTIFICATE_REVOCATION: Described = Described {
    name: "certificate-revocation",
    title: "Certificate revocation",
    hypothesis: "Revoked certificates are refused",
    how: "the caller's sidecars show a certificate that is right in all but that it is revoked; \
          an attacker on the host does so, too",
    expected: "the caller's application gets 403 with the cause revoked; the attacker's handshake ends in an alert",
    prepare: |mesh, scope| of_caller(mesh, scope, FaultyCertificate::Revoked, &["revoked"]),
};

/// Chains over what may sign nothing are refused.
pub const INVALID_CHAIN: Described = Described {
    name: "invalid-chain",
    title: "Mutual TLS with an invalid chain",
    hypothesis: "A certificate whose chain is invalid is refused",
    how: "the caller's sidecars show a certificate that an end entity's key has signed: the chain leads to the mesh's root, \
          but over what may sign nothing; an attacker on the host does so, too",
    expected: "the caller's application gets 403 with the cause invalid_chain or unknown_ca; the attacker's handshake ends \
               in an alert",
    prepare: |mesh, scope| {
        of_caller(mesh, scope, FaultyCertificate::InvalidChain, &["invalid_chain", "unknown_ca"])
    },
};

/// A certificate without its key is worth nothing.
pub const KEY_CERTIFICATE_MISMATCH: Described = Described {
    name: "key-certificate-mismatch",
    title: "Key and certificate mismatch",
    hypothesis: "Who has not the certificate's key is refused",
    how: "the caller's sidecars show a genuine certificate and sign with another key; an attacker on the host does so, too",
    expected: "the caller's application gets 403 with the cause invalid_chain; the attacker's handshake ends in an alert",
    prepare: |mesh, scope| of_caller(mesh, scope, FaultyCertificate::KeyMismatch, &["invalid_chain"]),
};

/// A server that proves to be another service is not spoken to.
pub const BACKEND_CERTIFICATE_MISMATCH: Described = Described {
    name: "backend-certificate-mismatch",
    title: "Backend certificate mismatch",
    hypothesis: "A server that proves to be another service than the one that is called is not spoken to",
    how: "the called service's sidecars show a genuine certificate of another service of the mesh",
    expected: "the caller's application gets 503 with the cause wrong_identity; no request reaches the called application",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        // The caller's own identity: it is in the mesh, and is not the called one's.
        let shows = FaultyCertificate::Identity(edge.caller.identity.clone());
        let want = Want::Refused { status: 503, causes: vec!["wrong_identity".to_owned()] };
        Ok(Box::new(Refused { whose: Whose::Called, shows, want, edge }))
    },
};

/// Authorities that are none of the mesh's vouch for nobody.
pub const UNTRUSTED_CA: Described = Described {
    name: "untrusted-ca",
    title: "Untrusted CA",
    hypothesis: "Certificates of authorities that are none of the mesh's are not believed",
    how: "the called service's sidecars show a certificate that names the service and comes from an authority of its own; \
          an attacker on the host calls with one for the caller, and with one that signed itself",
    expected: "the caller's application gets 503 with the cause unknown_ca; the attacker's handshakes end in an alert",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        let want = Want::Refused { status: 503, causes: vec!["unknown_ca".to_owned()] };
        Ok(Box::new(Refused { whose: Whose::Called, shows: FaultyCertificate::UntrustedCa, want, edge }))
    },
};

fn of_caller(
    mesh: &Mesh,
    scope: &Scope,
    shows: FaultyCertificate,
    causes: &[&str],
) -> Result<Box<dyn Trial>, ExperimentError> {
    let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
    let causes = causes.iter().map(|&cause| cause.to_owned()).collect();
    let want = Want::Refused { status: 403, causes };
    Ok(Box::new(Refused { whose: Whose::Caller, shows, want, edge }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Caller,
    Called,
}

struct Refused {
    edge: Edge,
    whose: Whose,
    shows: FaultyCertificate,
    want: Want,
}

impl Refused {
    /// What an attacker tries to call with.
    fn forgeries(&self) -> Vec<FaultyCertificate> {
        match (self.whose, &self.shows) {
            (Whose::Caller, shows) => vec![shows.clone()],
            (Whose::Called, FaultyCertificate::UntrustedCa) => {
                vec![FaultyCertificate::UntrustedCa, FaultyCertificate::SelfSigned]
            }
            // Who is called does not call: the other service may.
            (Whose::Called, _) => Vec::new(),
        }
    }
}

impl Trial for Refused {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        Expectation { recover_within: measures::RECOVERY, ..Expectation::refused(self.want.clone()) }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let tasks = match self.whose {
                Whose::Caller => self.edge.caller.healthy_ids(),
                Whose::Called => self.edge.called.healthy_ids(),
            };
            stage.begin(FaultKind::Certificate { tasks, shows: self.shows.clone() }).await?;
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let mut findings = Vec::new();
            let forgeries = self.forgeries();
            if !forgeries.is_empty() {
                findings.push(genuine_is_served(stage, &self.edge).await?);
            }
            for shows in forgeries {
                findings.push(attacked(stage, &self.edge, shows).await?);
            }
            Ok(findings)
        })
    }
}

/// An attacker on the host calls with a faulty certificate for the caller.
async fn attacked(stage: &Stage, edge: &Edge, shows: FaultyCertificate) -> Result<Finding, ExperimentError> {
    let task =
        edge.calling_task().ok_or_else(|| ExperimentError::failed("the caller has no healthy task"))?;
    let (_, address) = called_address(edge)?;
    let what =
        format!("an attacker who calls {address} with a certificate that is {} meets an alert", word(&shows));
    let is_revoked = shows == FaultyCertificate::Revoked;
    let forged = stage.system().forge(task.id.clone(), Some(shows), measures::FORGED).await?;
    if is_revoked {
        time::sleep(measures::TOLD).await;
    }
    let credentials = Credentials::of(&forged)?;
    let reception = attack::request(address, TlsVersion::Tls13, Some(&credentials), &edge.path).await?;
    Ok(Finding::new(what, reception.is_alert(), reception.to_string()))
}

/// The same attacker with a genuine certificate: where that is refused, too, it is not the fault that others are refused for.
pub(super) async fn genuine_is_served(stage: &Stage, edge: &Edge) -> Result<Finding, ExperimentError> {
    let none = || ExperimentError::failed("the caller has no healthy task");
    let (_, credentials) = steal(stage, &edge.calling_task().ok_or_else(none)?.id).await?;
    let (_, address) = called_address(edge)?;
    let met = attack::request(address, TlsVersion::Tls13, Some(&credentials), &edge.path).await?;
    Ok(Finding::new(
        format!("who calls {address} so with a genuine certificate is served"),
        met.is_served(),
        met.to_string(),
    ))
}

/// Where a called task is reached on the edge's port, and whose address that is.
pub(super) fn called_address(edge: &Edge) -> Result<(TaskId, std::net::SocketAddr), ExperimentError> {
    let mut tasks = edge.called.healthy();
    let found = tasks.find_map(|task| Some((task.id.clone(), task.address(&edge.alias.port_name)?)));
    let none = || format!("no task of {} has an inbound port {}", edge.called.name, edge.alias.port_name);
    found.ok_or_else(|| ExperimentError::failed(none()))
}

/// What is wrong with it, for people.
fn word(shows: &FaultyCertificate) -> &'static str {
    match shows {
        FaultyCertificate::Expired => "expired",
        FaultyCertificate::NotYetValid => "not yet valid",
        FaultyCertificate::Revoked => "revoked",
        FaultyCertificate::Identity(_) => "another's",
        FaultyCertificate::NoIdentity => "nobody's",
        FaultyCertificate::UntrustedCa => "of an untrusted CA",
        FaultyCertificate::SelfSigned => "self-signed",
        FaultyCertificate::InvalidChain => "signed by an end entity",
        FaultyCertificate::KeyMismatch => "not its own",
    }
}
