//! What a trial does things with.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::fault::{
    ALL, ControlPlaneHarm, Fault, FaultId, FaultKind, FaultOrder, LASTING_MAX, LASTING_MIN,
};
use tokio::{
    task::JoinHandle,
    time::{self, Instant},
};

use super::ExperimentError;
use crate::{
    scope::Scope,
    system::{System, SystemError},
};

/// How long after its planned end a fault ends by itself, should the runner be gone.
const SPARE: Duration = Duration::from_secs(8);
/// How long is waited for a control plane that is away on purpose, and how often it is looked at.
const BACK_WITHIN: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(200);

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
    /// Who would be asked of it is away until its deadline.
    takes_all_away: bool,
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
        self.begin_for(kind, self.lasting + SPARE).await
    }

    /// As [`Stage::begin`], with this deadline.
    ///
    /// # Errors
    /// It could not be put in force.
    pub async fn begin_for(&self, kind: FaultKind, lasting: Duration) -> Result<Fault, ExperimentError> {
        let has_share = kind.has_share();
        // Who was killed knows nothing of it any more.
        let takes_all_away = kind == FaultKind::ControlPlane(ControlPlaneHarm::Killed);
        let lasts = match kind {
            FaultKind::Certificate { .. } | FaultKind::Path { .. } | FaultKind::Sidecar { .. } => true,
            FaultKind::ControlPlane(_) => !takes_all_away,
            FaultKind::Name { .. } | FaultKind::Task { .. } => false,
        };
        let order = FaultOrder {
            kind,
            per_million: if has_share { self.scope.per_million } else { ALL },
            lasting: lasting.clamp(LASTING_MIN, LASTING_MAX),
            cause: self.cause.clone(),
        };
        order.check().map_err(|error| ExperimentError::failed(error.to_string()))?;
        let (system, begun) = (Arc::clone(&self.system), Arc::clone(&self.begun));
        let (done, answered) = tokio::sync::oneshot::channel();
        let beginning = tokio::spawn(async move {
            let fault = system.begin_fault(order).await;
            if let Ok(fault) = &fault {
                locked(&begun).push(Begun { id: fault.id.clone(), lasts, takes_all_away });
            }
            // Who has asked may have been broken off: then `end_all` ends it.
            let _ = done.send(fault);
        });
        locked(&self.beginning).push(beginning);
        let gone = |_| ExperimentError::failed("what was to begin a fault has failed");
        Ok(answered.await.map_err(gone)??)
    }

    /// Ends a fault before the run is over.
    ///
    /// # Errors
    /// It could not be ended.
    pub async fn end(&self, id: &FaultId) -> Result<(), ExperimentError> {
        self.system.end_fault(id.clone()).await?;
        locked(&self.begun).iter_mut().filter(|begun| begun.id == *id).for_each(|begun| begun.lasts = false);
        Ok(())
    }

    /// Those in force; where nobody answers for a time on purpose, it is waited for who does.
    async fn faults(&self) -> Result<Vec<Fault>, SystemError> {
        let is_away = locked(&self.begun).iter().any(|begun| begun.takes_all_away);
        let begin = Instant::now();
        loop {
            match self.system.faults().await {
                Err(_) if is_away && begin.elapsed() < BACK_WITHIN => time::sleep(LOOK).await,
                answered => return answered,
            }
        }
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
        match self.faults().await {
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
