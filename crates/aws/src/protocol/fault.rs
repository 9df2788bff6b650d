//! An error as AWS answers it.

use super::Document;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultBlame {
    /// The caller's: `Sender` in XML.
    Sender,
    /// The service's: `Receiver`.
    Receiver,
}

impl FaultBlame {
    /// As answers have it: `Sender` or `Receiver`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "Sender",
            Self::Receiver => "Receiver",
        }
    }
}

/// An error as AWS answers it: a modelled code, an HTTP status and a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The error's name: `ClusterNotFoundException`.
    pub code: String,
    /// The code that the query protocol has for it, where that differs: `InvalidParameterValue`.
    pub query_code: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
    /// `Retry-After`: how many seconds to wait before the next try.
    pub retry_after: Option<u64>,
    /// What else the error's shape holds.
    pub members: Vec<(String, Document)>,
}

impl Fault {
    /// An error with the status 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            query_code: None,
            status: 400,
            message: message.into(),
            retry_after: None,
            members: Vec::new(),
        }
    }

    /// The same with another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with a time to wait, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same with a further member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Document) -> Self {
        self.members.push((name.to_owned(), value));
        self
    }

    /// The same with the code that the query protocol has for it.
    #[must_use]
    pub fn with_query_code(mut self, code: &str) -> Self {
        self.query_code = Some(code.to_owned());
        self
    }

    /// Whose fault it is, by the status.
    pub fn blame(&self) -> FaultBlame {
        if self.status >= 500 { FaultBlame::Receiver } else { FaultBlame::Sender }
    }
}
