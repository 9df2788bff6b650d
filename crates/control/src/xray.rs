//! AWS X-Ray over what is kept of traces.
//!
//! - `segment` is a segment document: what applications send, and what is answered.
//! - `render` makes segments of proxies' spans.
//! - `view` is a whole trace: its segments, and who called whom.
//! - `filter` reads filter expressions and applies them to traces.
//! - `summary` and `graph` are what is told of traces.
//! - `sampling` holds the sampling rules, and what clients have told of their use.
//!
//! Source: AWS X-Ray's developer guide ("X-Ray segment documents", "Use filter expressions", "Configure sampling rules")
//! and its API reference.

pub(crate) mod filter;
pub(crate) mod graph;
pub(crate) mod render;
pub(crate) mod sampling;
pub(crate) mod segment;
pub(crate) mod summary;
pub(crate) mod view;

pub use sampling::SamplingRuleRow;
