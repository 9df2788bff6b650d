//! When a failed try may be repeated, how many repetitions at once, and how
//! long to wait before one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far a failed try got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Provably nothing was processed: no connection, a refused stream, a
    /// request that never left.
    NothingProcessed,
    /// The server may have acted on it.
    MayBeProcessed,
    /// The server answered with a gRPC status, and without a message, for which
    /// whoever wrote the policy asked for another try: not committed in the
    /// words of gRFC A6.
    NotCommitted,
}

/// Whether repeating is safe: RFC 9110 §9.2.2 lets a proxy repeat what the
/// server has not processed, and else only idempotent methods; and the body
/// must still be at hand.
pub fn is_safe(progress: Progress, idempotent: bool, body_at_hand: bool) -> bool {
    body_at_hand && (idempotent || progress != Progress::MayBeProcessed)
}

/// Whether a method may be repeated without harm (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// gRPC statuses that can be asked to be tried again, by their numbers and
/// Envoy's names, which are App Mesh's `grpcRetryEvents`.
pub const GRPC_RETRIABLE: [(u8, &str); 5] = [
    (1, "cancelled"),
    (4, "deadline-exceeded"),
    (8, "resource-exhausted"),
    (13, "internal"),
    (14, "unavailable"),
];

/// How many retries there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Of the requests in flight. Default 20 (Envoy's).
    pub percent: u32,
    /// Always allowed. Default 3 (Envoy's `min_retry_concurrency`).
    pub min_concurrency: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_concurrency: 3 }
    }
}

impl RetryBudget {
    /// Whether one more retry may start while `retries` of `requests` in flight
    /// are retries (Envoy's retry budget).
    pub fn allows(&self, retries: usize, requests: usize) -> bool {
        let share = requests.saturating_mul(self.percent as usize) / 100;
        retries < share.max(self.min_concurrency as usize)
    }
}

/// How long to wait before a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    /// Default 25 ms (Envoy's).
    pub base: Duration,
    /// Default 250 ms (Envoy's, ten times the base).
    pub max: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl BackOff {
    /// The wait before the `retry`-th retry, the first being 1: at random up to
    /// `base · (2^retry − 1)`, `max` at most (Envoy's fully jittered back-off).
    /// `random` is any number.
    pub fn wait(&self, retry: u32, random: u64) -> Duration {
        let factor = 1u32.checked_shl(retry.min(31)).map_or(u32::MAX, |power| power - 1);
        let most = self.base.saturating_mul(factor).min(self.max);
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(((u128::from(random) * u128::from(most)) >> 64) as u64)
    }
}

/// Whether a server's `Retry-After` of so long is waited for: not where the
/// request would be over before, nor for longer than the policy says. Otherwise
/// the answer is the client's, who knows whether to wait.
pub fn waits_for(retry_after: Duration, longest: Duration, left: Option<Duration>) -> bool {
    retry_after <= longest && left.is_none_or(|left| retry_after < left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_post_is_repeated_only_if_nothing_was_processed() {
        assert!(is_safe(Progress::NothingProcessed, is_idempotent("POST"), true));
        assert!(!is_safe(Progress::MayBeProcessed, is_idempotent("POST"), true));
        assert!(is_safe(Progress::NotCommitted, is_idempotent("POST"), true));
        assert!(is_safe(Progress::MayBeProcessed, is_idempotent("GET"), true));
        assert!(!is_safe(Progress::MayBeProcessed, is_idempotent("PUT"), false));
        assert!(!is_idempotent("PATCH") && !is_idempotent("get"));
    }

    #[test]
    fn a_retry_after_is_waited_for_while_there_is_time() {
        let seconds = Duration::from_secs;
        assert!(waits_for(seconds(1), seconds(5), None));
        assert!(!waits_for(seconds(6), seconds(5), None));
        assert!(!waits_for(seconds(2), seconds(5), Some(seconds(2))));
        assert!(waits_for(seconds(2), seconds(5), Some(seconds(3))));
    }

    proptest! {
        #[test]
        fn retries_stay_within_their_share(
            requests in 0usize..10_000, percent in 0u32..=100, min_concurrency in 0u32..10,
        ) {
            let budget = RetryBudget { percent, min_concurrency };
            let mut retries = 0;
            while budget.allows(retries, requests) {
                retries += 1;
            }
            let share = (requests * percent as usize / 100).max(min_concurrency as usize);
            prop_assert_eq!(retries, share);
        }

        #[test]
        fn waits_grow_and_have_an_end(retry in 1u32..100, random: u64, base in 1u64..1_000, max in 1u64..10_000) {
            let back_off = BackOff { base: Duration::from_millis(base), max: Duration::from_millis(max) };
            let wait = back_off.wait(retry, random);
            prop_assert!(wait <= back_off.max);
            prop_assert!(retry > 1 || wait <= back_off.base);
            prop_assert!(back_off.wait(retry + 1, random) >= wait);
            prop_assert!(wait <= back_off.wait(retry, u64::MAX));
        }
    }
}
