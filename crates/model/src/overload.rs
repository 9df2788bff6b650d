//! When a proxy gives up new work because its memory runs out. Envoy's overload manager does the
//! same by its actions `stop_accepting_requests` and `stop_accepting_connections`.

/// Per mille of the limit from which new requests are answered 503.
pub const REQUESTS_AT: u64 = 900;
/// Per mille of the limit from which no new connections are accepted.
pub const CONNECTIONS_AT: u64 = 950;
/// Per mille below which the memory has to fall before it is as it was.
const SLACK: u64 = 50;

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
