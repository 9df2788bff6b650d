//! Where a task's lines go: its log files, and the agents that listen.

use std::{cell::RefCell, collections::HashMap, fs::File, io, os::fd::OwnedFd};

use bowline_model::task::TaskId;
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::mpsc};

use crate::{
    config::{OutputLine, OutputSource, OutputStream},
    output::{LineSplitter, LogFile},
    protocol::FromShim,
    task_directory::TaskDirectory,
};

/// Lines from a task to everyone who wants them.
#[derive(Debug)]
pub(crate) struct Outputs {
    task: TaskId,
    directory: TaskDirectory,
    logs: RefCell<HashMap<String, LogFile>>,
    listeners: RefCell<HashMap<u64, mpsc::Sender<FromShim>>>,
}

impl Outputs {
    pub(crate) fn new(task: TaskId, directory: TaskDirectory) -> Self {
        Self { task, directory, logs: RefCell::default(), listeners: RefCell::default() }
    }

    pub(crate) fn listen(&self, client: u64, sender: mpsc::Sender<FromShim>) {
        self.listeners.borrow_mut().insert(client, sender);
    }

    pub(crate) fn forget(&self, client: u64) {
        self.listeners.borrow_mut().remove(&client);
    }

    /// Ends the listeners' queues: nothing more comes.
    pub(crate) fn close(&self) {
        self.listeners.borrow_mut().clear();
    }

    /// Something that the launcher itself has to say.
    pub(crate) fn launcher(&self, line: String) {
        self.line(&OutputSource::Launcher, OutputStream::Stderr, line);
    }

    fn line(&self, source: &OutputSource, stream: OutputStream, line: String) {
        self.write(source.name(), &line);
        for listener in self.listeners.borrow().values() {
            // A listener that is slow misses lines; they are in the file.
            let _ = listener.try_send(FromShim::Output(OutputLine {
                task: self.task.clone(),
                source: source.clone(),
                stream,
                line: line.clone(),
            }));
        }
    }

    /// Writes to the log file; a full disk must not stop the task.
    fn write(&self, name: &str, line: &str) {
        let mut logs = self.logs.borrow_mut();
        if !logs.contains_key(name) {
            let Ok(log) = LogFile::open(self.directory.log(name)) else { return };
            logs.insert(name.to_owned(), log);
        }
        if let Some(log) = logs.get_mut(name) {
            let _ = log.write_line(line);
        }
    }

    /// Reads `pipe` to its end.
    pub(crate) async fn capture(&self, source: OutputSource, stream: OutputStream, mut pipe: pipe::Receiver) {
        let mut splitter = LineSplitter::default();
        let mut buffer = vec![0; 8 * 1024];
        loop {
            match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    splitter.push(&buffer[..length], |line| self.line(&source, stream, line));
                }
            }
        }
        if let Some(line) = splitter.finish() {
            self.line(&source, stream, line);
        }
    }
}

/// A pipe: our end to read, and the end that a program writes to.
pub(crate) fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK)?;
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

/// Standard input of programs that nobody types to.
pub(crate) fn no_input() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}
