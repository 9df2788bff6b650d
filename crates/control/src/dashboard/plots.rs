//! What was: the golden signals of a service or load balancer over some time, from the metrics that are kept.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::{
    clock::Timestamp,
    metric::{MetricId, MetricReader, Statistic},
};
use bowline_plumbing::wall_clock;
use http::StatusCode;
use serde::Serialize;

use super::{Refusal, detail, parties::rounded};
use crate::core::Core;

/// How far back, and how finely.
const RANGES: [(&str, u64, u64); 3] = [("15m", 900, 10), ("1h", 3_600, 60), ("1d", 86_400, 300)];

/// Plots of one thing.
#[derive(Debug, Serialize)]
pub(super) struct Plots {
    /// Milliseconds since 1970: where the first period begins.
    from: u64,
    /// Where the last one ends.
    until: u64,
    /// Seconds of a period.
    step: u64,
    /// By name: `[seconds since from, value]`, of periods that have values.
    series: BTreeMap<&'static str, Vec<(u64, f64)>>,
}

/// One metric's values.
struct Asked {
    series: &'static str,
    namespace: &'static str,
    metric: &'static str,
    statistic: Statistic,
    /// What values are multiplied with.
    scale: f64,
    /// A sum, told by the second.
    is_rate: bool,
}

const fn asked(
    series: &'static str,
    namespace: &'static str,
    metric: &'static str,
    statistic: Statistic,
) -> Asked {
    Asked { series, namespace, metric, statistic, scale: 1.0, is_rate: matches!(statistic, Statistic::Sum) }
}

const ECS: &str = "AWS/ECS";
const BALANCERS: &str = "AWS/ApplicationELB";
const P50: Statistic = Statistic::Percentile(50.0);
const P99: Statistic = Statistic::Percentile(99.0);

const OF_SERVICE: [Asked; 7] = [
    asked("requests", ECS, "ServiceConnectRequestCount", Statistic::Sum),
    asked("errors", ECS, "ServiceConnectErrorCount", Statistic::Sum),
    asked("p50", ECS, "ServiceConnectTargetResponseTime", P50),
    asked("p99", ECS, "ServiceConnectTargetResponseTime", P99),
    asked("cpu", ECS, "CPUUtilization", Statistic::Average),
    asked("memory", ECS, "MemoryUtilization", Statistic::Average),
    asked("connections", ECS, "ServiceConnectNewConnections", Statistic::Sum),
];

const OF_BALANCER: [Asked; 6] = [
    asked("requests", BALANCERS, "RequestCount", Statistic::Sum),
    // Targets' and its own: it answers itself where there is no target.
    asked("errors", BALANCERS, "HTTPCode_Target_5XX_Count", Statistic::Sum),
    asked("errors", BALANCERS, "HTTPCode_ELB_5XX_Count", Statistic::Sum),
    Asked { scale: 1e3, ..asked("p50", BALANCERS, "TargetResponseTime", P50) },
    Asked { scale: 1e3, ..asked("p99", BALANCERS, "TargetResponseTime", P99) },
    asked("connections", BALANCERS, "NewConnectionCount", Statistic::Sum),
];

/// Plots of `service/CLUSTER/NAME` or `gateway/NAME` over `15m`, `1h` or `1d`. Reads from the disk.
pub(super) fn of(core: &Core, subject: &str, range: &str) -> Result<Plots, Refusal> {
    let invalid = || Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameter", "range is 15m, 1h or 1d.");
    let (_, length, step) = RANGES.into_iter().find(|(name, ..)| *name == range).ok_or_else(invalid)?;
    let registry = core.registry();
    let (dimensions, asked): (Vec<(&str, String)>, &[Asked]) = match detail::service_of(&registry, subject) {
        Some(service) => (
            vec![("ClusterName", service.cluster.clone()), ("ServiceName", service.name.clone())],
            &OF_SERVICE,
        ),
        None => {
            let name = subject.strip_prefix("gateway/").unwrap_or_default();
            let balancer = registry.load_balancers.values().find(|balancer| balancer.name == name);
            let resource = balancer.ok_or_else(Refusal::not_found)?.arn.resource();
            let dimension = resource.strip_prefix("loadbalancer/").unwrap_or(resource);
            (vec![("LoadBalancer", dimension.to_owned())], &OF_BALANCER)
        }
    };
    Ok(read(&**core.metrics(), &dimensions, asked, (length, step), wall_clock::now()))
}

fn read(
    metrics: &dyn MetricReader,
    dimensions: &[(&str, String)],
    asked: &[Asked],
    (length, step): (u64, u64),
    now: Timestamp,
) -> Plots {
    // The present period is told too: it is what people look for first.
    let until = Timestamp::from_secs(now.as_secs() / step * step + step);
    let from = until - Duration::from_secs(length);
    let mut series: BTreeMap<&'static str, BTreeMap<u64, f64>> = BTreeMap::new();
    for asked in asked {
        let dimensions = dimensions.iter().map(|(name, value)| (*name, value.as_str()));
        let metric = MetricId::new(asked.namespace, asked.metric, dimensions);
        let values =
            metrics.values(&metric, asked.statistic, Duration::from_secs(step), from, until).into_iter();
        // The present period is not over yet.
        let lasted = |at: Timestamp| match at + Duration::from_secs(step) > now {
            true => now.since(at).as_secs_f64().max(1.0),
            false => step as f64,
        };
        let points = series.entry(asked.series).or_default();
        for (at, value) in values {
            let value = if asked.is_rate { value / lasted(at) } else { value };
            *points.entry(at.since(from).as_secs()).or_default() += value * asked.scale;
        }
    }
    let listed =
        |points: BTreeMap<u64, f64>| points.into_iter().map(|(at, value)| (at, rounded(value))).collect();
    let series = series.into_iter().map(|(name, points)| (name, listed(points))).collect();
    Plots { from: from.as_millis(), until: until.as_millis(), step, series }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sixty;

    impl MetricReader for Sixty {
        fn values(
            &self,
            _: &MetricId,
            _: Statistic,
            period: Duration,
            from: Timestamp,
            until: Timestamp,
        ) -> Vec<(Timestamp, f64)> {
            let all = (0..).map(|place| from + period * place).take_while(|at| *at < until);
            all.map(|at| (at, 60.0)).collect()
        }
    }

    #[test]
    fn sums_are_told_by_the_second_also_of_a_period_that_is_not_over() {
        let now = Timestamp::from_secs(3_600 * 24 * 365 + 20);
        let plots = read(&Sixty, &[], &OF_SERVICE[..3], (3_600, 60), now);
        let requests = &plots.series["requests"];
        assert_eq!((requests.len(), requests[0]), (60, (0, 1.0)));
        assert_eq!(requests[59], (3_540, 3.0), "20 s of the last minute have passed");
        assert_eq!(plots.series["p50"][59], (3_540, 60.0), "a percentile is no sum");
    }
}
