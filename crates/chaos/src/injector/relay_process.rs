//! A relay as the engine sees it: a process in a session of its own, which outlives this one and ends by itself.

use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use bowline_plumbing::sys::child::{Preparation, prepare};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Child,
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    evidence::Evidence,
    relay::order::{FromRelay, LINE_BYTES_MAX, RelayOrder, ToRelay},
};

/// Longest that a relay may take until it listens.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Longest that a relay may take to say what it has counted.
const COUNT_LIMIT: Duration = Duration::from_secs(2);
/// A relay that has closed its socket is gone so long after at the latest.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// The program that is a relay: [`crate::relay::run`] is its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayCommand {
    /// Its path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A running relay. Dropping it does not end it: its deadline does.
#[derive(Debug)]
pub(crate) struct RelayProcess {
    listeners: Vec<SocketAddr>,
    pid: Option<u32>,
    orders: mpsc::Sender<Order>,
    evidence: watch::Receiver<Evidence>,
    gone: watch::Receiver<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Tell(ToRelay),
    Kill,
}

impl RelayProcess {
    /// Starts one, and returns when it listens.
    ///
    /// # Errors
    /// It could not be started, or says why it cannot begin. Nothing of it is left.
    pub(crate) async fn start(command: &RelayCommand, order: &RelayOrder) -> Result<Self, String> {
        let (child, socket) =
            spawn(command).map_err(|error| format!("no relay could be started: {error}"))?;
        let pid = child.id();
        let (reader, writer) = socket.into_split();
        let mut link = Link { child, reader: BufReader::new(reader), writer, line: Vec::new() };
        match timeout(READY_LIMIT, link.begin(order)).await {
            Ok(Ok(listeners)) if listeners.len() == order.endpoints.len() => {
                let (orders, given) = mpsc::channel(16);
                let (counted, evidence) = watch::channel(Evidence::default());
                let (ended, gone) = watch::channel(false);
                tokio::spawn(link.keep(given, counted, ended));
                Ok(Self { listeners, pid, orders, evidence, gone })
            }
            other => {
                let _ = link.child.start_kill();
                let _ = link.child.wait().await;
                Err(match other {
                    Ok(Ok(_)) => "the relay listens on other addresses than were asked for".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("the relay did not listen within {READY_LIMIT:?}"),
                })
            }
        }
    }

    /// Where it listens: an address for each endpoint, in their order.
    pub(crate) fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Returns when the process has ended.
    pub(crate) async fn gone(&self) {
        // A dropped sender means the same.
        let _ = self.gone.clone().wait_for(|gone| *gone).await;
    }

    /// What it has counted.
    pub(crate) async fn evidence(&self) -> Evidence {
        let mut evidence = self.evidence.clone();
        evidence.borrow_and_update();
        if self.orders.send(Order::Tell(ToRelay::Count)).await.is_ok() {
            let _ = timeout(COUNT_LIMIT, evidence.changed()).await;
        }
        *evidence.borrow()
    }

    /// Tells it that its fault is over, and gives it so long to end: it ends when no connection is left.
    pub(crate) async fn finish(&self, limit: Duration) -> Evidence {
        let evidence = self.evidence().await;
        let _ = self.orders.send(Order::Tell(ToRelay::Finish)).await;
        match timeout(limit, self.gone()).await {
            // The last thing that it says.
            Ok(()) => self.last_evidence(evidence),
            Err(_) => evidence,
        }
    }

    /// As [`finish`](Self::finish), and kills it after that time.
    pub(crate) async fn end(&self, limit: Duration) -> Evidence {
        let evidence = self.finish(limit).await;
        if !*self.gone.borrow() {
            tracing::debug!(pid = self.pid, "a relay is killed: connections through it are still open");
            let _ = self.orders.send(Order::Kill).await;
            self.gone().await;
        }
        self.last_evidence(evidence)
    }

    fn last_evidence(&self, earlier: Evidence) -> Evidence {
        let last = *self.evidence.borrow();
        if last.connections >= earlier.connections { last } else { earlier }
    }
}

fn spawn(command: &RelayCommand) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut child = Command::new(&command.program);
    child
        .args(&command.arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    prepare(&mut child, Preparation { new_session: true, ..Preparation::default() });
    let child = tokio::process::Command::from(child).spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

struct Link {
    child: Child,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// What has come of the next line.
    line: Vec<u8>,
}

impl Link {
    async fn begin(&mut self, order: &RelayOrder) -> io::Result<Vec<SocketAddr>> {
        send(&mut self.writer, order).await?;
        match receive(&mut self.reader, &mut self.line).await? {
            Some(FromRelay::Ready { listeners }) => Ok(listeners),
            Some(FromRelay::Failed { reason }) => Err(io::Error::other(reason)),
            Some(FromRelay::Counted(_)) => Err(io::Error::other("the relay counts before it listens")),
            None => Err(io::Error::other("the relay ended before it listened")),
        }
    }

    async fn keep(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        evidence: watch::Sender<Evidence>,
        gone: watch::Sender<bool>,
    ) {
        loop {
            tokio::select! {
                received = receive(&mut self.reader, &mut self.line) => match received {
                    Ok(Some(FromRelay::Counted(counted))) => { evidence.send_replace(counted); }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                },
                Some(order) = orders.recv() => match order {
                    // Its end is noticed by reading.
                    Order::Tell(order) => { let _ = send(&mut self.writer, &order).await; }
                    Order::Kill => { let _ = self.child.start_kill(); }
                },
            }
        }
        if timeout(EXIT_LIMIT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        gone.send_replace(true);
    }
}

async fn send(writer: &mut OwnedWriteHalf, message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// The next line; `None` at the end. Where it is cancelled, `line` keeps what has come.
async fn receive(reader: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> io::Result<Option<FromRelay>> {
    let room = LINE_BYTES_MAX.saturating_sub(line.len() as u64);
    reader.take(room).read_until(b'\n', line).await?;
    let whole = std::mem::take(line);
    match whole.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&whole)?)),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
