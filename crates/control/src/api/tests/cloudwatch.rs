//! `CloudWatch`: metrics put, listed and read.

use serde_json::json;

use super::*;

/// The beginning of a minute, some minutes ago.
fn minute(endpoint: &Endpoint, ago: u64) -> u64 {
    (endpoint.now().as_secs() / 60 - ago) * 60
}

fn put(endpoint: &Endpoint, data: Value) {
    endpoint.ok("cloudwatch", "PutMetricData", json!({"Namespace": "App", "MetricData": data}));
}

fn web() -> Value {
    json!([{"Name": "Service", "Value": "web"}])
}

#[test]
fn what_is_put_is_listed_and_told() {
    let endpoint = Endpoint::new();
    let at = minute(&endpoint, 5);
    put(
        &endpoint,
        json!([
            {"MetricName": "Latency", "Dimensions": web(), "Timestamp": at, "Unit": "Seconds",
             "Values": [1.0, 2.0], "Counts": [3.0, 1.0]},
            {"MetricName": "Latency", "Dimensions": web(), "Timestamp": at + 60, "Unit": "Seconds",
             "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4}},
            {"MetricName": "Errors", "Dimensions": web(), "Timestamp": at, "Value": 2},
        ]),
    );
    let listed =
        endpoint.ok("cloudwatch", "ListMetrics", json!({"Namespace": "App", "MetricName": "Latency"}));
    let metric = json!({"Namespace": "App", "MetricName": "Latency", "Dimensions": web()});
    assert_eq!(listed["Metrics"], json!([metric]));
    let none = json!({"Dimensions": [{"Name": "Service", "Value": "api"}], "RecentlyActive": "PT3H"});
    assert_eq!(endpoint.ok("cloudwatch", "ListMetrics", none)["Metrics"], json!([]));

    let mut request = json!({
        "Namespace": "App", "MetricName": "Latency", "Dimensions": web(), "Period": 60,
        "StartTime": at, "EndTime": at + 120,
        "Statistics": ["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
    });
    let told = endpoint.ok("cloudwatch", "GetMetricStatistics", request.clone());
    assert_eq!(told["Label"], "Latency");
    assert_eq!(
        told["Datapoints"],
        json!([
            {"Timestamp": at as f64, "SampleCount": 4.0, "Average": 1.25, "Sum": 5.0, "Minimum": 1.0, "Maximum": 2.0,
             "Unit": "Seconds"},
            {"Timestamp": (at + 60) as f64, "SampleCount": 4.0, "Average": 2.5, "Sum": 10.0, "Minimum": 1.0,
             "Maximum": 4.0, "Unit": "Seconds"},
        ])
    );
    request["Unit"] = json!("Milliseconds");
    assert_eq!(endpoint.ok("cloudwatch", "GetMetricStatistics", request)["Datapoints"], json!([]));
}

#[test]
fn expressions_are_told_in_the_order_and_with_the_labels_asked_for() {
    let endpoint = Endpoint::new();
    let at = minute(&endpoint, 5);
    let datum = |name: &str, minute: u64, value: f64| json!({"MetricName": name, "Timestamp": at + 60 * minute, "Value": value});
    put(&endpoint, json!([datum("Requests", 0, 100.0), datum("Requests", 1, 50.0), datum("Errors", 1, 5.0)]));
    let stat =
        |name: &str| json!({"Metric": {"Namespace": "App", "MetricName": name}, "Period": 60, "Stat": "Sum"});
    let request = json!({
        "MetricDataQueries": [
            {"Id": "rate", "Expression": "100 * FILL(errors, 0) / requests", "Label": "errors: ${LAST} %"},
            {"Id": "requests", "MetricStat": stat("Requests"), "ReturnData": false},
            {"Id": "errors", "MetricStat": stat("Errors")},
        ],
        "StartTime": at, "EndTime": at + 120, "ScanBy": "TimestampAscending",
    });
    let told = endpoint.ok("cloudwatch", "GetMetricData", request.clone());
    let (first, second) = (at as f64, (at + 60) as f64);
    assert_eq!(
        told["MetricDataResults"],
        json!([
            {"Id": "rate", "Label": "errors: 10 %", "Timestamps": [first, second], "Values": [0.0, 10.0],
             "StatusCode": "Complete"},
            {"Id": "errors", "Label": "Errors", "Timestamps": [second], "Values": [5.0], "StatusCode": "Complete"},
        ])
    );
    let mut paged = request;
    paged["MaxDatapoints"] = json!(2);
    paged["ScanBy"] = json!("TimestampDescending");
    let page = endpoint.ok("cloudwatch", "GetMetricData", paged.clone());
    assert_eq!(page["MetricDataResults"][0]["Values"], json!([10.0, 0.0]));
    paged["NextToken"] = page["NextToken"].clone();
    let page = endpoint.ok("cloudwatch", "GetMetricData", paged.clone());
    assert_eq!(page["MetricDataResults"][0]["Id"], "errors");
    assert!(page["NextToken"].is_null());
    paged["NextToken"] = json!("anothers");
    assert_eq!(endpoint.fault("cloudwatch", "GetMetricData", paged).code, "InvalidNextToken");
}

#[test]
fn what_does_not_fit_is_refused_in_cloudwatchs_codes() {
    let endpoint = Endpoint::new();
    let now = endpoint.now().as_secs();
    let datum = |with: Value| {
        let mut datum = json!({"MetricName": "m"});
        let members = with.as_object().expect("an object");
        members.iter().for_each(|(name, value)| datum[name] = value.clone());
        json!({"Namespace": "App", "MetricData": [datum]})
    };
    let many: Vec<Value> = (0..1001).map(|_| json!({"MetricName": "m", "Value": 1})).collect();
    let twins = json!([{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]);
    for (request, code) in [
        (json!({"MetricData": [{"MetricName": "m", "Value": 1}]}), "MissingParameter"),
        (json!({"Namespace": "App"}), "MissingParameter"),
        (
            json!({"Namespace": "AWS/ECS", "MetricData": [{"MetricName": "m", "Value": 1}]}),
            "InvalidParameterValue",
        ),
        (json!({"Namespace": "App", "MetricData": many}), "InvalidParameterValue"),
        (datum(json!({})), "MissingParameter"),
        (datum(json!({"Value": 1, "Values": [1]})), "InvalidParameterCombination"),
        (datum(json!({"Values": [1, 2], "Counts": [1]})), "InvalidParameterValue"),
        (datum(json!({"Value": 1e300})), "InvalidParameterValue"),
        (datum(json!({"Value": 1, "Unit": "Furlongs"})), "ValidationError"),
        (datum(json!({"Value": 1, "StorageResolution": 5})), "InvalidParameterValue"),
        (datum(json!({"Value": 1, "Timestamp": now - 15 * 24 * 3600})), "InvalidParameterValue"),
        (datum(json!({"Value": 1, "Timestamp": now + 3 * 3600})), "InvalidParameterValue"),
        (datum(json!({"Value": 1, "Dimensions": twins})), "InvalidParameterValue"),
        (datum(json!({"StatisticValues": {"SampleCount": 1, "Sum": 1, "Minimum": 2}})), "MissingParameter"),
        (
            datum(json!({"StatisticValues": {"SampleCount": 1, "Sum": 1, "Minimum": 2, "Maximum": 1}})),
            "InvalidParameterValue",
        ),
    ] {
        let fault = endpoint.fault("cloudwatch", "PutMetricData", request.clone());
        assert_eq!(fault.query_code.as_deref(), Some(code), "{request}: {fault:?}");
    }
    let statistics = |with: Value| {
        let mut request = json!({
            "Namespace": "App", "MetricName": "m", "Period": 60, "StartTime": now - 600, "EndTime": now,
        });
        let members = with.as_object().expect("an object");
        members.iter().for_each(|(name, value)| request[name] = value.clone());
        request
    };
    for (request, code) in [
        (statistics(json!({})), "InvalidParameterCombination"),
        (
            statistics(json!({"Statistics": ["Sum"], "ExtendedStatistics": ["p99"]})),
            "InvalidParameterCombination",
        ),
        (statistics(json!({"Statistics": ["Sum"], "Period": 45})), "InvalidParameterValue"),
        (statistics(json!({"Statistics": ["Median"]})), "InvalidParameterValue"),
        (statistics(json!({"ExtendedStatistics": ["p101"]})), "InvalidParameterValue"),
        (statistics(json!({"Statistics": ["Sum"], "EndTime": now - 600})), "InvalidParameterValue"),
        (
            statistics(json!({"Statistics": ["Sum"], "Period": 1, "StartTime": now - 3600})),
            "InvalidParameterCombination",
        ),
        (statistics(json!({"Statistics": ["Sum"], "MetricName": null})), "MissingParameter"),
    ] {
        let fault = endpoint.fault("cloudwatch", "GetMetricStatistics", request.clone());
        assert_eq!(fault.query_code.as_deref(), Some(code), "{request}: {fault:?}");
    }
    let stat = json!({"Metric": {"Namespace": "App", "MetricName": "m"}, "Period": 60, "Stat": "Sum"});
    let data = |queries: Value| json!({"MetricDataQueries": queries, "StartTime": now - 600, "EndTime": now});
    for (request, code) in [
        (data(json!([])), "MissingParameter"),
        (data(json!([{"Id": "m1"}])), "ValidationError"),
        (data(json!([{"Id": "M1", "MetricStat": stat}])), "ValidationError"),
        (data(json!([{"Id": "m1", "MetricStat": stat, "ReturnData": false}])), "ValidationError"),
        (data(json!([{"Id": "e1", "Expression": "m1 +"}])), "ValidationError"),
        (data(json!([{"Id": "e1", "Expression": "m1"}])), "ValidationError"),
        (data(json!([{"Id": "e1", "Expression": "1"}])), "ValidationError"),
        (
            json!({"MetricDataQueries": [{"Id": "m1", "MetricStat": stat}], "StartTime": now - 600}),
            "MissingParameter",
        ),
    ] {
        let fault = endpoint.fault("cloudwatch", "GetMetricData", request.clone());
        assert_eq!(fault.query_code.as_deref(), Some(code), "{request}: {fault:?}");
    }
}
