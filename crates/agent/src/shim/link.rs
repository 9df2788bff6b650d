//! The shim's side of the link to its proxy: answers its requests.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use bowline_model::{
    identity::SpiffeId,
    network::{ALIAS_GATEWAY, EGRESS_PORT, TASK_ADDRESS},
    task::{Egress, InboundSocket, ProxyRole, ProxySpec, PublishedSocket, Secret, TaskSpec},
};
use bowline_plumbing::{
    seal::SealKey,
    shim_link::{APPLICATION_SOCKETS_MAX, HOSTS_MAX, Hello, HostsEntry, Place, Request, Response, Transport},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    credentials::Credentials,
    event::Event,
    host_network::HostNetwork,
    hosts::{hosts_text, write_in_place},
    init_process::InitProcess,
    sockets::{KeptSockets, local_address, open},
    trust::Trust,
};
use crate::{packet::PacketSocket, protocol::ToInit, task_directory::TaskDirectory};

/// How long an agent may take to make a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made of. It outlives every proxy of the task.
#[derive(Debug)]
pub(crate) struct Link {
    spec: TaskSpec,
    proxy: ProxySpec,
    directory: TaskDirectory,
    init: Option<Rc<InitProcess>>,
    host_network: Option<Rc<RefCell<HostNetwork>>>,
    egress: Egress,
    sockets: RefCell<KeptSockets>,
    inbound: Vec<(InboundSocket, OwnedFd)>,
    published: Vec<PublishedSocket>,
    seal_key: SealKey,
    credentials: Option<Credentials>,
    trust: Option<Rc<Trust>>,
    first_token: RefCell<Option<Secret>>,
    was_ready: Cell<bool>,
    events: mpsc::Sender<Event>,
}

/// What a link is made of, besides the specification.
#[derive(Debug)]
pub(crate) struct LinkParts {
    pub(crate) directory: TaskDirectory,
    pub(crate) init: Option<Rc<InitProcess>>,
    pub(crate) host_network: Option<Rc<RefCell<HostNetwork>>>,
    /// What the task's networks let through.
    pub(crate) egress: Egress,
    pub(crate) trust: Option<Rc<Trust>>,
    pub(crate) token: Option<Secret>,
    pub(crate) events: mpsc::Sender<Event>,
}

type Answer = Result<(Response, Vec<OwnedFd>), String>;

impl Link {
    /// Opens the task's host sockets. The warnings say what differs from the specification.
    ///
    /// # Errors
    /// In AWS's words: a port is taken, or the system has no more.
    pub(crate) fn open(
        spec: &TaskSpec,
        proxy: &ProxySpec,
        parts: LinkParts,
    ) -> Result<(Self, Vec<String>), String> {
        let mut warnings = Vec::new();
        let mut inbound = Vec::new();
        for port in &proxy.inbound {
            let (socket, address) = open_inbound(port.ingress_port, &mut warnings)
                .map_err(|error| format!("cannot open the inbound port of {}: {error}", port.port_name))?;
            let socket_of = InboundSocket {
                port_name: port.port_name.clone(),
                container_port: port.container_port,
                address,
            };
            inbound.push((socket_of, socket));
        }
        let mut sockets = KeptSockets::default();
        let mut published = Vec::new();
        for port in &spec.published {
            let wanted = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.host_port);
            let failed = |error: io::Error| {
                format!(
                    "RESOURCE:PORTS: port {} of this machine cannot be published: {error}",
                    port.host_port
                )
            };
            let socket = open(Transport::Tcp, wanted).map_err(failed)?;
            let address = local_address(&socket).map_err(failed)?;
            sockets.insert((Place::Host, Transport::Tcp, v4(address)), socket, address);
            published.push(PublishedSocket { container_port: port.container_port, address });
        }
        let credentials = match &spec.role {
            Some(role) => {
                let network = parts.host_network.as_ref().map(|network| network.borrow_mut());
                let opened = Credentials::open(role, network, &mut sockets);
                Some(opened.map_err(|error| {
                    format!("the credentials of the task's role cannot be given out: {error}")
                })?)
            }
            None => None,
        };
        let seal_key = SealKey::generate().map_err(|error| error.to_string())?;
        let link = Self {
            spec: spec.clone(),
            proxy: proxy.clone(),
            directory: parts.directory,
            init: parts.init,
            host_network: parts.host_network,
            egress: parts.egress,
            sockets: RefCell::new(sockets),
            inbound,
            published,
            seal_key,
            credentials,
            trust: parts.trust,
            first_token: RefCell::new(parts.token),
            was_ready: Cell::new(false),
            events: parts.events,
        };
        Ok((link, warnings))
    }

    pub(crate) fn inbound(&self) -> Vec<InboundSocket> {
        self.inbound.iter().map(|(socket, _)| socket.clone()).collect()
    }

    pub(crate) fn published(&self) -> Vec<PublishedSocket> {
        self.published.clone()
    }

    /// How the task's programs find the credentials of its role, if it has one.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Answers one proxy's requests until it closes.
    pub(crate) async fn serve(&self, socket: &PacketSocket) -> io::Result<()> {
        while let Some((request, _)) = socket.receive::<Request>().await? {
            let (response, fds) = self
                .answer(request)
                .await
                .unwrap_or_else(|reason| (Response::Refused { reason }, Vec::new()));
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            socket.send(&response, &fds).await?;
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Hello => {
                let hello = self.hello().await;
                Ok((Response::Hello(Box::new(hello)), Vec::new()))
            }
            Request::Listen { place, transport, address } => self.listen(place, transport, address),
            Request::Release { place, transport, address } => {
                // Published ports are the task's, not the proxy's, to give up.
                if !self.is_published(place, address) {
                    self.sockets.borrow_mut().release(&(place, transport, address));
                }
                done()
            }
            Request::Inbound { port_name } => {
                let (socket, fd) = self
                    .inbound
                    .iter()
                    .find(|(socket, _)| socket.port_name == port_name)
                    .ok_or_else(|| format!("the task has no port named {port_name}"))?;
                let copy = fd.try_clone().map_err(|error| error.to_string())?;
                Ok((Response::Socket { address: socket.address }, vec![copy]))
            }
            Request::ApplicationSockets { count } => self.application_sockets(count),
            Request::Hosts { entries } => self.write_hosts(&entries),
            Request::Token => match self.ask_token().await {
                Some(token) => Ok((Response::Token(token), Vec::new())),
                None => Err("no agent is there to give a token, or the task is over".to_owned()),
            },
            Request::Ready => {
                self.was_ready.set(true);
                let _ = self.events.send(Event::ProxyReady).await;
                done()
            }
        }
    }

    async fn hello(&self) -> Hello {
        let first = self.first_token.borrow_mut().take();
        let token = match first {
            Some(token) => Some(token),
            // A proxy that ended before it served may have spent its token and kept nothing.
            None if !self.was_ready.get() => self.ask_token().await,
            None => None,
        };
        let isolated = self.isolated();
        let application_address = match &self.host_network {
            Some(network) => network.borrow().application(),
            None => Ipv4Addr::LOCALHOST,
        };
        let hex = self.seal_key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Hello {
            task_id: self.spec.id.clone(),
            role: self.proxy.role,
            control_plane: self.proxy.control_plane.clone(),
            control_plane_id: SpiffeId::of_control_plane(&self.proxy.control_plane.trust_domain),
            token,
            seal_key: Secret::new(hex),
            state_file: self.directory.proxy_state(),
            inbound: self.inbound(),
            application_address,
            isolated,
            dns: isolated.then(|| SocketAddrV4::new(ALIAS_GATEWAY, 53)),
            published: self.published.iter().map(|port| (v4(port.address), port.container_port)).collect(),
            egress: (self.egress == Egress::Allow).then(|| SocketAddrV4::new(ALIAS_GATEWAY, EGRESS_PORT)),
            credentials: self.credentials.as_ref().map(|credentials| credentials.access().clone()),
            xray_daemon: self.spec.xray_daemon.filter(|_| isolated),
            task_authority: self.trust.as_ref().map(|trust| trust.authority().clone()),
        }
    }

    fn isolated(&self) -> bool {
        self.init.is_some() && self.host_network.is_none()
    }

    async fn ask_token(&self) -> Option<Secret> {
        let (answer, token) = oneshot::channel();
        self.events.send(Event::TokenWanted { answer }).await.ok()?;
        timeout(TOKEN_TIMEOUT, token).await.ok()?.ok()?
    }

    fn is_published(&self, place: Place, address: SocketAddrV4) -> bool {
        place == Place::Host && self.published.iter().any(|port| port.address == SocketAddr::V4(address))
    }

    fn listen(&self, place: Place, transport: Transport, address: SocketAddrV4) -> Answer {
        let key = (place, transport, address);
        let mut sockets = self.sockets.borrow_mut();
        let may = match place {
            Place::Aliases => self.init.is_some(),
            // A sidecar has no listener outside of its task but those of the specification.
            Place::Host => self.proxy.role == ProxyRole::Gateway || sockets.contains(&key),
        };
        if !may {
            return Err(format!("this task's proxy may not listen on {address} there"));
        }
        let (socket, address) = sockets
            .get_or_open(key, || self.open_listener(place, transport, address))
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let copy = socket.try_clone().map_err(|error| error.to_string())?;
        Ok((Response::Socket { address }, vec![copy]))
    }

    fn open_listener(
        &self,
        place: Place,
        transport: Transport,
        address: SocketAddrV4,
    ) -> io::Result<(OwnedFd, SocketAddr)> {
        let socket = match (place, &self.host_network, &self.init) {
            (Place::Aliases, Some(network), _) => {
                let own = network
                    .borrow_mut()
                    .map(address)
                    .ok_or_else(|| io::Error::other("the task has no address left for one more alias"))?;
                open(transport, own)?
            }
            (Place::Aliases, None, Some(init)) => {
                let (_, fds) = init.call(&ToInit::Listen { transport, address }, &[])?;
                fds.into_iter().next().ok_or_else(|| io::Error::other("the task's init gave no socket"))?
            }
            (Place::Aliases, None, None) => return Err(io::ErrorKind::Unsupported.into()),
            (Place::Host, _, _) => open(transport, address)?,
        };
        let address = local_address(&socket)?;
        Ok((socket, address))
    }

    fn application_sockets(&self, count: usize) -> Answer {
        if !(1..=APPLICATION_SOCKETS_MAX).contains(&count) {
            return Err(format!("1 to {APPLICATION_SOCKETS_MAX} sockets at a time"));
        }
        let init = match &self.init {
            Some(init) if self.isolated() => init,
            _ => return Err("the task has no network of its own".to_owned()),
        };
        let (_, fds) =
            init.call(&ToInit::ApplicationSockets { count }, &[]).map_err(|error| error.to_string())?;
        Ok((Response::Sockets, fds))
    }

    fn write_hosts(&self, entries: &[HostsEntry]) -> Answer {
        if entries.len() > HOSTS_MAX {
            return Err(format!("at most {HOSTS_MAX} names"));
        }
        if self.isolated() {
            let text = hosts_text(hostname(&self.spec), TASK_ADDRESS, entries);
            write_in_place(&self.directory.hosts_file(), &text).map_err(|error| error.to_string())?;
        }
        done()
    }
}

fn done() -> Answer {
    Ok((Response::Done, Vec::new()))
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, address.port()),
        IpAddr::V6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, address.port()),
    }
}

/// The task's host name: the first digits of its id, as Docker has it.
pub(crate) fn hostname(spec: &TaskSpec) -> &str {
    &spec.id.as_str()[..12]
}

/// The host socket of an inbound port. On one machine two tasks cannot have
/// one `ingressPortOverride`, as they can where each has an address: the
/// second gets a free port, and its peers learn it.
fn open_inbound(port: Option<u16>, warnings: &mut Vec<String>) -> io::Result<(OwnedFd, SocketAddr)> {
    let address = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let wanted = port.unwrap_or(0);
    let socket = match open(Transport::Tcp, address(wanted)) {
        Err(error) if wanted != 0 => {
            warnings.push(format!(
                "ingressPortOverride {wanted} is not free here ({error}): another port is used"
            ));
            open(Transport::Tcp, address(0))?
        }
        opened => opened?,
    };
    let bound = local_address(&socket)?;
    Ok((socket, bound))
}
