//! What a proxy and its task's shim say to each other.
//!
//! The shim starts the proxy with one end of a SEQPACKET pair inherited under
//! the number given by `--shim-fd`. The proxy asks, the shim answers, one
//! request at a time. The shim keeps every listening socket that it handed
//! out, so that a proxy that was killed finds them, connections queued, when
//! it is started again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use bowline_model::{
    identity::SpiffeId,
    task::{ControlPlaneAddress, InboundSocket, ProxyRole, Secret, TaskId},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fd_message;

/// Most sockets asked for in one [`Request::ApplicationSockets`].
pub const APPLICATION_SOCKETS_MAX: usize = 16;

/// Most host names in one [`Request::Hosts`].
pub const HOSTS_MAX: usize = 2_000;

/// Where a socket lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// The task's alias network (on a host-network task: the host).
    Aliases,
    /// The host's network: a gateway's public ports.
    Host,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// A listening stream socket.
    Tcp,
    /// A bound datagram socket.
    Udp,
}

/// What a proxy asks its shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Who am I? Answered by [`Response::Hello`].
    Hello,
    /// A listening socket, the same as before if it was asked for before.
    /// Answered by [`Response::Socket`] with one descriptor, non-blocking.
    Listen {
        /// In which network.
        place: Place,
        /// TCP or UDP.
        transport: Transport,
        /// Address and port.
        address: SocketAddrV4,
    },
    /// Gives a socket of `Listen` back: the shim closes its copy.
    Release {
        /// In which network.
        place: Place,
        /// TCP or UDP.
        transport: Transport,
        /// Address and port.
        address: SocketAddrV4,
    },
    /// The host socket of an inbound port. Answered by [`Response::Socket`].
    Inbound {
        /// The port mapping's name.
        port_name: String,
    },
    /// Fresh unconnected TCP sockets in the application's own network.
    /// Answered by [`Response::Sockets`] with as many descriptors.
    ApplicationSockets {
        /// How many, at most [`APPLICATION_SOCKETS_MAX`].
        count: usize,
    },
    /// The names that the task's `/etc/hosts` should have besides its own.
    /// Whole: replaces what an earlier one said. Written in place.
    Hosts {
        /// Address and names of each line.
        entries: Vec<HostsEntry>,
    },
    /// A fresh one-time token, from the agent. Answered by [`Response::Token`].
    Token,
    /// Traffic is accepted: containers that wait for the sidecar may start.
    Ready,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsEntry {
    /// The alias's virtual address.
    pub address: Ipv4Addr,
    /// Its names.
    pub names: Vec<String>,
}

/// What the shim answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// To [`Request::Hello`].
    Hello(Box<Hello>),
    /// The socket is beside this message.
    Socket {
        /// Where it is bound: differs from what was asked for on host
        /// networking and where the port was 0.
        address: SocketAddr,
    },
    /// The sockets are beside this message.
    Sockets,
    /// To [`Request::Token`].
    Token(Secret),
    /// Done.
    Done,
    /// Not done, and why.
    Refused {
        /// For the log.
        reason: String,
    },
}

/// The task's own CA: what the task's application, and nobody else, believes
/// when it calls `https://` on one of its aliases. Made by the shim, which
/// holds it in memory for as long as the task lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAuthority {
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS#8 as PEM.
    pub key_pem: Secret,
}

/// What a proxy must know to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The task whose proxy this is.
    pub task_id: TaskId,
    /// Sidecar or gateway.
    pub role: ProxyRole,
    /// Where the configuration comes from.
    pub control_plane: ControlPlaneAddress,
    /// The id that the control plane's certificate must carry.
    pub control_plane_id: SpiffeId,
    /// The token for the first certificate; `None` when the proxy is started
    /// again and should find its last good state.
    pub token: Option<Secret>,
    /// Seals the last good state (certificate, key, resources) on disk. Held by
    /// the shim, in memory only. 64 hexadecimal digits.
    pub seal_key: Secret,
    /// Where the last good state is kept.
    pub state_file: PathBuf,
    /// The inbound ports that the shim has opened.
    pub inbound: Vec<InboundSocket>,
    /// Where the application listens: 127.0.0.1 in a namespace of its own,
    /// another loopback address on host networking.
    pub application_address: Ipv4Addr,
    /// False on host networking: application sockets are ordinary ones then.
    pub isolated: bool,
    /// Where the task's DNS server should listen; `None` on host networking.
    pub dns: Option<SocketAddrV4>,
    /// Ports published on the host's loopback that the proxy should serve by
    /// plain TCP forwarding into the application's network: host socket (asked
    /// for with `Listen { place: Host }`) and container port.
    pub published: Vec<(SocketAddrV4, u16)>,
    /// Where, in the alias network, the task's TCP connections to elsewhere
    /// arrive (by redirection; asked for with `Listen { place: Aliases }`).
    /// `None`: the task may reach its aliases and nothing else, which is also
    /// what a shim that knows no such field means.
    #[serde(default)]
    pub egress: Option<SocketAddrV4>,
    /// The task has a role, whose credentials the proxy gives out so, on
    /// [`CREDENTIALS_ADDRESS`](bowline_model::network::CREDENTIALS_ADDRESS) of
    /// the alias network (asked for with `Listen { place: Aliases }`).
    #[serde(default)]
    pub credentials: Option<CredentialsAccess>,
    /// Where X-Ray's daemon listens on the host's loopback, to which the
    /// proxy leads from [`CREDENTIALS_ADDRESS`](bowline_model::network::CREDENTIALS_ADDRESS)
    /// of the alias network (asked for with `Listen { place: Aliases }`).
    #[serde(default)]
    pub xray_daemon: Option<SocketAddr>,
    /// The CA that the task's application trusts, the same for every proxy of
    /// the task; `None` where no application calls through this proxy.
    pub task_authority: Option<TaskAuthority>,
}

/// Who is given the credentials of the task's role: who knows this. Only the
/// task's containers are told, and it is another for each task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialsAccess {
    /// The one path that is answered, with a random UUID at its end, as ECS
    /// has it: who can make an application fetch a URL knows no such path,
    /// while a task's id is no secret.
    pub path: Secret,
    /// What the `Authorization` header must say; `None` where nobody but the
    /// task reaches the address.
    pub authorization: Option<Secret>,
}

impl CredentialsAccess {
    /// A new one; with something to authorize by where others reach the address.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate(isolated: bool) -> io::Result<Self> {
        let path = Secret::new(format!("/v2/credentials/{}", uuid(random()?)));
        let authorization = match isolated {
            true => None,
            false => Some(Secret::new(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())),
        };
        Ok(Self { path, authorization })
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness from the system"))?;
    Ok(bytes)
}

/// A UUID of version 4 (RFC 9562) from random bytes.
fn uuid(bytes: [u8; 16]) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let number = u128::from_be_bytes(bytes) & !VERSION & !VARIANT | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Why a request was not answered as it should be.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The socket failed, or the shim is gone.
    #[error("the task's shim does not answer")]
    Io(#[from] io::Error),
    /// The shim said no.
    #[error("the task's shim refused {request}: {reason}")]
    Refused {
        /// The request's name.
        request: &'static str,
        /// The shim's reason.
        reason: String,
    },
    /// The shim answered something else.
    #[error("the task's shim gave another kind of answer to {0}")]
    Unexpected(&'static str),
}

/// The proxy's end. Calls block (for microseconds): not for a request's path.
#[derive(Debug)]
pub struct ShimLink {
    socket: Mutex<OwnedFd>,
}

impl ShimLink {
    /// A link over a connected SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket: Mutex::new(socket) }
    }

    fn call(&self, name: &'static str, request: &Request) -> Result<(Response, Vec<OwnedFd>), LinkError> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        fd_message::send(&*socket, request, &[])?;
        match fd_message::receive(&*socket)? {
            Some((Response::Refused { reason }, _)) => Err(LinkError::Refused { request: name, reason }),
            Some(answer) => Ok(answer),
            None => Err(LinkError::Io(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn socket_call(&self, name: &'static str, request: &Request) -> Result<(OwnedFd, SocketAddr), LinkError> {
        match self.call(name, request)? {
            (Response::Socket { address }, fds) => {
                let fd = fds.into_iter().next().ok_or(LinkError::Unexpected(name))?;
                Ok((fd, address))
            }
            _ => Err(LinkError::Unexpected(name)),
        }
    }

    fn done_call(&self, name: &'static str, request: &Request) -> Result<(), LinkError> {
        match self.call(name, request)? {
            (Response::Done, _) => Ok(()),
            _ => Err(LinkError::Unexpected(name)),
        }
    }

    /// See [`Request::Hello`].
    ///
    /// # Errors
    /// The shim is gone or answers nonsense; so with all that follow.
    pub fn hello(&self) -> Result<Hello, LinkError> {
        match self.call("hello", &Request::Hello)? {
            (Response::Hello(hello), _) => Ok(*hello),
            _ => Err(LinkError::Unexpected("hello")),
        }
    }

    /// See [`Request::Listen`].
    ///
    /// # Errors
    /// The address cannot be bound, or the shim is gone.
    pub fn listen(
        &self,
        place: Place,
        transport: Transport,
        address: SocketAddrV4,
    ) -> Result<(OwnedFd, SocketAddr), LinkError> {
        self.socket_call("listen", &Request::Listen { place, transport, address })
    }

    /// See [`Request::Release`].
    ///
    /// # Errors
    /// The shim is gone.
    pub fn release(
        &self,
        place: Place,
        transport: Transport,
        address: SocketAddrV4,
    ) -> Result<(), LinkError> {
        self.done_call("release", &Request::Release { place, transport, address })
    }

    /// See [`Request::Inbound`].
    ///
    /// # Errors
    /// The task has no such port, or the shim is gone.
    pub fn inbound(&self, port_name: &str) -> Result<(OwnedFd, SocketAddr), LinkError> {
        self.socket_call("inbound", &Request::Inbound { port_name: port_name.to_owned() })
    }

    /// See [`Request::ApplicationSockets`].
    ///
    /// # Errors
    /// The shim is gone or out of descriptors.
    pub fn application_sockets(&self, count: usize) -> Result<Vec<OwnedFd>, LinkError> {
        match self.call("applicationSockets", &Request::ApplicationSockets { count })? {
            (Response::Sockets, fds) => Ok(fds),
            _ => Err(LinkError::Unexpected("applicationSockets")),
        }
    }

    /// See [`Request::Hosts`].
    ///
    /// # Errors
    /// The file cannot be written, or the shim is gone.
    pub fn hosts(&self, entries: Vec<HostsEntry>) -> Result<(), LinkError> {
        self.done_call("hosts", &Request::Hosts { entries })
    }

    /// See [`Request::Token`].
    ///
    /// # Errors
    /// No agent is there to give one, or the shim is gone.
    pub fn token(&self) -> Result<Secret, LinkError> {
        match self.call("token", &Request::Token)? {
            (Response::Token(token), _) => Ok(token),
            _ => Err(LinkError::Unexpected("token")),
        }
    }

    /// See [`Request::Ready`].
    ///
    /// # Errors
    /// The shim is gone.
    pub fn ready(&self) -> Result<(), LinkError> {
        self.done_call("ready", &Request::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_4_and_keeps_all_other_bits() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
