//! A service whose tasks fail, hang and come back, called through the decisions of this crate as a
//! proxy makes them. Seeded: what fails once fails again.

use std::{collections::BinaryHeap, time::Duration};

use bowline_model::{
    balance::{Balancer, Candidate, Draw, Plan, Terms, hash},
    clock::Timestamp,
    outlier::{Ejections, Failure, OutlierPolicy, Run},
    retry::{BackOff, RetryBudget},
};

const BEGIN: Timestamp = Timestamp::from_secs(1_000_000);

/// How a task behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Good,
    /// Answers 500 at once.
    Fails,
    /// Does not answer.
    Hangs,
}

#[derive(Clone, Debug)]
struct Task {
    behaviour: Behaviour,
    run: Run,
    ejections: Ejections,
    ejected_until: Option<Timestamp>,
    active: u64,
}

/// What a simulation saw.
#[derive(Debug, Default)]
struct Seen {
    /// Requests that ended well or not, by the second in which they came.
    good: Vec<u32>,
    bad: Vec<u32>,
    tries: u64,
    retries: u64,
    most_ejected: usize,
    /// Retries in flight over what the budget allows at that moment.
    over_budget: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request comes.
    Arrival,
    /// A try ends.
    Answer { task: usize, request: usize },
    /// A wait before a retry is over.
    Again { request: usize },
    /// Tasks behave otherwise.
    Change,
}

#[derive(Clone, Debug)]
struct Request {
    second: usize,
    tried: Vec<usize>,
    is_retry: bool,
}

struct World {
    tasks: Vec<Task>,
    outlier: OutlierPolicy,
    terms: Terms,
    budget: RetryBudget,
    max_retries: usize,
    per_try: Duration,
    random: u64,
    turn: u64,
    requests: Vec<Request>,
    in_flight: usize,
    retries_in_flight: usize,
    seen: Seen,
    queue: BinaryHeap<std::cmp::Reverse<(u64, u64, Event)>>,
    events: u64,
}

impl World {
    fn new(behaviours: &[Behaviour], seed: u64, balancer: Balancer) -> Self {
        let task = |behaviour: &Behaviour| Task {
            behaviour: *behaviour,
            run: Run::default(),
            ejections: Ejections::default(),
            ejected_until: None,
            active: 0,
        };
        Self {
            tasks: behaviours.iter().map(task).collect(),
            outlier: OutlierPolicy::default(),
            terms: Terms { balancer, ..Terms::default() },
            budget: RetryBudget::default(),
            max_retries: 3,
            per_try: Duration::from_millis(250),
            random: seed,
            turn: 0,
            requests: Vec::new(),
            in_flight: 0,
            retries_in_flight: 0,
            seen: Seen::default(),
            queue: BinaryHeap::new(),
            events: 0,
        }
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        hash(&self.random.to_le_bytes())
    }

    fn at(&mut self, when: Timestamp, event: Event) {
        self.events += 1;
        self.queue.push(std::cmp::Reverse((when.as_millis(), self.events, event)));
    }

    fn ejected(&self, now: Timestamp) -> usize {
        self.tasks.iter().filter(|task| task.ejected_until.is_some_and(|until| now < until)).count()
    }

    /// Sends a request's next try.
    fn send(&mut self, request: usize, now: Timestamp) {
        let candidate = |(place, task): (usize, &Task)| Candidate {
            healthy: task.ejected_until.is_none_or(|until| now >= until),
            draining: false,
            weight: 1,
            priority: 0,
            zone: 0,
            local: false,
            since: Timestamp::default(),
            key: hash(&place.to_le_bytes()),
        };
        let candidates: Vec<_> = self.tasks.iter().enumerate().map(candidate).collect();
        let plan = Plan::new(&candidates, &self.terms, now);
        let draw = Draw { turn: self.turn, random: self.random(), hash: None };
        let tried = self.requests[request].tried.clone();
        if tried.is_empty() {
            self.turn += 1;
        }
        let cost = |place: usize| self.tasks[place].active;
        let task = plan.pick(draw, cost, |place| tried.contains(&place)).expect("there are enough");
        self.seen.tries += 1;
        self.tasks[task].active += 1;
        self.requests[request].tried.push(task);
        let took = match self.tasks[task].behaviour {
            Behaviour::Good => Duration::from_millis(2 + self.random() % 8),
            Behaviour::Fails => Duration::from_millis(1),
            Behaviour::Hangs => self.per_try,
        };
        self.at(now + took, Event::Answer { task, request });
    }

    fn answered(&mut self, task: usize, request: usize, now: Timestamp) {
        self.tasks[task].active -= 1;
        if self.requests[request].is_retry {
            self.retries_in_flight -= 1;
            self.requests[request].is_retry = false;
        }
        let failure = match self.tasks[task].behaviour {
            Behaviour::Good => None,
            Behaviour::Fails => Some(Failure::Server),
            Behaviour::Hangs => Some(Failure::Local),
        };
        let second = self.requests[request].second;
        let Some(failure) = failure else {
            self.tasks[task].run = Run::default();
            self.in_flight -= 1;
            self.seen.good[second] += 1;
            return;
        };
        assert!(self.outlier.counts(failure).failures);
        let (ejected, known) = (self.ejected(now), self.tasks.len());
        let one = &mut self.tasks[task];
        one.run = one.run.failed(now, self.outlier.interval);
        let is_ejected = one.ejected_until.is_some_and(|until| now < until);
        if one.run.reaches(self.outlier.consecutive_failures) && !is_ejected {
            if self.outlier.allows_ejection(ejected, known) {
                one.ejected_until = Some(one.ejections.eject(now, &self.outlier));
            }
            one.run = Run::default();
        }
        let most = self.ejected(now);
        self.seen.most_ejected = self.seen.most_ejected.max(most);
        let tries = self.requests[request].tried.len();
        if tries <= self.max_retries && self.budget.allows(self.retries_in_flight, self.in_flight) {
            self.retries_in_flight += 1;
            let allowed = (self.in_flight * self.budget.percent as usize / 100)
                .max(self.budget.min_concurrency as usize);
            self.seen.over_budget = self.seen.over_budget.max(self.retries_in_flight.saturating_sub(allowed));
            self.seen.retries += 1;
            self.requests[request].is_retry = true;
            let wait = BackOff::default().wait(tries as u32, self.random());
            self.at(now + wait, Event::Again { request });
        } else {
            self.in_flight -= 1;
            self.seen.bad[second] += 1;
        }
    }

    /// So many requests a second for so long; `change` is called every second.
    fn run(mut self, rate: u64, seconds: u64, change: impl Fn(&mut Vec<Task>, u64, u64)) -> Seen {
        self.seen.good = vec![0; seconds as usize];
        self.seen.bad = vec![0; seconds as usize];
        for arrival in 0..rate * seconds {
            self.at(BEGIN + Duration::from_millis(arrival * 1_000 / rate), Event::Arrival);
        }
        for second in 0..seconds {
            self.at(BEGIN + Duration::from_secs(second), Event::Change);
        }
        while let Some(std::cmp::Reverse((millis, _, event))) = self.queue.pop() {
            let now = Timestamp::from_millis(millis);
            match event {
                Event::Arrival => {
                    let second = now.since(BEGIN).as_secs() as usize;
                    self.in_flight += 1;
                    self.requests.push(Request { second, tried: Vec::new(), is_retry: false });
                    self.send(self.requests.len() - 1, now);
                }
                Event::Again { request } => self.send(request, now),
                Event::Answer { task, request } => self.answered(task, request, now),
                Event::Change => {
                    let random = self.random();
                    change(&mut self.tasks, now.since(BEGIN).as_secs(), random);
                }
            }
        }
        assert_eq!((self.in_flight, self.retries_in_flight), (0, 0));
        self.seen
    }
}

const TEN: [Behaviour; 10] = [
    Behaviour::Fails,
    Behaviour::Good,
    Behaviour::Fails,
    Behaviour::Good,
    Behaviour::Hangs,
    Behaviour::Good,
    Behaviour::Good,
    Behaviour::Fails,
    Behaviour::Good,
    Behaviour::Good,
];

fn share(counts: &[u32]) -> u64 {
    counts.iter().map(|count| u64::from(*count)).sum()
}

#[test]
fn three_that_fail_and_one_that_hangs_are_out_of_the_way_within_five_seconds() {
    for (seed, balancer) in [
        (1, Balancer::RoundRobin),
        (2, Balancer::LeastRequest),
        (3, Balancer::Random),
        (4, Balancer::RoundRobin),
    ] {
        // Shorter than the first ejection: nobody is let back meanwhile.
        let seen = World::new(&TEN, seed, balancer).run(1_000, 15, |_, _, _| {});
        let (good, bad) = (share(&seen.good[5..]), share(&seen.bad[5..]));
        assert!(bad * 1_000 <= good, "seed {seed}: {bad} of {} failed", good + bad);
        assert!(seen.most_ejected <= 5 && seen.over_budget == 0, "seed {seed}: {seen:?}");
    }
}

#[test]
fn nobody_is_let_back_so_that_callers_notice() {
    // Ejections end after 30 s, 60 s and so on, while nothing has got better.
    let seen = World::new(&TEN, 5, Balancer::RoundRobin).run(500, 100, |_, _, _| {});
    let (good, bad) = (share(&seen.good[5..]), share(&seen.bad[5..]));
    assert!(bad * 1_000 <= good, "{bad} of {} failed", good + bad);
}

#[test]
fn whatever_happens_half_stay_and_retries_are_within_budget() {
    for seed in 0..12 {
        let world = World::new(&[Behaviour::Good; 9], seed, Balancer::LeastRequest);
        let seen = world.run(400, 60, |tasks, _, random| {
            for (place, task) in tasks.iter_mut().enumerate() {
                task.behaviour = match (random >> (place * 6)) & 7 {
                    0..=3 => Behaviour::Good,
                    4..=5 => Behaviour::Fails,
                    _ => Behaviour::Hangs,
                };
            }
        });
        assert!(seen.most_ejected <= 4, "seed {seed}: {} of 9 ejected", seen.most_ejected);
        assert_eq!(seen.over_budget, 0, "seed {seed}");
    }
}

#[test]
fn where_everything_fails_there_is_no_storm_of_retries() {
    let seen = World::new(&[Behaviour::Fails; 10], 7, Balancer::RoundRobin).run(1_000, 20, |_, _, _| {});
    let requests = share(&seen.good) + share(&seen.bad);
    assert_eq!(requests, 20_000);
    // Three more tries of each would be 80,000 in all. A few are in flight at a time: the least of
    // three at once, each some milliseconds of waiting long, is what there can be.
    assert!(seen.retries <= 3 * 20 * 1_000 / 12, "{} retries", seen.retries);
    assert_eq!(seen.over_budget, 0);
    assert!(seen.most_ejected == 5);
}
