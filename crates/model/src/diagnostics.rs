//! What a proxy goes by, as it tells it itself, and how that differs from what it should go by.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;

/// Everything that a proxy goes by. Never a key, nor anything else that is secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyDump {
    /// The process.
    pub process: ProcessState,
    /// What it logs.
    pub log: LogState,
    /// Roots that it believes and certificates that it refuses.
    pub trust: Vec<TrustState>,
    /// What it shows.
    pub certificates: Vec<CertificateState>,
    /// Where it accepts connections.
    pub listeners: Vec<ListenerState>,
    /// Whom it calls.
    pub clusters: Vec<ClusterState>,
    /// What it holds of the stream, by type and name.
    pub resources: Vec<HeldResource>,
    /// What it was sent and does not take.
    pub refused: Vec<RefusedResource>,
    /// The resources themselves, as the stream has them.
    pub config: Vec<Value>,
}

impl ProxyDump {
    /// Names of Identity resources that it holds, and has no certificate of yet.
    pub fn missing_certificates(&self) -> impl Iterator<Item = &str> {
        let identities = self.resources.iter().filter(|resource| resource.kind == "Identity");
        let is_missing =
            |name: &&str| !self.certificates.iter().any(|certificate| certificate.name == **name);
        identities.map(|resource| resource.name.as_str()).filter(is_missing)
    }
}

/// A proxy's process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessState {
    /// Bowline's version.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// When it began.
    pub started: Timestamp,
    /// Its own SPIFFE id, once it has a certificate.
    pub identity: Option<String>,
    /// Threads that carry traffic.
    pub workers: usize,
    /// Bytes in memory; `None` where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// `none`, `requests` (new ones are answered 503) or `connections` (none are accepted).
    pub shedding: String,
    /// Connections and requests that are open now, by direction.
    pub open: BTreeMap<String, OpenState>,
    /// How often the stream of resources was opened.
    pub stream_connects: u64,
    /// Grows with each change of what it goes by.
    pub generation: u64,
    /// When what it goes by was last written to the disk, to go on with after a restart.
    pub last_good_written: Option<Timestamp>,
}

/// What is open in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenState {
    /// Connections that were accepted.
    pub connections: i64,
    /// Requests.
    pub requests: i64,
}

/// What is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogState {
    /// Levels by module; empty where nothing is logged by Bowline.
    pub filter: String,
    /// Until when that is so; `None`: for good.
    pub until: Option<Timestamp>,
}

/// Who of a trust domain is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustState {
    /// The trust domain.
    pub trust_domain: String,
    /// Its roots.
    pub roots: Vec<RootState>,
    /// How many certificates are refused although they have not ended.
    pub revoked: usize,
}

/// A root certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootState {
    /// Its subject.
    pub subject: String,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// Valid until.
    pub not_after: Timestamp,
}

/// A certificate that a proxy shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateState {
    /// `mesh`: its own; else the name of its Identity resource.
    pub name: String,
    /// The SPIFFE id; `None` for a public certificate.
    pub identity: Option<String>,
    /// Its serial number, lower-case hexadecimal; empty where it cannot be read.
    pub serial: String,
    /// Its issuer.
    pub issuer: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

/// Where connections are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerState {
    /// Its name.
    pub name: String,
    /// `inbound`, `outbound` or `public`.
    pub direction: String,
    /// `HTTP`, `HTTP2`, `GRPC` or `TCP`.
    pub protocol: String,
    /// Where it listens; `None`: it does not.
    pub address: Option<SocketAddr>,
    /// `MUTUAL_TLS`, `TLS`, `PLAINTEXT`, or `WAITING` where the certificate is not there yet.
    pub security: String,
    /// How many rules its route has; `None`: it has no route.
    pub rules: Option<usize>,
    /// Where TCP connections go.
    pub cluster: Option<String>,
}

/// Somebody who is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterState {
    /// The stream's name.
    pub name: String,
    /// ECS's discovery name.
    pub discovery_name: String,
    /// `HTTP`, `HTTP2`, `GRPC` or `TCP`.
    pub protocol: String,
    /// `mesh`, `external` or `application`.
    pub kind: String,
    /// As in [`ListenerState::security`].
    pub security: String,
    /// Who may answer, by SPIFFE id.
    pub identities: Vec<String>,
    /// Requests under way.
    pub requests: usize,
    /// Connections that are open or being made.
    pub connections: usize,
    /// Where it is.
    pub endpoints: Vec<EndpointState>,
}

impl ClusterState {
    /// Whether it has endpoints, and none that can be used.
    #[must_use]
    pub fn is_unserved(&self, now: Timestamp) -> bool {
        !self.endpoints.is_empty() && !self.endpoints.iter().any(|endpoint| endpoint.is_usable(now))
    }
}

/// One of those that can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointState {
    /// Where it is.
    pub address: SocketAddr,
    /// Its task; empty outside the mesh.
    pub task: String,
    /// Its availability zone; empty where that is not known.
    pub zone: String,
    /// Its share.
    pub weight: u32,
    /// 0 is used first.
    pub priority: u8,
    /// It takes nothing new.
    pub draining: bool,
    /// An active check says that it does not answer.
    pub unhealthy: bool,
    /// Until when it is left out for its failures.
    pub ejected_until: Option<Timestamp>,
    /// Requests under way.
    pub active: u32,
}

impl EndpointState {
    /// Whether new requests may go there.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        !self.draining && !self.unhealthy && self.ejected_until.is_none_or(|until| until <= now)
    }
}

/// Something of the stream that a proxy goes by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldResource {
    /// `Listener`, `Route`, `Cluster`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Something that a proxy was sent, and does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedResource {
    /// `Listener`, `Route`, `Cluster`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The version that is refused.
    pub version: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Something that a proxy has otherwise than it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `Listener`, `Route`, `Cluster`, …
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The version that it should have; `None`: it should not have it at all.
    pub wanted: Option<String>,
    /// The version that it has; `None`: none.
    pub held: Option<String>,
    /// Why it does not take the one that it should have.
    pub reason: Option<String>,
}

/// What differs between what a proxy should have (type, name and version) and what it tells that it has.
pub fn differences(wanted: &[HeldResource], dump: &ProxyDump) -> Vec<Difference> {
    type Key<'a> = (&'a str, &'a str);
    fn by_key(resources: &[HeldResource]) -> BTreeMap<Key<'_>, &str> {
        let entries = resources.iter();
        entries.map(|held| ((held.kind.as_str(), held.name.as_str()), held.version.as_str())).collect()
    }
    let (wanted, held) = (by_key(wanted), by_key(&dump.resources));
    let refused: BTreeMap<(Key<'_>, &str), &str> = dump
        .refused
        .iter()
        .map(|refused| {
            let key = (refused.kind.as_str(), refused.name.as_str());
            ((key, refused.version.as_str()), refused.reason.as_str())
        })
        .collect();
    let keys: BTreeSet<Key<'_>> = wanted.keys().chain(held.keys()).copied().collect();
    let mut differences = Vec::new();
    for key in keys {
        let (wanted, held) = (wanted.get(&key).copied(), held.get(&key).copied());
        let reason = wanted.and_then(|version| refused.get(&(key, version)));
        if wanted != held || reason.is_some() {
            differences.push(Difference {
                kind: key.0.to_owned(),
                name: key.1.to_owned(),
                wanted: wanted.map(str::to_owned),
                held: held.map(str::to_owned),
                reason: reason.map(|reason| (*reason).to_owned()),
            });
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(kind: &str, name: &str, version: &str) -> HeldResource {
        HeldResource { kind: kind.into(), name: name.into(), version: version.into() }
    }

    fn dump(resources: Vec<HeldResource>, refused: Vec<RefusedResource>) -> ProxyDump {
        ProxyDump {
            process: ProcessState {
                version: "1".into(),
                pid: 1,
                started: Timestamp::default(),
                identity: None,
                workers: 1,
                memory_bytes: None,
                shedding: "none".into(),
                open: BTreeMap::new(),
                stream_connects: 1,
                generation: 1,
                last_good_written: None,
            },
            log: LogState::default(),
            trust: vec![],
            certificates: vec![],
            listeners: vec![],
            clusters: vec![],
            resources,
            refused,
            config: vec![],
        }
    }

    #[test]
    fn an_identity_without_a_certificate_is_missing() {
        let identities =
            [held("Identity", "mesh", "1"), held("Identity", "public:a", "1"), held("Route", "r", "1")];
        let mut dump = dump(identities.to_vec(), vec![]);
        assert_eq!(dump.missing_certificates().collect::<Vec<_>>(), ["mesh", "public:a"]);
        let certificate = CertificateState {
            name: "mesh".into(),
            identity: None,
            serial: String::new(),
            issuer: String::new(),
            not_before: Timestamp::default(),
            not_after: Timestamp::default(),
        };
        dump.certificates.push(certificate);
        assert_eq!(dump.missing_certificates().collect::<Vec<_>>(), ["public:a"]);
    }

    #[test]
    fn a_cluster_is_served_by_whoever_can_be_used() {
        let endpoint = EndpointState {
            address: "127.0.0.1:1".parse().expect("an address"),
            task: String::new(),
            zone: String::new(),
            weight: 1,
            priority: 0,
            draining: false,
            unhealthy: false,
            ejected_until: Some(Timestamp::from_millis(5)),
            active: 0,
        };
        let cluster = |endpoints| ClusterState {
            name: "c".into(),
            discovery_name: "c".into(),
            protocol: "HTTP".into(),
            kind: "mesh".into(),
            security: "mutual_tls".into(),
            identities: vec![],
            requests: 0,
            connections: 0,
            endpoints,
        };
        let is_unserved = |endpoints, now| cluster(endpoints).is_unserved(Timestamp::from_millis(now));
        assert!(!is_unserved(vec![], 0));
        assert!(is_unserved(vec![endpoint.clone()], 4));
        assert!(!is_unserved(vec![endpoint.clone()], 5));
        let unhealthy = EndpointState { unhealthy: true, ..endpoint.clone() };
        let draining = EndpointState { draining: true, ..endpoint.clone() };
        assert!(is_unserved(vec![unhealthy.clone(), draining.clone()], 5));
        assert!(!is_unserved(vec![unhealthy, endpoint, draining], 5));
    }

    #[test]
    fn what_is_older_missing_refused_or_too_much_is_named() {
        let wanted = [held("Cluster", "a", "2"), held("Cluster", "b", "1"), held("Route", "r", "1")];
        let in_step = dump(wanted.to_vec(), vec![]);
        assert_eq!(differences(&wanted, &in_step), []);
        let refused = RefusedResource {
            kind: "Cluster".into(),
            name: "a".into(),
            version: "2".into(),
            reason: "port: must not be 0".into(),
            since: Timestamp::default(),
        };
        let earlier = RefusedResource { name: "b".into(), version: "0".into(), ..refused.clone() };
        let behind = dump(
            vec![held("Cluster", "a", "1"), held("Cluster", "b", "1"), held("Limit", "l", "1")],
            vec![refused, earlier],
        );
        let found = differences(&wanted, &behind);
        let told: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.wanted.as_deref(), it.held.as_deref(), it.reason.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("a", Some("2"), Some("1"), Some("port: must not be 0")),
                ("l", None, Some("1"), None),
                ("r", Some("1"), None, None),
            ]
        );
    }
}
