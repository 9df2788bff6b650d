"""Tasks that scale-in and deployments leave alone; and ECS Exec, which is refused with the way that there is."""

import datetime

from harness import IDLE, arn, define, eventually, refused, serve, wait


def tasks_of(ecs, service="web"):
    return set(ecs.list_tasks(serviceName=service)["taskArns"])


def test_protected_tasks_outlive_scale_in_and_deployments(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, definition="idle", desired_count=3)
    wait(ecs, "services_stable", services=["web"])
    # Scale-in takes the newest first: it would be the one that is protected.
    newest = max(
        ecs.describe_tasks(tasks=list(tasks_of(ecs)))["tasks"], key=lambda task: (task["createdAt"], task["taskArn"])
    )["taskArn"]
    answer = ecs.update_task_protection(
        cluster="default", tasks=[newest, "0" * 32], protectionEnabled=True, expiresInMinutes=60
    )
    (protected,) = answer["protectedTasks"]
    assert (protected["taskArn"], protected["protectionEnabled"]) == (newest, True)
    lasts = protected["expirationDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=58) < lasts < datetime.timedelta(minutes=61)
    assert answer["failures"] == [{"arn": arn("task/default/" + "0" * 32), "reason": "MISSING"}]
    assert ecs.get_task_protection(cluster="default")["protectedTasks"] == [protected]

    ecs.update_service(service="web", desiredCount=1)
    eventually("scale-in", lambda: len(tasks_of(ecs)) == 1)
    assert tasks_of(ecs) == {newest}

    ecs.update_service(service="web", forceNewDeployment=True)
    eventually("a task of the new deployment", lambda: len(tasks_of(ecs)) == 2)
    running = lambda: ecs.describe_services(services=["web"])["services"][0]["runningCount"] == 2
    eventually("it runs", running)
    assert newest in tasks_of(ecs)
    deployments = ecs.describe_services(services=["web"])["services"][0]["deployments"]
    assert [one["status"] for one in deployments] == ["PRIMARY", "ACTIVE"]
    assert deployments[0]["rolloutState"] == "IN_PROGRESS"

    ended = ecs.update_task_protection(cluster="default", tasks=[newest], protectionEnabled=False)
    assert ended["protectedTasks"] == [{"taskArn": newest, "protectionEnabled": False}]
    wait(ecs, "services_stable", services=["web"])
    assert newest not in tasks_of(ecs)
    told = ecs.get_task_protection(cluster="default", tasks=list(tasks_of(ecs)))
    assert [one["protectionEnabled"] for one in told["protectedTasks"]] == [False]


def test_a_service_that_is_deleted_keeps_no_task(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, definition="idle")
    wait(ecs, "services_stable", services=["web"])
    ecs.update_task_protection(cluster="default", tasks=list(tasks_of(ecs)), protectionEnabled=True)
    ecs.delete_service(service="web", force=True)
    wait(ecs, "services_inactive", services=["web"])


def test_protection_that_is_refused(ecs, cluster):
    define(ecs, "idle", IDLE)
    task = ecs.run_task(taskDefinition="idle")["tasks"][0]["taskArn"]
    for answer in (
        ecs.update_task_protection(cluster="default", tasks=[task], protectionEnabled=True),
        ecs.get_task_protection(cluster="default", tasks=[task]),
    ):
        assert answer["protectedTasks"] == []
        assert [failure["reason"] for failure in answer["failures"]] == ["TASK_NOT_VALID"]
    update = {"cluster": "default", "tasks": [task], "protectionEnabled": True}
    for minutes in (0, 2881):
        with refused("InvalidParameterException", "expiresInMinutes"):
            ecs.update_task_protection(**update, expiresInMinutes=minutes)
    with refused("InvalidParameterException", "cannot be empty"):
        ecs.update_task_protection(**{**update, "tasks": []})
    with refused("InvalidParameterException", "tasks"):
        ecs.update_task_protection(**{**update, "tasks": [task] * 11})
    with refused("InvalidParameterException", "tasks"):
        ecs.get_task_protection(cluster="default", tasks=[task] * 101)
    with refused("ClusterNotFoundException"):
        ecs.update_task_protection(**{**update, "cluster": "nothing"})
    with refused("ClusterNotFoundException"):
        ecs.get_task_protection(cluster="nothing")


def test_execute_command_is_refused_with_the_way_that_there_is(ecs, cluster):
    define(ecs, "idle", IDLE)
    plain = ecs.run_task(taskDefinition="idle")["tasks"][0]["taskArn"]
    open_to_it = ecs.run_task(taskDefinition="idle", enableExecuteCommand=True)["tasks"][0]
    assert open_to_it["enableExecuteCommand"] is True
    wait(ecs, "tasks_running", tasks=[plain, open_to_it["taskArn"]])
    run = {"task": open_to_it["taskArn"], "command": "sh", "interactive": True}
    task_id = open_to_it["taskArn"].rsplit("/", 1)[1]
    with refused("TargetNotConnectedException", f"bowline exec {task_id} --container idle -- sh"):
        ecs.execute_command(**run)
    with refused("InvalidParameterException", "was not enabled"):
        ecs.execute_command(**{**run, "task": plain})
    with refused("InvalidParameterException", "task was not found"):
        ecs.execute_command(**{**run, "task": "0" * 32})
    with refused("InvalidParameterException", "container could not be found"):
        ecs.execute_command(**run, container="nothing")
    with refused("InvalidParameterException", "Interactive is the only mode"):
        ecs.execute_command(**{**run, "interactive": False})
    with refused("ClusterNotFoundException"):
        ecs.execute_command(**run, cluster="nothing")
