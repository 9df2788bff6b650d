//! What goes wrong, as those see it who send requests and read answers.

use std::{error::Error as StdError, fmt, io};

use thiserror::Error as ThisError;

/// Any error.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a request got no answer, or not all of it.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The connection had ended before anything of the request was written.
    #[error("the connection had ended")]
    Closed,
    /// The transport failed.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer did")]
    Incomplete,
    /// The answer is not HTTP/1.1 as it has to be.
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] Fault),
    /// The request's own body failed, or is not as long as its head says.
    #[error("the request's body failed")]
    Body(#[source] BoxError),
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Fault {
    /// The head's syntax.
    #[error("its head")]
    Head,
    /// The head is longer than what is read, or has more fields.
    #[error("its head is too large")]
    HeadTooLarge,
    /// More informational answers than a server has reason to send.
    #[error("too many informational answers before it")]
    Informational,
    /// Another protocol that nobody has asked for, or a tunnel.
    #[error("it leaves HTTP")]
    Switch,
    /// A `content-length` that is none, or that another contradicts.
    #[error("its content-length")]
    ContentLength,
    /// A transfer coding that was not offered, or one of HTTP/1.0.
    #[error("its transfer coding")]
    TransferEncoding,
    /// A chunk's size, or what ends it.
    #[error("a chunk of it")]
    Chunk,
    /// The trailers' syntax, or their size.
    #[error("its trailers")]
    Trailers,
}

/// What a request's body has too much or too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub(crate) enum LengthError {
    #[error("the body is shorter than its content-length")]
    Short,
    #[error("the body is longer than its content-length")]
    Long,
}

impl From<LengthError> for Error {
    fn from(error: LengthError) -> Self {
        Self::Body(error.into())
    }
}

/// A request that failed; it comes back if nothing of it has left. Its body may have been begun with.
pub struct TrySendError<T> {
    pub(crate) error: Error,
    pub(crate) message: Option<T>,
}

impl<T> TrySendError<T> {
    /// The request, if nothing of it has left.
    pub fn take_message(&mut self) -> Option<T> {
        self.message.take()
    }

    /// Why it failed.
    pub fn into_error(self) -> Error {
        self.error
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comes_back = self.message.is_some();
        f.debug_struct("TrySendError").field("error", &self.error).field("comes_back", &comes_back).finish()
    }
}
