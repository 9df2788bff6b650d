//! What a proxy goes by, as `bowline diagnostics` shows it.

use std::collections::BTreeMap;

use bowline_control::control_plane::Diagnosis;
use bowline_model::{
    clock::Timestamp,
    diagnostics::{Difference, EndpointState, ProxyDump},
    task::TaskId,
};
use serde::{Deserialize, Serialize};

use crate::{
    display::{Table, printable},
    span,
};

/// A proxy, and how it differs from what it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DiagnosisView {
    /// The task.
    pub(crate) task: TaskId,
    /// Name of the service, group or load balancer.
    pub(crate) service: String,
    /// Whether it goes by what it should.
    pub(crate) in_step: bool,
    /// Whether its stream of resources is open.
    pub(crate) connected: bool,
    /// When it was asked.
    pub(crate) at: Timestamp,
    /// Bowline's version, the control plane's.
    pub(crate) control_version: String,
    /// What it has otherwise than it should.
    pub(crate) differences: Vec<Difference>,
    /// What it last refused, by type, in its own words.
    pub(crate) refused: BTreeMap<String, String>,
    /// Why it tells nothing of itself.
    pub(crate) error: Option<String>,
    /// What it tells.
    pub(crate) proxy: Option<Box<ProxyDump>>,
}

/// With the resources themselves if `config`.
pub(crate) fn view(diagnosis: Diagnosis, config: bool) -> DiagnosisView {
    let in_step = diagnosis.in_step();
    let (proxy, error) = match diagnosis.dump {
        Ok(mut dump) => {
            if !config {
                dump.config.clear();
            }
            (Some(dump), None)
        }
        Err(error) => (None, Some(error.to_string())),
    };
    DiagnosisView {
        task: diagnosis.task,
        service: diagnosis.owner,
        in_step,
        connected: diagnosis.connected,
        at: diagnosis.at,
        control_version: env!("CARGO_PKG_VERSION").to_owned(),
        differences: diagnosis.differences,
        refused: diagnosis.refused,
        error,
        proxy,
    }
}

/// For people, tables `width` columns wide at most.
pub(crate) fn text(view: &DiagnosisView, width: Option<u16>) -> String {
    let mut text = format!("{} · task {}\n", printable(&view.service), view.task);
    text.push_str(&step(view));
    if let Some(error) = &view.error {
        text.push_str(&format!("× {}\n", printable(error)));
    }
    let Some(dump) = &view.proxy else { return text };
    text.push_str(&process(view, dump));
    let mut section = |title: &str, table: Table, rows: usize| {
        if rows > 0 {
            text.push_str(&format!("\n{title}\n{table}"));
        }
    };
    section("out of step", differences(view, width), view.differences.len());
    section("certificates", certificates(dump, view.at, width), dump.certificates.len());
    section("trust", trust(dump, view.at, width), dump.trust.len());
    section("listeners", listeners(dump, width), dump.listeners.len());
    section("clusters", clusters(dump, view.at, width), dump.clusters.len());
    section("resources", resources(dump, width), dump.resources.len());
    text
}

fn step(view: &DiagnosisView) -> String {
    if view.in_step {
        return "√ in step with the control plane\n".into();
    }
    let mut text = String::new();
    if !view.connected {
        text.push_str("× its stream of resources is not open: it goes by what it had last\n");
    }
    if !view.differences.is_empty() {
        text.push_str(&format!("× out of step: {} of its resources differ\n", view.differences.len()));
    }
    for (kind, reason) in &view.refused {
        text.push_str(&format!("× it refuses {kind}: {}\n", printable(reason)));
    }
    text
}

fn process(view: &DiagnosisView, dump: &ProxyDump) -> String {
    let process = &dump.process;
    let skew = match process.version == view.control_version {
        true => String::new(),
        false => format!(" (‼ the control plane is {})", view.control_version),
    };
    let memory = process.memory_bytes.map_or_else(|| "-".into(), |bytes| format!("{} MiB", bytes >> 20));
    let open: Vec<_> = process
        .open
        .iter()
        .filter(|(_, open)| open.connections != 0 || open.requests != 0)
        .map(|(direction, open)| {
            format!("{direction} {} connections, {} requests", open.connections, open.requests)
        })
        .collect();
    let ago = |at: Timestamp| format!("{} ago", span::text(view.at.since(at)));
    let level = match dump.log.until {
        Some(until) => format!("{} for {} more", dump.log.filter, span::text(until.since(view.at))),
        None => dump.log.filter.clone(),
    };
    let shedding = match process.shedding.as_str() {
        "none" => String::new(),
        what => format!(", ‼ sheds {what}"),
    };
    let lines = [
        ("identity", process.identity.clone().unwrap_or_else(|| "none yet".into())),
        ("version", format!("{}{skew}", process.version)),
        ("process", format!("{}, up {}", process.pid, span::text(view.at.since(process.started)))),
        ("workers", process.workers.to_string()),
        ("memory", format!("{memory}{shedding}")),
        ("open", if open.is_empty() { "nothing".into() } else { open.join("; ") }),
        ("stream", format!("opened {}, generation {}", times(process.stream_connects), process.generation)),
        ("last good", process.last_good_written.map_or_else(|| "never written".into(), ago)),
        ("log", level),
    ];
    let lines = lines.map(|(name, value)| format!("  {name:<10} {}\n", printable(&value)));
    lines.concat()
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

fn differences(view: &DiagnosisView, width: Option<u16>) -> Table {
    let mut table = Table::new(["TYPE", "NAME", "SHOULD HAVE", "HAS", "WHY"]).within(width);
    let short = |version: &Option<String>| match version {
        Some(version) => version.chars().take(12).collect(),
        None => "-".to_owned(),
    };
    for difference in &view.differences {
        table.row([
            difference.kind.clone(),
            printable(&difference.name),
            short(&difference.wanted),
            short(&difference.held),
            match (&difference.reason, &difference.wanted, &difference.held) {
                (Some(reason), ..) => format!("refused: {}", printable(reason)),
                (None, Some(_), None) => "did not come yet".into(),
                (None, None, _) => "was not taken away yet".into(),
                (None, ..) => "is older".into(),
            },
        ]);
    }
    table
}

fn certificates(dump: &ProxyDump, now: Timestamp, width: Option<u16>) -> Table {
    let mut table = Table::new(["NAME", "IDENTITY", "SERIAL", "ISSUER", "ENDS IN"]).within(width);
    for held in &dump.certificates {
        table.row([
            printable(&held.name),
            held.identity.clone().unwrap_or_else(|| "-".into()),
            held.serial.clone(),
            printable(&held.issuer),
            ends(held.not_after, now),
        ]);
    }
    table
}

fn trust(dump: &ProxyDump, now: Timestamp, width: Option<u16>) -> Table {
    let mut table = Table::new(["TRUST DOMAIN", "ROOT", "SERIAL", "ENDS IN", "REVOKED"]).within(width);
    for domain in &dump.trust {
        for root in &domain.roots {
            table.row([
                printable(&domain.trust_domain),
                printable(&root.subject),
                root.serial.clone(),
                ends(root.not_after, now),
                domain.revoked.to_string(),
            ]);
        }
    }
    table
}

fn ends(not_after: Timestamp, now: Timestamp) -> String {
    match not_after > now {
        true => span::text(not_after.since(now)),
        false => "× ended".into(),
    }
}

fn listeners(dump: &ProxyDump, width: Option<u16>) -> Table {
    let mut table =
        Table::new(["LISTENER", "DIRECTION", "ADDRESS", "PROTOCOL", "SECURITY", "RULES"]).within(width);
    for listener in &dump.listeners {
        table.row([
            printable(&listener.name),
            listener.direction.clone(),
            listener.address.map_or_else(|| "× not open".into(), |address| address.to_string()),
            listener.protocol.clone(),
            listener.security.clone(),
            match (listener.rules, &listener.cluster) {
                (Some(rules), _) => rules.to_string(),
                (None, Some(cluster)) => printable(cluster),
                (None, None) => "-".into(),
            },
        ]);
    }
    table
}

fn clusters(dump: &ProxyDump, now: Timestamp, width: Option<u16>) -> Table {
    let mut table =
        Table::new(["CLUSTER", "KIND", "SECURITY", "OPEN", "ENDPOINT", "STATE", "ACTIVE"]).within(width);
    for cluster in &dump.clusters {
        let open = format!("{} req, {} conn", cluster.requests, cluster.connections);
        let head = [printable(&cluster.name), cluster.kind.clone(), cluster.security.clone(), open];
        if cluster.endpoints.is_empty() {
            let state = if cluster.kind == "application" { "the task's own" } else { "× no endpoints" };
            let [name, kind, security, open] = head.clone();
            table.row([name, kind, security, open, "-".into(), state.into(), "-".into()]);
        }
        for (place, endpoint) in cluster.endpoints.iter().enumerate() {
            let [name, kind, security, open] = match place {
                0 => head.clone(),
                _ => Default::default(),
            };
            let address = endpoint.address.to_string();
            table.row([
                name,
                kind,
                security,
                open,
                address,
                endpoint_state(endpoint, now),
                endpoint.active.to_string(),
            ]);
        }
    }
    table
}

fn endpoint_state(endpoint: &EndpointState, now: Timestamp) -> String {
    let mut states = Vec::new();
    if let Some(until) = endpoint.ejected_until.filter(|until| *until > now) {
        states.push(format!("ejected for {}", span::text(until.since(now))));
    }
    if endpoint.unhealthy {
        states.push("unhealthy".into());
    }
    if endpoint.draining {
        states.push("draining".into());
    }
    if states.is_empty() { "healthy".into() } else { states.join(", ") }
}

fn resources(dump: &ProxyDump, width: Option<u16>) -> Table {
    let mut table = Table::new(["TYPE", "HOW MANY", "NAMES"]).within(width);
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for held in &dump.resources {
        kinds.entry(&held.kind).or_default().push(&held.name);
    }
    for (kind, names) in kinds {
        let mut shown = names.iter().take(5).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
        if names.len() > 5 {
            shown.push_str(", …");
        }
        table.row([kind.to_owned(), names.len().to_string(), shown]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowline_model::diagnostics::{
        CertificateState, ClusterState, HeldResource, ListenerState, LogState, ProcessState,
    };
    use bowline_stream::introspection::IntrospectionError;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn dump() -> ProxyDump {
        ProxyDump {
            process: ProcessState {
                version: env!("CARGO_PKG_VERSION").into(),
                pid: 7,
                started: NOW - Duration::from_secs(90),
                identity: Some("spiffe://d/web".into()),
                workers: 2,
                memory_bytes: Some(12 << 20),
                shedding: "none".into(),
                open: BTreeMap::new(),
                stream_connects: 1,
                generation: 3,
                last_good_written: None,
            },
            log: LogState { filter: "warn".into(), until: None },
            trust: vec![],
            certificates: vec![CertificateState {
                name: "mesh".into(),
                identity: Some("spiffe://d/web".into()),
                serial: "0a".into(),
                issuer: "CN=mesh".into(),
                not_before: NOW,
                not_after: NOW + Duration::from_secs(3_600),
            }],
            listeners: vec![ListenerState {
                name: "in".into(),
                direction: "inbound".into(),
                protocol: "HTTP".into(),
                address: None,
                security: "MUTUAL_TLS".into(),
                rules: Some(1),
                cluster: None,
            }],
            clusters: vec![ClusterState {
                name: "cart.n".into(),
                discovery_name: "cart".into(),
                protocol: "HTTP".into(),
                kind: "mesh".into(),
                security: "MUTUAL_TLS".into(),
                identities: vec![],
                requests: 1,
                connections: 2,
                endpoints: vec![EndpointState {
                    address: "127.0.0.2:15006".parse().expect("an address"),
                    task: "t".into(),
                    zone: String::new(),
                    weight: 1,
                    priority: 0,
                    draining: true,
                    unhealthy: false,
                    ejected_until: Some(NOW + Duration::from_secs(30)),
                    active: 1,
                }],
            }],
            resources: vec![HeldResource {
                kind: "Cluster".into(),
                name: "cart.n".into(),
                version: "1".into(),
            }],
            refused: vec![],
            config: vec![serde_json::json!({"cluster": {}})],
        }
    }

    fn diagnosis() -> Diagnosis {
        Diagnosis {
            task: TaskId::from_random([1; 16]),
            owner: "web".into(),
            connected: true,
            dump: Ok(Box::new(dump())),
            differences: vec![],
            refused: BTreeMap::new(),
            at: NOW,
        }
    }

    #[test]
    fn a_proxy_in_step_says_so_and_what_it_goes_by() {
        let view = view(diagnosis(), false);
        assert!(view.in_step && view.proxy.as_ref().is_some_and(|proxy| proxy.config.is_empty()));
        let text = text(&view, None);
        for part in
            ["√ in step", "up 1m 30s", "spiffe://d/web", "1h 0m", "ejected for 30s, draining", "× not open"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("out of step"), "{text}");
        let narrow = super::text(&view, Some(80));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }

    #[test]
    fn one_that_refuses_or_is_behind_says_what_and_why() {
        let difference = Difference {
            kind: "Cluster".into(),
            name: "cart.n".into(),
            wanted: Some("2".into()),
            held: Some("1".into()),
            reason: Some("port: must not be 0".into()),
        };
        let refused = BTreeMap::from([("Cluster".to_owned(), "Cluster \"cart.n\": port".to_owned())]);
        let view = view(Diagnosis { differences: vec![difference], refused, ..diagnosis() }, true);
        assert!(!view.in_step && view.proxy.as_ref().is_some_and(|proxy| proxy.config.len() == 1));
        let text = text(&view, None);
        assert!(text.contains("× out of step: 1") && text.contains("refused: port: must not be 0"), "{text}");
        assert!(text.contains("× it refuses Cluster"), "{text}");
    }

    #[test]
    fn one_that_cannot_be_asked_is_not_in_step() {
        let task = TaskId::from_random([1; 16]);
        let dump = Err(IntrospectionError::NotConnected(task));
        let view = view(Diagnosis { connected: false, dump, ..diagnosis() }, false);
        assert!(!view.in_step && view.proxy.is_none());
        let text = text(&view, None);
        assert!(text.contains("is not open") && text.contains("cannot be asked"), "{text}");
    }
}
