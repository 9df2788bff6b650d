//! Header blocks of the hop between sidecars.

use std::hint::black_box;

use bowline_http2::hpack::{Decoder, Encoder, Field, TABLE_SIZE_DEFAULT};
use http::{HeaderName, HeaderValue, Method, StatusCode, uri::Scheme};

/// Larger than any here.
const LIST_MAX: usize = 64 * 1024;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type Headers = Vec<(HeaderName, HeaderValue)>;

fn headers(list: &[(&'static str, &'static str)]) -> Headers {
    list.iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// As an application's HTTP client and the sidecar before it send it.
fn request_headers() -> Headers {
    headers(&[
        ("accept", "*/*"),
        ("accept-encoding", "gzip, deflate"),
        ("user-agent", "python-httpx/0.27.0"),
        ("content-type", "application/json"),
        ("x-forwarded-for", "10.0.3.17"),
        ("x-forwarded-proto", "http"),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
    ])
}

fn response_headers() -> Headers {
    headers(&[
        ("server", "uvicorn"),
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("cache-control", "no-store"),
        ("date", "Sun, 22 Nov 2026 06:40:01 GMT"),
    ])
}

/// A value that is another one each time, of as many bytes.
struct Changing([u8; 36]);

impl Changing {
    fn new() -> Self {
        Self(*b"4f0f9c0e-8a3c-4d5b-9a57-000000000000")
    }

    fn next(&mut self) -> anyhow::Result<HeaderValue> {
        for digit in self.0.iter_mut().rev() {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            if *digit != b'0' {
                break;
            }
        }
        Ok(HeaderValue::from_bytes(&self.0)?)
    }
}

fn put_request(encoder: &mut Encoder, headers: &Headers, id: &HeaderValue, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.method(&Method::GET, out);
    encoder.scheme(&Scheme::HTTPS, out);
    encoder.authority("service-b-sc:8202", out);
    encoder.path("/v1/things?of=mine", out);
    for (name, value) in headers {
        encoder.header(name, value, out);
    }
    encoder.header(&REQUEST_ID, id, out);
}

fn put_response(encoder: &mut Encoder, headers: &Headers, id: &HeaderValue, out: &mut Vec<u8>) {
    encoder.begin(out);
    encoder.status(StatusCode::OK, out);
    for (name, value) in headers {
        encoder.header(name, value, out);
    }
    encoder.header(&REQUEST_ID, id, out);
}

type Put = fn(&mut Encoder, &Headers, &HeaderValue, &mut Vec<u8>);

fn encode(times: u64, headers: &Headers, put: Put) -> anyhow::Result<()> {
    let mut encoder = Encoder::new();
    let (mut out, mut id) = (Vec::new(), Changing::new());
    for _ in 0..times {
        out.clear();
        put(&mut encoder, black_box(headers), &id.next()?, &mut out);
        black_box(&out);
    }
    Ok(())
}

/// The first block fills the table; the second is what is sent on and on.
fn decode(times: u64, headers: &Headers, put: Put) -> anyhow::Result<()> {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(TABLE_SIZE_DEFAULT);
    let (mut block, mut id) = (Vec::new(), Changing::new());
    // By then the encoder knows which value changes, and has all others.
    for _ in 0..33 {
        block.clear();
        put(&mut encoder, headers, &id.next()?, &mut block);
        decoder.decode(&block, LIST_MAX, &mut |_| ())?;
    }
    let mut fields: Vec<Field> = Vec::with_capacity(32);
    for _ in 0..times {
        fields.clear();
        decoder.decode(black_box(&block), LIST_MAX, &mut |field| fields.push(field))?;
        black_box(&fields);
    }
    Ok(())
}

pub(crate) fn encode_request(times: u64) -> anyhow::Result<()> {
    encode(times, &request_headers(), put_request)
}

pub(crate) fn encode_response(times: u64) -> anyhow::Result<()> {
    encode(times, &response_headers(), put_response)
}

pub(crate) fn decode_request(times: u64) -> anyhow::Result<()> {
    decode(times, &request_headers(), put_request)
}

pub(crate) fn decode_response(times: u64) -> anyhow::Result<()> {
    decode(times, &response_headers(), put_response)
}
