//! Retries, outlier detection, circuit breakers and active checks of a message.

use std::{sync::Arc, time::Duration};

use bowline_discovery::v1;
use bowline_model::{
    limit::Rate,
    outlier::{LatencyPolicy, OutlierPolicy, SuccessRatePolicy},
    retry::{BackOff, GRPC_RETRIABLE, RetryBudget},
};

use super::{Invalid, bounded, conditions, invalid, millis};
use http::{HeaderName, StatusCode};

use crate::{
    config::{CheckProtocol, ConnectRetry, ForwardPolicy, HealthCheck, RetryOn, ValueKind, ValueMatch},
    fault::FaultRule,
    limit::{LimitDraft, Per},
    load::Breakers,
};

/// Envoy's default for requests that wait for a connection.
const MAX_PENDING_DEFAULT: usize = 1_024;
/// Longest name of a limit's rule, in bytes.
const NAME_MAX: usize = 128;
/// An hour: a fault that holds requests up for longer is a mistake.
const DELAY_MAX_MS: u64 = 3_600_000;
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

/// What of a retry policy there is for connections.
pub(super) fn connect_retry(message: Option<&v1::RetryPolicy>) -> Result<ConnectRetry, Invalid> {
    let forward = v1::Forward { retry: message.cloned(), ..v1::Forward::default() };
    let policy = forward_policy(&forward)
        .map_err(|error| invalid(error.field.replace("forward.retry", "connectRetry"), error.reason))?;
    Ok(ConnectRetry {
        max_retries: if policy.retry_on.connect_failure { policy.max_retries } else { 0 },
        per_try_timeout: policy.per_try_timeout,
        budget: policy.budget,
        back_off: policy.back_off,
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

/// The rules of a limit: one of all requests first, where there is one.
pub(in crate::config) fn limit(message: &v1::Limit) -> Result<Vec<LimitDraft>, Invalid> {
    bounded("rules", message.rules.len())?;
    let rate = |field: &str, per_second: f64, burst: u32| {
        Rate::new(per_second, burst).ok_or_else(|| {
            invalid(field, format!("{per_second} a second, {burst} at once: both must be above zero"))
        })
    };
    let of_all = (message.requests_per_second != 0.0).then(|| {
        Ok(LimitDraft {
            name: "default".to_owned(),
            matches: None,
            per: Per::All,
            rate: rate("requestsPerSecond", message.requests_per_second, message.burst)?,
        })
    });
    let rules = message.rules.iter().map(|rule| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if rule.name.is_empty() || rule.name.len() > NAME_MAX || !rule.name.bytes().all(is_plain) {
            return Err(invalid("rules.name", format!("{:?}; letters, digits, -, _ and .", rule.name)));
        }
        Ok(LimitDraft {
            name: rule.name.clone(),
            matches: rule.r#match.as_ref().map(conditions).transpose()?,
            per: match (rule.per_caller, rule.per_header.as_str()) {
                (false, "") => Per::All,
                (true, "") => Per::Caller,
                (false, name) => Per::Header(
                    HeaderName::from_bytes(name.as_bytes())
                        .map_err(|_| invalid("rules.perHeader", format!("{name:?} is no header name")))?,
                ),
                (true, _) => return Err(invalid("rules.perHeader", "perCaller or perHeader, not both")),
            },
            rate: rate("rules.requestsPerSecond", rule.requests_per_second, rule.burst)?,
        })
    });
    of_all.into_iter().chain(rules).collect()
}

/// The rules of a fault: of all requests last, where it is given.
pub(in crate::config) fn fault(message: &v1::Fault) -> Result<Arc<[FaultRule]>, Invalid> {
    bounded("rules", message.rules.len())?;
    let of_all = v1::FaultRule {
        r#match: None,
        delay_per_million: message.delay_per_million,
        delay_ms: message.delay_ms,
        abort_per_million: message.abort_per_million,
        abort_status: message.abort_status,
    };
    message.rules.iter().chain([&of_all]).map(fault_rule).collect()
}

fn fault_rule(rule: &v1::FaultRule) -> Result<FaultRule, Invalid> {
    let status = || {
        u16::try_from(rule.abort_status)
            .ok()
            .filter(|status| (200..=599).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .ok_or_else(|| invalid("abortStatus", format!("{} is not of 200 to 599", rule.abort_status)))
    };
    if rule.delay_ms > DELAY_MAX_MS {
        return Err(invalid("delayMs", format!("at most {DELAY_MAX_MS} are accepted")));
    }
    Ok(FaultRule {
        matches: rule.r#match.as_ref().map(conditions).transpose()?,
        delay: millis(rule.delay_ms)
            .filter(|_| rule.delay_per_million > 0)
            .map(|delay| (rule.delay_per_million, delay)),
        abort: match rule.abort_per_million {
            0 => None,
            share => Some((share, status()?)),
        },
    })
}
