"""Standalone tasks and tasks of services."""

import sys

from harness import IDLE, arn, check_pages, define, refused, serve, wait


def test_a_task_runs_and_is_stopped(ecs, cluster):
    define(ecs, "idle", IDLE, cpu="256", memory="512", networkMode="awsvpc", requiresCompatibilities=["FARGATE"])
    answer = ecs.run_task(
        taskDefinition="idle",
        launchType="FARGATE",
        platformVersion="1.4.0",
        startedBy="a-test",
        group="a-group",
        tags=[{"key": "team", "value": "a"}],
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "DISABLED"}},
    )
    assert answer["failures"] == []
    task = answer["tasks"][0]
    assert task["taskArn"].startswith(arn("task/default/")) and task["lastStatus"] == "PROVISIONING"
    assert (task["startedBy"], task["group"], task["launchType"]) == ("a-test", "a-group", "FARGATE")
    assert task["tags"] == [{"key": "team", "value": "a"}]
    assert task["platformVersion"] == "1.4.0"
    wait(ecs, "tasks_running", tasks=[task["taskArn"]])
    running = ecs.describe_tasks(tasks=[task["taskArn"].rsplit("/")[-1]], include=["TAGS"])["tasks"][0]
    assert running["startedAt"] >= running["createdAt"] and running["tags"] == task["tags"]
    assert running["containers"][0]["lastStatus"] == "RUNNING"
    details = {detail["name"]: detail["value"] for detail in running["attachments"][0]["details"]}
    assert "privateIPv4Address" in details
    assert ecs.list_tasks(startedBy="a-test")["taskArns"] == [task["taskArn"]]
    assert ecs.list_tasks(family="idle")["taskArns"] == [task["taskArn"]]
    assert ecs.list_tasks(family="other")["taskArns"] == []
    assert ecs.list_tasks(launchType="FARGATE")["taskArns"] == [task["taskArn"]]
    assert ecs.list_tasks(launchType="EC2")["taskArns"] == []

    stopped = ecs.stop_task(task=task["taskArn"], reason="enough")["task"]
    assert (stopped["desiredStatus"], stopped["stopCode"]) == ("STOPPED", "UserInitiated")
    wait(ecs, "tasks_stopped", tasks=[task["taskArn"]])
    stopped = ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"][0]
    assert (stopped["stoppedReason"], stopped["lastStatus"]) == ("enough", "STOPPED")
    assert stopped["stoppedAt"] >= stopped["startedAt"]
    assert ecs.list_tasks()["taskArns"] == []
    assert ecs.list_tasks(desiredStatus="STOPPED")["taskArns"] == [task["taskArn"]]


def test_an_exit_code_and_overrides(ecs, cluster):
    define(ecs, "job", {"name": "job", "image": "python:3", "command": ["false"]})
    overrides = {
        "containerOverrides": [
            {
                "name": "job",
                "command": [sys.executable, "-c", "import os; raise SystemExit(int(os.environ['CODE']))"],
                "environment": [{"name": "CODE", "value": "7"}],
            }
        ]
    }
    task = ecs.run_task(taskDefinition="job", overrides=overrides)["tasks"][0]
    assert task["overrides"]["containerOverrides"][0]["environment"] == [{"name": "CODE", "value": "7"}]
    wait(ecs, "tasks_stopped", tasks=[task["taskArn"]])
    task = ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"][0]
    assert task["containers"][0]["exitCode"] == 7
    assert task["stopCode"] == "EssentialContainerExited" and "Essential container" in task["stoppedReason"]


def test_a_container_without_a_command_cannot_start(ecs, cluster):
    define(ecs, "bare", {"name": "bare", "image": "nginx"})
    task = ecs.run_task(taskDefinition="bare")["tasks"][0]["taskArn"]
    wait(ecs, "tasks_stopped", tasks=[task])
    task = ecs.describe_tasks(tasks=[task])["tasks"][0]
    assert task["stopCode"] == "TaskFailedToStart" and "CannotPullContainerError" in str(task)


def test_a_token_runs_a_task_once(ecs, cluster):
    define(ecs, "idle", IDLE)
    first = ecs.run_task(taskDefinition="idle", clientToken="once")["tasks"]
    again = ecs.run_task(taskDefinition="idle", clientToken="once")["tasks"]
    assert [task["taskArn"] for task in again] == [task["taskArn"] for task in first]
    assert len(ecs.list_tasks()["taskArns"]) == 1
    with refused("ConflictException", "clientToken"):
        ecs.run_task(taskDefinition="idle", clientToken="once", count=2)


def test_tasks_of_a_service(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, "idle", definition="idle")
    wait(ecs, "services_stable", services=["idle"])
    first = ecs.list_tasks(serviceName="idle")["taskArns"]
    task = ecs.describe_tasks(tasks=first)["tasks"][0]
    assert task["group"] == "service:idle" and task["startedBy"].startswith("ecs-svc/")
    ecs.stop_task(task=first[0])
    wait(ecs, "tasks_stopped", tasks=first)
    wait(ecs, "services_stable", services=["idle"])
    second = ecs.list_tasks(serviceName="idle")["taskArns"]
    assert len(second) == 1 and second != first


def test_start_task_counts_container_instances(ecs, cluster):
    define(ecs, "idle", IDLE)
    machines = ecs.list_container_instances()["containerInstanceArns"] * 2
    started = ecs.start_task(taskDefinition="idle", containerInstances=machines, tags=[{"key": "k", "value": "v"}])
    assert len(started["tasks"]) == 2 and started["tasks"][0]["tags"] == [{"key": "k", "value": "v"}]


def test_tasks_that_are_refused(ecs, loose, cluster):
    define(ecs, "idle", IDLE)
    start = {"taskDefinition": "idle", "containerInstances": ["a"]}
    override = {"containerOverrides": [{"name": "other", "command": ["true"]}]}
    for operation, arguments in ((ecs.run_task, {"taskDefinition": "idle"}), (ecs.start_task, start)):
        for changes, code, message in (
            ({"cluster": "nothing"}, "ClusterNotFoundException", ""),
            ({"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found"),
            ({"startedBy": "a" * 129}, "InvalidParameterException", "startedBy"),
            ({"overrides": override}, "InvalidParameterException", "other"),
            ({"tags": [{"key": "aws:a", "value": ""}]}, "InvalidParameterException", "aws:"),
        ):
            with refused(code, message):
                operation(**{**arguments, **changes})
    for count in (0, 11):
        with refused("InvalidParameterException", "count"):
            ecs.run_task(taskDefinition="idle", count=count)
    with refused("PlatformUnknownException", "9.9.9"):
        ecs.run_task(taskDefinition="idle", launchType="FARGATE", platformVersion="9.9.9")
    with refused("InvalidParameterException", "containerInstances"):
        ecs.start_task(taskDefinition="idle", containerInstances=[])
    ecs.deregister_task_definition(taskDefinition="idle:1")
    with refused("InvalidParameterException", "inactive"):
        ecs.run_task(taskDefinition="idle:1")
    assert ecs.list_tasks()["taskArns"] == []

    with refused("InvalidParameterException", "not found"):
        ecs.stop_task(task="0" * 32)
    with refused("InvalidParameterException", "1,?024"):
        ecs.stop_task(task="0" * 32, reason="a" * 1025)
    for operation in (ecs.stop_task, ecs.describe_tasks):
        arguments = {"task": "a"} if operation == ecs.stop_task else {"tasks": ["a"]}
        with refused("ClusterNotFoundException"):
            operation(cluster="nothing", **arguments)
    with refused("InvalidParameterException", "empty"):
        ecs.describe_tasks(tasks=[])
    with refused("InvalidParameterException", "100"):
        ecs.describe_tasks(tasks=["a"] * 101)
    assert ecs.describe_tasks(tasks=["0" * 32])["failures"][0]["reason"] == "MISSING"
    with refused("ClusterNotFoundException"):
        ecs.list_tasks(cluster="nothing")
    with refused("ServiceNotFoundException"):
        ecs.list_tasks(serviceName="nothing")


def test_pages_of_tasks(ecs, cluster):
    define(ecs, "idle", IDLE)
    ecs.run_task(taskDefinition="idle", count=3)
    ecs.create_cluster(clusterName="other")
    check_pages(ecs.list_tasks, "taskArns", ecs.list_clusters(maxResults=1)["nextToken"])
