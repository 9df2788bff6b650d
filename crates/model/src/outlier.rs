//! Outlier detection: which endpoints are left out for a while, because what
//! was sent to them failed. Envoy's algorithm, as far as AWS promises it.

use std::time::Duration;

use crate::clock::Timestamp;

/// When and for how long an endpoint is ejected. The defaults are those that
/// AWS documents for Service Connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierPolicy {
    /// Consecutive failures within `interval` that eject. Default 5.
    pub consecutive_failures: u32,
    /// The window of the failures. Default 30 s.
    pub interval: Duration,
    /// The first ejection's length; the n-th lasts n times as long. Default 30 s.
    pub base_ejection: Duration,
    /// The longest ejection. Default 300 s.
    pub max_ejection: Duration,
    /// Most of a cluster's endpoints that are ejected at once. Default 50.
    pub max_ejection_percent: u32,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            interval: Duration::from_secs(30),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

impl OutlierPolicy {
    /// Whether one more of `endpoints` may be ejected while `ejected` are.
    /// A lone endpoint is never ejected.
    pub fn allows_ejection(&self, ejected: usize, endpoints: usize) -> bool {
        (ejected + 1).saturating_mul(100) <= endpoints.saturating_mul(self.max_ejection_percent as usize)
    }
}

/// What is known of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlier {
    failures: u32,
    first_failure: Timestamp,
    /// How many ejections in a row; shrinks while the endpoint behaves.
    ejections: u32,
    ejected_until: Option<Timestamp>,
    last_return: Timestamp,
}

impl Outlier {
    /// A request or connection succeeded: the run of failures is over.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A request or connection failed. True when that is one failure too many
    /// and the endpoint should be ejected (see [`Outlier::eject`]).
    pub fn failed(&mut self, now: Timestamp, policy: &OutlierPolicy) -> bool {
        if self.failures == 0 || now.since(self.first_failure) > policy.interval {
            self.failures = 0;
            self.first_failure = now;
        }
        self.failures = self.failures.saturating_add(1);
        self.failures >= policy.consecutive_failures && !self.is_ejected(now)
    }

    /// Leaves the endpoint out, and returns until when.
    pub fn eject(&mut self, now: Timestamp, policy: &OutlierPolicy) -> Timestamp {
        // Each interval of good behaviour takes one earlier ejection back.
        let good = now.since(self.last_return).as_millis() / policy.interval.as_millis().max(1);
        self.ejections = self.ejections.saturating_sub(u32::try_from(good).unwrap_or(u32::MAX));
        self.ejections = self.ejections.saturating_add(1);
        let length = policy.base_ejection.saturating_mul(self.ejections).min(policy.max_ejection);
        let until = now + length;
        self.failures = 0;
        self.ejected_until = Some(until);
        self.last_return = until;
        until
    }

    /// Whether the endpoint is left out at `now`.
    pub fn is_ejected(&self, now: Timestamp) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn ejects_after_five_failures_in_thirty_seconds_for_longer_each_time() {
        let policy = OutlierPolicy::default();
        let mut outlier = Outlier::default();
        for second in 0..4 {
            assert!(!outlier.failed(at(second), &policy));
        }
        assert!(outlier.failed(at(4), &policy));
        assert_eq!(outlier.eject(at(4), &policy), at(34));
        assert!(outlier.is_ejected(at(33)));
        assert!(!outlier.is_ejected(at(34)));
        for _ in 0..5 {
            outlier.failed(at(35), &policy);
        }
        assert_eq!(outlier.eject(at(35), &policy), at(95), "the second lasts twice as long");
    }

    #[test]
    fn failures_far_apart_or_with_a_success_between_do_not_eject() {
        let policy = OutlierPolicy::default();
        let mut outlier = Outlier::default();
        for index in 0..20 {
            assert!(!outlier.failed(at(index * 31), &policy));
        }
        for _ in 0..20 {
            outlier.failed(at(1_000), &policy);
            outlier.succeeded();
        }
        assert!(!outlier.failed(at(1_000), &policy));
    }

    #[test]
    fn half_of_the_endpoints_stay() {
        let policy = OutlierPolicy::default();
        assert!(!policy.allows_ejection(0, 1));
        assert!(policy.allows_ejection(0, 2));
        assert!(!policy.allows_ejection(1, 2));
        assert!(policy.allows_ejection(1, 4));
    }

    proptest! {
        #[test]
        fn no_ejection_is_longer_than_the_longest(steps in prop::collection::vec((0u64..100, any::<bool>()), 1..200)) {
            let policy = OutlierPolicy::default();
            let mut outlier = Outlier::default();
            let mut now = 0;
            for (wait, ok) in steps {
                now += wait;
                if ok {
                    outlier.succeeded();
                } else if outlier.failed(at(now), &policy) {
                    let until = outlier.eject(at(now), &policy);
                    prop_assert!(until.since(at(now)) <= policy.max_ejection);
                    prop_assert!(until.since(at(now)) >= policy.base_ejection);
                    prop_assert!(outlier.is_ejected(at(now)));
                    prop_assert!(!outlier.is_ejected(until));
                }
            }
        }
    }
}
