//! The threads that connections are served on. Everything of a connection, its TLS, its frames and what is pushed over it,
//! is done by one thread; what is pushed is made by the first that needs it, for all.

use std::{io, thread};

use bowline_plumbing::{drain::DrainWatch, local_thread};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{services::Services, serving};

/// Most threads: what is pushed to thousands of proxies shares the machine with the rest of the control plane.
const WORKERS_MAX: usize = 4;
/// Connections that wait for a thread's turn, of each thread.
const WAITING_MAX: usize = 64;

/// A connection that was accepted.
pub(crate) struct Accepted {
    /// It counts as one of so many.
    pub(crate) slot: OwnedSemaphorePermit,
    /// And so does its handshake.
    pub(crate) turn: OwnedSemaphorePermit,
    /// Of no runtime, for it is another that serves it.
    pub(crate) socket: std::net::TcpStream,
    /// The TLS of its moment.
    pub(crate) acceptor: TlsAcceptor,
}

/// The threads. They end when this is dropped and their connections have ended.
#[derive(Debug)]
pub(crate) struct Workers {
    next: usize,
    all: Vec<mpsc::Sender<Accepted>>,
}

impl Workers {
    /// Starts one for each processor, four at most.
    pub(crate) fn start(services: &Services, drain: &DrainWatch) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let all: io::Result<_> = (0..count).map(|number| start(number, services, drain)).collect();
        Ok(Self { next: 0, all: all? })
    }

    /// Gives a connection to the next of them that is there. False: none is.
    pub(crate) async fn serve(&mut self, mut accepted: Accepted) -> bool {
        for _ in 0..self.all.len() {
            self.next = (self.next + 1) % self.all.len();
            match self.all[self.next].send(accepted).await {
                Ok(()) => return true,
                Err(mpsc::error::SendError(returned)) => accepted = returned,
            }
        }
        false
    }
}

fn start(number: usize, services: &Services, drain: &DrainWatch) -> io::Result<mpsc::Sender<Accepted>> {
    let (sender, accepted) = mpsc::channel(WAITING_MAX);
    let (services, drain) = (services.clone(), drain.clone());
    local_thread::start(format!("stream-{number}"), || work(accepted, services, drain))?;
    Ok(sender)
}

async fn work(mut accepted: mpsc::Receiver<Accepted>, services: Services, drain: DrainWatch) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            next = accepted.recv() => {
                let Some(Accepted { slot, turn, socket, acceptor }) = next else { break };
                let (services, drain) = (services.clone(), drain.clone());
                connections.spawn_local(async move {
                    match TcpStream::from_std(socket) {
                        Ok(socket) => serving::serve(turn, socket, acceptor, services, drain).await,
                        Err(error) => tracing::warn!(%error, "a connection to the stream cannot be served"),
                    }
                    drop(slot);
                });
            }
            // A panic was logged when it happened.
            Some(_) = connections.join_next() => {}
        }
    }
    drop((services, drain));
    while connections.join_next().await.is_some() {}
}
