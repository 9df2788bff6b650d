"""AWS Fault Injection Service: experiments, from their start to their end, and the safety lever."""

import json
import uuid

import pytest

import harness
from harness import ACCOUNT, IDLE, REGION, client, define, refused, serve, wait
from test_cli import aws

ROLE = f"arn:aws:iam::{ACCOUNT}:role/FIS-Experiment-Role"
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
# What the reference documents attach to the role.
POLICIES = ("AmazonECS_FullAccess", "AmazonRoute53FullAccess", "AWSFISFullAccess", "CloudWatchFullAccess")
OVER = {"completed", "stopped", "failed", "cancelled"}


@pytest.fixture(scope="module")
def fis():
    return client("fis")


@pytest.fixture(scope="module")
def anything():
    return client("fis", validate=False)


@pytest.fixture
def role(iam):
    iam.create_role(RoleName="FIS-Experiment-Role", AssumeRolePolicyDocument=json.dumps(TRUST))
    for policy in POLICIES:
        iam.attach_role_policy(RoleName="FIS-Experiment-Role", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    return ROLE


@pytest.fixture
def tasks(ecs, cluster):
    """Three tasks, two of which are of team a."""
    define(ecs, "idle", IDLE)
    arns = []
    for team in ("a", "a", "b"):
        started = ecs.run_task(taskDefinition="idle", tags=[{"key": "team", "value": team}])
        arns.append(started["tasks"][0]["taskArn"])
    wait(ecs, "tasks_running", tasks=arns)
    return arns


def action(action_id, targets=None, after=(), **parameters):
    found = {"actionId": action_id, "parameters": parameters, "startAfter": list(after)}
    return {**found, "targets": targets} if targets else found


def waits(duration="PT1S", after=()):
    return action("aws:fis:wait", after=after, duration=duration)


def tagged(team, mode="ALL", **more):
    return {"resourceType": "aws:ecs:task", "resourceTags": {"team": team}, "selectionMode": mode, **more}


def template(fis, actions, targets=None, stops=None, **more):
    made = fis.create_experiment_template(
        clientToken=str(uuid.uuid4()),
        description="An experiment.",
        roleArn=ROLE,
        stopConditions=stops or [{"source": "none"}],
        actions=actions,
        targets=targets or {},
        **more,
    )
    return made["experimentTemplate"]["id"]


def start(fis, *arguments, options=None, **more):
    asked = {"experimentOptions": options} if options else {}
    return fis.start_experiment(experimentTemplateId=template(fis, *arguments, **more), **asked)["experiment"]


def reaches(fis, experiment, status):
    def reached():
        found = fis.get_experiment(id=experiment["id"])["experiment"]
        state = found["state"]
        assert state["status"] == status or state["status"] not in OVER, state
        return state["status"] == status and found

    return harness.eventually(f"the experiment is {status}", reached)


def states(experiment):
    return {name: it["state"]["status"] for name, it in experiment["actions"].items()}


def test_an_experiment_from_its_start_to_its_end(fis, ecs, role, tasks):
    actions = {
        "wait": waits(),
        "stop": action("aws:ecs:stop-task", {"Tasks": "it"}, after=["wait"]),
    }
    made = template(fis, actions, {"it": tagged("a")}, tags={"of": "the template"})
    started = fis.start_experiment(experimentTemplateId=made, clientToken="one", tags={"run": "1"})["experiment"]
    assert started["id"].startswith("EXP") and started["tags"] == {"run": "1"}
    assert started["arn"] == f"arn:aws:fis:{REGION}:{ACCOUNT}:experiment/{started['id']}"
    assert (started["experimentTemplateId"], started["roleArn"]) == (made, ROLE)
    assert started["experimentOptions"] == {
        "accountTargeting": "single-account", "emptyTargetResolutionMode": "fail", "actionsMode": "run-all",
    }
    assert states(started) == {"wait": "pending", "stop": "pending"}
    # The same request is the same experiment; another one is not.
    again = fis.start_experiment(experimentTemplateId=made, clientToken="one", tags={"run": "1"})["experiment"]
    assert again["id"] == started["id"]
    with refused("ConflictException", "token one"):
        fis.start_experiment(experimentTemplateId=made, clientToken="one")
    # What becomes of the template bears on later ones only.
    fis.delete_experiment_template(id=made)

    ended = reaches(fis, started, "completed")
    assert states(ended) == {"wait": "completed", "stop": "completed"}
    first, then = ended["actions"]["wait"], ended["actions"]["stop"]
    assert (first["endTime"] - first["startTime"]).total_seconds() >= 1
    assert then["startTime"] >= first["endTime"] and ended["endTime"] >= then["endTime"]
    wait(ecs, "tasks_stopped", tasks=tasks[:2])
    stopped = ecs.describe_tasks(tasks=tasks[:2])["tasks"]
    assert all(ended["id"] in task["stoppedReason"] for task in stopped)
    assert ecs.describe_tasks(tasks=tasks[2:])["tasks"][0]["lastStatus"] == "RUNNING"

    found = fis.list_experiment_resolved_targets(experimentId=ended["id"])["resolvedTargets"]
    assert {it["targetInformation"]["arn"] for it in found} == set(tasks[:2])
    assert {(it["resourceType"], it["targetName"]) for it in found} == {("aws:ecs:task", "it")}
    assert fis.list_experiment_resolved_targets(experimentId=ended["id"], targetName="it")["resolvedTargets"] == found
    summary = fis.list_experiments(experimentTemplateId=made)["experiments"]
    assert [(it["id"], it["state"], it["tags"]) for it in summary] == [(ended["id"], ended["state"], ended["tags"])]
    assert fis.list_experiments(experimentTemplateId="EXT1")["experiments"] == []


def test_which_resources_are_targets(fis, role, tasks):
    def resolved(target):
        experiment = start(fis, {"stop": action("aws:ecs:stop-task", {"Tasks": "it"})}, {"it": target},
                           options={"actionsMode": "skip-all"})
        ended = reaches(fis, experiment, "completed")
        assert states(ended) == {"stop": "skipped"}
        found = fis.list_experiment_resolved_targets(experimentId=experiment["id"])["resolvedTargets"]
        return {it["targetInformation"]["arn"] for it in found}

    everywhere = {"resourceType": "aws:ecs:task", "parameters": {"cluster": "default"}}
    running = {"path": "LastStatus", "values": ["STOPPED", "RUNNING"]}
    assert resolved({**everywhere, "selectionMode": "ALL"}) == set(tasks)
    assert resolved({**everywhere, "selectionMode": "ALL", "filters": [running]}) == set(tasks)
    assert resolved(tagged("a")) == set(tasks[:2])
    assert len(resolved(tagged("a", "COUNT(1)")) & set(tasks[:2])) == 1
    assert len(resolved({**everywhere, "selectionMode": "PERCENT(70)"})) == 2
    names = {"path": "Containers.Name", "values": ["idle"]}
    assert resolved(tagged("b", filters=[running, names])) == set(tasks[2:])


def test_targets_that_are_nobody(fis, role, tasks):
    actions = {"stop": action("aws:ecs:stop-task", {"Tasks": "it"}), "wait": waits(after=["stop"])}
    nobody = tagged("a", filters=[{"path": "LastStatus", "values": ["STOPPED"]}])
    failed = reaches(fis, start(fis, actions, {"it": nobody}), "failed")
    assert failed["state"]["error"] == {"accountId": ACCOUNT, "code": "InvalidTarget", "location": "it"}
    assert states(failed) == {"stop": "cancelled", "wait": "cancelled"}
    by_arn = {"resourceType": "aws:ecs:task", "resourceArns": [tasks[0] + "0"], "selectionMode": "ALL"}
    assert reaches(fis, start(fis, actions, {"it": by_arn}), "failed")["state"]["error"]["code"] == "InvalidTarget"
    skipping = {"emptyTargetResolutionMode": "skip"}
    ended = reaches(fis, start(fis, actions, {"it": nobody}, experimentOptions=skipping), "completed")
    assert states(ended) == {"stop": "skipped", "wait": "completed"}


def test_it_acts_as_its_role(fis, iam, ecs, tasks, cloudtrail):
    stop = {"stop": action("aws:ecs:stop-task", {"Tasks": "it"})}
    target = {"it": {"resourceType": "aws:ecs:task", "resourceArns": tasks[:1], "selectionMode": "ALL"}}

    def fails(reason):
        state = reaches(fis, start(fis, stop, target), "failed")["state"]
        assert state["error"]["code"] == "ConfigurationFailure" and reason in state["reason"], state

    fails("Unable to assume role")
    others = json.dumps(TRUST).replace("fis.", "ecs-tasks.")
    iam.create_role(RoleName="FIS-Experiment-Role", AssumeRolePolicyDocument=others)
    fails("Unable to assume role")
    iam.update_assume_role_policy(RoleName="FIS-Experiment-Role", PolicyDocument=json.dumps(TRUST))
    fails("ecs:DescribeTasks")
    statement = {"Effect": "Allow", "Action": ["ecs:DescribeTasks"], "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}

    def let():
        iam.put_role_policy(RoleName="FIS-Experiment-Role", PolicyName="p", PolicyDocument=json.dumps(document))

    let()
    fails("ecs:StopTask")
    assert ecs.describe_tasks(tasks=tasks[:1])["tasks"][0]["desiredStatus"] == "RUNNING"
    statement["Action"].append("ecs:StopTask")
    let()
    ended = reaches(fis, start(fis, stop, target), "completed")

    def stops():
        attribute = {"AttributeKey": "EventName", "AttributeValue": "StopTask"}
        found = cloudtrail.lookup_events(LookupAttributes=[attribute])["Events"]
        records = [json.loads(event["CloudTrailEvent"]) for event in found]
        return [record for record in records if "errorCode" not in record]

    record = harness.eventually("the call is in the trail", stops)[0]
    identity = record["userIdentity"]
    assert identity["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/FIS-Experiment-Role/{ended['id']}"
    assert identity["invokedBy"] == record["sourceIPAddress"] == "fis.amazonaws.com"


def test_stopping(fis, role, cloudwatch):
    running = reaches(fis, start(fis, {"a": waits("PT12H"), "b": waits(after=["a"])}), "running")
    told = fis.stop_experiment(id=running["id"])["experiment"]
    assert told["state"] == {"status": "stopping", "reason": "Stopping Experiment."}
    stopped = reaches(fis, running, "stopped")
    assert states(stopped) == {"a": "stopped", "b": "cancelled"}
    with refused("ValidationException", "it is stopped"):
        fis.stop_experiment(id=running["id"])

    cloudwatch.put_metric_alarm(
        AlarmName="errors", Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )
    # As AWS writes its ARN, and as the reference documents do.
    for name in (f"{ALARM}:errors", f"{ALARM}/errors"):
        stops = [{"source": "none"}, {"source": "aws:cloudwatch:alarm", "value": name}]
        running = reaches(fis, start(fis, {"a": waits("PT12H")}, stops=stops), "running")
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
        assert "errors" in reaches(fis, running, "stopped")["state"]["reason"]
        cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="a test")
    stops = [{"source": "aws:cloudwatch:alarm", "value": f"{ALARM}:nothing"}]
    failed = reaches(fis, start(fis, {"a": waits()}, stops=stops), "failed")
    assert failed["state"]["error"]["location"] == "stopConditions"

    asserted = {"a": action("aws:cloudwatch:assert-alarm-state", alarmArns=f"{ALARM}:errors", alarmStates="ALARM")}
    assert reaches(fis, start(fis, asserted), "failed")["state"]["error"]["location"] == "a"
    asserted["a"]["parameters"]["alarmStates"] = "OK, INSUFFICIENT_DATA"
    reaches(fis, start(fis, asserted), "completed")


def test_the_safety_lever(fis, anything, role):
    lever = fis.get_safety_lever(id="default")["safetyLever"]
    assert lever["arn"] == f"arn:aws:fis:{REGION}:{ACCOUNT}:safety-lever/default"
    assert lever["state"]["status"] == "disengaged"
    running = reaches(fis, start(fis, {"a": waits("PT12H")}), "running")
    engaged = {"status": "engaged", "reason": "It is Black Friday."}
    assert fis.update_safety_lever_state(id="default", state=engaged)["safetyLever"]["id"] == "default"
    assert "safety lever" in reaches(fis, running, "stopped")["state"]["reason"]
    assert fis.get_safety_lever(id="default")["safetyLever"]["state"] == engaged
    made = template(fis, {"a": waits()})
    with refused("ConflictException", "It is Black Friday."):
        fis.start_experiment(experimentTemplateId=made)
    fis.update_safety_lever_state(id="default", state={"status": "disengaged", "reason": "It is over."})
    reaches(fis, fis.start_experiment(experimentTemplateId=made)["experiment"], "completed")
    for operation, more in (
        (fis.get_safety_lever, {}),
        (fis.update_safety_lever_state, {"state": engaged}),
    ):
        with refused("ResourceNotFoundException"):
            operation(id="another", **more)
    for state in ({"status": "engaging", "reason": "x"}, {"status": "engaged"}, {"status": "engaged", "reason": ""}):
        with refused("ValidationException"):
            anything.update_safety_lever_state(id="default", state=state)


def test_services_and_instances(fis, ecs, role, cluster):
    define(ecs, "idle", IDLE)
    service = serve(ecs, "idle", definition="idle", launchType="EC2")["serviceArn"]
    wait(ecs, "services_stable", services=["idle"])
    before = ecs.list_tasks(serviceName="idle")["taskArns"]
    target = {"resourceType": "aws:ecs:service", "resourceArns": [service], "selectionMode": "ALL"}
    restart = {"restart": action("bowline:restart-service", {"Services": "it"})}
    reaches(fis, start(fis, restart, {"it": target}), "completed")
    harness.eventually(
        "other tasks take their place",
        lambda: (arns := ecs.list_tasks(serviceName="idle")["taskArns"]) and not set(arns) & set(before),
    )

    instance = ecs.list_container_instances()["containerInstanceArns"]

    def status():
        return ecs.describe_container_instances(containerInstances=instance)["containerInstances"][0]["status"]

    target = {"resourceType": "aws:ecs:cluster", "resourceArns": [cluster["clusterArn"]], "selectionMode": "ALL"}
    for duration, outcome in (("PT1S", "completed"), ("PT12H", "stopped")):
        drain = {"drain": action("aws:ecs:drain-container-instances", {"Clusters": "it"}, duration=duration,
                                 drainagePercentage="50")}
        started = start(fis, drain, {"it": target})
        if outcome == "stopped":
            harness.eventually("it drains", lambda: status() == "DRAINING")
            fis.stop_experiment(id=started["id"])
        reaches(fis, started, outcome)
        assert status() == "ACTIVE"


def test_what_is_not_there_and_what_cannot_be(fis, anything, role):
    for operation, arguments in (
        (fis.get_experiment, {"id": "EXP1"}),
        (fis.stop_experiment, {"id": "EXP1"}),
        (fis.list_experiment_resolved_targets, {"experimentId": "EXP1"}),
        (fis.start_experiment, {"experimentTemplateId": "EXT1"}),
    ):
        with refused("ResourceNotFoundException", "EX.1 was not found"):
            operation(**arguments)
    made = template(fis, {"a": waits()})
    for operation, arguments in (
        (anything.get_experiment, {"id": "x" * 65}),
        (anything.stop_experiment, {"id": "x" * 65}),
        (anything.list_experiment_resolved_targets, {"experimentId": "x" * 65}),
        (anything.list_experiments, {"experimentTemplateId": "x" * 65}),
        (anything.start_experiment, {"experimentTemplateId": made, "clientToken": ""}),
        (anything.start_experiment, {"experimentTemplateId": made, "tags": {"aws:x": ""}}),
        (anything.start_experiment, {"experimentTemplateId": made, "experimentOptions": {"actionsMode": "some"}}),
    ):
        with refused("ValidationException"):
            operation(**arguments)
    started = [reaches(fis, start(fis, {"a": waits("PT12H")}), "running") for _ in range(5)]
    with refused("ServiceQuotaExceededException", "at most 5"):
        fis.start_experiment(experimentTemplateId=made)
    with refused("ValidationException", "no target it"):
        fis.list_experiment_resolved_targets(experimentId=started[0]["id"], targetName="it")
    found = [it["id"] for page in fis.get_paginator("list_experiments").paginate(PaginationConfig={"PageSize": 2})
             for it in page["experiments"]]
    assert sorted(it["id"] for it in started) == found
    for operation in (anything.list_experiments, anything.list_experiment_resolved_targets):
        with refused("ValidationException", "nextToken"):
            operation(experimentId=started[0]["id"], nextToken="nobody's")

    arn = started[0]["arn"]
    fis.tag_resource(resourceArn=arn, tags={"a": "b", "c": "d"})
    fis.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert fis.list_tags_for_resource(resourceArn=arn)["tags"] == {"c": "d"}
    assert fis.get_experiment(id=started[0]["id"])["experiment"]["tags"] == {"c": "d"}


def test_logs_tell_what_was_done(fis, role):
    logs = client("logs")
    logs.create_log_group(logGroupName="fis")
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:fis:*"
    configuration = {"logSchemaVersion": 2, "cloudWatchLogsConfiguration": {"logGroupArn": group}}
    ended = reaches(fis, start(fis, {"a": waits()}, logConfiguration=configuration), "completed")

    def lines():
        events = logs.filter_log_events(logGroupName="fis")["events"]
        found = [json.loads(event["message"]) for event in events]
        return found and found[-1]["log_type"] == "experiment-end" and found

    found = harness.eventually("it is logged", lines)
    assert {line["id"] for line in found} == {ended["id"]}
    assert [line["log_type"] for line in found if line["log_type"].startswith("action")] == ["action-start", "action-end"]


def test_who_may_start(fis, iam, role):
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    ann = client("fis", key=(key["AccessKeyId"], key["SecretAccessKey"]))
    made = template(fis, {"a": waits()}, tags={"team": "a"})
    statement = {"Effect": "Allow", "Action": "fis:StartExperiment", "Resource": "arn:aws:fis:*:*:experiment/*"}

    def let(*statements):
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=json.dumps(document))

    let(statement)
    with refused("AccessDeniedException", f"experiment-template/{made}"):
        ann.start_experiment(experimentTemplateId=made)
    of_team = {
        "Effect": "Allow",
        "Action": "fis:StartExperiment",
        "Resource": "arn:aws:fis:*:*:experiment-template/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": "a"}},
    }
    let(statement, of_team)
    ann.start_experiment(experimentTemplateId=made)
    with refused("AccessDeniedException", "fis:TagResource"):
        ann.start_experiment(experimentTemplateId=made, tags={"a": "b"})


# The template of the reference documents, with its ids filled in, and what the CLI insists on.
def notes(task):
    return {
        "description": "Certificate Expiry Test on ECS Task",
        "targets": {"EcsTarget": {"resourceType": "aws:ecs:task", "resourceArns": [task], "selectionMode": "ALL"}},
        "actions": {
            "StopTask": {
                "actionId": "aws:ecs:stop-task",
                "description": "Stop ECS task to simulate cert expiry.",
                "parameters": {"force": "true"},
                "targets": {"EcsTarget": "EcsTarget"},
            }
        },
        "roleArn": ROLE,
        "stopConditions": [{"source": "aws:cloudwatch:alarm", "value": f"{ALARM}/alarm-name"}],
    }


def test_the_notes_commands(ecs, cloudwatch, tasks, tmp_path):
    trust = tmp_path / "trust-policy.json"
    trust.write_text(json.dumps(TRUST))
    aws("iam", "create-role", "--role-name", "FIS-Experiment-Role", "--assume-role-policy-document", f"file://{trust}")
    for policy in POLICIES:
        arn = f"arn:aws:iam::aws:policy/{policy}"
        aws("iam", "attach-role-policy", "--role-name", "FIS-Experiment-Role", "--policy-arn", arn)
    cloudwatch.put_metric_alarm(
        AlarmName="alarm-name", Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )
    path = tmp_path / "fis-template.json"
    path.write_text(json.dumps(notes(tasks[0])))
    made = json.loads(aws("fis", "create-experiment-template", "--cli-input-json", f"file://{path}"))
    made = made["experimentTemplate"]["id"]
    started = json.loads(aws("fis", "start-experiment", "--experiment-template-id", made))["experiment"]["id"]

    def over():
        listed = json.loads(aws("fis", "list-experiments"))["experiments"]
        [experiment] = [it for it in listed if it["id"] == started]
        return experiment["state"]["status"] in OVER and experiment["state"]

    assert harness.eventually("the experiment is over", over)["status"] == "completed"
    wait(ecs, "tasks_stopped", tasks=tasks[:1])
    assert started in ecs.describe_tasks(tasks=tasks[:1])["tasks"][0]["stoppedReason"]
