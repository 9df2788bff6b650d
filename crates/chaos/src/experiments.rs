//! The experiments that there are.

mod backend_unavailable;
mod certificate_expiry;
mod clock;
mod compromise;
mod control_plane;
mod described;
mod disk;
mod faulty_certificates;
mod impostors;
mod issuance;
mod load;
mod network;
mod partition;
mod renewal;
mod restarts;
mod storm;

pub use backend_unavailable::BackendUnavailable;
pub use certificate_expiry::CertificateExpiry;
pub use clock::CLOCK_SKEW;
pub use compromise::SECRET_COMPROMISE;
pub use control_plane::{ControlPlaneKilled, GARBAGE_ON_STREAM};
pub use described::Described;
pub use disk::DISK_FULL;
pub use faulty_certificates::{
    BACKEND_CERTIFICATE_MISMATCH, CERTIFICATE_REVOCATION, INVALID_CHAIN, INVALID_CLIENT_CERTIFICATE,
    KEY_CERTIFICATE_MISMATCH, UNTRUSTED_CA,
};
pub use impostors::{DNS_SPOOFING, TLS_DOWNGRADE};
pub use issuance::CA_UNREACHABLE;
pub use load::{HIGH_TLS_LOAD, LAYER7_FLOOD};
pub use network::{DROPPED_PACKETS, HIGH_LATENCY};
pub use partition::ONE_WAY_PARTITION;
pub use renewal::{CERTIFICATE_ROTATION, HOT_RELOAD};
pub use restarts::{CLUSTER_FAILURE, TASK_RESTART};
pub use storm::RETRY_STORM;

use crate::experiment::Experiment;

/// All of them, in the order of the table of `docs/src/chaos.md`.
pub const ALL: &[&dyn Experiment] = &[
    &CertificateExpiry,
    &INVALID_CLIENT_CERTIFICATE,
    &CERTIFICATE_REVOCATION,
    &CERTIFICATE_ROTATION,
    &DNS_SPOOFING,
    &TLS_DOWNGRADE,
    &BackendUnavailable,
    &SECRET_COMPROMISE,
    &TASK_RESTART,
    &HIGH_TLS_LOAD,
    &DROPPED_PACKETS,
    &HIGH_LATENCY,
    &BACKEND_CERTIFICATE_MISMATCH,
    &UNTRUSTED_CA,
    &HOT_RELOAD,
    &INVALID_CHAIN,
    &KEY_CERTIFICATE_MISMATCH,
    &LAYER7_FLOOD,
    &CLUSTER_FAILURE,
    &ControlPlaneKilled,
    &CA_UNREACHABLE,
    &GARBAGE_ON_STREAM,
    &DISK_FULL,
    &CLOCK_SKEW,
    &ONE_WAY_PARTITION,
    &RETRY_STORM,
];

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Experiment> {
    ALL.iter().copied().find(|experiment| experiment.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_says_what_it_is() {
        for (place, experiment) in ALL.iter().enumerate() {
            assert!(ALL[..place].iter().all(|other| other.name() != experiment.name()));
            assert!(named(experiment.name()).is_some_and(|found| found.title() == experiment.title()));
            for text in [experiment.hypothesis(), experiment.how(), experiment.expected()] {
                assert!(!text.is_empty() && !text.contains("  "), "{text:?}");
            }
        }
    }

    #[test]
    fn each_has_a_row_of_the_page_in_this_order() {
        let page = include_str!("../../../docs/src/chaos.md");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), ALL.len());
        for (row, experiment) in rows.iter().zip(ALL) {
            let begin = format!("| `{}` | ", experiment.name());
            assert!(row.starts_with(&begin), "{row} is not of {}", experiment.name());
        }
    }
}
