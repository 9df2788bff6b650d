//! The proxy's traffic side as its configuration side sees it: resources go
//! in, the workers follow.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsFd,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1::TlsMode,
};
use bowline_plumbing::{
    shim_link::{HOSTS_MAX, HostsEntry},
    sys,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::{
        Bind, Listener, Snapshot, SocketKey,
        convert::{invalid, ipv4},
        store::{Rejection, ResourceStore},
    },
    shared::{Shared, ShownVersion},
    sockets::Sockets,
    tls::staged::Staged,
    worker::{self, Command},
};

#[derive(Debug)]
struct OpenSocket {
    key: SocketKey,
    /// The workers have copies.
    socket: TcpListener,
    address: SocketAddr,
    /// What the kernel was last told of when to tell of a connection.
    when: When,
}

/// When the kernel tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    AtOnce,
    /// When its first bytes are there: workers are woken once, not twice.
    FirstBytes,
}

impl When {
    /// A TLS client speaks first; of who does not it is told a second later.
    fn of(listener: &Listener) -> Self {
        match &listener.bind {
            Bind::Inbound(bind) if bind.tls != TlsMode::Plaintext => Self::FirstBytes,
            _ => Self::AtOnce,
        }
    }

    /// Without it all is the same but for the cost.
    fn tell(self, socket: &TcpListener) {
        if let Err(error) = sys::defer_accept(socket.as_fd(), u8::from(self == Self::FirstBytes)) {
            tracing::debug!(%error, "connections are told of at once");
        }
    }
}

#[derive(Debug)]
struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    _thread: JoinHandle<()>,
}

/// See the module. Not for a request's path.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: ResourceStore,
    sockets: Sockets,
    open: HashMap<Arc<str>, OpenSocket>,
    workers: Vec<WorkerHandle>,
    /// What the task's `/etc/hosts` was last told.
    hosts: Vec<HostsEntry>,
}

impl DataPlane {
    /// Starts the workers; they have nothing to do yet.
    pub(crate) fn start(shared: Arc<Shared>, sockets: Sockets) -> io::Result<Self> {
        let workers = (0..shared.workers)
            .map(|index| {
                let (commands, thread) = worker::start(Arc::clone(&shared), index)?;
                Ok(WorkerHandle { commands, _thread: thread })
            })
            .collect::<io::Result<_>>()?;
        let store = ResourceStore::new(Arc::clone(&shared.metrics));
        Ok(Self { shared, store, sockets, open: HashMap::new(), workers, hosts: Vec::new() })
    }

    /// Applies a batch of resources, each by itself, and puts the result into
    /// effect. Returns those that were refused.
    pub(crate) fn apply(
        &mut self,
        changed: Vec<(String, Resource)>,
        removed: &[(ResourceType, String)],
    ) -> Vec<Rejection> {
        let mut rejections: Vec<_> = changed
            .into_iter()
            .filter_map(|(version, resource)| self.store.apply(version, resource).err())
            .collect();
        for (kind, name) in removed {
            self.store.remove(*kind, name);
        }
        rejections.extend(self.publish());
        rejections
    }

    /// Puts what the store holds into effect: swaps the snapshot, opens and
    /// closes listeners. Listeners that cannot be opened are returned, and
    /// tried again with the next change.
    pub(crate) fn publish(&mut self) -> Vec<Rejection> {
        let snapshot = self.store.snapshot();
        let gone: Vec<Arc<str>> = self
            .open
            .iter()
            .filter(|(name, open)| {
                snapshot.listeners.get(*name).is_none_or(|listener| listener.socket_key() != open.key)
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            self.tell(|| Command::Close { name: Arc::clone(&name) });
            if let Some(open) = self.open.remove(&name) {
                self.sockets.release(&open.key);
            }
        }
        let before = self.shared.snapshot.swap(Arc::clone(&snapshot));
        if before.trust.revoked != snapshot.trust.revoked || before.trust.imported != snapshot.trust.imported
        {
            self.cut_revoked(&snapshot);
        }
        let rejections = self.open_new(&snapshot);
        for (name, open) in &mut self.open {
            let when = snapshot.listeners.get(name).map_or(open.when, |listener| When::of(listener));
            if open.when != when {
                when.tell(&open.socket);
                open.when = when;
            }
        }
        self.tell(|| Command::Refresh);
        self.renew_inbound();
        self.shared.names_changed.notify_one();
        self.shared.checks_changed.notify_one();
        self.write_hosts(&snapshot);
        rejections
    }

    /// Shows a certificate in place of the proxy's own, or again the proxy's own: connections of other proxies, too,
    /// are to be made anew, which finish what they have.
    pub(crate) fn stage(&mut self, staged: Option<Arc<Staged>>) {
        self.store.set_staged(staged);
        self.publish();
    }

    /// Tells what other proxies have open here that something else is shown now.
    fn renew_inbound(&mut self) {
        let staged = self.store.staged();
        let version = staged.map(|staged| staged.version.clone());
        let is_partial = staged.is_some_and(|staged| staged.is_partial());
        self.shared.shown.send_if_modified(|shown| {
            let differs = shown.version != version;
            *shown = ShownVersion { version, is_partial };
            differs
        });
    }

    /// Ends what is open to those who are refused now. Hops that are being made meanwhile are
    /// judged by the snapshot, which is in place already.
    fn cut_revoked(&self, snapshot: &Snapshot) {
        let cut = self.shared.hops.cut_where(|peer| snapshot.trust.refuses(peer));
        if cut > 0 {
            self.shared.metrics.hops_cut.add(cut as u64);
            tracing::info!(cut, "closed connections to proxies whose certificates were revoked");
        }
    }

    /// Puts the names of open outbound listeners into the task's `/etc/hosts`.
    fn write_hosts(&mut self, snapshot: &Snapshot) {
        let mut by_address: BTreeMap<Ipv4Addr, Vec<String>> = BTreeMap::new();
        let mut count = 0;
        for name in self.open.keys() {
            let Some(Bind::Outbound(bind)) = snapshot.listeners.get(name).map(|listener| &listener.bind)
            else {
                continue;
            };
            let Some(address) = ipv4(bind.address) else { continue };
            let names = by_address.entry(address).or_default();
            for name in &bind.hostnames {
                if !names.contains(name) && count < HOSTS_MAX {
                    names.push(name.clone());
                    count += 1;
                }
            }
        }
        if count == HOSTS_MAX {
            tracing::warn!(HOSTS_MAX, "/etc/hosts has no room for more names; DNS knows them all");
        }
        // The short name first, as the line's main one.
        let entries: Vec<_> = by_address
            .into_iter()
            .map(|(address, mut names)| {
                names.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
                HostsEntry { address, names }
            })
            .collect();
        if entries == self.hosts {
            return;
        }
        match self.sockets.write_hosts(entries.clone()) {
            Ok(()) => self.hosts = entries,
            Err(error) => tracing::error!(%error, "the task's /etc/hosts was not written"),
        }
    }

    fn open_new(&mut self, snapshot: &Snapshot) -> Vec<Rejection> {
        let mut rejections = Vec::new();
        for (name, listener) in &snapshot.listeners {
            if self.open.contains_key(name) {
                continue;
            }
            let key = listener.socket_key();
            let opened = self.sockets.open(&key).and_then(|(socket, address)| {
                let copies =
                    self.workers.iter().map(|_| socket.try_clone()).collect::<io::Result<Vec<_>>>()?;
                Ok((socket, address, copies))
            });
            match opened {
                Ok((socket, address, copies)) => {
                    tracing::info!(listener = &**name, %address, "listening");
                    let when = When::of(listener);
                    // Whoever had the socket before may have told otherwise.
                    when.tell(&socket);
                    for (worker, socket) in self.workers.iter().zip(copies) {
                        // A worker that is gone has taken the process with it.
                        let _ = worker.commands.send(Command::Listen { name: Arc::clone(name), socket });
                    }
                    self.open.insert(Arc::clone(name), OpenSocket { key, socket, address, when });
                }
                Err(error) => {
                    tracing::error!(listener = &**name, %error, "cannot listen");
                    rejections.push(Rejection {
                        kind: ResourceType::Listener,
                        name: name.to_string(),
                        reason: invalid("bind", format!("cannot listen: {error}")),
                    });
                }
            }
        }
        rejections
    }

    /// Forwards connections of `socket` to a port of the application.
    pub(crate) fn publish_port(&self, socket: &TcpListener, port: u16) -> io::Result<()> {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Publish { socket: socket.try_clone()?, port });
        }
        Ok(())
    }

    /// Carries connections of `socket`, which were redirected there, to where
    /// they were to go.
    pub(crate) fn open_egress(&self, socket: &TcpListener) -> io::Result<()> {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Egress { socket: socket.try_clone()? });
        }
        Ok(())
    }

    /// Where the listeners are.
    pub(crate) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.open.iter().map(|(name, open)| (name.to_string(), open.address)).collect()
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            let _ = worker.commands.send(command());
        }
    }

    /// Begins the drain; the future ends when no connection is left, or the
    /// time is over.
    pub(crate) fn drain(&self, limit: Duration) -> impl Future<Output = ()> + Send + use<> {
        let waits: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (done, drained) = oneshot::channel();
                let _ = worker.commands.send(Command::Drain { done });
                drained
            })
            .collect();
        async move {
            let all = futures::future::join_all(waits);
            if tokio::time::timeout(limit, all).await.is_err() {
                tracing::warn!("connections were still open when the drain's time was over");
            }
        }
    }
}
