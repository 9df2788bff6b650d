//! What `bowline` commands say to a running `bowline up`: JSON lines over a
//! Unix socket in the state directory, open to its owner only.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use bowline_chaos::{evidence::Evidence, system::RoleSession};
use bowline_control::{
    authorization::{PolicyAnswer, PolicyQuestion},
    traces::{TraceNumbers, TraceQuestion, TraceRow, Waterfall},
};
use bowline_model::{
    clock::Timestamp,
    fault::{Fault, FaultId, FaultOrder, FaultyCertificate},
    task::{Secret, TaskId},
};
use bowline_plumbing::fd_message;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::{UnixListener, UnixStream},
};

use crate::{
    authorities::{AuthorityRow, MoveAuthority, MovedAuthority},
    certificates::{CertificateRow, CertificateTarget, RevokedCertificates, TaskIdentity},
    chaos::configuration::Fingerprints,
    events::EventRow,
    inspection::{Inspect, Inspected},
    logs::{LogLines, LogQuestion},
    measured::{
        edges::EdgeRow,
        stat::{By, StatRow},
    },
    routes::RouteRow,
    stand_in::{SidecarStart, StandIn},
    topology::Topology,
};

/// Longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Longest answer, bytes: what a few hundred proxies go by. Who is asked is this user's own process.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// Services, tasks, gateways, identities as they are now.
    Topology,
    /// Sends a marked request from within a task.
    Probe {
        /// The calling task.
        task: TaskId,
        /// The alias's name.
        host: String,
        /// The alias's port.
        port: u16,
        /// What to send.
        mark: String,
        /// Bare TCP in place of HTTP.
        tcp: bool,
    },
    /// Makes one task's sidecar reach one cluster through another address for
    /// some seconds, and answers when the sidecar has said that it does.
    Divert {
        /// The calling task.
        task: TaskId,
        /// The cluster, by its name on the stream.
        cluster: String,
        /// Where to go instead.
        to: SocketAddr,
        /// It ends by itself after so long.
        seconds: u64,
    },
    /// Ends a diversion, and answers when the sidecar has said that it goes by it no more. So ends what whoever closes
    /// the connection has left.
    EndDivert {
        /// The calling task.
        task: TaskId,
        /// The cluster.
        cluster: String,
    },
    /// A short-lived certificate for the verifier itself.
    VerifierCertificate {
        /// PKCS#10, DER.
        csr_der: Vec<u8>,
    },
    /// Runs a command in a task. Answered by `Ready`, upon which standard input, output and error
    /// follow beside a message of their own, and by `Exited`.
    Exec {
        /// The task.
        task: TaskId,
        /// The container; the task's first where none is named.
        container: Option<String>,
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Whether a call may be made, and which rule decides.
    PolicyTest(PolicyQuestion),
    /// Makes an access key for the AWS endpoint.
    CreateAccessKey {
        /// The user whose it is; the root user's where none is named.
        user: Option<String>,
    },
    /// A session of a task's role that may do nothing of worth.
    RoleSession {
        /// The task.
        task: TaskId,
    },
    /// All access keys.
    AccessKeys,
    /// Removes an access key.
    DeleteAccessKey {
        /// Its id.
        id: String,
    },
    /// Wraps the data keys by another master key.
    RotateMasterKey {
        /// The new one, 64 hex digits, where it is not Bowline that makes it.
        new: Option<Secret>,
    },
    /// Every certificate that has not ended.
    Certificates,
    /// What a task shows of itself.
    Identity {
        /// The task's id, or its beginning.
        task: String,
    },
    /// Refuses certificates.
    Revoke {
        /// Which.
        target: CertificateTarget,
        /// Why, in ACM PCA's words.
        reason: String,
    },
    /// Lets a task or a service have certificates again.
    AllowCertificates {
        /// Who; a serial number is none.
        target: CertificateTarget,
    },
    /// An authority's CRL.
    Crl {
        /// Its ARN or resource name; the mesh's own where none is named.
        authority: Option<String>,
    },
    /// Every authority that the mesh trusts, or did.
    Authorities,
    /// Moves an authority on in its line.
    MoveAuthority(MoveAuthority),
    /// How services fare.
    Stat {
        /// Which; all where none is named.
        services: Vec<String>,
        /// What a row is of.
        by: By,
        /// How far to look back, in seconds; 60 at most.
        window_seconds: u64,
    },
    /// Who calls whom.
    Edges {
        /// Whom it concerns; all where none is named.
        services: Vec<String>,
        /// How far to look back, in seconds; 60 at most.
        window_seconds: u64,
    },
    /// What has happened.
    Events {
        /// To whom; to all where none is named.
        services: Vec<String>,
        /// Only events of greater numbers, which begin with 1.
        after: u64,
    },
    /// A trace.
    Trace {
        /// Its id, in either way of writing it.
        id: String,
    },
    /// Traces, the newest first.
    Traces(TraceQuestion),
    /// How many traces there are.
    TraceNumbers,
    /// What was written.
    Logs(LogQuestion),
    /// A question in the language of Logs Insights.
    QueryLogs {
        /// Of which services; of everybody where none is named.
        services: Vec<String>,
        /// Since then.
        since: Timestamp,
        /// The question.
        query: String,
    },
    /// Where calls lead.
    Routes {
        /// Whose; all callers' where none is named.
        services: Vec<String>,
    },
    /// What commands that look into proxies ask.
    Inspect(Inspect),
    /// Puts a fault in force. Answered when it is.
    BeginFault(Box<FaultOrder>),
    /// Ends a fault before its deadline. Answered when nothing of it is left.
    EndFault {
        /// Its id.
        id: FaultId,
    },
    /// The faults in force.
    Faults,
    /// What a fault has done, also one that has been over for not too long.
    FaultEvidence {
        /// Its id.
        id: FaultId,
    },
    /// A certificate of a task with its key, for an attacker that an experiment plays.
    Forge {
        /// Whose.
        task: TaskId,
        /// How it is faulty; it is genuine, as stolen, where nothing is said.
        shows: Option<FaultyCertificate>,
        /// How long it is valid, where its fault is not that.
        lasting: Duration,
    },
    /// Has sidecars ask for new certificates. Answered when they show them.
    RenewCertificates {
        /// Whose.
        tasks: Vec<TaskId>,
    },
    /// What a simulator of proxies asks and says; only where tasks are records.
    StandIn(StandIn),
    /// Fingerprints of what is configured.
    Configuration,
    /// Takes everything down and ends.
    Down,
}

/// Standard input, output and error of a command.
pub(crate) type Stdio = [OwnedFd; 3];

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Response {
    /// To `Topology`.
    Topology(Box<Topology>),
    /// To `Probe`: what the probe printed.
    Probe {
        /// Its exit code.
        exit_code: i32,
        /// Its output.
        output: String,
    },
    /// To `Exec`: the descriptors may come.
    Ready,
    /// To `Exec`: the command has ended.
    Exited {
        /// Its exit code.
        exit_code: i32,
    },
    /// To `VerifierCertificate`.
    Certificate {
        /// DER, leaf first.
        chain_der: Vec<Vec<u8>>,
        /// PEM.
        roots_pem: String,
    },
    /// To `PolicyTest`: one for each port that was asked about.
    PolicyTest(Vec<PolicyAnswer>),
    /// To `CreateAccessKey`.
    AccessKey {
        /// The key.
        key: AccessKey,
        /// Its secret, which is told this once.
        secret: Secret,
    },
    /// To `AccessKeys`.
    AccessKeys(Vec<AccessKey>),
    /// To `RoleSession`: `None` where the task has no role.
    RoleSession(Option<RoleSession>),
    /// To `RotateMasterKey`.
    MasterKeyRotated {
        /// The old key's id.
        from: String,
        /// The new key's id.
        to: String,
        /// The next start must be given the new key.
        at_next_start: bool,
    },
    /// To `Certificates`.
    Certificates(Vec<CertificateRow>),
    /// To `Identity`.
    Identity(Box<TaskIdentity>),
    /// To `Revoke`.
    Revoked(RevokedCertificates),
    /// To `Crl`.
    Crl {
        /// The CRL.
        pem: String,
    },
    /// To `Authorities`.
    Authorities(Vec<AuthorityRow>),
    /// To `MoveAuthority`.
    AuthorityMoved(Box<MovedAuthority>),
    /// To `Stat`.
    Stat(Vec<StatRow>),
    /// To `Edges`.
    Edges(Vec<EdgeRow>),
    /// To `Events`, the oldest first.
    Events(Vec<EventRow>),
    /// To `Trace`; `None` where nothing is kept of it.
    Trace(Option<Box<Waterfall>>),
    /// To `Traces`.
    Traces(Vec<TraceRow>),
    /// To `TraceNumbers`.
    TraceNumbers(TraceNumbers),
    /// To `Logs`.
    Logs(LogLines),
    /// To `QueryLogs`: rows of names with values.
    LogRows(Vec<Vec<(String, String)>>),
    /// To `Routes`.
    Routes(Vec<RouteRow>),
    /// To `Inspect`.
    Inspected(Inspected),
    /// To `BeginFault`.
    FaultBegun(Box<Fault>),
    /// To `Faults`.
    Faults(Vec<Fault>),
    /// To `FaultEvidence`.
    FaultEvidence(Evidence),
    /// To `Forge`.
    Forged {
        /// DER, leaf first.
        chain_der: Vec<Vec<u8>>,
        /// PKCS#8, PEM.
        key: Secret,
        /// What the mesh believes, PEM.
        roots_pem: String,
        /// The certificate's serial number, hexadecimal.
        serial: String,
    },
    /// To `RenewCertificates`.
    Renewed {
        /// How many sidecars show a new certificate.
        count: usize,
    },
    /// To `StandIn`.
    SidecarStarts(Vec<SidecarStart>),
    /// To `Configuration`.
    Configuration(Fingerprints),
    /// Done.
    Done,
    /// Not done, and why.
    Error {
        /// For people.
        message: String,
    },
}

/// An access key without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessKey {
    /// Its id.
    pub(crate) id: String,
    /// The user whose it is; `None` for the root user.
    pub(crate) user: Option<String>,
    /// Whether it can be used.
    pub(crate) active: bool,
    /// When it was made, RFC 3339.
    pub(crate) created_at: String,
}

/// Where the socket of a state directory is.
fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("bowline.sock")
}

/// Answers requests for as long as the returned guard lives.
pub(crate) fn serve<H, F>(state_dir: &Path, handler: H) -> anyhow::Result<Server>
where
    H: Fn(Request, Option<Stdio>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let path = socket_path(state_dir);
    // Whoever left it is gone: the state directory's lock is ours.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let handler = Arc::new(handler);
    let acceptor = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            connections.spawn(answer(stream, Arc::clone(&handler)));
        }
    });
    Ok(Server { path, acceptor })
}

/// Keeps the local API open; dropping it removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    acceptor: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer<H, F>(stream: UnixStream, handler: Arc<H>)
where
    H: Fn(Request, Option<Stdio>) -> F,
    F: Future<Output = Response>,
{
    let mut diverted = BTreeSet::new();
    answer_each(stream, &*handler, &mut diverted).await;
    // Whoever has led sidecars elsewhere is gone, killed perhaps, and what stood there with it.
    for (task, cluster) in diverted {
        handler(Request::EndDivert { task, cluster }, None).await;
    }
}

/// Answers one request after the other. What is left of `diverted` at the end has not been ended.
async fn answer_each<H, F>(stream: UnixStream, handler: &H, diverted: &mut BTreeSet<(TaskId, String)>)
where
    H: Fn(Request, Option<Stdio>) -> F,
    F: Future<Output = Response>,
{
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        match (&mut stream).take(REQUEST_BYTES_MAX).read_line(&mut line).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        let request = serde_json::from_str(&line);
        match &request {
            Ok(Request::Divert { task, cluster, .. }) => {
                diverted.insert((task.clone(), cluster.clone()));
            }
            Ok(Request::EndDivert { task, cluster }) => {
                diverted.remove(&(task.clone(), cluster.clone()));
            }
            _ => {}
        }
        let response = match request {
            Ok(request @ Request::Exec { .. }) => match receive_stdio(&mut stream).await {
                Ok(stdio) => handler(request, Some(stdio)).await,
                Err(error) => {
                    Response::Error { message: format!("no standard input and output came: {error}") }
                }
            },
            Ok(request) => handler(request, None).await,
            Err(error) => Response::Error { message: format!("the request cannot be read: {error}") },
        };
        if write_answer(stream.get_mut(), &response).await.is_err() {
            return;
        }
    }
}

/// What is longer than who has asked would read is not sent: half of it could not be read.
async fn write_answer(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let json = serde_json::to_vec(response)?;
    if json.len() as u64 >= ANSWER_BYTES_MAX {
        let message =
            format!("the answer is too long, {} MiB: ask for less, by naming services", json.len() >> 20);
        return write_line(stream, &Response::Error { message }).await;
    }
    stream.write_all(&json).await?;
    stream.write_all(b"\n").await
}

async fn write_line(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::to_vec(message)?;
    json.push(b'\n');
    stream.write_all(&json).await
}

/// Asks for the descriptors of a command and takes them. Nothing is sent before it was asked for,
/// so nothing of theirs can have been read ahead.
async fn receive_stdio(stream: &mut BufReader<UnixStream>) -> io::Result<Stdio> {
    write_line(stream.get_mut(), &Response::Ready).await?;
    let socket = stream.get_ref();
    loop {
        socket.readable().await?;
        let received = socket.try_io(Interest::READABLE, || fd_message::receive::<()>(socket));
        match received {
            Ok(Some(((), fds))) => {
                return fds.try_into().map_err(|_| io::Error::other("three descriptors are needed"));
            }
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A connection to a running `bowline up`.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the one that holds `state_dir`.
    pub(crate) async fn connect(state_dir: &Path) -> anyhow::Result<Self> {
        let path = socket_path(state_dir);
        match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                bail!(
                    "no Bowline runs on the state directory {}: start one with `bowline up TEMPLATE`, or name its \
                     directory with --state-dir",
                    state_dir.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot connect to {}", path.display())),
        }
    }

    /// Runs a command in a task with these as its standard input, output and error. Its exit code.
    pub(crate) async fn exec(
        &mut self,
        request: &Request,
        stdio: [BorrowedFd<'_>; 3],
    ) -> anyhow::Result<i32> {
        let Response::Ready = self.call(request).await? else {
            bail!("Bowline gave another answer than was asked for");
        };
        fd_message::send(self.stream.get_ref(), &(), &stdio)?;
        match self.response().await? {
            Response::Exited { exit_code } => Ok(exit_code),
            _ => bail!("Bowline gave another answer than was asked for"),
        }
    }

    /// Asks, and turns an error answer into an error.
    pub(crate) async fn call(&mut self, request: &Request) -> anyhow::Result<Response> {
        write_line(self.stream.get_mut(), request).await?;
        self.response().await
    }

    /// Asks what bears on proxies.
    pub(crate) async fn inspect(&mut self, asked: Inspect) -> anyhow::Result<Inspected> {
        match self.call(&Request::Inspect(asked)).await? {
            Response::Inspected(answer) => Ok(answer),
            _ => bail!("Bowline gave another answer than was asked for"),
        }
    }

    async fn response(&mut self) -> anyhow::Result<Response> {
        let mut line = String::new();
        let count = (&mut self.stream).take(ANSWER_BYTES_MAX).read_line(&mut line).await?;
        if count == 0 {
            bail!("Bowline ended before it answered");
        }
        match serde_json::from_str(&line)? {
            Response::Error { message } => bail!(message),
            response => Ok(response),
        }
    }
}

impl Client {
    /// Returns when the other side has ended.
    pub(crate) async fn closed(mut self) {
        let mut rest = Vec::new();
        // An error ends the connection like its end does.
        let _ = (&mut self.stream).take(ANSWER_BYTES_MAX).read_to_end(&mut rest).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn whoever_goes_leaves_no_sidecar_led_elsewhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let (asked, mut requests) = mpsc::unbounded_channel();
        let _server = serve(directory.path(), move |request, _| {
            let _ = asked.send(request);
            std::future::ready(Response::Done)
        })
        .expect("serves");
        let mut client = Client::connect(directory.path()).await.expect("connects");
        let task = TaskId::from_random([7; 16]);
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        for cluster in ["ended", "left"] {
            let divert = Request::Divert { task: task.clone(), cluster: cluster.into(), to, seconds: 15 };
            client.call(&divert).await.expect("led");
        }
        client.call(&Request::EndDivert { task, cluster: "ended".into() }).await.expect("led back");
        drop(client);
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let request = tokio::time::timeout(Duration::from_secs(10), requests.recv()).await;
            if let Request::EndDivert { cluster, .. } = request.expect("in time").expect("open") {
                ended.push(cluster);
            }
        }
        assert_eq!(ended, ["ended", "left"]);
        assert!(requests.try_recv().is_err());
    }
}
