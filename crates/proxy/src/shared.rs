//! What all threads of a proxy share, read-only on the path of a request.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use crate::{
    access_log::AccessLog, application::Dialer, config::Snapshot, disturbance::Disturbance, hops::Hops,
    metrics::Metrics, overload::Overload, tap::Taps, tls::application::ApplicationAuthority,
    trace::SpanQueue,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) dialer: Dialer,
    /// Where the application listens, unless its cluster says otherwise.
    pub(crate) application_address: IpAddr,
    pub(crate) workers: usize,
    /// Mints what the task's application is shown when it calls `https://` on
    /// an alias; `None`: such calls are closed.
    pub(crate) application_authority: Option<ApplicationAuthority>,
    /// What is open to other proxies.
    pub(crate) hops: Arc<Hops>,
    /// The host names of servers outside the mesh may be others now.
    pub(crate) names_changed: tokio::sync::Notify,
    /// What is to be checked may be something else now.
    pub(crate) checks_changed: tokio::sync::Notify,
    /// What new work is given up.
    pub(crate) overload: Overload,
    /// Spans that have ended.
    pub(crate) spans: SpanQueue,
    /// Who looks at requests while they pass.
    pub(crate) taps: Taps,
    /// What is shown to other proxies on purpose.
    pub(crate) shown: watch::Sender<ShownVersion>,
    /// What is wrong with this proxy on purpose.
    pub(crate) disturbance: ArcSwapOption<Disturbance>,
}

/// Which staged certificate is shown to other proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShownVersion {
    /// `None`: the proxy's own.
    pub(crate) version: Option<String>,
    /// A part of the handshakes shows the proxy's own.
    pub(crate) is_partial: bool,
}

impl Shared {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        access_log: Option<AccessLog>,
        dialer: Dialer,
        application_address: Ipv4Addr,
        workers: usize,
        application_authority: Option<ApplicationAuthority>,
    ) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            metrics,
            access_log,
            dialer,
            application_address: application_address.into(),
            workers,
            application_authority,
            hops: Arc::default(),
            names_changed: tokio::sync::Notify::new(),
            checks_changed: tokio::sync::Notify::new(),
            overload: Overload::default(),
            spans: SpanQueue::default(),
            taps: Taps::default(),
            shown: watch::Sender::default(),
            disturbance: ArcSwapOption::default(),
        }
    }
}
