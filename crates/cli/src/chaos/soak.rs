//! `bowline chaos soak`: random experiments, some of whose runners are killed, and whether all is as before.

use std::{
    collections::BTreeMap,
    io::{Read, Seek},
    path::Path,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use bowline_chaos::{experiments, order::RandomOrder};
use bowline_plumbing::text::printable;
use serde::Serialize;
use tokio::{process::Command, time};

use super::{arguments::lasting, kernel::LASTING, snapshot::Snapshot, system::LiveSystem};
use crate::{commands::chaos::OfBowline, machine::Stop, output::OutputFormat};

/// Longest time that one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(240);
/// How long a run may be under way when it is killed.
const KILLED_WITHIN: Duration = Duration::from_secs(8);
/// How long all may take to be as before again: the longest deadline of a fault, a task's replacement, the last
/// connections of a relay.
const RETURN_LIMIT: Duration = Duration::from_secs(120);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How much of what a run told is shown, bytes.
const TOLD_MAX: u64 = 16 * 1024;

/// Arguments of `bowline chaos soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// How many experiments.
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// The random order that this number stands for. Default: another one each time.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The number of the first experiment in that order: a soak can be made in pieces, each going on where one of the same
    /// seed has ended.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", requires = "seed", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    first: u32,
    /// How many of a hundred runs are killed, by SIGKILL at a random moment.
    #[arg(long, default_value_t = 33, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    killed: u32,
    /// Only these experiments. Default: all.
    #[arg(long = "experiment", value_name = "NAME", value_parser = experiment)]
    experiments: Vec<String>,
    /// How long each fault lasts at least, 1s to 50m.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = lasting)]
    duration: Duration,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    of: OfBowline,
}

fn experiment(name: &str) -> Result<String, String> {
    match experiments::named(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err("`bowline chaos list` names them".to_owned()),
    }
}

/// One run of the order that a seed stands for.
#[derive(Clone, Debug, PartialEq)]
struct Planned<'a> {
    /// From 1.
    number: u32,
    name: &'a str,
    killed_after: Option<Duration>,
}

/// All runs of a seed's order, without end.
fn plan<'a>(seed: u64, names: &'a [&'a str], killed_percent: u32) -> impl Iterator<Item = Planned<'a>> {
    let mut random = RandomOrder::new(seed);
    (1..).map(move |number| {
        // Each takes as many random numbers, so that the order is one however many are killed.
        let name = names.get(random.below(names.len())).copied().unwrap_or_default();
        let is_killed = random.below(100) < killed_percent as usize;
        let moment = KILLED_WITHIN.mul_f64(random.below(1_000) as f64 / 1_000.0);
        Planned { number, name, killed_after: is_killed.then_some(moment) }
    })
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Soak {
    seed: u64,
    /// The number of the first run.
    first: u32,
    runs: u32,
    killed: u32,
    /// How many runs ended how: `held`, `fell`, `not judged`, `killed`, `too long`, by experiment.
    ended: BTreeMap<String, BTreeMap<&'static str, u32>>,
    took_seconds: u64,
    /// After which run something was not as before, by its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    differs_after: Option<u32>,
    /// What is not as it was before.
    differences: Vec<String>,
    /// What could not be looked at.
    not_looked_at: Vec<&'static str>,
}

/// Runs it, until something is not as before. Ends with 0 when all is as before and no hypothesis fell.
pub(crate) async fn run(args: SoakArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let state_dir = args.of.state_dir()?;
    let system = args.of.system()?;
    let mut stop = Stop::new()?;
    let seed = args.seed.unwrap_or_else(RandomOrder::any_seed);
    let names: Vec<&str> = match args.experiments.is_empty() {
        true => experiments::ALL.iter().map(|it| it.name()).collect(),
        false => args.experiments.iter().map(String::as_str).collect(),
    };
    system.topology().await?;
    let before = tokio::select! {
        before = at_rest(&system, &state_dir) => before.context("the mesh is not at rest: nothing was begun")?,
        () = stop.asked() => anyhow::bail!("broken off before anything was run"),
    };
    let mut soak = Soak { seed, first: args.first, not_looked_at: before.gaps(), ..Soak::default() };
    eprintln!("seed {seed}");
    let runs = plan(seed, &names, args.killed).skip(args.first as usize - 1).take(args.count as usize);
    for planned in runs {
        let run_began = Instant::now();
        let ended = one(&planned, &state_dir, args.duration).await?;
        let took = run_began.elapsed();
        soak.runs += 1;
        soak.killed += u32::from(ended == "killed");
        *soak.ended.entry(planned.name.to_owned()).or_default().entry(ended).or_default() += 1;
        soak.differences = differences(&system, &state_dir, &before).await?;
        let Planned { number, name, .. } = planned;
        let returned = match soak.differences.is_empty() {
            true => format!("as before after {:.1} s more", (run_began.elapsed() - took).as_secs_f64()),
            false => format!("not as before after {} s more", RETURN_LIMIT.as_secs()),
        };
        eprintln!(
            "run {number}, {} of {}: {name}: {ended} after {:.1} s; {returned}",
            soak.runs,
            args.count,
            took.as_secs_f64()
        );
        if !soak.differences.is_empty() {
            soak.differs_after = Some(number);
            break;
        }
        // Each look at the signals counts: one that came during the run waits.
        if time::timeout(Duration::ZERO, stop.asked()).await.is_ok() {
            break;
        }
    }
    soak.took_seconds = began.elapsed().as_secs();
    print(&soak, args.output)?;
    if soak.runs < args.count {
        eprintln!(
            "to go on: --seed {seed} --first {} --count {}",
            args.first + soak.runs,
            args.count - soak.runs
        );
    }
    let fell = soak.ended.values().any(|ended| ended.contains_key("fell") || ended.contains_key("too long"));
    Ok(if soak.differences.is_empty() && !fell { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one experiment, and kills its runner where that is planned: how it ended.
async fn one(planned: &Planned<'_>, state_dir: &Path, duration: Duration) -> anyhow::Result<&'static str> {
    let mut told = tempfile::tempfile()?;
    let mut runner = Command::new(std::env::current_exe()?);
    runner.args(["chaos", "run", planned.name, "--state-dir"]).arg(state_dir);
    runner.args(["--duration", &format!("{}s", duration.as_secs())]);
    // Ctrl-C is for this one, which waits for the run that is under way.
    runner.process_group(0).stdin(Stdio::null()).stdout(told.try_clone()?).stderr(Stdio::null());
    let mut runner = runner.spawn().context("a run does not start")?;
    let limit = planned.killed_after.unwrap_or(RUN_LIMIT);
    let Ok(status) = time::timeout(limit, runner.wait()).await else {
        runner.kill().await?;
        return Ok(if planned.killed_after.is_some() { "killed" } else { "too long" });
    };
    let ended = match status?.code() {
        Some(0) => return Ok("held"),
        Some(1) => "fell",
        _ => "not judged",
    };
    let mut text = Vec::new();
    told.rewind()?;
    told.take(TOLD_MAX).read_to_end(&mut text)?;
    for line in String::from_utf8_lossy(&text).lines() {
        eprintln!("    {}", printable(line));
    }
    Ok(ended)
}

/// A snapshot as soon as all is at rest, and stays as it is for as long as what counts has to last.
async fn at_rest(system: &LiveSystem, state_dir: &Path) -> anyhow::Result<Snapshot> {
    let deadline = Instant::now() + RETURN_LIMIT;
    let mut last = Snapshot::take(system, state_dir).await?;
    loop {
        time::sleep(LASTING).await;
        let is_over = Instant::now() >= deadline;
        let snapshot = match Snapshot::take(system, state_dir).await {
            Ok(snapshot) => snapshot,
            Err(error) if is_over => return Err(error.into()),
            // The control plane may be away on purpose.
            Err(_) => continue,
        };
        let changes = snapshot.differences(&last);
        if snapshot.is_at_rest() && changes.is_empty() {
            return Ok(snapshot);
        }
        if is_over {
            anyhow::bail!(
                "faults are in force, services lack tasks, or something changes, for {} s: {}",
                RETURN_LIMIT.as_secs(),
                changes.join("; ")
            );
        }
        last = snapshot;
    }
}

/// What differs, when all has had time to come back.
async fn differences(
    system: &LiveSystem,
    state_dir: &Path,
    before: &Snapshot,
) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + RETURN_LIMIT;
    loop {
        let is_over = Instant::now() >= deadline;
        let differences = match Snapshot::take(system, state_dir).await {
            Ok(snapshot) => snapshot.differences(before),
            Err(error) if is_over => return Err(error.into()),
            Err(error) => vec![error.to_string()],
        };
        if differences.is_empty() || is_over {
            return Ok(differences);
        }
        time::sleep(LOOK).await;
    }
}

fn print(soak: &Soak, output: OutputFormat) -> anyhow::Result<()> {
    if output == OutputFormat::Json {
        println!("{}", serde_json::to_string_pretty(soak)?);
        return Ok(());
    }
    for (name, ended) in &soak.ended {
        let parts: Vec<_> = ended.iter().map(|(how, count)| format!("{count} {how}")).collect();
        println!("{name}: {}", parts.join(", "));
    }
    for gap in &soak.not_looked_at {
        println!("‼ not looked at: {gap}");
    }
    if let Some(number) = soak.differs_after {
        println!("× after run {number}:");
    }
    for difference in &soak.differences {
        println!("    {difference}");
    }
    let verdict = if soak.differences.is_empty() { "all is as before" } else { "not all is as before" };
    println!(
        "{} runs, {} killed, in {} s, seed {}: {verdict}",
        soak.runs, soak.killed, soak.took_seconds, soak.seed
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_one_however_it_is_cut() {
        let names = ["a", "b", "c"];
        let whole: Vec<_> = plan(7, &names, 33).take(100).collect();
        let pieces = [(1, 40), (41, 60)].into_iter().flat_map(|(first, count)| {
            plan(7, &names, 33).skip(first as usize - 1).take(count).collect::<Vec<_>>()
        });
        assert_eq!(pieces.collect::<Vec<_>>(), whole);
        assert_eq!((whole[0].number, whole[99].number), (1, 100));
        let killed = whole.iter().filter(|it| it.killed_after.is_some()).count();
        assert!((20..=46).contains(&killed), "{killed} of 100");
        assert!(names.iter().all(|name| whole.iter().any(|it| it.name == *name)));
        assert!(whole.iter().flat_map(|it| it.killed_after).all(|moment| moment < KILLED_WITHIN));
        // Who is killed is nothing to the order.
        let unharmed: Vec<_> = plan(7, &names, 0).take(100).collect();
        assert!(whole.iter().zip(&unharmed).all(|(one, other)| one.name == other.name));
        assert!(unharmed.iter().all(|it| it.killed_after.is_none()));
        assert_ne!(plan(8, &names, 33).take(100).collect::<Vec<_>>(), whole);
    }
}
