//! The agents that a shim talks to: the one that started it, over an inherited
//! socket, and those that find it later, over the socket in its directory.

use std::{cell::RefCell, collections::HashMap, io, os::fd::OwnedFd, rc::Rc};

use bowline_model::task::TaskReport;
use bowline_plumbing::sys::watch_fd;
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_local},
};

use super::{event::Event, outputs::Outputs};
use crate::{
    packet::PacketSocket,
    protocol::{FromShim, ToShim},
};

/// Agents at once: the one in charge, one that takes over, and a few that look.
const CLIENTS_MAX: usize = 8;

/// Messages that may wait for an agent; reports do not wait in it.
const MESSAGES_MAX: usize = 512;

/// All connected agents.
#[derive(Debug)]
pub(crate) struct Clients {
    shared: Rc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    outputs: Rc<Outputs>,
    reports: RefCell<Option<watch::Sender<Option<TaskReport>>>>,
    events: mpsc::Sender<Event>,
    senders: RefCell<HashMap<u64, mpsc::Sender<FromShim>>>,
    writers: RefCell<Vec<JoinHandle<()>>>,
    next: RefCell<u64>,
}

impl Clients {
    pub(crate) fn new(
        outputs: Rc<Outputs>,
        reports: watch::Sender<Option<TaskReport>>,
        events: mpsc::Sender<Event>,
        first: OwnedFd,
        listener: OwnedFd,
    ) -> io::Result<Self> {
        let shared = Rc::new(Shared {
            outputs,
            reports: RefCell::new(Some(reports)),
            events,
            senders: RefCell::default(),
            writers: RefCell::default(),
            next: RefCell::new(0),
        });
        shared.clone().add(first)?;
        let listener = watch_fd(listener, Interest::READABLE)?;
        let accepting = spawn_local(accept(shared.clone(), listener));
        Ok(Self { shared, accepting })
    }

    /// Gives every agent a message. False: there is none.
    pub(crate) fn broadcast(&self, message: &FromShim) -> bool {
        // One answer is enough: the newest agent is the one in charge.
        let senders = self.shared.senders.borrow();
        let newest = senders.iter().max_by_key(|(id, _)| **id).map(|(_, sender)| sender);
        match (newest, message) {
            (Some(sender), FromShim::TokenWanted) => sender.try_send(FromShim::TokenWanted).is_ok(),
            _ => false,
        }
    }

    /// The way to one agent.
    pub(crate) fn sender(&self, client: u64) -> Option<mpsc::Sender<FromShim>> {
        self.shared.senders.borrow().get(&client).cloned()
    }

    /// Ends the connections, once each has been told the last report.
    pub(crate) async fn finish(self) {
        self.accepting.abort();
        self.shared.senders.borrow_mut().clear();
        self.shared.reports.borrow_mut().take();
        let writers = std::mem::take(&mut *self.shared.writers.borrow_mut());
        for writer in writers {
            let _ = writer.await;
        }
    }
}

async fn accept(shared: Rc<Shared>, listener: AsyncFd<OwnedFd>) {
    loop {
        let accepted = listener
            .async_io(Interest::READABLE, |listener| Ok(accept_with(listener, SocketFlags::CLOEXEC)?))
            .await;
        let result = accepted.and_then(|socket| {
            let peer = socket_peercred(&socket)?;
            if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            shared.clone().add(socket)
        });
        if let Err(error) = result {
            tracing::warn!(%error, "an agent could not be accepted");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Shared {
    fn add(self: Rc<Self>, socket: OwnedFd) -> io::Result<()> {
        if self.senders.borrow().len() >= CLIENTS_MAX {
            return Err(io::Error::other(format!("{CLIENTS_MAX} agents are connected already")));
        }
        let socket = Rc::new(PacketSocket::new(socket)?);
        let id = {
            let mut next = self.next.borrow_mut();
            *next += 1;
            *next
        };
        let Some(reports) = self.reports.borrow().as_ref().map(watch::Sender::subscribe) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        self.outputs.listen(id, sender.clone());
        self.senders.borrow_mut().insert(id, sender);
        self.writers.borrow_mut().push(spawn_local(write(socket.clone(), messages, reports)));
        spawn_local(async move {
            self.read(id, &socket).await;
            self.outputs.forget(id);
            self.senders.borrow_mut().remove(&id);
            self.writers.borrow_mut().retain(|writer| !writer.is_finished());
        });
        Ok(())
    }

    async fn read(&self, client: u64, socket: &PacketSocket) {
        while let Ok(Some((message, fds))) = socket.receive::<ToShim>().await {
            let event = match message {
                ToShim::Start(_) => continue,
                ToShim::Stop { code, reason } => Event::Stop { code, reason },
                ToShim::Token(token) => Event::Token(token),
                ToShim::Exec { id, container, command } => {
                    Event::Exec { client, id, container, command, stdio: fds }
                }
                ToShim::BeginFault { order, id, harm, until } => {
                    Event::BeginFault { client, order, id, harm, until }
                }
                ToShim::EndFault { order, id } => Event::EndFault { client, order, id },
            };
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Writes lines as they come and the newest report when there is one; at the
/// end the lines that wait, then the last report.
async fn write(
    socket: Rc<PacketSocket>,
    mut messages: mpsc::Receiver<FromShim>,
    mut reports: watch::Receiver<Option<TaskReport>>,
) {
    reports.mark_changed();
    let (mut more_messages, mut more_reports) = (true, true);
    while more_messages || more_reports {
        let message = tokio::select! {
            biased;
            message = messages.recv(), if more_messages => {
                more_messages = message.is_some();
                message
            }
            changed = reports.changed(), if more_reports => {
                more_reports = changed.is_ok();
                if more_reports {
                    reports.borrow_and_update().clone().map(|report| FromShim::Report(Box::new(report)))
                } else {
                    None
                }
            }
        };
        if let Some(message) = message
            && socket.send(&message, &[]).await.is_err()
        {
            return;
        }
    }
}
