//! Which row of the counters a cluster's traffic is counted in.

use std::sync::{Arc, OnceLock};

use bowline_discovery::v1::TlsMode;

use super::{
    convert::{ClusterDraft, ClusterKindDraft},
    external::SecurityDraft,
};
use crate::metrics::series::{Security, Series, SeriesKey, SeriesTable, Side};

/// A cluster's row, found when it is first needed: most clusters are never called.
#[derive(Debug)]
pub(crate) struct ClusterSeries {
    table: Arc<SeriesTable>,
    key: SeriesKey,
    row: OnceLock<Arc<Series>>,
}

impl ClusterSeries {
    /// The row of the cluster `name`.
    pub(super) fn new(
        table: &Arc<SeriesTable>,
        name: &Arc<str>,
        discovery_name: &Arc<str>,
        draft: &ClusterDraft,
    ) -> Self {
        let (side, security, peer) = match &draft.kind {
            ClusterKindDraft::Application { .. } => (Side::Application, Security::Plaintext, ""),
            ClusterKindDraft::Mesh { tls, identities, .. } => {
                // All of them are one service's; which one answers, the handshake tells.
                let peer = identities.iter().min().map_or("", |id| id.as_str());
                match tls {
                    TlsMode::Plaintext => (Side::Outbound, Security::Plaintext, ""),
                    TlsMode::ServerOnly => (Side::Outbound, Security::Tls, peer),
                    TlsMode::Mutual => (Side::Outbound, Security::MutualTls, peer),
                }
            }
            ClusterKindDraft::External(SecurityDraft::Tls(_)) => (Side::Outbound, Security::Tls, ""),
            ClusterKindDraft::External(_) => (Side::Outbound, Security::Plaintext, ""),
        };
        let (cluster, discovery_name) = (Arc::clone(name), Arc::clone(discovery_name));
        let key = SeriesKey { side, discovery_name, cluster, peer: Arc::from(peer), security };
        Self { table: Arc::clone(table), key, row: OnceLock::new() }
    }

    /// The row.
    pub(crate) fn row(&self) -> &Arc<Series> {
        self.row.get_or_init(|| self.table.of(self.key.clone()))
    }

    /// Whether both sides of its hop prove who they are.
    pub(crate) fn is_mutual(&self) -> bool {
        self.key.security == Security::MutualTls
    }

    #[cfg(test)]
    pub(crate) fn of_test(name: &str) -> Self {
        let name: Arc<str> = Arc::from(name);
        let (discovery_name, peer) = (Arc::clone(&name), Arc::from(""));
        let (side, security) = (Side::Outbound, Security::Plaintext);
        let key = SeriesKey { side, discovery_name, cluster: name, peer, security };
        Self { table: Arc::default(), key, row: OnceLock::new() }
    }
}
