use proptest::prelude::*;

use super::*;

const MARKS: Marks = Marks {
    injected: Duration::from_secs(2),
    in_force: Duration::from_millis(2_200),
    ended: Duration::from_secs(6),
    finished: Duration::from_secs(9),
};

/// 50 requests a second for nine seconds, each with what `outcome` says of its millisecond.
fn samples(outcome: impl Fn(u64) -> Outcome) -> Vec<Sample> {
    let at = (0..450).map(|number| number * 20);
    at.map(|at| Sample {
        at: Duration::from_millis(at),
        latency: Duration::from_millis(3),
        outcome: outcome(at),
    })
    .collect()
}

fn expired() -> Outcome {
    Outcome::refused(403, "expired")
}

fn refused() -> Expectation {
    Expectation::refused(Want::forbidden("expired"))
}

fn verdict(samples: &[Sample], expected: &Expectation) -> Verdict {
    judge(samples, &MARKS, expected).verdict(&[])
}

#[test]
fn refusals_from_soon_after_the_injection_to_soon_after_the_end_are_as_expected() {
    let samples = samples(|at| if (2_300..6_200).contains(&at) { expired() } else { Outcome::answered(200) });
    let judged = judge(&samples, &MARKS, &refused());
    assert_eq!(judged.verdict(&[]), Verdict::Held, "{judged:#?}");
    assert_eq!(judged.time_to_detect, Some(Duration::from_millis(300)));
    assert_eq!(judged.time_to_recover, Some(Duration::from_millis(200)));
    assert_eq!(judged.lost, 0);
    assert_eq!((judged.before.requests, judged.during.requests, judged.after.requests), (100, 200, 150));
    assert_eq!(judged.seconds.iter().map(|second| second.figures.requests).sum::<u64>(), 450);
    assert_eq!(judged.verdict(&[Finding::new("a check", false, "nothing")]), Verdict::Fell);
}

#[test]
fn a_fault_that_is_not_noticed_falls() {
    assert_eq!(verdict(&samples(|_| Outcome::answered(200)), &refused()), Verdict::Fell);
    // Noticed, but too late.
    let late = samples(|at| if (4_100..6_000).contains(&at) { expired() } else { Outcome::answered(200) });
    assert_eq!(verdict(&late, &refused()), Verdict::Fell);
    // One request reached the application.
    let leaked = samples(|at| match at {
        5_000 => Outcome::answered(200),
        2_100..6_000 => expired(),
        _ => Outcome::answered(200),
    });
    assert_eq!(verdict(&leaked, &refused()), Verdict::Fell);
    // For another cause.
    let other = samples(|at| {
        if (2_100..6_000).contains(&at) { Outcome::refused(403, "revoked") } else { Outcome::answered(200) }
    });
    assert_eq!(verdict(&other, &refused()), Verdict::Fell);
    assert_eq!(judge(&other, &MARKS, &refused()).lost, 195);
}

#[test]
fn of_a_share_of_connections_either_outcome_is_expected_and_no_other() {
    let some = refused().of_some_connections();
    let half = |other: Outcome| {
        samples(move |at| match at {
            2_100..6_000 if at % 40 == 0 => other.clone(),
            _ => Outcome::answered(200),
        })
    };
    assert_eq!(verdict(&half(expired()), &refused()), Verdict::Fell);
    assert_eq!(verdict(&half(expired()), &some), Verdict::Held);
    assert_eq!(verdict(&half(Outcome::answered(503)), &some), Verdict::Fell);
    // Nothing was met, and so nothing shown.
    assert_eq!(verdict(&half(Outcome::answered(200)), &some), Verdict::Fell);
    assert_eq!(Expectation::served(0.9).of_some_connections(), Expectation::served(0.9));
}

#[test]
fn a_system_that_does_not_come_back_falls() {
    let samples = samples(|at| if at >= 2_100 { expired() } else { Outcome::answered(200) });
    let judged = judge(&samples, &MARKS, &refused());
    assert_eq!((judged.verdict(&[]), judged.time_to_recover), (Verdict::Fell, None));
}

#[test]
fn lost_requests_are_counted_and_limited() {
    let samples = samples(|at| match at {
        2_500 | 2_520 => Outcome::Unanswered("connect".into()),
        _ => Outcome::answered(200),
    });
    let served = Expectation::served(0.99);
    let judged = judge(&samples, &MARKS, &served);
    assert_eq!((judged.verdict(&[]), judged.lost), (Verdict::Held, 2));
    assert_eq!(judged.time_to_detect, Some(Duration::ZERO));
    assert_eq!(verdict(&samples, &Expectation { lost_max: Some(1), ..served.clone() }), Verdict::Fell);
    assert_eq!(verdict(&samples, &Expectation { share: 0.995, ..served.clone() }), Verdict::Fell);
    let slow = Expectation { p99_max: Some(Duration::from_millis(2)), ..served };
    assert_eq!(verdict(&samples, &slow), Verdict::Fell);
}

#[test]
fn what_the_fault_overtakes_was_not_before_it_and_may_be_lost() {
    let overtaken = |latency: u64, outcome: Outcome| {
        let mut samples =
            samples(|at| if (2_000..6_000).contains(&at) { expired() } else { Outcome::answered(200) });
        for sample in &mut samples[95..98] {
            (sample.latency, sample.outcome) = (Duration::from_millis(latency), outcome.clone());
        }
        judge(&samples, &MARKS, &refused())
    };
    let refused = overtaken(400, expired());
    assert_eq!((refused.verdict(&[]), refused.lost), (Verdict::Held, 0), "{refused:#?}");
    assert_eq!((refused.before.requests, refused.during.requests), (97, 203));
    let lost = overtaken(400, Outcome::Unanswered("reset".into()));
    assert_eq!((lost.verdict(&[]), lost.lost), (Verdict::Held, 3));
    // It took long, and was answered as ever.
    assert_eq!(overtaken(400, Outcome::answered(200)).before.requests, 100);
    // That was no fault's doing.
    assert_eq!(overtaken(3, expired()).verdict(&[]), Verdict::Fell);
}

#[test]
fn nothing_measured_is_nothing_shown() {
    let expected = Expectation::served(0.0);
    assert_eq!(verdict(&[], &expected), Verdict::Fell);
    assert!(!is_steady(&[], &SteadyState { want: Want::Success, share: 0.0 }));
}

#[test]
fn an_applications_answer_is_no_refusal() {
    for (outcome, success) in [
        (Outcome::answered(200), true),
        (Outcome::answered(404), true),
        (Outcome::answered(403), true),
        (expired(), false),
        (Outcome::answered(429), false),
        (Outcome::answered(503), false),
        (Outcome::answered(101), false),
        (Outcome::Unanswered("timeout".into()), false),
    ] {
        assert_eq!(outcome.is_success(), success, "{outcome}");
        assert_eq!(Want::Success.takes(&outcome), success);
        assert_eq!(Want::Failure.takes(&outcome), !success);
    }
    let any = Want::AnyOf(vec![Want::forbidden("expired"), Want::Status(503)]);
    assert!(
        any.takes(&expired()) && any.takes(&Outcome::answered(503)) && !any.takes(&Outcome::answered(403))
    );
    assert_eq!(any.to_string(), "403 expired or 503");
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::answered(200)),
        Just(Outcome::answered(503)),
        Just(expired()),
        Just(Outcome::Unanswered("timeout".to_owned())),
    ]
}

fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (0..9_000u64, 0..3_000u64, any_outcome()).prop_map(|(at, latency, outcome)| Sample {
        at: Duration::from_millis(at),
        latency: Duration::from_millis(latency),
        outcome,
    });
    prop::collection::vec(sample, 0..200)
}

proptest! {
    #[test]
    fn every_request_is_counted_once_and_lost_ones_are_no_successes(samples in any_samples(), share in 0.0..=1.0f64) {
        for expected in [Expectation { share, ..refused() }, Expectation::served(share)] {
            let judged = judge(&samples, &MARKS, &expected);
            let phases = [&judged.before, &judged.during, &judged.after];
            prop_assert_eq!(phases.iter().map(|it| it.requests).sum::<u64>(), samples.len() as u64);
            for figures in phases.into_iter().chain(judged.seconds.iter().map(|it| &it.figures)) {
                prop_assert_eq!(figures.outcomes.values().sum::<u64>(), figures.requests);
                prop_assert!(figures.latencies.p50 <= figures.latencies.p99);
            }
            let failures: u64 = [&judged.during, &judged.after].iter().map(|it| it.requests - it.successes).sum();
            prop_assert!(judged.lost <= failures);
            if let Some(time) = judged.time_to_detect {
                prop_assert!(time <= MARKS.ended - MARKS.injected);
            }
        }
    }

    #[test]
    fn the_order_of_samples_does_not_matter(samples in any_samples().prop_shuffle(), share in 0.0..=1.0f64) {
        let mut sorted = samples.clone();
        sorted.sort_by_key(|sample| sample.at);
        let expected = Expectation { share, ..refused() };
        let (one, other) = (judge(&samples, &MARKS, &expected), judge(&sorted, &MARKS, &expected));
        prop_assert_eq!(one.verdict(&[]), other.verdict(&[]));
        prop_assert_eq!(one.lost, other.lost);
        prop_assert_eq!(one.during, other.during);
    }

    #[test]
    fn more_of_what_is_wanted_never_makes_a_hypothesis_fall(samples in any_samples(), share in 0.0..=1.0f64) {
        let expected = Expectation::served(share);
        if verdict(&samples, &expected) == Verdict::Held {
            let mut better = samples.clone();
            for sample in &mut better {
                sample.outcome = Outcome::answered(200);
            }
            prop_assert_eq!(verdict(&better, &expected), Verdict::Held);
        }
    }

    #[test]
    fn what_is_found_to_hold_does(samples in any_samples(), share in 0.01..=1.0f64) {
        let mut samples = samples;
        samples.sort_by_key(|sample| sample.at);
        let expected = Expectation { share, leaked_max: None, ..refused() };
        let judged = judge(&samples, &MARKS, &expected);
        if let Some(time) = judged.time_to_detect {
            let from = MARKS.injected + time;
            // Those that were answered as usual after the fault's end say nothing of it.
            let outlived =
                |it: &&&Sample| it.at + it.latency >= MARKS.ended && expected.steady.want.takes(&it.outcome);
            let of_fault = samples.iter().filter(|it| it.at >= from && it.at < MARKS.ended);
            let of_fault: Vec<_> = of_fault.filter(|it| !outlived(&it)).collect();
            let wanted = of_fault.iter().filter(|it| expected.during.takes(&it.outcome)).count();
            prop_assert!(wanted as f64 + 1e-6 >= share * of_fault.len() as f64);
            prop_assert!(wanted > 0);
        }
    }
}
