//! What an experiment needs of a running Bowline.

mod mesh;

pub use crate::evidence::Evidence;
pub use mesh::{Alias, Mesh, Service, Socket, Task};

use std::{fmt, pin::Pin, time::Duration};

use bowline_model::{
    clock::Timestamp,
    fault::{Fault, FaultId, FaultOrder, FaultyCertificate},
    task::{Secret, TaskId},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncWrite};

/// Why the system did not do what an experiment asked of it; for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SystemError(pub String);

impl SystemError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What is under way in a [`System`].
pub type SystemFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SystemError>> + Send + 'a>>;

/// A running Bowline, as experiments and attackers see it.
pub trait System: Send + Sync + fmt::Debug {
    /// What runs now.
    fn mesh(&self) -> SystemFuture<'_, Mesh>;

    /// Puts a fault in force; returns when it is.
    fn begin_fault(&self, order: FaultOrder) -> SystemFuture<'_, Fault>;

    /// Ends a fault; returns when nothing of it is left. One that is over is no error.
    fn end_fault(&self, id: FaultId) -> SystemFuture<'_, ()>;

    /// Those in force.
    fn faults(&self) -> SystemFuture<'_, Vec<Fault>>;

    /// What a fault's rogue or relay has seen, also of a fault that is over.
    fn evidence(&self, id: FaultId) -> SystemFuture<'_, Evidence>;

    /// A certificate of a task's identity, for an attacker: a genuine one, as stolen, or a faulty one.
    fn forge(
        &self,
        task: TaskId,
        shows: Option<FaultyCertificate>,
        lasting: Duration,
    ) -> SystemFuture<'_, Forged>;

    /// Revokes a certificate, for `keyCompromise`; returns when the connected sidecars refuse it.
    fn revoke(&self, serial: String) -> SystemFuture<'_, ()>;

    /// Has sidecars ask for new certificates now; returns when all of them show them: how many.
    fn renew(&self, tasks: Vec<TaskId>) -> SystemFuture<'_, usize>;

    /// Runs a command within a task; in its first container where none is named.
    fn run(&self, task: TaskId, container: Option<String>, command: Vec<String>)
    -> SystemFuture<'_, Running>;

    /// What has happened to services, of greater numbers than `after`; the oldest first.
    fn events(&self, after: u64) -> SystemFuture<'_, Vec<Event>>;

    /// A call of AWS's API in AWS's JSON protocol, as the root user: what it answered, or its error with its code.
    fn aws(&self, call: AwsCall) -> SystemFuture<'_, serde_json::Value>;

    /// A session of a task's role that may do nothing of worth, for a little while; `None` where it has no role.
    fn unprivileged(&self, task: TaskId) -> SystemFuture<'_, Option<RoleSession>>;

    /// The program that runs as `bowline chaos-probe` within tasks.
    fn program(&self) -> Result<String, SystemError>;
}

/// A certificate with its key, and what the mesh believes.
#[derive(Clone, Debug)]
pub struct Forged {
    /// DER, leaf first.
    pub chain_der: Vec<Vec<u8>>,
    /// The private key, PKCS#8 in PEM.
    pub key: Secret,
    /// The mesh's roots, PEM.
    pub roots_pem: String,
    /// Lower-case hexadecimal.
    pub serial: String,
}

/// Something that has happened to a service or load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// It grows with each event.
    pub number: u64,
    /// When it was.
    pub at: Timestamp,
    /// The service's or load balancer's name.
    pub subject: String,
    /// What has happened.
    pub message: String,
}

/// Temporary credentials of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleSession {
    /// `AccessKeyId`.
    pub access_key_id: String,
    /// `SecretAccessKey`.
    pub secret_access_key: Secret,
    /// `SessionToken`.
    pub session_token: Secret,
    /// The role's ARN.
    pub role: String,
}

/// A call of an AWS service that speaks JSON with `X-Amz-Target`.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsCall {
    /// The signing name: `ecs`, `secretsmanager`.
    pub service: &'static str,
    /// What stands before the operation's name in `X-Amz-Target`: `AmazonEC2ContainerServiceV20141113`.
    pub target: &'static str,
    /// The operation: `StopTask`.
    pub operation: &'static str,
    /// Its input.
    pub input: serde_json::Value,
    /// Who calls; the root user where none is named.
    pub credentials: Option<RoleSession>,
}

impl AwsCall {
    /// A call of ECS as the root user.
    #[must_use]
    pub fn ecs(operation: &'static str, input: serde_json::Value) -> Self {
        let target = "AmazonEC2ContainerServiceV20141113";
        Self { service: "ecs", target, operation, input, credentials: None }
    }
}

/// A command that runs within a task. It is told to end by closing [`Running::input`].
pub struct Running {
    /// Its standard input.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub output: Box<dyn AsyncBufRead + Send + Unpin>,
    /// How it ended, or why it did not run.
    pub exit: Pin<Box<dyn Future<Output = Result<Exit, SystemError>> + Send>>,
}

/// How a command within a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
