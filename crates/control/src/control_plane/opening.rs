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
    replace(&gateway_ca_path(state_dir), authorities.public_roots_pem().as_bytes())
        .map_err(AuthoritiesError::file)
}

/// Writes a file that others may read meanwhile: they see what was in it, or what is, whole.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    std::fs::write(&draft, content)?;
    std::fs::rename(&draft, path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_a_file_that_is_replaced_sees_all_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gateway-ca.pem");
        let contents = ["a".repeat(40_000), "b".repeat(50_000)];
        replace(&path, contents[0].as_bytes()).expect("it is written");
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for turn in 0..500 {
                    replace(&path, contents[turn % 2].as_bytes()).expect("it is written");
                }
            });
            while !writing.is_finished() {
                let read = std::fs::read_to_string(&path).expect("it is there");
                assert!(contents.contains(&read), "{} bytes", read.len());
            }
        });
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 1);
    }
}
