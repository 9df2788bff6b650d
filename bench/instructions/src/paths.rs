//! The hot paths: what each request passes, with inputs as they are in use.

mod decisions;
mod handshake;
mod hpack;
mod observed;
mod whole;

/// Something that is done over and over.
pub(crate) struct HotPath {
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    /// How often it is done to be counted: some million instructions together.
    pub(crate) times: u64,
    pub(crate) run: fn(u64) -> anyhow::Result<()>,
}

/// All of them.
pub(crate) const PATHS: &[HotPath] = &[
    HotPath {
        name: "access_log_line",
        what: "an access log's line in JSON",
        times: 2_000,
        run: observed::access_line,
    },
    HotPath {
        name: "authorization",
        what: "a call is decided, by five rules",
        times: 5_000,
        run: decisions::authorization,
    },
    HotPath {
        name: "balance_pick",
        what: "one of twenty endpoints is picked, in turn by weight",
        times: 20_000,
        run: decisions::pick,
    },
    HotPath {
        name: "handshake",
        what: "a mutual handshake of two sidecars that know each other's chains, both sides",
        times: 50,
        run: handshake::mutual,
    },
    HotPath {
        name: "hpack_decode_request",
        what: "a request's header block is decoded, mostly of the table",
        times: 2_000,
        run: hpack::decode_request,
    },
    HotPath {
        name: "hpack_decode_response",
        what: "a response's header block is decoded, mostly of the table",
        times: 2_000,
        run: hpack::decode_response,
    },
    HotPath {
        name: "hpack_encode_request",
        what: "a request's header block is encoded, mostly by the table",
        times: 2_000,
        run: hpack::encode_request,
    },
    HotPath {
        name: "hpack_encode_response",
        what: "a response's header block is encoded, mostly by the table",
        times: 2_000,
        run: hpack::encode_response,
    },
    HotPath {
        name: "http1_framing",
        what: "a request's head passes the guard before the parser",
        times: 2_000,
        run: observed::framing,
    },
    HotPath {
        name: "metric_row",
        what: "a request that ended is counted in its row",
        times: 20_000,
        run: observed::metric_row,
    },
    HotPath {
        name: "request_alone",
        what: "an HTTP/1.1 request through both sidecars, with nothing else under way",
        times: 250,
        run: whole::alone,
    },
    HotPath {
        name: "request_of_32",
        what: "one of 32 HTTP/1.1 requests that go through both sidecars at a time",
        times: 800,
        run: whole::of_many,
    },
];
