//! Runs an experiment: measures, injects, measures, restores, measures, judges.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_model::{
    experiment::{self, Judgement, Marks, Verdict},
    fault::ALL,
};
use bowline_plumbing::wall_clock;
use tokio::time;

use crate::{
    experiment::{Experiment, ExperimentError, Stage, Timing, Trial},
    probe::{self, LoadError, LoadRun},
    record::Record,
    scope::Scope,
    system::System,
};

/// How often it is looked at what became of requests.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time that ending the fault and restoring may take.
const RESTORE_LIMIT: Duration = Duration::from_secs(30);
/// Longest time that injecting may take.
const INJECT_LIMIT: Duration = Duration::from_secs(60);
/// Longest time that looking at something while the fault lasts, or after it, may take.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// Longest time that a fault may last here: beside it a probe has to live for all else that a run may take.
pub const LASTING_MAX: Duration = Duration::from_secs(50 * 60);
/// For measuring before and after.
const MEASURING_LIMIT: Duration = Duration::from_secs(180);
const _: () = {
    let else_ = INJECT_LIMIT.as_secs() + RESTORE_LIMIT.as_secs() + 2 * CHECK_LIMIT.as_secs();
    assert!(LASTING_MAX.as_secs() + else_ + MEASURING_LIMIT.as_secs() <= probe::LASTING_MAX.as_secs());
};

/// What goes on in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The experiment's name.
    pub experiment: &'static str,
    /// Which part of it.
    pub step: Step,
    /// From the load's beginning.
    pub at: Duration,
    /// Requests of the last second, and how many of them had the most frequent outcome, which this is.
    pub last: Option<(usize, usize, String)>,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The steady state is measured.
    Before,
    /// The fault is being put in force.
    Injecting,
    /// The fault lasts.
    During,
    /// The fault is being ended.
    Restoring,
    /// It is waited for the steady state.
    Recovering,
    /// What is left to look at is looked at.
    Checking,
}

impl Step {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Before => "measuring the steady state",
            Self::Injecting => "injecting the fault",
            Self::During => "the fault lasts",
            Self::Restoring => "ending the fault",
            Self::Recovering => "waiting for the steady state",
            Self::Checking => "looking at what is left",
        }
    }
}

/// Who is told of progress.
pub type Listener<'a> = &'a (dyn Fn(&Progress) + Send + Sync);

/// Runs an experiment to its end, or until `stop` is there: then the fault is ended at once.
pub async fn run(
    system: &Arc<dyn System>,
    experiment: &dyn Experiment,
    scope: &Scope,
    listener: Listener<'_>,
    stop: impl Future<Output = ()>,
) -> Record {
    let began = Instant::now();
    let mut record = Record::begin(experiment, wall_clock::now());
    let verdict = attempt(system, experiment, scope, listener, stop, &mut record).await;
    record.verdict = match verdict {
        Ok(verdict) => verdict,
        Err(ExperimentError::NotApplicable(reason)) => Verdict::NotApplicable(reason),
        Err(error) => Verdict::Failed(error.to_string()),
    };
    record.took = began.elapsed();
    record
}

async fn attempt(
    system: &Arc<dyn System>,
    experiment: &dyn Experiment,
    scope: &Scope,
    listener: Listener<'_>,
    stop: impl Future<Output = ()>,
    record: &mut Record,
) -> Result<Verdict, ExperimentError> {
    let mesh = system.mesh().await?;
    let mut trial = experiment.prepare(&mesh, scope)?;
    let mut timing = trial.timing();
    timing.during = scope.lasting.unwrap_or(timing.during);
    let cause = format!("{}/{}", experiment.name(), run_id());
    let stage = Stage::new(Arc::clone(system), scope.clone(), cause, timing.during);
    let course = Course { name: experiment.name(), listener, stage: &stage, timing };
    let ended = {
        let under_way = course.run(&mut *trial, record);
        tokio::select! {
            ended = under_way => Some(ended),
            () = stop => None,
        }
    };
    match ended {
        Some(Ok(verdict)) => Ok(verdict),
        // Whatever it was, nothing of the fault is to stay.
        Some(Err(error)) => match course.restore(&mut *trial).await {
            Ok(()) => Err(error),
            Err(left) => Err(ExperimentError::failed(format!("{error}; and {left}"))),
        },
        None => {
            course.restore(&mut *trial).await?;
            Ok(Verdict::Aborted)
        }
    }
}

/// Names a run among those of a machine.
fn run_id() -> String {
    let now = wall_clock::now().as_millis();
    format!("{:x}-{now:x}", std::process::id())
}

/// What a run goes by.
struct Course<'a> {
    name: &'static str,
    listener: Listener<'a>,
    stage: &'a Stage,
    timing: Timing,
}

impl Course<'_> {
    async fn run(&self, trial: &mut dyn Trial, record: &mut Record) -> Result<Verdict, ExperimentError> {
        let Timing { before, during, after } = self.timing;
        let expectation = match self.stage.scope().per_million {
            ALL => trial.expectation(),
            _ => trial.expectation().of_some_connections(),
        };
        let mut load = trial.load();
        load.rate = self.stage.scope().rate.unwrap_or(load.rate);
        let edge = trial.edge().clone();
        let no_task = || ExperimentError::NotApplicable(format!("{} has no healthy task", edge.caller.name));
        let task = edge.calling_task().ok_or_else(no_task)?.id.clone();
        record.caller = Some(edge.caller.name.clone());
        record.called = Some(edge.called.name.clone());
        record.rate = Some(load.rate);
        record.expectation = Some(expectation.clone());

        let limits = INJECT_LIMIT + RESTORE_LIMIT + CHECK_LIMIT * 2;
        let lasting = before + during + after + expectation.recover_within + limits;
        let load = LoadRun::start(self.stage.system(), &task, &edge, load, lasting).await.map_err(failed)?;
        self.wait(&load, Step::Before, before).await?;
        let steady = experiment::steadiness(&load.samples_since(Duration::ZERO), &expectation.steady);
        if !steady.held {
            load.finish().await.map_err(failed)?;
            return Ok(Verdict::Refused(format!(
                "the steady state is not there: {}: {}",
                steady.what, steady.seen
            )));
        }

        let injected = load.now();
        let injecting = self.beside(&load, Step::Injecting, trial.inject(self.stage));
        within("injecting the fault", INJECT_LIMIT, injecting).await?;
        let in_force = load.now();
        let looked = within("looking at it while the fault lasts", CHECK_LIMIT, trial.during(self.stage));
        let (findings, waited) = tokio::join!(looked, self.wait(&load, Step::During, during));
        waited?;
        record.findings.extend(findings?);

        let vanished = self.stage.vanished().await?;
        if !vanished.is_empty() {
            return Err(ExperimentError::failed(
                "the fault ended by itself before its time: nothing was shown",
            ));
        }

        let ended = load.now();
        self.beside(&load, Step::Restoring, self.restore(trial)).await?;
        let limit = expectation.recover_within + after;
        let mut recovered = false;
        while load.now().saturating_sub(ended) < limit && !recovered {
            self.wait(&load, Step::Recovering, LOOK).await?;
            let since = load.now().saturating_sub(after);
            let samples = load.samples_since(since.max(ended));
            recovered = since >= ended && experiment::is_steady(&samples, &expectation.steady);
        }
        let finished = load.now();
        let looked = within("looking at it after the fault", CHECK_LIMIT, trial.after(self.stage));
        record.findings.extend(self.beside(&load, Step::Checking, looked).await?);
        let mut samples = load.finish().await.map_err(failed)?;
        // What was sent while the rest was looked at is nobody's concern.
        samples.retain(|sample| sample.at <= finished);

        let marks = Marks { injected, in_force, ended, finished };
        let judgement = experiment::judge(&samples, &marks, &expectation);
        Ok(self.judged(record, marks, judgement))
    }

    fn judged(&self, record: &mut Record, marks: Marks, judgement: Judgement) -> Verdict {
        let verdict = judgement.verdict(&record.findings);
        record.marks = Some(marks);
        record.judgement = Some(judgement);
        verdict
    }

    /// Ends every fault of the run, and has the trial restore what it did in a way of its own.
    async fn restore(&self, trial: &mut dyn Trial) -> Result<(), ExperimentError> {
        let restored = async {
            let ended = self.stage.end_all().await;
            let restored = trial.restore(self.stage).await;
            ended.and(restored)
        };
        within("ending the fault", RESTORE_LIMIT, restored).await
    }

    /// Waits while the load goes on.
    async fn wait(&self, load: &LoadRun, step: Step, time: Duration) -> Result<(), ExperimentError> {
        self.beside(load, step, async {
            time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Does something while the load goes on, and tells of progress.
    async fn beside<T>(
        &self,
        load: &LoadRun,
        step: Step,
        doing: impl Future<Output = Result<T, ExperimentError>>,
    ) -> Result<T, ExperimentError> {
        let mut doing = std::pin::pin!(doing);
        let mut ticks = time::interval(LOOK);
        loop {
            tokio::select! {
                done = &mut doing => return done,
                _ = ticks.tick() => {
                    if load.is_over() {
                        return Err(ExperimentError::failed(
                            "the probe ended before its time: the caller's task is gone, or nothing can run in it",
                        ));
                    }
                    self.tell(load, step);
                }
            }
        }
    }

    fn tell(&self, load: &LoadRun, step: Step) {
        let at = load.now();
        let samples = load.samples_since(at.saturating_sub(Duration::from_secs(1)));
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
        for sample in &samples {
            *counts.entry(&sample.outcome).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let last = most.map(|(outcome, count)| (samples.len(), count, outcome.to_string()));
        (self.listener)(&Progress { experiment: self.name, step, at, last });
    }
}

async fn within<T>(
    what: &str,
    limit: Duration,
    doing: impl Future<Output = Result<T, ExperimentError>>,
) -> Result<T, ExperimentError> {
    match time::timeout(limit, doing).await {
        Ok(done) => done,
        Err(_) => Err(ExperimentError::failed(format!("{what} took longer than {} s", limit.as_secs()))),
    }
}

fn failed(error: LoadError) -> ExperimentError {
    ExperimentError::failed(error.to_string())
}
