//! One Bowline a state directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Name of the lock's file in the state directory.
const FILE: &str = "lock";
/// How much of a command line is kept, and how much of the file is read.
const MAX_COMMAND_BYTES: usize = 1024;
const MAX_FILE_BYTES: u64 = 4096;

/// The right to use a state directory, until dropped or the process ends,
/// however it ends: it is an flock(2).
///
/// The file stays when the lock goes. To remove it would let one process lock
/// the removed file, and another a new one.
#[derive(Debug)]
pub struct StateLock {
    file: File,
    dir: PathBuf,
}

/// Why the state directory could not be taken.
#[derive(Debug, Error)]
pub enum StateLockError {
    /// Another process has it.
    #[error(
        "another Bowline ({}) uses the state directory {}: stop it, or name another with --state-dir",
        holder(*.pid, .command), .dir.display()
    )]
    Held {
        /// Its process; none if it is only just starting.
        pid: Option<u32>,
        /// Its command line, cut short if long.
        command: String,
        /// The directory.
        dir: PathBuf,
    },
    /// Everybody can write into it, and so replace the keys in it.
    #[error(
        "every user can write into the state directory {} (mode {mode:o}): run `chmod o-w` on it, \
         or name another with --state-dir", .dir.display()
    )]
    WritableByOthers {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl StateLock {
    /// Takes a state directory; makes it (for its owner only) if there is none.
    /// Does not wait.
    ///
    /// # Errors
    /// Another process has it, others can write into it, or the file system
    /// fails.
    pub fn acquire(dir: impl AsRef<Path>) -> Result<Self, StateLockError> {
        let dir = dir.as_ref();
        let in_dir = |action| move |source| StateLockError::Io { action, path: dir.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(in_dir("create the state directory"))?;
        let mode = std::fs::metadata(dir).map_err(in_dir("read the state directory"))?.mode() & 0o7777;
        if mode & 0o002 != 0 {
            return Err(StateLockError::WritableByOthers { dir: dir.to_owned(), mode });
        }

        let path = dir.join(FILE);
        let in_file = |action| {
            let path = path.clone();
            move |source| StateLockError::Io { action, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(in_file("open the lock file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (pid, command) = read_holder(&mut file).map_err(in_file("read the lock file"))?;
                return Err(StateLockError::Held { pid, command, dir: dir.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(in_file("lock the lock file")(source)),
        }
        write_holder(&mut file).map_err(in_file("write the lock file"))?;
        Ok(Self { file, dir: dir.to_owned() })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // So that the next holder is not taken for this one while it starts.
        // If it fails, the file is merely out of date, as after a kill.
        let _ = self.file.set_len(0);
    }
}

fn holder(pid: Option<u32>, command: &str) -> String {
    match pid {
        Some(pid) => format!("process {pid}, {command}"),
        None => "just starting".to_owned(),
    }
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    let mut command = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ");
    command.truncate(command.floor_char_boundary(MAX_COMMAND_BYTES));
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{}\n{}\n", std::process::id(), printable(&command)).as_bytes())
}

fn read_holder(file: &mut File) -> std::io::Result<(Option<u32>, String)> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.parse().ok());
    Ok((pid, printable(lines.next().unwrap_or("unknown command"))))
}

/// Without control characters: it goes to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_other_is_told_who() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("a/state");
        let lock = StateLock::acquire(&dir).expect("is free");
        let mode = |path: &Path| std::fs::metadata(path).expect("is there").mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("lock")), 0o600);

        let error = StateLock::acquire(&dir).expect_err("is held");
        let StateLockError::Held { pid, command, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*pid, Some(std::process::id()));
        let program = std::env::args().next().expect("has a name");
        assert!(command.starts_with(&program), "{command}");
        let expected = format!(
            "another Bowline (process {}, {command}) uses the state directory {}: stop it, or name another with --state-dir",
            std::process::id(),
            dir.display()
        );
        assert_eq!(error.to_string(), expected);

        drop(lock);
        let lock = StateLock::acquire(&dir).expect("is free again");
        assert_eq!(lock.dir(), dir);
    }

    #[test]
    fn what_a_killed_holder_left_does_not_hold() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("lock"), format!("1\n{}\n", "long ".repeat(2000))).expect("writes");
        let _lock = StateLock::acquire(dir.path()).expect("nobody holds it");
        let error = StateLock::acquire(dir.path()).expect_err("is held");
        assert!(matches!(error, StateLockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
    }

    #[test]
    fn a_strange_file_is_read_with_care() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = StateLock::acquire(dir.path()).expect("is free");
        let told = |contents: &[u8]| {
            std::fs::write(dir.path().join("lock"), contents).expect("writes");
            StateLock::acquire(dir.path()).expect_err("is held").to_string()
        };
        assert!(told(b"").starts_with("another Bowline (just starting) uses"));
        assert!(told(&[0xff; 100_000]).starts_with("another Bowline (just starting) uses"));
        assert!(told(b"7\n\x1b[2J\n").starts_with("another Bowline (process 7,  [2J) uses"));
        drop(lock);
    }

    #[test]
    fn refuses_a_directory_that_everybody_writes() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("is ours");
        let error = StateLock::acquire(dir.path()).expect_err("is open to all");
        assert!(matches!(error, StateLockError::WritableByOthers { mode: 0o777, .. }), "{error:?}");
    }

    #[test]
    fn names_the_path_that_cannot_be_a_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("writes");
        let error = StateLock::acquire(&file).expect_err("is a file");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
