//! The experiments that there are.

mod backend_unavailable;
mod certificate_expiry;

pub use backend_unavailable::BackendUnavailable;
pub use certificate_expiry::CertificateExpiry;

use crate::experiment::Experiment;

/// All of them, in the order of the table of `docs/src/chaos.md`.
pub const ALL: &[&dyn Experiment] = &[&CertificateExpiry, &BackendUnavailable];

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Experiment> {
    ALL.iter().copied().find(|experiment| experiment.name() == name)
}
