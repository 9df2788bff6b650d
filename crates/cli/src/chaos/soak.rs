//! `bowline chaos soak`: random experiments, some of whose runners are killed, and whether all is as before.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use bowline_chaos::{experiments, order::RandomOrder};
use serde::Serialize;
use tokio::{process::Command, time};

use super::{kernel::LASTING, snapshot::Snapshot, system::LiveSystem};
use crate::{commands::chaos::OfBowline, machine::Stop, output::OutputFormat};

/// Longest time that one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(240);
/// How long a run may be under way when it is killed.
const KILLED_WITHIN: Duration = Duration::from_secs(8);
/// How long all may take to be at rest again: the longest deadline of a fault, and a task's replacement.
const REST_LIMIT: Duration = Duration::from_secs(120);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `bowline chaos soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// How many experiments.
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// The random order that this number stands for. Default: another one each time.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How many of a hundred runs are killed, by SIGKILL at a random moment.
    #[arg(long, default_value_t = 33, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    killed: u32,
    /// Only these experiments. Default: all.
    #[arg(long = "experiment", value_name = "NAME", value_parser = experiment)]
    experiments: Vec<String>,
    /// How long each fault lasts: 2s. Default: the experiment's.
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
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

/// What came of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Soak {
    seed: u64,
    runs: u32,
    killed: u32,
    /// How many runs ended how: `held`, `fell`, `not judged`, `killed`, by experiment.
    ended: BTreeMap<String, BTreeMap<&'static str, u32>>,
    took_seconds: u64,
    /// What is not as it was before.
    differences: Vec<String>,
    /// What could not be looked at.
    not_looked_at: Vec<&'static str>,
}

/// Runs it. Ends with 0 when all is as before and no hypothesis fell.
pub(crate) async fn run(args: SoakArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let state_dir = args.of.state_dir()?;
    let system = args.of.system()?;
    let mut stop = Stop::new()?;
    let seed = args.seed.unwrap_or_else(RandomOrder::any_seed);
    let mut random = RandomOrder::new(seed);
    let names: Vec<&str> = match args.experiments.is_empty() {
        true => experiments::ALL.iter().map(|it| it.name()).collect(),
        false => args.experiments.iter().map(String::as_str).collect(),
    };
    system.topology().await?;
    let before = at_rest(&system, &state_dir).await.context("the mesh is not at rest: nothing was begun")?;
    let mut soak = Soak { seed, not_looked_at: before.gaps(), ..Soak::default() };
    eprintln!("seed {seed}");
    for number in 1..=args.count {
        let name = names[random.below(names.len())];
        let is_killed = random.below(100) < args.killed as usize;
        let moment = KILLED_WITHIN.mul_f64(random.below(1_000) as f64 / 1_000.0);
        let mut runner = Command::new(std::env::current_exe()?);
        runner.args(["chaos", "run", name, "-o", "json", "--state-dir"]).arg(&state_dir);
        if let Some(duration) = &args.duration {
            runner.args(["--duration", duration]);
        }
        // Ctrl-C is for this one, which waits for the run that is under way.
        runner.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut runner = runner.spawn().context("a run does not start")?;
        let limit = if is_killed { moment } else { RUN_LIMIT };
        let ended = match time::timeout(limit, runner.wait()).await {
            Ok(status) => match status?.code() {
                Some(0) => "held",
                Some(1) => "fell",
                _ => "not judged",
            },
            Err(_) => {
                runner.kill().await?;
                soak.killed += 1;
                if is_killed { "killed" } else { "too long" }
            }
        };
        soak.runs = number;
        *soak.ended.entry(name.to_owned()).or_default().entry(ended).or_default() += 1;
        eprintln!("{number} of {}: {name}: {ended}", args.count);
        if ended == "killed" {
            // Whoever ends its fault, it is not who began it. What is left is found by the comparison at the end.
            let _ = at_rest(&system, &state_dir).await;
        }
        if time::timeout(Duration::ZERO, stop.asked()).await.is_ok() {
            break;
        }
    }
    soak.differences = differences(&system, &state_dir, &before).await?;
    soak.took_seconds = began.elapsed().as_secs();
    print(&soak, args.output)?;
    let fell = soak.ended.values().any(|ended| ended.contains_key("fell") || ended.contains_key("too long"));
    Ok(if soak.differences.is_empty() && !fell { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A snapshot as soon as all is at rest.
async fn at_rest(system: &LiveSystem, state_dir: &Path) -> anyhow::Result<Snapshot> {
    let deadline = Instant::now() + REST_LIMIT;
    loop {
        let is_over = Instant::now() >= deadline;
        match Snapshot::take(system, state_dir).await {
            Ok(snapshot) if snapshot.is_at_rest() => return Ok(snapshot),
            Ok(_) => {}
            Err(error) if is_over => return Err(error.into()),
            // The control plane may be away on purpose.
            Err(_) => {}
        }
        if is_over {
            anyhow::bail!("faults are in force, or services lack tasks, for {} s", REST_LIMIT.as_secs());
        }
        time::sleep(LOOK).await;
    }
}

/// What differs, when all has had time to come back, and what was left has lasted long enough to be seen.
async fn differences(
    system: &LiveSystem,
    state_dir: &Path,
    before: &Snapshot,
) -> anyhow::Result<Vec<String>> {
    time::sleep(LASTING).await;
    let deadline = Instant::now() + REST_LIMIT;
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
    for difference in &soak.differences {
        println!("× {difference}");
    }
    let verdict = if soak.differences.is_empty() { "all is as before" } else { "not all is as before" };
    println!(
        "{} runs, {} killed, in {} s, seed {}: {verdict}",
        soak.runs, soak.killed, soak.took_seconds, soak.seed
    );
    Ok(())
}
