//! What proxies report, as CloudWatch has it.
//!
//! Of what is called, the called side's proxy tells (`DiscoveryName`); of what calls, the caller's
//! (`TargetDiscoveryName`, with the caller's `ServiceName`), as AWS's Service Connect agent does. Names, dimensions
//! and units: Amazon ECS Developer Guide, "Amazon ECS CloudWatch metrics"; Elastic Load Balancing, "CloudWatch
//! metrics for your Application Load Balancer". What [`METRICS`] does not list is in neither.

use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, Statistic, Unit},
};

use super::report::{Counts, RowKey, Side};

/// Where ECS's metrics are.
pub(super) const ECS: &str = "AWS/ECS";
/// Where load balancers' metrics are.
const BALANCERS: &str = "AWS/ApplicationELB";

/// Whose a proxy is, by its task's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A service's task.
    Service {
        /// Name of its cluster.
        cluster: String,
        /// Its name.
        service: String,
    },
    /// A task that no service has.
    Standalone {
        /// Name of its cluster.
        cluster: String,
        /// `group`, mostly `family:FAMILY`.
        group: String,
    },
    /// A load balancer's gateway.
    Gateway {
        /// Its name.
        name: String,
        /// `app/NAME/ID`, as CloudWatch names it.
        dimension: String,
    },
}

/// Puts data together that have one moment.
pub(super) struct Data<'a> {
    pub(super) origin: &'a Origin,
    pub(super) at: Timestamp,
    pub(super) data: Vec<Datum>,
}

type Dimensions<'a> = Vec<(&'a str, &'a str)>;

impl<'a> Data<'a> {
    pub(super) fn new(origin: &'a Origin, at: Timestamp) -> Self {
        Self { origin, at, data: Vec::new() }
    }

    /// One value for each set of dimensions, unless there is nothing to tell.
    fn put(
        &mut self,
        namespace: &str,
        sets: &[Dimensions<'_>],
        name: &str,
        unit: Unit,
        values: &Distribution,
    ) {
        if values.is_empty() {
            return;
        }
        self.data.extend(sets.iter().map(|dimensions| Datum {
            metric: MetricId::new(namespace, name, dimensions.iter().copied()),
            at: self.at,
            unit,
            values: values.clone(),
            // Reports come every ten seconds: alarms may look as often.
            is_high_resolution: true,
        }));
    }

    fn count(&mut self, namespace: &str, sets: &[Dimensions<'_>], name: &str, unit: Unit, count: u64) {
        if count > 0 {
            self.put(namespace, sets, name, unit, &Distribution::of(count as f64));
        }
    }

    /// What a row has gained.
    pub(super) fn row(&mut self, key: &RowKey, gained: &Counts) {
        match (self.origin, key.side) {
            (Origin::Gateway { dimension, .. }, Side::Outbound) => self.balanced(dimension, key, gained),
            (Origin::Gateway { .. } | Origin::Standalone { .. }, _) => {}
            (Origin::Service { cluster, service }, side) => {
                let whole = vec![("ClusterName", cluster.as_str()), ("ServiceName", service)];
                let named = |name| {
                    let discovery_name = key.discovery_name.as_str();
                    let alone: Dimensions<'_> = vec![(name, discovery_name)];
                    [alone, [whole.as_slice(), &[(name, discovery_name)]].concat()]
                };
                match side {
                    Side::Inbound => self.called(&named("DiscoveryName"), &whole, gained),
                    Side::Application => {
                        let (namespace, name) = (ECS, "ServiceConnect.ConnectionErrors");
                        self.count(namespace, &[whole], name, Unit::Count, gained.connection_errors);
                    }
                    Side::Outbound => self.calls(&named("TargetDiscoveryName"), &whole, gained),
                }
            }
        }
    }

    /// The task's own service was called.
    fn called(&mut self, named: &[Dimensions<'_>], whole: &Dimensions<'_>, gained: &Counts) {
        let bytes = gained.bytes_received.saturating_add(gained.bytes_sent);
        let requests = gained.requests();
        self.count(ECS, named, "RequestCount", Unit::Count, requests);
        self.count(ECS, named, "GrpcRequestCount", Unit::Count, gained.grpc_requests);
        self.count(ECS, named, "NewConnectionCount", Unit::Count, gained.connections);
        self.count(ECS, named, "ProcessedBytes", Unit::Bytes, bytes);
        self.count(ECS, named, "ClientTLSNegotiationErrorCount", Unit::Count, gained.handshake_failures);
        let sets = &[whole.clone(), named[1].clone()];
        self.count(ECS, sets, "ServiceConnectBytesReceived", Unit::Bytes, gained.bytes_received);
        self.count(ECS, sets, "ServiceConnectBytesSent", Unit::Bytes, gained.bytes_sent);
        self.count(ECS, sets, "ServiceConnectNewConnections", Unit::Count, gained.connections);
        self.put(ECS, sets, "ServiceConnectTLSHandshakeTime", Unit::Milliseconds, &gained.handshake_time);
        self.count(ECS, sets, "ServiceConnectRequestCount", Unit::Count, requests);
        self.count(ECS, sets, "ServiceConnectErrorCount", Unit::Count, gained.failures);
        self.put(ECS, sets, "ServiceConnectTargetResponseTime", Unit::Milliseconds, &gained.response_time);
        self.count(ECS, sets, "ServiceConnectTlsFailureCount", Unit::Count, gained.handshake_failures);
        let durations = &gained.connection_time;
        self.put(ECS, sets, "ServiceConnect.ConnectionDurations", Unit::Milliseconds, durations);
    }

    /// The task's application called another service.
    fn calls(&mut self, named: &[Dimensions<'_>], whole: &Dimensions<'_>, gained: &Counts) {
        let bytes = gained.bytes_received.saturating_add(gained.bytes_sent);
        for (class, name) in TARGET_CODES {
            self.count(ECS, named, name, Unit::Count, gained.target_responses(class));
        }
        self.count(ECS, named, "TargetProcessedBytes", Unit::Bytes, bytes);
        self.put(ECS, named, "TargetResponseTime", Unit::Milliseconds, &gained.response_time);
        self.count(ECS, named, "TargetTLSNegotiationErrorCount", Unit::Count, gained.handshake_failures);
        let sets = std::slice::from_ref(whole);
        let failed = gained.connection_errors;
        self.count(ECS, sets, "ServiceConnect.ConnectionErrors", Unit::Count, failed);
        self.count(ECS, sets, "ServiceConnectTlsFailureCount", Unit::Count, gained.handshake_failures);
    }

    /// A gateway's client called a target group.
    fn balanced(&mut self, balancer: &str, key: &RowKey, gained: &Counts) {
        let whole = vec![("LoadBalancer", balancer)];
        let of_group = target_group(&key.cluster);
        let mut sets = vec![whole.clone()];
        sets.extend(of_group.map(|group| vec![("LoadBalancer", balancer), ("TargetGroup", group)]));
        let bytes = gained.bytes_received.saturating_add(gained.bytes_sent);
        self.count(BALANCERS, &sets, "RequestCount", Unit::Count, gained.requests());
        for (class, name) in TARGET_CODES {
            self.count(BALANCERS, &sets, name, Unit::Count, gained.target_responses(class));
        }
        let whole = &[whole];
        for (class, name) in
            [(3, "HTTPCode_ELB_3XX_Count"), (4, "HTTPCode_ELB_4XX_Count"), (5, "HTTPCode_ELB_5XX_Count")]
        {
            self.count(BALANCERS, whole, name, Unit::Count, gained.local_responses[class]);
        }
        self.count(BALANCERS, whole, "GrpcRequestCount", Unit::Count, gained.grpc_requests);
        self.count(BALANCERS, whole, "ProcessedBytes", Unit::Bytes, bytes);
        self.count(BALANCERS, whole, "NewConnectionCount", Unit::Count, gained.connections);
        let response_time = in_seconds(&gained.response_time);
        self.put(BALANCERS, &sets, "TargetResponseTime", Unit::Seconds, &response_time);
        let failed = gained.connection_errors;
        self.count(BALANCERS, &sets, "TargetConnectionErrorCount", Unit::Count, failed);
        let failed = gained.handshake_failures;
        self.count(BALANCERS, &sets, "TargetTLSNegotiationErrorCount", Unit::Count, failed);
    }

    /// What is told once a minute, of what a row has in it and at its end.
    pub(super) fn minute(&mut self, key: &RowKey, requests: u64, now: &Counts) {
        match (self.origin, key.side) {
            (Origin::Service { cluster, service }, side) => {
                let whole = [("ClusterName", cluster.as_str()), ("ServiceName", service.as_str())];
                let name = if side == Side::Outbound { "TargetDiscoveryName" } else { "DiscoveryName" };
                let alone = vec![(name, key.discovery_name.as_str())];
                let named = [alone.clone(), [&whole, alone.as_slice()].concat()];
                let active = now.connections_active as f64;
                match side {
                    Side::Inbound if active > 0.0 => {
                        let active = Distribution::of(active);
                        self.put(ECS, &named, "ActiveConnectionCount", Unit::Count, &active);
                        let sets = [whole.to_vec(), named[1].clone()];
                        self.put(ECS, &sets, "ServiceConnectActiveConnections", Unit::Count, &active);
                    }
                    Side::Outbound if requests > 0 && now.targets > 0 => {
                        // A value for each target, so that their mean is what the name says.
                        let mut each = Distribution::default();
                        each.record(requests as f64 / f64::from(now.targets), f64::from(now.targets));
                        self.put(ECS, &named, "RequestCountPerTarget", Unit::Count, &each);
                    }
                    _ => {}
                }
            }
            (Origin::Gateway { dimension, .. }, Side::Outbound) => {
                let whole = vec![("LoadBalancer", dimension.as_str())];
                if now.connections_active > 0 {
                    let active = Distribution::of(now.connections_active as f64);
                    self.put(
                        BALANCERS,
                        std::slice::from_ref(&whole),
                        "ActiveConnectionCount",
                        Unit::Count,
                        &active,
                    );
                }
                let group = target_group(&key.cluster);
                if let Some(group) = group.filter(|_| requests > 0 && now.targets > 0) {
                    // Of an ALB, "the only valid statistic is Sum": it is the mean.
                    let each = Distribution::of(requests as f64 / f64::from(now.targets));
                    let of_group = vec![("TargetGroup", group)];
                    let sets = [of_group.clone(), [whole, of_group].concat()];
                    self.put(BALANCERS, &sets, "RequestCountPerTarget", Unit::Count, &each);
                }
            }
            _ => {}
        }
    }
}

/// The target group's dimension, of a cluster's name. A deployment's own set of tasks is of the same group.
fn target_group(cluster: &str) -> Option<&str> {
    let group = cluster.strip_prefix("target-group:")?;
    Some(group.split_once('@').map_or(group, |(group, _)| group))
}

/// The names of responses' counts, by their class.
const TARGET_CODES: [(usize, &str); 4] = [
    (2, "HTTPCode_Target_2XX_Count"),
    (3, "HTTPCode_Target_3XX_Count"),
    (4, "HTTPCode_Target_4XX_Count"),
    (5, "HTTPCode_Target_5XX_Count"),
];

/// Milliseconds as seconds: each bucket's middle, the sum and the extremes as they are.
fn in_seconds(milliseconds: &Distribution) -> Distribution {
    /// `16 * log2(1000)`: so many buckets lie between both.
    const BETWEEN: f64 = 159.452_534_569_166_62;
    let mut seconds = Distribution::default();
    let buckets = milliseconds
        .positive()
        .map(|(index, times)| ((f64::from(index) - BETWEEN).round() as i32, times as u64));
    let extreme = |statistic| milliseconds.statistic(statistic).unwrap_or_default() / 1e3;
    let (minimum, maximum) = (extreme(Statistic::Minimum), extreme(Statistic::Maximum));
    seconds.record_buckets(buckets, milliseconds.zeros() as u64, milliseconds.sum() / 1e3, minimum, maximum);
    seconds
}

/// Where a metric's dimensions come from, for people: see [`METRICS`].
#[derive(Clone, Copy, Debug)]
pub struct MetricText {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its sets of dimensions.
    pub dimensions: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// What it tells.
    pub help: &'static str,
}

const DISCOVERY: &str = "`DiscoveryName`; `DiscoveryName`, `ServiceName`, `ClusterName`";
const TARGET: &str =
    "`TargetDiscoveryName`; `TargetDiscoveryName`, `ServiceName` (the caller), `ClusterName`";
const SERVICE: &str = "`ServiceName`, `ClusterName`; with `DiscoveryName`";
const ONLY_SERVICE: &str = "`ServiceName`, `ClusterName`";
const OF_BALANCER: &str = "`LoadBalancer`";
const OF_GROUP: &str = "`LoadBalancer`; `LoadBalancer`, `TargetGroup`";
const PER_GROUP: &str = "`TargetGroup`; `LoadBalancer`, `TargetGroup`";

macro_rules! metrics {
    ($($namespace:ident $name:literal $dimensions:ident $unit:ident $help:literal;)*) => {
        /// Every metric that proxies' reports become.
        pub const METRICS: &[MetricText] = &[$(MetricText {
            namespace: $namespace, name: $name, dimensions: $dimensions, unit: Unit::$unit, help: $help,
        },)*];
    };
}

metrics! {
    ECS "ActiveConnectionCount" DISCOVERY Count "Connections of callers that are open, each minute.";
    ECS "NewConnectionCount" DISCOVERY Count "Connections that callers made.";
    ECS "ProcessedBytes" DISCOVERY Bytes "Bytes of requests' and responses' bodies, and of TCP.";
    ECS "RequestCount" DISCOVERY Count "Requests that ended.";
    ECS "GrpcRequestCount" DISCOVERY Count "gRPC requests that ended.";
    ECS "ClientTLSNegotiationErrorCount" DISCOVERY Count "Handshakes with callers that failed.";
    ECS "HTTPCode_Target_2XX_Count" TARGET Count "Responses 200 to 299 that the called side gave.";
    ECS "HTTPCode_Target_3XX_Count" TARGET Count "Responses 300 to 399 that the called side gave.";
    ECS "HTTPCode_Target_4XX_Count" TARGET Count "Responses 400 to 499 that the called side gave.";
    ECS "HTTPCode_Target_5XX_Count" TARGET Count "Responses 500 to 599 that the called side gave.";
    ECS "RequestCountPerTarget" TARGET Count "Requests of a minute for each task called: its Average.";
    ECS "TargetProcessedBytes" TARGET Bytes "Bytes of requests' and responses' bodies, and of TCP.";
    ECS "TargetResponseTime" TARGET Milliseconds "From a request to its response's beginning.";
    ECS "TargetTLSNegotiationErrorCount" TARGET Count "Handshakes with called tasks that failed.";
    ECS "ServiceConnectBytesReceived" SERVICE Bytes "Bytes that the service received of callers.";
    ECS "ServiceConnectBytesSent" SERVICE Bytes "Bytes that the service sent to callers.";
    ECS "ServiceConnectActiveConnections" SERVICE Count "Connections of callers that are open, each minute.";
    ECS "ServiceConnectNewConnections" SERVICE Count "Connections that callers made.";
    ECS "ServiceConnectTLSHandshakeTime" SERVICE Milliseconds "How long callers' handshakes took.";
    ECS "ServiceConnectRequestCount" SERVICE Count "Requests that ended.";
    ECS "ServiceConnectErrorCount" SERVICE Count "Requests answered 5xx or cut short, and TCP connections that failed.";
    ECS "ServiceConnectTargetResponseTime" SERVICE Milliseconds "From a request to its response's beginning, as the called task's proxy saw it.";
    ECS "ServiceConnectTlsFailureCount" SERVICE Count "Handshakes of the service's proxies that failed, on either side.";
    ECS "ServiceConnect.ConnectionErrors" ONLY_SERVICE Count "Connections that the service's proxies could not make: to others, and to the application.";
    ECS "ServiceConnect.ConnectionDurations" SERVICE Milliseconds "How long callers' connections were open.";
    BALANCERS "RequestCount" OF_GROUP Count "Requests that ended.";
    BALANCERS "HTTPCode_Target_2XX_Count" OF_GROUP Count "Responses 200 to 299 that targets gave.";
    BALANCERS "HTTPCode_Target_3XX_Count" OF_GROUP Count "Responses 300 to 399 that targets gave.";
    BALANCERS "HTTPCode_Target_4XX_Count" OF_GROUP Count "Responses 400 to 499 that targets gave.";
    BALANCERS "HTTPCode_Target_5XX_Count" OF_GROUP Count "Responses 500 to 599 that targets gave.";
    BALANCERS "HTTPCode_ELB_3XX_Count" OF_BALANCER Count "Responses 300 to 399 of the load balancer's own.";
    BALANCERS "HTTPCode_ELB_4XX_Count" OF_BALANCER Count "Responses 400 to 499 of the load balancer's own.";
    BALANCERS "HTTPCode_ELB_5XX_Count" OF_BALANCER Count "Responses 500 to 599 of the load balancer's own.";
    BALANCERS "GrpcRequestCount" OF_BALANCER Count "gRPC requests that ended.";
    BALANCERS "ProcessedBytes" OF_BALANCER Bytes "Bytes of requests' and responses' bodies.";
    BALANCERS "NewConnectionCount" OF_BALANCER Count "Connections made to targets.";
    BALANCERS "ActiveConnectionCount" OF_BALANCER Count "Connections to targets that are open, each minute.";
    BALANCERS "TargetResponseTime" OF_GROUP Seconds "From a request to its response's beginning.";
    BALANCERS "TargetConnectionErrorCount" OF_GROUP Count "Connections to targets that could not be made.";
    BALANCERS "TargetTLSNegotiationErrorCount" OF_GROUP Count "Handshakes with targets that failed.";
    BALANCERS "RequestCountPerTarget" PER_GROUP Count "Requests of a minute for each target: its Sum.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::report::Security, *};

    fn key(side: Side) -> RowKey {
        RowKey {
            side,
            discovery_name: "cart".into(),
            cluster: "target-group:targetgroup/cart/1".into(),
            peer: String::new(),
            security: Security::MutualTls,
        }
    }

    /// A row with a different number of everything.
    fn gained() -> Counts {
        let durations = |value: f64| Distribution::of(value);
        Counts {
            responses: [0, 0, 100, 10, 20, 8],
            local_responses: [0, 0, 0, 1, 2, 3],
            grpc_requests: 1,
            failures: 2,
            bytes_received: 3,
            bytes_sent: 4,
            connections: 5,
            connections_active: 6,
            tcp_connections: 7,
            connection_errors: 8,
            handshakes: 9,
            handshake_failures: 10,
            response_time: durations(250.0),
            handshake_time: durations(5.0),
            connection_time: durations(60_000.0),
            targets: 4,
        }
    }

    fn data(origin: &Origin, sides: &[Side]) -> Vec<Datum> {
        let mut data = Data::new(origin, Timestamp::from_secs(60));
        for side in sides {
            data.row(&key(*side), &gained());
            data.minute(&key(*side), 200, &gained());
        }
        data.data
    }

    fn sum(data: &[Datum], name: &str, dimensions: &[(&str, &str)]) -> f64 {
        let metric = MetricId::new(ECS, name, dimensions.iter().copied());
        data.iter().filter(|datum| datum.metric == metric).map(|datum| datum.values.sum()).sum()
    }

    fn service() -> Origin {
        Origin::Service { cluster: "c".into(), service: "s".into() }
    }

    #[test]
    fn metrics_have_awss_dimensions() {
        let origin = service();
        let data = data(&origin, &[Side::Inbound, Side::Application, Side::Outbound]);
        let whole = [("ClusterName", "c"), ("ServiceName", "s")];
        let target = [("ClusterName", "c"), ("ServiceName", "s"), ("TargetDiscoveryName", "cart")];
        let called = [("ClusterName", "c"), ("ServiceName", "s"), ("DiscoveryName", "cart")];
        assert_eq!(sum(&data, "RequestCount", &[("DiscoveryName", "cart")]), 138.0);
        assert_eq!(sum(&data, "RequestCount", &called), 138.0);
        assert_eq!(sum(&data, "ProcessedBytes", &called), 7.0);
        assert_eq!(sum(&data, "HTTPCode_Target_4XX_Count", &target), 18.0);
        assert_eq!(sum(&data, "HTTPCode_Target_5XX_Count", &[("TargetDiscoveryName", "cart")]), 5.0);
        assert_eq!(sum(&data, "TargetResponseTime", &target), 250.0);
        assert_eq!(sum(&data, "ServiceConnectErrorCount", &whole), 2.0);
        // Its own application's, and others'.
        assert_eq!(sum(&data, "ServiceConnect.ConnectionErrors", &whole), 16.0);
        assert_eq!(sum(&data, "ServiceConnectTlsFailureCount", &whole), 20.0);
        assert_eq!(sum(&data, "ActiveConnectionCount", &called), 6.0);
        let per_target = MetricId::new(ECS, "RequestCountPerTarget", target);
        let per_target = data.iter().find(|datum| datum.metric == per_target).expect("it is there");
        assert_eq!(per_target.values.statistic(Statistic::Average), Some(50.0));
    }

    #[test]
    fn what_is_listed_is_what_is_put() {
        let gateway = Origin::Gateway { name: "g".into(), dimension: "app/g/1".into() };
        let service = service();
        let mut put: BTreeSet<(String, String, &str)> = BTreeSet::new();
        let all = data(&service, &[Side::Inbound, Side::Application, Side::Outbound]).into_iter();
        for datum in all.chain(data(&gateway, &[Side::Outbound])) {
            put.insert((datum.metric.namespace, datum.metric.name, datum.unit.as_str()));
        }
        let listed: BTreeSet<_> = METRICS
            .iter()
            .map(|metric| (metric.namespace.to_owned(), metric.name.to_owned(), metric.unit.as_str()))
            .collect();
        assert_eq!(put, listed);
    }

    #[test]
    fn a_load_balancers_times_are_seconds() {
        let mut milliseconds = Distribution::default();
        for value in [100.0, 200.0, 400.0, 800.0, 1_600.0] {
            milliseconds.record(value, 20.0);
        }
        let seconds = in_seconds(&milliseconds);
        assert_eq!((seconds.count(), seconds.sum()), (100.0, 62.0));
        let median = seconds.statistic(Statistic::Percentile(50.0)).expect("there are values");
        assert!((median - 0.4).abs() < 0.4 * 0.05, "{median}");
        assert_eq!(seconds.statistic(Statistic::Maximum), Some(1.6));
    }

    #[test]
    fn a_standalone_task_has_no_service_to_be_told_of() {
        let origin = Origin::Standalone { cluster: "c".into(), group: "family:f".into() };
        assert!(data(&origin, &[Side::Inbound, Side::Application, Side::Outbound]).is_empty());
    }
}
