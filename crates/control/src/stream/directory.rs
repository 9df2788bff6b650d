//! What the stream's servers ask the rest of the control plane.

use std::sync::Arc;

use bowline_discovery::{
    identity::ShowsRequest,
    resource::ResourceType,
    telemetry::{MetricReport, SpanBatch},
};
use bowline_model::{arn::Arn, clock::Timestamp, identity::SpiffeId, task::TaskId};
use tokio::sync::watch;
use zeroize::Zeroizing;

pub use super::resources::{ResourceSet, VersionedResource};
pub use crate::task_role::{TaskCredentials, TaskCredentialsError};
use crate::{
    introspection::Introspection,
    telemetry::{InvalidReport, InvalidSpans, Taken},
};

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
    /// Temporary credentials of the task's role.
    fn credentials(&self, task: &TaskId) -> Result<TaskCredentials, TaskCredentialsError>;
    /// What the task's proxy should have; `None` when the task is over.
    fn resources(&self, task: &TaskId) -> Option<Arc<ResourceSet>>;
    /// The generation of what is published where the task is; changes whenever a resource of the task's may have,
    /// or the task is over.
    fn generation(&self, task: &TaskId) -> watch::Receiver<u64>;
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
