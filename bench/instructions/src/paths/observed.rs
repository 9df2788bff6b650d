//! What the data plane checks and notes of each request.

use std::hint::black_box;

use anyhow::ensure;
use bowline_proxy::measured::{self, AccessLine, MetricRow};

const REQUEST: &[u8] = b"POST /v1/things?of=mine HTTP/1.1\r\n\
    host: service-b-sc:8202\r\n\
    accept: */*\r\n\
    accept-encoding: gzip, deflate\r\n\
    connection: keep-alive\r\n\
    user-agent: python-httpx/0.27.0\r\n\
    content-type: application/json\r\n\
    x-request-id: 4f0f9c0e-8a3c-4d5b-9a57-1f6f0a2b3c4d\r\n\
    content-length: 11\r\n\r\n{\"of\":\"me\"}";

pub(crate) fn framing(times: u64) -> anyhow::Result<()> {
    for _ in 0..times {
        ensure!(measured::framing(black_box(REQUEST)), "the request is refused");
    }
    Ok(())
}

pub(crate) fn access_line(times: u64) -> anyhow::Result<()> {
    let mut line = AccessLine::new();
    let mut out = Vec::new();
    for turn in 0..times {
        out.clear();
        // Many within a second, as under load.
        line.write(turn / 4, &mut out);
        black_box(&out);
    }
    ensure!(out.starts_with(b"{"), "there is no line");
    Ok(())
}

pub(crate) fn metric_row(times: u64) -> anyhow::Result<()> {
    let row = MetricRow::new();
    for turn in 0..times {
        row.add(black_box(100 + turn % 900));
    }
    Ok(())
}
