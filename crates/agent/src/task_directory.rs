//! A task's directory under the state directory, and its socket and lock.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use bowline_model::task::TaskReport;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// `STATE/tasks/ID`.
#[derive(Clone, Debug)]
pub(crate) struct TaskDirectory {
    path: PathBuf,
}

impl TaskDirectory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes it, readable by nobody else.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(self.work())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a container runs that names no directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub(crate) fn hosts_file(&self) -> PathBuf {
        self.path.join("hosts")
    }

    pub(crate) fn resolv_file(&self) -> PathBuf {
        self.path.join("resolv.conf")
    }

    /// Where the files are by which the containers trust the task's CA.
    pub(crate) fn trust(&self) -> PathBuf {
        self.path.join("trust")
    }

    /// Where the proxy keeps its last good state, sealed.
    pub(crate) fn proxy_state(&self) -> PathBuf {
        self.path.join("proxy.state")
    }

    pub(crate) fn log(&self, source: &str) -> PathBuf {
        self.path.join(format!("{source}.log"))
    }

    fn control_groups_file(&self) -> PathBuf {
        self.path.join("control-groups.json")
    }

    /// Keeps where the task's control groups are, for when its shim is killed.
    pub(crate) fn write_control_groups(&self, paths: &[PathBuf]) -> io::Result<()> {
        fs::write(self.control_groups_file(), serde_json::to_vec(paths)?)
    }

    /// Where the task's control groups are, or were.
    pub(crate) fn control_groups(&self) -> Vec<PathBuf> {
        let text = fs::read(self.control_groups_file());
        text.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn report_file(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// Keeps the task's last report for an agent that is not there to hear it.
    pub(crate) fn write_report(&self, report: &TaskReport) -> io::Result<()> {
        let temporary = self.path.join("report.json.new");
        fs::write(&temporary, serde_json::to_vec(report)?)?;
        fs::rename(temporary, self.report_file())
    }

    /// The task's last report, if it has ended.
    pub(crate) fn read_report(&self) -> Option<TaskReport> {
        serde_json::from_slice(&fs::read(self.report_file()).ok()?).ok()
    }

    /// The lock that is held while any process of the task's shim lives. It
    /// goes with the descriptor, also over a socket: no process id is needed.
    pub(crate) fn lock(&self) -> Result<File, TryLockError> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.join("lock"))
            .map_err(TryLockError::Error)?;
        lock.try_lock()?;
        Ok(lock)
    }

    /// Listens for agents.
    pub(crate) fn listen(&self) -> io::Result<OwnedFd> {
        let _ = fs::remove_file(self.path.join(SOCKET));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        self.with_socket_address(|address| bind(&socket, address))?;
        listen(&socket, 4)?;
        Ok(socket)
    }

    /// Connects to the shim, if it lives.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        self.with_socket_address(|address| connect(&socket, address))?;
        Ok(socket)
    }

    /// A socket's path has 108 bytes at most, a state directory's may be
    /// longer: the directory is named by its descriptor.
    fn with_socket_address<T>(
        &self,
        work: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let directory = File::open(&self.path)?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        Ok(work(&SocketAddrUnix::new(path)?)?)
    }

    /// Moves the logs and the last report to `kept`, and removes the rest.
    pub(crate) fn retire(&self, kept: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(kept)?;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.ends_with(".log") || text.contains(".log.") || text == "report.json" {
                fs::rename(entry.path(), kept.join(&name))?;
            }
        }
        fs::remove_dir_all(&self.path)
    }
}

const SOCKET: &str = "shim.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_can_be_reached_under_a_path_longer_than_an_address() {
        let root = tempfile::tempdir().expect("directory");
        let directory = TaskDirectory::new(root.path().join("x".repeat(200)));
        directory.create().expect("creates");
        assert!(directory.connect().is_err());
        let _listener = directory.listen().expect("listens");
        directory.connect().expect("connects");
    }

    #[test]
    fn the_lock_is_held_once() {
        let root = tempfile::tempdir().expect("directory");
        let directory = TaskDirectory::new(root.path().join("t"));
        directory.create().expect("creates");
        let lock = directory.lock().expect("free");
        assert!(directory.lock().is_err());
        drop(lock);
        directory.lock().expect("free again");
    }
}
