//! HTTP/2 by hand: headers that a well-behaved client cannot send (RFC 9113, RFC 7541 literals without
//! an index and without Huffman's code).

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The preface and empty settings.
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A request on stream 1; with a body where there is one.
pub(crate) fn request(headers: &[(&[u8], &[u8])], body: Option<&[u8]>) -> Vec<u8> {
    let end = if body.is_none() { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, END_HEADERS | end, 1, &block(headers));
    if let Some(body) = body {
        bytes.extend(frame(DATA, END_STREAM, 1, body));
    }
    bytes
}

/// A header block in as many CONTINUATION frames, the last of which never comes.
pub(crate) fn endless_headers(frames: usize) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_STREAM, 1, &block(&[(b":method", b"GET"), (b":path", b"/")]));
    for number in 0..frames {
        let name = format!("x-{number}");
        bytes.extend(frame(CONTINUATION, 0, 1, &block(&[(name.as_bytes(), &[b'a'; 1_000])])));
    }
    bytes
}

/// As many streams, each opened and reset at once.
pub(crate) fn opened_and_reset(headers: &[(&[u8], &[u8])], streams: u32) -> Vec<u8> {
    let block = block(headers);
    let one = |number: u32| {
        let stream = 2 * number + 1;
        let reset = frame(3, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block), reset].concat()
    };
    (0..streams).flat_map(one).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn block(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// A string literal: its length in seven bits and more (RFC 7541 §5.1), and its bytes.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut rest = bytes.len();
    if rest < 127 {
        encoded.push(u8::try_from(rest).expect("below 127"));
    } else {
        encoded.push(127);
        rest -= 127;
        while rest >= 128 {
            encoded.push(u8::try_from(rest % 128).expect("below 128") | 128);
            rest /= 128;
        }
        encoded.push(u8::try_from(rest).expect("below 128"));
    }
    encoded.extend_from_slice(bytes);
    encoded
}
