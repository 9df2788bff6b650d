//! What goes wrong, as those see it who send and receive messages.

use std::{fmt, io, sync::Arc};

use thiserror::Error as ThisError;

use crate::Reason;

/// Why a message did not get through.
#[derive(Clone, Debug, ThisError)]
pub enum Error {
    /// The peer ended the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    /// The peer broke the protocol on this stream, which was ended for it.
    #[error("the stream was reset: {0}")]
    Malformed(Reason),
    /// The peer has not begun with the request, and will not: it can be sent again.
    #[error("the peer has not begun with the request")]
    Unprocessed,
    /// The peer ended the connection.
    #[error("the peer ended the connection: {0}")]
    GoAway(Reason),
    /// The peer broke the protocol, for which the connection was ended.
    #[error("the connection was ended: {0}")]
    Protocol(#[from] ConnectionError),
    /// The peer did not answer a ping in time.
    #[error("the peer does not answer")]
    KeepAliveTimedOut,
    /// The transport failed, or ended.
    #[error("the connection broke: {0}")]
    Io(io::ErrorKind, #[source] Option<Arc<io::Error>>),
    /// The message's own body failed.
    #[error("the body failed: {0}")]
    Body(Arc<dyn std::error::Error + Send + Sync>),
    /// There are as many requests as may wait.
    #[error("too many requests wait")]
    Full,
}

impl Error {
    /// The peer's reason for ending the stream or the connection.
    pub fn remote_reason(&self) -> Option<Reason> {
        match self {
            Self::Reset(reason) | Self::GoAway(reason) => Some(*reason),
            _ => None,
        }
    }

    /// Whether it is certain that the peer did nothing of what the request asks for.
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unprocessed | Self::Full | Self::Reset(Reason::REFUSED_STREAM))
    }

    pub(crate) fn of_io(error: io::Error) -> Self {
        Self::Io(error.kind(), Some(Arc::new(error)))
    }

    pub(crate) fn eof() -> Self {
        Self::Io(io::ErrorKind::UnexpectedEof, None)
    }

    /// Whether the byte stream itself is gone: it was reset, or cut off within TLS. Nobody hears what is still said.
    pub(crate) fn is_of_gone_stream(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(self, Self::Io(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof, Some(_)))
    }
}

/// Why this end ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("{reason}: {what}")]
pub struct ConnectionError {
    /// What the peer is told.
    pub reason: Reason,
    /// What it did.
    pub what: &'static str,
}

impl ConnectionError {
    pub(crate) const fn new(reason: Reason, what: &'static str) -> Self {
        Self { reason, what }
    }

    pub(crate) const fn protocol(what: &'static str) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, what)
    }
}

/// A request that failed; it comes back if nothing of it has left.
pub struct TrySendError<T> {
    pub(crate) error: Error,
    pub(crate) message: Option<T>,
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comes_back = self.message.is_some();
        f.debug_struct("TrySendError").field("error", &self.error).field("comes_back", &comes_back).finish()
    }
}

impl<T> TrySendError<T> {
    /// The request, if nothing of it has left.
    pub fn take_message(&mut self) -> Option<T> {
        self.message.take()
    }

    /// Why it failed.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Why it failed.
    pub fn into_error(self) -> Error {
        self.error
    }
}
