"""Capacity providers, and strategies of them."""

import collections

import pytest
from harness import IDLE, arn, define, refused, serve, wait

GROUP = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:0a1b:autoScalingGroupName/workers"


@pytest.fixture
def provider(ecs):
    """A capacity provider of an Auto Scaling group."""
    made = ecs.create_capacity_provider(
        name="workers", autoScalingGroupProvider={"autoScalingGroupArn": GROUP}, tags=[{"key": "team", "value": "a"}]
    )
    return made["capacityProvider"]


def test_a_capacity_provider_is_made_told_changed_and_deleted(ecs, provider):
    assert provider["capacityProviderArn"] == arn("capacity-provider/workers")
    assert (provider["status"], provider["updateStatus"]) == ("ACTIVE", "CREATE_COMPLETE")
    assert provider["type"] == "EC2_AUTOSCALING"
    group = provider["autoScalingGroupProvider"]
    assert group["managedScaling"]["targetCapacity"] == 100
    assert (group["managedTerminationProtection"], group["managedDraining"]) == ("DISABLED", "ENABLED")

    told = ecs.describe_capacity_providers(capacityProviders=[provider["capacityProviderArn"]])["capacityProviders"][0]
    assert told["tags"] == []
    told = ecs.describe_capacity_providers(capacityProviders=["workers"], include=["TAGS"])["capacityProviders"][0]
    assert told["tags"] == [{"key": "team", "value": "a"}]
    names = [one["name"] for one in ecs.describe_capacity_providers()["capacityProviders"]]
    assert names == ["FARGATE", "FARGATE_SPOT", "workers"]
    types = [one["type"] for one in ecs.describe_capacity_providers()["capacityProviders"]]
    assert types == ["FARGATE", "FARGATE_SPOT", "EC2_AUTOSCALING"]

    ecs.tag_resource(resourceArn=provider["capacityProviderArn"], tags=[{"key": "team", "value": "b"}])
    tags = ecs.list_tags_for_resource(resourceArn=provider["capacityProviderArn"])["tags"]
    assert tags == [{"key": "team", "value": "b"}]

    updated = ecs.update_capacity_provider(
        name="workers",
        autoScalingGroupProvider={
            "managedScaling": {"status": "ENABLED", "targetCapacity": 80},
            "managedTerminationProtection": "ENABLED",
        },
    )["capacityProvider"]
    assert updated["updateStatus"] == "UPDATE_COMPLETE"
    scaling = updated["autoScalingGroupProvider"]["managedScaling"]
    assert (scaling["status"], scaling["targetCapacity"], scaling["maximumScalingStepSize"]) == ("ENABLED", 80, 10000)

    gone = ecs.delete_capacity_provider(capacityProvider="workers")["capacityProvider"]
    assert (gone["status"], gone["updateStatus"]) == ("INACTIVE", "DELETE_COMPLETE")
    missing = ecs.describe_capacity_providers(capacityProviders=["workers"])
    assert missing["failures"] == [{"arn": arn("capacity-provider/workers"), "reason": "MISSING"}]


def test_capacity_providers_that_are_refused(ecs, cluster, provider):
    group = {"autoScalingGroupArn": GROUP}
    for name in ("aws-x", "ECSx", "fargate", "with space", "a" * 256):
        with refused("InvalidParameterException", "name is invalid"):
            ecs.create_capacity_provider(name=name, autoScalingGroupProvider=group)
    with refused("InvalidParameterException", "Auto Scaling group"):
        ecs.create_capacity_provider(name="x")
    with refused("InvalidParameterException", "ARN is invalid"):
        ecs.create_capacity_provider(name="x", autoScalingGroupProvider={"autoScalingGroupArn": "workers"})
    with refused("InvalidParameterException", "targetCapacity"):
        ecs.create_capacity_provider(
            name="x", autoScalingGroupProvider={**group, "managedScaling": {"targetCapacity": 101}}
        )
    with refused("InvalidParameterException", "enable managed scaling"):
        ecs.create_capacity_provider(
            name="x", autoScalingGroupProvider={**group, "managedTerminationProtection": "ENABLED"}
        )
    with refused("ClientException", "already exists"):
        ecs.create_capacity_provider(name="workers", autoScalingGroupProvider=group)
    with refused("InvalidParameterException", "cluster"):
        ecs.create_capacity_provider(name="x", cluster="default", autoScalingGroupProvider=group)
    with refused("InvalidParameterException", "reserved"):
        ecs.delete_capacity_provider(capacityProvider="FARGATE")
    with refused("InvalidParameterException", "cannot be updated"):
        ecs.update_capacity_provider(name="FARGATE", autoScalingGroupProvider={})
    with refused("InvalidParameterException", "nothing to update"):
        ecs.update_capacity_provider(name="workers")
    for operation, arguments in (
        (ecs.update_capacity_provider, {"name": "nothing", "autoScalingGroupProvider": {}}),
        (ecs.delete_capacity_provider, {"capacityProvider": "nothing"}),
    ):
        with refused("InvalidParameterException", "'nothing' was not found"):
            operation(**arguments)

    # Amazon ECS Managed Instances.
    managed = {
        "infrastructureRoleArn": "arn:aws:iam::000000000000:role/infrastructure",
        "instanceLaunchTemplate": {
            "ec2InstanceProfileArn": "arn:aws:iam::000000000000:instance-profile/x",
            "networkConfiguration": {"subnets": ["subnet-1"]},
        },
    }
    with refused("UnsupportedFeatureException", "Managed Instances"):
        ecs.create_capacity_provider(name="managed", cluster="default", managedInstancesProvider=managed)
    with refused("UnsupportedFeatureException", "Managed Instances"):
        ecs.update_capacity_provider(name="workers", managedInstancesProvider=managed)
    for operation, arguments in (
        (ecs.create_capacity_provider, {"name": "x", "managedInstancesProvider": managed}),
        (ecs.update_capacity_provider, {"name": "x", "managedInstancesProvider": managed}),
        (ecs.delete_capacity_provider, {"capacityProvider": "x"}),
        (ecs.describe_capacity_providers, {}),
    ):
        with refused("ClusterNotFoundException"):
            operation(cluster="nothing", **arguments)
    assert ecs.describe_capacity_providers(cluster="default")["capacityProviders"] == []


def test_there_is_a_limit_to_capacity_providers(ecs):
    for number in range(100):
        ecs.create_capacity_provider(name=f"p{number}", autoScalingGroupProvider={"autoScalingGroupArn": GROUP})
    with refused("LimitExceededException", "100"):
        ecs.create_capacity_provider(name="more", autoScalingGroupProvider={"autoScalingGroupArn": GROUP})
    pages = ecs.get_paginator("describe_capacity_providers") if ecs.can_paginate("describe_capacity_providers") else None
    assert pages is None
    found, token = [], {}
    while True:
        page = ecs.describe_capacity_providers(maxResults=10, **token)
        found += [one["name"] for one in page["capacityProviders"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert len(found) == len(set(found)) == 102


def test_a_provider_in_use_stays(ecs, cluster, provider):
    strategy = [{"capacityProvider": "workers", "weight": 1}]
    ecs.put_cluster_capacity_providers(
        cluster="default", capacityProviders=["workers", "FARGATE"], defaultCapacityProviderStrategy=[]
    )
    define(ecs)
    made = serve(ecs, desired_count=0, capacityProviderStrategy=strategy)
    assert made["capacityProviderStrategy"] == strategy and "launchType" not in made
    with refused("ClientException", "associated with cluster: default"):
        ecs.delete_capacity_provider(capacityProvider="workers")
    with refused("ResourceInUseException", "in use"):
        ecs.put_cluster_capacity_providers(
            cluster="default", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[]
        )
    ecs.update_service(service="web", capacityProviderStrategy=[])
    ecs.put_cluster_capacity_providers(
        cluster="default", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[]
    )
    ecs.delete_capacity_provider(capacityProvider="workers")


def test_a_strategy_places_tasks(ecs, cluster, provider):
    define(ecs, "idle", IDLE)
    providers = ["FARGATE", "FARGATE_SPOT", "workers"]
    ecs.put_cluster_capacity_providers(
        cluster="default",
        capacityProviders=providers,
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}],
    )
    # The cluster's own, where nothing is said.
    task = ecs.run_task(taskDefinition="idle")["tasks"][0]
    assert (task["capacityProviderName"], task["launchType"]) == ("FARGATE", "FARGATE")
    assert "containerInstanceArn" not in task
    task = ecs.run_task(taskDefinition="idle", launchType="EC2")["tasks"][0]
    assert "capacityProviderName" not in task and task["containerInstanceArn"]
    task = ecs.run_task(taskDefinition="idle", capacityProviderStrategy=[{"capacityProvider": "workers"}])["tasks"][0]
    assert (task["capacityProviderName"], task["launchType"]) == ("workers", "EC2")

    shares = [
        {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 2},
    ]
    tasks = ecs.run_task(taskDefinition="idle", count=4, capacityProviderStrategy=shares)["tasks"]
    placed = collections.Counter(task["capacityProviderName"] for task in tasks)
    assert placed == {"FARGATE": 2, "FARGATE_SPOT": 2}

    serve(ecs, "spread", definition="idle", desired_count=4, capacityProviderStrategy=shares)
    wait(ecs, "services_stable", services=["spread"])
    tasks = ecs.describe_tasks(tasks=ecs.list_tasks(serviceName="spread")["taskArns"])["tasks"]
    placed = collections.Counter(task["capacityProviderName"] for task in tasks)
    assert placed == {"FARGATE": 2, "FARGATE_SPOT": 2}


def test_strategies_that_are_refused(ecs, cluster, provider):
    define(ecs)
    ecs.put_cluster_capacity_providers(
        cluster="default", capacityProviders=["FARGATE", "FARGATE_SPOT", "workers"], defaultCapacityProviderStrategy=[]
    )
    ecs.create_capacity_provider(name="elsewhere", autoScalingGroupProvider={"autoScalingGroupArn": GROUP})
    one = [{"capacityProvider": "FARGATE"}]

    def each(message, strategy, **more):
        for operation, arguments in (
            (ecs.run_task, {}),
            (ecs.create_service, {"serviceName": "web", "desiredCount": 0}),
        ):
            with refused("InvalidParameterException", message):
                operation(taskDefinition="web", capacityProviderStrategy=strategy, **arguments, **more)

    each("both a launch type and capacity provider strategy", one, launchType="EC2")
    each("'nothing' was not found", [{"capacityProvider": "nothing"}])
    each("not associated with the cluster", [{"capacityProvider": "elsewhere"}])
    each("weight", [{"capacityProvider": "FARGATE", "weight": 1001}])
    each("base", [{"capacityProvider": "FARGATE", "base": 100001}])
    each("more than once", one + one)
    each("mix", [{"capacityProvider": "FARGATE", "weight": 1}, {"capacityProvider": "workers"}])
    both = [{"capacityProvider": "FARGATE"}, {"capacityProvider": "FARGATE_SPOT"}]
    each("weight greater than 0", both)
    each("base", [{**item, "base": 1, "weight": 1} for item in both])
    with refused("InvalidParameterException", "not associated"):
        serve(ecs, desired_count=0)
        ecs.update_service(service="web", capacityProviderStrategy=[{"capacityProvider": "elsewhere"}])
