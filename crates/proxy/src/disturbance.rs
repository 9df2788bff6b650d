//! What is wrong with this proxy itself for a while, on purpose: its clock, or that it answers in place of the task's
//! application. It has a deadline that is kept here, whatever has become of the control plane.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use bowline_discovery::v1;
use bowline_model::{
    clock::Timestamp,
    fault::{ALL, ANSWER_DELAY_MAX, CLOCK_MAX, LASTING_MAX},
};
use bowline_plumbing::wall_clock;
use http::StatusCode;

use crate::{metrics::Flag, reply::Failure, worker::Worker};

/// A disturbance in force.
#[derive(Debug)]
pub(crate) struct Disturbance {
    /// Names it to the control plane.
    pub(crate) version: String,
    /// It is over then, whether anybody says so or not.
    pub(crate) until: Instant,
    /// Requests that came for the application meanwhile.
    arrived: AtomicU64,
    answers: Option<Answers>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answers {
    status: StatusCode,
    after: Duration,
    per_million: u32,
}

impl Disturbance {
    /// What is asked for, from `now` on.
    pub(crate) fn new(wanted: &v1::Disturbance, now: Timestamp) -> Self {
        let left = Timestamp::from_millis(wanted.ends_at_unix_ms).since(now).min(LASTING_MAX);
        let answers = status_of(wanted).map(|status| Answers {
            status,
            after: Duration::from_millis(wanted.after_ms.into()).min(ANSWER_DELAY_MAX),
            per_million: wanted.per_million,
        });
        let (version, until) = (wanted.version.clone(), Instant::now() + left);
        Self { version, until, arrived: AtomicU64::new(0), answers }
    }

    /// Requests that came while it was in force.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Counts a request. How it is answered in place of the application, and after how long.
    fn arrives(&self, random: u64) -> Option<Answers> {
        if Instant::now() >= self.until {
            return None;
        }
        self.arrived.fetch_add(1, Relaxed);
        self.answers.filter(|answers| random % u64::from(ALL) < u64::from(answers.per_million))
    }
}

fn status_of(wanted: &v1::Disturbance) -> Option<StatusCode> {
    let status = u16::try_from(wanted.status).ok().filter(|status| *status != 0)?;
    StatusCode::from_u16(status).ok()
}

/// Whether it can be.
pub(crate) fn is_possible(wanted: &v1::Disturbance) -> bool {
    Duration::from_millis(wanted.clock_ahead_ms.unsigned_abs()) <= CLOCK_MAX
        && (wanted.status == 0 || (400..600).contains(&wanted.status))
        && wanted.per_million <= ALL
}

/// A request has come for the application. The failure that it ends with, if it is answered in its place.
pub(crate) async fn meet(worker: &Worker) -> Option<Failure> {
    let met = {
        let disturbance = worker.shared.disturbance.load();
        disturbance.as_ref()?.arrives(worker.random())
    };
    let Answers { status, after, .. } = met?;
    tokio::time::sleep(after).await;
    Some(Failure::new(status, Flag::FaultInjected, "answered in place of the application, on purpose"))
}

/// Has the process' clock be as `wanted` says until then; without one, it is right.
pub(crate) fn set_clock(wanted: Option<(&v1::Disturbance, Instant)>) {
    match wanted {
        Some((wanted, until)) => wall_clock::set_wrong(wanted.clock_ahead_ms, until),
        None => wall_clock::set_wrong(0, Instant::now()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ends_at_unix_ms: u64) -> v1::Disturbance {
        let (status, after_ms, per_million) = (503, 20, ALL / 4);
        v1::Disturbance { ends_at_unix_ms, status, after_ms, per_million, ..v1::Disturbance::default() }
    }

    #[test]
    fn a_share_is_answered_all_are_counted_and_after_its_end_none() {
        let now = Timestamp::from_secs(1_000);
        let disturbance = Disturbance::new(&wanted((now + Duration::from_secs(60)).as_millis()), now);
        let answered = (0..1_000_000_u64).step_by(1_000).filter_map(|random| disturbance.arrives(random));
        assert_eq!((answered.count(), disturbance.arrived()), (250, 1_000));
        let over = Disturbance::new(&wanted(now.as_millis()), now);
        assert_eq!((over.arrives(0), over.arrived()), (None, 0));
    }

    #[test]
    fn what_has_no_sense_is_refused() {
        assert!(is_possible(&wanted(0)));
        assert!(!is_possible(&v1::Disturbance { status: 200, ..wanted(0) }));
        assert!(!is_possible(&v1::Disturbance { per_million: ALL + 1, ..wanted(0) }));
        assert!(!is_possible(&v1::Disturbance { clock_ahead_ms: i64::MIN, ..wanted(0) }));
    }
}
