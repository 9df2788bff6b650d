"""CloudWatch's metrics: put, listed, read, and worked out."""

import datetime
import json

import pytest

import harness
from harness import refused
from test_cli import aws

# In every protocol that CloudWatch speaks.
PROTOCOLS = ("smithy-rpc-v2-cbor", "json", "query")


@pytest.fixture(scope="module", params=PROTOCOLS)
def spoken(request):
    return harness.client("cloudwatch", protocol=request.param)


@pytest.fixture(scope="module")
def loose():
    return harness.client("cloudwatch", validate=False)


def minute(ago):
    """The beginning of a minute, some minutes ago."""
    now = datetime.datetime.now(datetime.UTC).replace(second=0, microsecond=0)
    return now - datetime.timedelta(minutes=ago)


WEB = [{"Name": "Service", "Value": "web"}]


def datum(name, at, value, **more):
    return {"MetricName": name, "Timestamp": at, "Value": value, **more}


def put(cloudwatch, *data):
    cloudwatch.put_metric_data(Namespace="App", MetricData=list(data))


def stat(name, statistic="Sum", period=60, **more):
    metric = {"Namespace": "App", "MetricName": name, **more}
    return {"Metric": metric, "Period": period, "Stat": statistic}


def values(cloudwatch, queries, start, end, **more):
    """The values of each result, by id."""
    arguments = {"ScanBy": "TimestampAscending", "StartTime": start, "EndTime": end, **more}
    results = cloudwatch.get_metric_data(MetricDataQueries=queries, **arguments)["MetricDataResults"]
    assert all(len(result["Timestamps"]) == len(result["Values"]) for result in results)
    return {result["Id"]: result["Values"] for result in results}


def test_metrics_in_every_protocol(spoken):
    start = minute(10)
    one = datetime.timedelta(minutes=1)
    put(
        spoken,
        {
            "MetricName": "Latency",
            "Dimensions": WEB,
            "Timestamp": start,
            "Values": [0.1, 0.2, 5.0],
            "Counts": [90, 9, 1],
            "Unit": "Seconds",
        },
        {
            "MetricName": "Latency",
            "Dimensions": WEB,
            "Timestamp": start + one,
            "StatisticValues": {"SampleCount": 2, "Sum": 3, "Minimum": 1, "Maximum": 2},
            "Unit": "Seconds",
        },
        datum("Requests", start, 100, Dimensions=WEB),
        datum("Requests", start + one, 50, Dimensions=WEB),
        datum("Errors", start + one, 5, Dimensions=WEB),
    )
    listed = spoken.list_metrics(Namespace="App", Dimensions=[{"Name": "Service"}], RecentlyActive="PT3H")["Metrics"]
    assert [metric["MetricName"] for metric in listed] == ["Errors", "Latency", "Requests"]
    assert listed[0] == {"Namespace": "App", "MetricName": "Errors", "Dimensions": WEB}

    arguments = {
        "Namespace": "App",
        "MetricName": "Latency",
        "Dimensions": WEB,
        "StartTime": start,
        "EndTime": start + 2 * one,
        "Period": 60,
    }
    every = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    told = spoken.get_metric_statistics(Statistics=every, **arguments)
    assert told["Label"] == "Latency"
    first, second = told["Datapoints"]
    assert first["Timestamp"] == start and first["Unit"] == "Seconds"
    assert (first["SampleCount"], first["Minimum"], first["Maximum"]) == (100, 0.1, 5)
    assert first["Sum"] == pytest.approx(15.8) and first["Average"] == pytest.approx(0.158)
    assert (second["SampleCount"], second["Sum"], second["Average"]) == (2, 3, 1.5)
    told = spoken.get_metric_statistics(ExtendedStatistics=["p50", "p99.5"], **arguments)["Datapoints"][0]
    assert told["ExtendedStatistics"] == {"p50": pytest.approx(0.1, rel=0.03), "p99.5": pytest.approx(5, rel=0.03)}

    queries = [
        {"Id": "rate", "Expression": "100 * FILL(errors, 0) / requests", "Label": "${PROP('Region')} ${MAX} %"},
        {"Id": "all", "Expression": "SUM(METRICS())"},
        {"Id": "requests", "MetricStat": stat("Requests", Dimensions=WEB), "ReturnData": False},
        {"Id": "errors", "MetricStat": stat("Errors", Dimensions=WEB)},
    ]
    found = spoken.get_metric_data(
        MetricDataQueries=queries, StartTime=start, EndTime=start + 2 * one, ScanBy="TimestampDescending"
    )
    results = {result["Id"]: result for result in found["MetricDataResults"]}
    assert list(results) == ["rate", "all", "errors"]
    assert results["rate"]["Values"] == [10, 0] and results["rate"]["Label"] == f"{harness.REGION} 10 %"
    assert results["rate"]["Timestamps"] == [start + one, start]
    assert results["all"]["Values"] == [55, 100]
    assert (results["errors"]["Values"], results["errors"]["StatusCode"]) == ([5], "Complete")

    # Clients know errors by the codes of query, whichever protocol they speak.
    with refused("InvalidParameterValue", "Namespace"):
        spoken.put_metric_data(Namespace="AWS/ECS", MetricData=[datum("CPUUtilization", start, 1)])
    with refused("InvalidParameterCombination", "mutually exclusive"):
        put(spoken, datum("m", start, 1, Values=[1]))


def test_a_large_request_is_compressed(spoken):
    at = minute(1)
    sent = []

    def keep(request, **_):
        sent.append(request.headers.get("Content-Encoding"))

    spoken.meta.events.register("before-send", keep)
    put(spoken, *(datum(f"Metric{number}", at, number, Dimensions=WEB) for number in range(1000)))
    spoken.meta.events.unregister("before-send", keep)
    assert sent in (["gzip"], [b"gzip"])
    pages = list(spoken.get_paginator("list_metrics").paginate(Namespace="App"))
    assert [len(page["Metrics"]) for page in pages] == [500, 500]
    names = {metric["MetricName"] for page in pages for metric in page["Metrics"]}
    assert names == {f"Metric{number}" for number in range(1000)}
    assert values(spoken, [{"Id": "m", "MetricStat": stat("Metric999", Dimensions=WEB)}], at, minute(0)) == {"m": [999]}


def test_periods_resolutions_and_units(cloudwatch):
    start = minute(20)
    second = datetime.timedelta(seconds=1)
    high = {"StorageResolution": 1, "Unit": "Count"}
    put(cloudwatch, *(datum("Fast", start + number * second, 1, **high) for number in range(90)))
    put(cloudwatch, *(datum("Slow", start + number * second, 1, Unit="Count") for number in range(90)))
    put(cloudwatch, datum("Slow", start, 4, Unit="Bytes"))
    end = start + datetime.timedelta(minutes=5)

    def sums(name, period, **more):
        query = {"Id": "m", "MetricStat": {**stat(name, period=period), **more}}
        return values(cloudwatch, [query], start, end)["m"]

    assert sums("Fast", 1) == [1.0] * 90
    assert sums("Fast", 10) == [10.0] * 9
    assert sums("Fast", 60) == [60, 30]
    assert sums("Slow", 1) == [], "seconds are kept of high-resolution metrics alone"
    assert sums("Slow", 60, Unit="Count") == [60, 30]
    assert sums("Slow", 60, Unit="Bytes") == [4]
    assert sum(sums("Slow", 300)) == 94
    told = cloudwatch.get_metric_statistics(
        Namespace="App", MetricName="Slow", StartTime=start, EndTime=end, Period=60, Statistics=["Sum"]
    )["Datapoints"]
    assert sorted((point["Unit"], point["Sum"]) for point in told) == [("Bytes", 4), ("Count", 30), ("Count", 60)]
    # Late values are merged with those that were there.
    put(cloudwatch, datum("Slow", start, 6, Unit="Bytes"))
    assert sums("Slow", 60, Unit="Bytes") == [10]
    put(cloudwatch, datum("Late", minute(13 * 24 * 60), 1))
    week = datetime.timedelta(days=14)
    query = {"Id": "m", "MetricStat": stat("Late", period=3600)}
    assert values(cloudwatch, [query], start - week, end) == {"m": [1]}


def test_metric_math(cloudwatch):
    start = minute(30)
    at = [start + datetime.timedelta(minutes=number) for number in range(5)]
    put(cloudwatch, *(datum("Requests", moment, value) for moment, value in zip(at, (10, 20, 40, 80, 160))))
    put(cloudwatch, datum("Errors", at[1], 1), datum("Errors", at[3], 4))
    base = [
        {"Id": "requests", "MetricStat": stat("Requests"), "ReturnData": False},
        {"Id": "errors", "MetricStat": stat("Errors"), "ReturnData": False},
    ]
    end = at[4] + datetime.timedelta(minutes=1)

    def worked_out(expression):
        return values(cloudwatch, [*base, {"Id": "e", "Expression": expression}], start, end)["e"]

    assert worked_out("requests * 2 ^ 2 - 10 / (1 + 1)") == [35, 75, 155, 315, 635]
    assert worked_out("errors / requests * 100") == [5, 5]
    assert worked_out("RATE(requests) * PERIOD(requests)") == [10, 20, 40, 80]
    assert worked_out("DIFF(requests)") == [10, 20, 40, 80]
    assert worked_out("FILL(errors, REPEAT)") == [1, 1, 4, 4]
    assert worked_out("FILL(errors, LINEAR)") == [1, 2.5, 4]
    assert worked_out("IF(requests > 30 AND FILL(errors, 0) == 0, requests, 0)") == [0, 0, 40, 0, 160]
    assert worked_out("SUM(METRICS('r')) + MAX(errors)") == [14, 25, 44, 88, 164]
    assert worked_out("CEIL(requests / 30) + FLOOR(AVG(errors)) + ABS(-1) + MIN(requests)") == [14, 14, 15, 16, 19]
    assert worked_out("TIME_SERIES(STDDEV(errors))") == [1.5] * 5
    several = {"Id": "e", "Expression": "METRICS() * 2"}
    results = cloudwatch.get_metric_data(MetricDataQueries=[*base, several], StartTime=start, EndTime=end)
    told = [(result["Id"], sum(result["Values"])) for result in results["MetricDataResults"]]
    assert told == [("e", 620), ("e", 10)]
    chain = [*base, {"Id": "a", "Expression": "b + 1"}, {"Id": "b", "Expression": "errors * 10", "ReturnData": False}]
    assert values(cloudwatch, chain, start, end) == {"a": [11, 41]}
    for expression, message in (
        ("requests +", "Error in expression 'e': the end cannot stand at character 11"),
        ("nothing", "names nothing, which is not there"),
        ("e", "names itself"),
        ("SUM(requests)", "not to a time series"),
        ("SEARCH('{App} m', 'Sum', 60)", "SEARCH is not there"),
        ("(" * 100 + "requests" + ")" * 100, "nests deeper"),
    ):
        with refused("ValidationError", message.replace("(", "\\(").replace("{", "\\{")):
            worked_out(expression)


def test_pages_and_labels(cloudwatch):
    start = minute(30)
    at = [start + datetime.timedelta(minutes=number) for number in range(7)]
    put(cloudwatch, *(datum("m", moment, number) for number, moment in enumerate(at)))
    queries = [
        {"Id": "one", "MetricStat": stat("m"), "Label": "${LABEL} up to ${MAX} at ${MAX_TIME}"},
        {"Id": "two", "Expression": "one + 10"},
    ]
    arguments = {
        "MetricDataQueries": queries,
        "StartTime": start,
        "EndTime": minute(0),
        "LabelOptions": {"Timezone": "+0100"},
    }
    pages = list(cloudwatch.get_paginator("get_metric_data").paginate(**arguments, MaxDatapoints=4))
    assert [sum(len(result["Values"]) for result in page["MetricDataResults"]) for page in pages] == [4, 4, 4, 2]
    assert [result["StatusCode"] for result in pages[0]["MetricDataResults"]] == ["PartialData"]
    everything = [value for page in pages for result in page["MetricDataResults"] for value in result["Values"]]
    assert everything == [6, 5, 4, 3, 2, 1, 0, 16, 15, 14, 13, 12, 11, 10]
    label = pages[0]["MetricDataResults"][0]["Label"]
    local = at[6].astimezone(datetime.timezone(datetime.timedelta(hours=1)))
    assert label == f"m up to 6 at {local.strftime('%Y-%m-%dT%H:%M:%S%z')}"
    with refused("InvalidNextToken"):
        cloudwatch.get_metric_data(**arguments, NextToken="nothing-that-it-gave-out")


def test_what_does_not_fit_is_refused(cloudwatch, loose):
    start, end = minute(10), minute(0)
    with refused("MissingParameter", "Namespace"):
        loose.put_metric_data(MetricData=[datum("m", start, 1)])
    with refused("MissingParameter", "MetricName"):
        loose.put_metric_data(Namespace="App", MetricData=[{"Value": 1}])
    with refused("MissingParameter", "At least one"):
        put(cloudwatch, {"MetricName": "m"})
    for wrong in (
        datum("m", start, 1e200),
        datum("m", start - datetime.timedelta(days=15), 1),
        datum("m", end + datetime.timedelta(hours=3), 1),
        datum("m", start, 1, StorageResolution=30),
        datum("m", start, 1, Dimensions=[{"Name": f"d{number}", "Value": "v"} for number in range(31)]),
        {"MetricName": "m", "Values": [1, 2], "Counts": [1]},
    ):
        with refused("InvalidParameterValue"):
            put(loose, wrong)
    statistics = {"Namespace": "App", "MetricName": "m", "StartTime": start, "EndTime": end}
    with refused("MissingParameter", "Period"):
        loose.get_metric_statistics(**statistics, Statistics=["Sum"])
    with refused("InvalidParameterValue", "Period"):
        cloudwatch.get_metric_statistics(**statistics, Period=45, Statistics=["Sum"])
    with refused("InvalidParameterCombination", "either Statistics or ExtendedStatistics"):
        cloudwatch.get_metric_statistics(**statistics, Period=60)
    long = {**statistics, "StartTime": start - datetime.timedelta(days=2)}
    with refused("InvalidParameterCombination", "exceeds the limit of 1,440"):
        cloudwatch.get_metric_statistics(**long, Period=60, Statistics=["Sum"])
    with refused("InvalidParameterValue", "NextToken"):
        cloudwatch.list_metrics(NextToken="nothing-that-it-gave-out")
    with refused("ValidationError"):
        cloudwatch.list_metrics(Dimensions=[{"Name": f"d{number}"} for number in range(11)])


def test_others_may_put_only_into_namespaces_that_they_are_given(iam):
    iam.create_user(UserName="reporter")
    condition = {"StringEquals": {"cloudwatch:namespace": "Allowed"}}
    allowed = {"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*", "Condition": condition}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reporter", PolicyName="put", PolicyDocument=document)
    key = iam.create_access_key(UserName="reporter")["AccessKey"]
    reporter = harness.client("cloudwatch", key=(key["AccessKeyId"], key["SecretAccessKey"]))
    reporter.put_metric_data(Namespace="Allowed", MetricData=[{"MetricName": "m", "Value": 1}])
    with refused("AccessDenied"):
        reporter.put_metric_data(Namespace="Other", MetricData=[{"MetricName": "m", "Value": 1}])
    with refused("AccessDenied"):
        reporter.list_metrics()


def test_the_cli():
    start, end = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (minute(5), minute(0)))
    common = ("--namespace", "App", "--metric-name", "m", "--dimensions")
    aws("cloudwatch", "put-metric-data", *common, "Service=web", "--timestamp", start, "--value", "3", "--unit", "Count")
    listed = json.loads(aws("cloudwatch", "list-metrics", "--namespace", "App"))
    assert listed["Metrics"] == [{"Namespace": "App", "MetricName": "m", "Dimensions": WEB}]
    times = ("--start-time", start, "--end-time", end)
    named = (*common, "Name=Service,Value=web", *times, "--period", "60")
    told = json.loads(aws("cloudwatch", "get-metric-statistics", *named, "--statistics", "Sum", "Maximum"))
    (point,) = told["Datapoints"]
    assert (point["Sum"], point["Maximum"], point["Unit"]) == (3, 3, "Count")
    queries = json.dumps(
        [
            {"Id": "m", "MetricStat": stat("m", Dimensions=WEB), "ReturnData": False},
            {"Id": "e", "Expression": "m * 2"},
        ]
    )
    told = json.loads(aws("cloudwatch", "get-metric-data", *times, "--metric-data-queries", queries))
    assert told["MetricDataResults"][0]["Values"] == [6]
    error = aws("cloudwatch", "get-metric-statistics", *named, code=255)
    assert "(InvalidParameterCombination)" in error
