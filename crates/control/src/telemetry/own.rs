//! What the control plane counts of itself.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_model::{clock::Timestamp, metric::Distribution};
use bowline_plumbing::{
    exposition::{Exposition, Kind},
    wall_clock,
};

use super::exposition::write_durations;

/// Since the process began.
#[derive(Debug, Default)]
pub(crate) struct OwnCounters {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    issued: AtomicU64,
    not_issued: AtomicU64,
    /// In milliseconds.
    passes: Mutex<Distribution>,
    failed_passes: AtomicU64,
    /// When the last one ended, in milliseconds since 1970; 0: none has.
    passed_at: AtomicU64,
    last_failed: AtomicBool,
}

impl OwnCounters {
    /// A proxy has answered a response of the stream.
    pub(crate) fn answered(&self, refused: bool) {
        (if refused { &self.refused } else { &self.acknowledged }).fetch_add(1, Relaxed);
    }

    /// A proxy has asked for a certificate.
    pub(crate) fn asked_for_certificate(&self, issued: bool) {
        (if issued { &self.issued } else { &self.not_issued }).fetch_add(1, Relaxed);
    }

    /// The reconciler has passed over everything.
    pub(crate) fn passed(&self, took: Duration, failed: bool) {
        self.failed_passes.fetch_add(u64::from(failed), Relaxed);
        self.last_failed.store(failed, Relaxed);
        self.passed_at.store(wall_clock::now().as_millis(), Relaxed);
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.record(took.as_secs_f64() * 1e3, 1.0);
    }

    /// When the reconciler last passed over everything, and whether that failed.
    pub(crate) fn last_pass(&self) -> Option<(Timestamp, bool)> {
        let at = self.passed_at.load(Relaxed);
        (at > 0).then(|| (Timestamp::from_millis(at), self.last_failed.load(Relaxed)))
    }

    /// Writes all of it; `streams` are open now.
    pub(super) fn write(&self, out: &mut Exposition, streams: usize) {
        let help = "Streams of proxies that are open.";
        out.family("bowline_control_streams", Kind::Gauge, help).sample(&[], streams);
        let help = "Responses of the stream that proxies answered: acknowledged, or refused.";
        let mut family = out.family("bowline_control_stream_answers", Kind::Counter, help);
        family.sample(&[("answer", "ack")], self.acknowledged.load(Relaxed));
        family.sample(&[("answer", "nack")], self.refused.load(Relaxed));
        let help = "Certificates that proxies asked for: issued, or not.";
        let mut family = out.family("bowline_control_certificate_requests", Kind::Counter, help);
        family.sample(&[("outcome", "issued")], self.issued.load(Relaxed));
        family.sample(&[("outcome", "refused")], self.not_issued.load(Relaxed));
        let help = "Passes of the reconciler that failed.";
        let mut family = out.family("bowline_control_reconcile_failures", Kind::Counter, help);
        family.sample(&[], self.failed_passes.load(Relaxed));
        let passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut family =
            out.family("bowline_control_reconcile_seconds", Kind::Histogram, "Passes of the reconciler.");
        write_durations(&mut family, &[], &passes);
    }
}
