//! How a control plane is set up.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use bowline_model::{arn::Scope, sampling::DefaultSampling, task::Egress};

use super::{AuthorizationMode, LogLimits, MetricLimits, TraceLimits};
use crate::{dns::DnsConfig, master_key::MasterKeySource, otlp::OtlpConfig, registry::LocalCommandRecord};

/// The store in a state directory.
pub const STORE_FILE: &str = "store.redb";

/// Where metrics are kept, in a state directory.
pub const METRICS_DIRECTORY: &str = "metrics";

/// Where traces are kept, in a state directory.
pub const TRACES_DIRECTORY: &str = "traces";
/// Where logs are kept, in a state directory.
pub const LOGS_DIRECTORY: &str = "logs";

/// How a control plane is set up.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Account and region.
    pub scope: Scope,
    /// The SPIFFE trust domain of a new state directory.
    pub trust_domain: String,
    /// Where the stream's servers listen; port 0 takes a free one and keeps it.
    pub discovery_listen: SocketAddr,
    /// How long certificates live.
    pub certificate_ttl: Duration,
    /// `--exec`.
    pub exec: Vec<LocalCommandRecord>,
    /// Services left without encryption on purpose.
    pub plaintext_services: BTreeSet<String>,
    /// What tasks may reach beyond their aliases.
    pub egress: Egress,
    /// Whether calls that only read, and are made all the time, are in the audit trail too.
    pub audit_data_events: bool,
    /// What becomes of requests that policies do not allow.
    pub authorization: AuthorizationMode,
    /// For a test suite: the state directory is thrown away at the end, and the AWS endpoint may
    /// be told to forget everything (`POST /_bowline/reset`).
    pub ephemeral: bool,
    /// The DNS server of private namespaces; `None`: there is none. Where its port is 0, one is taken
    /// and kept.
    pub dns: Option<DnsConfig>,
    /// Where the key comes from that everything secret is sealed with.
    pub master_key: MasterKeySource,
    /// How much is kept of metrics.
    pub metrics: MetricLimits,
    /// Which requests are traced that no sampling rule is about.
    pub sampling: DefaultSampling,
    /// How much is kept of traces.
    pub traces: TraceLimits,
    /// Where spans and metrics are sent on to.
    pub otlp: OtlpConfig,
    /// Where X-Ray's daemon listens, by UDP and TCP: on loopback, for there is no other proof of who comes. `None`:
    /// there is none.
    pub xray_daemon: Option<SocketAddr>,
    /// How much is kept of logs.
    pub logs: LogLimits,
}

impl ControlConfig {
    /// State in `state_dir`, everything else at its default: account 000000000000 in us-east-1,
    /// the trust domain `bowline.local`, a free port for proxies, certificates of a day, tasks that
    /// reach nothing beyond their aliases, policies enforced, a DNS server on a free loopback port,
    /// traces by X-Ray's default rule.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            scope: Scope::default(),
            trust_domain: "bowline.local".into(),
            discovery_listen: SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)),
            certificate_ttl: Duration::from_secs(24 * 3600),
            exec: Vec::new(),
            plaintext_services: BTreeSet::new(),
            egress: Egress::Deny,
            audit_data_events: false,
            authorization: AuthorizationMode::Enforce,
            ephemeral: false,
            dns: Some(DnsConfig::new(SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)))),
            master_key: MasterKeySource::default(),
            metrics: MetricLimits::default(),
            sampling: DefaultSampling::default(),
            traces: TraceLimits::default(),
            otlp: OtlpConfig::default(),
            xray_daemon: None,
            logs: LogLimits::default(),
        }
    }
}
