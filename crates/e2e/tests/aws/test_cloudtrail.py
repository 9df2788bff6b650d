"""CloudTrail: what was called, told."""

import datetime
import json

import pytest

import harness
from harness import ACCOUNT, REGION, eventually, refused

TRAIL = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/bowline"


@pytest.fixture(scope="module")
def loose():
    return harness.client("cloudtrail", validate=False)


def found(cloudtrail, **arguments):
    return cloudtrail.lookup_events(**arguments)["Events"]


def by(key, value):
    return [{"AttributeKey": key, "AttributeValue": value}]


def test_the_trail(cloudtrail, loose):
    told = cloudtrail.describe_trails()["trailList"]
    assert [(trail["Name"], trail["TrailARN"], trail["HomeRegion"]) for trail in told] == [("bowline", TRAIL, REGION)]
    assert cloudtrail.describe_trails(trailNameList=["bowline"])["trailList"] == told
    assert cloudtrail.describe_trails(trailNameList=[TRAIL])["trailList"] == told
    assert cloudtrail.describe_trails(trailNameList=["another"])["trailList"] == []
    assert cloudtrail.list_trails()["Trails"] == [{"TrailARN": TRAIL, "Name": "bowline", "HomeRegion": REGION}]
    assert list(cloudtrail.get_paginator("list_trails").paginate())[0]["Trails"]
    status = cloudtrail.get_trail_status(Name="bowline")
    assert status["IsLogging"] is True and status["StartLoggingTime"]
    assert cloudtrail.get_trail_status(Name=TRAIL)["IsLogging"] is True
    with refused("TrailNotFoundException", "another"):
        cloudtrail.get_trail_status(Name="another")
    for name in ("ab", "with space", "-trail", "a" * 129):
        with refused("InvalidTrailNameException"):
            cloudtrail.get_trail_status(Name=name)
        with refused("InvalidTrailNameException"):
            cloudtrail.describe_trails(trailNameList=[name])
    for arn in ("arn:aws:ecs:us-east-1:000000000000:cluster/a", "arn:aws:cloudtrail:us-east-1:000000000000:bowline"):
        with refused("CloudTrailARNInvalidException"):
            cloudtrail.get_trail_status(Name=arn)
        with refused("CloudTrailARNInvalidException"):
            cloudtrail.describe_trails(trailNameList=[arn])


def test_events_are_looked_up(cloudtrail, ecs, iam):
    iam.create_user(UserName="looked-up")
    ecs.create_cluster(clusterName="looked-up")

    def events():
        return found(cloudtrail, LookupAttributes=by("ResourceName", "looked-up"))

    event = eventually("the event", events)[0]
    body = json.loads(event["CloudTrailEvent"])
    assert event["EventId"] == body["eventID"] and event["EventName"] == body["eventName"]
    created = found(cloudtrail, LookupAttributes=by("EventName", "CreateCluster"), MaxResults=1)[0]
    assert created["EventSource"] == "ecs.amazonaws.com" and created["ReadOnly"] == "false"
    assert created["Username"] == "root" and created["AccessKeyId"] == "test"
    body = json.loads(created["CloudTrailEvent"])
    assert body["requestParameters"]["clusterName"] == "looked-up" and body["recipientAccountId"] == ACCOUNT
    assert found(cloudtrail, LookupAttributes=by("EventId", created["EventId"])) == [created]
    for key, value in (
        ("EventSource", "ecs.amazonaws.com"),
        ("Username", "root"),
        ("ReadOnly", "false"),
        ("AccessKeyId", "test"),
    ):
        assert found(cloudtrail, LookupAttributes=by(key, value), MaxResults=5), key
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    assert found(cloudtrail, StartTime=now - hour, EndTime=now + hour, MaxResults=1)
    assert found(cloudtrail, StartTime=now - 2 * hour, EndTime=now - hour) == []
    assert found(cloudtrail, EventCategory="insight") == []


def test_pages_of_events(cloudtrail, ecs):
    for name in ("page-a", "page-b", "page-c"):
        ecs.create_cluster(clusterName=name)
    attributes = by("EventName", "CreateCluster")
    now = datetime.datetime.now(datetime.timezone.utc)
    arguments = {"LookupAttributes": attributes, "EndTime": now + datetime.timedelta(minutes=1)}
    whole = eventually("the events", lambda: (lambda all: len(all) >= 3 and all)(found(cloudtrail, **arguments)))
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        PaginationConfig={"PageSize": 1, "MaxItems": 3}, **arguments
    )
    assert [event for page in pages for event in page["Events"]] == whole[:3]
    assert [event["EventTime"] for event in whole] == sorted((event["EventTime"] for event in whole), reverse=True)
    with refused("InvalidNextTokenException"):
        cloudtrail.lookup_events(NextToken="nothing-that-it-gave-out", **arguments)
    token = cloudtrail.lookup_events(MaxResults=1, **arguments)["NextToken"]
    with refused("InvalidNextTokenException"):
        cloudtrail.lookup_events(NextToken=token, LookupAttributes=by("Username", "root"))


def test_lookups_that_are_refused(cloudtrail, loose):
    for size in (0, 51):
        with refused("InvalidMaxResultsException", "MaxResults"):
            loose.lookup_events(MaxResults=size)
    with refused("InvalidLookupAttributesException"):
        cloudtrail.lookup_events(LookupAttributes=by("EventName", "a") + by("EventId", "b"))
    with refused("InvalidLookupAttributesException"):
        loose.lookup_events(LookupAttributes=by("Colour", "red"))
    now = datetime.datetime.now(datetime.timezone.utc)
    with refused("InvalidTimeRangeException"):
        cloudtrail.lookup_events(StartTime=now, EndTime=now - datetime.timedelta(hours=1))
    with refused("InvalidEventCategoryException"):
        loose.lookup_events(EventCategory="weather")
