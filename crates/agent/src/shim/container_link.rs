//! The shim's side of a container's init.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use bowline_plumbing::fd_message;
use tokio::sync::{mpsc, oneshot};

use super::{event::Event, init_process::InitProcess};
use crate::{
    packet::PacketSocket,
    protocol::{ContainerSetUp, FromContainer, MAIN_PROGRAM, Program, ToContainer, ToInit},
};

/// How a program beside the container's own ended: its exit code, or why it did not run.
pub(crate) type Ended = Result<i32, String>;

/// A container whose init runs.
#[derive(Debug)]
pub(crate) struct ContainerLink {
    socket: PacketSocket,
    next_program: Cell<u32>,
    programs: RefCell<HashMap<u32, oneshot::Sender<Ended>>>,
}

impl ContainerLink {
    /// Has the task's init start the container's.
    pub(crate) fn start(
        init: &InitProcess,
        set_up: ContainerSetUp,
        doors: &[OwnedFd],
    ) -> io::Result<Rc<Self>> {
        let (ours, theirs) = fd_message::pair()?;
        let fds: Vec<BorrowedFd<'_>> = [&theirs].into_iter().chain(doors).map(AsFd::as_fd).collect();
        init.call(&ToInit::Container(set_up), &fds)?;
        Ok(Rc::new(Self {
            socket: PacketSocket::new(ours)?,
            next_program: Cell::new(MAIN_PROGRAM + 1),
            programs: RefCell::default(),
        }))
    }

    /// Runs the container's own program.
    pub(crate) async fn run_main(&self, program: &ToContainer, stdio: &[OwnedFd; 3]) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
        self.socket.send(program, &fds).await
    }

    pub(crate) async fn signal(&self, id: u32, signal: i32) -> io::Result<()> {
        self.socket.send(&ToContainer::Signal { id, signal }, &[]).await
    }

    /// Runs a program beside the container's own; its id and its end.
    pub(crate) async fn run(
        &self,
        mut program: Program,
        stdio: &[BorrowedFd<'_>],
    ) -> io::Result<(u32, oneshot::Receiver<Ended>)> {
        let id = self.next_program.get();
        self.next_program.set(id.wrapping_add(1).max(MAIN_PROGRAM + 1));
        program.id = id;
        let (sender, receiver) = oneshot::channel();
        self.programs.borrow_mut().insert(id, sender);
        if let Err(error) = self.socket.send(&ToContainer::Run(program), stdio).await {
            self.programs.borrow_mut().remove(&id);
            return Err(error);
        }
        Ok((id, receiver))
    }

    /// Tells `events` what happens to container `index` until its init is gone.
    pub(crate) async fn watch(self: Rc<Self>, index: usize, events: mpsc::Sender<Event>) {
        loop {
            let message = self.socket.receive::<FromContainer>().await;
            let event = match message {
                Ok(Some((FromContainer::Ready { warnings }, _))) => Event::ContainerReady { index, warnings },
                Ok(Some((FromContainer::Failed { reason }, _))) => Event::ContainerFailed { index, reason },
                Ok(Some((FromContainer::Started { id: MAIN_PROGRAM }, fds))) => {
                    Event::ContainerStarted { index, pid: fds.first().and_then(pid_of) }
                }
                Ok(Some((FromContainer::NotStarted { id: MAIN_PROGRAM, reason }, _))) => {
                    Event::ContainerFailed { index, reason }
                }
                Ok(Some((FromContainer::Exited { id: MAIN_PROGRAM, code }, _))) => {
                    Event::ContainerExited { index, code: Some(code) }
                }
                Ok(Some((FromContainer::Started { .. }, _))) => continue,
                Ok(Some((FromContainer::NotStarted { id, reason }, _))) => {
                    self.ended(id, Err(reason));
                    continue;
                }
                Ok(Some((FromContainer::Exited { id, code }, _))) => {
                    self.ended(id, Ok(code));
                    continue;
                }
                Ok(None) | Err(_) => {
                    self.programs.borrow_mut().clear();
                    let _ = events.send(Event::ContainerExited { index, code: None }).await;
                    return;
                }
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    fn ended(&self, id: u32, ended: Ended) {
        if let Some(waiting) = self.programs.borrow_mut().remove(&id) {
            let _ = waiting.send(ended);
        }
    }
}

/// The process id behind a pidfd, as this process's `/proc` numbers it.
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}
