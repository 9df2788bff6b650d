//! How long a call may take, told from hop to hop: `grpc-timeout` (gRPC over HTTP/2) and Envoy's
//! `x-envoy-expected-rq-timeout-ms`.
//!
//! A hop takes the shorter of what it was told and of its own limit, and tells the next one what is
//! left of it. What comes from elsewhere can so only shorten a call.

use std::{cell::RefCell, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// Milliseconds that whoever sent a request will wait for the whole response.
pub(crate) static EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Most digits of a `grpc-timeout`.
const GRPC_DIGITS_MAX: usize = 8;

/// When a call is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// `None`: nobody has set a limit.
    pub(crate) at: Option<Instant>,
    /// The client has set it, not this proxy's configuration.
    pub(crate) of_client: bool,
}

impl Deadline {
    /// Of a request that began at `started` and was held up on purpose for `delayed`, which is no time
    /// of this proxy's own limit.
    pub(crate) fn new(
        own: Option<Duration>,
        asked: Option<Duration>,
        started: Instant,
        delayed: Duration,
    ) -> Self {
        let own = own.and_then(|limit| started.checked_add(delayed)?.checked_add(limit));
        // One too far away to be told is none.
        let asked = asked.and_then(|limit| started.checked_add(limit));
        match (own, asked) {
            (Some(own), Some(asked)) if asked < own => Self { at: Some(asked), of_client: true },
            (Some(own), _) => Self { at: Some(own), of_client: false },
            (None, asked) => Self { at: asked, of_client: asked.is_some() },
        }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// How long the client will wait, if it says so: the shortest of what it says. `grpc-timeout` counts
/// for gRPC alone. As in Envoy zero is no limit, and what cannot be read says nothing.
pub(crate) fn asked(headers: &HeaderMap, is_grpc: bool) -> Option<Duration> {
    // One look through all in place of one for each name.
    let limit = |(name, value): (&HeaderName, &HeaderValue)| match () {
        () if name == EXPECTED => millis(value),
        () if is_grpc && name == GRPC_TIMEOUT => grpc_timeout(value),
        () => None,
    };
    headers.iter().filter_map(limit).filter(|limit| !limit.is_zero()).min()
}

/// Tells the next hop what is left. A server outside the mesh is told in gRPC's own words only.
pub(crate) fn tell(headers: &mut HeaderMap, left: Option<Duration>, is_grpc: bool, outside: bool) {
    if outside {
        headers.remove(&EXPECTED);
    }
    let Some(left) = left else { return };
    // None that is so short that it says nothing.
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
    if !outside {
        headers.insert(EXPECTED.clone(), value_of(millis));
    }
    if is_grpc && let Ok(value) = HeaderValue::from_str(&grpc_text(millis)) {
        headers.insert(GRPC_TIMEOUT.clone(), value);
    }
}

/// The number as a header's value. Requests under one limit are mostly told the same, which is not written
/// anew.
fn value_of(millis: u64) -> HeaderValue {
    thread_local! {
        static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((told, value)) if *told == millis => value.clone(),
        _ => last.insert((millis, HeaderValue::from(millis))).1.clone(),
    })
}

fn millis(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_millis)
}

/// One to eight digits and a unit.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > GRPC_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// In the finest unit of which eight digits are enough, never more than it is.
fn grpc_text(millis: u64) -> String {
    const MOST: u64 = 99_999_999;
    match millis {
        0..=MOST => format!("{millis}m"),
        _ if millis / 1_000 <= MOST => format!("{}S", millis / 1_000),
        _ => format!("{}H", (millis / 3_600_000).min(MOST)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn the_shortest_of_what_is_said_counts() {
        let said = headers(&[(&GRPC_TIMEOUT, "2S"), (&EXPECTED, "5000"), (&EXPECTED, "3000")]);
        assert_eq!(asked(&said, true), Some(Duration::from_secs(2)));
        assert_eq!(asked(&said, false), Some(Duration::from_secs(3)), "no gRPC");
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("99999999M", Some(5_999_999_940_000)),
            ("250m", Some(250)),
            ("3000u", Some(3)),
            ("0S", None),
            ("123456789S", None),
            ("S", None),
            ("-1S", None),
            ("+1S", None),
            ("1s", None),
            ("", None),
        ] {
            let found = asked(&headers(&[(&GRPC_TIMEOUT, text)]), true);
            assert_eq!(found, expected.map(Duration::from_millis), "{text:?}");
        }
        for text in ["0", "x", "-5", "99999999999999999999999"] {
            assert_eq!(asked(&headers(&[(&EXPECTED, text)]), true), None, "{text:?}");
        }
    }

    #[test]
    fn a_client_can_shorten_and_not_lengthen() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let of = |own: Option<u32>, asked: Option<u32>| {
            let limit = |seconds: Option<u32>| seconds.map(|seconds| second * seconds);
            let deadline = Deadline::new(limit(own), limit(asked), now, second);
            (deadline.at.map(|at| (at - now).as_secs()), deadline.of_client)
        };
        assert_eq!(of(None, None), (None, false));
        assert_eq!(of(Some(5), None), (Some(6), false), "with the delay");
        assert_eq!(of(Some(5), Some(9)), (Some(6), false));
        assert_eq!(of(Some(5), Some(3)), (Some(3), true));
        assert_eq!(of(None, Some(3)), (Some(3), true));
        assert_eq!(Deadline::new(None, Some(Duration::MAX), now, second), Deadline::default());
    }

    proptest! {
        #[test]
        fn what_is_told_can_be_read_and_is_never_more(millis in 0u64..=u64::MAX) {
            let mut told = HeaderMap::new();
            let left = Duration::from_millis(millis);
            tell(&mut told, Some(left), true, true);
            prop_assert!(!told.contains_key(&EXPECTED));
            let read = asked(&told, true).expect("it is read");
            prop_assert!(read <= left.max(Duration::from_millis(1)));
            tell(&mut told, Some(left), false, false);
            prop_assert_eq!(asked(&told, false), Some(left.max(Duration::from_millis(1))));
        }

        #[test]
        fn nothing_that_is_said_panics(bytes in proptest::collection::vec(32u8..127, 0..40)) {
            let value = HeaderValue::from_bytes(&bytes).expect("visible");
            let said = [(EXPECTED.clone(), value.clone()), (GRPC_TIMEOUT.clone(), value)];
            let said = HeaderMap::from_iter(said);
            let _ = Deadline::new(None, asked(&said, true), Instant::now(), Duration::ZERO);
        }
    }
}
