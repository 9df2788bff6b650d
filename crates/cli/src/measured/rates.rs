//! How often, how well and how fast: edges added up.

use bowline_control::telemetry::EdgeView;
use bowline_model::metric::{Distribution, Statistic};
use serde::{Deserialize, Serialize};

/// How many responses there were, by hundreds of the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Responses {
    /// Requests that ended without one.
    pub(crate) none: u64,
    #[serde(rename = "1xx")]
    pub(crate) informational: u64,
    #[serde(rename = "2xx")]
    pub(crate) successful: u64,
    #[serde(rename = "3xx")]
    pub(crate) redirection: u64,
    #[serde(rename = "4xx")]
    pub(crate) client_error: u64,
    #[serde(rename = "5xx")]
    pub(crate) server_error: u64,
}

/// What edges say together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rates {
    /// The share of requests and TCP connections that did not fail; `None` where there were none.
    pub(crate) success_rate: Option<f64>,
    /// Requests that ended, in a second.
    pub(crate) requests_per_second: f64,
    /// Responses in that time.
    pub(crate) responses: Responses,
    /// Half of the responses began within so many milliseconds; `None` where there were none.
    pub(crate) p50_ms: Option<f64>,
    /// So did 95 %.
    pub(crate) p95_ms: Option<f64>,
    /// So did 99 %.
    pub(crate) p99_ms: Option<f64>,
    /// TCP connections begun, in a second.
    pub(crate) tcp_connections_per_second: f64,
    /// Connections that are open now.
    pub(crate) connections_active: u64,
    /// Connections that could not be made, in that time.
    pub(crate) connection_errors: u64,
    /// Bytes of bodies and of TCP, in a second, both ways.
    pub(crate) bytes_per_second: f64,
}

/// Rates in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    tried: u64,
    failures: u64,
    response_time: Distribution,
    rates: Rates,
}

impl Sum {
    /// One more edge.
    pub(crate) fn add(&mut self, edge: &EdgeView) {
        let [none, informational, successful, redirection, client_error, server_error] = edge.responses;
        let requests = edge.responses.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        self.tried = self.tried.saturating_add(requests).saturating_add(edge.tcp_connections);
        self.failures = self.failures.saturating_add(edge.failures);
        self.response_time.merge(&edge.response_time);
        let rates = &mut self.rates;
        rates.requests_per_second += edge.requests_per_second;
        rates.tcp_connections_per_second += edge.tcp_connections_per_second;
        rates.bytes_per_second += edge.bytes_per_second;
        let sums = &mut rates.responses;
        for (sum, more) in [
            (&mut sums.none, none),
            (&mut sums.informational, informational),
            (&mut sums.successful, successful),
            (&mut sums.redirection, redirection),
            (&mut sums.client_error, client_error),
            (&mut sums.server_error, server_error),
            (&mut rates.connections_active, edge.connections_active),
            (&mut rates.connection_errors, edge.connection_errors),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// What they say together.
    pub(crate) fn rates(self) -> Rates {
        let percentile = |percent| self.response_time.statistic(Statistic::Percentile(percent));
        let failed = self.failures.min(self.tried);
        Rates {
            success_rate: (self.tried > 0).then(|| 1.0 - failed as f64 / self.tried as f64),
            p50_ms: percentile(50.0),
            p95_ms: percentile(95.0),
            p99_ms: percentile(99.0),
            ..self.rates
        }
    }
}

/// `99.95%`: never 100 where something failed; `-` where there was nothing.
pub(crate) fn percent(share: Option<f64>) -> String {
    let Some(share) = share else { return "-".into() };
    // Down, so that one failure among a million shows.
    let hundredths = (share.clamp(0.0, 1.0) * 10_000.0 + 1e-6).floor() / 100.0;
    format!("{hundredths:.2}%")
}

/// `0.52ms`, `12ms`, `3.4s`; `-` where there was nothing.
pub(crate) fn milliseconds(time: Option<f64>) -> String {
    match time {
        None => "-".into(),
        Some(time) if time < 9.995 => format!("{time:.2}ms"),
        Some(time) if time < 999.5 => format!("{time:.0}ms"),
        Some(time) => format!("{:.1}s", time / 1_000.0),
    }
}

/// How often in a second: `0`, `0.1`, `12.3`, `1234`.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".into(),
        // Not nothing.
        rate if rate < 0.05 => "<0.1".into(),
        rate if rate < 99.95 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_not_rounded_away() {
        for (share, text) in [
            (None, "-"),
            (Some(1.0), "100.00%"),
            (Some(0.999_999), "99.99%"),
            (Some(0.9), "90.00%"),
            (Some(0.57), "57.00%"),
            (Some(0.0), "0.00%"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn times_and_rates_have_as_many_digits_as_one_can_use() {
        for (time, text) in
            [(0.521, "0.52ms"), (9.999, "10ms"), (123.4, "123ms"), (999.9, "1.0s"), (12_345.0, "12.3s")]
        {
            assert_eq!(milliseconds(Some(time)), text);
        }
        assert_eq!(milliseconds(None), "-");
        for (per_second, text) in [(0.0, "0"), (0.01, "<0.1"), (0.1, "0.1"), (99.97, "100"), (1234.4, "1234")]
        {
            assert_eq!(rate(per_second), text);
        }
    }
}
