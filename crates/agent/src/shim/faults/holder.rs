//! The thread that holds faults: it undoes each at its deadline, whatever the shim's loop is waiting for, and all of
//! them when the loop says so or is gone.
//!
//! Processes are stopped by signals rather than by a control group's freezer: who is stopped dies of SIGKILL, in any
//! version of control groups and where there are none, so nothing of a task outlives a shim that is killed meanwhile;
//! and no group stays frozen.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use bowline_model::fault::{FaultError, FaultId, Victims};
use nix::libc::{SIGCONT, SIGKILL, SIGSTOP};
use tokio::sync::oneshot;

use super::{
    filter::{Drops, PacketFilters},
    processes::{self, Identity, Ours, Process},
};

/// Orders that may wait.
const ORDERS_MAX: usize = 64;

/// While processes are frozen, new ones are looked for so often; what could not be undone is tried again so often.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);

/// Rounds of signals: each finds what was forked during the one before.
const ROUNDS_MAX: usize = 50;

/// For signals to act.
const ROUND_PAUSE: Duration = Duration::from_millis(2);

/// Processes that are stopped at once.
const STOPPED_MAX: usize = 8192;

/// When nothing is held.
const IDLE: Duration = Duration::from_secs(3600);

/// What the thread holds, or does at once.
#[derive(Debug)]
pub(super) enum Action {
    /// Sends a signal once; nothing is held.
    Kill { victims: Victims, signal: i32 },
    /// Stops processes.
    Freeze { victims: Victims },
    /// Drops packets. The sockets are given unless it has some.
    Drop { drops: Drops, filters: Option<PacketFilters> },
}

#[derive(Debug)]
enum Order {
    Begin { id: FaultId, action: Action, deadline: Instant, done: Done },
    End { id: FaultId, done: Done },
    EndAll,
}

type Done = oneshot::Sender<Result<(), FaultError>>;

/// Where a task's processes are found.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    /// The task's init, if it has one.
    pub(super) init: Option<i32>,
    /// The sidecar, which may be started anew; 0: none runs.
    pub(super) sidecar: Arc<AtomicI32>,
}

impl Whereabouts {
    /// What runs now. Who is not this process's child any more has ended, and its number may be another's.
    fn look(&self) -> Seen {
        let child = |pid| processes::look(pid).filter(Process::is_child);
        let init = self.init.and_then(child);
        Seen {
            sidecar: child(self.sidecar.load(Ordering::SeqCst)),
            in_containers: init.map(|init| processes::in_containers(init.identity.pid)).unwrap_or_default(),
        }
    }
}

/// A task's processes at one moment: to look is to read all of `/proc`.
#[derive(Debug)]
struct Seen {
    sidecar: Option<Process>,
    in_containers: Vec<Process>,
}

impl Seen {
    fn of(&self, victims: &Victims) -> Vec<&Process> {
        match victims {
            Victims::Sidecar => self.sidecar.iter().collect(),
            Victims::Containers => self.in_containers.iter().collect(),
            Victims::Named(name) => {
                self.in_containers.iter().filter(|process| process.is_named(name)).collect()
            }
            // Done by who can: the agent.
            Victims::Task => Vec::new(),
        }
    }
}

/// The way to the thread. It undoes everything when this is dropped.
#[derive(Debug)]
pub(super) struct Holder {
    orders: SyncSender<Order>,
    has_filters: Arc<AtomicBool>,
}

impl Holder {
    /// Starts the thread.
    pub(super) fn start(whereabouts: Whereabouts) -> io::Result<Self> {
        let (orders, receiver) = mpsc::sync_channel(ORDERS_MAX);
        let has_filters = Arc::new(AtomicBool::new(false));
        let held = Held::new(whereabouts, has_filters.clone());
        thread::Builder::new().name("faults".to_owned()).spawn(move || held.run(&receiver))?;
        Ok(Self { orders, has_filters })
    }

    /// Whether the thread has sockets to the task's packet filters.
    pub(super) fn has_filters(&self) -> bool {
        self.has_filters.load(Ordering::SeqCst)
    }

    /// Returns when it is in force.
    pub(super) async fn begin(
        &self,
        id: FaultId,
        action: Action,
        deadline: Instant,
    ) -> Result<(), FaultError> {
        self.order(|done| Order::Begin { id, action, deadline, done }).await
    }

    /// Returns when it is undone.
    pub(super) async fn end(&self, id: FaultId) -> Result<(), FaultError> {
        self.order(|done| Order::End { id, done }).await
    }

    /// Has everything undone.
    pub(super) fn end_all(&self) {
        if self.orders.try_send(Order::EndAll).is_err() {
            tracing::warn!("faults are not ended before their deadlines: too many orders wait");
        }
    }

    async fn order(&self, order: impl FnOnce(Done) -> Order) -> Result<(), FaultError> {
        let (done, result) = oneshot::channel();
        self.orders.try_send(order(done)).map_err(|error| match error {
            TrySendError::Full(_) => {
                FaultError::Failed(format!("{ORDERS_MAX} orders wait in the task's shim"))
            }
            TrySendError::Disconnected(_) => ended(),
        })?;
        result.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> FaultError {
    FaultError::Failed("the thread that holds the task's faults has ended".to_owned())
}

#[derive(Debug)]
struct Freeze {
    victims: Victims,
    deadline: Instant,
}

#[derive(Debug)]
struct Dropping {
    drops: Drops,
    deadline: Instant,
}

#[derive(Debug)]
struct Held {
    whereabouts: Whereabouts,
    ours: Ours,
    freezes: HashMap<FaultId, Freeze>,
    /// Those that are stopped by us. Who was stopped before is not.
    stopped: HashSet<Identity>,
    filters: Option<PacketFilters>,
    /// Told of `filters`.
    has_filters: Arc<AtomicBool>,
    dropping: HashMap<FaultId, Dropping>,
    /// When to look for those who are to be frozen and are not.
    sweep: Instant,
}

impl Held {
    fn new(whereabouts: Whereabouts, has_filters: Arc<AtomicBool>) -> Self {
        Self {
            whereabouts,
            ours: Ours::new(),
            freezes: HashMap::new(),
            stopped: HashSet::new(),
            filters: None,
            has_filters,
            dropping: HashMap::new(),
            sweep: Instant::now(),
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let now = Instant::now();
            self.expire(now);
            if self.is_sweeping() && now >= self.sweep {
                self.reconcile();
                self.sweep = Instant::now() + SWEEP_INTERVAL;
            }
            match orders.recv_timeout(self.wait(Instant::now())) {
                Ok(Order::Begin { id, action, deadline, done }) => {
                    let _ = done.send(self.begin(id, action, deadline));
                }
                Ok(Order::End { id, done }) => {
                    let _ = done.send(self.end(&id));
                }
                Ok(Order::EndAll) => self.end_all(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn is_sweeping(&self) -> bool {
        !self.freezes.is_empty() || !self.stopped.is_empty()
    }

    /// Until the next deadline, or the next look at who is to be frozen.
    fn wait(&self, now: Instant) -> Duration {
        let freezes = self.freezes.values().map(|freeze| freeze.deadline);
        let dropping = self.dropping.values().map(|dropping| dropping.deadline);
        let sweep = self.is_sweeping().then_some(self.sweep);
        // What is overdue could not be undone: again in a moment.
        let remaining = |deadline: Instant| match deadline.saturating_duration_since(now) {
            Duration::ZERO => SWEEP_INTERVAL,
            remaining => remaining,
        };
        let next = freezes.chain(dropping).map(remaining).min().unwrap_or(IDLE);
        sweep.map_or(next, |sweep| next.min(sweep.saturating_duration_since(now)))
    }

    fn expire(&mut self, now: Instant) {
        let due = |deadline: Instant| deadline <= now;
        let frozen = self.freezes.iter().filter(|(_, freeze)| due(freeze.deadline)).map(|(id, _)| id);
        let dropping = self.dropping.iter().filter(|(_, drop)| due(drop.deadline)).map(|(id, _)| id);
        for id in frozen.chain(dropping).cloned().collect::<Vec<_>>() {
            if let Err(error) = self.end(&id) {
                tracing::warn!(fault = %id, %error, "a fault at its deadline is not undone yet");
            }
        }
    }

    fn begin(&mut self, id: FaultId, action: Action, deadline: Instant) -> Result<(), FaultError> {
        match action {
            Action::Kill { victims, signal } => self.kill(&victims, signal),
            Action::Freeze { victims } => self.freeze(id, victims, deadline),
            Action::Drop { drops, filters } => {
                // Tables of other faults are their socket's, and go with it: those that it has stay.
                if self.filters.is_none() {
                    self.filters = filters;
                }
                let dropped = self.drop_packets(id, drops, deadline);
                // Something may be wrong with the sockets themselves: the next one gets others.
                if dropped.is_err() && self.dropping.is_empty() {
                    self.filters = None;
                }
                self.has_filters.store(self.filters.is_some(), Ordering::SeqCst);
                dropped
            }
        }
    }

    fn end(&mut self, id: &FaultId) -> Result<(), FaultError> {
        if self.freezes.remove(id).is_some() {
            self.reconcile();
        }
        if let (Some(dropping), Some(filters)) = (self.dropping.get(id), &mut self.filters) {
            filters.end(id, dropping.drops).map_err(|error| {
                FaultError::Failed(format!("the packet filter's rules could not be removed: {error}"))
            })?;
            self.dropping.remove(id);
        }
        Ok(())
    }

    fn end_all(&mut self) {
        self.freezes.clear();
        self.reconcile();
        for id in self.dropping.keys().cloned().collect::<Vec<_>>() {
            if let Err(error) = self.end(&id) {
                tracing::warn!(fault = %id, %error, "a fault could not be undone");
            }
        }
    }

    fn kill(&self, victims: &Victims, signal: i32) -> Result<(), FaultError> {
        let mut seen = self.whereabouts.look();
        if seen.of(victims).is_empty() {
            return Err(nobody(victims));
        }
        // Who is killed may have forked meanwhile. A process of a name may have been started anew, which is no
        // descendant to be found but what is to be seen.
        let rounds = if signal == SIGKILL && *victims == Victims::Containers { ROUNDS_MAX } else { 1 };
        for _ in 0..rounds {
            for process in seen.of(victims) {
                processes::send(process.identity, signal).map_err(|error| {
                    FaultError::Failed(format!(
                        "signal {signal} to process {}: {error}",
                        process.identity.pid
                    ))
                })?;
            }
            if rounds > 1 {
                thread::sleep(ROUND_PAUSE);
                seen = self.whereabouts.look();
            }
            if seen.of(victims).is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn freeze(&mut self, id: FaultId, victims: Victims, deadline: Instant) -> Result<(), FaultError> {
        let found = self.to_freeze(&self.whereabouts.look(), &victims).len();
        if found == 0 {
            return Err(nobody(&victims));
        }
        if self.stopped.len() + found > STOPPED_MAX {
            return Err(FaultError::Failed(format!("more than {STOPPED_MAX} processes would be stopped")));
        }
        self.freezes.insert(id.clone(), Freeze { victims, deadline });
        for _ in 0..ROUNDS_MAX {
            if self.reconcile() {
                return Ok(());
            }
            thread::sleep(ROUND_PAUSE);
        }
        // In the midst of a system call that cannot be interrupted: they stop as they come out of it.
        tracing::warn!(fault = %id, "not all processes have stopped yet");
        Ok(())
    }

    fn to_freeze(&self, seen: &Seen, victims: &Victims) -> Vec<Process> {
        let mut found: Vec<Process> = seen.of(victims).into_iter().cloned().collect();
        if *victims != Victims::Sidecar {
            found.retain(|process| {
                self.stopped.contains(&process.identity) || !self.ours.is_one(process.identity.pid)
            });
        }
        found
    }

    /// Stops those who are to be stopped and are not, and lets those go on who are stopped and are not to be. True: the
    /// former have all stopped before.
    fn reconcile(&mut self) -> bool {
        let mut all_stopped = true;
        let mut wanted = HashSet::new();
        let seen = self.whereabouts.look();
        let to_freeze: Vec<Process> =
            self.freezes.values().flat_map(|freeze| self.to_freeze(&seen, &freeze.victims)).collect();
        for process in to_freeze {
            let identity = process.identity;
            let is_ours = self.stopped.contains(&identity);
            // What somebody else has stopped is his to let go on.
            if !is_ours && (process.is_stopped() || self.stopped.len() >= STOPPED_MAX) {
                continue;
            }
            // A process may have been told to go on by another. Twice in one round it is told nothing.
            if wanted.insert(identity) && !process.is_stopped() {
                all_stopped = false;
                if let Err(error) = processes::send(identity, SIGSTOP) {
                    tracing::warn!(pid = identity.pid, %error, "cannot stop a process");
                }
                self.stopped.insert(identity);
            }
        }
        self.stopped.retain(|identity| {
            if wanted.contains(identity) {
                return true;
            }
            match processes::send(*identity, SIGCONT) {
                Ok(_) => false,
                Err(error) => {
                    tracing::warn!(pid = identity.pid, %error, "cannot let a process go on; it is tried again");
                    true
                }
            }
        });
        all_stopped
    }

    fn drop_packets(&mut self, id: FaultId, drops: Drops, deadline: Instant) -> Result<(), FaultError> {
        let Some(filters) = &mut self.filters else {
            return Err(FaultError::Failed("the task's packet filters are not known".to_owned()));
        };
        let remaining = deadline.saturating_duration_since(Instant::now());
        let milliseconds = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let counts = filters.begin(&id, drops, milliseconds).map_err(|error| {
            FaultError::Failed(format!(
                "the kernel's packet filter (nf_tables) did not take the rules: {error}. Load the module nf_tables"
            ))
        })?;
        if !counts {
            tracing::warn!(fault = %id, "the kernel cannot time the fault by itself; the task's shim does");
        }
        self.dropping.insert(id, Dropping { drops, deadline });
        Ok(())
    }
}

/// However the thread ends, nobody stays frozen.
impl Drop for Held {
    fn drop(&mut self) {
        self.end_all();
    }
}

fn nobody(victims: &Victims) -> FaultError {
    FaultError::NotFound(match victims {
        Victims::Sidecar => "no sidecar runs in the task".to_owned(),
        Victims::Containers => "no process runs in the task's containers".to_owned(),
        Victims::Named(name) => format!("no process named {name:?} runs in the task's containers"),
        Victims::Task => "a whole task is killed by its agent".to_owned(),
    })
}
