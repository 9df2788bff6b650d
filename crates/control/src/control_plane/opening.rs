//! What is opened in a state directory, and what is listened on, when a control plane starts.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_plumbing::wall_clock;

use super::{
    ControlConfig, LOGS_DIRECTORY, LogStore, LogStoreError, METRICS_DIRECTORY, MetricStore, MetricStoreError,
    StartError, TRACES_DIRECTORY, TraceStore, TraceStoreError,
};
use crate::{
    api::xray::daemon::DaemonSockets,
    authorities::{Authorities, AuthoritiesError},
    master_key::MasterKey,
    registry::{RegistryError, RegistryWriter, SETTINGS, Settings},
};

pub(super) fn gateway_ca_path(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway-ca.pem")
}

pub(super) fn write_gateway_ca(state_dir: &Path, authorities: &Authorities) -> Result<(), AuthoritiesError> {
    std::fs::write(gateway_ca_path(state_dir), authorities.public_roots_pem()).map_err(AuthoritiesError::file)
}

pub(super) fn open_metrics(config: &ControlConfig) -> Result<MetricStore, MetricStoreError> {
    MetricStore::open(&config.state_dir.join(METRICS_DIRECTORY), config.metrics, Arc::new(wall_clock::now))
}

pub(super) fn listen_as_xray_daemon(address: SocketAddr) -> Result<DaemonSockets, StartError> {
    let bound = match address.ip().is_loopback() {
        true => DaemonSockets::bind(address),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "only on loopback")),
    };
    bound.map_err(|source| StartError::XrayDaemon { address, source })
}

pub(super) fn open_traces(config: &ControlConfig) -> Result<TraceStore, TraceStoreError> {
    TraceStore::open(&config.state_dir.join(TRACES_DIRECTORY), config.traces, Arc::new(wall_clock::now))
}

pub(super) fn open_logs(
    config: &ControlConfig,
    metrics: &Arc<MetricStore>,
) -> Result<LogStore, LogStoreError> {
    let directory = config.state_dir.join(LOGS_DIRECTORY);
    LogStore::open(&directory, config.logs, Arc::new(wall_clock::now), Some(Arc::clone(metrics) as _))
}

pub(super) fn open_master_key(
    config: &ControlConfig,
    writer: &RegistryWriter,
) -> Result<MasterKey, StartError> {
    let settings = writer.snapshot().settings();
    let has_sealed = !settings.master_key_canary.is_empty();
    let key = MasterKey::open_or_create(&config.state_dir, config.master_key.clone(), has_sealed)?;
    if has_sealed {
        key.check_canary(&settings.master_key_canary)?;
        return Ok(key);
    }
    let canary = key.canary().map_err(|source| StartError::Canary(Box::new(source)))?;
    writer.change::<_, RegistryError>(|registry| {
        registry.settings.put(
            SETTINGS,
            Settings {
                trust_domain: config.trust_domain.clone(),
                scope: config.scope.clone(),
                master_key_canary: canary,
                ..Settings::default()
            },
        );
        Ok(())
    })?;
    Ok(key)
}

/// Listens where this state directory did before, else where it is told to.
pub(super) fn listen(config: &ControlConfig, writer: &RegistryWriter) -> Result<TcpListener, StartError> {
    let kept = writer.snapshot().settings().discovery_address;
    let wanted = match (kept, config.discovery_listen.port()) {
        (Some(kept), 0) => kept,
        _ => config.discovery_listen,
    };
    let listener =
        TcpListener::bind(wanted).map_err(|source| StartError::Listen { address: wanted, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address: wanted, source })?;
    writer.change::<_, RegistryError>(|registry| {
        registry.settings.update(SETTINGS, |settings| settings.discovery_address = Some(address));
        Ok(())
    })?;
    Ok(listener)
}
