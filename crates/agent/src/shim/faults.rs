//! Faults in a task: begun and ended as an agent says, and ended at their deadlines and at the task's stop whatever
//! has become of the agent. Nothing of one outlives the shim: stopped processes die with it, rules go with their
//! sockets and namespaces, stress ends when its order's socket closes.

mod filter;
mod holder;
mod processes;
mod stress;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicI32},
    time::{Duration, Instant},
};

use bowline_model::fault::{FaultError, FaultId, LASTING_MAX, TaskHarm, Victims};
use bowline_plumbing::netlink::NetlinkSocket;
use nix::libc::{SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
use tokio::{
    sync::Mutex,
    task::{AbortHandle, spawn_local},
    time::sleep_until,
};

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

/// So many kills are remembered, for agents that have got no answer and ask again.
const KILLS_MAX: usize = 64;

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
    held: RefCell<BTreeMap<FaultId, Fault>>,
    /// Kills that were done, the latest last.
    kills: RefCell<VecDeque<FaultId>>,
    over: RefCell<bool>,
}

#[derive(Debug)]
struct Fault {
    harm: TaskHarm,
    state: Rc<Mutex<State>>,
    /// Ends it at its deadline.
    timer: Option<AbortHandle>,
}

/// How far a fault is.
#[derive(Debug)]
enum State {
    Beginning,
    /// The thread has it.
    Held,
    Stressing(Stress),
    /// Signals were sent: nothing is held.
    Killed,
    Over,
}

/// How a fault is let in.
enum Admission {
    New(Rc<Mutex<State>>),
    /// It was asked for before.
    Known(Rc<Mutex<State>>),
}

impl Faults {
    /// Of the task with this init, if it has one.
    pub(crate) fn new(init: Option<i32>) -> Rc<Self> {
        Rc::new(Self {
            whereabouts: Whereabouts { init, sidecar: Arc::default() },
            holder: RefCell::default(),
            held: RefCell::default(),
            kills: RefCell::default(),
            over: RefCell::default(),
        })
    }

    /// Where the process id of the sidecar is to be kept: 0 while none runs.
    pub(crate) fn sidecar(&self) -> Arc<AtomicI32> {
        self.whereabouts.sidecar.clone()
    }

    /// Returns when the harm is in force. `network` is asked for packet filters where packets are dropped, and `target` is
    /// the container that is put under stress. That it was begun already, by an agent that got no answer, is no error.
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
        if self.kills.borrow().contains(&id) {
            return Ok(());
        }
        let state = match self.admit(&id, &harm)? {
            Admission::New(state) => state,
            Admission::Known(state) => return begun_before(&id, &*state.lock().await),
        };
        let mut locked = state.lock().await;
        let deadline = Instant::now() + lasting.min(LASTING_MAX);
        let begun = match lasting.is_zero() {
            true => Err(FaultError::Invalid("the fault's deadline has passed".to_owned())),
            false => self.put_in_force(&id, &harm, deadline, network, target).await,
        };
        match begun {
            Ok(State::Killed) => {
                *locked = State::Killed;
                self.forget(&id);
                self.remember_kill(id);
                Ok(())
            }
            Ok(state) => {
                tracing::warn!(fault = %id, ?harm, ?lasting, "a fault has begun");
                *locked = state;
                drop(locked);
                let timer = spawn_local(self.clone().end_at(id.clone(), deadline)).abort_handle();
                if let Some(fault) = self.held.borrow_mut().get_mut(&id) {
                    fault.timer = Some(timer);
                }
                Ok(())
            }
            Err(error) => {
                *locked = State::Over;
                self.forget(&id);
                Err(error)
            }
        }
    }

    /// Returns when nothing is left of it. That it is over already is no error.
    pub(crate) async fn end(&self, id: &FaultId) -> Result<(), FaultError> {
        let Some(state) = self.held.borrow().get(id).map(|fault| fault.state.clone()) else { return Ok(()) };
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
            State::Beginning | State::Killed | State::Over => return Ok(()),
        }
        tracing::warn!(fault = %id, "a fault has ended");
        self.forget(id);
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

    fn admit(&self, id: &FaultId, harm: &TaskHarm) -> Result<Admission, FaultError> {
        let mut held = self.held.borrow_mut();
        if let Some(known) = held.get(id) {
            return match known.harm == *harm {
                true => Ok(Admission::Known(known.state.clone())),
                false => Err(FaultError::Invalid(format!("fault {id} is in force already, and another"))),
            };
        }
        if held.len() >= FAULTS_MAX {
            return Err(FaultError::Failed(format!("{FAULTS_MAX} faults are in force in the task")));
        }
        let state = Rc::new(Mutex::new(State::Beginning));
        held.insert(id.clone(), Fault { harm: harm.clone(), state: state.clone(), timer: None });
        Ok(Admission::New(state))
    }

    /// Nobody waits for its deadline any more.
    fn forget(&self, id: &FaultId) {
        if let Some(timer) = self.held.borrow_mut().remove(id).and_then(|fault| fault.timer) {
            timer.abort();
        }
    }

    fn remember_kill(&self, id: FaultId) {
        let mut kills = self.kills.borrow_mut();
        if kills.len() >= KILLS_MAX {
            kills.pop_front();
        }
        kills.push_back(id);
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
            TaskHarm::Kill { victims, signal } => {
                check_kill(victims, *signal)?;
                tracing::warn!(fault = %id, ?victims, signal, "a fault: processes get a signal");
                let kill = Action::Kill { victims: victims.clone(), signal: *signal };
                return self.holder()?.begin(id.clone(), kill, deadline).await.map(|()| State::Killed);
            }
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
        if self.holder()?.has_filters() {
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
        Ok(Some(PacketFilters { application, aliases }))
    }
}

/// What is answered to who asks for it again.
fn begun_before(id: &FaultId, state: &State) -> Result<(), FaultError> {
    match state {
        State::Held | State::Stressing(_) | State::Killed => Ok(()),
        State::Beginning | State::Over => Err(FaultError::Failed(format!(
            "fault {id} was asked for before, and is over or could not begin"
        ))),
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

    /// A process that can be frozen in place of a sidecar.
    struct Victim(std::process::Child);

    impl Victim {
        fn of(faults: &Faults) -> Self {
            let child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
            let pid = i32::try_from(child.id()).expect("a process id");
            faults.sidecar().store(pid, std::sync::atomic::Ordering::SeqCst);
            Self(child)
        }

        /// The letter of its state (proc_pid_stat(5)).
        fn state(&self) -> char {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it is there");
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a state")
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    const LONG: Duration = Duration::from_secs(600);

    fn freeze() -> TaskHarm {
        TaskHarm::Freeze { victims: Victims::Sidecar }
    }

    async fn begin(faults: &Rc<Faults>, number: u64, harm: TaskHarm) -> Result<(), FaultError> {
        faults.clone().begin(FaultId::new(number), harm, LONG, None, None).await
    }

    async fn locally(test: impl Future<Output = ()>) {
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn what_is_begun_again_has_begun_once() {
        locally(async {
            let faults = Faults::new(None);
            let victim = Victim::of(&faults);
            let (one, two) = tokio::join!(begin(&faults, 1, freeze()), begin(&faults, 1, freeze()));
            assert_eq!((one, two), (Ok(()), Ok(())));
            assert_eq!(begin(&faults, 1, freeze()).await, Ok(()));
            assert_eq!(victim.state(), 'T');
            let other = TaskHarm::Freeze { victims: Victims::Containers };
            assert!(matches!(begin(&faults, 1, other).await, Err(FaultError::Invalid(_))));
            faults.end(&FaultId::new(1)).await.expect("ends");
            assert_ne!(victim.state(), 'T');
        })
        .await;
    }

    #[tokio::test]
    async fn a_kill_that_is_asked_for_again_kills_nobody_else() {
        locally(async {
            let faults = Faults::new(None);
            let kill = || TaskHarm::Kill { victims: Victims::Sidecar, signal: nix::libc::SIGKILL };
            let mut first = Victim::of(&faults);
            assert_eq!(begin(&faults, 1, kill()).await, Ok(()));
            first.0.wait().expect("it ends");
            // Started anew, as sidecars are.
            let mut second = Victim::of(&faults);
            assert_eq!(begin(&faults, 1, kill()).await, Ok(()));
            assert!(second.0.try_wait().expect("waits").is_none(), "it lives");
            assert_eq!(begin(&faults, 2, kill()).await, Ok(()));
            second.0.wait().expect("it ends");
            for number in 3..3 + u64::try_from(KILLS_MAX).expect("few") {
                faults.remember_kill(FaultId::new(number));
            }
            assert_eq!(faults.kills.borrow().len(), KILLS_MAX);
        })
        .await;
    }

    #[tokio::test]
    async fn nothing_waits_for_the_deadline_of_a_fault_that_was_ended() {
        locally(async {
            let faults = Faults::new(None);
            let _victim = Victim::of(&faults);
            for number in 1..=3 {
                begin(&faults, number, freeze()).await.expect("begins");
            }
            assert_eq!(Rc::strong_count(&faults), 4, "each has a timer");
            for number in 1..=3 {
                faults.end(&FaultId::new(number)).await.expect("ends");
            }
            tokio::task::yield_now().await;
            assert_eq!(Rc::strong_count(&faults), 1);
        })
        .await;
    }
}
