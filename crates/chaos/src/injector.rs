//! The engine: puts faults in force whole or not at all, knows which are, and ends each at its deadline.
//!
//! Nothing of it is kept on disk. Sidecars, relays and shims hold the deadlines of what they do themselves, so whatever
//! becomes of this process, every fault is over after its deadline; a process that takes over from one that was killed
//! has nothing to look for.

pub mod ground;
pub mod relay_process;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    fault::{
        ControlPlaneHarm, FAULTS_MAX, Fault, FaultError, FaultFuture, FaultId, FaultInjector, FaultKind,
        FaultOrder, FaultyCertificate, PathHarm, RogueServer,
    },
    task::TaskId,
};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    evidence::Evidence,
    relay::order::{ENDPOINTS_MAX, RelayEndpoint, RelayOrder, Shown},
};
use ground::{Ground, Undo, Witness};
use relay_process::{RelayCommand, RelayProcess};

/// Of so many faults that are over the evidence is kept.
pub const OVER_MAX: usize = 256;

/// Longest that bytes are held back.
pub const DELAY_MAX: Duration = Duration::from_secs(60);

/// Longest that undoing one thing may take.
const UNDO_LIMIT: Duration = Duration::from_secs(30);

/// So long the connections through a relay have to end before its fault's end is reported; those that are still open
/// are passed on unharmed.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// As [`FINISH_LIMIT`], when everything ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Puts faults in force and ends them. Clones share their faults.
#[derive(Clone, Debug)]
pub struct Injector {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ground: Arc<dyn Ground>,
    relay: RelayCommand,
    state: Mutex<State>,
    /// Told at every change of `state`.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    standing: BTreeMap<FaultId, Arc<Standing>>,
    beginning: usize,
    claims: BTreeSet<Claim>,
    over: VecDeque<(FaultId, Evidence)>,
    closed: bool,
}

/// What only one fault at a time can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Certificate(TaskId),
    Path(TaskId, SocketAddr),
    Name(String),
    Issuance(TaskId),
    Stream(TaskId),
    Disk,
    ControlPlane,
    Sidecar(TaskId),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(task) => write!(f, "the certificate of task {task}"),
            Self::Path(task, address) => write!(f, "the path of task {task} to {address}"),
            Self::Name(name) => write!(f, "the name {name}"),
            Self::Issuance(task) => write!(f, "the issuance of certificates to task {task}"),
            Self::Stream(task) => write!(f, "the configuration stream of task {task}"),
            Self::Disk => f.write_str("the disk"),
            Self::ControlPlane => f.write_str("the control plane"),
            Self::Sidecar(task) => write!(f, "the sidecar of task {task}"),
        }
    }
}

/// A fault in force.
#[derive(Debug)]
struct Standing {
    fault: Fault,
    claims: Vec<Claim>,
    relay: Option<RelayProcess>,
    witness: Option<Witness>,
    /// What undoes what is still to be undone, the latest last. Locked while that is done.
    undos: tokio::sync::Mutex<Vec<Undo>>,
    over: watch::Sender<bool>,
}

/// Where each caller's sidecar goes, and whose sidecars are there.
type Paths = Vec<(TaskId, BTreeMap<SocketAddr, TaskId>)>;

/// What has been done of a fault that is being begun.
#[derive(Debug, Default)]
struct Begun {
    undos: Vec<Undo>,
    relay: Option<RelayProcess>,
    witness: Option<Witness>,
}

/// A place among the faults, until the fault stands.
struct Place {
    inner: Arc<Inner>,
    claims: Vec<Claim>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.beginning -= 1;
        for claim in &self.claims {
            state.claims.remove(claim);
        }
        drop(state);
        self.inner.changes.send_replace(());
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Injector {
    /// One that harms this ground, with relays run by this command.
    #[must_use]
    pub fn new(ground: Arc<dyn Ground>, relay: RelayCommand) -> Self {
        let state = Mutex::new(State::default());
        Self { inner: Arc::new(Inner { ground, relay, state, changes: watch::channel(()).0 }) }
    }

    /// What a fault has done; also of one of the last [`OVER_MAX`] that are over.
    ///
    /// # Errors
    /// Nothing is known of such a fault.
    pub async fn evidence(&self, id: &FaultId) -> Result<Evidence, FaultError> {
        let standing = {
            let state = self.inner.state();
            if let Some((_, evidence)) = state.over.iter().find(|(over, _)| over == id) {
                return Ok(*evidence);
            }
            state.standing.get(id).cloned()
        };
        let standing =
            standing.ok_or_else(|| FaultError::NotFound(format!("nothing is known of a fault {id}")))?;
        Ok(standing.evidence().await)
    }

    /// Ends every fault and lets none begin any more. Returns when nothing of them is left; what could not be undone
    /// ends at its deadline.
    pub async fn close(&self) {
        let mut changes = self.inner.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let (standing, is_beginning) = {
                let mut state = self.inner.state();
                state.closed = true;
                (state.standing.values().cloned().collect::<Vec<_>>(), state.beginning > 0)
            };
            if standing.is_empty() && !is_beginning {
                return;
            }
            let ends = standing.iter().map(|standing| self.end_standing(standing, Ending::Close));
            futures::future::join_all(ends).await;
            if is_beginning && changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn begin_whole(&self, order: FaultOrder) -> Result<Fault, FaultError> {
        check(&order)?;
        let ground = &self.inner.ground;
        for task in tasks_of(&order.kind) {
            if !ground.has_task(task) {
                return Err(FaultError::NotFound(format!("no task {task} runs")));
            }
        }
        let paths = match &order.kind {
            FaultKind::Path { callers, cluster, called, .. } => self.paths(callers, cluster, called)?,
            _ => Vec::new(),
        };
        let mut place = self.reserve(claims_of(&order.kind, &paths))?;
        let id = new_id()?;
        let until = ground.now() + order.lasting;
        let mut begun = Begun::default();
        let result = match self.put_in_force(&id, &order, paths, until, &mut begun).await {
            Ok(()) if ground.now() >= until => Err(FaultError::Failed(format!(
                "it took longer than the {:?} that it was to last",
                order.lasting
            ))),
            result => result,
        };
        if let Err(error) = result {
            if let Err(error) = undo_all(&mut begun.undos).await {
                warn!(fault = %id, %error, "not all of a fault that failed to begin could be undone: the rest ends at {until}");
            }
            if let Some(relay) = begun.relay {
                relay.finish(Duration::ZERO).await;
            }
            return Err(error);
        }
        let fault = Fault { id: id.clone(), order, began_at: ground.now(), ends_at: until };
        let standing = Arc::new(Standing {
            fault: fault.clone(),
            claims: place.claims.clone(),
            relay: begun.relay,
            witness: begun.witness,
            undos: tokio::sync::Mutex::new(begun.undos),
            over: watch::channel(false).0,
        });
        {
            let mut state = self.inner.state();
            // They are the standing fault's from here on.
            place.claims.clear();
            state.standing.insert(id.clone(), Arc::clone(&standing));
        }
        drop(place);
        info!(fault = %id, cause = %fault.order.cause, until = %until, "a fault is in force");
        tokio::spawn(self.clone().watch_over(standing));
        Ok(fault)
    }

    /// Takes a place and claims.
    fn reserve(&self, claims: Vec<Claim>) -> Result<Place, FaultError> {
        let mut state = self.inner.state();
        if state.closed {
            return Err(FaultError::Failed("everything is being taken down".to_owned()));
        }
        if state.standing.len() + state.beginning >= FAULTS_MAX {
            return Err(FaultError::TooMany);
        }
        if let Some(taken) = claims.iter().find(|claim| state.claims.contains(claim)) {
            return Err(FaultError::Invalid(format!("another fault has {taken} already")));
        }
        state.claims.extend(claims.iter().cloned());
        state.beginning += 1;
        Ok(Place { inner: Arc::clone(&self.inner), claims })
    }

    async fn put_in_force(
        &self,
        id: &FaultId,
        order: &FaultOrder,
        paths: Paths,
        until: Timestamp,
        begun: &mut Begun,
    ) -> Result<(), FaultError> {
        let ground = &self.inner.ground;
        match &order.kind {
            FaultKind::Certificate { tasks, shows } => {
                begun.undos.push(ground.stage_certificate(tasks, shows, order.per_million, until).await?);
            }
            FaultKind::Name { name, address } => {
                begun.undos.push(ground.spoof_name(name, *address, until)?);
            }
            FaultKind::Sidecar { tasks, harm } => {
                begun.undos.push(ground.disturb(tasks, harm, order.per_million, until).await?);
            }
            FaultKind::Task { tasks, harm } => {
                let begins = tasks.iter().map(|task| ground.begin_task_fault(task, id, harm, until));
                let results = futures::future::join_all(begins).await;
                let mut first_error = None;
                for result in results {
                    match result {
                        Ok(undo) => begun.undos.push(undo),
                        Err(error) => first_error = first_error.or(Some(error)),
                    }
                }
                if let Some(error) = first_error {
                    return Err(error);
                }
            }
            FaultKind::ControlPlane(harm) => {
                let (undo, witness) = ground.begin_control_plane_fault(harm, until).await?;
                begun.undos.push(undo);
                begun.witness = Some(witness);
            }
            FaultKind::Path { cluster, harm, .. } => {
                let endpoints: BTreeMap<_, _> = paths.iter().flat_map(|(_, list)| list.clone()).collect();
                let mut relayed = Vec::new();
                for (address, task) in &endpoints {
                    let shows = self.rogue_shows(task, harm, order.lasting, begun)?;
                    relayed.push(RelayEndpoint { address: *address, shows });
                }
                let order = RelayOrder {
                    endpoints: relayed,
                    harm: harm.clone(),
                    per_million: order.per_million,
                    until,
                };
                let relay =
                    RelayProcess::start(&self.inner.relay, &order).await.map_err(FaultError::Failed)?;
                let relays: BTreeMap<_, _> =
                    endpoints.keys().copied().zip(relay.listeners().iter().copied()).collect();
                begun.relay = Some(relay);
                // Callers in other zones may go elsewhere: those that go to the same endpoints are told as one.
                let mut groups: BTreeMap<Vec<(SocketAddr, SocketAddr)>, Vec<TaskId>> = BTreeMap::new();
                for (caller, list) in paths {
                    let to =
                        list.keys().filter_map(|address| Some((*address, *relays.get(address)?))).collect();
                    groups.entry(to).or_default().push(caller);
                }
                for (to, callers) in &groups {
                    begun.undos.push(ground.divert_path(callers, cluster, to, until).await?);
                }
            }
        }
        Ok(())
    }

    /// Where each caller's sidecar goes for the cluster, and whose sidecars are there.
    fn paths(&self, callers: &[TaskId], cluster: &str, called: &[TaskId]) -> Result<Paths, FaultError> {
        let mut all = Vec::new();
        for caller in callers {
            let endpoints: BTreeMap<_, _> = self
                .inner
                .ground
                .endpoints_of(caller, cluster)
                .into_iter()
                .filter(|endpoint| called.is_empty() || called.contains(&endpoint.task))
                .map(|endpoint| (endpoint.address, endpoint.task))
                .collect();
            if endpoints.is_empty() {
                return Err(FaultError::NotFound(format!(
                    "the sidecar of task {caller} goes to none of these for a cluster {cluster}"
                )));
            }
            all.push((caller.clone(), endpoints));
        }
        let addresses: BTreeSet<_> = all.iter().flat_map(|(_, endpoints)| endpoints.keys()).collect();
        if addresses.len() > ENDPOINTS_MAX {
            return Err(FaultError::Invalid(format!(
                "a relay stands before at most {ENDPOINTS_MAX} endpoints, and cluster {cluster} has {}: name fewer tasks",
                addresses.len()
            )));
        }
        let is_endpoint = |task: &TaskId| {
            all.iter().any(|(_, endpoints)| endpoints.values().any(|endpoint| endpoint == task))
        };
        match called.iter().find(|task| !is_endpoint(task)) {
            Some(missing) => {
                Err(FaultError::NotFound(format!("task {missing} is no endpoint of cluster {cluster}")))
            }
            None => Ok(all),
        }
    }

    /// What a rogue server shows in the place of this task's sidecar. One that speaks old TLS shows a genuine
    /// certificate: the version alone is what it is to be refused for, and its key is worth nothing when the fault is over.
    fn rogue_shows(
        &self,
        task: &TaskId,
        harm: &PathHarm,
        lasting: Duration,
        begun: &mut Begun,
    ) -> Result<Option<Shown>, FaultError> {
        let shows = match harm {
            PathHarm::Rogue(RogueServer::UntrustedCa) => Some(FaultyCertificate::UntrustedCa),
            PathHarm::Rogue(RogueServer::SelfSigned) => Some(FaultyCertificate::SelfSigned),
            PathHarm::Rogue(RogueServer::OldTls) => None,
            _ => return Ok(None),
        };
        let (shown, undo) = self.inner.ground.forge(task, shows.as_ref(), lasting)?;
        begun.undos.push(undo);
        Ok(Some(shown))
    }

    /// Ends a fault when its time has come, or its relay is gone.
    async fn watch_over(self, standing: Arc<Standing>) {
        let left = standing.fault.ends_at.since(self.inner.ground.now());
        let mut over = standing.over.subscribe();
        let relay_is_gone = async {
            match &standing.relay {
                Some(relay) => relay.gone().await,
                None => std::future::pending().await,
            }
        };
        let ending = tokio::select! {
            _ = over.wait_for(|over| *over) => return,
            () = tokio::time::sleep(left) => Ending::Deadline,
            () = relay_is_gone => Ending::RelayGone,
        };
        // What fails is logged, and ends by itself.
        let _ = self.end_standing(&standing, ending).await;
    }

    async fn end_standing(&self, standing: &Standing, ending: Ending) -> Result<(), FaultError> {
        let id = &standing.fault.id;
        let mut undos = standing.undos.lock().await;
        if *standing.over.borrow() {
            return Ok(());
        }
        if matches!(ending, Ending::RelayGone) {
            warn!(fault = %id, "the relay of a fault has ended before it was told to: the fault is ended");
        }
        if let Err(error) = undo_all(&mut undos).await {
            if matches!(ending, Ending::Asked) {
                return Err(error);
            }
            warn!(fault = %id, %error, "a fault could not be undone from here: what is left of it ends at its deadline");
        }
        let mut evidence = standing.witness.as_ref().map(Witness::evidence).unwrap_or_default();
        if let Some(relay) = &standing.relay {
            evidence = match ending {
                Ending::Asked | Ending::Deadline | Ending::RelayGone => relay.finish(FINISH_LIMIT).await,
                Ending::Close => relay.end(CLOSE_LIMIT).await,
            };
        }
        if let FaultKind::Sidecar { tasks, .. } = &standing.fault.order.kind {
            evidence.arrived = self.inner.ground.arrived(tasks);
        }
        {
            let mut state = self.inner.state();
            state.standing.remove(id);
            for claim in &standing.claims {
                state.claims.remove(claim);
            }
            state.over.push_back((id.clone(), evidence));
            while state.over.len() > OVER_MAX {
                state.over.pop_front();
            }
        }
        standing.over.send_replace(true);
        self.inner.changes.send_replace(());
        info!(fault = %id, "a fault is over");
        Ok(())
    }
}

/// Why a fault is ended.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Asked,
    Deadline,
    RelayGone,
    Close,
}

impl Standing {
    async fn evidence(&self) -> Evidence {
        match &self.relay {
            Some(relay) => relay.evidence().await,
            None => self.witness.as_ref().map(Witness::evidence).unwrap_or_default(),
        }
    }
}

impl FaultInjector for Injector {
    fn begin(&self, order: FaultOrder) -> FaultFuture<'_, Fault> {
        let this = self.clone();
        // On its own: a fault that its asker does not wait for is begun whole all the same.
        Box::pin(async move {
            tokio::spawn(async move { this.begin_whole(order).await }).await.unwrap_or_else(|error| {
                Err(FaultError::Failed(format!("what was to put it in force has failed: {error}")))
            })
        })
    }

    fn end(&self, id: FaultId) -> FaultFuture<'_, ()> {
        let this = self.clone();
        Box::pin(async move {
            let standing = this.inner.state().standing.get(&id).cloned();
            let Some(standing) = standing else { return Ok(()) };
            tokio::spawn(async move { this.end_standing(&standing, Ending::Asked).await })
                .await
                .unwrap_or_else(|error| Err(FaultError::Failed(error.to_string())))
        })
    }

    fn faults(&self) -> Vec<Fault> {
        self.inner.state().standing.values().map(|standing| standing.fault.clone()).collect()
    }
}

/// Undoes what can be, the latest first; what cannot stays.
async fn undo_all(undos: &mut Vec<Undo>) -> Result<(), FaultError> {
    let mut left = Vec::new();
    let mut first_error = None;
    while let Some(undo) = undos.pop() {
        let result = tokio::time::timeout(UNDO_LIMIT, undo.run()).await.unwrap_or_else(|_| {
            Err(FaultError::Failed(format!("undoing it took longer than {UNDO_LIMIT:?}")))
        });
        if let Err(error) = result {
            first_error = first_error.or(Some(error));
            left.push(undo);
        }
    }
    left.reverse();
    *undos = left;
    first_error.map_or(Ok(()), Err)
}

fn new_id() -> Result<FaultId, FaultError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| FaultError::Failed("the system gives no random numbers".to_owned()))?;
    Ok(FaultId::new(u64::from_ne_bytes(bytes)))
}

/// What [`FaultOrder::check`] leaves to whoever carries it out.
fn check(order: &FaultOrder) -> Result<(), FaultError> {
    order.check()?;
    if let FaultKind::Path { harm: PathHarm::Delay { each_way, jitter, .. }, .. } = &order.kind
        && each_way.saturating_add(*jitter) > DELAY_MAX
    {
        return Err(FaultError::Invalid(format!("bytes are held back for at most {DELAY_MAX:?} each way")));
    }
    let mut seen = BTreeSet::new();
    match tasks_of(&order.kind).iter().find(|task| !seen.insert(*task)) {
        Some(twice) => Err(FaultError::Invalid(format!("task {twice} is named twice"))),
        None => Ok(()),
    }
}

fn tasks_of(kind: &FaultKind) -> &[TaskId] {
    match kind {
        FaultKind::Certificate { tasks, .. }
        | FaultKind::Task { tasks, .. }
        | FaultKind::Sidecar { tasks, .. } => tasks,
        FaultKind::Path { callers, .. } => callers,
        FaultKind::ControlPlane(
            ControlPlaneHarm::NoIssuance { tasks, .. } | ControlPlaneHarm::Garbage { tasks },
        ) => tasks,
        FaultKind::ControlPlane(ControlPlaneHarm::Killed | ControlPlaneHarm::DiskFull)
        | FaultKind::Name { .. } => &[],
    }
}

fn claims_of(kind: &FaultKind, paths: &Paths) -> Vec<Claim> {
    match kind {
        FaultKind::Certificate { tasks, .. } => tasks.iter().cloned().map(Claim::Certificate).collect(),
        FaultKind::Path { .. } => {
            let of_caller = |(caller, endpoints): &(TaskId, BTreeMap<SocketAddr, TaskId>)| {
                endpoints.keys().map(|address| Claim::Path(caller.clone(), *address)).collect::<Vec<_>>()
            };
            paths.iter().flat_map(of_caller).collect()
        }
        FaultKind::Sidecar { tasks, .. } => tasks.iter().cloned().map(Claim::Sidecar).collect(),
        FaultKind::Name { name, .. } => vec![Claim::Name(name.to_ascii_lowercase())],
        FaultKind::Task { .. } => Vec::new(),
        FaultKind::ControlPlane(harm) => match harm {
            ControlPlaneHarm::NoIssuance { tasks, .. } => {
                tasks.iter().cloned().map(Claim::Issuance).collect()
            }
            ControlPlaneHarm::Garbage { tasks } => tasks.iter().cloned().map(Claim::Stream).collect(),
            ControlPlaneHarm::DiskFull => vec![Claim::Disk],
            ControlPlaneHarm::Killed => vec![Claim::ControlPlane],
        },
    }
}
