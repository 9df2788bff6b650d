//! When a proxy gives up new work because its memory runs out. Envoy's overload manager does the
//! same by its actions `stop_accepting_requests` and `stop_accepting_connections`.

use std::time::Duration;

/// Per mille of the limit from which new requests are answered 503.
pub const REQUESTS_AT: u64 = 900;
/// Per mille of the limit from which no new connections are accepted.
pub const CONNECTIONS_AT: u64 = 950;
/// Per mille below which the memory has to fall before it is as it was.
const SLACK: u64 = 50;
/// How often the memory is looked at near the limit.
pub const LOOK_AT_LEAST_AFTER: Duration = Duration::from_millis(100);
/// How seldom the memory is looked at, far from the limit.
pub const LOOK_AT_MOST_AFTER: Duration = Duration::from_secs(1);
/// Bytes by which a proxy's memory is taken to grow in a millisecond at most: several times what a core reads through TLS.
const GROWS_BY: u64 = 4 << 20;

/// What is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shedding {
    /// Nothing.
    #[default]
    None,
    /// New requests.
    Requests,
    /// New requests and new connections.
    Connections,
}

impl Shedding {
    /// What is given up next, as `used` bytes of `limit` are taken. More is given up at once, less
    /// only when the memory has fallen well below: what was shed comes back all at once.
    #[must_use]
    pub fn next(self, used: u64, limit: u64) -> Self {
        let reached = |per_mille| u128::from(used) * 1_000 >= u128::from(limit) * u128::from(per_mille);
        let from = |slack| match () {
            () if reached(CONNECTIONS_AT - slack) => Self::Connections,
            () if reached(REQUESTS_AT - slack) => Self::Requests,
            () => Self::None,
        };
        from(0).max(from(SLACK).min(self))
    }
}

/// When the memory is looked at next: before it can have got to where requests are given up, but no sooner than
/// [`LOOK_AT_LEAST_AFTER`].
///
/// Each look wakes a thread that may be in a request's way.
#[must_use]
pub fn next_look(used: u64, limit: u64) -> Duration {
    let left = (limit / 1_000 * REQUESTS_AT).saturating_sub(used);
    Duration::from_millis(left / GROWS_BY).clamp(LOOK_AT_LEAST_AFTER, LOOK_AT_MOST_AFTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gives_up_at_once_and_comes_back_late() {
        let mut shedding = Shedding::None;
        let steps = [
            (899, Shedding::None),
            (900, Shedding::Requests),
            (949, Shedding::Requests),
            (950, Shedding::Connections),
            (900, Shedding::Connections),
            (899, Shedding::Requests),
            (850, Shedding::Requests),
            (849, Shedding::None),
            (2_000, Shedding::Connections),
            (0, Shedding::None),
        ];
        for (used, expected) in steps {
            shedding = shedding.next(used, 1_000);
            assert_eq!(shedding, expected, "{used}");
        }
        assert_eq!(Shedding::None.next(u64::MAX, u64::MAX), Shedding::Connections);
    }

    #[test]
    fn looks_more_often_the_nearer_the_limit_is() {
        const GIB: u64 = 1 << 30;
        for (used, limit, expected) in [
            (20 << 20, 64 << 20, 100),
            (0, GIB, 230),
            (GIB, 4 * GIB, 665),
            (3 * GIB, 4 * GIB, 153),
            (20 << 20, 6 * GIB, 1_000),
            (6 * GIB, 6 * GIB, 100),
            (0, u64::MAX, 1_000),
        ] {
            assert_eq!(next_look(used, limit), Duration::from_millis(expected), "{used} of {limit}");
        }
    }

    proptest! {
        /// More memory never sheds less, and what is shed stays shed while the memory stays.
        #[test]
        fn is_monotonic_and_settles(before in 0_u8..3, used in 0_u64..2_000, more in 0_u64..500) {
            let before = [Shedding::None, Shedding::Requests, Shedding::Connections][usize::from(before)];
            let next = before.next(used, 1_000);
            prop_assert!(before.next(used + more, 1_000) >= next);
            prop_assert_eq!(next.next(used, 1_000), next);
        }
    }
}
