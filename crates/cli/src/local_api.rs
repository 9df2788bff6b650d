//! What `bowline` commands say to a running `bowline up`: JSON lines over a
//! Unix socket in the state directory, open to its owner only.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

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
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, net::UnixStream};

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

mod client;
mod server;

pub(crate) use client::Client;
pub(crate) use server::{Server, serve};

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

async fn write_line(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::to_vec(message)?;
    json.push(b'\n');
    stream.write_all(&json).await
}
