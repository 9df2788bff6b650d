//! The Identity service: a token or a certificate in, a certificate out.

use std::sync::Arc;

use bowline_discovery::identity::{
    FETCH_PURPOSE, FetchRequest, FetchResponse, IssueRequest, IssueResponse, ShowsOutsideRequest,
    ShowsOutsideResponse, ShowsRequest, ShowsResponse, TaskCredentialsRequest, TaskCredentialsResponse,
    identity_server::Identity,
};
use bowline_model::{clock::Timestamp, task::TaskId};
use bowline_plumbing::hpke;
use tonic::{Request, Response, Status};

use crate::{
    connection::Connection,
    connection_of,
    directory::{Directory, IssueError, IssuedCertificate, Peer, TaskCredentials, TaskCredentialsError},
};

/// Longest token accepted, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;
/// Largest certificate request accepted, in bytes; one for P-384 is below 1 KiB.
const CSR_BYTES_MAX: usize = 16 * 1024;
/// Longest identity name accepted, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Longest serial number accepted, in digits: 20 bytes are X.509's longest (RFC 5280 §4.1.2.2).
const SERIAL_BYTES_MAX: usize = 64;
/// Most certificates that a proxy shows to clients outside.
const OUTSIDE_MAX: usize = 1_000;
/// What an issuance costs, in requests: a signature is dear.
const ISSUE_COST: f64 = 50.0;

/// The service.
pub(crate) struct IdentityService {
    pub(crate) directory: Arc<dyn Directory>,
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(ISSUE_COST)?;
        let issued = self.issue_over(&connection, request.get_ref())?;
        Ok(Response::new(wire(issued)))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(ISSUE_COST)?;
        let task = task_of(&*self.directory, &connection.peer()?.peer)?;
        let FetchRequest { name, recipient } = request.into_inner();
        if name.len() > NAME_BYTES_MAX || recipient.len() != hpke::POINT_BYTES {
            return Err(Status::invalid_argument("the name is too long, or the key is none"));
        }
        let held = self.directory.fetch(&task, &name).map_err(status)?;
        let leaf = held.chain_der.first().ok_or_else(|| status(IssueError::Internal))?;
        let sealed = hpke::seal(&recipient, FETCH_PURPOSE, leaf, &held.key)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (encapsulated, sealed_key) = (sealed.encapsulated, sealed.ciphertext);
        Ok(Response::new(FetchResponse { chain_der: held.chain_der, encapsulated, sealed_key }))
    }

    async fn task_credentials(
        &self,
        request: Request<TaskCredentialsRequest>,
    ) -> Result<Response<TaskCredentialsResponse>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(ISSUE_COST)?;
        let task = task_of(&*self.directory, &connection.peer()?.peer)?;
        let made = self.directory.credentials(&task).map_err(|error| {
            let text = error.to_string();
            match error {
                TaskCredentialsError::NoRole => Status::not_found(text),
                TaskCredentialsError::Denied(_) => Status::failed_precondition(text),
                TaskCredentialsError::Internal => Status::internal(text),
            }
        })?;
        Ok(Response::new(wire_credentials(made)))
    }

    async fn shows(&self, request: Request<ShowsRequest>) -> Result<Response<ShowsResponse>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(1.0)?;
        let task = task_of(&*self.directory, &connection.peer()?.peer)?;
        let shown = request.into_inner();
        let is_too_long = |version: &str| version.len() > NAME_BYTES_MAX;
        if shown.serial.len() > SERIAL_BYTES_MAX
            || is_too_long(&shown.staged)
            || is_too_long(&shown.disturbance)
        {
            return Err(Status::invalid_argument("the serial number or a version is too long"));
        }
        self.directory.shows(&task, shown);
        Ok(Response::new(ShowsResponse {}))
    }

    async fn shows_outside(
        &self,
        request: Request<ShowsOutsideRequest>,
    ) -> Result<Response<ShowsOutsideResponse>, Status> {
        let connection = connection_of(request.extensions())?;
        connection.spend(1.0)?;
        let task = task_of(&*self.directory, &connection.peer()?.peer)?;
        let serials = request.into_inner().serials;
        if serials.len() > OUTSIDE_MAX || serials.iter().any(|serial| serial.len() > SERIAL_BYTES_MAX) {
            return Err(Status::invalid_argument("too many serial numbers, or one is too long"));
        }
        self.directory.shows_outside(&task, serials);
        Ok(Response::new(ShowsOutsideResponse {}))
    }
}

impl IdentityService {
    fn issue_over(
        &self,
        connection: &Connection,
        request: &IssueRequest,
    ) -> Result<IssuedCertificate, Status> {
        if request.token.len() > TOKEN_BYTES_MAX || request.name.len() > NAME_BYTES_MAX {
            return Err(Status::invalid_argument("the token or the name is too long"));
        }
        if request.csr_der.is_empty() || request.csr_der.len() > CSR_BYTES_MAX {
            return Err(status(IssueError::Request));
        }
        if request.token.is_empty() {
            let peer = &connection.peer()?.peer;
            let task = task_of(&*self.directory, peer)?;
            return self.directory.issue(&task, &request.name, &request.csr_der).map_err(status);
        }
        // Refused before the token is used up.
        if !matches!(request.name.as_str(), "" | "mesh") {
            return Err(Status::invalid_argument("a token is good for the task's own identity only"));
        }
        let task = self.directory.redeem(&request.token).map_err(status)?;
        self.directory.issue(&task, "", &request.csr_der).map_err(status)
    }
}

/// The task of a peer, or what the peer is told that has none.
pub(crate) fn task_of(directory: &dyn Directory, peer: &Peer) -> Result<TaskId, Status> {
    not_revoked(directory, peer)?;
    directory.task_of(peer).ok_or_else(no_task)
}

/// Refuses a peer whose certificate is revoked.
pub(crate) fn not_revoked(directory: &dyn Directory, peer: &Peer) -> Result<(), Status> {
    if directory.is_revoked(peer) { Err(Status::unauthenticated(REVOKED)) } else { Ok(()) }
}

/// What a peer is told whose certificate is revoked. It may ask for another one with a token.
const REVOKED: &str = "the certificate is revoked";

/// What a peer is told whose certificate belongs to no living task.
pub(crate) fn no_task() -> Status {
    Status::permission_denied("the certificate belongs to no running task")
}

fn status(error: IssueError) -> Status {
    match error {
        IssueError::Token => Status::unauthenticated(error.to_string()),
        IssueError::Unknown => Status::not_found(error.to_string()),
        IssueError::Revoked => Status::permission_denied(error.to_string()),
        IssueError::Request => Status::invalid_argument(error.to_string()),
        IssueError::Withheld | IssueError::Internal => Status::internal(error.to_string()),
    }
}

/// Seconds since 1970. 2^63 of them are further off than milliseconds in a u64 can say.
fn seconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_secs()).unwrap_or(i64::MAX)
}

fn wire_credentials(made: TaskCredentials) -> TaskCredentialsResponse {
    TaskCredentialsResponse {
        access_key_id: made.access_key_id,
        secret_access_key: made.secret_access_key.to_string(),
        session_token: made.session_token,
        expiration: seconds(made.expires_at),
        role_arn: made.role_arn.to_string(),
        endpoint: made.endpoint.map(|address| address.to_string()).unwrap_or_default(),
    }
}

fn wire(issued: IssuedCertificate) -> IssueResponse {
    IssueResponse {
        not_before: seconds(issued.not_before),
        not_after: seconds(issued.not_after),
        chain_der: issued.chain_der,
        roots_pem: issued.roots_pem,
        spiffe_id: issued.spiffe_id.map_or_else(String::new, String::from),
    }
}
