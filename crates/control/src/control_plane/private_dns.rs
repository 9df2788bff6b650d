//! The DNS server of a control plane: where it listens, and how it learns of changes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bowline_plumbing::wall_clock;
use tokio::time::Instant;

use super::{StartError, pace::Pace};
use crate::{
    cloud_map::index::DiscoveryCache,
    core::Core,
    dns::{
        DnsConfig, DnsServer, Zones,
        feed::Feed,
        spoof::{SpoofedZones, Spoofs},
        zone::ZoneTable,
    },
    registry::{Registry, RegistryError, RegistryWriter, SETTINGS},
};

/// Longest time that a name waits for others which have changed: whoever registers one looks for it at once.
const CHANGES_WAIT_MAX: Duration = Duration::from_millis(5);

/// A DNS server that answers, from names that nobody keeps in step yet.
pub(super) struct PrivateDns {
    pub(super) server: DnsServer,
    feed: Mutex<Feed>,
    table: Arc<ArcSwap<ZoneTable>>,
    /// What it answers wrongly on purpose.
    pub(super) spoofs: Arc<Spoofs>,
}

impl PrivateDns {
    /// Listens, with the names of this moment: whoever asks at once is not told that there are none.
    pub(super) fn start(config: &DnsConfig, writer: &RegistryWriter) -> Result<Self, StartError> {
        let mut feed = Feed::default();
        let registry = writer.snapshot();
        let index = DiscoveryCache::default().at(&registry, wall_clock::now);
        let table = feed.table(&registry, &index, seconds()).unwrap_or_default();
        let table = Arc::new(ArcSwap::from_pointee(table));
        let spoofs = Arc::<Spoofs>::default();
        let zones = SpoofedZones { spoofs: Arc::clone(&spoofs), zones: Arc::clone(&table) as _ };
        let server = listen(config, &registry, &(Arc::new(zones) as _))?;
        let address = server.local_addr();
        if registry.settings().dns_address != Some(address) {
            writer.change::<_, RegistryError>(|registry| {
                registry.settings.update(SETTINGS, |settings| settings.dns_address = Some(address));
                Ok(())
            })?;
        }
        Ok(Self { server, feed: Mutex::new(feed), table, spoofs })
    }

    /// Keeps the names in step with the registry. Changes that come while a table is made are in
    /// the next one together.
    pub(super) async fn follow(self: Arc<Self>, core: Arc<Core>) {
        let mut generation = core.registry_generation();
        let mut pace = Pace::new(CHANGES_WAIT_MAX);
        loop {
            generation.mark_unchanged();
            let began = Instant::now();
            let (this, of) = (Arc::clone(&self), Arc::clone(&core));
            // Thousands of services take milliseconds, which requests must not wait for.
            if let Err(error) = tokio::task::spawn_blocking(move || this.update(&of)).await {
                tracing::error!(%error, "the DNS server's names could not be brought up to date");
            }
            pace.looked(began, Instant::now());
            if generation.changed().await.is_err() {
                return;
            }
            pace.turn().await;
        }
    }

    fn update(&self, core: &Core) {
        let registry = core.registry();
        let index = core.discovery();
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = feed.table(&registry, &index, seconds()) {
            self.table.store(Arc::new(table));
        }
    }
}

fn seconds() -> u64 {
    wall_clock::now().as_millis() / 1_000
}

/// Listens where this state directory did before, if the port may be any and that one is still
/// free; tasks are told where it is.
fn listen(config: &DnsConfig, registry: &Registry, zones: &Arc<dyn Zones>) -> Result<DnsServer, StartError> {
    let start = |config: DnsConfig| DnsServer::start(config, Arc::clone(zones));
    if let ([wanted], Some(kept)) = (&config.listen[..], registry.settings().dns_address)
        && wanted.port() == 0
        && wanted.ip() == kept.ip()
        && let Ok(server) = start(DnsConfig { listen: vec![kept], ..config.clone() })
    {
        return Ok(server);
    }
    start(config.clone()).map_err(|source| StartError::Dns { addresses: text(&config.listen), source })
}

fn text(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
