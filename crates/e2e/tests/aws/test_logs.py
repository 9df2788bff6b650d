"""CloudWatch Logs: groups, streams, events, filters, queries, and metrics of them."""

import json
import time

import pytest

import harness
from harness import eventually, refused
from test_cli import aws

GROUP = "/app/web"


@pytest.fixture(scope="module")
def logs():
    return harness.client("logs")


@pytest.fixture(scope="module")
def loose():
    return harness.client("logs", validate=False)


def now():
    return int(time.time() * 1000)


def events(*messages, at=None):
    at = at or now() - 10_000
    return [{"timestamp": at + number, "message": message} for number, message in enumerate(messages)]


@pytest.fixture
def stream(logs):
    """A group and a stream in it."""
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName="one")
    return {"logGroupName": GROUP, "logStreamName": "one"}


def messages(answer):
    return [event["message"] for event in answer["events"]]


def test_groups(logs, loose):
    for name in ("a", "b/c", "b/d"):
        logs.create_log_group(logGroupName=name, tags={"team": "shop"} if name == "a" else {"x": ""})
    found = logs.describe_log_groups()["logGroups"]
    assert [group["logGroupName"] for group in found] == ["a", "b/c", "b/d"]
    assert found[0]["arn"] == "arn:aws:logs:us-east-1:000000000000:log-group:a:*"
    assert found[0]["arn"] == found[0]["logGroupArn"] + ":*"
    assert found[0]["storedBytes"] == 0 and "retentionInDays" not in found[0]
    assert len(logs.describe_log_groups(logGroupNamePrefix="b/")["logGroups"]) == 2
    assert len(logs.describe_log_groups(logGroupNamePattern="/d")["logGroups"]) == 1
    paged = logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1})
    assert [group["logGroupName"] for page in paged for group in page["logGroups"]] == ["a", "b/c", "b/d"]
    with refused("InvalidParameterException", "nextToken"):
        logs.describe_log_groups(nextToken="?")

    logs.put_retention_policy(logGroupName="a", retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix="a")["logGroups"][0]["retentionInDays"] == 7
    logs.delete_retention_policy(logGroupName="a")
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix="a")["logGroups"][0]
    with refused("InvalidParameterException", "retentionInDays"):
        logs.put_retention_policy(logGroupName="a", retentionInDays=2)
    # Bowline's own keep events for three days.
    logs.create_log_group(logGroupName="/bowline/x")
    own = logs.describe_log_groups(logGroupNamePrefix="/bowline/")["logGroups"]
    assert own[0]["retentionInDays"] == 3

    arn = found[0]["logGroupArn"]
    logs.put_log_group_deletion_protection(logGroupIdentifier=arn, deletionProtectionEnabled=True)
    with refused("ValidationException", "protected"):
        logs.delete_log_group(logGroupName="a")
    logs.put_log_group_deletion_protection(logGroupIdentifier="a", deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName="a")
    with refused("ResourceAlreadyExistsException", "The specified log group already exists"):
        logs.create_log_group(logGroupName="b/c")
    for call, more in [
        (loose.create_log_group, {}),
        (loose.delete_log_group, {}),
        (loose.put_retention_policy, {"retentionInDays": 1}),
        (loose.delete_retention_policy, {}),
    ]:
        with refused("InvalidParameterException", "logGroupName.*regular expression"):
            call(logGroupName="a b", **more)
    with refused("InvalidParameterException"):
        loose.put_log_group_deletion_protection(logGroupIdentifier="a b", deletionProtectionEnabled=True)
    for call, more in [
        (logs.delete_log_group, {}),
        (logs.put_retention_policy, {"retentionInDays": 1}),
        (logs.delete_retention_policy, {}),
    ]:
        with refused("ResourceNotFoundException", "The specified log group does not exist."):
            call(logGroupName="nothing", **more)
    with refused("ResourceNotFoundException"):
        logs.put_log_group_deletion_protection(logGroupIdentifier="nothing", deletionProtectionEnabled=True)


def test_tags(logs, loose):
    logs.create_log_group(logGroupName="a", tags={"team": "shop"})
    arn = logs.describe_log_groups()["logGroups"][0]["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"env": "test"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "shop", "env": "test"}
    logs.untag_resource(resourceArn=arn, tagKeys=["team"])
    logs.tag_log_group(logGroupName="a", tags={"more": "1"})
    assert logs.list_tags_log_group(logGroupName="a")["tags"] == {"env": "test", "more": "1"}
    logs.untag_log_group(logGroupName="a", tags=["more", "env"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {}
    many = {f"k{number}": "" for number in range(40)}
    logs.tag_resource(resourceArn=arn, tags=many)
    with refused("TooManyTagsException"):
        logs.tag_resource(resourceArn=arn, tags={f"l{number}": "" for number in range(11)})
    with refused("InvalidParameterException", "aws:"):
        logs.tag_resource(resourceArn=arn, tags={"aws:x": ""})
    with refused("InvalidParameterException"):
        logs.tag_log_group(logGroupName="a", tags={"aws:x": ""})
    for call, more in [
        (logs.tag_resource, {"tags": {"a": "b"}}),
        (logs.untag_resource, {"tagKeys": ["a"]}),
        (logs.list_tags_for_resource, {}),
    ]:
        with refused("ResourceNotFoundException"):
            call(resourceArn=arn.replace(":a", ":b"), **more)
        with refused("InvalidParameterException"):
            call(resourceArn="arn:aws:ecs:us-east-1:000000000000:cluster/a", **more)
    for call, more in [
        (logs.tag_log_group, {"tags": {"a": "b"}}),
        (logs.untag_log_group, {"tags": ["a"]}),
        (logs.list_tags_log_group, {}),
    ]:
        with refused("ResourceNotFoundException"):
            call(logGroupName="nothing", **more)


def test_streams(logs, loose, stream):
    for name in ("two", "three"):
        logs.create_log_stream(logGroupName=GROUP, logStreamName=name)
    at = now() - 5_000
    logs.put_log_events(logEvents=events("a", "b", at=at), **stream)
    logs.put_log_events(logGroupName=GROUP, logStreamName="two", logEvents=events("c", at=at + 1000))
    found = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    assert [one["logStreamName"] for one in found] == ["one", "three", "two"]
    one = found[0]
    assert (one["firstEventTimestamp"], one["lastEventTimestamp"]) == (at, at + 1)
    assert one["lastIngestionTime"] >= at and one["arn"].endswith(":log-group:/app/web:log-stream:one")
    assert "lastEventTimestamp" not in found[1]
    latest = logs.describe_log_streams(logGroupName=GROUP, orderBy="LastEventTime", descending=True, limit=2)
    assert [one["logStreamName"] for one in latest["logStreams"]] == ["two", "one"]
    arn = logs.describe_log_groups()["logGroups"][0]["logGroupArn"]
    prefixed = logs.describe_log_streams(logGroupIdentifier=arn, logStreamNamePrefix="t")["logStreams"]
    assert len(prefixed) == 2
    with refused("InvalidParameterException", "LastEventTime"):
        logs.describe_log_streams(logGroupName=GROUP, orderBy="LastEventTime", logStreamNamePrefix="t")
    logs.delete_log_stream(**stream)
    assert len(logs.describe_log_streams(logGroupName=GROUP)["logStreams"]) == 2
    with refused("ResourceAlreadyExistsException", "The specified log stream already exists"):
        logs.create_log_stream(logGroupName=GROUP, logStreamName="two")
    with refused("ResourceNotFoundException", "The specified log stream does not exist."):
        logs.delete_log_stream(**stream)
    for call in (loose.create_log_stream, loose.delete_log_stream):
        with refused("InvalidParameterException", "logStreamName"):
            call(logGroupName=GROUP, logStreamName="a:b")
    with refused("ResourceNotFoundException"):
        logs.create_log_stream(logGroupName="nothing", logStreamName="a")
    with refused("ResourceNotFoundException"):
        logs.describe_log_streams(logGroupName="nothing")


def test_events_are_put(logs, loose, stream):
    answer = logs.put_log_events(logEvents=events("a", "b"), sequenceToken="any", **stream)
    assert answer["nextSequenceToken"] and "rejectedLogEventsInfo" not in answer
    day = 24 * 3600 * 1000
    mixed = [
        {"timestamp": now() - 14 * day - 60_000, "message": "too old"},
        {"timestamp": now() - 14 * day + 60_000, "message": "old"},
    ]
    info = logs.put_log_events(logEvents=mixed, **stream)["rejectedLogEventsInfo"]
    assert info == {"tooOldLogEventEndIndex": 1}
    late = events("now", at=now()) + events("too new", at=now() + 3 * 3600 * 1000)
    assert logs.put_log_events(logEvents=late, **stream)["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=1)
    expired = events("expired", at=now() - 2 * day)
    info = logs.put_log_events(logEvents=expired, **stream)["rejectedLogEventsInfo"]
    assert info == {"expiredLogEventEndIndex": 1}
    logs.delete_retention_policy(logGroupName=GROUP)
    assert messages(logs.get_log_events(startFromHead=True, **stream)) == ["old", "a", "b", "now"]

    with refused("InvalidParameterException", "chronological order"):
        logs.put_log_events(logEvents=events("b", at=now()) + events("a", at=now() - 1000), **stream)
    with refused("InvalidParameterException", "cannot span more than 24 hours"):
        logs.put_log_events(logEvents=events("b", at=now() - 2 * day) + events("a"), **stream)
    with refused("InvalidParameterException", "Upload too large: 1048577 bytes exceeds limit of 1048576"):
        half = (1_048_576 - 52) // 2
        logs.put_log_events(logEvents=events("a" * half, "b" * (half + 1)), **stream)
    with refused("InvalidParameterException", "Log event too large"):
        logs.put_log_events(logEvents=events("a" * 1_048_576), **stream)
    with refused("InvalidParameterException", "logEvents"):
        loose.put_log_events(logEvents=[], **stream)
    with refused("InvalidParameterException", "message"):
        loose.put_log_events(logEvents=events(""), **stream)
    with refused("ResourceNotFoundException", "log stream"):
        logs.put_log_events(logGroupName=GROUP, logStreamName="nothing", logEvents=events("a"))
    with refused("ResourceNotFoundException", "log group"):
        logs.put_log_events(logGroupName="nothing", logStreamName="nothing", logEvents=events("a"))


def test_events_are_got_page_by_page(logs, loose, stream):
    empty = logs.get_log_events(**stream)
    assert empty["events"] == []
    logs.put_log_events(logEvents=events(*(f"{number:02}" for number in range(20))), **stream)
    whole = [f"{number:02}" for number in range(20)]
    assert messages(logs.get_log_events(nextToken=empty["nextForwardToken"], **stream)) == whole

    page = logs.get_log_events(limit=7, startFromHead=True, **stream)
    seen, token = messages(page), page["nextForwardToken"]
    while True:
        page = logs.get_log_events(limit=7, nextToken=token, startFromHead=True, **stream)
        seen += messages(page)
        # At the end the token is the one that was given.
        if page["nextForwardToken"] == token:
            assert page["events"] == []
            break
        token = page["nextForwardToken"]
    assert seen == whole
    logs.put_log_events(logEvents=events("later", at=now()), **stream)
    assert messages(logs.get_log_events(nextToken=token, **stream)) == ["later"]

    page = logs.get_log_events(limit=6, **stream)
    seen, token = messages(page), page["nextBackwardToken"]
    assert seen[-1] == "later"
    while page["events"]:
        page = logs.get_log_events(limit=6, nextToken=token, **stream)
        seen = messages(page) + seen
        token = page["nextBackwardToken"]
    assert seen == whole + ["later"]
    first = logs.get_log_events(startFromHead=True, limit=1, **stream)["events"][0]
    within = logs.get_log_events(startTime=first["timestamp"] + 1, endTime=first["timestamp"] + 3, **stream)
    assert messages(within) == ["01", "02"]
    for wrong in ({"nextToken": "x/1"}, {"limit": 0}, {"limit": 10_001}):
        with refused("InvalidParameterException"):
            loose.get_log_events(**wrong, **stream)
    with refused("ResourceNotFoundException", "log stream"):
        logs.get_log_events(logGroupName=GROUP, logStreamName="nothing")


def test_events_are_filtered(logs, loose, stream):
    logs.create_log_stream(logGroupName=GROUP, logStreamName="two")
    at = now() - 60_000
    lines = [json.dumps({"status": 500 if number % 5 == 0 else 200, "n": number}) for number in range(20)]
    logs.put_log_events(logEvents=events(*lines, at=at), **stream)
    logs.put_log_events(logGroupName=GROUP, logStreamName="two", logEvents=events("ERROR x", "fine", at=at + 5))
    found = logs.filter_log_events(logGroupName=GROUP, filterPattern="{ $.status = 5* }")
    assert [json.loads(message)["n"] for message in messages(found)] == [0, 5, 10, 15]
    event = found["events"][0]
    assert event["logStreamName"] == "one" and len(event["eventId"]) == 56 and event["ingestionTime"] >= at
    assert messages(logs.filter_log_events(logGroupName=GROUP, filterPattern="?ERROR ?fine")) == ["ERROR x", "fine"]
    assert len(messages(logs.filter_log_events(logGroupName=GROUP))) == 22
    assert messages(logs.filter_log_events(logGroupName=GROUP, logStreamNames=["two"])) == ["ERROR x", "fine"]
    assert len(messages(logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix="o"))) == 20
    # Other than of `GetLogEvents`, the end is included.
    assert len(messages(logs.filter_log_events(logGroupName=GROUP, startTime=at, endTime=at + 1))) == 2
    paginator = logs.get_paginator("filter_log_events")
    pages = paginator.paginate(logGroupName=GROUP, PaginationConfig={"PageSize": 5})
    paged = [event for page in pages for event in page["events"]]
    assert len(paged) == 22 and [event["timestamp"] for event in paged] == sorted(event["timestamp"] for event in paged)
    with refused("InvalidParameterException", "[Ii]nvalid.*pattern"):
        logs.filter_log_events(logGroupName=GROUP, filterPattern="{ $.a = }")
    with refused("InvalidParameterException", "together"):
        logs.filter_log_events(logGroupName=GROUP, logStreamNames=["a"], logStreamNamePrefix="a")
    with refused("ResourceNotFoundException"):
        logs.filter_log_events(logGroupName="nothing")

    # As `aws logs tail` of the CLI's second version asks; the first has no such command.
    asked = ("--log-group-name", GROUP, "--start-time", str(at), "--interleaved", "--filter-pattern", "ERROR")
    tail = json.loads(aws("logs", "filter-log-events", *asked))["events"]
    assert [event["message"] for event in tail] == ["ERROR x"]
    again = ("--log-group-name", GROUP, "--start-time", str(tail[0]["timestamp"]), "--interleaved")
    assert tail[0]["eventId"] in aws("logs", "filter-log-events", *again)


def query(logs, text, **more):
    """The rows of a query's answer, without pointers."""
    span = {"startTime": int(time.time()) - 3600, "endTime": int(time.time()) + 60}
    started = logs.start_query(logGroupName=GROUP, queryString=text, **{**span, **more})["queryId"]

    def answer():
        found = logs.get_query_results(queryId=started)
        return found if found["status"] != "Running" else None

    answered = eventually("an answer", answer)
    assert answered["status"] == "Complete"
    rows = [{cell["field"]: cell["value"] for cell in row} for row in answered["results"]]
    return started, rows, answered["statistics"]


def test_queries(logs, loose, stream):
    lines = [json.dumps({"path": f"/{number % 2}", "ms": number}) for number in range(10)]
    logs.put_log_events(logEvents=events(*lines, "no JSON"), **stream)
    started, rows, statistics = query(logs, "filter ispresent(ms) | stats count(*) as n, avg(ms) by path | sort path")
    assert rows == [
        {"path": "/0", "n": "5", "avg(ms)": "4"},
        {"path": "/1", "n": "5", "avg(ms)": "5"},
    ]
    assert (statistics["recordsScanned"], statistics["recordsMatched"]) == (11, 10)
    _, rows, _ = query(logs, "fields @timestamp, @message, @logStream | sort ms desc | limit 1")
    assert json.loads(rows[0]["@message"])["ms"] == 9 and rows[0]["@logStream"] == "one"
    record = logs.get_log_record(logRecordPointer=rows[0]["@ptr"])["logRecord"]
    assert (record["ms"], record["path"], record["@log"]) == ("9", "/1", f"000000000000:{GROUP}")
    _, rows, _ = query(logs, "stats count(*) by bin(1h)")
    assert [row["count(*)"] for row in rows] in (["11"], ["1", "10"], ["10", "1"]) or len(rows) == 2

    found = logs.describe_queries(logGroupName=GROUP)["queries"]
    assert started in [one["queryId"] for one in found] and len(found) == 3
    with refused("InvalidParameterException", "ended"):
        logs.stop_query(queryId=started)
    with refused("MalformedQueryException", "character"):
        query(logs, "select *")
    with refused("InvalidParameterException", "End time"):
        query(logs, "fields a", startTime=10, endTime=5)
    with refused("ResourceNotFoundException"):
        logs.start_query(logGroupName="nothing", queryString="fields a", startTime=0, endTime=1)
    for call in (logs.get_query_results, logs.stop_query):
        with refused("ResourceNotFoundException"):
            call(queryId="nothing")
    for call in (loose.get_query_results, loose.stop_query):
        with refused("InvalidParameterException", "queryId"):
            call(queryId="x" * 257)
    with refused("InvalidParameterException", "limit|maxResults"):
        loose.describe_queries(maxResults=0)
    with refused("ResourceNotFoundException"):
        logs.describe_queries(logGroupName="nothing")
    with refused("InvalidParameterException", "pointer"):
        logs.get_log_record(logRecordPointer="?")
    logs.delete_log_group(logGroupName=GROUP)
    with refused("ResourceNotFoundException"):
        logs.get_log_record(logRecordPointer=record["@ptr"])


def test_a_query_that_runs_can_be_stopped(logs, stream):
    line = json.dumps({"text": "x" * 900})
    for _ in range(20):
        logs.put_log_events(logEvents=events(*[line] * 1000), **stream)
    span = {"startTime": int(time.time()) - 3600, "endTime": int(time.time()) + 60}
    text = "filter text like /(a|b|x)*(y|z)/ | stats count(*)"
    started = logs.start_query(logGroupName=GROUP, queryString=text, **span)["queryId"]
    assert logs.stop_query(queryId=started)["success"]
    assert logs.get_query_results(queryId=started)["status"] == "Cancelled"


def test_metric_filters(logs, loose, cloudwatch, stream):
    transformation = {
        "metricName": "Latency",
        "metricNamespace": "Shop",
        "metricValue": "$.ms",
        "dimensions": {"Path": "$.path"},
        "unit": "Milliseconds",
    }
    put = {"logGroupName": GROUP, "filterName": "latency", "filterPattern": "{ $.status = 5* }"}
    logs.put_metric_filter(metricTransformations=[transformation], **put)
    found = logs.describe_metric_filters(logGroupName=GROUP)["metricFilters"]
    assert len(found) == 1 and found[0]["metricTransformations"] == [transformation]
    assert logs.describe_log_groups()["logGroups"][0]["metricFilterCount"] == 1
    assert len(logs.describe_metric_filters(metricName="Latency", metricNamespace="Shop")["metricFilters"]) == 1
    lines = [json.dumps({"status": status, "ms": ms, "path": "/a"}) for status, ms in ((503, 4), (500, 6), (200, 9))]
    logs.put_log_events(logEvents=events(*lines, at=now()), **stream)

    def told():
        statistics = cloudwatch.get_metric_statistics(
            Namespace="Shop",
            MetricName="Latency",
            Dimensions=[{"Name": "Path", "Value": "/a"}],
            StartTime=time.time() - 120,
            EndTime=time.time() + 60,
            Period=60,
            Statistics=["Sum", "SampleCount"],
        )
        return statistics["Datapoints"]

    points = eventually("values", told)
    assert (points[0]["Sum"], points[0]["SampleCount"], points[0]["Unit"]) == (10, 2, "Milliseconds")

    tested = logs.test_metric_filter(filterPattern="[ip, ..., status = 4*]", logEventMessages=["1 GET 404", "1 GET 200"])
    assert tested["matches"] == [
        {"eventNumber": 1, "eventMessage": "1 GET 404", "extractedValues": {"$ip": "1", "$status": "404"}}
    ]
    with refused("InvalidParameterException", "metric transformation"):
        logs.put_metric_filter(metricTransformations=[{**transformation, "metricValue": "ms"}], **put)
    with refused("InvalidParameterException", "pattern"):
        logs.test_metric_filter(filterPattern="[", logEventMessages=["a"])
    with refused("ResourceNotFoundException"):
        logs.put_metric_filter(metricTransformations=[transformation], **{**put, "logGroupName": "nothing"})
    with refused("ResourceNotFoundException"):
        logs.describe_metric_filters(logGroupName="nothing")
    with refused("InvalidParameterException", "together"):
        logs.describe_metric_filters(metricName="Latency")
    for number in range(99):
        logs.put_metric_filter(metricTransformations=[transformation], **{**put, "filterName": f"f{number}"})
    with refused("LimitExceededException"):
        logs.put_metric_filter(metricTransformations=[transformation], **{**put, "filterName": "more"})
    logs.delete_metric_filter(logGroupName=GROUP, filterName="latency")
    with refused("ResourceNotFoundException", "metric filter"):
        logs.delete_metric_filter(logGroupName=GROUP, filterName="latency")
    with refused("InvalidParameterException", "filterName"):
        loose.delete_metric_filter(logGroupName=GROUP, filterName="a:b")


TEMPLATE = """
Resources:
  Group:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: /stack/web, RetentionInDays: 7, Tags: [{Key: team, Value: shop}]}
  Errors:
    Type: AWS::Logs::MetricFilter
    Properties:
      LogGroupName: !Ref Group
      FilterPattern: ERROR
      MetricTransformations: [{MetricNamespace: Shop, MetricName: Errors, MetricValue: "1"}]
Outputs:
  Arn: {Value: !GetAtt Group.Arn}
"""


def test_templates(logs, cloudformation):
    cloudformation.create_stack(StackName="logs", TemplateBody=TEMPLATE)
    group = logs.describe_log_groups(logGroupNamePrefix="/stack/")["logGroups"][0]
    assert (group["retentionInDays"], group["metricFilterCount"]) == (7, 1)
    assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"team": "shop"}
    outputs = eventually("outputs", lambda: cloudformation.describe_stacks(StackName="logs")["Stacks"][0].get("Outputs"))
    assert outputs[0]["OutputValue"] == group["arn"]
    logs.create_log_stream(logGroupName="/stack/web", logStreamName="s")
    logs.put_log_events(logGroupName="/stack/web", logStreamName="s", logEvents=events("ERROR", at=now()))
    eventually("stable", lambda: "COMPLETE" in cloudformation.describe_stacks(StackName="logs")["Stacks"][0]["StackStatus"])
    changed = TEMPLATE.replace("RetentionInDays: 7", "RetentionInDays: 14")
    cloudformation.update_stack(StackName="logs", TemplateBody=changed)
    group = logs.describe_log_groups(logGroupNamePrefix="/stack/")["logGroups"][0]
    assert group["retentionInDays"] == 14 and group["storedBytes"] > 0
    eventually("stable", lambda: "COMPLETE" in cloudformation.describe_stacks(StackName="logs")["Stacks"][0]["StackStatus"])
    cloudformation.delete_stack(StackName="logs")
    eventually("gone", lambda: not logs.describe_log_groups(logGroupNamePrefix="/stack/")["logGroups"])


POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["logs:PutLogEvents", "logs:GetLogEvents", "logs:DescribeLogStreams"],
            "Resource": "arn:aws:logs:us-east-1:000000000000:log-group:/app/web:*",
        }
    ],
}


def test_policies_name_groups_and_streams(logs, iam, stream):
    iam.create_user(UserName="writer")
    iam.put_user_policy(UserName="writer", PolicyName="logs", PolicyDocument=json.dumps(POLICY))
    key = iam.create_access_key(UserName="writer")["AccessKey"]
    writer = harness.client("logs", key=(key["AccessKeyId"], key["SecretAccessKey"]))
    writer.put_log_events(logEvents=events("a"), **stream)
    assert messages(writer.get_log_events(**stream)) == ["a"]
    assert writer.describe_log_streams(logGroupName=GROUP)["logStreams"]
    with refused("AccessDeniedException", "logs:FilterLogEvents on resource: .*:log-group:/app/web:log-stream:"):
        writer.filter_log_events(logGroupName=GROUP)
    logs.create_log_group(logGroupName="/app/other")
    logs.create_log_stream(logGroupName="/app/other", logStreamName="one")
    with refused("AccessDeniedException", "logs:PutLogEvents"):
        writer.put_log_events(logGroupName="/app/other", logStreamName="one", logEvents=events("a"))
