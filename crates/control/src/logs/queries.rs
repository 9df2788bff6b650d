//! Insights' queries: begun, answered on a thread each, and kept for a while.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bowline_model::{
    clock::Timestamp,
    log_query::{LogQuery, QueryEvent, QueryFailure, QueryRows},
};
use bowline_observe::logs::{LogStore, LogStoreError, Scanned};
use thiserror::Error;

use crate::{api::logs_pointer, random};

/// Most queries that are answered at a time.
const RUNNING_MAX: usize = 4;

/// Most queries that are remembered.
const REMEMBERED_MAX: usize = 50;

/// What is asked.
#[derive(Clone, Debug)]
pub struct QueryOrder {
    /// As it was written.
    pub text: String,
    /// The same, read.
    pub query: LogQuery,
    /// Of `@log`.
    pub account_id: String,
    /// The groups that are asked.
    pub groups: Vec<String>,
    /// Events of this time, or later ones.
    pub from: Timestamp,
    /// Events before this time.
    pub until: Timestamp,
    /// Most rows, where the query does not say.
    pub limit: Option<usize>,
    /// When it was asked.
    pub created_at: Timestamp,
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It asks too much.
    #[error(transparent)]
    Query(#[from] QueryFailure),
    /// What it asks cannot be read.
    #[error(transparent)]
    Store(#[from] LogStoreError),
}

/// Works an answer out. It ends early where `is_over` says so.
///
/// # Errors
/// See [`AnswerError`].
pub fn answer(
    store: &LogStore,
    order: &QueryOrder,
    is_over: &dyn Fn() -> bool,
) -> Result<(QueryRows, Scanned), AnswerError> {
    let mut run = order.query.run(order.limit);
    let mut all = Scanned::default();
    for group in &order.groups {
        let log = format!("{}:{group}", order.account_id);
        let mut failure = None;
        let scanned = store.scan(group, order.from, order.until, &mut |event| {
            let seen = run.see(&QueryEvent {
                at: event.position.at,
                ingested_at: event.ingested_at,
                log: &log,
                stream: &event.stream,
                message: &event.message,
                pointer: &|| logs_pointer(group, event.position),
            });
            failure = seen.err();
            failure.is_none() && !is_over()
        })?;
        all.events += scanned.events;
        all.bytes += scanned.bytes;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
    }
    Ok((run.finish(), all))
}

/// How far a query is.
#[derive(Clone, Debug)]
pub(crate) enum QueryState {
    Running,
    Complete { rows: Arc<QueryRows>, scanned: Scanned },
    Failed,
    Cancelled,
}

impl QueryState {
    /// As the API has it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Complete { .. } => "Complete",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// A query that was asked.
#[derive(Debug)]
pub(crate) struct StartedQuery {
    pub(crate) order: QueryOrder,
    number: u64,
    state: Mutex<QueryState>,
    is_over: AtomicBool,
}

impl StartedQuery {
    pub(crate) fn state(&self) -> QueryState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_running(&self) -> bool {
        matches!(self.state(), QueryState::Running)
    }

    /// Ends it; whether it was still running.
    pub(crate) fn stop(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_running = matches!(*state, QueryState::Running);
        if was_running {
            *state = QueryState::Cancelled;
            self.is_over.store(true, Ordering::Relaxed);
        }
        was_running
    }

    fn carry_out(&self, store: &LogStore) {
        let answered = answer(store, &self.order, &|| self.is_over.load(Ordering::Relaxed));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, QueryState::Running) {
            *state = match answered {
                Ok((rows, scanned)) => QueryState::Complete { rows: Arc::new(rows), scanned },
                Err(error) => {
                    tracing::warn!(%error, "a query of logs has no answer");
                    QueryState::Failed
                }
            };
        }
    }
}

/// Too many queries are being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartQueryError;

/// The queries that were asked lately.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    all: Mutex<(u64, BTreeMap<String, Arc<StartedQuery>>)>,
}

impl Queries {
    /// Begins to answer a query. Its id.
    pub(crate) fn start(&self, store: &Arc<LogStore>, order: QueryOrder) -> Result<String, StartQueryError> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, queries) = &mut *all;
        if queries.values().filter(|query| query.is_running()).count() >= RUNNING_MAX {
            return Err(StartQueryError);
        }
        *number += 1;
        let query = Arc::new(StartedQuery {
            order,
            number: *number,
            state: Mutex::new(QueryState::Running),
            is_over: AtomicBool::new(false),
        });
        let (of_thread, store) = (Arc::clone(&query), Arc::clone(store));
        std::thread::Builder::new()
            .name("log-query".to_owned())
            .spawn(move || of_thread.carry_out(&store))
            .map_err(|_| StartQueryError)?;
        while queries.len() >= REMEMBERED_MAX {
            let oldest =
                queries.iter().filter(|(_, query)| !query.is_running()).min_by_key(|(_, query)| query.number);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { break };
            queries.remove(&id);
        }
        let id = random::uuid();
        queries.insert(id.clone(), query);
        Ok(id)
    }

    /// Forgets all; what runs ends.
    pub(crate) fn clear(&self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for query in all.1.values() {
            query.stop();
        }
        all.1.clear();
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<StartedQuery>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).1.get(id).cloned()
    }

    /// All, with their ids.
    pub(crate) fn all(&self) -> Vec<(String, Arc<StartedQuery>)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.1.iter().map(|(id, query)| (id.clone(), Arc::clone(query))).collect()
    }
}
