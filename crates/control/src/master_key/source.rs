//! Where a master key comes from: a file, the environment, or a command.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use bowline_plumbing::seal::SealKey;
use zeroize::Zeroizing;

use super::MasterKeyError;

/// Name of the key's file in the state directory.
pub(super) const FILE: &str = "master.key";
/// What a new key's file is called until the data keys are wrapped by it.
const NEW_FILE: &str = "master.key.new";
/// Variable of the environment that a key can be in.
pub const VARIABLE: &str = "BOWLINE_MASTER_KEY";
/// Variable in which a rotation is given the next key, where the present one is in [`VARIABLE`].
pub const NEW_VARIABLE: &str = "BOWLINE_NEW_MASTER_KEY";
const KEY_BYTES: usize = 32;
/// A key as hex, and some blanks.
const MAX_TEXT_BYTES: u64 = 128;
/// How long a command may take to print a key.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Where a master key comes from. Everywhere it is 64 hex digits: `openssl rand -hex 32`.
#[derive(Clone, Debug, Default)]
pub enum MasterKeySource {
    /// The file `master.key` of the state directory, which is made where nothing was sealed yet.
    #[default]
    StateDirectory,
    /// A file of somebody else, mode 0600 or stricter. It is never made or written.
    File(PathBuf),
    /// The environment, of which the variable is gone by now: children must not have it.
    Environment(SealKey),
    /// What a command prints. Run by `sh -c`; it has 60 s.
    Command(String),
}

impl MasterKeySource {
    /// The key in an environment variable.
    ///
    /// # Errors
    /// It is no key.
    pub fn key_of_variable(name: &str, value: &str) -> Result<SealKey, MasterKeyError> {
        key_of_text(value.as_bytes(), || format!("in the variable {name}"))
    }

    /// In words, for people: `the master key …`.
    pub fn describe(&self, dir: &Path) -> String {
        match self {
            Self::StateDirectory => dir.join(FILE).display().to_string(),
            Self::File(file) => file.display().to_string(),
            Self::Environment(_) => format!("in the variable {VARIABLE}"),
            Self::Command(_) => "of --master-key-command".to_owned(),
        }
    }

    /// The key; `None` where the state directory has none.
    pub(super) fn fetch(&self, dir: &Path) -> Result<Option<SealKey>, MasterKeyError> {
        match self {
            Self::StateDirectory => read_file(&dir.join(FILE)),
            Self::File(file) => match read_file(file)? {
                Some(key) => Ok(Some(key)),
                None => Err(MasterKeyError::NoFile { file: file.clone() }),
            },
            Self::Environment(key) => Ok(Some(key.clone())),
            Self::Command(command) => run(command, COMMAND_LIMIT).map(Some),
        }
    }
}

/// Reads 64 hex digits with blanks around them.
pub(super) fn key_of_text(text: &[u8], from: impl FnOnce() -> String) -> Result<SealKey, MasterKeyError> {
    match parse_hex(text.trim_ascii()) {
        Some(bytes) => Ok(SealKey::from_bytes(*bytes)),
        None => Err(MasterKeyError::Format { from: from() }),
    }
}

fn read_file(file: &Path) -> Result<Option<SealKey>, MasterKeyError> {
    let io = |action| move |source| MasterKeyError::Io { action, file: file.to_owned(), source };
    let opened = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io("open"))?,
    };
    // Of the file that was opened, not of the name: that may change.
    let metadata = opened.metadata().map_err(io("examine"))?;
    let from = || file.display().to_string();
    if !metadata.is_file() {
        return Err(MasterKeyError::Format { from: from() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Permissions { file: file.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_TEXT_BYTES as usize));
    opened.take(MAX_TEXT_BYTES).read_to_end(&mut text).map_err(io("read"))?;
    key_of_text(&text, from).map(Some)
}

/// Makes the key of a new state directory. A crash leaves no half key, and a key that is there is
/// never replaced.
pub(super) fn create(dir: &Path, key: &SealKey) -> Result<(), MasterKeyError> {
    let file = dir.join(FILE);
    let io = |source| MasterKeyError::Io { action: "create", file: file.clone(), source };
    let draft = write_new(dir, key)?;
    std::fs::hard_link(&draft, &file).map_err(io)?;
    std::fs::remove_file(&draft).map_err(io)?;
    sync(dir).map_err(io)
}

/// Writes a key beside the present one, on the disk when this returns.
pub(super) fn write_new(dir: &Path, key: &SealKey) -> Result<PathBuf, MasterKeyError> {
    let draft = dir.join(NEW_FILE);
    let write = || {
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        opened.write_all(&to_hex(key.as_bytes()))?;
        opened.sync_all()?;
        sync(dir)
    };
    match write() {
        Ok(()) => Ok(draft),
        Err(source) => Err(MasterKeyError::Io { action: "write", file: draft, source }),
    }
}

/// Puts the key that [`write_new`] wrote in the place of the present one.
pub(super) fn replace(dir: &Path) -> Result<(), MasterKeyError> {
    let file = dir.join(FILE);
    std::fs::rename(dir.join(NEW_FILE), &file).and_then(|()| sync(dir)).map_err(|source| MasterKeyError::Io {
        action: "replace",
        file,
        source,
    })
}

pub(super) fn sync(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Runs a command and takes what it prints for a key. What it says on standard error goes to ours:
/// it is the user's own command, which says why it fails.
fn run(command: &str, limit: Duration) -> Result<SealKey, MasterKeyError> {
    let failed = |reason: String| MasterKeyError::Command { reason };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    let printed = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_TEXT_BYTES as usize));
        let read = printed.map(|printed| printed.take(MAX_TEXT_BYTES).read_to_end(&mut text));
        // Nobody waits any more where the command took too long.
        let _ = sender.send(read.map(|read| read.map(|_| text)));
    });
    let text = match receiver.recv_timeout(limit) {
        Ok(Some(Ok(text))) => text,
        Ok(Some(Err(error))) => {
            end(&mut child);
            return Err(failed(format!("cannot be read from: {error}")));
        }
        Ok(None) | Err(_) => {
            end(&mut child);
            return Err(failed(format!("did not end within {} s", limit.as_secs())));
        }
    };
    // It closed its output, or printed too much for a key; one that lingers is not waited for.
    if text.len() as u64 == MAX_TEXT_BYTES {
        end(&mut child);
    }
    let status = child.wait().map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    if text.len() as u64 != MAX_TEXT_BYTES && !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    key_of_text(&text, || "of --master-key-command".to_owned())
}

/// Ends a command with all that it started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

pub(super) fn to_hex(bytes: &[u8; KEY_BYTES]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Of its final size from the start: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES + 1));
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text.push(b'\n');
    text
}

fn parse_hex(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_prints_a_key_or_is_told_apart() {
        let hex = "0a".repeat(32);
        let key = run(&format!("echo ' {hex}'"), COMMAND_LIMIT).expect("is a key");
        assert_eq!(key.as_bytes(), &[10; 32]);
        for (command, said) in [
            (format!("echo {hex}; exit 3"), "failed (exit status: 3)"),
            ("echo no key".to_owned(), "64 hex digits"),
            ("yes".to_owned(), "64 hex digits"),
            ("exec 1>&- ; exit 0".to_owned(), "64 hex digits"),
        ] {
            let error = run(&command, COMMAND_LIMIT).expect_err("is no key").to_string();
            assert!(error.contains(said), "{command}: {error}");
        }
        let error = run("sleep 100", Duration::from_millis(50)).expect_err("is slow").to_string();
        assert!(error.contains("did not end"), "{error}");
    }

    proptest! {
        #[test]
        fn hex_is_read_as_written(bytes in any::<[u8; 32]>()) {
            let read = parse_hex(to_hex(&bytes).trim_ascii());
            prop_assert_eq!(read.as_deref(), Some(&bytes));
        }
    }
}
