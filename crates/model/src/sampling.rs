//! Which requests are traced: AWS X-Ray's sampling rules.
//!
//! The first rule that a request matches decides: so many requests a second are sampled first (the reservoir), and a
//! share of the others. The reservoir is of one proxy.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wildcard::Wildcard;

/// Most rules of a policy. (X-Ray's quota is 25 a region.)
pub const RULES_MAX: usize = 256;
/// The whole of [`SamplingRule::per_million`].
pub const MILLION: u32 = 1_000_000;

/// Which requests, and how many of them. Patterns may hold `*` and `?`, and do not mind the case, as X-Ray's; an
/// empty one stands for any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SamplingRule {
    /// What it is called.
    pub name: String,
    /// The request's authority.
    pub host: String,
    /// The request's method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The called discovery name.
    pub discovery_name: String,
    /// So many a second are sampled first.
    pub reservoir: u32,
    /// Of a million others.
    pub per_million: u32,
}

/// What is sampled of requests that no other rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultSampling {
    /// So many a second of each proxy first.
    pub reservoir: u32,
    /// Of a million others.
    pub per_million: u32,
}

/// X-Ray's: the first request each second, and five percent of any others.
impl Default for DefaultSampling {
    fn default() -> Self {
        Self { reservoir: 1, per_million: 50_000 }
    }
}

impl DefaultSampling {
    /// This share of all requests, beside the first one a second of each proxy; 0: none at all.
    pub fn of_share(per_million: u32) -> Self {
        Self { reservoir: per_million.min(1), per_million }
    }
}

/// What a proxy samples by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SamplingPolicy {
    /// The first that matches decides; a request that none matches is not sampled.
    pub rules: Vec<SamplingRule>,
    /// A call that failed is told of even if its trace was not sampled.
    pub failures: bool,
}

/// X-Ray's default rule: the first request each second, and five percent of any others. Failed calls are told of.
impl Default for SamplingPolicy {
    fn default() -> Self {
        let rule =
            SamplingRule { name: "Default".into(), reservoir: 1, per_million: 50_000, ..Default::default() };
        Self { rules: vec![rule], failures: true }
    }
}

/// Why a policy cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSampling {
    /// More rules than there may be.
    #[error("{0} rules; at most {RULES_MAX} are accepted")]
    TooMany(usize),
    /// A pattern that is too long.
    #[error("rule {rule:?}: {field} is longer than a pattern may be")]
    Pattern {
        /// The rule's name.
        rule: String,
        /// Which pattern.
        field: &'static str,
    },
    /// A share above the whole.
    #[error("rule {rule:?}: {per_million} of a million")]
    Share {
        /// The rule's name.
        rule: String,
        /// What was given.
        per_million: u32,
    },
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampledCall<'a> {
    /// The request's authority.
    pub host: &'a str,
    /// The request's method; empty for TCP.
    pub method: &'a str,
    /// The path, without the query; empty for TCP.
    pub path: &'a str,
    /// The called discovery name; empty where the request goes nowhere.
    pub discovery_name: &'a str,
}

#[derive(Debug)]
struct Compiled {
    host: Option<Wildcard>,
    method: Option<Wildcard>,
    path: Option<Wildcard>,
    discovery_name: Option<Wildcard>,
    reservoir: Reservoir,
    per_million: u32,
}

/// A policy at work. It is shared by a proxy's workers.
#[derive(Debug)]
pub struct Sampler {
    rules: Vec<Compiled>,
    /// As in [`SamplingPolicy`].
    pub failures: bool,
}

impl Sampler {
    /// Makes a policy ready.
    ///
    /// # Errors
    /// It is not as policies are.
    pub fn new(policy: &SamplingPolicy) -> Result<Self, InvalidSampling> {
        if policy.rules.len() > RULES_MAX {
            return Err(InvalidSampling::TooMany(policy.rules.len()));
        }
        let rules = policy.rules.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { rules, failures: policy.failures })
    }

    /// Whether a request is sampled whose trace begins here. `second` counts since any moment, `random` is any number.
    pub fn decide(&self, call: &SampledCall<'_>, second: u64, random: u64) -> bool {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(call)) else { return false };
        rule.reservoir.take(second) || random % u64::from(MILLION) < u64::from(rule.per_million)
    }
}

fn compile(rule: &SamplingRule) -> Result<Compiled, InvalidSampling> {
    if rule.per_million > MILLION {
        return Err(InvalidSampling::Share { rule: rule.name.clone(), per_million: rule.per_million });
    }
    let pattern = |field: &'static str, text: &str| match text {
        "" | "*" => Ok(None),
        text => match Wildcard::new(text, true) {
            Some(pattern) => Ok(Some(pattern)),
            None => Err(InvalidSampling::Pattern { rule: rule.name.clone(), field }),
        },
    };
    Ok(Compiled {
        host: pattern("host", &rule.host)?,
        method: pattern("method", &rule.method)?,
        path: pattern("path", &rule.path)?,
        discovery_name: pattern("discoveryName", &rule.discovery_name)?,
        reservoir: Reservoir::new(rule.reservoir),
        per_million: rule.per_million,
    })
}

impl Compiled {
    fn matches(&self, call: &SampledCall<'_>) -> bool {
        let fits = |pattern: &Option<Wildcard>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        fits(&self.discovery_name, call.discovery_name)
            && fits(&self.method, call.method)
            && fits(&self.host, call.host)
            && fits(&self.path, call.path)
    }
}

/// So many a second, without a lock: the second and how many it has had, in one number.
#[derive(Debug)]
struct Reservoir {
    size: u32,
    state: AtomicU64,
}

impl Reservoir {
    fn new(size: u32) -> Self {
        Self { size, state: AtomicU64::new(0) }
    }

    /// Whether there is one left in this second.
    fn take(&self, second: u64) -> bool {
        if self.size == 0 {
            return false;
        }
        // After 136 years it is the same second again.
        let second = second & u64::from(u32::MAX);
        let taken = |state: u64| match (state >> 32 == second, state & u64::from(u32::MAX)) {
            (true, used) if used >= u64::from(self.size) => None,
            (true, _) => Some(state + 1),
            (false, _) => Some(second << 32 | 1),
        };
        // Mostly there is none left: a read, then.
        taken(self.state.load(Relaxed)).is_some() && self.state.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(rules: Vec<SamplingRule>) -> Sampler {
        Sampler::new(&SamplingPolicy { rules, failures: false }).expect("a policy")
    }

    /// How many of `calls` in one second.
    fn sampled(sampler: &Sampler, call: &SampledCall<'_>, second: u64, calls: u64) -> usize {
        // Numbers that go round a million evenly.
        let step = u64::from(MILLION) / calls;
        (0..calls).filter(|call_number| sampler.decide(call, second, call_number * step)).count()
    }

    #[test]
    fn the_reservoir_comes_first_and_then_the_rate() {
        let sampler = Sampler::new(&SamplingPolicy::default()).expect("the default");
        let call = SampledCall::default();
        // The first call's number is 0: the rate would have taken it, too.
        assert!(sampler.decide(&call, 7, 999_999));
        assert!(!sampler.decide(&call, 7, 999_999));
        assert_eq!(sampled(&sampler, &call, 7, 1_000), 50);
        assert!(sampler.decide(&call, 8, 999_999), "another second");
    }

    #[test]
    fn a_reservoir_is_shared_without_a_loss() {
        let rule = SamplingRule { reservoir: 100, ..SamplingRule::default() };
        let sampler = sampler(vec![rule]);
        let count = || (0..1_000).filter(|_| sampler.decide(&SampledCall::default(), 9, 999_999)).count();
        let all: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(all, 100);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |path: &str, method: &str, name: &str, per_million| SamplingRule {
            path: path.into(),
            method: method.into(),
            discovery_name: name.into(),
            per_million,
            ..SamplingRule::default()
        };
        let sampler = sampler(vec![
            rule("/health*", "", "", 0),
            rule("*", "POST", "", MILLION),
            rule("", "", "service-b*", MILLION),
        ]);
        let decide = |path, method, discovery_name| {
            sampler.decide(&SampledCall { host: "x", method, path, discovery_name }, 1, 500_000)
        };
        assert!(!decide("/healthz", "POST", "service-b"));
        assert!(decide("/x", "post", "a"), "case is not minded");
        assert!(decide("/x", "GET", "service-b-sc"));
        assert!(!decide("/x", "GET", "a"), "none matches");
    }

    #[test]
    fn a_policy_that_cannot_be_is_refused() {
        let of = |rule: SamplingRule| Sampler::new(&SamplingPolicy { rules: vec![rule], failures: false });
        let long = SamplingRule { path: "x".repeat(2_000), ..SamplingRule::default() };
        assert!(matches!(of(long), Err(InvalidSampling::Pattern { field: "path", .. })));
        let much = SamplingRule { per_million: MILLION + 1, ..SamplingRule::default() };
        assert!(matches!(of(much), Err(InvalidSampling::Share { .. })));
        let many = SamplingPolicy { rules: vec![SamplingRule::default(); RULES_MAX + 1], failures: false };
        assert!(matches!(Sampler::new(&many), Err(InvalidSampling::TooMany(_))));
    }
}
