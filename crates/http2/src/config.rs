//! How a connection is to behave.

use std::{error::Error as StdError, time::Duration};

use crate::{Error, Reason};

/// What one end of a connection allows the other, and itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of one message's content that the peer may send before they are read. Default: 1 MiB.
    pub stream_window: u32,
    /// The same, of all streams together. Default: 4 MiB.
    pub connection_window: u32,
    /// Longest list of header fields that is taken, in bytes as RFC 9113 counts them (section 6.5.2).
    /// Default: 64 KiB.
    pub header_list_max: usize,
    /// Streams that the peer may have open. Default: 1,024.
    pub streams_max: u32,
    /// Bytes of one message that wait to be sent before its sender has to wait, too. Default: 64 KiB.
    pub send_buffer_max: usize,
    /// Requests that wait for the peer to allow another stream. Default: 1,024.
    pub waiting_max: usize,
    /// Whether the peer is asked for a sign of life, and how often.
    pub keep_alive: Option<KeepAlive>,
    /// What a stream is reset for when the body that is sent on it fails with this error, or one that it
    /// comes of; where this knows nothing, it is `INTERNAL_ERROR`.
    pub reason_of: ReasonOf,
}

/// Finds a reason in an error.
pub type ReasonOf = fn(&(dyn StdError + 'static)) -> Option<Reason>;

/// The reason of an error of this crate's.
fn own_reason(error: &(dyn StdError + 'static)) -> Option<Reason> {
    error.downcast_ref::<Error>().and_then(Error::remote_reason)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            header_list_max: 64 * 1024,
            streams_max: 1_024,
            send_buffer_max: 64 * 1024,
            waiting_max: 1_024,
            keep_alive: None,
            reason_of: own_reason,
        }
    }
}

/// Signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// A ping is sent when nothing has come for this long and streams are open.
    pub interval: Duration,
    /// The connection is given up when nothing comes for this long after the ping.
    pub timeout: Duration,
    /// Whether pings are sent without open streams, too.
    pub while_idle: bool,
}
