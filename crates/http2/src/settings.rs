//! SETTINGS (RFC 9113, section 6.5).

use bytes::BufMut;

use crate::{
    Config, ConnectionError, Reason, Role,
    frame::{Head, Kind, MAX_31, PAYLOAD_DEFAULT, PAYLOAD_MAX},
};

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// The window that every stream and the connection begin with, in bytes.
pub(crate) const WINDOW_DEFAULT: u32 = 65_535;

/// What the peer has said that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerSettings {
    /// Size of its table for header compression, in bytes.
    pub(crate) table_size: u32,
    /// Streams that it lets this end have open.
    pub(crate) streams_max: u32,
    /// The window of a new stream.
    pub(crate) window: u32,
    /// Longest payload of a frame.
    pub(crate) payload_max: usize,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            table_size: 4_096,
            streams_max: u32::MAX,
            window: WINDOW_DEFAULT,
            payload_max: PAYLOAD_DEFAULT,
        }
    }
}

impl PeerSettings {
    /// Reads what a SETTINGS frame changes. `role`: of this end.
    pub(crate) fn change(&mut self, payload: &[u8], role: Role) -> Result<(), ConnectionError> {
        let (entries, []) = payload.as_chunks::<6>() else {
            return Err(ConnectionError::new(
                Reason::FRAME_SIZE_ERROR,
                "SETTINGS of no whole number of them",
            ));
        };
        for [id_0, id_1, value @ ..] in entries {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*id_0, *id_1]) {
                HEADER_TABLE_SIZE => self.table_size = value,
                ENABLE_PUSH if value > 1 || (value == 1 && role == Role::Client) => {
                    return Err(ConnectionError::protocol("ENABLE_PUSH that cannot be"));
                }
                MAX_CONCURRENT_STREAMS => self.streams_max = value,
                INITIAL_WINDOW_SIZE if value > MAX_31 => {
                    return Err(ConnectionError::new(
                        Reason::FLOW_CONTROL_ERROR,
                        "INITIAL_WINDOW_SIZE too large",
                    ));
                }
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE => match value as usize {
                    size @ PAYLOAD_DEFAULT..=PAYLOAD_MAX => self.payload_max = size,
                    _ => return Err(ConnectionError::protocol("MAX_FRAME_SIZE that cannot be")),
                },
                // How long a list may be is advice, and the rest is of extensions.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes what this end takes.
pub(crate) fn write(config: &Config, role: Role, out: &mut Vec<u8>) {
    let list_max = u32::try_from(config.header_list_max).unwrap_or(u32::MAX);
    let role_has = match role {
        Role::Client => (ENABLE_PUSH, 0),
        Role::Server => (MAX_CONCURRENT_STREAMS, config.streams_max),
    };
    let settings =
        [role_has, (INITIAL_WINDOW_SIZE, config.stream_window.min(MAX_31)), (MAX_HEADER_LIST_SIZE, list_max)];
    Head { len: settings.len() * 6, kind: Kind::Settings, flags: 0, stream: 0 }.write(out);
    for (id, value) in settings {
        out.put_u16(id);
        out.put_u32(value);
    }
}
