//! What the stream's servers ask the rest of the control plane.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bowline_discovery::{
    identity::ShowsRequest,
    resource::ResourceType,
    telemetry::{MetricReport, SpanBatch},
};
use bowline_model::{arn::Arn, clock::Timestamp, identity::SpiffeId, task::TaskId, trace::BATCH_MAX};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::introspection::Introspection;
pub use crate::resources::{ResourceSet, VersionedResource};

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedCertificate {
    /// DER, leaf first, without the root.
    pub chain_der: Vec<Vec<u8>>,
    /// PEM of the roots to believe.
    pub roots_pem: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// The id in the certificate; empty for a gateway's public one.
    pub spiffe_id: Option<SpiffeId>,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Who signed it.
    pub authority: Arn,
}

/// A certificate and its key.
pub struct HeldCertificate {
    /// DER, leaf first, without the root.
    pub chain_der: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
}

/// Why no certificate was issued. The caller is told no more than the variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The token is unknown, used, or older than 60 s.
    #[error("the token is unknown, used or expired")]
    Token,
    /// The task is over, or has no identity of that name.
    #[error("there is no such identity")]
    Unknown,
    /// The task, or its service, gets no certificates: it was revoked.
    #[error("the task's identity is revoked")]
    Revoked,
    /// The CSR cannot be read, or does not prove possession of a P-256 or P-384 key.
    #[error("the certificate request is unusable")]
    Request,
    /// None are issued to the task at present, on purpose.
    #[error("the certificate authority cannot be reached")]
    Withheld,
    /// The control plane itself failed; its log says how.
    #[error("the certificate authority failed")]
    Internal,
}

/// Temporary credentials of a task's role.
pub struct TaskCredentials {
    /// `AccessKeyId`.
    pub access_key_id: String,
    /// `SecretAccessKey`.
    pub secret_access_key: Zeroizing<String>,
    /// `Token`.
    pub session_token: String,
    /// When they are over.
    pub expires_at: Timestamp,
    /// The role.
    pub role_arn: Arn,
    /// Where the AWS endpoint listens for tasks, on this machine's loopback.
    pub endpoint: Option<SocketAddr>,
}

/// Why a task has no credentials.
#[derive(Debug, thiserror::Error)]
pub enum TaskCredentialsError {
    /// It is over, it was given no role, or the role is gone.
    #[error("the task has no role")]
    NoRole,
    /// The role's trust policy does not let tasks have it. The text is AWS's.
    #[error("{0}")]
    Denied(String),
    /// The control plane itself failed; its log says how.
    #[error("the credentials could not be made")]
    Internal,
}

/// What a proxy is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The last report that was taken.
    pub sequence: u64,
    /// How soon the next one is wanted; `None`: as the proxy likes.
    pub interval: Option<Duration>,
}

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReport {
    /// It has no process, or a sequence of 0.
    #[error("the report has no process or no number")]
    Unnumbered,
    /// It has more rows than a proxy has.
    #[error("the report has {0} rows, more than a proxy can have")]
    TooManyRows(usize),
    /// A row is not as rows are.
    #[error("row {row} of the report: {what}")]
    Row {
        /// Which, from 0.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why spans are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpans {
    /// The batch has no process, or a sequence of 0.
    #[error("the batch has no process or no number")]
    Unnumbered,
    /// It has more spans than a batch may have.
    #[error("the batch has {0} spans; {BATCH_MAX} are accepted")]
    TooMany(usize),
    /// A span is not as spans are.
    #[error("span {span} of the batch: {what}")]
    Span {
        /// Which, from 0.
        span: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Who a peer of the stream is, taken from its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its SPIFFE id.
    pub id: SpiffeId,
    /// Its certificate's serial number, lower-case hexadecimal.
    pub serial: String,
}

/// How a proxy took what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The type spoken of.
    pub kind: ResourceType,
    /// The `system_version_info` (snapshot generation) that it answers.
    pub generation: u64,
    /// What was refused, where something was.
    pub refusal: Option<String>,
}

/// What streams at a place are told of: that something is published there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Of which generation it is. One is a number of the whole control plane, which only grows.
    pub generation: u64,
    /// The latest generation in which a task that was there may be over, or elsewhere, or have other resources than
    /// those it was like.
    pub moved: u64,
}

/// What the proxies of all tasks that are alike should have, as it was made last.
#[derive(Debug)]
pub struct Common(ArcSwap<Edition>);

/// A set of resources of a generation.
#[derive(Debug)]
pub struct Edition {
    /// The set is at least as new as that.
    pub generation: u64,
    /// The set.
    pub set: Arc<ResourceSet>,
}

impl Common {
    /// With a set that was made.
    pub fn new(generation: u64, set: Arc<ResourceSet>) -> Self {
        Self(ArcSwap::from_pointee(Edition { generation, set }))
    }

    /// The latest.
    pub fn latest(&self) -> Arc<Edition> {
        self.0.load_full()
    }

    /// From now on, this is the latest.
    pub fn publish(&self, generation: u64, set: Arc<ResourceSet>) {
        self.0.store(Arc::new(Edition { generation, set }));
    }
}

/// What the stream's servers ask the rest of the control plane. Calls are
/// quick: they read an immutable snapshot, or sign.
pub trait Directory: Send + Sync + 'static {
    /// Exchanges a one-time token for the task that it was made for.
    fn redeem(&self, token: &str) -> Result<TaskId, IssueError>;
    /// Whether a certificate was revoked.
    fn is_revoked(&self, peer: &Peer) -> bool;
    /// The task that a certificate was issued to, if both are still good.
    fn task_of(&self, peer: &Peer) -> Option<TaskId>;
    /// Issues a certificate for one of the task's identities: `""` and
    /// `"mesh"` for its own, else an Identity resource's name.
    fn issue(&self, task: &TaskId, name: &str, csr_der: &[u8]) -> Result<IssuedCertificate, IssueError>;
    /// One of the task's identities whose key was not made by its proxy: an Identity resource of
    /// the task's whose source is `fetched`.
    fn fetch(&self, task: &TaskId, name: &str) -> Result<HeldCertificate, IssueError>;
    /// A proxy tells what it shows to others, and what is wrong with it on purpose.
    fn shows(&self, task: &TaskId, shown: ShowsRequest);
    /// A proxy tells the serial numbers of the certificates that it shows to clients outside the mesh: of all of them.
    /// Forgotten when its stream begins, or the last one ends.
    fn shows_outside(&self, task: &TaskId, serials: Vec<String>);
    /// Temporary credentials of the task's role.
    fn credentials(&self, task: &TaskId) -> Result<TaskCredentials, TaskCredentialsError>;
    /// What the task's proxy should have, as all tasks that are like it; `None` when the task is over.
    fn common(&self, task: &TaskId) -> Option<Arc<Common>>;
    /// What the task's proxy should have; `None` when the task is over.
    fn resources(&self, task: &TaskId) -> Option<Arc<ResourceSet>> {
        self.common(task).map(|common| Arc::clone(&common.latest().set))
    }
    /// What is published where the task is; changes whenever a resource of the task's may have, or the task is over.
    fn notices(&self, task: &TaskId) -> watch::Receiver<Notice>;
    /// A proxy's stream began, opened with a certificate of this serial number.
    fn connected(&self, task: &TaskId, serial: &str);
    /// A proxy's stream ended.
    fn disconnected(&self, task: &TaskId);
    /// A proxy answered.
    fn acknowledged(&self, task: &TaskId, acknowledgement: Acknowledgement);
    /// A proxy tells what it has counted. What is told again counts once.
    ///
    /// # Errors
    /// The report is not as reports are.
    fn reported(&self, task: &TaskId, report: MetricReport) -> Result<Taken, InvalidReport>;
    /// A proxy tells spans. What is told again is kept once.
    ///
    /// # Errors
    /// The spans are not as spans are.
    fn traced(&self, task: &TaskId, batch: SpanBatch) -> Result<(), InvalidSpans>;
    /// Where proxies that can be asked are known.
    fn introspection(&self) -> &Introspection;
}
