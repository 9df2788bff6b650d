//! Which endpoint gets the next request.
//!
//! [`Plan::new`] looks at every endpoint: priorities, zones, slow start, panic.
//! It is made anew when health changes. [`Plan::pick`] takes one endpoint out of
//! it for a request, in constant time, or logarithmic where weights differ.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub mod ewma;
mod ring;
#[cfg(test)]
mod tests;

use ring::Ring;
pub use ring::hash;

/// How one endpoint of several that are equal is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Balancer {
    /// In turn, by weight. The default, AWS's.
    #[default]
    RoundRobin,
    /// The less busy of two drawn at random.
    LeastRequest,
    /// The faster of two drawn at random (see [`ewma`]).
    PeakEwma,
    /// Any.
    Random,
    /// By a hash of the request: the same goes to the same endpoint.
    RingHash,
}

impl Balancer {
    /// Every balancer with the name that templates have for it.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::RoundRobin, "ROUND_ROBIN"),
        (Self::LeastRequest, "LEAST_REQUEST"),
        (Self::PeakEwma, "PEAK_EWMA"),
        (Self::Random, "RANDOM"),
        (Self::RingHash, "RING_HASH"),
    ];
}

/// What decides besides the endpoints themselves. The default is AWS's: all in
/// turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How one of several is chosen.
    pub balancer: Balancer,
    /// How long an endpoint that is new, or back, takes to get its full share.
    /// Zero: no time.
    pub slow_start: Duration,
    /// Fewer healthy endpoints than so many percent: all are used (Envoy's
    /// `healthy_panic_threshold`). 0: only where none is healthy.
    pub panic_percent: u32,
    /// Zone-aware balancing; `None`: off.
    pub zones: Option<Zones>,
}

/// Zone-aware balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zones {
    /// Fewer endpoints than that: zones are not looked at. Envoy's default: 6.
    pub min_endpoints: u32,
    /// Percent of the callers that are in this proxy's zone; 0: callers are
    /// spread over the zones evenly.
    pub callers_percent: u32,
}

/// An endpoint, as far as choosing one is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Neither ejected nor failing its checks.
    pub healthy: bool,
    /// Finishing what it has: gets nothing in any case.
    pub draining: bool,
    /// Share relative to the others, 1 at least.
    pub weight: u32,
    /// 0 is used first. At most [`PRIORITY_MAX`].
    pub priority: u8,
    /// Which zone it is in, as a number of the caller's choosing.
    pub zone: u16,
    /// In the proxy's own zone.
    pub local: bool,
    /// Since when it is there, or back.
    pub since: Timestamp,
    /// A stable name, for its places on the ring.
    pub key: u64,
}

/// Highest number of a priority.
pub const PRIORITY_MAX: u8 = 7;
/// A healthy endpoint counts for so many percent (Envoy's overprovisioning
/// factor): a priority is full while 72 % of it are healthy.
const OVERPROVISIONING: u64 = 140;
/// What tiers' shares add up to.
const WHOLE: u64 = 10_000;
/// An endpoint that starts slowly gets that many percent of its weight at least
/// (Envoy's `min_weight_percent`).
const SLOW_START_LEAST: u64 = 10;

/// Endpoints that are equal, and their share of the requests.
#[derive(Debug)]
struct Tier {
    /// Up to where, of [`WHOLE`], requests are this tier's.
    until: u64,
    members: Vec<u32>,
    /// Weights summed up, where they differ; else empty.
    sums: Vec<u64>,
    /// [`Balancer::RingHash`] only.
    ring: Ring,
}

/// Where requests go until health changes, or [`Plan::valid_until`].
#[derive(Debug)]
pub struct Plan {
    tiers: Vec<Tier>,
    /// Those that are not in a tier and not draining: for tries that find no other.
    rest: Vec<u32>,
    balancer: Balancer,
    valid_until: Option<Timestamp>,
}

/// What a request brings to the choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Draw {
    /// Grows by one with each request.
    pub turn: u64,
    /// Any number.
    pub random: u64,
    /// The request's hash, where it has one.
    pub hash: Option<u64>,
}

impl Plan {
    /// Looks at every endpoint.
    pub fn new(candidates: &[Candidate], terms: &Terms, now: Timestamp) -> Self {
        let usable = || candidates.iter().enumerate().filter(|(_, candidate)| !candidate.draining);
        let mut counts = [Count::default(); PRIORITY_MAX as usize + 1];
        for (_, candidate) in usable() {
            let count = &mut counts[usize::from(candidate.priority.min(PRIORITY_MAX))];
            count.all += 1;
            count.healthy += u64::from(candidate.healthy);
        }
        let shares = priority_shares(&counts);
        let mut weights = Weights::new(terms, now);
        let mut plan =
            Self { tiers: Vec::new(), rest: Vec::new(), balancer: terms.balancer, valid_until: None };
        let mut until = 0;
        for (priority, share) in shares.into_iter().enumerate() {
            let panics = counts[priority].panics(terms.panic_percent, share);
            let of_priority = usable()
                .filter(|(_, candidate)| usize::from(candidate.priority.min(PRIORITY_MAX)) == priority);
            let mut members: Vec<u32> = Vec::new();
            for (place, candidate) in of_priority {
                let place = u32::try_from(place).unwrap_or(u32::MAX);
                match share > 0 && (candidate.healthy || panics) {
                    true => members.push(place),
                    false => plan.rest.push(place),
                }
            }
            if members.is_empty() {
                continue;
            }
            let of = |place: &u32| &candidates[*place as usize];
            let local_share = local_share(candidates, &members, counts[priority].all, terms);
            let (local, remote): (Vec<u32>, Vec<u32>) = match local_share {
                Some(_) => members.into_iter().partition(|place| of(place).local),
                None => (members, Vec::new()),
            };
            let of_local = share * local_share.unwrap_or(WHOLE) / WHOLE;
            for (members, share) in [(local, of_local), (remote, share - of_local)] {
                if share == 0 {
                    plan.rest.extend(members);
                } else if !members.is_empty() {
                    until += share;
                    plan.tiers.push(Tier::new(until, members, candidates, terms.balancer, &mut weights));
                }
            }
        }
        plan.valid_until = weights.change_at;
        plan
    }

    /// From when on the plan is to be made anew although health has not changed.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.valid_until
    }

    /// The place of an endpoint for a request that is none of those to `skip`.
    /// `cost` is how busy or slow an endpoint is; the lower of two wins.
    pub fn pick(
        &self,
        draw: Draw,
        cost: impl Fn(usize) -> u64,
        skip: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let whole = self.tiers.last().map_or(0, |tier| tier.until);
        // The plastic number's sequence: a turn's tier says nothing of its place in it.
        let (first, second) = (0xC13F_A9A9_02A6_328F, 0x91E1_0DA5_C79E_7B1D);
        let at = spread(draw.turn, first, whole);
        let tier = self.tiers.iter().position(|tier| at < tier.until).unwrap_or(0);
        let alone = self.tiers.len() == 1;
        let picked = (0..self.tiers.len()).find_map(|next| {
            let tier = &self.tiers[(tier + next) % self.tiers.len()];
            let place = match self.balancer {
                Balancer::RoundRobin if alone && tier.sums.is_empty() => {
                    (draw.turn % tier.members.len() as u64) as usize
                }
                Balancer::RoundRobin => tier.at(spread(draw.turn, second, tier.total())),
                Balancer::Random => tier.at(scale(draw.random, tier.total())),
                Balancer::LeastRequest | Balancer::PeakEwma => tier.of_two(draw.random, &cost, &skip),
                Balancer::RingHash => {
                    let hash = draw.hash.unwrap_or(draw.random);
                    return tier.ring.walk(hash).map(|place| place as usize).find(|place| !skip(*place));
                }
            };
            tier.from(place, &skip)
        });
        picked.or_else(|| {
            let (rest, begin) = (&self.rest, draw.turn);
            (0..rest.len() as u64)
                .map(|next| rest[(begin.wrapping_add(next) % rest.len() as u64) as usize] as usize)
                .find(|place| !skip(*place))
        })
    }

    /// Whether there is nobody at all.
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty() && self.rest.is_empty()
    }
}

impl Tier {
    fn new(
        until: u64,
        members: Vec<u32>,
        candidates: &[Candidate],
        balancer: Balancer,
        weights: &mut Weights,
    ) -> Self {
        let effective = weights.of(&members, candidates);
        let ring = match balancer {
            Balancer::RingHash => {
                let keyed = members.iter().zip(&effective);
                Ring::new(keyed.map(|(place, weight)| (*place, candidates[*place as usize].key, *weight)))
            }
            _ => Ring::default(),
        };
        let equal = effective.windows(2).all(|pair| pair[0] == pair[1]);
        let sums = match equal {
            true => Vec::new(),
            false => effective
                .iter()
                .scan(0, |sum, weight| {
                    *sum += weight;
                    Some(*sum)
                })
                .collect(),
        };
        Self { until, members, sums, ring }
    }

    fn total(&self) -> u64 {
        self.sums.last().copied().unwrap_or(self.members.len() as u64)
    }

    /// Which member a number below the total stands for.
    fn at(&self, number: u64) -> usize {
        match self.sums.is_empty() {
            true => number as usize,
            false => self.sums.partition_point(|sum| *sum <= number),
        }
    }

    /// The cheaper of two members drawn by weight.
    fn of_two(&self, random: u64, cost: &impl Fn(usize) -> u64, skip: &impl Fn(usize) -> bool) -> usize {
        let count = self.members.len();
        let one = self.at(scale(random, self.total()));
        // Another one in any case, where there is one.
        let mut two = self.at(scale(mixed(random), self.total()));
        if two == one {
            two = (one + 1 + (mixed(random ^ 1) % (count.max(2) as u64 - 1)) as usize) % count;
        }
        let judged = |member: usize| {
            let place = self.members[member] as usize;
            (skip(place), cost(place))
        };
        if judged(two) < judged(one) { two } else { one }
    }

    /// The first from there on that is not to be skipped.
    fn from(&self, member: usize, skip: &impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.members.len();
        (0..count).map(|next| self.members[(member + next) % count] as usize).find(|place| !skip(*place))
    }
}

/// The `turn`-th number below `total` of a sequence that is spread evenly: any
/// stretch of it hits each part about as often as its size says, with none of
/// chance's deviations.
pub fn spread(turn: u64, step: u64, total: u64) -> u64 {
    scale(turn.wrapping_mul(step), total)
}

/// The golden ratio's step for [`spread`].
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A 64-bit number as one below `total`.
fn scale(number: u64, total: u64) -> u64 {
    ((u128::from(number) * u128::from(total)) >> 64) as u64
}

/// Another number (splitmix64's last steps).
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The endpoints of a priority that are not draining.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u64,
    healthy: u64,
}

impl Count {
    /// How much of a priority's work it can do, of [`WHOLE`].
    fn availability(self) -> u64 {
        match self.all {
            0 => 0,
            all => (self.healthy * OVERPROVISIONING * WHOLE / 100 / all).min(WHOLE),
        }
    }

    /// Whether health is not looked at any more: a check that is wrong must not
    /// stop everything.
    fn panics(self, percent: u32, share: u64) -> bool {
        share > 0 && (self.healthy == 0 || self.healthy * 100 < self.all * u64::from(percent.min(100)))
    }
}

/// Each priority's share of the requests, of [`WHOLE`] together. The first that
/// is there takes everything where nobody is healthy.
fn priority_shares(counts: &[Count; PRIORITY_MAX as usize + 1]) -> [u64; PRIORITY_MAX as usize + 1] {
    let mut shares = [0; PRIORITY_MAX as usize + 1];
    let available: u64 = counts.iter().map(|count| count.availability()).sum::<u64>().min(WHOLE);
    if available == 0 {
        if let Some(first) = counts.iter().position(|count| count.all > 0) {
            shares[first] = WHOLE;
        }
        return shares;
    }
    let mut left = WHOLE;
    for (share, count) in shares.iter_mut().zip(counts) {
        // Where all together cannot do it, each does more than it should.
        *share = (count.availability() * WHOLE / available).min(left);
        left -= *share;
    }
    // What rounding has left over.
    if let Some(last) = shares.iter_mut().rev().find(|share| **share > 0) {
        *last += left;
    }
    shares
}

/// The own zone's share of a priority's requests, of [`WHOLE`] (Envoy's zone
/// aware routing); `None`: zones are not looked at. `known` are the priority's
/// endpoints, healthy or not.
fn local_share(candidates: &[Candidate], members: &[u32], known: u64, terms: &Terms) -> Option<u64> {
    let zones = terms.zones.filter(|_| terms.balancer != Balancer::RingHash)?;
    let of = |place: &u32| &candidates[*place as usize];
    let local = members.iter().filter(|place| of(place).local).count() as u64;
    let all = members.len() as u64;
    if known < u64::from(zones.min_endpoints.max(1)) || local == 0 || local == all {
        return None;
    }
    let callers = match zones.callers_percent {
        0 => {
            let mut seen: Vec<u16> = members.iter().map(|place| of(place).zone).collect();
            seen.sort_unstable();
            seen.dedup();
            WHOLE / seen.len() as u64
        }
        percent => u64::from(percent.min(100)) * WHOLE / 100,
    };
    // The zone's endpoints, as a share of all, over the zone's callers.
    Some((local * WHOLE / all * WHOLE / callers.max(1)).min(WHOLE))
}

/// Weights as slow start has them at a moment.
struct Weights {
    slow_start: u64,
    now: Timestamp,
    change_at: Option<Timestamp>,
}

impl Weights {
    fn new(terms: &Terms, now: Timestamp) -> Self {
        let slow_start = u64::try_from(terms.slow_start.as_millis()).unwrap_or(u64::MAX);
        Self { slow_start, now, change_at: None }
    }

    /// The members' weights; whole where none of them is starting.
    fn of(&mut self, members: &[u32], candidates: &[Candidate]) -> Vec<u64> {
        let age = |candidate: &Candidate| self.now.since(candidate.since).as_millis() as u64;
        let of = |place: &u32| &candidates[*place as usize];
        let plain = || members.iter().map(|place| u64::from(of(place).weight.max(1))).collect();
        let starting = members.iter().filter(|place| age(of(place)) < self.slow_start).count();
        // All of them new: nobody is there to spare them.
        if starting == 0 || starting == members.len() {
            if starting > 0 {
                self.change_soon();
            }
            return plain();
        }
        let weights = members.iter().map(|place| {
            let candidate = of(place);
            let percent = (age(candidate) * 100 / self.slow_start).clamp(SLOW_START_LEAST, 100);
            u64::from(candidate.weight.max(1)) * percent
        });
        let weights = weights.collect();
        self.change_soon();
        weights
    }

    /// Weights move in steps of about a fiftieth of the time.
    fn change_soon(&mut self) {
        self.change_at = Some(self.now + Duration::from_millis((self.slow_start / 50).clamp(10, 1_000)));
    }
}
