//! What a process prints, a line at a time, into a log file of bounded size.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Longest line; a longer one is split.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Size at which a log file is put aside; one older file is kept.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Takes `bytes` and gives each line that is complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            let (taken, complete) = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (window.len(), window.len() == room),
            };
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if complete {
                line(self.take());
            }
        }
    }

    /// The line that no end came for, if there is one.
    pub(crate) fn finish(&mut self) -> Option<String> {
        if self.partial.is_empty() { None } else { Some(self.take()) }
    }

    fn take(&mut self) -> String {
        let mut end = self.partial.len();
        if self.partial.ends_with(b"\n") {
            end -= 1;
            if self.partial[..end].ends_with(b"\r") {
                end -= 1;
            }
        }
        let line = String::from_utf8_lossy(&self.partial[..end]).into_owned();
        self.partial.clear();
        line
    }
}

/// A log file that is put aside once when it is full.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// Appends to the file at `path`.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = open_append(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, bytes_max: LOG_BYTES_MAX })
    }

    /// Writes one line.
    pub(crate) fn write_line(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        if self.bytes > 0 && self.bytes + length > self.bytes_max {
            std::fs::rename(&self.path, old_path(&self.path))?;
            self.file = open_append(&self.path)?;
            self.bytes = 0;
        }
        let mut text = String::with_capacity(line.len() + 1);
        text.push_str(line);
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.bytes += length;
        Ok(())
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn old_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_lines_and_keeps_what_has_no_end() {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        splitter.push(b"one\ntw", |line| lines.push(line));
        splitter.push(b"o\r\n\nthree", |line| lines.push(line));
        assert_eq!(lines, ["one", "two", ""]);
        assert_eq!(splitter.finish().as_deref(), Some("three"));
        assert_eq!(splitter.finish(), None);
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_no_byte_is_lost(text in "[a-z]{0,3}", repeat in 0usize..20_000, cut in 1usize..5000) {
            let text = text.repeat(repeat);
            let mut splitter = LineSplitter::default();
            let mut lines = Vec::new();
            for chunk in text.as_bytes().chunks(cut) {
                splitter.push(chunk, |line| lines.push(line));
            }
            lines.extend(splitter.finish());
            prop_assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
            prop_assert_eq!(lines.concat(), text);
        }
    }

    #[test]
    fn a_full_log_is_put_aside_once() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("a.log");
        let mut log = LogFile::open(path.clone()).expect("opens");
        log.bytes_max = 10;
        for line in ["12345678", "second", "x", "third"] {
            log.write_line(line).expect("writes");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "third\n");
        assert_eq!(std::fs::read_to_string(old_path(&path)).expect("reads"), "second\nx\n");
    }
}
