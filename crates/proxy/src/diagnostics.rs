//! What the proxy goes by, told to whoever owns it: all but keys.

use std::{collections::BTreeMap, fs, path::Path, time::UNIX_EPOCH};

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    clock::Timestamp,
    diagnostics::{
        CertificateState, ClusterState, EndpointState, HeldResource, ListenerState, LogState, OpenState,
        ProcessState, ProxyDump, RefusedResource, RootState, TrustState,
    },
    overload::Shedding,
};
use bowline_plumbing::wall_clock;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

use crate::{
    config::{
        Bind, Cluster, Endpoint, Listener, PublicTls, Snapshot, Upstream, UpstreamTls,
        external::ExternalSecurity, store::HeldIdentity,
    },
    data_plane::DataPlane,
    metrics::Direction,
    run::Control,
    tls::trust::TrustStore,
};

const MUTUAL_TLS: &str = "MUTUAL_TLS";
const TLS: &str = "TLS";
const PLAINTEXT: &str = "PLAINTEXT";
/// TLS that cannot be made yet for want of a certificate.
const WAITING: &str = "WAITING";

/// All of it at this moment.
pub(crate) fn collect(control: &Control, started: Timestamp, log: LogState, state_file: &Path) -> ProxyDump {
    let last_good_written = written_at(state_file);
    let data_plane = control.lock();
    let (snapshot, store) = (data_plane.shared.snapshot.load_full(), &data_plane.store);
    let now = wall_clock::now();
    let addresses = data_plane.addresses();
    let mut listeners: Vec<_> =
        snapshot.listeners.values().map(|listener| listener_state(listener, &addresses)).collect();
    listeners.sort_by(|a, b| (&a.direction, &a.name).cmp(&(&b.direction, &b.name)));
    let mut clusters: Vec<_> =
        snapshot.clusters.values().map(|cluster| cluster_state(cluster, now)).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let expected = expected_servers(store.all().map(|held| &held.resource));
    for cluster in &mut clusters {
        cluster.identities = expected.get(cluster.name.as_str()).cloned().unwrap_or_default();
    }
    let held = store.all().map(|held| HeldResource {
        kind: held.resource.kind().name().to_owned(),
        name: held.resource.name().to_owned(),
        version: held.version.clone(),
    });
    let refused = store.refusals.all().map(|((kind, name), refused)| RefusedResource {
        kind: kind.name().to_owned(),
        name: name.clone(),
        version: refused.version.clone(),
        reason: refused.reason.clone(),
        since: refused.since,
    });
    ProxyDump {
        process: process_state(&data_plane, &snapshot, started, last_good_written),
        log,
        trust: trust_states(store.trust()),
        certificates: store.held().map(|(name, held)| certificate_state(name, held)).collect(),
        listeners,
        clusters,
        resources: held.collect(),
        refused: refused.collect(),
        // What cannot be written as JSON is none of the stream's: all of it came by way of protobuf.
        config: store.all().filter_map(|held| serde_json::to_value(&held.resource).ok()).collect(),
    }
}

fn process_state(
    data_plane: &DataPlane,
    snapshot: &Snapshot,
    started: Timestamp,
    last_good_written: Option<Timestamp>,
) -> ProcessState {
    let shared = &data_plane.shared;
    let open = Direction::ALL.iter().map(|direction| {
        let metrics = shared.metrics.of(*direction);
        let open = OpenState {
            connections: metrics.connections_active.get(),
            requests: metrics.requests_active.get(),
        };
        (direction.as_str().to_owned(), open)
    });
    let shedding = match shared.overload.shedding() {
        level if level >= Shedding::Connections as u8 => "connections",
        level if level >= Shedding::Requests as u8 => "requests",
        _ => "none",
    };
    ProcessState {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started,
        identity: snapshot.own_id.as_ref().map(ToString::to_string),
        workers: shared.workers,
        memory_bytes: crate::overload::resident_bytes(),
        shedding: shedding.to_owned(),
        open: open.collect(),
        stream_connects: shared.metrics.stream_connects.get(),
        generation: snapshot.generation,
        last_good_written,
    }
}

fn written_at(path: &Path) -> Option<Timestamp> {
    let since_1970 = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::default() + since_1970)
}

fn listener_state(listener: &Listener, addresses: &BTreeMap<String, std::net::SocketAddr>) -> ListenerState {
    let (direction, security) = match &listener.bind {
        Bind::Outbound(_) => ("outbound", PLAINTEXT),
        Bind::Inbound(bind) => {
            let security = match (bind.tls, &bind.server) {
                (v1::TlsMode::Plaintext, _) => PLAINTEXT,
                (_, None) => WAITING,
                (v1::TlsMode::Mutual, _) => MUTUAL_TLS,
                (v1::TlsMode::ServerOnly, _) => TLS,
            };
            ("inbound", security)
        }
        Bind::Public(bind) => {
            let security = match bind.tls {
                PublicTls::Off => PLAINTEXT,
                PublicTls::Waiting => WAITING,
                PublicTls::On(_) => TLS,
            };
            ("public", security)
        }
    };
    ListenerState {
        name: listener.name.to_string(),
        direction: direction.to_owned(),
        protocol: listener.protocol.as_str_name().to_owned(),
        address: addresses.get(&*listener.name).copied(),
        security: security.to_owned(),
        rules: listener.route.as_ref().map(|route| route.rules.len()),
        cluster: listener.cluster.as_ref().map(|cluster| cluster.name.to_string()),
    }
}

fn cluster_state(cluster: &Cluster, now: Timestamp) -> ClusterState {
    let is_mutual = cluster.series.is_mutual();
    let (kind, security) = match &cluster.upstream {
        Upstream::Mesh(mesh) => {
            let security = match mesh.tls {
                UpstreamTls::Plaintext => PLAINTEXT,
                UpstreamTls::Waiting => WAITING,
                UpstreamTls::On(_) if is_mutual => MUTUAL_TLS,
                UpstreamTls::On(_) => TLS,
            };
            ("mesh", security)
        }
        Upstream::External(external) => {
            let security = match external.security {
                ExternalSecurity::Plain => PLAINTEXT,
                ExternalSecurity::Tls(_) => TLS,
                ExternalSecurity::Refused(_) => WAITING,
            };
            ("external", security)
        }
        Upstream::Application { .. } => ("application", PLAINTEXT),
    };
    let (requests, connections) = cluster.load.open();
    ClusterState {
        name: cluster.name.to_string(),
        discovery_name: cluster.discovery_name.to_string(),
        protocol: cluster.protocol.as_str_name().to_owned(),
        kind: kind.to_owned(),
        security: security.to_owned(),
        identities: Vec::new(),
        requests,
        connections,
        endpoints: cluster.upstream.endpoints().iter().map(|it| endpoint_state(it, now)).collect(),
    }
}

fn endpoint_state(endpoint: &Endpoint, now: Timestamp) -> EndpointState {
    EndpointState {
        address: endpoint.address,
        task: endpoint.task_id.clone(),
        zone: endpoint.zone.to_string(),
        weight: endpoint.weight,
        priority: endpoint.priority,
        draining: endpoint.draining,
        unhealthy: endpoint.health.is_checked_unhealthy(),
        ejected_until: endpoint.health.ejected_until(now),
        active: endpoint.health.active(),
    }
}

/// Who may answer for each cluster of the mesh.
fn expected_servers<'a>(resources: impl Iterator<Item = &'a Resource>) -> BTreeMap<&'a str, Vec<String>> {
    let of_mesh = resources.filter_map(|resource| match resource {
        Resource::Cluster(cluster) => match &cluster.kind {
            Some(v1::cluster::Kind::Mesh(mesh)) => Some((cluster.name.as_str(), mesh.identities.clone())),
            _ => None,
        },
        _ => None,
    });
    of_mesh.collect()
}

fn trust_states(trust: &TrustStore) -> Vec<TrustState> {
    let state = |(domain, roots): (&String, &std::sync::Arc<crate::tls::trust::Roots>)| {
        let certificates = CertificateDer::pem_slice_iter(roots.pem.as_bytes()).filter_map(Result::ok);
        let roots = certificates.filter_map(|root| {
            let (_, parsed) = X509Certificate::from_der(&root).ok()?;
            Some(RootState {
                subject: parsed.subject().to_string(),
                serial: serial_text(parsed.raw_serial()),
                not_after: timestamp(parsed.validity().not_after),
            })
        });
        TrustState {
            trust_domain: domain.clone(),
            roots: roots.collect(),
            revoked: trust.revoked.count(domain),
        }
    };
    trust.roots.iter().map(state).collect()
}

fn certificate_state(name: &str, held: &HeldIdentity) -> CertificateState {
    let mut state = CertificateState {
        name: name.to_owned(),
        identity: held.id.as_ref().map(ToString::to_string),
        serial: String::new(),
        issuer: String::new(),
        not_before: Timestamp::default(),
        not_after: Timestamp::default(),
    };
    let leaf = held.key.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    if let Some((_, leaf)) = leaf {
        state.serial = serial_text(leaf.raw_serial());
        state.issuer = leaf.issuer().to_string();
        state.not_before = timestamp(leaf.validity().not_before);
        state.not_after = timestamp(leaf.validity().not_after);
    }
    state
}

/// Lower-case hexadecimal, two digits a byte, without DER's sign byte: as `bowline certs` has it.
fn serial_text(raw: &[u8]) -> String {
    let magnitude = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    magnitude.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}
