use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + seconds)
}

#[test]
fn five_failures_in_thirty_seconds_eject_for_longer_each_time() {
    let policy = OutlierPolicy::default();
    let mut run = Run::default();
    for second in 0..4 {
        run = Run::unpack(run.pack()).failed(at(second), policy.interval);
        assert!(!run.reaches(policy.consecutive_failures));
    }
    assert!(run.failed(at(4), policy.interval).reaches(policy.consecutive_failures));
    let mut ejections = Ejections::default();
    assert_eq!(ejections.eject(at(4), &policy), at(34));
    assert_eq!(ejections.eject(at(35), &policy), at(95), "the second lasts twice as long");
    assert_eq!(ejections.eject(at(95 + 61), &policy), at(156 + 30), "good behaviour counts");
}

#[test]
fn failures_far_apart_do_not_eject() {
    let policy = OutlierPolicy::default();
    let mut run = Run::default();
    for index in 0..20 {
        run = run.failed(at(index * 31), policy.interval);
        assert!(!run.reaches(policy.consecutive_failures));
    }
    assert_eq!(Run::default().pack(), 0);
}

#[test]
fn half_of_the_endpoints_stay() {
    let policy = OutlierPolicy::default();
    assert!(!policy.allows_ejection(0, 1));
    assert!(policy.allows_ejection(0, 2));
    assert!(!policy.allows_ejection(1, 2));
    assert!(policy.allows_ejection(1, 4));
    let all = OutlierPolicy { max_ejection_percent: 100, ..policy };
    assert!(!all.allows_ejection(0, 1) && all.allows_ejection(1, 2));
}

#[test]
fn a_failure_counts_for_its_own_rows() {
    let plain = OutlierPolicy::default();
    for failure in [Failure::Server, Failure::Gateway, Failure::Local] {
        assert_eq!(plain.counts(failure), CountsFor { failures: true, gateway: false, local: false });
    }
    let split =
        OutlierPolicy { consecutive_gateway_failures: Some(3), consecutive_local_failures: Some(2), ..plain };
    assert_eq!(split.counts(Failure::Server), CountsFor { failures: true, gateway: false, local: false });
    assert_eq!(split.counts(Failure::Gateway), CountsFor { failures: true, gateway: true, local: false });
    assert_eq!(split.counts(Failure::Local), CountsFor { failures: false, gateway: false, local: true });
    assert_eq!(Failure::of_status(503), Some(Failure::Gateway));
    assert_eq!((Failure::of_status(500), Failure::of_status(499)), (Some(Failure::Server), None));
}

fn seen(requests: u32, successes: u32, mean_ms: u64) -> Observed {
    Observed { requests, successes, latency: Duration::from_millis(mean_ms * u64::from(successes)) }
}

#[test]
fn the_unsuccessful_stand_out_and_too_few_do_not_judge() {
    let policy = SuccessRatePolicy::default();
    let mut observed = vec![seen(200, 199, 1); 9];
    observed.push(seen(200, 120, 1));
    assert_eq!(success_rate_outliers(&observed, &policy), [9]);
    assert!(success_rate_outliers(&observed[6..], &policy).is_empty(), "four are too few");
    observed[9] = seen(99, 0, 1);
    assert!(success_rate_outliers(&observed, &policy).is_empty(), "99 requests are too few");
    assert!(success_rate_outliers(&[seen(200, 200, 1); 10], &policy).is_empty());
}

#[test]
fn the_slow_stand_out() {
    let policy = LatencyPolicy::default();
    let mut observed = vec![seen(100, 100, 20); 5];
    observed.extend([seen(100, 100, 400), seen(100, 100, 90)]);
    assert_eq!(latency_outliers(&observed, &policy), [5, 6]);
    let fast: Vec<_> = [1, 1, 1, 40].map(|mean| seen(100, 100, mean)).into();
    assert!(latency_outliers(&fast, &policy).is_empty(), "40 ms is fast, whatever the others are");
    assert_eq!(latency_outliers(&[seen(50, 50, 10), seen(50, 50, 10), seen(50, 50, 900)], &policy), [2]);
}

proptest! {
    #[test]
    fn no_ejection_is_longer_than_the_longest(steps in prop::collection::vec(0u64..2_000, 1..100)) {
        let policy = OutlierPolicy::default();
        let mut ejections = Ejections::default();
        let mut now = 0;
        for wait in steps {
            now += wait;
            let until = ejections.eject(at(now), &policy);
            prop_assert!(until.since(at(now)) <= policy.max_ejection);
            prop_assert!(until.since(at(now)) >= policy.base_ejection);
            now += until.since(at(now)).as_secs();
        }
    }

    #[test]
    fn a_run_survives_packing(millis in 0u64..(1 << 47), failures in 1u16..) {
        let run = Run { first: Timestamp::from_millis(millis), failures };
        prop_assert_eq!(Run::unpack(run.pack()), run);
    }

    #[test]
    fn the_good_are_never_outliers(
        rates in prop::collection::vec(0u32..=1_000, 5..40), stdev_factor in 0u32..4_000,
    ) {
        let observed: Vec<_> = rates.iter().map(|rate| seen(1_000, *rate, 1)).collect();
        let policy = SuccessRatePolicy { stdev_factor, ..SuccessRatePolicy::default() };
        let mean = rates.iter().sum::<u32>() as f64 / rates.len() as f64;
        let outliers = success_rate_outliers(&observed, &policy);
        prop_assert!(outliers.len() < rates.len());
        for place in outliers {
            prop_assert!(f64::from(rates[place]) < mean + 1e-6);
        }
    }
}
