"""This machine as a container instance, its attributes, and tasks on it."""

import pytest
from harness import IDLE, arn, check_pages, define, eventually, refused, serve, wait


@pytest.fixture
def machine(ecs, cluster):
    """The ARN of the container instance of the cluster `default`."""
    (found,) = ecs.list_container_instances()["containerInstanceArns"]
    return found


def resources(instance, of):
    return {one["name"]: one.get("integerValue", one.get("stringSetValue")) for one in instance[of]}


def described(ecs, machine, **more):
    answer = ecs.describe_container_instances(containerInstances=[machine], **more)
    assert answer["failures"] == []
    return answer["containerInstances"][0]


def test_the_machine_is_told_with_what_it_has(ecs, machine):
    assert machine.startswith(arn("container-instance/default/"))
    told = described(ecs, machine, include=["TAGS", "CONTAINER_INSTANCE_HEALTH"])
    assert told == described(ecs, machine.rsplit("/", 1)[1], include=["TAGS", "CONTAINER_INSTANCE_HEALTH"])
    assert (told["status"], told["agentConnected"], told["healthStatus"]["overallStatus"]) == ("ACTIVE", True, "OK")
    has = resources(told, "registeredResources")
    assert has["CPU"] >= 1024 and has["CPU"] % 1024 == 0
    with open("/proc/meminfo") as meminfo:
        total = int(meminfo.readline().split()[1]) // 1024
    assert has["MEMORY"] == total
    assert resources(told, "remainingResources") == has

    define(ecs, "idle", {**IDLE, "cpu": 128, "memory": 64})
    task = ecs.run_task(taskDefinition="idle", count=2)["tasks"][0]
    assert task["containerInstanceArn"] == machine
    left = described(ecs, machine)
    assert resources(left, "remainingResources")["CPU"] == has["CPU"] - 256
    assert resources(left, "remainingResources")["MEMORY"] == has["MEMORY"] - 128
    assert resources(left, "registeredResources") == has
    assert left["pendingTasksCount"] + left["runningTasksCount"] == 2
    wait(ecs, "tasks_running", tasks=[task["taskArn"]])
    assert len(ecs.list_tasks(containerInstance=machine)["taskArns"]) == 2
    ecs.run_task(taskDefinition="idle", launchType="FARGATE")
    assert len(ecs.list_tasks(containerInstance=machine)["taskArns"]) == 2
    assert len(ecs.list_tasks()["taskArns"]) == 3

    cluster = ecs.describe_clusters(include=["STATISTICS"])["clusters"][0]
    assert cluster["registeredContainerInstancesCount"] == 1
    statistics = {one["name"]: one["value"] for one in cluster["statistics"]}
    assert int(statistics["runningFargateTasksCount"]) + int(statistics["pendingFargateTasksCount"]) == 1
    assert int(statistics["runningEC2TasksCount"]) + int(statistics["pendingEC2TasksCount"]) == 2


def test_each_cluster_has_the_machine_once(ecs, machine):
    ecs.create_cluster(clusterName="other")
    (other,) = ecs.list_container_instances(cluster="other", maxResults=1)["containerInstanceArns"]
    assert other != machine
    missing = ecs.describe_container_instances(containerInstances=[other])
    assert missing["containerInstances"] == []
    assert missing["failures"] == [{"arn": other, "reason": "MISSING"}]
    assert ecs.list_container_instances(status="DRAINING")["containerInstanceArns"] == []
    with refused("InvalidParameterException", "[Tt]oken"):
        ecs.list_container_instances(nextToken="nothing")
    for size in (0, 101):
        with refused("InvalidParameterException", "maxResults"):
            ecs.list_container_instances(maxResults=size)
    with refused("InvalidParameterException", "filter"):
        ecs.list_container_instances(filter="attribute:ecs.os-type == linux")
    with refused("InvalidParameterException", "cannot be empty"):
        ecs.describe_container_instances(containerInstances=[])


def test_tasks_are_started_on_the_machine(ecs, machine):
    define(ecs, "idle", IDLE)
    answer = ecs.start_task(taskDefinition="idle", containerInstances=[machine, "nothing"])
    assert [task["containerInstanceArn"] for task in answer["tasks"]] == [machine]
    assert answer["failures"] == [{"arn": arn("container-instance/default/nothing"), "reason": "MISSING"}]


def test_a_draining_machine_takes_no_task_and_gives_up_those_it_may(ecs, machine):
    define(ecs, "idle", IDLE)
    half = {"minimumHealthyPercent": 50, "maximumPercent": 200}
    serve(ecs, "half", definition="idle", desired_count=2, deploymentConfiguration=half)
    serve(ecs, "fargate", definition="idle", desired_count=1, launchType="FARGATE", deploymentConfiguration=half)
    wait(ecs, "services_stable", services=["half", "fargate"])

    drained = ecs.update_container_instances_state(containerInstances=[machine, "nothing"], status="DRAINING")
    assert [one["status"] for one in drained["containerInstances"]] == ["DRAINING"]
    assert [failure["reason"] for failure in drained["failures"]] == ["MISSING"]
    assert ecs.list_container_instances(status="DRAINING")["containerInstanceArns"] == [machine]
    assert ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"] == []
    with refused("InvalidParameterException", "No Container Instances were found"):
        ecs.run_task(taskDefinition="idle")
    ecs.run_task(taskDefinition="idle", launchType="FARGATE")
    answer = ecs.start_task(taskDefinition="idle", containerInstances=[machine])
    assert (answer["tasks"], answer["failures"]) == ([], [{"arn": machine, "reason": "DRAINING"}])

    def service(name):
        return ecs.describe_services(services=[name])["services"][0]

    eventually("one of two tasks is taken away", lambda: service("half")["runningCount"] == 1)
    unable = "unable to place a task"
    eventually("an event", lambda: any(unable in event["message"] for event in service("half")["events"]))
    assert service("fargate")["runningCount"] == 1

    ecs.update_container_instances_state(containerInstances=[machine], status="ACTIVE")
    wait(ecs, "services_stable", services=["half"])
    assert service("half")["runningCount"] == 2
    with refused("InvalidParameterException", r"\[ACTIVE,DRAINING\]"):
        ecs.update_container_instances_state(containerInstances=[machine], status="REGISTERING")


def test_the_machine_leaves_a_cluster_and_joins_it_again(ecs, machine):
    define(ecs, "idle", IDLE)
    task = ecs.run_task(taskDefinition="idle")["tasks"][0]["taskArn"]
    wait(ecs, "tasks_running", tasks=[task])
    with refused("InvalidParameterException", "Found running tasks"):
        ecs.deregister_container_instance(containerInstance=machine)
    left = ecs.deregister_container_instance(containerInstance=machine, force=True)["containerInstance"]
    assert (left["status"], left["agentConnected"]) == ("INACTIVE", False)
    wait(ecs, "tasks_stopped", tasks=[task])
    assert ecs.list_container_instances()["containerInstanceArns"] == []
    assert ecs.describe_clusters()["clusters"][0]["registeredContainerInstancesCount"] == 0
    assert described(ecs, machine)["status"] == "INACTIVE"
    with refused("InvalidParameterException", "not found"):
        ecs.deregister_container_instance(containerInstance=machine)
    with refused("InvalidParameterException", "No Container Instances were found"):
        ecs.run_task(taskDefinition="idle")
    failures = ecs.update_container_instances_state(containerInstances=[machine], status="ACTIVE")["failures"]
    assert failures == [{"arn": machine, "reason": "INACTIVE"}]

    joined = ecs.register_container_instance(
        cluster="default",
        attributes=[{"name": "rack", "value": "7"}],
        tags=[{"key": "team", "value": "a"}],
    )["containerInstance"]
    assert joined["containerInstanceArn"] != machine and joined["status"] == "ACTIVE"
    assert {"name": "rack", "value": "7"} in joined["attributes"]
    assert joined["tags"] == [{"key": "team", "value": "a"}]
    again = ecs.register_container_instance(
        cluster="default", containerInstanceArn=joined["containerInstanceArn"]
    )["containerInstance"]
    assert again["containerInstanceArn"] == joined["containerInstanceArn"]
    ecs.tag_resource(resourceArn=joined["containerInstanceArn"], tags=[{"key": "team", "value": "b"}])
    assert described(ecs, joined["containerInstanceArn"], include=["TAGS"])["tags"] == [{"key": "team", "value": "b"}]
    with refused("InvalidParameterException", "not registered"):
        ecs.register_container_instance(cluster="default", containerInstanceArn=machine)
    with refused("InvalidParameterException", "identity document"):
        ecs.register_container_instance(cluster="default", instanceIdentityDocument="{}")
    with refused("InvalidParameterException", "totalResources"):
        ecs.register_container_instance(
            cluster="default", totalResources=[{"name": "CPU", "type": "INTEGER", "integerValue": 1}]
        )


def test_attributes_are_kept_told_and_deleted(ecs, machine):
    own = {one["name"] for one in ecs.list_attributes(targetType="container-instance")["attributes"]}
    assert own == {"ecs.availability-zone", "ecs.cpu-architecture", "ecs.os-type"}
    put = ecs.put_attributes(
        attributes=[
            {"name": "rack", "value": "7", "targetId": machine},
            {
                "name": "fast",
                "targetType": "container-instance",
                "targetId": machine.rsplit("/", 1)[1],
            },
        ]
    )["attributes"]
    assert put[0] == {"name": "rack", "value": "7", "targetType": "container-instance", "targetId": machine}
    assert put[1] == {"name": "fast", "targetType": "container-instance", "targetId": machine}

    def listed(**more):
        return ecs.list_attributes(targetType="container-instance", **more)["attributes"]

    assert listed(attributeName="rack") == [put[0]]
    assert listed(attributeName="rack", attributeValue="8") == []
    assert {"name": "rack", "value": "7"} in described(ecs, machine)["attributes"]
    define(ecs)
    define(ecs, "idle", IDLE)
    anothers = ecs.list_task_definitions(maxResults=1)["nextToken"]
    check_pages(ecs.list_attributes, "attributes", anothers, targetType="container-instance")

    # With another value it stays.
    ecs.delete_attributes(attributes=[{"name": "rack", "value": "8", "targetId": machine}])
    assert listed(attributeName="rack")
    gone = ecs.delete_attributes(attributes=[{"name": "rack", "targetId": machine}])["attributes"]
    assert gone == [{"name": "rack", "targetType": "container-instance", "targetId": machine}]
    assert listed(attributeName="rack") == []


def test_attributes_that_are_refused(ecs, machine):
    for attribute, message in (
        ({"name": "with space"}, "attribute name"),
        ({"name": "ecs.os-type"}, "ecs's own|ECS's own"),
        ({"name": "a" * 129}, "length"),
        ({"name": "a", "value": "?"}, "attribute value"),
    ):
        with refused("InvalidParameterException", message):
            ecs.put_attributes(attributes=[{"targetId": machine, **attribute}])
    with refused("InvalidParameterException", "targetId"):
        ecs.put_attributes(attributes=[{"name": "a"}])
    with refused("InvalidParameterException", "targetType"):
        ecs.delete_attributes(attributes=[{"name": "a", "targetId": "x"}])
    with refused("InvalidParameterException", "attributeName"):
        ecs.list_attributes(targetType="container-instance", attributeValue="x")
    nowhere = [{"name": "a", "targetType": "container-instance", "targetId": "nothing"}]
    with refused("TargetNotFoundException", "nothing"):
        ecs.put_attributes(attributes=nowhere)
    with refused("TargetNotFoundException", "nothing"):
        ecs.delete_attributes(attributes=nowhere)
    for number in range(10):
        ecs.put_attributes(attributes=[{"name": f"a{number}", "targetId": machine}])
    with refused("AttributeLimitExceededException", "10"):
        ecs.put_attributes(attributes=[{"name": "more", "targetId": machine}])


def test_a_cluster_that_is_not_there(ecs):
    one = {"name": "a", "targetType": "container-instance", "targetId": "x"}
    for operation, arguments in (
        (ecs.list_container_instances, {}),
        (ecs.describe_container_instances, {"containerInstances": ["x"]}),
        (ecs.update_container_instances_state, {"containerInstances": ["x"], "status": "ACTIVE"}),
        (ecs.register_container_instance, {}),
        (ecs.deregister_container_instance, {"containerInstance": "x"}),
        (ecs.put_attributes, {"attributes": [one]}),
        (ecs.delete_attributes, {"attributes": [one]}),
        (ecs.list_attributes, {"targetType": "container-instance"}),
    ):
        with refused("ClusterNotFoundException", "^Cluster not found.$"):
            operation(cluster="nothing", **arguments)
