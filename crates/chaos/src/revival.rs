//! Kills the process that started this one, and starts it again after a while: what becomes of a mesh without its control
//! plane is seen only where that is gone for real.
//!
//! [`begin`] is called by who is to be killed: it starts `bowline revive`, which is not in its way until then. That one
//! holds the deadline; at it, it becomes what was killed ([`run`]).

use std::{
    convert::Infallible,
    ffi::OsString,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bowline_model::clock::Timestamp;
use bowline_plumbing::{
    sys::child::{Preparation, prepare},
    wall_clock,
};
use rustix::process::{Pid, Signal, getppid, kill_process};

/// So long it lives on, for the answer to who has asked for its end.
pub const RESPITE: Duration = Duration::from_secs(1);
/// What is said when all is ready.
const READY: &str = "ready\n";
/// Longest that a process may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A program with its arguments, and what it needs in its environment beside what is there.
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Names and values of variables.
    pub environment: Vec<(String, OsString)>,
}

// What is in the environment may be secret.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Starts the process that kills this one, a second from now. Standard input and error are for the one that comes after,
/// too. Blocks until it is ready.
///
/// # Errors
/// It does not start: nothing is killed.
pub fn begin(reviver: Program) -> io::Result<()> {
    let mut command = Command::new(&reviver.path);
    command.args(&reviver.arguments).envs(reviver.environment);
    command.stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    prepare(&mut command, Preparation::default());
    let mut child = command.spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        // It says it, or ends.
        BufReader::new(output.take(READY.len() as u64)).read_line(&mut line)?;
    }
    if line == READY {
        return Ok(());
    }
    let _ = child.kill();
    let status = child.wait()?;
    Err(io::Error::other(format!("what was to start it again has ended with {status}")))
}

/// Kills its parent, which has to be `parent`, and at `until` becomes the program that this is told of.
///
/// # Errors
/// The parent is another, or is not gone in time, or the program does not start.
pub fn run(parent: u32, until: Timestamp, program: Program) -> io::Result<Infallible> {
    // While it is the parent its number is nobody else's.
    let wanted = i32::try_from(parent).ok().and_then(Pid::from_raw);
    let is_there = || wanted.is_some() && getppid() == wanted;
    let told = io::stdout().lock().write_all(READY.as_bytes());
    told.and_then(|()| io::stdout().flush())?;
    thread::sleep(RESPITE);
    let Some(pid) = wanted.filter(|_| is_there()) else {
        return Err(io::Error::other("who was to be killed has ended by itself"));
    };
    kill_process(pid, Signal::KILL)?;
    let killed = Instant::now();
    while is_there() {
        if killed.elapsed() >= GONE_LIMIT {
            return Err(io::Error::other("who was killed is still there"));
        }
        thread::sleep(LOOK);
    }
    thread::sleep(until.since(wall_clock::now()));
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).envs(program.environment);
    // Whoever read what the first one printed may be gone.
    command.stdout(Stdio::null());
    Err(command.exec())
}
