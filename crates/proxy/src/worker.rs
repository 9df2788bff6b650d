//! A worker: one thread, one runtime, its own connections and pools.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    net::{SocketAddr, TcpListener as StdTcpListener},
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bowline_plumbing::local_thread;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot, watch},
};

use crate::{
    balance::ClusterStates,
    caller::Callers,
    config::{Bind, Cluster, Endpoint, Listener, Upstream},
    connections::Connections,
    egress,
    framing::Ambiguity,
    inbound,
    metrics::{Direction, series::use_shard},
    outbound,
    pool::Pools,
    pulse::Pulse,
    shared::{Shared, ShownVersion},
    tcp,
    trace::Tracer,
};

/// How long a connection of another proxy takes requests while only some are shown a faulty certificate.
const PARTIAL_LIFE: Duration = Duration::from_millis(100);

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExec;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// How a listener's connections should behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// The process ends: finish what there is, accept what still comes.
    Draining,
    /// The listener is gone: finish what there is.
    Removed,
}

/// What the main thread tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept connections for the listener of that name.
    Listen { name: Arc<str>, socket: StdTcpListener },
    /// Forward connections to a port of the application.
    Publish { socket: StdTcpListener, port: u16 },
    /// Carry connections to elsewhere.
    Egress { socket: StdTcpListener },
    /// The listener is gone.
    Close { name: Arc<str> },
    /// The snapshot has changed.
    Refresh,
    /// Finish; `done` is told when no connection is left.
    Drain { done: oneshot::Sender<()> },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pools: Pools,
    pub(crate) clusters: ClusterStates,
    random: Cell<u64>,
    pub(crate) tracer: Tracer,
    connections: Cell<usize>,
    connection_ended: Notify,
    phases: RefCell<HashMap<Arc<str>, watch::Sender<Phase>>>,
    draining: watch::Sender<Phase>,
    pub(crate) pulse: Pulse,
    /// What other proxies have open here.
    pub(crate) open: Rc<Connections>,
    /// Who has called lately.
    pub(crate) callers: Callers,
    /// The rules that what is open was last judged by.
    judged_by: Cell<u64>,
}

impl Worker {
    /// The listener as the newest snapshot has it.
    pub(crate) fn listener(&self, name: &str) -> Option<Arc<Listener>> {
        self.shared.snapshot.load().listeners.get(name).cloned()
    }

    /// The cluster as the newest snapshot has it.
    pub(crate) fn cluster(&self, name: &str) -> Option<Arc<Cluster>> {
        self.shared.snapshot.load().clusters.get(name).cloned()
    }

    /// The cluster's next endpoint for a request with this hash; those in `tried` only if there is
    /// no other.
    pub(crate) fn pick(
        &self,
        cluster: &Cluster,
        tried: &[SocketAddr],
        hash: Option<u64>,
    ) -> Option<Arc<Endpoint>> {
        let state = self.clusters.of(cluster, self.random());
        state.pick(cluster, tried, hash, self.random(), bowline_plumbing::wall_clock::now())
    }

    /// Whether the process ends.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.draining.subscribe()
    }

    /// A number that need not be unpredictable (splitmix64).
    pub(crate) fn random(&self) -> u64 {
        let seed = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(seed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// A connection, counted for as long as this is held.
#[derive(Debug)]
pub(crate) struct Connection {
    worker: Rc<Worker>,
    direction: Direction,
    of_listener: Rc<Cell<usize>>,
    pub(crate) listener: Arc<str>,
    pub(crate) peer: SocketAddr,
    pub(crate) phase: watch::Receiver<Phase>,
    /// What it was shown when it was made.
    shown: watch::Receiver<ShownVersion>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.shared.metrics.of(self.direction).connections_active.decrement();
        self.of_listener.set(self.of_listener.get() - 1);
        self.worker.connections.set(self.worker.connections.get() - 1);
        self.worker.connection_ended.notify_waiters();
    }
}

impl Connection {
    /// Counts and logs what of the connection's bytes could be read in two ways.
    pub(crate) fn on_ambiguity(&self) -> impl FnOnce(Ambiguity) + Send + Unpin + use<> {
        let (shared, direction) = (Arc::clone(&self.worker.shared), self.direction);
        let (listener, peer) = (Arc::clone(&self.listener), self.peer);
        move |ambiguity| {
            shared.metrics.of(direction).ambiguous.increment();
            tracing::info!(
                listener = &*listener, %peer, cause = ambiguity.as_str(),
                "refused a request: {ambiguity}"
            );
        }
    }

    /// Counts a connection of `peer` that a listener has accepted.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        direction: Direction,
        of_listener: &Rc<Cell<usize>>,
        listener: &Arc<str>,
        peer: SocketAddr,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let metrics = worker.shared.metrics.of(direction);
        metrics.connections.increment();
        metrics.connections_active.increment();
        of_listener.set(of_listener.get() + 1);
        worker.connections.set(worker.connections.get() + 1);
        worker.pulse.has_work();
        worker.shared.overload.begins();
        Self {
            worker: Rc::clone(worker),
            direction,
            of_listener: Rc::clone(of_listener),
            listener: Arc::clone(listener),
            peer,
            phase,
            shown: worker.shared.shown.subscribe(),
        }
    }

    /// Whether the process was ending when the connection came.
    pub(crate) fn is_late(&self) -> bool {
        *self.phase.borrow() != Phase::Open
    }

    /// Returns when the connection should finish what it has.
    pub(crate) async fn closing(&mut self) {
        if self.is_late() {
            // Late but welcome: time for the request that it was made for.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return;
        }
        let Self { phase, shown, direction, .. } = self;
        tokio::select! {
            _ = phase.wait_for(|phase| *phase != Phase::Open) => {}
            () = shown_otherwise(shown), if *direction == Direction::Inbound => {}
        }
    }
}

/// Returns when another proxy's connection is to be made anew, because it would be shown something else. Where
/// handshakes differ in that none is kept for long, or the first good one would serve everybody.
async fn shown_otherwise(shown: &mut watch::Receiver<ShownVersion>) {
    if shown.borrow().is_partial {
        tokio::time::sleep(PARTIAL_LIFE).await;
        return;
    }
    if shown.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Starts a worker's thread.
pub(crate) fn start(
    shared: Arc<Shared>,
    index: usize,
) -> std::io::Result<(mpsc::UnboundedSender<Command>, JoinHandle<()>)> {
    let (sender, commands) = mpsc::unbounded_channel();
    let thread = local_thread::start(format!("worker-{index}"), move || {
        use_shard(index);
        let mut seed = [0; 8];
        // Without randomness all workers begin at the same endpoint.
        let _ = aws_lc_rs::rand::fill(&mut seed);
        let worker = Rc::new(Worker {
            shared,
            pools: Pools::default(),
            clusters: ClusterStates::default(),
            random: Cell::new(u64::from_le_bytes(seed)),
            tracer: Tracer::new(),
            connections: Cell::new(0),
            connection_ended: Notify::new(),
            phases: RefCell::default(),
            draining: watch::Sender::new(Phase::Open),
            pulse: Pulse::default(),
            open: Rc::default(),
            callers: Callers::default(),
            judged_by: Cell::new(0),
        });
        run(worker, commands)
    })?;
    Ok((sender, thread))
}

/// Obeys commands until the channel closes. The channel is filled by the main
/// thread only, a few entries for each change of the configuration.
async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let beating = Rc::clone(&worker);
    tokio::task::spawn_local(async move { beating.pulse.beat().await });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen { name, socket } => match listening(socket) {
                Ok(socket) => {
                    let phase = watch::Sender::new(*worker.draining.borrow());
                    let watched = phase.subscribe();
                    worker.phases.borrow_mut().insert(Arc::clone(&name), phase);
                    tokio::task::spawn_local(accept(Rc::clone(&worker), name, socket, watched));
                }
                Err(error) => tracing::error!(listener = &*name, %error, "the listening socket is unusable"),
            },
            Command::Publish { socket, port } => match TcpListener::from_std(socket) {
                Ok(socket) => drop(tokio::task::spawn_local(publish(Rc::clone(&worker), socket, port))),
                Err(error) => tracing::error!(port, %error, "the published socket is unusable"),
            },
            Command::Egress { socket } => match TcpListener::from_std(socket) {
                Ok(socket) => drop(tokio::task::spawn_local(egress::accept(Rc::clone(&worker), socket))),
                Err(error) => tracing::error!(%error, "the egress socket is unusable"),
            },
            Command::Close { name } => {
                if let Some(phase) = worker.phases.borrow_mut().remove(&name) {
                    phase.send_replace(Phase::Removed);
                }
            }
            Command::Refresh => refresh(&worker),
            Command::Drain { done } => {
                worker.draining.send_replace(Phase::Draining);
                for phase in worker.phases.borrow().values() {
                    phase.send_replace(Phase::Draining);
                }
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    loop {
                        let ended = worker.connection_ended.notified();
                        if worker.connections.get() == 0 {
                            break;
                        }
                        ended.await;
                    }
                    let _ = done.send(());
                });
            }
        }
    }
}

/// A listening socket whose connections write at once what they are given: they have that of the socket.
fn listening(socket: StdTcpListener) -> std::io::Result<TcpListener> {
    SockRef::from(&socket).set_tcp_nodelay(true)?;
    TcpListener::from_std(socket)
}

fn refresh(worker: &Rc<Worker>) {
    let snapshot = worker.shared.snapshot.load();
    worker.clusters.retain(|name| snapshot.clusters.contains_key(name));
    worker.pools.retain(|name, address| {
        snapshot.clusters.get(name).is_some_and(|cluster| match &cluster.upstream {
            Upstream::Application { .. } => true,
            upstream => upstream.endpoints().iter().any(|endpoint| endpoint.way() == address),
        })
    });
    if worker.judged_by.replace(snapshot.rules_generation) != snapshot.rules_generation {
        let ended = worker.open.end_where(|subject| inbound::judge(worker, subject));
        if ended > 0 {
            tracing::info!(ended, "ended what is not allowed any more");
        }
    }
}

async fn accept(worker: Rc<Worker>, name: Arc<str>, socket: TcpListener, mut phase: watch::Receiver<Phase>) {
    let count = Rc::new(Cell::new(0));
    loop {
        // What is not accepted waits in the kernel.
        tokio::select! {
            biased;
            () = worker.shared.overload.accepts_connections() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Removed) => return,
        }
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Removed) => return,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that is gone already.
                tracing::debug!(listener = &*name, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Some(listener) = worker.listener(&name) else { continue };
        let direction = match &listener.bind {
            Bind::Outbound(_) => Direction::Outbound,
            Bind::Inbound(_) => Direction::Inbound,
            Bind::Public(_) => Direction::Public,
        };
        if count.get() >= listener.max_connections.div_ceil(worker.shared.workers) {
            worker.shared.metrics.of(direction).connections_refused.increment();
            continue;
        }
        let connection = Connection::begin(&worker, direction, &count, &name, peer, phase.clone());
        let worker = Rc::clone(&worker);
        match listener.bind {
            Bind::Outbound(_) | Bind::Public(_) => {
                tokio::task::spawn_local(outbound::serve(worker, listener, stream, connection));
            }
            Bind::Inbound(_) => {
                tokio::task::spawn_local(inbound::serve(worker, listener, stream, connection));
            }
        }
    }
}

/// Most connections at once to a published port, for each worker.
const PUBLISHED_CONNECTIONS_MAX: usize = 1_024;

async fn publish(worker: Rc<Worker>, socket: TcpListener, port: u16) {
    let open = Arc::new(tokio::sync::Semaphore::new(PUBLISHED_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
        let Ok((stream, _)) = socket.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            if let Err(error) = publish_one(&worker, stream, port).await {
                tracing::debug!(port, %error, "a published connection ended");
            }
        });
    }
}

async fn publish_one(worker: &Worker, mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let address = SocketAddr::new(worker.shared.application_address, port);
    let connecting = worker.shared.dialer.connect(address);
    let mut application = tokio::time::timeout(Duration::from_secs(5), connecting).await??;
    tcp::relay(&mut stream, &mut application).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_write_at_once() {
        let socket = StdTcpListener::bind("127.0.0.1:0").expect("an address");
        socket.set_nonblocking(true).expect("set");
        let socket = listening(socket).expect("it listens");
        let client = TcpStream::connect(socket.local_addr().expect("an address"));
        let (accepted, _client) = tokio::try_join!(socket.accept(), client).expect("connected");
        assert!(accepted.0.nodelay().expect("told"));
    }
}
