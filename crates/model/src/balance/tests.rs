use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn candidate(key: u64) -> Candidate {
    Candidate {
        healthy: true,
        draining: false,
        weight: 1,
        priority: 0,
        zone: 0,
        local: false,
        since: Timestamp::default(),
        key: mixed(key),
    }
}

fn many(count: u64) -> Vec<Candidate> {
    (0..count).map(candidate).collect()
}

fn none(_: usize) -> bool {
    false
}

/// How often each endpoint is picked, of so many turns.
fn counts(plan: &Plan, endpoints: usize, turns: u64) -> Vec<u64> {
    let mut counts = vec![0; endpoints];
    for turn in 0..turns {
        let draw = Draw { turn, random: mixed(turn + 7), hash: None };
        counts[plan.pick(draw, |_| 0, none).expect("one")] += 1;
    }
    counts
}

fn terms(balancer: Balancer) -> Terms {
    Terms { balancer, ..Terms::default() }
}

#[test]
fn equals_come_strictly_in_turn_and_weights_are_met() {
    let mut candidates = many(3);
    let plan = Plan::new(&candidates, &Terms::default(), NOW);
    let turns: Vec<_> = (0..6).map(|turn| plan.pick(Draw { turn, ..Draw::default() }, |_| 0, none)).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2].map(Some));
    (candidates[1].weight, candidates[2].weight) = (2, 5);
    let plan = Plan::new(&candidates, &Terms::default(), NOW);
    let met = counts(&plan, 3, 8_000);
    assert!(met.iter().zip([1_000u64, 2_000, 5_000]).all(|(met, due)| met.abs_diff(due) <= 3), "{met:?}");
}

#[test]
fn the_draining_and_the_unhealthy_are_spared() {
    let mut candidates = many(3);
    (candidates[0].draining, candidates[1].healthy) = (true, false);
    let plan = Plan::new(&candidates, &Terms::default(), NOW);
    assert_eq!(counts(&plan, 3, 10), [0, 0, 10]);
    // A retry goes to another one, rather an unhealthy one than the same.
    assert_eq!(plan.pick(Draw::default(), |_| 0, |place| place == 2), Some(1));
    assert_eq!(plan.pick(Draw::default(), |_| 0, |place| place > 0), None);
    assert!(Plan::new(&[], &Terms::default(), NOW).is_empty());
}

#[test]
fn none_healthy_or_too_few_means_all() {
    let mut candidates = many(4);
    candidates.iter_mut().for_each(|candidate| candidate.healthy = false);
    assert_eq!(counts(&Plan::new(&candidates, &Terms::default(), NOW), 4, 8), [2; 4]);
    candidates[0].healthy = true;
    assert_eq!(counts(&Plan::new(&candidates, &Terms::default(), NOW), 4, 8), [8, 0, 0, 0]);
    let panicking = Terms { panic_percent: 50, ..Terms::default() };
    assert_eq!(counts(&Plan::new(&candidates, &panicking, NOW), 4, 8), [2; 4]);
    candidates[1].healthy = true;
    assert_eq!(counts(&Plan::new(&candidates, &panicking, NOW), 4, 8), [4, 4, 0, 0]);
}

#[test]
fn the_next_priority_takes_what_the_first_cannot() {
    let mut candidates = many(20);
    candidates[10..].iter_mut().for_each(|candidate| candidate.priority = 1);
    let share = |candidates: &[Candidate]| {
        let counts = counts(&Plan::new(candidates, &Terms::default(), NOW), 20, 10_000);
        counts[..10].iter().sum::<u64>()
    };
    assert_eq!(share(&candidates), 10_000);
    candidates[..2].iter_mut().for_each(|candidate| candidate.healthy = false);
    assert_eq!(share(&candidates), 10_000, "80 % healthy are enough");
    candidates[..5].iter_mut().for_each(|candidate| candidate.healthy = false);
    assert!(share(&candidates).abs_diff(7_000) < 50, "half of them: 70 %");
    candidates[..10].iter_mut().for_each(|candidate| candidate.healthy = false);
    assert_eq!(share(&candidates), 0, "fail-over");
    candidates[..10].iter_mut().for_each(|candidate| candidate.healthy = true);
    assert_eq!(share(&candidates), 10_000, "fail-back");
}

#[test]
fn the_own_zone_takes_its_part_and_the_rest_spills_over() {
    let mut candidates = many(12);
    for (place, candidate) in candidates.iter_mut().enumerate() {
        (candidate.zone, candidate.local) = ((place / 4) as u16, place < 4);
    }
    let zoned = Terms { zones: Some(Zones { min_endpoints: 6, callers_percent: 0 }), ..Terms::default() };
    let local = |candidates: &[Candidate], terms: &Terms| {
        counts(&Plan::new(candidates, terms, NOW), 12, 10_000)[..4].iter().sum::<u64>()
    };
    assert_eq!(local(&candidates, &zoned), 10_000, "a third of the endpoints for a third of the callers");
    candidates[..2].iter_mut().for_each(|candidate| candidate.healthy = false);
    assert!(local(&candidates, &zoned).abs_diff(6_000) < 50, "2 of 10 for a third of the callers");
    let crowded = Terms { zones: Some(Zones { min_endpoints: 6, callers_percent: 80 }), ..zoned.clone() };
    assert!(local(&candidates, &crowded).abs_diff(2_500) < 50);
    let off = Terms { zones: Some(Zones { min_endpoints: 20, callers_percent: 0 }), ..zoned };
    assert!(local(&candidates, &off).abs_diff(2_000) < 50, "too few: zones are not looked at");
}

#[test]
fn who_is_new_starts_slowly() {
    let mut candidates = many(4);
    let terms = Terms { slow_start: Duration::from_secs(100), ..Terms::default() };
    let share = |candidates: &[Candidate], now: Timestamp| {
        let plan = Plan::new(candidates, &terms, now);
        (counts(&plan, 4, 10_000)[3], plan.valid_until().is_some())
    };
    let old = NOW - Duration::from_secs(1_000);
    candidates.iter_mut().for_each(|candidate| candidate.since = old);
    assert_eq!(share(&candidates, NOW), (2_500, false));
    candidates[3].since = NOW;
    let at = |seconds| share(&candidates, NOW + Duration::from_secs(seconds)).0;
    let shares = [0, 25, 50, 75, 99].map(at);
    assert!(
        shares.is_sorted() && shares[0].abs_diff(322) < 10 && shares[2].abs_diff(1_428) < 10,
        "{shares:?}"
    );
    assert_eq!(share(&candidates, NOW + Duration::from_secs(100)), (2_500, false));
    candidates.iter_mut().for_each(|candidate| candidate.since = NOW);
    assert_eq!(share(&candidates, NOW).0, 2_500, "all are new: none is spared");
}

#[test]
fn the_cheaper_of_two_is_taken() {
    let candidates = many(10);
    let plan = Plan::new(&candidates, &terms(Balancer::LeastRequest), NOW);
    let mut busy = [0u64; 10];
    for turn in 0..10_000 {
        let draw = Draw { turn, random: mixed(turn), hash: None };
        let place = plan.pick(draw, |place| busy[place], none).expect("one");
        busy[place] += 1;
    }
    let (least, most) = (busy.iter().min().expect("ten"), busy.iter().max().expect("ten"));
    assert!(most - least <= 4, "two choices keep it even: {busy:?}");
    let two = Plan::new(&candidates[..2], &terms(Balancer::PeakEwma), NOW);
    let slow_first = |place: usize| [1_000, 10][place];
    assert!((0..100).all(|turn| {
        two.pick(Draw { turn, random: mixed(turn), hash: None }, slow_first, none) == Some(1)
    }));
}

#[test]
fn a_hash_stays_where_it_is_when_others_come_and_go() {
    let mut candidates = many(20);
    let place = |candidates: &[Candidate], key: u64| {
        let draw = Draw { turn: key * 31, random: key, hash: Some(hash(&key.to_le_bytes())) };
        Plan::new(candidates, &terms(Balancer::RingHash), NOW).pick(draw, |_| 0, none).expect("one")
    };
    let before: Vec<_> = (0..300).map(|key| place(&candidates, key)).collect();
    assert!((0..20).filter(|one| before.contains(one)).count() >= 18, "all get some: {before:?}");
    candidates[3].healthy = false;
    for (key, before) in before.iter().enumerate() {
        let after = place(&candidates, key as u64);
        assert!(if *before == 3 { after != 3 } else { after == *before }, "{key}: {before} {after}");
    }
    candidates[3].healthy = true;
    candidates.push(candidate(1_000));
    let moved: Vec<_> = before
        .iter()
        .enumerate()
        .map(|(key, before)| (*before, place(&candidates, key as u64)))
        .filter(|(before, after)| before != after)
        .collect();
    assert!(
        moved.len() < 40 && moved.iter().all(|(_, after)| *after == 20),
        "only to the new one: {moved:?}"
    );
}

#[test]
fn a_spread_sequence_is_exact_over_ten_thousand() {
    for percent in [1u64, 5, 10, 33, 50, 99] {
        for begin in [0, 12_345, u64::MAX - 5_000] {
            let hits = (0..10_000u64)
                .filter(|turn| spread(begin.wrapping_add(*turn), GOLDEN, 100) < percent)
                .count() as u64;
            assert!(hits.abs_diff(percent * 100) <= 10, "{percent} %: {hits}");
        }
    }
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    (any::<bool>(), any::<bool>(), 0u32..5, 0u8..10, 0u16..3, any::<u64>(), 0u64..200).prop_map(
        |(healthy, draining, weight, priority, zone, key, age)| Candidate {
            healthy,
            draining,
            weight,
            priority,
            zone,
            local: zone == 0,
            since: NOW - Duration::from_secs(age),
            key,
        },
    )
}

proptest! {
    #[test]
    fn whoever_there_is_gets_it_and_the_draining_nothing(
        candidates in prop::collection::vec(any_candidate(), 0..30),
        balancer in prop::sample::select(Balancer::NAMES.map(|(balancer, _)| balancer).to_vec()),
        slow_start in 0u64..150, panic_percent in 0u32..=100, zoned: bool, turn: u64, random: u64,
        hash: Option<u64>,
    ) {
        let terms = Terms {
            balancer,
            slow_start: Duration::from_secs(slow_start),
            panic_percent,
            zones: zoned.then_some(Zones { min_endpoints: 2, callers_percent: 0 }),
        };
        let plan = Plan::new(&candidates, &terms, NOW);
        let usable: Vec<_> = (0..candidates.len()).filter(|place| !candidates[*place].draining).collect();
        let draw = Draw { turn, random, hash };
        let mut tried = Vec::new();
        while let Some(place) = plan.pick(draw, |place| place as u64, |place| tried.contains(&place)) {
            prop_assert!(usable.contains(&place) && !tried.contains(&place));
            let only_unhealthy = usable.iter().all(|place| !candidates[*place].healthy);
            prop_assert!(
                !tried.is_empty() || candidates[place].healthy || panic_percent > 0 || only_unhealthy
            );
            tried.push(place);
        }
        prop_assert_eq!(tried.len(), usable.len(), "each is found in the end");
    }
}
