//! Reads, from captured bytes, what a TLS server chose: version and cipher.
//!
//! The server's first flight is in the clear as far as the ServerHello
//! (RFC 8446 §4.1.3), so an observer can tell TLS 1.3 from anything else
//! without a key.

/// What the ServerHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerHello {
    /// `supported_versions`, else the legacy version: 0x0304 is TLS 1.3.
    pub(crate) version: u16,
    /// The cipher suite's code point.
    pub(crate) cipher_suite: u16,
}

impl ServerHello {
    /// `TLSv1.3`, or what else was chosen.
    pub(crate) fn version_name(&self) -> String {
        match self.version {
            0x0304 => "TLSv1.3".to_owned(),
            0x0303 => "TLSv1.2".to_owned(),
            other => format!("0x{other:04x}"),
        }
    }

    /// IANA's name for the suites of TLS 1.3, else the number.
    pub(crate) fn cipher_name(&self) -> String {
        match self.cipher_suite {
            0x1301 => "TLS_AES_128_GCM_SHA256".to_owned(),
            0x1302 => "TLS_AES_256_GCM_SHA384".to_owned(),
            0x1303 => "TLS_CHACHA20_POLY1305_SHA256".to_owned(),
            other => format!("0x{other:04x}"),
        }
    }
}

const RECORD_HANDSHAKE: u8 = 22;
const MESSAGE_SERVER_HELLO: u8 = 2;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;

/// The random of a HelloRetryRequest (RFC 8446 §4.1.3): not the final hello.
const RETRY_RANDOM: [u8; 32] = [
    0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91, 0xC2,
    0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
];

/// Finds the ServerHello in the bytes that a server sent first. `None`: they
/// are not TLS.
pub(crate) fn server_hello(stream: &[u8]) -> Option<ServerHello> {
    let mut records = stream;
    while records.len() >= 5 {
        let length = usize::from(u16::from_be_bytes([records[3], records[4]]));
        let body = records.get(5..5 + length)?;
        if records[0] == RECORD_HANDSHAKE {
            let hello = parse_hello(body)?;
            if let Some(hello) = hello {
                return Some(hello);
            }
        }
        records = &records[5 + length..];
    }
    None
}

/// `Some(None)` for a HelloRetryRequest.
fn parse_hello(message: &[u8]) -> Option<Option<ServerHello>> {
    let mut reader = Reader(message);
    if reader.u8()? != MESSAGE_SERVER_HELLO {
        return None;
    }
    reader.take(3)?;
    let legacy_version = reader.u16()?;
    let random = reader.take(32)?;
    let session_id = usize::from(reader.u8()?);
    reader.take(session_id)?;
    let cipher_suite = reader.u16()?;
    reader.u8()?;
    let mut version = legacy_version;
    if let Some(length) = reader.u16() {
        let mut extensions = Reader(reader.take(usize::from(length))?);
        while let Some(kind) = extensions.u16() {
            let length = extensions.u16()?;
            let mut body = Reader(extensions.take(usize::from(length))?);
            if kind == EXTENSION_SUPPORTED_VERSIONS {
                version = body.u16()?;
            }
        }
    }
    Some((random != RETRY_RANDOM).then_some(ServerHello { version, cipher_suite }))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello_with(random: [u8; 32], version: u16) -> Vec<u8> {
        let mut body = vec![0x03, 0x03];
        body.extend_from_slice(&random);
        body.push(0);
        body.extend_from_slice(&[0x13, 0x02, 0]);
        body.extend_from_slice(&[0, 6, 0, 43, 0, 2]);
        body.extend_from_slice(&version.to_be_bytes());
        let mut message = vec![2, 0, 0, u8::try_from(body.len()).expect("short")];
        message.extend_from_slice(&body);
        let mut record = vec![22, 3, 3, 0, u8::try_from(message.len()).expect("short")];
        record.extend_from_slice(&message);
        record
    }

    #[test]
    fn reads_what_the_server_chose() {
        let hello = server_hello(&hello_with([7; 32], 0x0304)).expect("a hello");
        assert_eq!(hello.version_name(), "TLSv1.3");
        assert_eq!(hello.cipher_name(), "TLS_AES_256_GCM_SHA384");
    }

    #[test]
    fn skips_a_hello_retry_request() {
        let mut stream = hello_with(RETRY_RANDOM, 0x0304);
        stream.extend_from_slice(&[20, 3, 3, 0, 1, 1]);
        assert_eq!(server_hello(&stream), None);
        stream.extend_from_slice(&hello_with([7; 32], 0x0304));
        assert!(server_hello(&stream).is_some());
    }

    #[test]
    fn plain_http_is_no_tls() {
        assert_eq!(server_hello(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = server_hello(&bytes);
        }
    }
}
