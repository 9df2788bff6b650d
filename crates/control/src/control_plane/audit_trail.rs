//! Where a control plane keeps its audit trail.

use std::sync::Arc;

use bowline_plumbing::disk::Disk;

use super::{ControlConfig, StartError};
use crate::{
    audit::{AuditError, AuditLog, AuditOptions},
    core::Core,
    master_key::MasterKey,
};

/// Directory of the audit trail in a state directory.
pub const AUDIT_DIRECTORY: &str = "audit";

/// The audit trail's key is the one that the master key derives for this label.
pub const AUDIT_KEY_LABEL: &str = "bowline audit trail";

/// Most records that an ephemeral control plane keeps.
const EPHEMERAL_RECORDS_MAX: usize = 10_000;

/// Opens the trail, or begins one. The caller holds the state directory's lock.
pub(super) async fn open(
    config: &ControlConfig,
    master_key: &MasterKey,
    disk: Disk,
) -> Result<Arc<AuditLog>, StartError> {
    if config.ephemeral {
        return Ok(Arc::new(AuditLog::in_memory(EPHEMERAL_RECORDS_MAX)));
    }
    let dir = config.state_dir.join(AUDIT_DIRECTORY);
    let key = master_key.derive(AUDIT_KEY_LABEL);
    let of_trail = dir.clone();
    let options = AuditOptions { disk, ..AuditOptions::default() };
    let open = move || AuditLog::open(of_trail, key.as_bytes(), options);
    // It reads up to 64 MiB.
    let opened = tokio::task::spawn_blocking(open).await.unwrap_or(Err(AuditError::Ended));
    opened.map(Arc::new).map_err(|source| match source {
        AuditError::Tampered { .. } => StartError::AuditTampered { dir, source },
        _ => StartError::Audit { dir, source },
    })
}

/// Waits until all that was recorded is on the disk, and closes the trail.
pub(super) async fn close(core: &Arc<Core>) {
    let audit = Arc::clone(core.audit());
    if let Err(error) = tokio::task::spawn_blocking(move || audit.close()).await {
        tracing::error!(%error, "the audit trail could not be closed");
    }
}
