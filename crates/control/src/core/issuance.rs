//! Certificates of tasks, signed and recorded.

use bowline_model::task::TaskId;
use bowline_plumbing::wall_clock;
use bowline_stream::directory::IssuedCertificate;

use super::{
    Core,
    revocations::{KeepError, refuse_barred},
};
use crate::{
    authorities::LeafOrder,
    ca::{self, CheckedCsr},
    registry::CertificateRecord,
};

/// How often a certificate is signed anew as authorities have changed meanwhile.
const ISSUE_ATTEMPTS_MAX: u32 = 5;

impl Core {
    /// Signs and records. What bears on it is asked again where nothing can come between, and what was
    /// signed meanwhile is thrown away: a task that may have no certificate has none, and whoever has one
    /// is known before an authority comes or goes.
    pub(super) fn issue_and_keep(
        &self,
        task: &TaskId,
        name: &str,
        order: &LeafOrder,
        csr: &CheckedCsr,
    ) -> Result<IssuedCertificate, KeepError> {
        for _ in 0..ISSUE_ATTEMPTS_MAX {
            let opened = self.authorities.opened();
            let now = wall_clock::now();
            let issued = opened.issue(order, csr, now)?;
            let record = CertificateRecord {
                serial: issued.serial.clone(),
                task: task.clone(),
                name: name.to_owned(),
                spiffe_id: issued.spiffe_id.clone(),
                not_before: issued.not_before,
                not_after: issued.not_after,
                authority: Some(issued.authority.clone()),
                chain_pem: issued.chain_der.iter().map(|der| ca::certificate_pem(der)).collect(),
                issued_at: now,
            };
            // What is published does not depend on certificates: the streams are not woken.
            let kept = self.writer.change::<_, KeepError>(|registry| {
                refuse_barred(registry, task)?;
                if !opened.is_of(registry) {
                    return Ok(false);
                }
                registry.certificates.put(record.serial.clone(), record);
                Ok(true)
            })?;
            if kept {
                return Ok(issued);
            }
            self.reload_authorities()?;
        }
        Err(KeepError::Unsteady)
    }
}
