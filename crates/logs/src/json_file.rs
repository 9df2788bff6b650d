//! Docker's `json-file` driver: a JSON object a line, in files that are renamed when they are full.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bowline_model::{clock::Timestamp, log_driver::JsonFile};

/// A container's file: `PATH`, and older ones `PATH.1`, `PATH.2` and so on.
#[derive(Debug)]
pub struct JsonFileWriter {
    path: PathBuf,
    limits: JsonFile,
    file: File,
    bytes: u64,
}

impl JsonFileWriter {
    /// Appends to the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, limits: JsonFile) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), limits, file, bytes })
    }

    /// Writes a line, as Docker does: `{"log":"LINE\n","stream":"stdout","time":"2026-11-21T03:47:48.000Z"}`.
    ///
    /// # Errors
    /// It cannot be written; the line is not there.
    pub fn write(&mut self, at: Timestamp, is_stderr: bool, line: &str) -> io::Result<()> {
        let stream = if is_stderr { "stderr" } else { "stdout" };
        let object =
            serde_json::json!({"log": format!("{line}\n"), "stream": stream, "time": at.to_string()});
        let mut text = object.to_string();
        text.push('\n');
        if self.bytes > 0 && self.bytes + text.len() as u64 > self.limits.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(text.as_bytes())?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn older(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..self.limits.files_max.saturating_sub(1)).rev() {
            match fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        self.file = options.open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_many_and_as_long_as_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app-json.log");
        let limits = JsonFile { bytes_max: 400, files_max: 3 };
        let mut writer = JsonFileWriter::open(&path, limits).expect("it opens");
        for number in 0..100 {
            writer
                .write(Timestamp::from_secs(number), number % 2 == 1, &number.to_string())
                .expect("it writes");
        }
        let mut read = Vec::new();
        for number in [2, 1, 0] {
            let text = fs::read_to_string(writer.older(number)).expect("it is there");
            assert!(text.len() <= 400);
            for line in text.lines() {
                let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
                read.push(
                    object["log"].as_str().expect("a line").trim_end().parse::<u64>().expect("a number"),
                );
            }
        }
        assert_eq!(read.last(), Some(&99));
        assert!(read.windows(2).all(|pair| pair[1] == pair[0] + 1), "{read:?}");
        assert!(!writer.older(3).exists());
    }
}
