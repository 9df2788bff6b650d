//! TCP segments of captured packets, and the streams that they make.

use std::{collections::BTreeMap, net::IpAddr};

use super::relay::Captured;

/// A TCP segment in an IP packet (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    sequence: u32,
    begins: bool,
    payload: &'a [u8],
}

const PROTOCOL_TCP: u8 = 6;
const FLAG_SYN: u8 = 0x02;

impl<'a> Segment<'a> {
    /// `None`: not a whole TCP segment, or of an IPv6 packet with extension headers.
    pub(crate) fn parse(packet: &'a [u8]) -> Option<Self> {
        let (source, destination, tcp) = match packet.first()? >> 4 {
            4 => {
                let header = usize::from(packet[0] & 0x0F) * 4;
                let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
                let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3FFF;
                if *packet.get(9)? != PROTOCOL_TCP || fragment != 0 || header < 20 {
                    return None;
                }
                let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
                let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
                (source.into(), destination.into(), packet.get(header..length)?)
            }
            6 => {
                let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
                if *packet.get(6)? != PROTOCOL_TCP {
                    return None;
                }
                let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
                let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
                (source.into(), destination.into(), packet.get(40..40 + length)?)
            }
            _ => return None,
        };
        let offset = usize::from(tcp.get(12)? >> 4) * 4;
        if offset < 20 {
            return None;
        }
        Some(Self {
            source: (source, u16::from_be_bytes([tcp[0], tcp[1]])),
            destination: (destination, u16::from_be_bytes([tcp[2], tcp[3]])),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            begins: *tcp.get(13)? & FLAG_SYN != 0,
            payload: tcp.get(offset..)?,
        })
    }

    /// Whether it goes to or comes from `port`.
    pub(crate) fn touches(&self, port: u16) -> bool {
        self.source.1 == port || self.destination.1 == port
    }
}

/// A connection, put together from its segments.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What crossed.
    pub(crate) bytes: Captured,
    /// From the first byte on, without a gap.
    pub(crate) whole: bool,
}

/// One direction: the segments by their distance from the first sequence number seen.
#[derive(Default)]
struct Direction<'a> {
    first: Option<u32>,
    from_beginning: bool,
    pieces: BTreeMap<i64, &'a [u8]>,
}

impl<'a> Direction<'a> {
    fn take(&mut self, segment: &Segment<'a>) {
        // A SYN takes one sequence number itself.
        let sequence = segment.sequence.wrapping_add(u32::from(segment.begins));
        let first = *self.first.get_or_insert(sequence);
        self.from_beginning |= segment.begins;
        if segment.payload.is_empty() {
            return;
        }
        let distance = i64::from(sequence.wrapping_sub(first).cast_signed());
        let piece = self.pieces.entry(distance).or_default();
        if piece.len() < segment.payload.len() {
            *piece = segment.payload;
        }
    }

    /// The bytes in order, and whether none is missing.
    fn join(&self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let mut next = 0;
        let mut whole = self.from_beginning;
        for (&begin, piece) in &self.pieces {
            whole &= begin <= next;
            // Sent again: what is there already is left out.
            let known = usize::try_from((next - begin).max(0)).unwrap_or(usize::MAX);
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
            next = next.max(begin + i64::try_from(piece.len()).unwrap_or(i64::MAX));
        }
        (bytes, whole)
    }
}

/// The connections to `port`, in the order of their clients' addresses. A packet that was seen twice (loopback
/// shows each on its way out and in) counts once.
pub(crate) fn streams(packets: &[Vec<u8>], port: u16) -> Vec<Stream> {
    let mut connections: BTreeMap<(IpAddr, u16), (Direction<'_>, Direction<'_>)> = BTreeMap::new();
    for segment in packets.iter().filter_map(|packet| Segment::parse(packet)) {
        if segment.destination.1 == port {
            connections.entry(segment.source).or_default().0.take(&segment);
        } else if segment.source.1 == port {
            connections.entry(segment.destination).or_default().1.take(&segment);
        }
    }
    connections
        .values()
        .map(|(client, server)| {
            let (from_client, client_whole) = client.join();
            let (from_server, server_whole) = server.join();
            Stream { bytes: Captured { from_client, from_server }, whole: client_whole && server_whole }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: u16 = 40_000;
    const SERVER: u16 = 443;

    fn packet(from: u16, to: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
        packet[9] = PROTOCOL_TCP;
        packet[20..22].copy_from_slice(&from.to_be_bytes());
        packet[22..24].copy_from_slice(&to.to_be_bytes());
        packet[24..28].copy_from_slice(&sequence.to_be_bytes());
        packet[32] = 0x50;
        packet[33] = flags;
        packet.extend_from_slice(payload);
        packet
    }

    fn opened(sequence: u32) -> Vec<Vec<u8>> {
        vec![packet(CLIENT, SERVER, sequence, FLAG_SYN, b""), packet(SERVER, CLIENT, 7, FLAG_SYN | 0x10, b"")]
    }

    #[test]
    fn out_of_order_again_and_past_the_wrap_they_are_one_stream() {
        let mut packets = opened(u32::MAX - 2);
        packets.push(packet(CLIENT, SERVER, 2, 0, b"efgh"));
        packets.push(packet(CLIENT, SERVER, u32::MAX - 1, 0, b"abcd"));
        packets.push(packet(CLIENT, SERVER, u32::MAX - 1, 0, b"abcd"));
        packets.push(packet(SERVER, CLIENT, 8, 0, b"answer"));
        let streams = streams(&packets, SERVER);
        assert_eq!(streams.len(), 1);
        assert!(streams[0].whole);
        assert_eq!(streams[0].bytes.from_client, b"abcdefgh");
        assert_eq!(streams[0].bytes.from_server, b"answer");
    }

    #[test]
    fn a_gap_and_a_missing_beginning_are_noticed() {
        let mut packets = opened(100);
        packets.push(packet(CLIENT, SERVER, 105, 0, b"late"));
        assert!(!streams(&packets, SERVER)[0].whole);
        let middle = [packet(CLIENT, SERVER, 105, 0, b"late")];
        assert!(!streams(&middle, SERVER)[0].whole);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), version in prop_oneof![Just(0x45u8), Just(0x60)]) {
            let mut packet = bytes;
            if let Some(first) = packet.first_mut() {
                *first = version;
            }
            let _ = streams(&[packet], SERVER);
        }
    }
}
