//! What a trial does things with.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::fault::{ALL, Fault, FaultId, FaultKind, FaultOrder, LASTING_MAX, LASTING_MIN};
use tokio::task::JoinHandle;

use super::ExperimentError;
use crate::{scope::Scope, system::System};

/// How long after its planned end a fault ends by itself, should the runner be gone.
const SPARE: Duration = Duration::from_secs(8);

/// The system under test, the scope, and the faults that were begun.
#[derive(Debug)]
pub struct Stage {
    system: Arc<dyn System>,
    scope: Scope,
    cause: String,
    lasting: Duration,
    begun: Arc<Mutex<Vec<Begun>>>,
    /// Faults that are being begun: they are begun whole, whoever stops waiting for them.
    beginning: Mutex<Vec<JoinHandle<()>>>,
}

/// A fault that was begun.
#[derive(Debug)]
struct Begun {
    id: FaultId,
    /// It lasts until it is ended, or its deadline: what it does is not done at once.
    lasts: bool,
}

impl Stage {
    /// A stage for one run. `cause` names the run in its faults, and is no other run's; `lasting` is how long the fault
    /// is planned to last.
    #[must_use]
    pub fn new(system: Arc<dyn System>, scope: Scope, cause: String, lasting: Duration) -> Self {
        Self { system, scope, cause, lasting, begun: Arc::default(), beginning: Mutex::default() }
    }

    /// The system.
    #[must_use]
    pub fn system(&self) -> &dyn System {
        &*self.system
    }

    /// The system, for tasks of their own.
    #[must_use]
    pub fn shared_system(&self) -> Arc<dyn System> {
        Arc::clone(&self.system)
    }

    /// The scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How long the fault is planned to last.
    #[must_use]
    pub fn lasting(&self) -> Duration {
        self.lasting
    }

    /// Ids of the faults that were begun, the first one first.
    #[must_use]
    pub fn begun(&self) -> Vec<FaultId> {
        locked(&self.begun).iter().map(|begun| begun.id.clone()).collect()
    }

    /// Those of the faults that are to last, and are over by themselves: what was measured since says nothing of them.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn vanished(&self) -> Result<Vec<FaultId>, ExperimentError> {
        let present = self.system.faults().await?;
        let is_present = |id: &FaultId| present.iter().any(|fault| fault.id == *id);
        let begun = locked(&self.begun);
        Ok(begun.iter().filter(|it| it.lasts && !is_present(&it.id)).map(|it| it.id.clone()).collect())
    }

    /// Begins a fault for the planned time, of the scope's share where the kind can be of a share. It has a deadline a
    /// little later; the runner ends it before that.
    ///
    /// # Errors
    /// It could not be put in force.
    pub async fn begin(&self, kind: FaultKind) -> Result<Fault, ExperimentError> {
        let lasts = matches!(
            kind,
            FaultKind::Certificate { .. } | FaultKind::Path { .. } | FaultKind::Sidecar { .. }
        );
        let order = FaultOrder {
            per_million: if kind.has_share() { self.scope.per_million } else { ALL },
            kind,
            lasting: (self.lasting + SPARE).clamp(LASTING_MIN, LASTING_MAX),
            cause: self.cause.clone(),
        };
        order.check().map_err(|error| ExperimentError::failed(error.to_string()))?;
        let (system, begun) = (Arc::clone(&self.system), Arc::clone(&self.begun));
        let (done, answered) = tokio::sync::oneshot::channel();
        let beginning = tokio::spawn(async move {
            let fault = system.begin_fault(order).await;
            if let Ok(fault) = &fault {
                locked(&begun).push(Begun { id: fault.id.clone(), lasts });
            }
            // Who has asked may have been broken off: then `end_all` ends it.
            let _ = done.send(fault);
        });
        locked(&self.beginning).push(beginning);
        let gone = |_| ExperimentError::failed("what was to begin a fault has failed");
        Ok(answered.await.map_err(gone)??)
    }

    /// Ends one fault of this run before the runner does.
    ///
    /// # Errors
    /// It could not be ended: the runner tries again.
    pub async fn end(&self, id: &FaultId) -> Result<(), ExperimentError> {
        self.system.end_fault(id.clone()).await?;
        locked(&self.begun).retain(|begun| begun.id != *id);
        Ok(())
    }

    /// Ends every fault of this run, also one that was being begun when the run was broken off.
    ///
    /// # Errors
    /// Tells the first that could not be ended; the others are ended.
    pub async fn end_all(&self) -> Result<(), ExperimentError> {
        let beginning = std::mem::take(&mut *locked(&self.beginning));
        for one in beginning {
            // What it came to stands in `begun`.
            let _ = one.await;
        }
        let mut ids = self.begun();
        let mut failed = None;
        match self.system.faults().await {
            Ok(faults) => {
                ids.retain(|id| faults.iter().any(|fault| fault.id == *id));
                let own = faults.into_iter().filter(|fault| fault.order.cause == self.cause);
                for fault in own {
                    if !ids.contains(&fault.id) {
                        ids.push(fault.id);
                    }
                }
            }
            Err(error) => failed = Some(error),
        }
        // What was put in force last is undone first.
        for id in ids.into_iter().rev() {
            if let Err(error) = self.system.end_fault(id).await {
                failed.get_or_insert(error);
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
