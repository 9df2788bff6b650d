//! What `bowline` commands say to a running `bowline up`: JSON lines over a
//! Unix socket in the state directory, open to its owner only.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use bowline_model::task::{Secret, TaskId};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::topology::Topology;

/// Longest request or answer, bytes.
const LINE_BYTES_MAX: u64 = 8 << 20;

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
    /// Ends a diversion.
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
    /// Makes an access key for the AWS endpoint.
    CreateAccessKey {
        /// The user whose it is; the root user's where none is named.
        user: Option<String>,
    },
    /// All access keys.
    AccessKeys,
    /// Removes an access key.
    DeleteAccessKey {
        /// Its id.
        id: String,
    },
    /// Takes everything down and ends.
    Down,
}

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
    /// To `VerifierCertificate`.
    Certificate {
        /// DER, leaf first.
        chain_der: Vec<Vec<u8>>,
        /// PEM.
        roots_pem: String,
    },
    /// To `CreateAccessKey`.
    AccessKey {
        /// The key.
        key: AccessKey,
        /// Its secret, which is told this once.
        secret: Secret,
    },
    /// To `AccessKeys`.
    AccessKeys(Vec<AccessKey>),
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
    H: Fn(Request) -> F + Send + Sync + 'static,
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
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(LINE_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let response = match serde_json::from_str(&line) {
            Ok(request) => handler(request).await,
            Err(error) => Response::Error { message: format!("the request cannot be read: {error}") },
        };
        let Ok(mut json) = serde_json::to_vec(&response) else { return };
        json.push(b'\n');
        if write.write_all(&json).await.is_err() {
            return;
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

    /// Asks, and turns an error answer into an error.
    pub(crate) async fn call(&mut self, request: &Request) -> anyhow::Result<Response> {
        let mut json = serde_json::to_vec(request)?;
        json.push(b'\n');
        self.stream.get_mut().write_all(&json).await?;
        let mut line = String::new();
        let count = (&mut self.stream).take(LINE_BYTES_MAX).read_line(&mut line).await?;
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
        let _ = (&mut self.stream).take(LINE_BYTES_MAX).read_to_end(&mut rest).await;
    }
}
