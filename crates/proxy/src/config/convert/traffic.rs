//! Retries, outlier detection, circuit breakers and active checks of a message.

use std::time::Duration;

use bowline_discovery::v1;
use bowline_model::{
    outlier::{LatencyPolicy, OutlierPolicy, SuccessRatePolicy},
    retry::{BackOff, GRPC_RETRIABLE, RetryBudget},
};

use super::{Invalid, invalid, millis};
use crate::{
    config::{CheckProtocol, ForwardPolicy, HealthCheck, RetryOn, ValueKind, ValueMatch},
    load::Breakers,
};

/// Envoy's default for requests that wait for a connection.
const MAX_PENDING_DEFAULT: usize = 1_024;
/// Most retries a route may ask for.
const RETRIES_MAX: u32 = 100;
/// Longest `Retry-After` that is waited for, where none is given.
const RETRY_AFTER_MAX_DEFAULT: Duration = Duration::from_secs(5);

pub(super) fn forward_policy(forward: &v1::Forward) -> Result<ForwardPolicy, Invalid> {
    let retry = forward.retry.clone().unwrap_or(v1::RetryPolicy { max_retries: 2, ..Default::default() });
    if retry.max_retries > RETRIES_MAX {
        return Err(invalid("forward.retry.maxRetries", format!("at most {RETRIES_MAX} are accepted")));
    }
    let defaults = (RetryBudget::default(), BackOff::default());
    let base = millis(retry.back_off_base_ms).unwrap_or(defaults.1.base);
    Ok(ForwardPolicy {
        timeout: millis(forward.request_timeout_ms),
        per_try_timeout: millis(retry.per_try_timeout_ms),
        max_retries: retry.max_retries,
        retry_on: retry_on(&retry)?,
        budget: RetryBudget {
            percent: or(retry.budget_percent, defaults.0.percent).min(100),
            min_concurrency: or(retry.min_concurrency, defaults.0.min_concurrency),
        },
        back_off: BackOff { base, max: millis(retry.back_off_max_ms).unwrap_or(base * 10) },
        retry_after_max: millis(retry.retry_after_max_ms).unwrap_or(RETRY_AFTER_MAX_DEFAULT),
    })
}

/// Of exact and the others one thing, or only a name.
pub(super) fn value_match(field: &str, message: &v1::HeaderMatch) -> Result<ValueMatch, Invalid> {
    let text = |text: &String, kind: fn(String) -> ValueKind| (!text.is_empty()).then(|| kind(text.clone()));
    let given = [
        text(&message.exact, ValueKind::Exact),
        text(&message.prefix, ValueKind::Prefix),
        text(&message.suffix, ValueKind::Suffix),
        message.present.then_some(ValueKind::Present),
        message.range.map(|range| ValueKind::Range(range.start, range.end)),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (_, Some(_)) => Err(invalid(field, "one of exact, prefix, suffix, present and range is accepted")),
        (kind, None) => {
            let kind = kind.unwrap_or_else(|| ValueKind::Exact(String::new()));
            Ok(ValueMatch { kind, invert: message.invert })
        }
    }
}

fn or(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

fn retry_on(retry: &v1::RetryPolicy) -> Result<RetryOn, Invalid> {
    let mut on = RetryOn::default();
    if retry.retry_on.is_empty() && retry.grpc_retry_on.is_empty() {
        on = RetryOn { connect_failure: true, refused_stream: true, reset: true, ..on };
    }
    for condition in &retry.retry_on {
        match condition.as_str() {
            "connect-failure" => on.connect_failure = true,
            "refused-stream" => on.refused_stream = true,
            "reset" => on.reset = true,
            "gateway-error" => on.gateway_error = true,
            "5xx" => on.server_error = true,
            "unavailable" => on.unavailable = true,
            "retriable-4xx" => on.conflict = true,
            other => {
                return Err(invalid(
                    "forward.retry.retryOn",
                    format!(
                        "{other:?}; connect-failure, refused-stream, reset, gateway-error, 5xx, unavailable \
                         and retriable-4xx are known"
                    ),
                ));
            }
        }
    }
    for status in &retry.grpc_retry_on {
        match GRPC_RETRIABLE.iter().find(|(_, name)| name == status) {
            Some((number, _)) => on.grpc |= 1 << number,
            None => {
                let known = GRPC_RETRIABLE.map(|(_, name)| name).join(", ");
                return Err(invalid("forward.retry.grpcRetryOn", format!("{status:?}; {known} are known")));
            }
        }
    }
    Ok(on)
}

pub(super) fn breakers(message: &v1::Cluster) -> Breakers {
    let given = message.breakers.unwrap_or_default();
    let or_none = |value: u32| if value == 0 { usize::MAX } else { value as usize };
    Breakers {
        connections: or_none(given.max_connections),
        pending: match (given.max_pending, message.max_pending) {
            (0, 0) => MAX_PENDING_DEFAULT,
            (0, given) | (given, _) => given as usize,
        },
        requests: or_none(given.max_requests),
        retries: or_none(given.max_retries),
    }
}

pub(super) fn outlier(message: &v1::OutlierDetection) -> OutlierPolicy {
    let defaults = OutlierPolicy::default();
    let time = |value: u64, default: Duration| millis(value).unwrap_or(default);
    let on = |value: u32| (value > 0).then_some(value);
    OutlierPolicy {
        consecutive_failures: or(message.consecutive_failures, defaults.consecutive_failures),
        consecutive_gateway_failures: on(message.consecutive_gateway_failures),
        consecutive_local_failures: on(message.consecutive_local_failures),
        interval: time(message.interval_ms, defaults.interval),
        base_ejection: time(message.base_ejection_ms, defaults.base_ejection),
        max_ejection: time(message.max_ejection_ms, defaults.max_ejection),
        max_ejection_percent: or(message.max_ejection_percent, defaults.max_ejection_percent).min(100),
        success_rate: message.success_rate.map(|given| {
            let defaults = SuccessRatePolicy::default();
            SuccessRatePolicy {
                minimum_hosts: or(given.minimum_hosts, defaults.minimum_hosts),
                request_volume: or(given.request_volume, defaults.request_volume),
                stdev_factor: or(given.stdev_factor, defaults.stdev_factor),
            }
        }),
        latency: message.latency.map(|given| {
            let defaults = LatencyPolicy::default();
            LatencyPolicy {
                minimum_hosts: or(given.minimum_hosts, defaults.minimum_hosts),
                request_volume: or(given.request_volume, defaults.request_volume),
                factor_percent: or(given.factor_percent, defaults.factor_percent),
                minimum: time(given.minimum_ms, defaults.minimum),
            }
        }),
    }
}

pub(super) fn health_check(message: &v1::HealthCheck) -> Result<HealthCheck, Invalid> {
    let matcher = match message.matcher.as_str() {
        "" => vec![(200, 200)],
        text => text
            .split(',')
            .map(|part| {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
                    (Ok(low), Ok(high)) if (200..=499).contains(&low) && (low..=499).contains(&high) => {
                        Ok((low, high))
                    }
                    _ => Err(invalid(
                        "healthCheck.matcher",
                        format!("{part:?} is no code or range of 200 to 499"),
                    )),
                }
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(HealthCheck {
        protocol: match (message.protocol.as_str(), message.path.as_str()) {
            ("tcp", _) | ("" | "http", "") => CheckProtocol::Tcp,
            ("grpc", _) => CheckProtocol::Grpc(message.grpc_service.clone()),
            ("" | "http", path) => CheckProtocol::Http(
                path.parse().map_err(|_| invalid("healthCheck.path", format!("{path:?} is no path")))?,
            ),
            (other, _) => {
                let reason = format!("{other:?}; http, grpc and tcp are known");
                return Err(invalid("healthCheck.protocol", reason));
            }
        },
        // An ALB's defaults.
        interval: millis(message.interval_ms).unwrap_or(Duration::from_secs(30)),
        timeout: millis(message.timeout_ms).unwrap_or(Duration::from_secs(5)),
        healthy_threshold: message.healthy_threshold.max(1),
        unhealthy_threshold: message.unhealthy_threshold.max(1),
        matcher,
    })
}
