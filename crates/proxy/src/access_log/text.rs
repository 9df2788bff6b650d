//! Texts, numbers and times, written into a buffer.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
};

use bowline_model::{clock::Timestamp, trace::TraceId};

/// `00` to `99`.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A whole number.
pub(super) fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// An address with its port.
pub(super) fn address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(_) => {
            ip(out, address.ip());
            out.push(b':');
            number(out, u64::from(address.port()));
        }
        // Writing to memory does not fail.
        IpAddr::V6(_) => drop(write!(out, "{address}")),
    }
}

/// An address without a port.
pub(super) fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// The hexadecimal digits of a trace's id.
pub(super) fn trace_id(out: &mut Vec<u8>, id: TraceId) {
    for byte in id.bytes() {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// What a byte becomes within quotes.
const PLAIN: u8 = 0;
const NOT_ASCII: u8 = 1;
const CONTROL: u8 = 2;

/// `PLAIN`, `NOT_ASCII`, `CONTROL`, or the character behind a backslash.
static KINDS: [u8; 256] = {
    let mut kinds = [PLAIN; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte == 0x7f {
            kinds[byte] = CONTROL;
        } else if byte >= 0x80 {
            kinds[byte] = NOT_ASCII;
        }
        byte += 1;
    }
    kinds[b'"' as usize] = b'"';
    kinds[b'\\' as usize] = b'\\';
    kinds[b'\n' as usize] = b'n';
    kinds[b'\r' as usize] = b'r';
    kinds[b'\t' as usize] = b't';
    kinds
};

/// A text within quotes, as JSON has it, and as Envoy's text has it here: nothing in it ends the quotes or the line.
/// What is not UTF-8 becomes U+FFFD.
pub(super) fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    escaped(out, bytes);
    out.push(b'"');
}

/// The same without the quotes.
pub(super) fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| KINDS[usize::from(*byte)] != PLAIN) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let byte = special[0];
        match KINDS[usize::from(byte)] {
            NOT_ASCII => {
                let length = special.iter().position(u8::is_ascii).unwrap_or(special.len());
                out.extend_from_slice(String::from_utf8_lossy(&special[..length]).as_bytes());
                rest = &special[length..];
                continue;
            }
            CONTROL => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
}

/// Writes times; the second that the last one was in is not worked out again.
#[derive(Debug, Default)]
pub(super) struct Times {
    second: Option<u64>,
    text: [u8; 20],
}

impl Times {
    /// RFC 3339 in UTC with milliseconds.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, at: Timestamp) {
        if self.second != Some(at.as_secs()) {
            let text = at.to_string();
            // A year beyond 9999 is longer.
            let Some(head) = text.as_bytes().get(..20).filter(|_| text.len() == 24) else {
                out.extend_from_slice(text.as_bytes());
                return;
            };
            self.text.copy_from_slice(head);
            self.second = Some(at.as_secs());
        }
        out.extend_from_slice(&self.text);
        let millis = (at.as_millis() % 1000) as usize;
        out.push(b'0' + (millis / 100) as u8);
        let pair = millis % 100 * 2;
        out.extend_from_slice(&PAIRS[pair..pair + 2]);
        out.push(b'Z');
    }
}
