//! Outlier detection: which endpoints are left out for a while, because what
//! was sent to them failed. Envoy's algorithm; by itself what AWS promises.
//!
//! What is counted on the path of a request fits an atomic: [`Run`] packs into
//! 64 bits. What looks at all endpoints, [`success_rate_outliers`] and
//! [`latency_outliers`], is done once an interval.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// When and for how long an endpoint is ejected. The defaults are those that
/// AWS documents for Service Connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlierPolicy {
    /// Consecutive failures within `interval` that eject. Default 5.
    pub consecutive_failures: u32,
    /// Consecutive 502, 503, 504 and local failures within `interval` that
    /// eject; `None` (the default): not looked at.
    pub consecutive_gateway_failures: Option<u32>,
    /// Consecutive local failures (no connection, timeout, reset) within
    /// `interval` that eject, which then count only here. `None` (the default):
    /// they count as any failure.
    pub consecutive_local_failures: Option<u32>,
    /// The window of the failures. Default 30 s.
    pub interval: Duration,
    /// The first ejection's length; the n-th lasts n times as long. Default 30 s.
    pub base_ejection: Duration,
    /// The longest ejection. Default 300 s.
    pub max_ejection: Duration,
    /// Most of a cluster's endpoints that are ejected at once. Default 50.
    pub max_ejection_percent: u32,
    /// Ejects by the share of successes; off by default.
    pub success_rate: Option<SuccessRatePolicy>,
    /// Ejects by the time to a response; off by default.
    pub latency: Option<LatencyPolicy>,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            consecutive_gateway_failures: None,
            consecutive_local_failures: None,
            interval: Duration::from_secs(30),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 50,
            success_rate: None,
            latency: None,
        }
    }
}

/// Envoy's success rate ejection, with Envoy's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessRatePolicy {
    /// Endpoints with enough requests that there must be. Default 5.
    pub minimum_hosts: u32,
    /// Requests of an endpoint in an interval that are enough. Default 100.
    pub request_volume: u32,
    /// Standard deviations below the mean that eject, in thousandths. Default 1,900.
    pub stdev_factor: u32,
}

impl Default for SuccessRatePolicy {
    fn default() -> Self {
        Self { minimum_hosts: 5, request_volume: 100, stdev_factor: 1_900 }
    }
}

/// Ejection of endpoints that are much slower than the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyPolicy {
    /// Endpoints with enough requests that there must be. Default 3.
    pub minimum_hosts: u32,
    /// Requests of an endpoint in an interval that are enough. Default 20.
    pub request_volume: u32,
    /// Percent of the others' median from which on an endpoint is ejected. Default 300.
    pub factor_percent: u32,
    /// Faster than that is never ejected. Default 50 ms.
    pub minimum: Duration,
}

impl Default for LatencyPolicy {
    fn default() -> Self {
        Self { minimum_hosts: 3, request_volume: 20, factor_percent: 300, minimum: Duration::from_millis(50) }
    }
}

/// How a request or a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A 5xx that is not [`Failure::Gateway`].
    Server,
    /// 502, 503 or 504.
    Gateway,
    /// No connection, no answer in time, or a reset.
    Local,
}

impl Failure {
    /// What a response's status says; `None`: it is no failure.
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            502..=504 => Some(Self::Gateway),
            500.. => Some(Self::Server),
            _ => None,
        }
    }
}

/// A row of failures of one kind without a success between: how many, and when
/// the first was. Packs into 64 bits, 0 being none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    first: Timestamp,
    failures: u16,
}

impl Run {
    const COUNT_BITS: u32 = 16;

    /// From [`Run::pack`].
    pub fn unpack(packed: u64) -> Self {
        let failures = (packed & 0xFFFF) as u16;
        Self { first: Timestamp::from_millis(packed >> Self::COUNT_BITS), failures }
    }

    /// 48 bits of milliseconds, good until the year 10,889, and the count.
    pub fn pack(self) -> u64 {
        (self.first.as_millis() << Self::COUNT_BITS) | u64::from(self.failures)
    }

    /// One more failure. A row that began longer ago than the interval is over.
    #[must_use]
    pub fn failed(self, now: Timestamp, interval: Duration) -> Self {
        if self.failures == 0 || now.since(self.first) > interval {
            return Self { first: now, failures: 1 };
        }
        Self { failures: self.failures.saturating_add(1), ..self }
    }

    /// Whether it is so long that it ejects.
    pub fn reaches(self, threshold: u32) -> bool {
        u32::from(self.failures) >= threshold.clamp(1, u32::from(u16::MAX))
    }
}

/// Which rows a failure counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountsFor {
    /// [`OutlierPolicy::consecutive_failures`]
    pub failures: bool,
    /// [`OutlierPolicy::consecutive_gateway_failures`]
    pub gateway: bool,
    /// [`OutlierPolicy::consecutive_local_failures`]
    pub local: bool,
}

impl OutlierPolicy {
    /// Whether one more of `endpoints` may be ejected while `ejected` are.
    /// A lone endpoint is never ejected.
    pub fn allows_ejection(&self, ejected: usize, endpoints: usize) -> bool {
        endpoints > 1
            && (ejected + 1).saturating_mul(100)
                <= endpoints.saturating_mul(self.max_ejection_percent as usize)
    }

    /// Which rows a failure is added to. A local one counts as a 5xx, and as a
    /// gateway's, unless it has a row of its own (Envoy's
    /// `split_external_local_origin_errors`).
    pub fn counts(&self, failure: Failure) -> CountsFor {
        let split = self.consecutive_local_failures.is_some() && failure == Failure::Local;
        CountsFor {
            failures: !split,
            gateway: self.consecutive_gateway_failures.is_some() && !split && failure != Failure::Server,
            local: split,
        }
    }
}

/// An endpoint's ejections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ejections {
    /// How many in a row; shrinks while the endpoint behaves.
    count: u32,
    last_return: Timestamp,
}

impl Ejections {
    /// Leaves the endpoint out, and returns until when.
    pub fn eject(&mut self, now: Timestamp, policy: &OutlierPolicy) -> Timestamp {
        // Each interval of good behaviour takes one earlier ejection back.
        let good = now.since(self.last_return).as_millis() / policy.interval.as_millis().max(1);
        self.count = self.count.saturating_sub(u32::try_from(good).unwrap_or(u32::MAX));
        self.count = self.count.saturating_add(1);
        // As Envoy, a base that is longer than the longest counts.
        let longest = policy.max_ejection.max(policy.base_ejection);
        let until = now + policy.base_ejection.saturating_mul(self.count).min(longest);
        self.last_return = until;
        until
    }
}

/// What was seen of an endpoint in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Requests that were answered or failed.
    pub requests: u32,
    /// Of these, successes.
    pub successes: u32,
    /// Time to the responses' heads, all successes together.
    pub latency: Duration,
}

/// The places of endpoints whose share of successes is an outlier, the worst first.
pub fn success_rate_outliers(observed: &[Observed], policy: &SuccessRatePolicy) -> Vec<usize> {
    let enough = |seen: &&Observed| seen.requests >= policy.request_volume.max(1);
    let rate = |seen: &Observed| f64::from(seen.successes) / f64::from(seen.requests.max(1));
    let rates: Vec<f64> = observed.iter().filter(enough).map(rate).collect();
    if rates.len() < policy.minimum_hosts.max(1) as usize {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    let threshold = mean - variance.sqrt() * f64::from(policy.stdev_factor) / 1_000.0;
    worst_first(observed, |seen| {
        let rate = rate(seen);
        (enough(&seen) && rate < threshold).then_some(-rate)
    })
}

/// The places of endpoints that are much slower than the others, the slowest first.
pub fn latency_outliers(observed: &[Observed], policy: &LatencyPolicy) -> Vec<usize> {
    let mean = |seen: &Observed| {
        (seen.successes >= policy.request_volume.max(1))
            .then(|| seen.latency.as_secs_f64() / f64::from(seen.successes))
    };
    let mut means: Vec<f64> = observed.iter().filter_map(mean).collect();
    if means.len() < policy.minimum_hosts.max(2) as usize {
        return Vec::new();
    }
    means.sort_by(f64::total_cmp);
    // Of an even number the lower middle: the slow half does not set the measure.
    let median = means[(means.len() - 1) / 2];
    let threshold =
        (median * f64::from(policy.factor_percent.max(100)) / 100.0).max(policy.minimum.as_secs_f64());
    worst_first(observed, |seen| mean(seen).filter(|mean| *mean > threshold))
}

fn worst_first(observed: &[Observed], badness: impl Fn(&Observed) -> Option<f64>) -> Vec<usize> {
    let mut bad: Vec<(f64, usize)> =
        observed.iter().enumerate().filter_map(|(place, seen)| Some((badness(seen)?, place))).collect();
    bad.sort_by(|a, b| b.0.total_cmp(&a.0));
    bad.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests;
