//! What commands that look into proxies ask of a running Bowline: `tap`, `diagnostics`, `log-level`, `check`.

use std::time::Duration;

use anyhow::bail;
use bowline_control::control_plane::ControlPlane;
use bowline_model::{diagnostics::LogState, tap::TapFilter, task::TaskId};
use bowline_stream::introspection::tap::TapOrder;
use serde::{Deserialize, Serialize};

use crate::{
    check::mesh::{self, MeshFacts},
    diagnosis::{self, DiagnosisView},
    measured::who::Who,
    tapped::{self, TapRows},
};

/// Longest time that a reading of a tap waits for something to come.
const WAIT: Duration = Duration::from_millis(500);
/// Most names in one question.
const NAMES_MAX: usize = 64;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Inspect {
    /// Opens a tap.
    OpenTap(Box<TapQuestion>),
    /// What has come of it.
    ReadTap {
        /// Which.
        id: u64,
        /// Whose proxies: tasks, services and load balancers; all where none is named.
        names: Vec<String>,
    },
    /// Ends a tap.
    EndTap {
        /// Which.
        id: u64,
    },
    /// The tasks with proxies that names mean.
    Tasks {
        /// Tasks, services and load balancers; all where none is named.
        names: Vec<String>,
    },
    /// What a task's proxy goes by.
    Diagnose {
        /// The task.
        task: TaskId,
        /// With the resources themselves.
        config: bool,
    },
    /// Changes what a task's proxy logs.
    LogLevel {
        /// The task.
        task: TaskId,
        /// A level, or levels by module.
        filter: String,
        /// For so long; 0: back to its own.
        lasting_seconds: u64,
    },
    /// What is to be checked.
    Facts,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Inspected {
    /// To `OpenTap`.
    Tap {
        /// Its number.
        id: u64,
    },
    /// To `ReadTap`.
    Tapped(TapRows),
    /// To `EndTap`.
    Done,
    /// To `Tasks`: id and the name of the service, group or load balancer.
    Tasks(Vec<(TaskId, String)>),
    /// To `Diagnose`.
    Diagnosis(Box<DiagnosisView>),
    /// To `LogLevel`.
    LogLevel(LogState),
    /// To `Facts`.
    Facts(Box<MeshFacts>),
}

/// What a tap is to show.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TapQuestion {
    /// Whose proxies.
    pub(crate) names: Vec<String>,
    /// Which requests; identities are in `callers` and `called`.
    pub(crate) filter: TapFilter,
    /// Names of who calls.
    pub(crate) callers: Vec<String>,
    /// Names of who is called.
    pub(crate) called: Vec<String>,
    /// At most so many a second.
    pub(crate) max_per_second: u32,
    /// Paths with their queries.
    pub(crate) query: bool,
    /// With headers.
    pub(crate) headers: bool,
    /// Headers that are told as they are.
    pub(crate) shown_headers: Vec<String>,
}

/// Answers.
pub(crate) async fn answer(control: &ControlPlane, asked: Inspect) -> anyhow::Result<Inspected> {
    Ok(match asked {
        Inspect::OpenTap(question) => Inspected::Tap { id: open_tap(control, *question)? },
        Inspect::ReadTap { id, names } => {
            let tasks = control.proxied_tasks(bounded(&names)?)?;
            let reading = control.read_tap(id, &tasks, WAIT).await?;
            let who = Who::of(&control.snapshot());
            let row = |tapped: bowline_stream::introspection::tap::TappedAt| {
                let owner = control.owner_of_task(&tapped.task);
                tapped::row(tapped, owner, &who)
            };
            let mut rows: Vec<_> = reading.requests.into_iter().map(row).collect();
            // Of several proxies, that tell in turn.
            rows.sort_by_key(|row| row.request.start);
            Inspected::Tapped(TapRows {
                rows,
                dropped: reading.dropped,
                proxies: reading.proxies,
                errors: reading.errors,
            })
        }
        Inspect::EndTap { id } => {
            control.end_tap(id);
            Inspected::Done
        }
        Inspect::Tasks { names } => {
            let tasks = control.proxied_tasks(bounded(&names)?)?;
            let named = |task| {
                let owner = control.owner_of_task(&task);
                (task, owner)
            };
            Inspected::Tasks(tasks.into_iter().map(named).collect())
        }
        Inspect::Diagnose { task, config } => {
            let diagnosis = control.diagnose(&task).await;
            Inspected::Diagnosis(Box::new(diagnosis::view(diagnosis, config)))
        }
        Inspect::LogLevel { task, filter, lasting_seconds } => {
            let lasting = Duration::from_secs(lasting_seconds);
            Inspected::LogLevel(control.set_log_level(&task, &filter, lasting).await?)
        }
        Inspect::Facts => Inspected::Facts(Box::new(mesh::gather(control))),
    })
}

fn open_tap(control: &ControlPlane, question: TapQuestion) -> anyhow::Result<u64> {
    // Whom it names is known before it is opened.
    control.proxied_tasks(bounded(&question.names)?)?;
    let filter = TapFilter {
        callers: control.identities_of(bounded(&question.callers)?)?,
        called: control.identities_of(bounded(&question.called)?)?,
        ..question.filter
    };
    let order = TapOrder {
        filter,
        max_per_second: question.max_per_second,
        query: question.query,
        headers: question.headers,
        shown_headers: question.shown_headers,
    };
    Ok(control.open_tap(order)?)
}

fn bounded(names: &[String]) -> anyhow::Result<&[String]> {
    if names.len() > NAMES_MAX {
        bail!("{} names are too many: {NAMES_MAX} at most", names.len());
    }
    Ok(names)
}
