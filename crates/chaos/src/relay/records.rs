//! How far a TLS handshake has come, by the types of its records alone (RFC 8446, section 5.1): nothing is decrypted.

const HEADER_BYTES: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;
/// Longest record that is believed, bytes: 2^14 and what encryption adds, by TLS 1.2.
const RECORD_BYTES_MAX: usize = (1 << 14) + 2048;

/// Follows the records of one direction, however its bytes are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    header: [u8; HEADER_BYTES],
    /// How much of the header is there.
    known: usize,
    /// How much of the record is to come.
    left: usize,
    seen: Seen,
}

/// What has been seen of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// At most the parts of a handshake that are in the clear.
    #[default]
    Hello,
    /// A record of application data: in TLS 1.3 the rest of the handshake is in such records.
    Encrypted,
    /// It is no TLS.
    Other,
}

impl Records {
    /// Takes in bytes, and says what has been seen up to their end.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Seen {
        while self.seen == Seen::Hello && !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.known] = bytes[0];
            self.known += 1;
            bytes = &bytes[1..];
            if self.known == HEADER_BYTES {
                self.known = 0;
                self.begin_record();
            }
        }
        self.seen
    }

    fn begin_record(&mut self) {
        let [kind, major, _, high, low] = self.header;
        self.left = usize::from(u16::from_be_bytes([high, low]));
        self.seen = match kind {
            APPLICATION_DATA if major == 3 => Seen::Encrypted,
            CHANGE_CIPHER_SPEC..APPLICATION_DATA if major == 3 && self.left <= RECORD_BYTES_MAX => {
                Seen::Hello
            }
            _ => Seen::Other,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend(length.to_be_bytes());
        bytes.resize(HEADER_BYTES + usize::from(length), 0xff);
        bytes
    }

    #[test]
    fn the_second_flight_of_tls_1_3_is_seen() {
        let mut records = Records::default();
        assert_eq!(records.take(&record(22, 512)), Seen::Hello);
        // A second ClientHello after HelloRetryRequest, with its change of cipher.
        assert_eq!(records.take(&[record(20, 1), record(22, 600)].concat()), Seen::Hello);
        assert_eq!(records.take(&record(23, 900)[..5]), Seen::Encrypted);
    }

    #[test]
    fn what_is_no_tls_is_seen() {
        assert_eq!(Records::default().take(b"GET / HTTP/1.1\r\n"), Seen::Other);
        assert_eq!(Records::default().take(b"\x16\x02\x01\x00\x10"), Seen::Other);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_bytes_are_cut(
            lengths in prop::collection::vec((20u8..=23, 0u16..40), 1..6),
            cut in 1usize..17,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|(kind, length)| record(*kind, *length)).collect();
            let mut whole = Records::default();
            let expected = whole.take(&bytes);
            let mut cut_up = Records::default();
            let mut seen = Seen::Hello;
            for piece in bytes.chunks(cut) {
                seen = cut_up.take(piece);
            }
            prop_assert_eq!(seen, expected);
            let has_data = lengths.iter().any(|(kind, _)| *kind == 23);
            prop_assert_eq!(expected, if has_data { Seen::Encrypted } else { Seen::Hello });
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Records::default().take(&bytes);
        }
    }
}
