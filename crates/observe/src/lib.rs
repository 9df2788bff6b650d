//! What is kept of telemetry: metrics, traces and logs. Everything here is bounded, and lives on disk.
//!
//! Who writes and who reads stands elsewhere: `control` takes in what proxies and agents report, and answers
//! AWS's APIs from here.
//!
//! - [`metrics`] keeps metrics: [`metrics::MetricStore`].
//! - [`traces`] keeps spans, and what applications tell of themselves: [`traces::TraceStore`].
//! - [`logs`] keeps logs: [`logs::LogStore`].

pub mod logs;
pub mod metrics;
pub mod traces;
