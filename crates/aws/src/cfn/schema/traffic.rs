//! `Bowline::ServiceConnect::TrafficPolicy`.

use super::shape::{BOOL, INT, NUM, STR, Shape, list, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

/// A day: longer times are a mistake of the unit.
const DURATION: Shape =
    object(&[required("Unit", STR.one_of(&["s", "ms"])), required("Value", INT.range(0.0, 86_400_000.0))]);

const COUNT: Shape = INT.range(1.0, 4_294_967_295.0);
const PERCENT: Shape = INT.range(0.0, 100.0);

const TIMEOUT: Shape = object(&[optional("PerRequest", DURATION), optional("Idle", DURATION)]);
const TIMEOUTS: Shape = object(&[
    optional("HTTP", TIMEOUT),
    optional("HTTP2", TIMEOUT),
    optional("GRPC", TIMEOUT),
    optional("TCP", object(&[optional("Idle", DURATION)])),
]);

const RETRY_POLICY: Shape = object(&[
    required("MaxRetries", INT.range(0.0, 100.0)),
    optional("PerRetryTimeout", DURATION),
    optional(
        "HttpRetryEvents",
        list(&STR.one_of(&["server-error", "gateway-error", "client-error", "stream-error"])).items(1, 25),
    ),
    optional("TcpRetryEvents", list(&STR.one_of(&["connection-error"])).items(1, 1)),
    optional(
        "GrpcRetryEvents",
        list(&STR.one_of(&[
            "cancelled",
            "deadline-exceeded",
            "internal",
            "resource-exhausted",
            "unavailable",
        ]))
        .items(1, 5),
    ),
    optional(
        "RetryBudget",
        object(&[optional("Percent", INT.range(1.0, 100.0)), optional("MinConcurrency", COUNT)]),
    ),
    optional("BackOff", object(&[optional("BaseInterval", DURATION), optional("MaxInterval", DURATION)])),
]);

const OUTLIER_DETECTION: Shape = object(&[
    optional("MaxServerErrors", INT.range(1.0, 65_535.0)),
    optional("Interval", DURATION),
    optional("BaseEjectionDuration", DURATION),
    optional("MaxEjectionPercent", INT.range(1.0, 100.0)),
    optional("MaxEjectionDuration", DURATION),
    optional("MaxGatewayErrors", INT.range(1.0, 65_535.0)),
    optional("MaxLocalOriginErrors", INT.range(1.0, 65_535.0)),
    optional(
        "SuccessRate",
        object(&[
            optional("MinimumHosts", COUNT),
            optional("RequestVolume", COUNT),
            optional("StdevFactor", COUNT),
        ]),
    ),
    optional(
        "Latency",
        object(&[
            optional("MinimumHosts", COUNT),
            optional("RequestVolume", COUNT),
            optional("FactorPercent", INT.range(101.0, 100_000.0)),
            optional("Minimum", DURATION),
        ]),
    ),
]);

const CONNECTION_POOL: Shape = object(&[
    optional("HTTP", object(&[required("MaxConnections", COUNT), optional("MaxPendingRequests", COUNT)])),
    optional("HTTP2", object(&[required("MaxRequests", COUNT)])),
    optional("GRPC", object(&[required("MaxRequests", COUNT)])),
    optional("TCP", object(&[required("MaxConnections", COUNT)])),
    optional("MaxRetries", COUNT),
]);

const HEALTH_CHECK: Shape = object(&[
    required("Protocol", STR.one_of(&["http", "http2", "grpc", "tcp"])),
    optional("Path", STR.len(1, 1024).pattern("^/")),
    required("IntervalMillis", INT.range(100.0, 300_000.0)),
    required("TimeoutMillis", INT.range(10.0, 60_000.0)),
    required("HealthyThreshold", INT.range(1.0, 10.0)),
    required("UnhealthyThreshold", INT.range(1.0, 10.0)),
]);

const HASH_KEY: Shape = object(&[
    optional("Header", STR.len(1, 255)),
    optional(
        "Cookie",
        object(&[
            required("Name", STR.len(1, 255).pattern("^[A-Za-z0-9_.-]+$")),
            optional("Ttl", DURATION),
            optional("Path", STR.len(1, 1024).pattern("^/[A-Za-z0-9/_.~%-]*$")),
        ]),
    ),
    optional("Source", BOOL),
]);

const LOAD_BALANCING: Shape = object(&[
    optional("Policy", STR.one_of(&["ROUND_ROBIN", "LEAST_REQUEST", "PEAK_EWMA", "RANDOM", "RING_HASH"])),
    optional("HashOn", list(&HASH_KEY).items(1, 16)),
    optional("SlowStart", DURATION),
    optional("PanicThreshold", PERCENT),
    optional("ZoneAware", BOOL),
    optional("Failover", list(&STR.len(1, 64)).items(1, 7)),
]);

const MATCH: Shape = object(&[
    optional("Path", object(&[required("Exact", STR.len(1, 1024).pattern("^/[^*?]*$"))])),
    optional("Prefix", STR.len(1, 1024).pattern("^/[^*?]*$")),
    optional("Method", STR.len(1, 64).pattern("^[A-Z-]+$")),
    optional(
        "Headers",
        list(&object(&[
            required("Name", STR.len(1, 255)),
            optional("Invert", BOOL),
            optional(
                "Match",
                object(&[
                    optional("Exact", STR.len(1, 255)),
                    optional("Prefix", STR.len(1, 255)),
                    optional("Suffix", STR.len(1, 255)),
                    optional("Range", object(&[required("Start", INT), required("End", INT)])),
                ]),
            ),
        ]))
        .items(1, 10),
    ),
    optional(
        "QueryParameters",
        list(&object(&[
            required("Name", STR.len(1, 255)),
            optional("Match", object(&[required("Exact", STR.len(1, 255))])),
        ]))
        .items(1, 10),
    ),
]);

const TARGET: Shape =
    object(&[required("VirtualNode", STR.len(1, 64)), required("Weight", INT.range(0.0, 100.0))]);

const ROUTE: Shape = object(&[
    optional("Priority", INT.range(0.0, 1_000.0)),
    optional("Match", MATCH),
    required("Action", object(&[required("WeightedTargets", list(&TARGET).items(1, 10))])),
    optional("Timeout", object(&[required("PerRequest", DURATION)])),
    optional("RetryPolicy", RETRY_POLICY),
    optional("Sticky", list(&HASH_KEY).items(1, 16)),
]);

const RATE_LIMIT: Shape = object(&[
    required("Name", STR.len(1, 128).pattern("^[A-Za-z0-9_.-]+$")),
    optional("Match", MATCH),
    required("RequestsPerSecond", NUM.range(0.0001, 1_000_000.0)),
    required("Burst", INT.range(1.0, 1_000_000.0)),
    optional("PerCaller", BOOL),
    optional("PerHeader", STR.len(1, 255)),
]);

const FAULT: Shape = object(&[
    optional("Match", MATCH),
    optional("Delay", object(&[required("Percent", NUM.range(0.0, 100.0)), required("Duration", DURATION)])),
    optional(
        "Abort",
        object(&[
            required("Percent", NUM.range(0.0, 100.0)),
            required("HttpStatus", INT.range(200.0, 599.0)),
        ]),
    ),
]);

pub(super) static TRAFFIC_POLICY: ResourceType = resource(
    "Bowline::ServiceConnect::TrafficPolicy",
    &[
        optional("Name", STR.len(1, 255)),
        optional("Namespace", STR.len(1, 1024)),
        required("DiscoveryName", STR.len(1, 64)),
        optional("Timeout", TIMEOUTS),
        optional("RetryPolicy", RETRY_POLICY),
        optional("OutlierDetection", OUTLIER_DETECTION),
        optional("ConnectionPool", CONNECTION_POOL),
        optional("HealthCheck", HEALTH_CHECK),
        optional("LoadBalancing", LOAD_BALANCING),
        optional("Routes", list(&ROUTE).items(1, 100)),
        optional("LocalRateLimit", list(&RATE_LIMIT).items(1, 100)),
        optional("Fault", list(&FAULT).items(1, 100)),
    ],
)
.typed_as(|value| Ok(ResourceBody::TrafficPolicy(from_json(value)?)));
