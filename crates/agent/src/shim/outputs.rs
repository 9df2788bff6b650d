//! Where a task's lines go: its log files, and the agents that listen.

use std::{cell::RefCell, collections::HashMap, fs::File, io, os::fd::OwnedFd, path::Path};

use bowline_logs::{
    json_file::JsonFileWriter,
    route::{Plan, SourceName, plans},
    spool::{Record, RecordKind, Source, Spools, SyncPolicy},
};
use bowline_model::task::{TaskId, TaskSpec};
use bowline_plumbing::wall_clock;
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
    spools: RefCell<Option<Spools>>,
    drivers: HashMap<SourceName, Driver>,
}

/// What is done with a source's lines, besides.
#[derive(Debug)]
enum Driver {
    /// They wait in a spool. `blocking`: who writes waits when the disk is slow; else lines are lost, and counted.
    Spool {
        source: Source,
        blocking: bool,
    },
    JsonFile(RefCell<JsonFileWriter>),
    Nothing,
}

impl Outputs {
    /// `spools` is where lines wait to be delivered; without, they are not delivered.
    pub(crate) fn new(spec: &TaskSpec, directory: TaskDirectory, spools: Option<&Path>) -> Self {
        let started = spools.and_then(|spools| match Spools::start(spools, SyncPolicy::default()) {
            Ok(spools) => Some(spools),
            Err(error) => {
                tracing::warn!(%error, "the task's lines are not delivered");
                None
            }
        });
        let mut drivers = HashMap::new();
        for (name, plan) in plans(spec) {
            let driver = match (plan, &started) {
                (Plan::Spool(limits, buffering), Some(spools)) => Driver::Spool {
                    source: spools.source(&name.directory(), limits, buffering.bytes_max),
                    blocking: buffering.blocking,
                },
                (Plan::JsonFile(limits), _) => {
                    let of = match &name {
                        SourceName::Container(container) => container,
                        _ => "proxy",
                    };
                    let path = directory.log(&format!("{of}-json"));
                    match JsonFileWriter::open(&path, limits) {
                        Ok(writer) => Driver::JsonFile(RefCell::new(writer)),
                        Err(error) => {
                            tracing::warn!(%error, "the task's lines are not in json-file's files");
                            Driver::Nothing
                        }
                    }
                }
                (Plan::Nothing, _) | (Plan::Spool(..), None) => Driver::Nothing,
            };
            drivers.insert(name, driver);
        }
        Self {
            task: spec.id.clone(),
            directory,
            logs: RefCell::default(),
            listeners: RefCell::default(),
            spools: RefCell::new(started),
            drivers,
        }
    }

    /// The queue of a source that is spooled.
    pub(crate) fn source(&self, name: &SourceName) -> Option<Source> {
        match self.drivers.get(name)? {
            Driver::Spool { source, .. } => Some(source.clone()),
            Driver::JsonFile(_) | Driver::Nothing => None,
        }
    }

    pub(crate) fn listen(&self, client: u64, sender: mpsc::Sender<FromShim>) {
        self.listeners.borrow_mut().insert(client, sender);
    }

    pub(crate) fn forget(&self, client: u64) {
        self.listeners.borrow_mut().remove(&client);
    }

    /// Ends the listeners' queues, and the spools: nothing more comes.
    pub(crate) fn close(&self) {
        self.listeners.borrow_mut().clear();
        if let Some(spools) = self.spools.borrow_mut().take() {
            spools.close();
        }
    }

    /// Something that the launcher itself has to say.
    pub(crate) fn launcher(&self, line: String) {
        self.says(&OutputSource::Launcher, OutputStream::Stderr, line);
    }

    /// A line that nobody waits for.
    pub(crate) fn says(&self, source: &OutputSource, stream: OutputStream, line: String) {
        if let Some(Driver::Spool { source, .. }) = self.drive(source, stream, &line) {
            source.push_or_lose(record(stream, &line));
        }
        self.line(source, stream, line);
    }

    /// A line of a program, which may have to wait until it is queued.
    async fn printed(&self, source: &OutputSource, stream: OutputStream, line: String) {
        match self.drive(source, stream, &line) {
            Some(Driver::Spool { source, blocking: true }) => source.push(record(stream, &line)).await,
            Some(Driver::Spool { source, .. }) => source.push_or_lose(record(stream, &line)),
            _ => {}
        }
        self.line(source, stream, line);
    }

    /// Writes to Docker's files, or gives the driver that a spool is.
    fn drive(&self, source: &OutputSource, stream: OutputStream, line: &str) -> Option<&Driver> {
        let driver = self.drivers.get(&source.source_name())?;
        if let Driver::JsonFile(writer) = driver {
            // A full disk must not stop the task.
            let _ = writer.borrow_mut().write(wall_clock::now(), stream == OutputStream::Stderr, line);
        }
        Some(driver)
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
        let mut lines = Vec::new();
        loop {
            match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    splitter.push(&buffer[..length], |line| lines.push(line));
                    for line in lines.drain(..) {
                        self.printed(&source, stream, line).await;
                    }
                }
            }
        }
        if let Some(line) = splitter.finish() {
            self.printed(&source, stream, line).await;
        }
    }
}

fn record(stream: OutputStream, line: &str) -> Record {
    let kind = match stream {
        OutputStream::Stdout => RecordKind::Stdout,
        OutputStream::Stderr => RecordKind::Stderr,
    };
    Record { at: wall_clock::now(), kind, tag: String::new(), body: line.as_bytes().to_vec() }
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
