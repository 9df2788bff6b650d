"""AWS Fault Injection Service: actions, kinds of targets, and experiment templates, over restJson1."""

import copy
import json
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

import harness
from harness import ACCOUNT, ENDPOINT, REGION, client, refused
from test_cli import aws

ROLE = f"arn:aws:iam::{ACCOUNT}:role/FIS-Experiment-Role"
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:errors"
TASK = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/demo/0123456789abcdef"

ASKED = {
    "clientToken": "one",
    "description": "A backend loses a task.",
    "roleArn": ROLE,
    "stopConditions": [{"source": "aws:cloudwatch:alarm", "value": ALARM}, {"source": "none"}],
    "targets": {
        "backend": {
            "resourceType": "aws:ecs:task",
            "resourceTags": {"app": "backend"},
            "filters": [{"path": "LastStatus", "values": ["RUNNING"]}],
            "selectionMode": "COUNT(1)",
            "parameters": {"cluster": "demo", "service": "backend"},
        },
        "by-arn": {"resourceType": "aws:ecs:task", "resourceArns": [TASK], "selectionMode": "ALL"},
    },
    "actions": {
        "wait": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}},
        "slow": {
            "actionId": "aws:ecs:task-network-latency",
            "description": "Slower than its timeout.",
            "parameters": {"duration": "PT5M", "delayMilliseconds": "500"},
            "targets": {"Tasks": "backend"},
            "startAfter": ["wait"],
        },
    },
    "tags": {"team": "a", "a key with spaces/and:more": ""},
    "logConfiguration": {
        "logSchemaVersion": 2,
        "cloudWatchLogsConfiguration": {"logGroupArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:fis:*"},
    },
    "experimentOptions": {"accountTargeting": "single-account", "emptyTargetResolutionMode": "skip"},
    "experimentReportConfiguration": {
        "preExperimentDuration": "PT20M",
        "outputs": {"s3Configuration": {"bucketName": "reports", "prefix": "fis"}},
        "dataSources": {"cloudWatchDashboards": [{"dashboardIdentifier": "dashboard/main"}]},
    },
}


@pytest.fixture(scope="module")
def fis():
    return client("fis")


@pytest.fixture(scope="module")
def anything():
    return client("fis", validate=False)


@pytest.fixture
def template(fis):
    return fis.create_experiment_template(**ASKED)["experimentTemplate"]


def asked(**changes):
    """The request with other members, under another token."""
    return {**copy.deepcopy(ASKED), "clientToken": "another", **changes}


def check_pages(operation, key, identity, anothers_token):
    whole = [item[identity] for item in operation()[key]]
    assert len(whole) >= 2 and whole == sorted(whole)
    found, token = [], {}
    while True:
        page = operation(maxResults=1, **token)
        found += [item[identity] for item in page[key]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
        assert len(found) < len(whole), "pages go on after the end"
    assert found == whole
    for arguments in ({"maxResults": 0}, {"maxResults": 101}, {"nextToken": "nobody's"}, {"nextToken": anothers_token}):
        with refused("ValidationException", "maxResults|nextToken"):
            operation(**arguments)


def test_actions_and_what_they_are_done_to(fis, anything):
    actions = fis.list_actions()["actions"]
    assert {"aws:ecs:stop-task", "aws:ecs:task-network-packet-loss", "aws:fis:wait"} <= {it["id"] for it in actions}
    types = {it["resourceType"] for it in fis.list_target_resource_types()["targetResourceTypes"]}
    for summary in actions:
        assert "parameters" not in summary
        action = fis.get_action(id=summary["id"])["action"]
        assert {name: value for name, value in action.items() if name != "parameters"} == summary
        assert {target["resourceType"] for target in action["targets"].values()} <= types
        assert fis.list_tags_for_resource(resourceArn=action["arn"])["tags"] == {}
        with refused("ValidationException", "Actions cannot be tagged"):
            fis.tag_resource(resourceArn=action["arn"], tags={"a": "b"})
    latency = fis.get_action(id="aws:ecs:task-network-latency")["action"]
    assert latency["arn"] == f"arn:aws:fis:{REGION}:{ACCOUNT}:action/aws:ecs:task-network-latency"
    assert latency["targets"] == {"Tasks": {"resourceType": "aws:ecs:task"}}
    assert {name for name, parameter in latency["parameters"].items() if parameter["required"]} == {"duration"}
    task = fis.get_target_resource_type(resourceType="aws:ecs:task")["targetResourceType"]
    assert set(task["parameters"]) == {"cluster", "service"}
    with refused("ResourceNotFoundException", "aws:ecs:nothing"):
        fis.get_action(id="aws:ecs:nothing")
    with refused("ResourceNotFoundException"):
        fis.get_target_resource_type(resourceType="aws:ec2:instance")
    with refused("ValidationException"):
        anything.get_action(id="x" * 129)
    with refused("ValidationException"):
        anything.get_target_resource_type(resourceType="x" * 129)


def test_pages(fis, anything):
    for number in range(3):
        fis.create_experiment_template(**asked(clientToken=str(number)))
    actions = fis.list_actions(maxResults=1)["nextToken"]
    types = fis.list_target_resource_types(maxResults=1)["nextToken"]
    check_pages(anything.list_actions, "actions", "id", types)
    check_pages(anything.list_target_resource_types, "targetResourceTypes", "resourceType", actions)
    check_pages(anything.list_experiment_templates, "experimentTemplates", "id", actions)


def test_a_template_from_its_creation_to_its_end(fis, template):
    for member in set(ASKED) - {"clientToken"}:
        assert template[member] == ASKED[member], member
    assert template["id"].startswith("EXT")
    assert template["arn"] == f"arn:aws:fis:{REGION}:{ACCOUNT}:experiment-template/{template['id']}"
    assert template["targetAccountConfigurationsCount"] == 0
    assert template["creationTime"] == template["lastUpdateTime"]
    assert fis.get_experiment_template(id=template["id"])["experimentTemplate"] == template
    summary = {name: template[name] for name in ("id", "arn", "description", "creationTime", "lastUpdateTime", "tags")}
    assert fis.list_experiment_templates()["experimentTemplates"] == [summary]

    # Only what is given is changed.
    changed = fis.update_experiment_template(
        id=template["id"],
        description="Another.",
        stopConditions=[{"source": "none"}],
        experimentOptions={"emptyTargetResolutionMode": "fail"},
    )["experimentTemplate"]
    assert changed["lastUpdateTime"] > template["lastUpdateTime"]
    assert changed == {
        **template,
        "description": "Another.",
        "stopConditions": [{"source": "none"}],
        "experimentOptions": {"accountTargeting": "single-account", "emptyTargetResolutionMode": "fail"},
        "lastUpdateTime": changed["lastUpdateTime"],
    }
    changed = fis.update_experiment_template(
        id=template["id"],
        roleArn=ROLE + "-2",
        targets={},
        actions={"wait": ASKED["actions"]["wait"]},
        logConfiguration={
            "logSchemaVersion": 1, "s3Configuration": {"bucketName": "logs", "prefix": "a"},
        },
        experimentReportConfiguration={"postExperimentDuration": "PT1M"},
    )["experimentTemplate"]
    assert (changed["targets"], set(changed["actions"])) == ({}, {"wait"})
    assert fis.get_experiment_template(id=template["id"])["experimentTemplate"] == changed

    assert fis.delete_experiment_template(id=template["id"])["experimentTemplate"] == changed
    for operation in (
        fis.get_experiment_template,
        fis.delete_experiment_template,
        fis.update_experiment_template,
    ):
        with refused("ResourceNotFoundException", template["id"]):
            operation(id=template["id"])
    # Its token is nobody's again.
    assert fis.create_experiment_template(**ASKED)["experimentTemplate"]["id"] != template["id"]


def test_the_least_that_a_template_can_be(fis):
    made = fis.create_experiment_template(
        description="x",
        roleArn=ROLE,
        stopConditions=[{"source": "none"}],
        actions={"wait": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT12H"}}},
    )["experimentTemplate"]
    assert (made["targets"], made["tags"]) == ({}, {})
    assert made["experimentOptions"] == {"accountTargeting": "single-account", "emptyTargetResolutionMode": "fail"}
    assert "logConfiguration" not in made and "experimentReportConfiguration" not in made


def test_the_same_token_makes_the_same_template(fis, template):
    assert fis.create_experiment_template(**ASKED)["experimentTemplate"] == template
    with refused("ConflictException", "token one"):
        fis.create_experiment_template(**asked(clientToken="one", description="Another."))
    assert len(fis.list_experiment_templates()["experimentTemplates"]) == 1


def action(action_id, targets=None, **parameters):
    return {"actionId": action_id, "parameters": parameters, **({"targets": targets} if targets else {})}


BACKEND = {"Tasks": "backend"}
NOT_TEMPLATES = {
    "no action": {"actions": {}},
    "no stop condition": {"stopConditions": []},
    "description": {"description": ""},
    "long description": {"description": "x" * 513},
    "no token": {"clientToken": ""},
    "long token": {"clientToken": "x" * 1025},
    "token with a space": {"clientToken": "a b"},
    "role": {"roleArn": f"arn:aws:iam::{ACCOUNT}:user/somebody"},
    "alarm": {"stopConditions": [{"source": "aws:cloudwatch:alarm", "value": TASK}]},
    "no alarm": {"stopConditions": [{"source": "aws:cloudwatch:alarm"}]},
    "none with a value": {"stopConditions": [{"source": "none", "value": ALARM}]},
    "source": {"stopConditions": [{"source": "aws:sns:topic", "value": ALARM}]},
    "tag": {"tags": {"aws:x": ""}},
    "tags": {"tags": {str(number): "" for number in range(51)}},
    "multi-account": {"experimentOptions": {"accountTargeting": "multi-account"}},
    "accounts": {"experimentOptions": {"accountTargeting": "all-accounts"}},
    "log version": {"logConfiguration": {**ASKED["logConfiguration"], "logSchemaVersion": 3}},
    "logs nowhere": {"logConfiguration": {"logSchemaVersion": 1}},
    "bucket": {"logConfiguration": {"logSchemaVersion": 1, "s3Configuration": {"bucketName": "x"}}},
    "report's duration": {"experimentReportConfiguration": {"preExperimentDuration": "20 minutes"}},
    "report's dashboard": {"experimentReportConfiguration": {"dataSources": {"cloudWatchDashboards": [{}]}}},
    "too many bytes": {
        "targets": {
            "backend": {
                "resourceType": "aws:ecs:task",
                "selectionMode": "ALL",
                "filters": [{"path": "x", "values": ["x" * 128] * 2100}],
            }
        }
    },
}
NOT_ACTIONS = {
    "a target for what has none": action("aws:fis:wait", BACKEND, duration="PT1M"),
    "no target": action("aws:ecs:stop-task"),
    "two targets": action("aws:ecs:stop-task", {"Tasks": "backend", "More": "by-arn"}),
    "a target that is not there": action("aws:ecs:stop-task", {"Tasks": "nobody"}),
    "a target of another type": action(
        "aws:ecs:drain-container-instances", {"Clusters": "backend"}, drainagePercentage="50", duration="PT1M"
    ),
    "no duration": action("aws:ecs:task-cpu-stress", BACKEND),
    "too short": action("aws:ecs:task-cpu-stress", BACKEND, duration="PT0S"),
    "too long": action("aws:ecs:task-cpu-stress", BACKEND, duration="P1D"),
    "percent": action("aws:ecs:task-cpu-stress", BACKEND, duration="PT1M", percent="101"),
    "no parameter of it": action("aws:ecs:task-cpu-stress", BACKEND, duration="PT1M", heat="1"),
    "protocol": action(
        "aws:ecs:task-network-blackhole-port",
        BACKEND,
        duration="PT1M",
        port="80",
        protocol="icmp",
        trafficType="ingress",
    ),
    "states": action("aws:cloudwatch:assert-alarm-state", alarmArns=ALARM, alarmStates="OK,fine"),
    "signal": action("aws:ecs:task-kill-process", BACKEND, processName="x", signal="SIGNOTHING"),
    "addresses": action("aws:ecs:task-network-latency", BACKEND, duration="PT1M", sources="10.0.0.0/8"),
    "no identity": action("bowline:certificate-fault", BACKEND, duration="PT1M", shows="identity"),
    "another harm's": action("bowline:path-fault", BACKEND, duration="PT1M", harm="stall", lossPercent="5"),
    "no address": action("bowline:dns-spoof", name="a.b", address="here", duration="PT1M"),
    "after nothing": {**action("aws:fis:wait", duration="PT1M"), "startAfter": ["nothing"]},
    "after itself": {**action("aws:fis:wait", duration="PT1M"), "startAfter": ["it"]},
    "no id": {"parameters": {"duration": "PT1M"}},
}
NOT_TARGETS = {
    "nothing": {},
    "arns and tags": {"resourceArns": [TASK], "resourceTags": {"a": "b"}},
    "arns and filters": {"resourceArns": [TASK], "filters": [{"path": "a", "values": ["b"]}]},
    "too many arns": {"resourceArns": [TASK + str(number) for number in range(6)]},
    "an arn of something else": {"resourceArns": [ROLE]},
    "no arn": {"resourceArns": ["task/demo/0123456789abcdef"]},
    "no values": {"filters": [{"path": "a", "values": []}]},
    "no mode": {"resourceTags": {"a": "b"}, "selectionMode": "SOME"},
    "none of them": {"resourceTags": {"a": "b"}, "selectionMode": "COUNT(0)"},
    "more than all": {"resourceTags": {"a": "b"}, "selectionMode": "PERCENT(101)"},
    "signed": {"resourceTags": {"a": "b"}, "selectionMode": "COUNT(+1)"},
    "parameter": {"parameters": {"availabilityZoneIdentifier": "a"}},
}


def test_what_cannot_be_a_template(fis, anything, template):
    def both(named, changes):
        try:
            with refused("ValidationException"):
                anything.create_experiment_template(**asked(**changes))
            changes = {name: value for name, value in changes.items() if name not in ("clientToken", "tags")}
            if changes and "accountTargeting" not in changes.get("experimentOptions", {}):
                with refused("ValidationException"):
                    anything.update_experiment_template(id=template["id"], **changes)
        except AssertionError as error:
            raise AssertionError(f"{named}: {error}") from error

    for named, changes in NOT_TEMPLATES.items():
        both(named, changes)
    for named, wrong in NOT_ACTIONS.items():
        both(named, {"actions": {**ASKED["actions"], "it": wrong}})
    for named, wrong in NOT_TARGETS.items():
        target = {"resourceType": "aws:ecs:task", "selectionMode": "ALL", **wrong}
        both(named, {"targets": {**ASKED["targets"], "it": target}})
    around = {
        name: {**action("aws:fis:wait", duration="PT1M"), "startAfter": [after]}
        for name, after in (("a", "b"), ("b", "c"), ("c", "a"))
    }
    both("a circle", {"actions": around})
    for member in ("description", "stopConditions", "actions", "roleArn"):
        with refused("ValidationException", member):
            anything.create_experiment_template(**{name: it for name, it in asked().items() if name != member})
    for operation in (anything.get_experiment_template, anything.delete_experiment_template):
        with refused("ValidationException"):
            operation(id="x" * 65)
    with refused("ResourceNotFoundException", "aws:ec2:stop-instances"):
        fis.create_experiment_template(**asked(actions={"stop": action("aws:ec2:stop-instances")}))
    with refused("ResourceNotFoundException", "aws:ec2:instance"):
        target = {"resourceType": "aws:ec2:instance", "selectionMode": "ALL", "resourceTags": {"a": "b"}}
        fis.create_experiment_template(**asked(targets={"it": target}))
    assert fis.get_experiment_template(id=template["id"])["experimentTemplate"] == template
    assert len(fis.list_experiment_templates()["experimentTemplates"]) == 1


def test_quotas(fis, template):
    wait = action("aws:fis:wait", duration="PT1M")
    for changes in (
        {"actions": {str(number): wait for number in range(21)}},
        {"stopConditions": [{"source": "none"}] * 6},
        {"targets": {str(number): ASKED["targets"]["by-arn"] for number in range(21)}},
    ):
        with refused("ServiceQuotaExceededException", "at most"):
            fis.create_experiment_template(**asked(**changes))
        with refused("ServiceQuotaExceededException", "at most"):
            fis.update_experiment_template(id=template["id"], **changes)


def test_tags(fis, anything, template):
    arn = template["arn"]
    assert fis.list_tags_for_resource(resourceArn=arn)["tags"] == ASKED["tags"]
    fis.tag_resource(resourceArn=arn, tags={"team": "b", "ü,&?/": "="})
    fis.untag_resource(resourceArn=arn, tagKeys=["a key with spaces/and:more", "not there"])
    tags = {"team": "b", "ü,&?/": "="}
    assert fis.list_tags_for_resource(resourceArn=arn)["tags"] == tags
    assert fis.get_experiment_template(id=template["id"])["experimentTemplate"]["tags"] == tags
    fis.untag_resource(resourceArn=arn, tagKeys=["team", "ü,&?/"])
    assert fis.list_tags_for_resource(resourceArn=arn)["tags"] == {}
    for wrong in (arn + "x", arn.replace(ACCOUNT, "111122223333"), arn.replace("experiment-template", "experiment")):
        with refused("ResourceNotFoundException"):
            fis.tag_resource(resourceArn=wrong, tags={"a": "b"})
        with refused("ResourceNotFoundException"):
            fis.untag_resource(resourceArn=wrong, tagKeys=["a"])
        with refused("ResourceNotFoundException"):
            fis.list_tags_for_resource(resourceArn=wrong)
    for tags in ({"AWS:x": ""}, {"x" * 129: ""}, {"x": "x" * 257}, {str(number): "" for number in range(51)}):
        with refused("ValidationException"):
            anything.tag_resource(resourceArn=arn, tags=tags)
    with refused("ValidationException"):
        anything.tag_resource(resourceArn="no arn, but long enough", tags={})


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_who_may(fis, iam, template):
    allow = {"Effect": "Allow", "Resource": "*"}
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    ann = client("fis", key=(key["AccessKeyId"], key["SecretAccessKey"]))

    def let(*statements):
        iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=policy(*statements))

    def denied(message):
        return refused("AccessDeniedException", message)

    with pytest.raises(botocore.exceptions.ClientError) as caught:
        ann.list_actions()
    # restJson1 says it by the status too.
    told = caught.value.response
    assert (told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]) == ("AccessDeniedException", 403)
    let({**allow, "Action": "fis:*", "Condition": {"StringEquals": {"aws:ResourceTag/team": "a"}}})
    ann.get_experiment_template(id=template["id"])
    fis.tag_resource(resourceArn=template["arn"], tags={"team": "b"})
    with denied(template["arn"]):
        ann.get_experiment_template(id=template["id"])

    # Each action is a resource of its own, and the role is passed.
    let({**allow, "Action": "fis:*"})
    with denied("iam:PassRole"):
        ann.create_experiment_template(**asked())
    passing = {**allow, "Action": "iam:PassRole", "Resource": ROLE}
    passing["Condition"] = {"StringEquals": {"iam:PassedToService": "fis.amazonaws.com"}}
    slow = {"Effect": "Deny", "Action": "fis:CreateExperimentTemplate", "Resource": "arn:aws:fis:*:*:action/*latency"}
    let({**allow, "Action": "fis:*"}, passing, slow)
    with denied("action/aws:ecs:task-network-latency"):
        ann.create_experiment_template(**asked())
    let({**allow, "Action": "fis:*", "Condition": {"StringEqualsIfExists": {"aws:RequestTag/team": "b"}}}, passing)
    with denied("fis:CreateExperimentTemplate"):
        ann.create_experiment_template(**asked())
    assert ann.create_experiment_template(**asked(tags={"team": "b"}))


def test_the_trail_tells_calls_and_templates(fis, cloudtrail, template):
    def events():
        found = cloudtrail.lookup_events(
            LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": template["arn"]}]
        )["Events"]
        return [json.loads(event["CloudTrailEvent"]) for event in found]

    found = harness.eventually("the call is in the trail", events)[0]
    assert (found["eventSource"], found["eventName"]) == ("fis.amazonaws.com", "CreateExperimentTemplate")
    assert found["requestParameters"]["roleArn"] == ROLE
    assert found["readOnly"] is False


def test_what_is_not_served_is_unknown(fis, template):
    for operation, arguments in (
        (fis.list_target_account_configurations, {"experimentTemplateId": template["id"]}),
        (fis.list_experiment_target_account_configurations, {"experimentId": "EXP1"}),
    ):
        with refused("UnknownOperationException"):
            operation(**arguments)
    # Another method of a path that there is.
    request = urllib.request.Request(ENDPOINT + "/actions", method="PUT", headers={"host": "fis.us-east-1.x"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    assert (caught.value.code, caught.value.headers["allow"]) == (405, "GET")
    assert caught.value.headers["x-amzn-errortype"] == "UnknownOperationException"
    caught.value.close()


# The template of the reference documents, with its account filled in, and what the CLI insists on.
NOTES = {
    "description": "Certificate Expiry Test on ECS Task",
    "targets": {"EcsTarget": {"resourceType": "aws:ecs:task", "resourceArns": [TASK], "selectionMode": "ALL"}},
    "actions": {
        "StopTask": {
            "actionId": "aws:ecs:stop-task",
            "description": "Stop ECS task to simulate cert expiry.",
            "parameters": {"force": "true"},
            "targets": {"EcsTarget": "EcsTarget"},
        }
    },
    "roleArn": ROLE,
    "stopConditions": [
        {"source": "aws:cloudwatch:alarm", "value": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm/alarm-name"}
    ],
}


def test_the_notes_template_by_the_cli(fis, tmp_path):
    path = tmp_path / "fis-template.json"
    path.write_text(json.dumps(NOTES))
    made = json.loads(aws("fis", "create-experiment-template", "--cli-input-json", f"file://{path}"))
    made = made["experimentTemplate"]
    kept = fis.get_experiment_template(id=made["id"])["experimentTemplate"]
    assert {name: kept[name] for name in NOTES} == NOTES
