//! Faults in a task: begun and ended as an agent says, and ended at their deadlines and at the task's stop whatever
//! has become of the agent. Nothing of one outlives the shim: stopped processes die with it, rules go with their
//! sockets and namespaces, stress ends when its order's socket closes.

mod filter;
mod holder;
mod processes;
mod stress;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicI32},
    time::{Duration, Instant},
};

use bowline_model::fault::{FaultError, FaultId, LASTING_MAX, TaskHarm, Victims};
use bowline_plumbing::netlink::NetlinkSocket;
use nix::libc::{SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
use tokio::{sync::Mutex, task::spawn_local, time::sleep_until};

use self::{
    filter::{Drops, PacketFilters},
    holder::{Action, Holder, Whereabouts},
    stress::Stress,
};
use super::init_process::InitProcess;
use crate::protocol::ToInit;

pub(crate) use self::stress::Target;

/// Faults that a task has at once.
const FAULTS_MAX: usize = 16;

/// What could not be undone is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// The highest number of a signal with a meaning of its own (signal(7)).
const SIGNAL_MAX: i32 = 31;

/// A task's faults.
#[derive(Debug)]
pub(crate) struct Faults {
    whereabouts: Whereabouts,
    /// Started for the first fault that needs it: most tasks never have one.
    holder: RefCell<Option<Rc<Holder>>>,
    filters_given: RefCell<bool>,
    held: RefCell<BTreeMap<FaultId, Rc<Mutex<State>>>>,
    over: RefCell<bool>,
}

/// How far a fault is.
#[derive(Debug)]
enum State {
    Beginning,
    /// The thread has it.
    Held,
    Stressing(Stress),
    Over,
}

impl Faults {
    /// Of the task with this init, if it has one.
    pub(crate) fn new(init: Option<i32>) -> Rc<Self> {
        Rc::new(Self {
            whereabouts: Whereabouts { init, sidecar: Arc::default() },
            holder: RefCell::default(),
            filters_given: RefCell::default(),
            held: RefCell::default(),
            over: RefCell::default(),
        })
    }

    /// Where the process id of the sidecar is to be kept: 0 while none runs.
    pub(crate) fn sidecar(&self) -> Arc<AtomicI32> {
        self.whereabouts.sidecar.clone()
    }

    /// Returns when the harm is in force. `filters` are asked for where packets are dropped, and `target` where a
    /// container is put under stress.
    pub(crate) async fn begin(
        self: Rc<Self>,
        id: FaultId,
        harm: TaskHarm,
        lasting: Duration,
        network: Option<Rc<InitProcess>>,
        target: Option<Target>,
    ) -> Result<(), FaultError> {
        if *self.over.borrow() {
            return Err(FaultError::NotFound("the task stops".to_owned()));
        }
        if lasting.is_zero() {
            return Err(FaultError::Invalid("the fault's deadline has passed".to_owned()));
        }
        let deadline = Instant::now() + lasting.min(LASTING_MAX);
        if let TaskHarm::Kill { victims, signal } = harm {
            check_kill(&victims, signal)?;
            tracing::warn!(fault = %id, ?victims, signal, "a fault: processes get a signal");
            return self.holder()?.begin(id, Action::Kill { victims, signal }, deadline).await;
        }
        let state = self.admit(&id)?;
        let mut locked = state.lock().await;
        let begun = self.put_in_force(&id, &harm, deadline, network, target).await;
        match begun {
            Ok(state) => {
                tracing::warn!(fault = %id, ?harm, ?lasting, "a fault has begun");
                *locked = state;
                drop(locked);
                spawn_local(self.end_at(id, deadline));
                Ok(())
            }
            Err(error) => {
                *locked = State::Over;
                self.held.borrow_mut().remove(&id);
                Err(error)
            }
        }
    }

    /// Returns when nothing is left of it. That it is over already is no error.
    pub(crate) async fn end(&self, id: &FaultId) -> Result<(), FaultError> {
        let Some(state) = self.held.borrow().get(id).cloned() else { return Ok(()) };
        // One that is only beginning is waited for.
        let mut state = state.lock().await;
        match std::mem::replace(&mut *state, State::Over) {
            State::Held => {
                if let Err(error) = self.holder()?.end(id.clone()).await {
                    *state = State::Held;
                    return Err(error);
                }
            }
            State::Stressing(stress) => stress.end().await,
            State::Beginning | State::Over => return Ok(()),
        }
        tracing::warn!(fault = %id, "a fault has ended");
        self.held.borrow_mut().remove(id);
        Ok(())
    }

    /// Ends all, and lets none begin any more: the task stops.
    pub(crate) fn end_all(self: &Rc<Self>) {
        if self.over.replace(true) {
            return;
        }
        // The thread is told at once: it may be that nothing is waited for any longer.
        if let Some(holder) = &*self.holder.borrow() {
            holder.end_all();
        }
        let held: Vec<FaultId> = self.held.borrow().keys().cloned().collect();
        for id in held {
            let faults = self.clone();
            spawn_local(async move {
                let _ = faults.end(&id).await;
            });
        }
    }

    async fn end_at(self: Rc<Self>, id: FaultId, deadline: Instant) {
        sleep_until(deadline.into()).await;
        while let Err(error) = self.end(&id).await {
            tracing::warn!(fault = %id, %error, "a fault could not be ended; it is tried again");
            tokio::time::sleep(RETRY).await;
        }
    }

    fn admit(&self, id: &FaultId) -> Result<Rc<Mutex<State>>, FaultError> {
        let mut held = self.held.borrow_mut();
        if held.contains_key(id) {
            return Err(FaultError::Invalid(format!("fault {id} is in force already")));
        }
        if held.len() >= FAULTS_MAX {
            return Err(FaultError::Failed(format!("{FAULTS_MAX} faults are in force in the task")));
        }
        let state = Rc::new(Mutex::new(State::Beginning));
        held.insert(id.clone(), state.clone());
        Ok(state)
    }

    async fn put_in_force(
        &self,
        id: &FaultId,
        harm: &TaskHarm,
        deadline: Instant,
        network: Option<Rc<InitProcess>>,
        target: Option<Target>,
    ) -> Result<State, FaultError> {
        let action = match harm {
            TaskHarm::Freeze { victims: Victims::Task } => {
                let why = "a whole task cannot be frozen: what thaws it is a part of it";
                return Err(FaultError::Invalid(why.to_owned()));
            }
            TaskHarm::Kill { victims, signal } => Action::Kill { victims: victims.clone(), signal: *signal },
            TaskHarm::Freeze { victims } => Action::Freeze { victims: victims.clone() },
            TaskHarm::Blackhole { port, tcp, ingress } => {
                let drops = Drops::Port { port: *port, tcp: *tcp, ingress: *ingress };
                Action::Drop { drops, filters: self.filters(network)? }
            }
            TaskHarm::Loss { percent } => {
                let drops = Drops::Share { percent: *percent };
                Action::Drop { drops, filters: self.filters(network)? }
            }
            TaskHarm::Cpu { .. } | TaskHarm::Memory { .. } | TaskHarm::Io { .. } => {
                let nobody = || FaultError::NotFound("the task's first container does not run".to_owned());
                let stress = Stress::begin(id, target.ok_or_else(nobody)?, harm, deadline).await?;
                return Ok(State::Stressing(stress));
            }
        };
        self.holder()?.begin(id.clone(), action, deadline).await.map(|()| State::Held)
    }

    fn holder(&self) -> Result<Rc<Holder>, FaultError> {
        let mut holder = self.holder.borrow_mut();
        if let Some(holder) = &*holder {
            return Ok(holder.clone());
        }
        let started = Holder::start(self.whereabouts.clone())
            .map_err(|error| FaultError::Failed(format!("no thread for the task's faults: {error}")))?;
        Ok(holder.insert(Rc::new(started)).clone())
    }

    /// The sockets to the task's packet filters, where the thread does not have them.
    fn filters(&self, network: Option<Rc<InitProcess>>) -> Result<Option<PacketFilters>, FaultError> {
        if *self.filters_given.borrow() {
            return Ok(None);
        }
        let init = network.ok_or_else(|| {
            FaultError::Failed(
                "the task has no network of its own, where packets could be dropped: it has no container, or tasks \
                 share the host's network here. Let tasks have networks of their own: see `bowline check`"
                    .to_owned(),
            )
        })?;
        let failed = |error: io::Error| FaultError::Failed(format!("no way to the packet filter: {error}"));
        let (_, sockets) = init.call(&ToInit::PacketFilters, &[]).map_err(failed)?;
        let [application, aliases] = <[OwnedFd; 2]>::try_from(sockets)
            .map_err(|_| failed(io::Error::other("not two sockets")))?
            .map(NetlinkSocket::from);
        self.filters_given.replace(true);
        Ok(Some(PacketFilters { application, aliases }))
    }
}

/// Signals that stop a process would never be undone.
fn check_kill(victims: &Victims, signal: i32) -> Result<(), FaultError> {
    if !(1..=SIGNAL_MAX).contains(&signal) {
        return Err(FaultError::Invalid(format!(
            "a signal's number is from 1 to {SIGNAL_MAX}, not {signal}"
        )));
    }
    if [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU].contains(&signal) {
        let why =
            format!("signal {signal} stops processes, and nothing would let them go on: freeze them instead");
        return Err(FaultError::Invalid(why));
    }
    match victims {
        Victims::Named(name) if name.is_empty() => {
            Err(FaultError::Invalid("the name of a command is not empty".to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_cannot_be_undone_are_refused() {
        for signal in [0, -9, 32, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU] {
            assert!(check_kill(&Victims::Sidecar, signal).is_err(), "{signal}");
        }
        assert_eq!(check_kill(&Victims::Sidecar, nix::libc::SIGKILL), Ok(()));
        assert!(check_kill(&Victims::Named(String::new()), nix::libc::SIGKILL).is_err());
    }
}
