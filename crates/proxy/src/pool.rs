//! Connections that are kept, one set a worker: nothing here is locked.
//!
//! Other proxies, and whatever else speaks HTTP/2, get one multiplexed
//! connection (more when it is full); HTTP/1.1 applications, and such servers
//! outside the mesh, get a stack of idle keep-alive connections.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_discovery::v1::Protocol;
use bowline_model::sabotage::{Defence, sabotaged};
use futures::{
    FutureExt, TryFutureExt,
    future::{Either, LocalBoxFuture, Shared as SharedFuture},
};
use http::{Request, Response};
use rustls_pki_types::ServerName;
use tokio::sync::{Notify, oneshot};

use crate::{
    body::{Received, RequestBody},
    config::{Cluster, HopConfigs, Upstream, UpstreamTls, external::ExternalSecurity},
    dial::{DialError, HopKind, Target, dial},
    io::ClientTransport,
    load::Counted,
    names::NameHashing,
    shared::Shared,
    trace::{Timeline, Timings},
};

mod multiplexed;
mod open;
mod send_error;

use multiplexed::Multiplexed;
pub(crate) use multiplexed::mesh_terms;
use open::Open;
pub(crate) use open::OpenStream;
pub(crate) use send_error::SendError;

/// Requests on one HTTP/2 connection before another one is made.
const STREAMS_PER_CONNECTION: usize = 512;
/// HTTP/2 connections to one endpoint, where the cluster names no number.
const H2_CONNECTIONS_DEFAULT: usize = 4;
/// HTTP/1.1 connections to the application, where the cluster names no number.
const H1_CONNECTIONS_DEFAULT: usize = 1_024;
/// Longest rest of an HTTP/1.1 connection that is still used again: below the
/// 5 s after which common servers (uvicorn, node) close.
const H1_REST_MAX: Duration = Duration::from_secs(4);
/// How often those that rest are looked at, whether they are of use.
const H1_REST_PERIOD: Duration = Duration::from_secs(1);
/// HTTP/2 flow-control windows, of a stream and of a connection.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Longest header block, in bytes, in either direction.
pub(crate) const HEADERS_MAX: usize = 64 * 1024;

type H1Connection = bowline_http1::Connection<OpenStream>;

/// A connection lent for one request.
#[derive(Debug)]
pub(crate) struct Lease {
    inner: Option<Lent>,
}

#[derive(Debug)]
enum Lent {
    H2(Rc<H2Connection>),
    H1 { connection: H1Connection, home: Rc<EndpointPool>, made_with: Option<Arc<HopConfigs>> },
}

impl Lease {
    /// The exchange is complete: the connection can serve another one.
    pub(crate) fn done(mut self) {
        if let Some(Lent::H1 { connection, home, made_with }) = self.inner.take() {
            home.h1_active.set(home.h1_active.get() - 1);
            if connection.is_idle() {
                home.rest(Idle { connection, since: Instant::now(), made_with });
            }
            home.freed.notify_one();
        }
    }

    /// Sends a request; what this returns waits for its response's head.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Received>, SendError>> + use<> {
        match self.inner.as_mut() {
            Some(Lent::H2(connection)) => Either::Left(connection.sender.send(request)),
            Some(Lent::H1 { connection, .. }) => {
                let answer = connection.try_send_request(request).err_into();
                Either::Right(answer.map_ok(|response| response.map(Received::from)))
            }
            None => unreachable!("a lease is emptied only by `done` and `drop`, which consume it"),
        }
    }

    /// Whether the upstream speaks HTTP/1.1.
    pub(crate) fn is_h1(&self) -> bool {
        matches!(self.inner, Some(Lent::H1 { .. }))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.inner.take() {
            Some(Lent::H2(_)) | None => {}
            Some(Lent::H1 { home, .. }) => {
                home.h1_active.set(home.h1_active.get() - 1);
                home.freed.notify_one();
            }
        }
    }
}

#[derive(Debug)]
struct Idle {
    connection: H1Connection,
    since: Instant,
    /// As in [`H2Connection`].
    made_with: Option<Arc<HopConfigs>>,
}

impl Idle {
    fn is_of_use(&self) -> bool {
        self.since.elapsed() < H1_REST_MAX && self.connection.is_ready()
    }
}

/// A multiplexed connection.
#[derive(Debug)]
struct H2Connection {
    sender: Multiplexed,
    /// What it was made with: another configuration takes new requests away.
    made_with: Option<Arc<HopConfigs>>,
}

impl H2Connection {
    fn in_flight(self: &Rc<Self>) -> usize {
        // One count is the pool's own.
        Rc::strong_count(self).saturating_sub(1)
    }

    fn serves(&self, config: Option<&Arc<HopConfigs>>) -> bool {
        let is_for_one = config.is_some_and(|config| config.for_one);
        !is_for_one && made_with_same(self.made_with.as_ref(), config) && !self.sender.is_closed()
    }
}

fn made_with_same(before: Option<&Arc<HopConfigs>>, now: Option<&Arc<HopConfigs>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (None, None) => true,
        _ => false,
    }
}

/// What new connections of the cluster are made with; `None` for those without TLS.
fn present_configs(cluster: &Cluster) -> Option<&Arc<HopConfigs>> {
    match &cluster.upstream {
        Upstream::Mesh(mesh) => match &mesh.tls {
            UpstreamTls::On(configs) => Some(configs),
            UpstreamTls::Plaintext | UpstreamTls::Waiting => None,
        },
        Upstream::External(external) => match &external.security {
            ExternalSecurity::Tls(tls) => Some(&tls.configs),
            ExternalSecurity::Plain | ExternalSecurity::Refused(_) => None,
        },
        Upstream::Application { .. } => None,
    }
}

/// What making a connection came to, and how long it took.
type Connected = (Result<Rc<H2Connection>, DialError>, Timings);
type Connecting = SharedFuture<LocalBoxFuture<'static, Connected>>;

/// The connections to one endpoint (or to the application).
#[derive(Debug, Default)]
pub(crate) struct EndpointPool {
    h2: RefCell<Vec<Rc<H2Connection>>>,
    connecting: RefCell<Option<Connecting>>,
    h1_idle: RefCell<Vec<Idle>>,
    /// There is a task that looks after those that are idle.
    h1_has_watcher: Cell<bool>,
    /// It does so now, and has not to be told that there is one.
    h1_is_watched: Cell<bool>,
    h1_rested: Rc<Notify>,
    h1_active: Cell<usize>,
    /// HTTP/1.1 connections that are open or being opened.
    h1_open: Rc<Cell<usize>>,
    /// An HTTP/1.1 connection is idle or gone.
    freed: Rc<Notify>,
}

impl EndpointPool {
    /// Keeps a connection for the next request.
    fn rest(&self, idle: Idle) {
        self.h1_idle.borrow_mut().push(idle);
        if !self.h1_is_watched.replace(true) {
            self.h1_rested.notify_one();
        }
    }

    /// The connection that has rested least.
    fn newest_idle(&self) -> Option<Idle> {
        self.h1_idle.borrow_mut().pop()
    }

    /// Closes idle connections that have rested for long, or that the other end has closed.
    fn close_useless(&self) {
        self.h1_idle.borrow_mut().retain(Idle::is_of_use);
    }

    /// Has idle connections looked after from now on.
    fn watch(self: &Rc<Self>) {
        if !self.h1_has_watcher.replace(true) {
            tokio::task::spawn_local(watch(Rc::downgrade(self), Rc::clone(&self.h1_rested)));
        }
    }
}

impl Drop for EndpointPool {
    fn drop(&mut self) {
        self.h1_rested.notify_one();
    }
}

/// Closes what is of no use among a pool's idle connections. Nothing wakes it while there is none.
async fn watch(pool: Weak<EndpointPool>, rested: Rc<Notify>) {
    loop {
        rested.notified().await;
        loop {
            tokio::time::sleep(H1_REST_PERIOD).await;
            let Some(pool) = pool.upgrade() else { return };
            pool.close_useless();
            if pool.h1_idle.borrow().is_empty() {
                pool.h1_is_watched.set(false);
                break;
            }
        }
    }
}

/// A cluster's name, the address that an endpoint is reached by, and the name that its certificate was checked for where
/// that is not its cluster's.
type PoolKey = (Arc<str>, SocketAddr, Option<ServerName<'static>>);

/// A worker's connections.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    by_endpoint: RefCell<HashMap<PoolKey, Rc<EndpointPool>, NameHashing>>,
}

impl Pools {
    fn of(&self, cluster: &Cluster, target: &Target) -> Rc<EndpointPool> {
        let server_name = match target {
            Target::Endpoint(endpoint) => endpoint.server_name.clone(),
            Target::Application(_) => None,
        };
        let key = (Arc::clone(&cluster.name), target.way(), server_name);
        Rc::clone(self.by_endpoint.borrow_mut().entry(key).or_default())
    }

    /// Drops connections to what `keep` no longer knows. Exchanges in flight
    /// hold theirs and finish.
    pub(crate) fn retain(&self, keep: impl Fn(&str, SocketAddr) -> bool) {
        self.by_endpoint.borrow_mut().retain(|(cluster, address, _), pool| {
            pool.h2.borrow_mut().retain(|connection| !connection.sender.is_closed());
            pool.close_useless();
            keep(cluster, *address)
        });
    }

    /// A connection for one request. `fresh` passes kept ones over.
    pub(crate) async fn lease(
        &self,
        shared: &Arc<Shared>,
        cluster: &Arc<Cluster>,
        target: &Target,
        fresh: bool,
        timeline: &mut Timeline,
    ) -> Result<Lease, DialError> {
        if let Upstream::External(external) = &cluster.upstream
            && let ExternalSecurity::Refused(reason) = &external.security
        {
            // Not even over a connection that is there already.
            return Err(DialError::Refused(Arc::clone(reason)));
        }
        let pool = self.of(cluster, target);
        let is_h1 = !matches!(cluster.upstream, Upstream::Mesh(_)) && cluster.protocol == Protocol::Http;
        if sabotaged(Defence::OutboundTls) && crate::dial::is_downgraded(target.way()) {
            return lease_h1(pool, shared, cluster, target, fresh, timeline).await;
        }
        if is_h1 {
            lease_h1(pool, shared, cluster, target, fresh, timeline).await
        } else {
            lease_h2(pool, shared, cluster, target, timeline).await
        }
    }
}

async fn lease_h1(
    pool: Rc<EndpointPool>,
    shared: &Shared,
    cluster: &Cluster,
    target: &Target,
    fresh: bool,
    timeline: &mut Timeline,
) -> Result<Lease, DialError> {
    let config = present_configs(cluster);
    let most = if cluster.max_connections == 0 { H1_CONNECTIONS_DEFAULT } else { cluster.max_connections };
    let (mut waiting, mut queued) = (None, timeline.waiting("connection"));
    let mut open = loop {
        while let Some(idle) = pool.newest_idle() {
            let same = made_with_same(idle.made_with.as_ref(), config);
            if same && !fresh && idle.is_of_use() {
                pool.h1_active.set(pool.h1_active.get() + 1);
                let Idle { connection, made_with, .. } = idle;
                return Ok(Lease { inner: Some(Lent::H1 { connection, home: pool, made_with }) });
            }
        }
        if pool.h1_active.get() < most
            && let Some(counted) = cluster.load.connection(&cluster.breakers, pool.h1_open.get() == 0)
        {
            break Open::new(&pool.h1_open, &pool.freed, counted);
        }
        // The request's time bounds how long, the breaker how many.
        if waiting.is_none() {
            waiting = Some(cluster.load.pending(&cluster.breakers).ok_or(DialError::Overflow)?);
            queued.begin();
        }
        pool.freed.notified().await;
    };
    drop((waiting, queued));
    pool.h1_active.set(pool.h1_active.get() + 1);
    // Counts down again if dialling fails or is given up.
    let reserved = Reserved(Some(Rc::clone(&pool)));
    // Boxed: seldom needed, and every request's future would have room for it.
    let stream = Box::pin(connect_h1(shared, cluster, target, timeline)).await?;
    open.counted.opened(cluster.series.row());
    let connection = H1Connection::new(OpenStream::new(stream, open));
    pool.watch();
    reserved.keep();
    Ok(Lease { inner: Some(Lent::H1 { connection, home: pool, made_with: config.cloned() }) })
}

/// Makes an HTTP/1.1 connection.
async fn connect_h1(
    shared: &Shared,
    cluster: &Cluster,
    target: &Target,
    timeline: &mut Timeline,
) -> Result<ClientTransport, DialError> {
    let mut timings = Timings::default();
    let dialled = dial(shared, cluster, target, HopKind::Main, &mut timings).await;
    timeline.dialled(target.address(), &timings);
    dialled
}

/// One of the pool's connections, counted before it is there.
struct Reserved(Option<Rc<EndpointPool>>);

impl Reserved {
    /// The lease counts it from now on.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.h1_active.set(pool.h1_active.get() - 1);
        }
    }
}

async fn lease_h2(
    pool: Rc<EndpointPool>,
    shared: &Arc<Shared>,
    cluster: &Arc<Cluster>,
    target: &Target,
    timeline: &mut Timeline,
) -> Result<Lease, DialError> {
    let config = present_configs(cluster);
    let most = if cluster.max_connections == 0 { H2_CONNECTIONS_DEFAULT } else { cluster.max_connections };
    let least_loaded = {
        let mut connections = pool.h2.borrow_mut();
        connections.retain(|connection| connection.serves(config) && !sabotaged(Defence::Pooling));
        connections.iter().min_by_key(|connection| connection.in_flight()).cloned()
    };
    if let Some(connection) = least_loaded {
        // The clone at hand counts as one.
        let in_flight = connection.in_flight().saturating_sub(1);
        let count = pool.h2.borrow().len();
        if in_flight < STREAMS_PER_CONNECTION {
            return Ok(Lease { inner: Some(Lent::H2(connection)) });
        }
        let under_way = pool.connecting.borrow().is_some();
        let counted = match count < most && !under_way {
            true => cluster.load.connection(&cluster.breakers, false),
            false => None,
        };
        match counted {
            Some(counted) => {
                let connecting = start_connecting(&pool, shared, cluster, target, config.cloned(), counted);
                *pool.connecting.borrow_mut() = Some(connecting);
            }
            None if under_way => {}
            None => {
                // HTTP/2 queues what is over the server's limit, up to ours.
                if in_flight >= STREAMS_PER_CONNECTION.saturating_add(cluster.breakers.pending) {
                    return Err(DialError::Overflow);
                }
                return Ok(Lease { inner: Some(Lent::H2(connection)) });
            }
        }
    }
    let _waiting = cluster.load.pending(&cluster.breakers).ok_or(DialError::Overflow)?;
    let (connecting, is_own) = {
        let mut slot = pool.connecting.borrow_mut();
        let is_shared =
            |connecting: &&Connecting| connecting.peek().is_none() && !sabotaged(Defence::Pooling);
        match slot.as_ref().filter(is_shared) {
            Some(connecting) => (connecting.clone(), false),
            None => {
                let counted = cluster.load.connection(&cluster.breakers, true).ok_or(DialError::Overflow)?;
                let connecting = start_connecting(&pool, shared, cluster, target, config.cloned(), counted);
                *slot = Some(connecting.clone());
                (connecting, true)
            }
        }
    };
    let mut queued = timeline.waiting("connection");
    queued.begin();
    let (connection, timings) = connecting.await;
    if is_own {
        // It has not waited but made one.
        queued.forget();
        timeline.dialled(target.address(), &timings);
    } else {
        drop(queued);
    }
    let connection = connection?;
    Ok(Lease { inner: Some(Lent::H2(connection)) })
}

/// Connects in a task of its own, so that no waiting request can stall it.
fn start_connecting(
    pool: &Rc<EndpointPool>,
    shared: &Arc<Shared>,
    cluster: &Arc<Cluster>,
    target: &Target,
    config: Option<Arc<HopConfigs>>,
    counted: Counted,
) -> Connecting {
    let (tell, told) = oneshot::channel();
    let (home, shared, cluster, target) =
        (Rc::downgrade(pool), Arc::clone(shared), Arc::clone(cluster), target.clone());
    tokio::task::spawn_local(async move {
        let mut timings = Timings::default();
        let result =
            multiplexed::connect(&shared, &cluster, &target, counted, &mut timings).await.map(|sender| {
                let connection = Rc::new(H2Connection { sender, made_with: config });
                if let Some(home) = home.upgrade() {
                    home.h2.borrow_mut().push(Rc::clone(&connection));
                }
                connection
            });
        if let Some(home) = home.upgrade() {
            *home.connecting.borrow_mut() = None;
        }
        let _ = tell.send((result, timings));
    });
    async move { told.await.unwrap_or((Err(DialError::Timeout), Timings::default())) }.boxed_local().shared()
}
