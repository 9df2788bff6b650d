//! `bowline chaos`: experiments with verdicts.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bowline_chaos::{
    experiment::Experiment,
    experiments,
    order::RandomOrder,
    probe::RATE_MAX,
    report::{Conclusion, Report},
    runner,
    scope::Scope,
    system::System,
};
use bowline_model::{experiment::Verdict, fault::Fault};
use bowline_plumbing::wall_clock;

use crate::{
    chaos::{
        arguments::{lasting, per_million},
        fis::{self, Filling, Fis},
        history,
        progress::ProgressLine,
        soak::{self, SoakArgs},
        system::LiveSystem,
        template::TemplateRun,
    },
    display::Table,
    machine::Stop,
    output::OutputFormat,
    span, state_dir,
};

/// It could not be tried: no Bowline runs, or something of it failed.
const NOT_TRIED: u8 = 3;
/// It was not asked for as it has to be.
const USAGE: u8 = 2;

/// How often it is asked how an experiment of FIS stands.
const FOLLOWED: Duration = Duration::from_millis(500);

/// Arguments of `bowline chaos`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show what experiments there are
    List {
        /// How to print.
        #[arg(short, long, default_value = "text")]
        output: OutputFormat,
    },
    /// Run experiments. Ends with 0 when every hypothesis held, 1 when one fell, 3 when one could not be judged
    Run(Box<RunArgs>),
    /// Start an experiment of AWS FIS, and follow it to its end. Ends with 0 when it was completed
    Start {
        /// A file of JSON, as `aws fis create-experiment-template --cli-input-json` takes it, or a template's id. In a
        /// file `region`, `account-id` and a missing selectionMode are filled in.
        template: String,
        /// The task, in place of task/cluster/task-id: its id, the beginning of it, its ARN, or a service's name.
        #[arg(long, value_name = "TASK")]
        task: Option<String>,
        /// The alarm's ARN, in place of alarm-name.
        #[arg(long, value_name = "ARN")]
        alarm: Option<String>,
        #[command(flatten)]
        of: OfBowline,
    },
    /// Show what a run came to, the last one or another
    Report {
        /// A file that `--json` wrote, or the name of a run that is kept in the state directory. Default: the last.
        file: Option<PathBuf>,
        #[command(flatten)]
        wanted: WantedReports,
        #[command(flatten)]
        of: OfBowline,
    },
    /// Show the faults that are in force
    Faults {
        /// How to print.
        #[arg(short, long, default_value = "text")]
        output: OutputFormat,
        #[command(flatten)]
        of: OfBowline,
    },
    /// End every fault that is in force
    Stop {
        #[command(flatten)]
        of: OfBowline,
    },
    /// Run random experiments, killing some runs, and compare what is there before and after
    Soak(SoakArgs),
}

/// Which Bowline is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct OfBowline {
    /// State directory of the running Bowline.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// The region by which its AWS endpoint is called.
    #[arg(long, default_value = "us-east-1", env = "AWS_REGION", hide_env_values = true)]
    region: String,
}

impl OfBowline {
    pub(crate) fn state_dir(&self) -> anyhow::Result<PathBuf> {
        state_dir::resolve(self.state_dir.clone())
    }

    pub(crate) fn system(&self) -> anyhow::Result<LiveSystem> {
        Ok(LiveSystem::new(&self.state_dir()?, &self.region))
    }
}

/// Which reports are wanted.
#[derive(Debug, clap::Args)]
struct WantedReports {
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: ReportFormat,
    /// Write JSON to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write JUnit's XML to this file as well, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a self-contained page with plots to this file as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For CI.
    Junit,
}

impl WantedReports {
    fn write(&self, report: &Report) -> anyhow::Result<()> {
        type Format = fn(&Report) -> String;
        let files: [(_, Format); 3] =
            [(&self.json, Report::json), (&self.junit, Report::junit), (&self.html, Report::html)];
        for (path, text) in files {
            if let Some(path) = path {
                std::fs::write(path, text(report))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                eprintln!("wrote {}", path.display());
            }
        }
        let text = match self.output {
            ReportFormat::Text => report.text(),
            ReportFormat::Json => report.json(),
            ReportFormat::Junit => report.junit(),
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // Who read, as `head` does, has had enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Arguments of `bowline chaos run`.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Experiments, as `bowline chaos list` names them.
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "random"])]
    names: Vec<String>,
    /// All experiments; those that say nothing about the system are left out.
    #[arg(long, conflicts_with_all = ["names", "random"])]
    all: bool,
    /// So many experiments, chosen at random, one may come again.
    #[arg(long, value_name = "COUNT", conflicts_with = "names", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    random: Option<u32>,
    /// The random order that this number stands for, in place of the order given.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The service that calls. Default: the first that an experiment can be made of.
    #[arg(long, value_name = "SERVICE")]
    caller: Option<String>,
    /// The service that is called.
    #[arg(long, value_name = "SERVICE")]
    called: Option<String>,
    /// Of how many new connections a fault of certificates or paths is.
    #[arg(long, default_value = "100", value_parser = per_million, value_name = "PERCENT")]
    share: u32,
    /// Requests per second. Default: the experiment's.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(5..=i64::from(RATE_MAX)))]
    rate: Option<u32>,
    /// How long a fault lasts, 1s to 50m. Default: the experiment's.
    #[arg(long, value_name = "TIME", value_parser = lasting)]
    duration: Option<Duration>,
    /// The path that is asked for. Default: one by which a load balancer reaches the called service, else /.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Bring this CloudFormation template up, run on it, and take it down; may be given more than once. What follows `--`
    /// is for `bowline up`.
    #[arg(long = "template", value_name = "FILE", conflicts_with = "state_dir")]
    templates: Vec<PathBuf>,
    #[command(flatten)]
    wanted: WantedReports,
    #[command(flatten)]
    of: OfBowline,
    /// More arguments of `bowline up`, with --template.
    #[arg(last = true, requires = "templates")]
    up_arguments: Vec<OsString>,
}

/// Lists, runs, reports.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // That a hypothesis fell is 1: whatever else goes wrong is another code.
    let ended = match args.action {
        Action::List { output } => list(output).map(|()| ExitCode::SUCCESS),
        Action::Run(args) => run_experiments(*args).await,
        Action::Start { template, task, alarm, of } => start(&template, task.as_deref(), alarm, &of).await,
        Action::Report { file, wanted, of } => report(file.as_deref(), &wanted, &of),
        Action::Faults { output, of } => faults(output, &of).await,
        Action::Stop { of } => stop(&of).await,
        Action::Soak(args) => soak::run(args).await,
    };
    Ok(ended.unwrap_or_else(|error| {
        eprintln!("bowline: {error:#}");
        ExitCode::from(NOT_TRIED)
    }))
}

fn list(output: OutputFormat) -> anyhow::Result<()> {
    match output {
        OutputFormat::Text => {
            let mut table = Table::new(["NAME", "HYPOTHESIS"]);
            for experiment in experiments::ALL {
                table.row([experiment.name().to_owned(), experiment.hypothesis().to_owned()]);
            }
            print!("{table}");
        }
        OutputFormat::Json => {
            let rows = experiments::ALL.iter().map(|it| {
                serde_json::json!({
                    "name": it.name(),
                    "title": it.title(),
                    "hypothesis": it.hypothesis(),
                    "how": it.how(),
                    "expected": it.expected(),
                })
            });
            println!("{}", serde_json::Value::from_iter(rows));
        }
    }
    Ok(())
}

/// The experiments that are meant, in the order in which they are run.
fn chosen(args: &RunArgs) -> Result<(Vec<&'static dyn Experiment>, Option<u64>), String> {
    if let Some(count) = args.random {
        let seed = args.seed.unwrap_or_else(RandomOrder::any_seed);
        let mut order = RandomOrder::new(seed);
        let pick = (0..count).map(|_| experiments::ALL[order.below(experiments::ALL.len())]);
        return Ok((pick.collect(), Some(seed)));
    }
    let mut chosen = match args.all {
        true => experiments::ALL.to_vec(),
        false => {
            let named = args.names.iter().map(|name| {
                experiments::named(name).ok_or_else(|| {
                    format!("there is no experiment {name:?}: `bowline chaos list` names them")
                })
            });
            named.collect::<Result<_, _>>()?
        }
    };
    if let Some(seed) = args.seed {
        RandomOrder::new(seed).shuffle(&mut chosen);
    }
    if args.all {
        chosen.sort_by_key(|experiment| experiment.interrupts_others());
    }
    Ok((chosen, args.seed))
}

async fn run_experiments(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (chosen, seed) = match chosen(&args) {
        Ok(chosen) => chosen,
        Err(usage) => {
            eprintln!("bowline: {usage}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let scope = Scope {
        caller: args.caller.clone(),
        called: args.called.clone(),
        per_million: args.share,
        rate: args.rate,
        lasting: args.duration,
        path: args.path.clone(),
    };
    // From here on Ctrl-C ends the fault that is in force; it does not cut it off.
    let mut stop = Stop::new()?;
    let mut report = Report {
        bowline: env!("CARGO_PKG_VERSION").to_owned(),
        began_at: wall_clock::now(),
        seed,
        ..Report::default()
    };
    let began = Instant::now();
    if args.templates.is_empty() {
        let state_dir = args.of.state_dir()?;
        report.subject = state_dir.display().to_string();
        let system = args.of.system()?;
        // Nothing is to be begun where nobody answers.
        system.topology().await?;
        run_all(system, &chosen, &scope, None, &mut report, &mut stop).await;
        report.took = began.elapsed();
        match history::keep(&state_dir, &report) {
            Ok(kept) => eprintln!("kept as {}", kept.display()),
            // What was found is worth more than that it is kept.
            Err(error) => eprintln!("‼ the run could not be kept: {error}"),
        }
    } else {
        let names: Vec<_> = args.templates.iter().map(|path| path.display().to_string()).collect();
        report.subject = names.join(", ");
        let (mut failed, mut is_broken_off) = (None, false);
        for (template, name) in args.templates.iter().zip(&names) {
            let run = run_template(&args, template, name, &chosen, &scope, &mut report, &mut stop).await;
            match run {
                Err(error) => failed = Some(error.context(name.clone())),
                Ok(goes_on) => is_broken_off = !goes_on,
            }
            if failed.is_some() || is_broken_off {
                break;
            }
        }
        report.took = began.elapsed();
        if let Some(error) = failed {
            // What was found before is told all the same.
            args.wanted.write(&report)?;
            let fell = report.records.iter().any(|record| record.verdict == Verdict::Fell);
            return match fell {
                true => {
                    eprintln!("bowline: {error:#}");
                    Ok(ExitCode::from(report.conclusion(false).exit_code()))
                }
                false => Err(error),
            };
        }
        if is_broken_off {
            args.wanted.write(&report)?;
            return Ok(ExitCode::from(Conclusion::Aborted.exit_code()));
        }
    }
    args.wanted.write(&report)?;
    let conclusion = report.conclusion(!args.names.is_empty());
    Ok(ExitCode::from(conclusion.exit_code()))
}

fn was_stopped(report: &Report) -> bool {
    report.records.iter().any(|record| record.verdict == Verdict::Aborted)
}

/// Brings a template up, runs, and takes it down. False: that was broken off.
async fn run_template(
    args: &RunArgs,
    template: &Path,
    name: &str,
    chosen: &[&'static dyn Experiment],
    scope: &Scope,
    report: &mut Report,
    stop: &mut Stop,
) -> anyhow::Result<bool> {
    eprintln!("bringing {name} up");
    let Some(up) = TemplateRun::up(template, &args.up_arguments, stop.asked()).await? else {
        eprintln!("{name} is down again: nothing was run");
        return Ok(false);
    };
    let system = LiveSystem::new(&up.state_dir(), &args.of.region);
    run_all(system, chosen, scope, Some(name), report, stop).await;
    eprintln!("taking {name} down");
    up.down().await?;
    Ok(!was_stopped(report))
}

/// Runs experiments one after the other, until one was broken off.
async fn run_all(
    system: LiveSystem,
    chosen: &[&'static dyn Experiment],
    scope: &Scope,
    template: Option<&str>,
    report: &mut Report,
    stop: &mut Stop,
) {
    let system: Arc<dyn System> = Arc::new(system);
    let line = ProgressLine::new();
    for experiment in chosen {
        let listener = |progress: &runner::Progress| line.show(progress);
        let mut record = runner::run(&system, *experiment, scope, &listener, stop.asked()).await;
        record.template = template.map(str::to_owned);
        line.end(&record);
        let is_over = record.verdict == Verdict::Aborted;
        report.records.push(record);
        if is_over {
            return;
        }
    }
}

async fn start(
    template: &str,
    task: Option<&str>,
    alarm: Option<String>,
    of: &OfBowline,
) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let system = of.system()?;
    let fis = Fis::of(&system, &of.region).await?;
    let id = match Path::new(template).is_file() {
        false => template.to_owned(),
        true => {
            let size = std::fs::metadata(template)?.len();
            if size > fis::TEMPLATE_MAX {
                bail!("{template} is too long for an experiment template");
            }
            let mut body = serde_json::from_slice(&std::fs::read(template)?)
                .with_context(|| format!("{template} is no JSON"))?;
            let task = match task {
                Some(task) => Some(fis.task_arn(task).await?),
                None => None,
            };
            let account = system.account().await?;
            let filling = Filling { region: of.region.clone(), account, task, alarm };
            for note in fis::fill(&mut body, &filling)? {
                eprintln!("‼ {note}");
            }
            if let Some(fields) = body.as_object_mut() {
                fields.entry("clientToken").or_insert(fis::token()?.into());
            }
            fis.create(&body).await.context("the template is not taken")?
        }
    };
    let experiment = fis.start(&id).await.context("the experiment does not start")?;
    eprintln!("template {id}, experiment {experiment}");
    let mut shown = String::new();
    let mut is_stopped = false;
    loop {
        let (line, over) = fis::standing(&fis.experiment(&experiment).await?);
        if line != shown {
            println!("{line}");
            shown = line;
        }
        if let Some(completed) = over {
            return Ok(match (completed, is_stopped) {
                (true, _) => ExitCode::SUCCESS,
                (false, true) => ExitCode::from(Conclusion::Aborted.exit_code()),
                (false, false) => ExitCode::FAILURE,
            });
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOWED) => {}
            () = stop.asked() => {
                is_stopped = true;
                fis.stop(&experiment).await?;
            }
        }
    }
}

fn report(file: Option<&Path>, wanted: &WantedReports, of: &OfBowline) -> anyhow::Result<ExitCode> {
    let report = history::find(&of.state_dir()?, file)?;
    wanted.write(&report)?;
    Ok(ExitCode::SUCCESS)
}

async fn faults(output: OutputFormat, of: &OfBowline) -> anyhow::Result<ExitCode> {
    let faults = of.system()?.faults().await?;
    match output {
        OutputFormat::Json => println!("{}", serde_json::to_string(&faults)?),
        OutputFormat::Text if faults.is_empty() => eprintln!("no fault is in force"),
        OutputFormat::Text => {
            let now = wall_clock::now();
            let mut table = Table::new(["FAULT", "WHAT", "CAUSE", "AGE", "ENDS IN"]);
            for fault in &faults {
                table.row([
                    fault.id.to_string(),
                    what(fault),
                    crate::display::printable(&fault.order.cause),
                    span::text(now.since(fault.began_at)),
                    span::text(fault.ends_at.since(now)),
                ]);
            }
            print!("{table}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The kind of a fault as its JSON names it.
fn what(fault: &Fault) -> String {
    let kind = serde_json::to_value(&fault.order.kind).unwrap_or_default();
    let name = kind.as_object().and_then(|object| object.keys().next().cloned());
    name.unwrap_or_else(|| "-".to_owned())
}

async fn stop(of: &OfBowline) -> anyhow::Result<ExitCode> {
    let system = of.system()?;
    let faults = system.faults().await?;
    let mut first_error = None;
    for fault in &faults {
        match system.end_fault(fault.id.clone()).await {
            Ok(()) => eprintln!("{} ended", fault.id),
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    match first_error {
        Some(error) => Err(error.into()),
        None => {
            eprintln!("{} faults ended", faults.len());
            Ok(ExitCode::SUCCESS)
        }
    }
}
