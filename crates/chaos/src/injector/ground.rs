//! What the engine needs of the system that it harms.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    fault::{ControlPlaneHarm, FaultError, FaultFuture, FaultId, FaultyCertificate, SidecarHarm, TaskHarm},
    task::TaskId,
};

use crate::{evidence::Evidence, relay::order::Shown};

/// A future that undoes something.
pub type UndoFuture = Pin<Box<dyn Future<Output = Result<(), FaultError>> + Send>>;

/// Undoes one thing that was done. May be asked again where it failed; undoing what is undone is no error.
#[derive(Clone)]
pub struct Undo(Arc<dyn Fn() -> UndoFuture + Send + Sync>);

impl Undo {
    /// Undoes by this.
    pub fn new<F>(work: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), FaultError>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(work())))
    }

    /// Returns when nothing is left of what was done.
    pub fn run(&self) -> UndoFuture {
        (self.0)()
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Undo")
    }
}

/// Tells what a fault has done so far that is made where there is no relay; also when it is over.
#[derive(Clone)]
pub struct Witness(Arc<dyn Fn() -> Evidence + Send + Sync>);

impl Witness {
    /// One that asks this.
    pub fn new(ask: impl Fn() -> Evidence + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// What it has seen.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        (self.0)()
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

/// Where a sidecar goes for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose sidecar is there.
    pub task: TaskId,
    /// Its address.
    pub address: SocketAddr,
}

/// The control plane and the agent, as the engine sees them. Whoever holds something of a fault ends it by itself at
/// `until`; what is given back undoes it before.
pub trait Ground: fmt::Debug + Send + Sync + 'static {
    /// Now, by the clock that deadlines are of.
    fn now(&self) -> Timestamp;

    /// Whether this task runs.
    fn has_task(&self, task: &TaskId) -> bool;

    /// Where the sidecar of `caller` goes for `cluster`; nowhere if it has no such cluster.
    fn endpoints_of(&self, caller: &TaskId, cluster: &str) -> Vec<Endpoint>;

    /// A certificate of the task, faulty or, without `shows`, genuine. Undone, it is refused from then on.
    ///
    /// # Errors
    /// The task is gone, or the authority signs nothing.
    fn forge(
        &self,
        task: &TaskId,
        shows: Option<&FaultyCertificate>,
        lasting: Duration,
    ) -> Result<(Shown, Undo), FaultError>;

    /// Has the sidecars of these tasks show a faulty certificate: all of them, or none.
    fn stage_certificate<'a>(
        &'a self,
        tasks: &'a [TaskId],
        shows: &'a FaultyCertificate,
        per_million: u32,
        until: Timestamp,
    ) -> FaultFuture<'a, Undo>;

    /// Leads the sidecars of `callers` from the first to the second address of each pair: all of them, or none.
    fn divert_path<'a>(
        &'a self,
        callers: &'a [TaskId],
        cluster: &'a str,
        to: &'a [(SocketAddr, SocketAddr)],
        until: Timestamp,
    ) -> FaultFuture<'a, Undo>;

    /// Answers DNS questions for `name` with `address`.
    ///
    /// # Errors
    /// The name is none that this DNS server answers for.
    fn spoof_name(&self, name: &str, address: IpAddr, until: Timestamp) -> Result<Undo, FaultError>;

    /// Has something be wrong with the sidecars of these tasks, for so many of a million requests where it is about
    /// those: all of them, or none.
    fn disturb<'a>(
        &'a self,
        tasks: &'a [TaskId],
        harm: &'a SidecarHarm,
        per_million: u32,
        until: Timestamp,
    ) -> FaultFuture<'a, Undo>;

    /// How many requests came to the sidecars of these tasks during the last of [`Ground::disturb`], once it is undone.
    fn arrived(&self, tasks: &[TaskId]) -> u64;

    /// Has the task's shim harm it.
    fn begin_task_fault<'a>(
        &'a self,
        task: &'a TaskId,
        id: &'a FaultId,
        harm: &'a TaskHarm,
        until: Timestamp,
    ) -> FaultFuture<'a, Undo>;

    /// Harms the control plane itself.
    fn begin_control_plane_fault<'a>(
        &'a self,
        harm: &'a ControlPlaneHarm,
        until: Timestamp,
    ) -> FaultFuture<'a, (Undo, Witness)>;
}
