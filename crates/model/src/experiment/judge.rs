//! Whether requests got what was expected.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Expectation, Outcome, Sample, SteadyState, Verdict, Want};

/// By how much a share may be missed for the way in which numbers are rounded.
const ROUNDING: f64 = 1e-9;

/// Moments of an experiment, from the measurement's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marks {
    /// The fault was asked for.
    #[serde(with = "crate::experiment::millis")]
    pub injected: Duration,
    /// It was in force.
    #[serde(with = "crate::experiment::millis")]
    pub in_force: Duration,
    /// Its end was asked for, or came by itself.
    #[serde(with = "crate::experiment::millis")]
    pub ended: Duration,
    /// Measuring ended.
    #[serde(with = "crate::experiment::millis")]
    pub finished: Duration,
}

/// Something that was looked at, and whether it was as it had to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What had to be: `requests get 403 expired`.
    pub what: String,
    /// Whether it was.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

impl Finding {
    /// A finding.
    pub fn new(what: impl Into<String>, held: bool, seen: impl Into<String>) -> Self {
        Self { what: what.into(), held, seen: seen.into() }
    }
}

/// How long requests took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    /// Half of them at most.
    #[serde(with = "crate::experiment::millis")]
    pub p50: Duration,
    /// 99 of 100 at most.
    #[serde(with = "crate::experiment::millis")]
    pub p99: Duration,
}

impl Latencies {
    /// By nearest rank; zero of nothing.
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let rank = |hundredths: usize| match latencies.len() {
            0 => Duration::ZERO,
            count => latencies[(count * hundredths).div_ceil(100).clamp(1, count) - 1],
        };
        Self { p50: rank(50), p99: rank(99) }
    }
}

/// Requests of a phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseFigures {
    /// How many.
    pub requests: u64,
    /// How many the application answered.
    pub successes: u64,
    /// How long they took.
    pub latencies: Latencies,
    /// How many had which outcome, as it is written.
    pub outcomes: BTreeMap<String, u64>,
}

/// Requests of a second of the measurement, by when they were due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// When it begins, in milliseconds from the measurement's beginning: seconds are counted in halves.
    pub from_millis: u64,
    /// Its requests.
    #[serde(flatten)]
    pub figures: PhaseFigures,
}

/// What is found in the samples of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// What was looked at.
    pub findings: Vec<Finding>,
    /// From the injection until requests got what was expected, and went on to. `None`: they never did.
    #[serde(with = "crate::experiment::millis::option")]
    pub time_to_detect: Option<Duration>,
    /// From the fault's end until the steady state was back, and stayed. `None`: it never was.
    #[serde(with = "crate::experiment::millis::option")]
    pub time_to_recover: Option<Duration>,
    /// Requests from the injection on that got neither what was expected of their phase nor an answer of the application.
    pub lost: u64,
    /// Before the fault.
    pub before: PhaseFigures,
    /// While it lasted.
    pub during: PhaseFigures,
    /// After it.
    pub after: PhaseFigures,
    /// All, by half seconds.
    pub seconds: Vec<Second>,
}

impl Judgement {
    /// Whether all was as it had to be, with these findings beside.
    #[must_use]
    pub fn verdict(&self, beside: &[Finding]) -> Verdict {
        match self.findings.iter().chain(beside).all(|finding| finding.held) {
            true => Verdict::Held,
            false => Verdict::Fell,
        }
    }
}

/// Whether a steady state is there.
#[must_use]
pub fn is_steady(samples: &[Sample], steady: &SteadyState) -> bool {
    steadiness(samples, steady).held
}

/// Whether a steady state is there, and what was seen.
#[must_use]
pub fn steadiness(samples: &[Sample], steady: &SteadyState) -> Finding {
    let all: Vec<_> = samples.iter().collect();
    let share = share_of(&all, &steady.want);
    let held = share.is_some_and(|share| share + ROUNDING >= steady.share);
    Finding::new(format!("{} of requests get {}", percent(steady.share), steady.want), held, summary(&all))
}

/// Judges samples, which need not be in order.
#[must_use]
pub fn judge(samples: &[Sample], marks: &Marks, expected: &Expectation) -> Judgement {
    let mut samples: Vec<&Sample> = samples.iter().collect();
    samples.sort_by_key(|sample| sample.at);
    let injected = samples.partition_point(|sample| sample.at < marks.injected);
    let ended = samples.partition_point(|sample| sample.at < marks.ended).max(injected);
    let (begun, under_fault, after) = (&samples[..injected], &samples[injected..ended], &samples[ended..]);

    let mut findings = Vec::new();
    let steady = &expected.steady;
    // What was under way when the fault began, and fared otherwise than without one, says nothing about what was before.
    let met_it =
        |sample: &Sample| sample.at + sample.latency >= marks.injected && !steady.want.takes(&sample.outcome);
    let (mut during, before): (Vec<&Sample>, Vec<&Sample>) = begun.iter().partition(|sample| met_it(sample));
    during.extend(under_fault);
    let is_steady = share_of(&before, &steady.want).is_some_and(|share| share + ROUNDING >= steady.share);
    findings.push(Finding::new(
        format!("before: {} of requests get {}", percent(steady.share), steady.want),
        is_steady,
        summary(&before),
    ));

    // What was under way when the fault ended, was perhaps tried again, and then got what is expected without a fault says
    // nothing about the fault.
    let outlived = |sample: &Sample| {
        expected.during != steady.want
            && sample.at + sample.latency >= marks.ended
            && steady.want.takes(&sample.outcome)
    };
    let judged: Vec<&Sample> = under_fault.iter().filter(|sample| !outlived(sample)).copied().collect();
    let judged = judged.as_slice();
    let felt = held_from(judged, marks.injected, &expected.during, expected.share);
    let time_to_detect = felt.map(|at| at.saturating_sub(marks.injected));
    findings.push(Finding::new(
        format!(
            "during: {} of requests get {}{}",
            percent(expected.share),
            expected.during,
            match expected.detect_within {
                Duration::ZERO => " from the injection on".to_owned(),
                within => format!(" from {} after the injection at the latest", seconds(within)),
            }
        ),
        time_to_detect.is_some_and(|time| time <= expected.detect_within),
        match felt {
            Some(at) => format!("from {} on: {}", seconds(at - marks.injected), summary(since(judged, at))),
            None => summary(judged),
        },
    ));
    if let Some(max) = expected.leaked_max {
        let by = marks.injected + expected.detect_within;
        let leaked = since(judged, felt.map_or(by, |at| at.min(by)));
        let leaked = leaked.iter().filter(|sample| sample.outcome.is_success()).count() as u64;
        findings.push(Finding::new(
            format!("during: the application answers {max} requests at most once the fault is felt"),
            leaked <= max,
            format!("it answered {leaked}"),
        ));
    }
    if let Some(want) = &expected.met {
        let met = during.iter().filter(|sample| want.takes(&sample.outcome)).count();
        findings.push(Finding::new(
            format!("during: at least one request meets the fault, and gets {want}"),
            met > 0,
            format!("{met} did"),
        ));
    }
    let during_figures = figures(&during);
    if let Some(max) = expected.p99_max {
        let p99 = during_figures.latencies.p99;
        findings.push(Finding::new(
            format!("during: 99 of 100 requests take {} at most", millis(max)),
            p99 <= max && !during.is_empty(),
            format!("p99 {}", millis(p99)),
        ));
    }

    let recovered = held_from(after, marks.ended, &steady.want, steady.share);
    let time_to_recover = recovered.map(|at| at.saturating_sub(marks.ended));
    findings.push(Finding::new(
        format!(
            "after: {} of requests get {} again within {}",
            percent(steady.share),
            steady.want,
            seconds(expected.recover_within)
        ),
        time_to_recover.is_some_and(|time| time <= expected.recover_within),
        match recovered {
            Some(at) => format!("from {} on: {}", seconds(at - marks.ended), summary(since(after, at))),
            None => summary(after),
        },
    ));

    let is_lost = |sample: &&&Sample| !sample.outcome.is_success() && !steady.want.takes(&sample.outcome);
    let lost_during = during.iter().filter(is_lost).filter(|sample| !expected.during.takes(&sample.outcome));
    // What was on its way at the end may still get what was expected while the fault lasted.
    let until = recovered.unwrap_or(Duration::MAX);
    let lost_after = after.iter().filter(is_lost).filter(|sample| {
        sample.at >= until || !expected.during.takes(&sample.outcome) || expected.during == steady.want
    });
    let lost = (lost_during.count() + lost_after.count()) as u64;
    if let Some(max) = expected.lost_max {
        findings.push(Finding::new(
            format!("{max} requests are lost at most"),
            lost <= max,
            format!("{lost} of {}", during.len() + after.len()),
        ));
    }
    Judgement {
        findings,
        time_to_detect,
        time_to_recover,
        lost,
        before: figures(&before),
        during: during_figures,
        after: figures(after),
        seconds: by_half_seconds(&samples),
    }
}

/// From when on this share of requests gets what is wanted: `begin`, or when a request was due that did. `samples` are in
/// order. `None`: from none on; what only a last few of them get does not count.
fn held_from(samples: &[&Sample], begin: Duration, want: &Want, share: f64) -> Option<Duration> {
    let least = (samples.len() / 10).max(1);
    let count = |samples: &[&Sample]| samples.iter().filter(|sample| want.takes(&sample.outcome)).count();
    let (mut rest, mut wanted) = (samples.len(), count(samples));
    // Requests that were due at the same moment are looked at together.
    for (number, together) in samples.chunk_by(|one, next| one.at == next.at).enumerate() {
        if rest < least {
            break;
        }
        let takes = count(together);
        if wanted as f64 + ROUNDING >= share * rest as f64 && (takes > 0 || number == 0) {
            return Some(if number == 0 { begin } else { together[0].at });
        }
        rest -= together.len();
        wanted -= takes;
    }
    None
}

fn since<'a, 'b>(samples: &'a [&'b Sample], at: Duration) -> &'a [&'b Sample] {
    &samples[samples.partition_point(|sample| sample.at < at)..]
}

fn share_of(samples: &[&Sample], want: &Want) -> Option<f64> {
    let wanted = samples.iter().filter(|sample| want.takes(&sample.outcome)).count();
    (!samples.is_empty()).then(|| wanted as f64 / samples.len() as f64)
}

fn counts(samples: &[&Sample]) -> BTreeMap<String, u64> {
    let mut by_outcome: BTreeMap<&Outcome, u64> = BTreeMap::new();
    for sample in samples {
        *by_outcome.entry(&sample.outcome).or_default() += 1;
    }
    let mut counts = BTreeMap::new();
    for (outcome, count) in by_outcome {
        *counts.entry(outcome.to_string()).or_default() += count;
    }
    counts
}

fn figures(samples: &[&Sample]) -> PhaseFigures {
    PhaseFigures {
        requests: samples.len() as u64,
        successes: samples.iter().filter(|sample| sample.outcome.is_success()).count() as u64,
        latencies: Latencies::of(samples.iter().map(|sample| sample.latency).collect()),
        outcomes: counts(samples),
    }
}

fn by_half_seconds(samples: &[&Sample]) -> Vec<Second> {
    const WIDTH: u128 = 500;
    let slot = |sample: &&Sample| sample.at.as_millis() / WIDTH;
    let parts = samples.chunk_by(|one, next| slot(one) == slot(next));
    parts
        .map(|part| Second {
            from_millis: u64::try_from(slot(&part[0]) * WIDTH).unwrap_or(u64::MAX),
            figures: figures(part),
        })
        .collect()
}

/// `98 of 100 requests: 200, 2: 403 expired`
fn summary(samples: &[&Sample]) -> String {
    if samples.is_empty() {
        return "no request".to_owned();
    }
    let mut counts: Vec<_> = counts(samples).into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let parts = counts.iter().take(4).map(|(outcome, count)| format!("{outcome} × {count}"));
    let mut text = format!("{} requests: {}", samples.len(), parts.collect::<Vec<_>>().join(", "));
    if counts.len() > 4 {
        text.push_str(", …");
    }
    text
}

/// `99 %`, `99.5 %`
fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "100" => "all".to_owned(),
        text => format!("{text} %"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests;
