//! TLS configurations towards servers outside the mesh, one a cluster, kept for as long as what
//! they are made from stays the same: connections made with another one take no new requests.

use std::{collections::HashMap, sync::Arc};

use bowline_discovery::v1;

use super::{
    HopConfigs,
    external::{ExternalSecurity, ExternalTls, RootsDraft, SecurityDraft, TlsDraft},
};
use crate::tls::{ALPN_H2, ALPN_HTTP1, TlsError, origination};

#[derive(Debug)]
struct Cached {
    draft: TlsDraft,
    protocol: v1::Protocol,
    tls: ExternalTls,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    by_cluster: HashMap<String, Cached>,
}

impl Origins {
    /// How the cluster's servers are spoken to.
    pub(crate) fn security(
        &mut self,
        cluster: &str,
        protocol: v1::Protocol,
        draft: &SecurityDraft,
    ) -> ExternalSecurity {
        let draft = match draft {
            SecurityDraft::Plain => return ExternalSecurity::Plain,
            SecurityDraft::Refused(reason) => return ExternalSecurity::Refused(Arc::clone(reason)),
            SecurityDraft::Tls(draft) => draft,
        };
        if let Some(cached) = self.by_cluster.get(cluster)
            && cached.draft == *draft
            && cached.protocol == protocol
        {
            return ExternalSecurity::Tls(cached.tls.clone());
        }
        let made = made(draft, protocol);
        match made {
            Ok(configs) => {
                let tls = ExternalTls { configs: Arc::new(configs), server_name: draft.server_name.clone() };
                let cached = Cached { draft: draft.clone(), protocol, tls: tls.clone() };
                self.by_cluster.insert(cluster.to_owned(), cached);
                ExternalSecurity::Tls(tls)
            }
            Err(reason) => {
                tracing::error!(cluster, reason, "TLS cannot be spoken to a service outside the mesh");
                ExternalSecurity::Refused(Arc::from(reason))
            }
        }
    }

    /// The cluster is gone.
    pub(crate) fn forget(&mut self, cluster: &str) {
        self.by_cluster.remove(cluster);
    }
}

/// The configurations, or why there are none.
fn made(draft: &TlsDraft, protocol: v1::Protocol) -> Result<HopConfigs, String> {
    let roots = match &draft.roots {
        RootsDraft::Given { store, .. } => Arc::clone(store),
        RootsDraft::System => Arc::new(origination::system_roots().map_err(|error| error.to_string())?),
    };
    let config =
        |alpn| origination::config(&roots, draft.tls12, alpn).map_err(|error: TlsError| error.to_string());
    let main = match protocol {
        // Databases and caches know no ALPN; some break off at one that they do not know.
        v1::Protocol::Tcp => None,
        v1::Protocol::Http => Some(ALPN_HTTP1),
        v1::Protocol::Http2 | v1::Protocol::Grpc => Some(ALPN_H2),
    };
    Ok(HopConfigs { main: config(main)?, upgrade: config(Some(ALPN_HTTP1))?, expected: None, for_one: false })
}
