//! Faults that are put in on purpose: a delay, or an answer without asking anybody.

use std::time::Duration;

use http::{StatusCode, request::Parts};

use crate::{config::Match, metrics::Flag, reply::Failure, route, worker::Worker};

/// What happens to a part of the requests that a rule matches.
#[derive(Clone, Debug)]
pub(crate) struct FaultRule {
    pub(crate) matches: Option<Match>,
    /// Of a million requests, and how long.
    pub(crate) delay: Option<(u32, Duration)>,
    /// Of a million requests, and with which status.
    pub(crate) abort: Option<(u32, StatusCode)>,
}

/// What is to happen to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<StatusCode>,
}

/// Decides by the first rule that matches; `delay` and `abort` are two random numbers.
pub(crate) fn decide(rules: &[FaultRule], request: &Parts, delay: u64, abort: u64) -> Injected {
    const MILLION: u64 = 1_000_000;
    let falls =
        |rule: &&FaultRule| rule.matches.as_ref().is_none_or(|matches| route::falls_under(matches, request));
    let Some(rule) = rules.iter().find(falls) else { return Injected::default() };
    let hit = |per_million: u32, random: u64| random % MILLION < u64::from(per_million);
    Injected {
        delay: rule.delay.filter(|(share, _)| hit(*share, delay)).map(|(_, delay)| delay),
        abort: rule.abort.filter(|(share, _)| hit(*share, abort)).map(|(_, status)| status),
    }
}

/// Holds a request up, and says whether it ends here. The time does not count as the request's own.
pub(crate) async fn inject(
    worker: &Worker,
    rules: &[FaultRule],
    request: &Parts,
) -> (Duration, Option<Failure>) {
    if rules.is_empty() {
        return (Duration::ZERO, None);
    }
    let Injected { delay, abort } = decide(rules, request, worker.random(), worker.random());
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let failure = abort.map(|status| Failure::new(status, Flag::FaultInjected, "fault filter abort"));
    (delay.unwrap_or_default(), failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_what_matches_is_met() {
        let rules = [FaultRule {
            matches: None,
            delay: Some((250_000, Duration::from_millis(5))),
            abort: Some((1_000_000, StatusCode::IM_A_TEAPOT)),
        }];
        let (request, ()) = http::Request::get("/").body(()).expect("a request").into_parts();
        let injected: Vec<_> =
            (0..1_000_000u64).step_by(1_000).map(|random| decide(&rules, &request, random, random)).collect();
        assert_eq!(injected.iter().filter(|injected| injected.delay.is_some()).count(), 250);
        assert!(injected.iter().all(|injected| injected.abort == Some(StatusCode::IM_A_TEAPOT)));
        assert_eq!(decide(&[], &request, 0, 0), Injected::default());
    }
}
