//! A container's health check as ECS defines it, without I/O.

use std::time::{Duration, Instant};

use bowline_model::task::{HealthCheckSpec, HealthStatus};

/// The first check comes so soon after the start. ECS waits one interval; nobody
/// gains from that, and traffic waits for the first success.
const FIRST_CHECK: Duration = Duration::from_millis(50);

/// What is known of a container's health.
#[derive(Debug)]
pub(crate) struct Health {
    spec: HealthCheckSpec,
    status: HealthStatus,
    failures: u32,
    started_at: Option<Instant>,
    next: Option<Instant>,
    /// Until the first success checks come faster than the interval says.
    eager: Duration,
    /// A failure counts when it is an interval after the one that counted last.
    counted_at: Option<Instant>,
}

impl Health {
    pub(crate) fn new(spec: HealthCheckSpec) -> Self {
        Self {
            spec,
            status: HealthStatus::Unknown,
            failures: 0,
            started_at: None,
            next: None,
            eager: FIRST_CHECK,
            counted_at: None,
        }
    }

    pub(crate) fn status(&self) -> HealthStatus {
        self.status
    }

    /// The container runs; the first check comes at once.
    pub(crate) fn started(&mut self, now: Instant) {
        self.started_at = Some(now);
        self.counted_at = Some(now);
        self.next = Some(now + self.eager.min(self.spec.interval));
    }

    /// When the next check is due; `None` while one runs.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a check is to run now; then the next one waits for its end.
    pub(crate) fn begin_if_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| now >= next);
        if due {
            self.next = None;
        }
        due
    }

    /// A check has ended. Failures during the start period do not count; one
    /// success ends it.
    pub(crate) fn done(&mut self, healthy: bool, now: Instant) {
        if healthy {
            self.next = Some(now + self.spec.interval);
            self.counted_at = Some(now);
            self.failures = 0;
            self.status = HealthStatus::Healthy;
            return;
        }
        self.next = Some(now + self.spec.interval);
        if self.status == HealthStatus::Unknown {
            self.eager = (self.eager * 2).min(self.spec.interval);
            self.next = Some(now + self.eager);
            if self.counted_at.is_some_and(|counted| now < counted + self.spec.interval) {
                return;
            }
        }
        self.counted_at = Some(now);
        let starting = self.status == HealthStatus::Unknown
            && self.started_at.is_some_and(|at| now < at + self.spec.start_period);
        if starting {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.spec.retries {
            self.status = HealthStatus::Unhealthy;
        }
    }
}

/// Program and arguments of an ECS health check: `CMD` runs them as they are,
/// `CMD-SHELL` gives the text to the container's shell.
pub(crate) fn program(command: &[String]) -> Vec<String> {
    match command.split_first() {
        Some((kind, rest)) if kind == "CMD" => rest.to_vec(),
        Some((kind, rest)) if kind == "CMD-SHELL" => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")]
        }
        _ => command.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn started(start: Instant) -> Health {
        let mut health = Health::new(HealthCheckSpec {
            command: Vec::new(),
            interval: 5 * SECOND,
            timeout: SECOND,
            retries: 2,
            start_period: 8 * SECOND,
        });
        health.started(start);
        health
    }

    #[test]
    fn the_first_checks_come_at_once_and_then_more_rarely() {
        let start = Instant::now();
        let mut health = started(start);
        assert!(health.begin_if_due(start + FIRST_CHECK));
        assert!(!health.begin_if_due(start + SECOND), "one at a time");
        let mut now = start + FIRST_CHECK;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            health.done(false, now);
            let next = health.next_check().expect("a check is due");
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses.is_sorted() && pauses[0] == 2 * FIRST_CHECK, "{pauses:?}");
        assert_eq!(pauses[9], 5 * SECOND);
    }

    #[test]
    fn failures_count_after_the_start_period_an_interval_apart_and_in_a_row() {
        let start = Instant::now();
        let mut health = started(start);
        health.done(false, start + 6 * SECOND);
        health.done(false, start + 11 * SECOND);
        health.done(false, start + 12 * SECOND);
        assert_eq!(health.status(), HealthStatus::Unknown, "one counted");
        health.done(true, start + 13 * SECOND);
        health.done(false, start + 16 * SECOND);
        assert_eq!(health.status(), HealthStatus::Healthy);
        health.done(false, start + 20 * SECOND);
        assert_eq!(health.status(), HealthStatus::Unhealthy);
    }

    #[test]
    fn what_never_gets_well_is_unhealthy() {
        let start = Instant::now();
        let mut health = started(start);
        for second in 1..=16 {
            health.done(false, start + second * SECOND);
        }
        assert_eq!(health.status(), HealthStatus::Unhealthy);
    }
}
