//! When a failed try may be repeated, and how many repetitions at once.

/// How far a failed try got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Provably nothing was processed: no connection, a refused stream, a
    /// request that never left.
    NothingProcessed,
    /// The server may have acted on it.
    MayBeProcessed,
}

/// Whether repeating is safe: RFC 9110 §9.2.2 lets a proxy repeat what the
/// server has not processed, and else only idempotent methods; and the body
/// must still be at hand.
pub fn is_safe(progress: Progress, idempotent: bool, body_at_hand: bool) -> bool {
    body_at_hand && (idempotent || progress == Progress::NothingProcessed)
}

/// Whether a method may be repeated without harm (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// Retries in flight that are always allowed (Envoy's `min_retry_concurrency`).
pub const RETRIES_ALWAYS_ALLOWED: usize = 3;

/// Whether one more retry may start while `retries` of `requests` in flight
/// are retries, with a budget of `percent` (Envoy's retry budget).
pub fn within_budget(retries: usize, requests: usize, percent: u32) -> bool {
    let allowed = (requests.saturating_mul(percent as usize) / 100).max(RETRIES_ALWAYS_ALLOWED);
    retries < allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_post_is_repeated_only_if_nothing_was_processed() {
        assert!(is_safe(Progress::NothingProcessed, is_idempotent("POST"), true));
        assert!(!is_safe(Progress::MayBeProcessed, is_idempotent("POST"), true));
        assert!(is_safe(Progress::MayBeProcessed, is_idempotent("GET"), true));
        assert!(!is_safe(Progress::MayBeProcessed, is_idempotent("PUT"), false));
        assert!(!is_idempotent("PATCH") && !is_idempotent("get"));
    }

    proptest! {
        #[test]
        fn retries_stay_within_their_share(requests in 0usize..10_000, percent in 0u32..=100) {
            let mut retries = 0;
            while within_budget(retries, requests, percent) {
                retries += 1;
            }
            prop_assert!(retries >= RETRIES_ALWAYS_ALLOWED);
            prop_assert!(retries <= (requests * percent as usize / 100).max(RETRIES_ALWAYS_ALLOWED));
        }
    }
}
