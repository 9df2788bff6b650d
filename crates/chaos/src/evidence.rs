//! What a fault has done, as far as whoever makes it sees that.

use serde::{Deserialize, Serialize};

/// Counts since the fault was in force. But [`Evidence::arrived`] all are zero of faults that are made neither in a relay nor
/// in the control plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Connections that came.
    pub connections: u64,
    /// Those of them that were harmed.
    pub harmed: u64,
    /// Connections that were turned away because too many were open.
    pub turned_away: u64,
    /// TLS handshakes that a rogue server completed: its caller believed it.
    pub handshakes: u64,
    /// HTTP requests that a rogue server got to read.
    pub requests: u64,
    /// Bytes that a rogue server got to read in plaintext, after a handshake or without one.
    pub plaintext_bytes: u64,
    /// Bytes passed on to the called side.
    pub bytes_to_called: u64,
    /// Bytes passed on to the calling side.
    pub bytes_to_caller: u64,
    /// Packets that the kernel dropped on the relay's link.
    pub packets_dropped: u64,
    /// What the control plane did not do, or was not let do: certificates that were asked for and not issued, resources
    /// that sidecars refused by their names, writes that found no room.
    #[serde(default)]
    pub refused: u64,
    /// Requests that came to the sidecars that something was wrong with. Told when the fault is over.
    #[serde(default)]
    pub arrived: u64,
}
