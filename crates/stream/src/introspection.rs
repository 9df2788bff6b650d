//! Looking into proxies that run: live requests, what they go by, the level of their logs.
//!
//! - [`tap`]: live requests of some proxies, gathered for who asked.
//! - `read`: what proxies tell, checked before it is believed.
//!
//! Each connected proxy has a session here, over which it is asked. Whose session it is goes by the certificate.

mod read;
pub mod tap;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_discovery::introspection::{
    Dump, DumpPart, EndTap, FromProxy, LogLevel, LogLevelSet, ToProxy, from_proxy::Report, to_proxy::Order,
};
use bowline_model::{
    clock::Timestamp,
    diagnostics::{LogState, ProxyDump},
    task::TaskId,
};
use bowline_plumbing::wall_clock;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use self::tap::OpenTap;

/// Orders that may wait for a proxy to take them.
pub(crate) const ORDERS_MAX: usize = 32;
/// Longest dump that is taken, in bytes.
const DUMP_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most questions at once that proxies have not answered.
const QUESTIONS_MAX: usize = 256;
/// Longest version or reason that is kept of a proxy, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// Why a proxy was not asked, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IntrospectionError {
    /// It has no stream for this: it is not connected, or of an older version.
    #[error(
        "the proxy of task {0} cannot be asked: it is not connected, or of a version that does not know how"
    )]
    NotConnected(TaskId),
    /// It is asked too much already.
    #[error("the proxy of task {0} is busy with what it was asked before")]
    Busy(TaskId),
    /// Nothing came in time.
    #[error("the proxy of task {0} did not answer in time")]
    Timeout(TaskId),
    /// It could not do what it was asked.
    #[error("the proxy of task {task}: {reason}")]
    Refused {
        /// Whose proxy.
        task: TaskId,
        /// In its words.
        reason: String,
    },
    /// What it answered is no answer.
    #[error("the proxy of task {0} answered what cannot be read")]
    Unreadable(TaskId),
}

/// What is known of a proxy's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProcess {
    /// Bowline's version.
    pub version: String,
    /// When it began, by its own clock.
    pub started: Timestamp,
    /// Since when it can be asked.
    pub connected_at: Timestamp,
}

/// A proxy that can be asked.
struct Session {
    id: u64,
    process: ProxyProcess,
    orders: mpsc::Sender<ToProxy>,
}

/// What was asked and not answered.
struct Question {
    task: TaskId,
    answer: Answer,
}

enum Answer {
    Dump { json: Vec<u8>, done: oneshot::Sender<Result<Vec<u8>, String>> },
    LogLevel(oneshot::Sender<LogLevelSet>),
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<TaskId, Session>,
    questions: HashMap<u64, Question>,
}

/// How long is waited for proxies, and for those who ask.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// For a proxy to answer.
    answer: Duration,
    /// So long after the last reading a tap is over.
    unread: Duration,
    /// How often proxies are told that a tap goes on.
    renewed: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            unread: Duration::from_secs(15),
            renewed: Duration::from_secs(4),
        }
    }
}

/// See the module.
pub struct Introspection {
    /// Since when proxies can come.
    began: Timestamp,
    times: Times,
    state: Mutex<State>,
    taps: Mutex<BTreeMap<u64, std::sync::Arc<OpenTap>>>,
    next: AtomicU64,
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            began: wall_clock::now(),
            times: Times::default(),
            state: Mutex::default(),
            taps: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }
}

impl std::fmt::Debug for Introspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspection").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Introspection {
    /// A proxy has opened its stream; what it is to be asked goes to `orders`. Returns the session's number. The
    /// session before, if it has one still, is over.
    pub(crate) fn connected(
        &self,
        task: &TaskId,
        version: &str,
        started_ms: u64,
        orders: mpsc::Sender<ToProxy>,
        now: Timestamp,
    ) -> u64 {
        let id = self.number();
        let process = ProxyProcess {
            version: bounded(version),
            started: Timestamp::from_millis(started_ms),
            connected_at: now,
        };
        self.lock().sessions.insert(task.clone(), Session { id, process, orders });
        id
    }

    /// The session is over.
    pub(crate) fn disconnected(&self, task: &TaskId, session: u64) {
        let mut state = self.lock();
        if state.sessions.get(task).is_some_and(|present| present.id == session) {
            state.sessions.remove(task);
            // Nobody answers what it was asked.
            state.questions.retain(|_, question| question.task != *task);
        }
    }

    /// A proxy tells something.
    pub(crate) fn told(&self, task: &TaskId, told: FromProxy) {
        match told.report {
            Some(Report::Tapped(batch)) => {
                let tap = self.lock_taps().get(&batch.tap).cloned();
                match tap {
                    Some(tap) => tap.take(task, batch),
                    // Nobody reads any more.
                    None => drop(self.order(task, Order::EndTap(EndTap { id: batch.tap }))),
                }
            }
            Some(Report::Dump(part)) => self.take_dump(task, part),
            Some(Report::LogLevel(set)) => {
                let question =
                    self.take_question(task, set.id, |answer| matches!(answer, Answer::LogLevel(_)));
                if let Some(Answer::LogLevel(done)) = question {
                    // Whoever asked may have gone.
                    let _ = done.send(set);
                }
            }
            Some(Report::Hello(_)) | None => {}
        }
    }

    fn take_dump(&self, task: &TaskId, part: DumpPart) {
        let mut state = self.lock();
        let Some(question) = state.questions.get_mut(&part.id).filter(|question| question.task == *task)
        else {
            return;
        };
        let Answer::Dump { json, .. } = &mut question.answer else { return };
        let too_long = json.len() + part.json.len() > DUMP_BYTES_MAX;
        if !too_long {
            json.extend_from_slice(&part.json);
        }
        if !part.last && !too_long && part.error.is_empty() {
            return;
        }
        if let Some(Question { answer: Answer::Dump { json, done }, .. }) = state.questions.remove(&part.id) {
            let result = match (too_long, part.error.is_empty()) {
                (true, _) => Err("its answer is too long".to_owned()),
                (false, false) => Err(bounded(&part.error)),
                (false, true) => Ok(json),
            };
            let _ = done.send(result);
        }
    }

    fn take_question(&self, task: &TaskId, id: u64, is: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let mut state = self.lock();
        state.questions.get(&id).filter(|question| question.task == *task && is(&question.answer))?;
        state.questions.remove(&id).map(|question| question.answer)
    }

    /// Since when proxies can come: since the control plane began.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// What is known of the processes that can be asked.
    pub fn processes(&self) -> BTreeMap<TaskId, ProxyProcess> {
        let state = self.lock();
        state.sessions.iter().map(|(task, session)| (task.clone(), session.process.clone())).collect()
    }

    /// Everything that a task's proxy goes by.
    ///
    /// # Errors
    /// See [`IntrospectionError`].
    pub async fn dump(&self, task: &TaskId) -> Result<ProxyDump, IntrospectionError> {
        let (done, answered) = oneshot::channel();
        let answer = Answer::Dump { json: Vec::new(), done };
        let dumped = self.ask(task, answer, |id| Order::Dump(Dump { id }), answered).await?;
        let json = dumped.map_err(|reason| IntrospectionError::Refused { task: task.clone(), reason })?;
        // It may have megabytes: not for an async worker.
        let read = tokio::task::spawn_blocking(move || serde_json::from_slice(&json));
        read.await.ok().and_then(Result::ok).ok_or_else(|| IntrospectionError::Unreadable(task.clone()))
    }

    /// Changes what a task's proxy logs for so long; for no time at all: back to its own.
    ///
    /// # Errors
    /// See [`IntrospectionError`].
    pub async fn set_log_level(
        &self,
        task: &TaskId,
        filter: &str,
        lasting: Duration,
    ) -> Result<LogState, IntrospectionError> {
        let (done, answered) = oneshot::channel();
        let lasting_ms = u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX);
        let order = |id| Order::LogLevel(LogLevel { id, filter: filter.to_owned(), lasting_ms });
        let set = self.ask(task, Answer::LogLevel(done), order, answered).await?;
        if !set.error.is_empty() {
            let reason = bounded(&set.error);
            return Err(IntrospectionError::Refused { task: task.clone(), reason });
        }
        let until = (set.until_ms > 0).then(|| Timestamp::from_millis(set.until_ms));
        Ok(LogState { filter: bounded(&set.filter), until })
    }

    async fn ask<T>(
        &self,
        task: &TaskId,
        answer: Answer,
        order: impl FnOnce(u64) -> Order,
        answered: oneshot::Receiver<T>,
    ) -> Result<T, IntrospectionError> {
        let id = self.number();
        {
            let mut state = self.lock();
            if state.questions.len() >= QUESTIONS_MAX {
                return Err(IntrospectionError::Busy(task.clone()));
            }
            state.questions.insert(id, Question { task: task.clone(), answer });
        }
        // Whoever asks may give up: nothing of the question stays.
        let _question = Asked { of: self, id };
        self.order(task, order(id))?;
        match tokio::time::timeout(self.times.answer, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(IntrospectionError::NotConnected(task.clone())),
            Err(_) => Err(IntrospectionError::Timeout(task.clone())),
        }
    }

    /// Tells a proxy what to do; never waits.
    fn order(&self, task: &TaskId, order: Order) -> Result<(), IntrospectionError> {
        let state = self.lock();
        let session =
            state.sessions.get(task).ok_or_else(|| IntrospectionError::NotConnected(task.clone()))?;
        session.orders.try_send(ToProxy { order: Some(order) }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IntrospectionError::Busy(task.clone()),
            mpsc::error::TrySendError::Closed(_) => IntrospectionError::NotConnected(task.clone()),
        })
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_taps(&self) -> MutexGuard<'_, BTreeMap<u64, std::sync::Arc<OpenTap>>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question, for as long as somebody waits for its answer.
struct Asked<'a> {
    of: &'a Introspection,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.of.lock().questions.remove(&self.id);
    }
}

/// No more of a proxy's text than is kept.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
