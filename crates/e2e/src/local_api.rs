//! The local API of a running `bowline up`: JSON lines over the Unix socket in its state directory.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

/// Longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(180);

/// A connection to it.
#[derive(Debug)]
pub struct LocalApi {
    stream: BufReader<UnixStream>,
}

impl LocalApi {
    /// Connects to the one that holds `state_dir`.
    pub fn connect(state_dir: &Path) -> Self {
        let stream = UnixStream::connect(state_dir.join("bowline.sock")).expect("`bowline up` runs");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Self { stream: BufReader::new(stream) }
    }

    /// Asks; the answer by its name, or why there is none.
    pub fn try_ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.stream.get_mut(), "{request}").expect("it listens");
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer in time");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        match answer["error"]["message"].as_str() {
            Some(message) => Err(message.to_owned()),
            None => Ok(answer),
        }
    }

    /// Asks, and is not refused.
    pub fn ask(&mut self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|error| panic!("{request} is refused: {error}"))
    }

    /// Puts a fault in force, of all connections, for so long. Its id.
    pub fn begin_fault(&mut self, kind: &Value, seconds: u64) -> Result<String, String> {
        let order = json!({
            "kind": kind,
            "perMillion": 1_000_000,
            "lasting": {"secs": seconds, "nanos": 0},
            "cause": "a test",
        });
        let answer = self.try_ask(&json!({"beginFault": order}))?;
        Ok(answer["faultBegun"]["id"].as_str().expect("an id").to_owned())
    }

    /// Ends a fault.
    pub fn end_fault(&mut self, id: &str) {
        self.ask(&json!({"endFault": {"id": id}}));
    }

    /// What a fault has done.
    pub fn fault_evidence(&mut self, id: &str) -> Value {
        self.ask(&json!({"faultEvidence": {"id": id}}))["faultEvidence"].clone()
    }
}
