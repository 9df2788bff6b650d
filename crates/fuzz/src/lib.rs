//! What the fuzzers run: one function a target, each over bytes that somebody outside has chosen.
//!
//! A target panics where the code under it breaks a promise: by a panic of its own, or because a
//! property does not hold (what is written can be read again, an altered request does not verify).
//! The functions are plain so that they are used twice: by libFuzzer (`fuzz/fuzz_targets`), which
//! looks for inputs, and by `tests/replay.rs`, which runs those that were kept in `fuzz/corpus` on
//! every build.

mod authority;
mod aws;
mod data_plane;
mod hpack;
mod http1;
mod http2;
mod links;
mod logs;
mod metrics;
mod name_server;
mod policies;
mod request;
mod rest;
mod traces;

pub use self::{
    authority::{ciphertext, csr, imported_certificate, signing_request},
    aws::{cbor, cloudformation, json, query, sigv4},
    data_plane::{dns, http_framing, peer_certificate, proxy_config, proxy_file, proxy_request},
    hpack::hpack,
    http1::http1_answer,
    http2::{http2_client, http2_server},
    links::{discovery, packets, sealed},
    logs::{fluent_bit, forward},
    metrics::metric_math,
    name_server::name_server,
    policies::policy,
    rest::rest_json,
    traces::trace_context,
};

/// A target: its name, which is its corpus's folder, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("cbor", cbor),
    ("ciphertext", ciphertext),
    ("cloudformation", cloudformation),
    ("csr", csr),
    ("discovery", discovery),
    ("dns", dns),
    ("fluent_bit", fluent_bit),
    ("forward", forward),
    ("hpack", hpack),
    ("http1_answer", http1_answer),
    ("http2_client", http2_client),
    ("http2_server", http2_server),
    ("http_framing", http_framing),
    ("imported_certificate", imported_certificate),
    ("json", json),
    ("metric_math", metric_math),
    ("name_server", name_server),
    ("packets", packets),
    ("peer_certificate", peer_certificate),
    ("policy", policy),
    ("proxy_config", proxy_config),
    ("proxy_file", proxy_file),
    ("proxy_request", proxy_request),
    ("query", query),
    ("rest_json", rest_json),
    ("sealed", sealed),
    ("signing_request", signing_request),
    ("sigv4", sigv4),
    ("trace_context", trace_context),
];
