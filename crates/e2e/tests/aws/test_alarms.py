"""CloudWatch's alarms: put, judged, told, and acted on."""

import datetime
import http.server
import json
import threading
import time

import pytest

import harness
from harness import ACCOUNT, REGION, eventually, refused
from test_cli import aws


@pytest.fixture(scope="module", params=("smithy-rpc-v2-cbor", "json", "query"))
def spoken(request):
    return harness.client("cloudwatch", protocol=request.param)


@pytest.fixture(scope="module")
def cloudwatch():
    return harness.client("cloudwatch")


@pytest.fixture(scope="module")
def loose():
    return harness.client("cloudwatch", validate=False)


ERRORS = {
    "MetricName": "Errors",
    "Namespace": "Shop",
    "Statistic": "Sum",
    "Dimensions": [{"Name": "Service", "Value": "web"}],
    "Period": 10,
    "EvaluationPeriods": 1,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


def put(cloudwatch, name="errors", **more):
    cloudwatch.put_metric_alarm(AlarmName=name, **{**ERRORS, **more})


def told(cloudwatch, name="errors"):
    return cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def begin(ago):
    """The beginning of a period of 10 s, some periods ago; none ends within the next two seconds."""
    while time.time() % 10 > 8:
        time.sleep(0.1)
    now = int(time.time()) // 10 * 10
    return datetime.datetime.fromtimestamp(now - 10 * ago, datetime.UTC)


def measure(cloudwatch, *values, name="Errors", dimensions=ERRORS["Dimensions"]):
    """Values of the latest periods of 10 s that are over, the latest last."""
    count = len(values)
    data = [
        {"MetricName": name, "Dimensions": dimensions, "Timestamp": begin(count - index), "Value": value,
         "StorageResolution": 1}
        for index, value in enumerate(values)
    ]
    cloudwatch.put_metric_data(Namespace="Shop", MetricData=data)


def test_an_alarm_in_every_protocol(spoken):
    put(
        spoken,
        AlarmDescription="too many",
        DatapointsToAlarm=2,
        EvaluationPeriods=3,
        TreatMissingData="ignore",
        Unit="Count",
        AlarmActions=["arn:aws:sns:us-east-1:000000000000:topic"],
        Tags=[{"Key": "team", "Value": "a"}],
    )
    alarm = told(spoken)
    assert alarm["AlarmArn"] == f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:errors"
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    assert alarm["StateReason"] == "Unchecked: Initial alarm creation"
    assert {name: alarm[name] for name in ERRORS if name != "EvaluationPeriods"} == {
        name: value for name, value in ERRORS.items() if name != "EvaluationPeriods"
    }
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 3)
    assert (alarm["TreatMissingData"], alarm["Unit"], alarm["ActionsEnabled"]) == ("ignore", "Count", True)
    tags = spoken.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "a"}]
    spoken.tag_resource(ResourceARN=alarm["AlarmArn"], Tags=[{"Key": "stage", "Value": "test"}])
    spoken.untag_resource(ResourceARN=alarm["AlarmArn"], TagKeys=["team"])
    tags = spoken.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tags == [{"Key": "stage", "Value": "test"}]
    found = spoken.describe_alarms_for_metric(
        MetricName="Errors", Namespace="Shop", Dimensions=ERRORS["Dimensions"], Statistic="Sum", Period=10
    )
    assert [one["AlarmName"] for one in found["MetricAlarms"]] == ["errors"]
    spoken.set_alarm_state(
        AlarmName="errors", StateValue="ALARM", StateReason="a case", StateReasonData='{"by": "hand"}'
    )
    alarm = told(spoken)
    assert (alarm["StateValue"], alarm["StateReason"]) == ("ALARM", "a case")
    history = spoken.describe_alarm_history(AlarmName="errors", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in history] == ["Alarm updated from INSUFFICIENT_DATA to ALARM"]
    assert json.loads(history[0]["HistoryData"])["newState"]["stateReasonData"] == {"by": "hand"}
    spoken.disable_alarm_actions(AlarmNames=["errors"])
    assert not told(spoken)["ActionsEnabled"]
    spoken.enable_alarm_actions(AlarmNames=["errors"])
    assert told(spoken)["ActionsEnabled"]
    spoken.delete_alarms(AlarmNames=["errors"])
    assert spoken.describe_alarms()["MetricAlarms"] == []
    summaries = [item["HistorySummary"] for item in spoken.describe_alarm_history(AlarmName="errors")["AlarmHistoryItems"]]
    assert summaries[0] == 'Alarm "errors" deleted' and summaries[-1] == 'Alarm "errors" created'


def test_an_alarm_follows_its_metric_and_tells_a_url(cloudwatch):
    received = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        put(cloudwatch, AlarmActions=[f"http://127.0.0.1:{server.server_port}/alarms"], TreatMissingData="notBreaching")
        measure(cloudwatch, 9)
        alarm = eventually("the alarm is in ALARM", lambda: [it for it in [told(cloudwatch)] if it["StateValue"] == "ALARM"])[0]
        assert alarm["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint [9.0 (")
        assert alarm["StateReason"].endswith("(minimum 1 datapoint for OK -> ALARM transition).") or (
            alarm["StateReason"].endswith("(minimum 1 datapoint for INSUFFICIENT_DATA -> ALARM transition).")
        )
        assert json.loads(alarm["StateReasonData"])["recentDatapoints"] == [9.0]
        event = eventually("the event is there", lambda: received)[0]
        assert event["detail-type"] == "CloudWatch Alarm State Change" and event["source"] == "aws.cloudwatch"
        assert event["detail"]["alarmName"] == "errors" and event["detail"]["state"]["value"] == "ALARM"

        def done():
            items = cloudwatch.describe_alarm_history(AlarmName="errors", HistoryItemType="Action")["AlarmHistoryItems"]
            return [item["HistorySummary"] for item in items]

        assert eventually("the action is in the history", done)[0].startswith("Successfully executed action http://")
    finally:
        server.shutdown()
        server.server_close()


def test_an_alarm_over_an_expression(cloudwatch):
    def query(name):
        metric = {"Namespace": "Shop", "MetricName": name, "Dimensions": ERRORS["Dimensions"]}
        stat = {"Metric": metric, "Period": 10, "Stat": "Sum"}
        return {"Id": name.lower(), "MetricStat": stat, "ReturnData": False}

    rate = {"Id": "rate", "Expression": "100 * errors / requests", "Label": "error rate", "ReturnData": True}
    metrics = [rate, query("Errors"), query("Requests")]
    rule = {"EvaluationPeriods": 1, "Threshold": 20, "ComparisonOperator": "GreaterThanThreshold"}
    cloudwatch.put_metric_alarm(AlarmName="rate", Metrics=metrics, **rule)
    assert [query["Id"] for query in told(cloudwatch, "rate")["Metrics"]] == ["rate", "errors", "requests"]
    measure(cloudwatch, 30)
    measure(cloudwatch, 100, name="Requests")
    eventually("the rate is too high", lambda: told(cloudwatch, "rate")["StateValue"] == "ALARM")
    for wrong in ("100 * errors / none", "100 *"):
        with refused("ValidationError"):
            cloudwatch.put_metric_alarm(AlarmName="rate", Metrics=[{**rate, "Expression": wrong}, *metrics[1:]], **rule)


def test_lists_are_filtered_and_paged(cloudwatch):
    for name in ("a-1", "a-2", "b-1"):
        put(cloudwatch, name, AlarmActions=[f"arn:aws:sns:us-east-1:{ACCOUNT}:{name}"])
    cloudwatch.set_alarm_state(AlarmName="a-2", StateValue="OK", StateReason="")

    def names(**more):
        return [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms(**more)["MetricAlarms"]]

    assert names() == ["a-1", "a-2", "b-1"]
    assert names(AlarmNamePrefix="a-") == ["a-1", "a-2"]
    assert names(AlarmNames=["b-1", "none"]) == ["b-1"]
    assert names(ActionPrefix=f"arn:aws:sns:us-east-1:{ACCOUNT}:b") == ["b-1"]
    assert names(AlarmTypes=["CompositeAlarm"]) == []
    first = cloudwatch.describe_alarms(MaxRecords=2)
    assert [alarm["AlarmName"] for alarm in first["MetricAlarms"]] == ["a-1", "a-2"]
    assert names(NextToken=first["NextToken"]) == ["b-1"]
    items = cloudwatch.describe_alarm_history(ScanBy="TimestampAscending", MaxRecords=2)
    assert len(items["AlarmHistoryItems"]) == 2
    assert cloudwatch.describe_alarm_history(ScanBy="TimestampAscending", NextToken=items["NextToken"])["AlarmHistoryItems"]
    with refused("InvalidNextToken"):
        cloudwatch.describe_alarms(NextToken="nobody's")
    with refused("InvalidNextToken"):
        cloudwatch.describe_alarm_history(NextToken="nobody's")


def test_what_cannot_be_is_refused(cloudwatch, loose):
    for wrong in (
        {"Period": 15},
        {"EvaluationPeriods": 10_000},
        {"DatapointsToAlarm": 2},
        {"ComparisonOperator": "GreaterThanUpperThreshold"},
        {"TreatMissingData": "sometimes"},
        {"AlarmActions": ["nowhere"]},
        {"ExtendedStatistic": "p99"},
    ):
        with refused("ValidationError"):
            put(loose, **wrong)
    put(cloudwatch)
    with refused("InvalidFormat"):
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="", StateReasonData="{")
    with refused("ResourceNotFound"):
        cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="")
    with refused("ResourceNotFound"):
        cloudwatch.delete_alarms(AlarmNames=["errors", "none"])
    assert told(cloudwatch)["AlarmName"] == "errors"
    absent = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:none"
    for operation, more in (
        (cloudwatch.list_tags_for_resource, {}),
        (cloudwatch.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
        (cloudwatch.untag_resource, {"TagKeys": ["a"]}),
    ):
        with refused("ResourceNotFoundException"):
            operation(ResourceARN=absent, **more)
        with refused("InvalidParameterValue"):
            operation(ResourceARN="arn:aws:cloudwatch:::dashboard/x", **more)


def test_the_cli(cloudwatch):
    arguments = "--metric-name Errors --namespace Shop --statistic Sum --period 60 --evaluation-periods 1 --threshold 5"
    # Else the next minute's evaluation sets it back, there are no data.
    arguments += " --treat-missing-data ignore"
    comparison = ("--comparison-operator", "GreaterThanThreshold")
    aws("cloudwatch", "put-metric-alarm", "--alarm-name", "errors", *arguments.split(), *comparison)
    aws("cloudwatch", "set-alarm-state", "--alarm-name", "errors", "--state-value", "ALARM", "--state-reason", "test")
    found = aws("cloudwatch", "describe-alarms", "--query", "MetricAlarms[].[AlarmName, StateValue]", "--output", "text")
    assert found.split() == ["errors", "ALARM"]
