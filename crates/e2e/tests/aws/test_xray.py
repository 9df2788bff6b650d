"""X-Ray: segments, traces, service graphs and sampling rules."""

import json
import os
import time

import pytest

from harness import ACCOUNT, REGION, client, eventually, refused

ALL = {"ResourceARN": "*", "ServiceName": "*", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*"}
CLIENT_ID = "0123456789abcdef01234567"


@pytest.fixture(scope="module")
def xray():
    return client("xray")


@pytest.fixture(scope="module")
def anything():
    return client("xray", validate=False)


def new_id(digits=16):
    return os.urandom(digits // 2).hex()


def new_trace():
    return f"1-{int(time.time()):08x}-{new_id(24)}"


def segment(trace, name, parent=None, took=0.02, **more):
    """A document of a segment that has just ended."""
    end = time.time()
    document = {"id": new_id(), "name": name, "trace_id": trace, "start_time": end - took, "end_time": end, **more}
    return {**document, "parent_id": parent} if parent else document


def put(xray, *documents):
    answer = xray.put_trace_segments(TraceSegmentDocuments=[json.dumps(document) for document in documents])
    assert answer["UnprocessedTraceSegments"] == []


def window(seconds=300):
    now = time.time()
    return {"StartTime": now - seconds, "EndTime": now + 60}


def put_call(xray, status=200):
    """`shop` calls `cart`; the trace's id."""
    trace = new_trace()
    call = {"id": new_id(), "name": "cart", "namespace": "remote", "start_time": time.time() - 0.015, "end_time": time.time()}
    http = {"request": {"method": "GET", "url": "http://cart/items"}, "response": {"status": status}}
    shop = segment(trace, "shop", subsegments=[call], annotations={"color": "red", "size": 7}, user="ann")
    cart = segment(trace, "cart", call["id"], 0.01, http=http, fault=status >= 500, origin="AWS::ECS::Container")
    put(xray, cart, shop)
    return trace


def test_traces_are_found_and_told(xray):
    good, failed = put_call(xray), put_call(xray, 503)

    def found(expression):
        answer = xray.get_trace_summaries(**window(), FilterExpression=expression)
        assert answer["TracesProcessedCount"] == 2
        return {summary["Id"] for summary in answer["TraceSummaries"]}

    assert found("") == {good, failed}
    assert found("fault") == {failed}
    assert found('service("cart") { http.status = 503 }') == {failed}
    assert found('edge("shop", "cart") { !fault }') == {good}
    assert found('annotation.color = "red" AND user = "ann" AND responsetime < 1') == {good, failed}
    assert found('service("nobody")') == set()

    summary = xray.get_trace_summaries(**window(), FilterExpression="ok")["TraceSummaries"][0]
    assert summary["EntryPoint"]["Name"] == "shop" and not summary["HasFault"] and not summary["IsPartial"]
    assert {service["Name"] for service in summary["ServiceIds"]} == {"shop", "cart"}
    assert summary["Annotations"]["size"][0]["AnnotationValue"] == {"NumberValue": 7.0}
    assert summary["Users"][0]["UserName"] == "ann"
    assert 0 < summary["ResponseTime"] <= summary["Duration"] + 0.001

    unknown = new_trace()
    answer = xray.batch_get_traces(TraceIds=[failed, unknown])
    assert answer["UnprocessedTraceIds"] == [unknown]
    documents = [json.loads(part["Document"]) for part in answer["Traces"][0]["Segments"]]
    assert [document["name"] for document in documents] == ["shop", "cart"]
    assert documents[1]["http"]["response"]["status"] == 503
    # As W3C writes ids.
    plain = failed.split("-")[1] + failed.split("-")[2]
    assert xray.batch_get_traces(TraceIds=[plain])["Traces"][0]["Id"] == failed


def test_a_segment_in_progress_is_told_when_it_ends(xray):
    trace = new_trace()
    begun = segment(trace, "slow")
    end = begun.pop("end_time")
    put(xray, {**begun, "in_progress": True})
    assert xray.get_trace_summaries(**window())["TraceSummaries"][0]["IsPartial"]
    assert "Duration" not in xray.batch_get_traces(TraceIds=[trace])["Traces"][0]
    put(xray, {**begun, "end_time": end})
    summary = xray.get_trace_summaries(**window())["TraceSummaries"][0]
    assert not summary["IsPartial"] and 0.01 < summary["Duration"] < 0.03


def test_what_is_no_segment_is_told(xray):
    answer = xray.put_trace_segments(TraceSegmentDocuments=["{", '{"id": "53995c3f42cd8ad8"}'])
    assert answer["UnprocessedTraceSegments"] == [
        {"ErrorCode": "ParseError", "Message": "Invalid segment. ErrorCode: ParseError"},
        {"Id": "53995c3f42cd8ad8", "ErrorCode": "MissingName", "Message": "Invalid segment. ErrorCode: MissingName"},
    ]


def test_graphs_are_of_services_and_calls(xray):
    trace = put_call(xray)
    put_call(xray, 503)
    services = xray.get_service_graph(**window())["Services"]
    by_name = {(service["Name"], service.get("Type")): service for service in services}
    shop, cart = by_name["shop", None], by_name["cart", "AWS::ECS::Container"]
    assert shop["Root"] and shop["SummaryStatistics"]["TotalCount"] == 2
    assert cart["SummaryStatistics"]["FaultStatistics"]["TotalCount"] == 1 and cart["SummaryStatistics"]["OkCount"] == 1
    assert [edge["ReferenceId"] for edge in shop["Edges"]] == [cart["ReferenceId"]]
    assert by_name["shop", "client"]["Edges"][0]["ReferenceId"] == shop["ReferenceId"]
    assert sum(entry["Count"] for entry in cart["DurationHistogram"]) == 2
    of_one = xray.get_trace_graph(TraceIds=[trace])["Services"]
    assert {service["Name"] for service in of_one} == {"shop", "cart"}
    assert xray.get_service_graph(**window(), GroupName="Default")["Services"]


def test_summaries_are_paged(xray):
    traces = set()
    for _ in range(6):
        batch = [segment(new_trace(), "many") for _ in range(100)]
        put(xray, *batch)
        traces |= {document["trace_id"] for document in batch}
    pages = list(xray.get_paginator("get_trace_summaries").paginate(**window()))
    found = [summary["Id"] for page in pages for summary in page["TraceSummaries"]]
    assert len(pages) == 2 and len(found) == 600 and set(found) == traces
    some = xray.get_trace_summaries(
        **window(), Sampling=True, SamplingStrategy={"Name": "FixedRate", "Value": 0.5}
    )["TraceSummaries"]
    assert 0 < len(some) < 500


def test_rules_are_made_changed_and_deleted(xray):
    rule = {"RuleName": "pay", "Priority": 5, "FixedRate": 0.5, "ReservoirSize": 3, "Version": 1, **ALL, "URLPath": "/pay/*"}
    made = xray.create_sampling_rule(SamplingRule=rule, Tags=[{"Key": "team", "Value": "a"}])["SamplingRuleRecord"]
    arn = f"arn:aws:xray:{REGION}:{ACCOUNT}:sampling-rule/pay"
    assert made["SamplingRule"] == {**rule, "RuleARN": arn, "Attributes": {}}
    assert made["CreatedAt"] == made["ModifiedAt"]
    rules = [record["SamplingRule"] for record in xray.get_sampling_rules()["SamplingRuleRecords"]]
    assert [(rule["RuleName"], rule["Priority"]) for rule in rules] == [("pay", 5), ("Default", 10000)]
    changed = xray.update_sampling_rule(SamplingRuleUpdate={"RuleARN": arn, "FixedRate": 0.25})["SamplingRuleRecord"]
    assert changed["SamplingRule"]["FixedRate"] == 0.25 and changed["SamplingRule"]["ReservoirSize"] == 3

    document = {"RuleName": "pay", "ClientID": CLIENT_ID, "Timestamp": time.time(), "RequestCount": 9, "SampledCount": 4}
    answer = xray.get_sampling_targets(SamplingStatisticsDocuments=[document, {**document, "RuleName": "gone"}])
    target = answer["SamplingTargetDocuments"][0]
    assert (target["FixedRate"], target["ReservoirQuota"], target["Interval"]) == (0.25, 3, 10)
    assert target["ReservoirQuotaTTL"].timestamp() > time.time()
    assert answer["LastRuleModification"] == changed["ModifiedAt"]
    assert answer["UnprocessedStatistics"][0]["RuleName"] == "gone"
    told = xray.get_sampling_statistic_summaries()["SamplingStatisticSummaries"]
    assert [(row["RuleName"], row["RequestCount"], row["SampledCount"]) for row in told if row["RuleName"] == "pay"]

    assert xray.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    xray.tag_resource(ResourceARN=arn, Tags=[{"Key": "stage", "Value": "b"}])
    xray.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert xray.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "stage", "Value": "b"}]
    assert xray.delete_sampling_rule(RuleName="pay")["SamplingRuleRecord"]["SamplingRule"]["RuleARN"] == arn
    assert len(xray.get_sampling_rules()["SamplingRuleRecords"]) == 1


def test_there_is_always_a_default_rule(xray):
    changed = xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Default", "FixedRate": 1, "ReservoirSize": 0})
    assert changed["SamplingRuleRecord"]["SamplingRule"]["FixedRate"] == 1
    for wrong in ({"Priority": 1}, {"Host": "a"}):
        with refused("InvalidRequestException", "default"):
            xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Default", **wrong})
    with refused("InvalidRequestException", "default"):
        xray.delete_sampling_rule(RuleName="Default")


def test_rules_that_cannot_be_are_refused(xray, anything):
    rule = {"RuleName": "r", "Priority": 5, "FixedRate": 0.5, "ReservoirSize": 3, "Version": 1, **ALL}
    for wrong in (
        {"RuleName": None},
        {"RuleName": ""},
        {"RuleName": "Default"},
        {"RuleName": "x" * 33},
        {"Priority": 0},
        {"Priority": 10000},
        {"FixedRate": -0.1},
        {"FixedRate": 1.1},
        {"ReservoirSize": -1},
        {"Version": 2},
        {"Host": None},
        {"Host": "x" * 65},
        {"ServiceName": "x" * 65},
        {"ServiceType": "x" * 65},
        {"HTTPMethod": "x" * 11},
        {"URLPath": "x" * 129},
        {"ResourceARN": "x" * 501},
        {"Attributes": {str(number): "x" for number in range(6)}},
        {"Attributes": {"k": "x" * 33}},
    ):
        given = {name: value for name, value in {**rule, **wrong}.items() if value is not None}
        with refused("InvalidRequestException"):
            anything.create_sampling_rule(SamplingRule=given)
    xray.create_sampling_rule(SamplingRule=rule)
    with refused("InvalidRequestException", "already exists"):
        xray.create_sampling_rule(SamplingRule=rule)
    for number in range(24):
        xray.create_sampling_rule(SamplingRule={**rule, "RuleName": f"r{number}"})
    with refused("RuleLimitExceededException"):
        xray.create_sampling_rule(SamplingRule={**rule, "RuleName": "one-more"})
    with refused("InvalidRequestException", "does not exist"):
        xray.delete_sampling_rule(RuleName="gone")
    with refused("InvalidRequestException", "must be specified"):
        xray.delete_sampling_rule()
    with refused("InvalidRequestException", "Only one"):
        xray.delete_sampling_rule(RuleName="r", RuleARN="r")
    with refused("InvalidRequestException", "does not exist"):
        xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "gone", "FixedRate": 0.1})
    arn = f"arn:aws:xray:{REGION}:{ACCOUNT}:sampling-rule/r"
    with refused("TooManyTagsException"):
        xray.tag_resource(ResourceARN=arn, Tags=[{"Key": f"k{number}", "Value": ""} for number in range(51)])
    for call in (
        lambda arn: xray.tag_resource(ResourceARN=arn, Tags=[]),
        lambda arn: xray.untag_resource(ResourceARN=arn, TagKeys=[]),
        lambda arn: xray.list_tags_for_resource(ResourceARN=arn),
    ):
        with refused("ResourceNotFoundException"):
            call(arn + "-gone")
        with refused("InvalidRequestException", "ARN"):
            call("r")


def test_questions_that_cannot_be_are_refused(xray, anything):
    now = time.time()
    for wrong in (
        {"StartTime": now, "EndTime": now - 10},
        {"StartTime": now - 90000, "EndTime": now},
        {**window(), "FilterExpression": "fault AND"},
        {**window(), "FilterExpression": 'group.name = "x"'},
        {**window(), "TimeRangeType": "Other"},
        {**window(), "Sampling": True, "SamplingStrategy": {"Name": "FixedRate", "Value": 2}},
        {**window(), "NextToken": "nobody's"},
        {"StartTime": now},
    ):
        with refused("InvalidRequestException"):
            anything.get_trace_summaries(**wrong)
    for wrong in ({"StartTime": now, "EndTime": now - 10}, {"StartTime": now - 30000, "EndTime": now}, {**window(), "GroupName": "x"}):
        with refused("InvalidRequestException"):
            xray.get_service_graph(**wrong)
    for call in (xray.batch_get_traces, xray.get_trace_graph):
        for ids in (["x"], [new_trace() for _ in range(6)]):
            with refused("InvalidRequestException", "trace id"):
                call(TraceIds=ids)
    for call in (xray.get_sampling_rules, xray.get_sampling_statistic_summaries, xray.get_groups):
        with refused("InvalidRequestException", "NextToken"):
            call(NextToken="nobody's")
    with refused("InvalidRequestException", "clientID"):
        anything.get_sampling_targets(
            SamplingStatisticsDocuments=[
                {"RuleName": "Default", "ClientID": "x", "Timestamp": now, "RequestCount": 1, "SampledCount": 1}
            ]
        )
    with refused("InvalidRequestException"):
        xray.put_trace_segments(TraceSegmentDocuments=["{}"] * 501)
    with refused("InvalidRequestException", "ostname"):
        anything.put_telemetry_records(TelemetryRecords=[], Hostname="x" * 256)


def test_what_daemons_count_is_a_metric(xray, cloudwatch):
    record = {"Timestamp": time.time(), "SegmentsReceivedCount": 5, "BackendConnectionErrors": {"TimeoutCount": 2}}
    xray.put_telemetry_records(TelemetryRecords=[record], Hostname="host-1")
    named = eventually("the metrics", lambda: cloudwatch.list_metrics(Namespace="Bowline/XRayDaemon")["Metrics"])
    assert {metric["MetricName"] for metric in named} == {"SegmentsReceivedCount", "BackendConnectionErrors"}


def test_what_there_is_once(xray):
    assert xray.get_encryption_config()["EncryptionConfig"] == {"Status": "ACTIVE", "Type": "NONE"}
    assert [group["GroupName"] for group in xray.get_groups()["Groups"]] == ["Default"]
