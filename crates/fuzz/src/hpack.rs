//! Header blocks of an HTTP/2 peer.

use bowline_http2::hpack::{Decoder, Encoder, Field};

/// Of a message, in bytes as RFC 9113, section 6.5.2, counts them.
const LIST_MAX: usize = 16 * 1024;

/// Two bytes for the sizes of tables, in 64 bytes; then header blocks, two bytes of length each. What is decoded is
/// encoded by each of two encoders, with Huffman's code and without, and decoded again.
pub fn hpack(input: &[u8]) {
    let [ours, theirs, rest @ ..] = input else { return };
    let table = |size: &u8| usize::from(*size) * 64;
    let mut decoder = Decoder::new(table(ours));
    let mut ways = [false, true].map(|huffman| {
        let mut encoder = Encoder::with_table_max(table(ours));
        encoder.set_huffman(huffman);
        (encoder, Decoder::new(4_096.max(table(ours))))
    });
    let mut rest = rest;
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (block, following) = after.split_at(length);
        rest = following;
        let mut fields = Vec::new();
        let decoded = decoder.decode(block, LIST_MAX, &mut |field| fields.push(field));
        let size: usize = fields.iter().map(size).sum();
        assert!(size <= LIST_MAX, "more is given out than was allowed");
        fields.retain(|field| !matches!(field, Field::Malformed(_) | Field::Protocol(_)));
        for (encoder, again) in &mut ways {
            let mut out = Vec::new();
            if block.len() % 7 == 3 {
                encoder.set_table_size(table(theirs));
            }
            encoder.begin(&mut out);
            fields.iter().for_each(|field| encode(encoder, field, &mut out));
            let mut found = Vec::new();
            let read = again.decode(&out, usize::MAX, &mut |field| found.push(field));
            assert!(read.is_ok(), "what was encoded cannot be decoded");
            assert_eq!(fields, found, "what was decoded is not what was encoded");
        }
        if decoded.is_err() {
            return;
        }
    }
}

/// As far as it can be known from what was parsed.
fn size(field: &Field) -> usize {
    32 + match field {
        Field::Method(method) => ":method".len() + method.as_str().len(),
        Field::Scheme(scheme) => ":scheme".len() + scheme.as_str().len(),
        Field::Authority(authority) => ":authority".len() + authority.as_str().len(),
        Field::Path(path) => ":path".len() + path.as_str().len(),
        Field::Status(_) => ":status".len() + 3,
        Field::Protocol(protocol) => ":protocol".len() + protocol.len(),
        Field::Header(name, value) => name.as_str().len() + value.len(),
        Field::Malformed(_) => 0,
    }
}

fn encode(encoder: &mut Encoder, field: &Field, out: &mut Vec<u8>) {
    match field {
        Field::Method(method) => encoder.method(method, out),
        Field::Scheme(scheme) => encoder.scheme(scheme, out),
        Field::Authority(authority) => encoder.authority(authority.as_str(), out),
        Field::Path(path) => encoder.path(path.as_str(), out),
        Field::Status(status) => encoder.status(*status, out),
        Field::Header(name, value) => encoder.header(name, value, out),
        Field::Protocol(_) | Field::Malformed(_) => (),
    }
}
