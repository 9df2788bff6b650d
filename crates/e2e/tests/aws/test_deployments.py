"""Service deployments: their strategies, their way back, and what lists of them can be asked."""

import datetime

from harness import IDLE, arn, check_pages, define, eventually, refused, serve, wait


def deployments(ecs, **filters):
    return ecs.list_service_deployments(service="web", **filters)["serviceDeployments"]


def described(ecs, deployment):
    (told,) = ecs.describe_service_deployments(serviceDeploymentArns=[deployment])["serviceDeployments"]
    return told


def service(ecs):
    return ecs.describe_services(services=["web"])["services"][0]


def running_of(ecs, definition):
    tasks = ecs.list_tasks(serviceName="web")["taskArns"]
    told = ecs.describe_tasks(tasks=tasks)["tasks"] if tasks else []
    return {
        task["taskArn"]
        for task in told
        if task["taskDefinitionArn"] == definition and task["lastStatus"] == "RUNNING"
    }


def test_a_deployment_that_cannot_come_up_is_rolled_back(ecs, cluster):
    good = define(ecs, "idle", IDLE)
    serve(ecs, definition="idle")
    wait(ecs, "services_stable", services=["web"])
    first = deployments(ecs)[0]
    before = running_of(ecs, good)

    # It never becomes healthy.
    check = {"command": ["CMD", "false"], "interval": 5, "retries": 10, "startPeriod": 300}
    bad = define(ecs, "idle", {**IDLE, "healthCheck": check})
    updated = ecs.update_service(service="web", taskDefinition=bad)["service"]
    under_way = updated["currentServiceDeployment"]
    assert under_way != first["serviceDeploymentArn"]
    stopped = ecs.stop_service_deployment(serviceDeploymentArn=under_way, stopType="ROLLBACK")
    assert stopped == {"serviceDeploymentArn": under_way, "ResponseMetadata": stopped["ResponseMetadata"]}
    told = described(ecs, under_way)
    assert told["status"] in ("ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL")
    assert told["rollback"]["serviceRevisionArn"] == first["targetServiceRevisionArn"]
    assert told["rollback"]["reason"] and told["stoppedAt"]
    assert [one["arn"] for one in told["sourceServiceRevisions"]] == [first["targetServiceRevisionArn"]]
    assert service(ecs)["taskDefinition"] == good

    eventually("the way back is done", lambda: described(ecs, under_way)["status"] == "ROLLBACK_SUCCESSFUL")
    wait(ecs, "services_stable", services=["web"])
    assert described(ecs, under_way)["finishedAt"]
    # What ran before was not touched.
    assert running_of(ecs, good) == before
    assert "currentServiceDeployment" not in service(ecs)
    with refused("ConflictException", "not in progress"):
        ecs.stop_service_deployment(serviceDeploymentArn=under_way)
    # The next update begins where the service is now.
    again = ecs.update_service(service="web", forceNewDeployment=True)["service"]["currentServiceDeployment"]
    wait(ecs, "services_stable", services=["web"])
    eventually("it is complete", lambda: described(ecs, again)["status"] == "SUCCESSFUL")


def test_the_circuit_breaker_rolls_back(ecs, cluster):
    good = define(ecs, "idle", IDLE)
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    serve(ecs, definition="idle", deploymentConfiguration=breaker)
    wait(ecs, "services_stable", services=["web"])
    bad = define(ecs, "idle", {**IDLE, "command": ["false"], "healthCheck": {"command": ["CMD", "false"]}})
    failing = ecs.update_service(service="web", taskDefinition=bad)["service"]["currentServiceDeployment"]
    eventually("it is rolled back", lambda: described(ecs, failing)["status"] == "ROLLBACK_SUCCESSFUL", limit=120)
    assert "circuit breaker" in described(ecs, failing)["rollback"]["reason"]
    told = service(ecs)
    assert told["taskDefinition"] == good
    messages = [event["message"] for event in told["events"]]
    assert any("deployment failed: tasks failed to start" in message for message in messages)
    assert any("rolling back to deployment ecs-svc/" in message for message in messages)


def test_deployments_that_cannot_be_stopped(ecs, cluster):
    define(ecs, "idle", {**IDLE, "command": ["false"]})
    first = serve(ecs, definition="idle")["currentServiceDeployment"]
    with refused("InvalidParameterException", "no earlier service revision"):
        ecs.stop_service_deployment(serviceDeploymentArn=first)
    with refused("InvalidParameterException", "serviceDeploymentArn"):
        ecs.stop_service_deployment(serviceDeploymentArn="web")
    with refused("ServiceDeploymentNotFoundException", "not found"):
        ecs.stop_service_deployment(serviceDeploymentArn=arn("service-deployment/default/web/1234567890123456789"))


def test_a_blue_green_deployment_keeps_the_old_set_until_the_new_one_is_baked(ecs, cluster):
    blue = define(ecs, "idle", IDLE)
    strategy = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60}
    made = serve(ecs, definition="idle", desired_count=2, deploymentConfiguration=strategy)
    assert made["deploymentConfiguration"]["strategy"] == "BLUE_GREEN"
    assert made["deploymentConfiguration"]["bakeTimeInMinutes"] == 60
    # There is nothing to bake the first set against.
    wait(ecs, "services_stable", services=["web"])
    old = running_of(ecs, blue)
    assert len(old) == 2

    green = define(ecs, "idle", IDLE)
    updated = ecs.update_service(service="web", taskDefinition=green)["service"]
    eventually("the whole new set runs", lambda: len(running_of(ecs, green)) == 2)
    assert running_of(ecs, blue) == old
    under_way = updated["currentServiceDeployment"]
    eventually("it bakes", lambda: described(ecs, under_way)["lifecycleStage"] == "BAKE_TIME")
    told = described(ecs, under_way)
    assert told["status"] == "IN_PROGRESS"
    assert told["targetServiceRevision"]["requestedProductionTrafficWeight"] == 100
    assert told["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"] == 0
    assert running_of(ecs, blue) == old
    assert any("percent of the production traffic" in event["message"] for event in service(ecs)["events"])

    # On the way back there is nothing to start.
    ecs.stop_service_deployment(serviceDeploymentArn=updated["currentServiceDeployment"])
    wait(ecs, "services_stable", services=["web"])
    assert (running_of(ecs, blue), running_of(ecs, green)) == (old, set())

    # Without a bake time the old set goes as soon as the new one serves.
    ecs.update_service(
        service="web",
        taskDefinition=green,
        deploymentConfiguration={"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0},
    )
    wait(ecs, "services_stable", services=["web"])
    assert (len(running_of(ecs, green)), running_of(ecs, blue)) == (2, set())


def test_a_canary_pauses_until_it_is_told_to_go_on(ecs, cluster):
    define(ecs, "idle", IDLE)
    pause = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP", "PRE_PRODUCTION_TRAFFIC_SHIFT"]}
    canary = {
        "strategy": "CANARY",
        "canaryConfiguration": {"canaryPercent": 12.5, "canaryBakeTimeInMinutes": 60},
        "lifecycleHooks": [pause],
    }
    serve(ecs, definition="idle", deploymentConfiguration=canary)
    wait(ecs, "services_stable", services=["web"])
    first = deployments(ecs)[0]["serviceDeploymentArn"]
    with refused("InvalidParameterException", "not paused"):
        ecs.continue_service_deployment(serviceDeploymentArn=first, hookId="none")
    rolling = serve(ecs, "rolling", definition="idle", desired_count=0)["currentServiceDeployment"]
    with refused("UnsupportedFeatureException", "lifecycle hooks"):
        ecs.continue_service_deployment(serviceDeploymentArn=rolling, hookId="none")
    green = define(ecs, "idle", IDLE)
    updated = ecs.update_service(service="web", taskDefinition=green)["service"]
    under_way = updated["currentServiceDeployment"]

    def waits_at(stage):
        eventually(f"it waits at {stage}", lambda: described(ecs, under_way).get("lifecycleStage") == stage)
        hook = described(ecs, under_way)["lifecycleHookDetails"][-1]
        assert (hook["targetType"], hook["status"], hook["timeoutAction"]) == ("PAUSE", "AWAITING_ACTION", "ROLLBACK")
        return hook["hookId"]

    hook = waits_at("POST_SCALE_UP")
    assert described(ecs, under_way)["targetServiceRevision"]["requestedTestTrafficWeight"] == 0
    with refused("InvalidParameterException", "hook"):
        ecs.continue_service_deployment(serviceDeploymentArn=under_way, hookId="other")
    with refused("InvalidParameterException", "serviceDeploymentArn"):
        ecs.continue_service_deployment(serviceDeploymentArn="web", hookId=hook)
    with refused("ServiceDeploymentNotFoundException", "not found"):
        none = arn("service-deployment/default/web/1234567890123456789")
        ecs.continue_service_deployment(serviceDeploymentArn=none, hookId=hook)
    ecs.continue_service_deployment(serviceDeploymentArn=under_way, hookId=hook)
    # The hook's stage is none of a deployment's.
    hook = waits_at("PRODUCTION_TRAFFIC_SHIFT")
    assert described(ecs, under_way)["targetServiceRevision"]["requestedTestTrafficWeight"] == 100
    ecs.continue_service_deployment(serviceDeploymentArn=under_way, hookId=hook, action="CONTINUE")
    eventually(
        "the canary has its share",
        lambda: described(ecs, under_way)["targetServiceRevision"]["requestedProductionTrafficWeight"] == 12.5,
    )
    assert described(ecs, under_way)["lifecycleStage"] == "PRODUCTION_TRAFFIC_SHIFT"
    ecs.stop_service_deployment(serviceDeploymentArn=under_way, stopType="ABORT")
    assert described(ecs, under_way)["status"] == "STOPPED"
    assert described(ecs, under_way)["targetServiceRevision"]["requestedProductionTrafficWeight"] == 12.5
    # What was left is no obstacle, and a hook can take it back.
    again = ecs.update_service(service="web", forceNewDeployment=True)["service"]["currentServiceDeployment"]
    under_way = again
    hook = waits_at("POST_SCALE_UP")
    ecs.continue_service_deployment(serviceDeploymentArn=again, hookId=hook, action="ROLLBACK")
    eventually("it is rolled back", lambda: described(ecs, again)["status"] == "ROLLBACK_SUCCESSFUL")
    wait(ecs, "services_stable", services=["web"])


def test_every_strategy_is_kept_and_told(ecs, cluster):
    define(ecs, "idle", IDLE)
    hook = {
        "hookTargetArn": "arn:aws:lambda:us-east-1:000000000000:function:check",
        "roleArn": "arn:aws:iam::000000000000:role/hooks",
        "lifecycleStages": ["PRE_SCALE_UP", "POST_PRODUCTION_TRAFFIC_SHIFT"],
    }
    alarms = {"alarmNames": ["errors"], "enable": True, "rollback": True}
    for configuration in (
        {"strategy": "ROLLING", "maximumPercent": 150, "minimumHealthyPercent": 50, "alarms": alarms},
        {
            "strategy": "LINEAR",
            "bakeTimeInMinutes": 5,
            "linearConfiguration": {"stepPercent": 20.5, "stepBakeTimeInMinutes": 1},
            "lifecycleHooks": [hook],
        },
        {
            "strategy": "CANARY",
            "canaryConfiguration": {"canaryPercent": 0.5, "canaryBakeTimeInMinutes": 0},
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
    ):
        name = configuration["strategy"].lower()
        serve(ecs, name, definition="idle", desired_count=0, deploymentConfiguration=configuration)
        told = ecs.describe_services(services=[name])["services"][0]["deploymentConfiguration"]
        assert {key: told[key] for key in configuration} == configuration


def test_configurations_that_are_refused(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, definition="idle", desired_count=0)
    for configuration, message in (
        ({"maximumPercent": 99}, "maximumPercent"),
        ({"minimumHealthyPercent": 101}, "minimumHealthyPercent"),
        ({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1441}, "bakeTimeInMinutes"),
        ({"strategy": "ROLLING", "bakeTimeInMinutes": 1}, "bakeTimeInMinutes"),
        ({"strategy": "CANARY", "linearConfiguration": {}}, "only for the strategy LINEAR"),
        ({"strategy": "LINEAR", "canaryConfiguration": {}}, "only for the strategy CANARY"),
        ({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}}, "stepPercent"),
        ({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}}, "canaryPercent"),
        ({"lifecycleHooks": [{"lifecycleStages": ["PRE_SCALE_UP"]}]}, "lifecycleHooks"),
        ({"strategy": "CANARY", "lifecycleHooks": [{"lifecycleStages": ["PRE_SCALE_UP"]}]}, "hookTargetArn"),
        (
            {
                "strategy": "CANARY",
                "lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"]}],
            },
            "PAUSE",
        ),
        ({"alarms": {"alarmNames": [], "enable": True, "rollback": False}}, "alarm"),
    ):
        with refused("InvalidParameterException", message):
            serve(ecs, "other", definition="idle", desired_count=0, deploymentConfiguration=configuration)
        with refused("InvalidParameterException", message):
            ecs.update_service(service="web", deploymentConfiguration=configuration)
    for controller in ("EXTERNAL", "CODE_DEPLOY"):
        with refused("UnsupportedFeatureException", controller):
            serve(ecs, "other", definition="idle", deploymentController={"type": controller})
    with refused("UnsupportedFeatureException", "EXTERNAL"):
        ecs.update_service(service="web", deploymentController={"type": "EXTERNAL"})


def test_lists_of_deployments_are_filtered_and_paged(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, definition="idle", desired_count=0)
    wait(ecs, "services_stable", services=["web"])
    for _ in range(2):
        ecs.update_service(service="web", forceNewDeployment=True)
    eventually("the last is complete", lambda: deployments(ecs)[0]["status"] == "SUCCESSFUL")
    all_of_them = deployments(ecs)
    assert len(all_of_them) == 3
    created = [one["createdAt"] for one in all_of_them]
    assert created == sorted(created, reverse=True)
    by_status = {status: deployments(ecs, status=[status]) for status in ("SUCCESSFUL", "STOPPED", "PENDING")}
    assert by_status["SUCCESSFUL"] + by_status["STOPPED"] + by_status["PENDING"] != []
    assert all(one["status"] == status for status, found in by_status.items() for one in found)
    both = deployments(ecs, status=["SUCCESSFUL", "STOPPED"])
    assert len(both) == 3
    hour = datetime.timedelta(hours=1)
    assert deployments(ecs, createdAt={"after": created[0] + hour}) == []
    assert deployments(ecs, createdAt={"before": created[0] + hour, "after": created[-1] - hour}) == all_of_them
    define(ecs, "other", IDLE)
    anothers = ecs.list_task_definitions(maxResults=1)["nextToken"]
    check_pages(ecs.list_service_deployments, "serviceDeployments", anothers, service="web")
