"""Clusters and capacity providers."""

from harness import arn, check_pages, define, refused, serve, wait


def test_a_cluster_is_made_told_changed_and_deleted(ecs):
    made = ecs.create_cluster(
        clusterName="shop",
        tags=[{"key": "team", "value": "a"}],
        settings=[{"name": "containerInsights", "value": "enabled"}],
        capacityProviders=["FARGATE"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE", "weight": 1}],
        serviceConnectDefaults={"namespace": "internal"},
    )["cluster"]
    assert made["clusterArn"] == arn("cluster/shop") and made["status"] == "ACTIVE"
    namespace = made["serviceConnectDefaults"]["namespace"]
    assert namespace.startswith("arn:aws:servicediscovery:us-east-1:000000000000:namespace/ns-")
    # The same again is answered with what there is.
    assert ecs.create_cluster(clusterName="shop")["cluster"]["serviceConnectDefaults"]["namespace"] == namespace

    plain = ecs.describe_clusters(clusters=["shop"])["clusters"][0]
    assert (plain["tags"], plain["settings"]) == ([], [])
    full = ecs.describe_clusters(clusters=[made["clusterArn"]], include=["TAGS", "SETTINGS", "CONFIGURATIONS"])
    full = full["clusters"][0]
    assert full["tags"] == [{"key": "team", "value": "a"}]
    assert full["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    assert full["capacityProviders"] == ["FARGATE"]

    settings = [{"name": "containerInsights", "value": "disabled"}]
    assert ecs.update_cluster_settings(cluster="shop", settings=settings)["cluster"]["settings"] == settings
    updated = ecs.update_cluster(
        cluster="shop",
        configuration={"executeCommandConfiguration": {"logging": "DEFAULT"}},
        serviceConnectDefaults={"namespace": "other"},
    )["cluster"]
    assert updated["configuration"]["executeCommandConfiguration"]["logging"] == "DEFAULT"
    assert updated["serviceConnectDefaults"]["namespace"] != namespace
    put = ecs.put_cluster_capacity_providers(
        cluster="shop",
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 1}],
    )["cluster"]
    assert put["capacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert put["defaultCapacityProviderStrategy"][0]["capacityProvider"] == "FARGATE_SPOT"

    assert ecs.delete_cluster(cluster="shop")["cluster"]["status"] == "INACTIVE"
    assert ecs.list_clusters()["clusterArns"] == []


def test_what_is_not_there_is_a_failure_beside_the_rest(ecs):
    assert ecs.create_cluster()["cluster"]["clusterName"] == "default"
    answer = ecs.describe_clusters(clusters=["default", "nothing"])
    assert [cluster["clusterName"] for cluster in answer["clusters"]] == ["default"]
    assert answer["failures"] == [{"arn": arn("cluster/nothing"), "reason": "MISSING"}]
    assert [cluster["clusterName"] for cluster in ecs.describe_clusters()["clusters"]] == ["default"]


def test_clusters_that_are_refused(ecs, loose):
    for name in ("with space", "a" * 256):
        with refused("InvalidParameterException", "characters|length less than or equal to 255"):
            ecs.create_cluster(clusterName=name)
    with refused("InvalidParameterException", "capacity provider"):
        ecs.create_cluster(clusterName="x", capacityProviders=["NOTHING"])
    with refused("InvalidParameterException", "101|100"):
        ecs.describe_clusters(clusters=["x"] * 101)
    with refused("ClusterNotFoundException", "^Cluster not found.$"):
        ecs.update_cluster(cluster="nothing")
    with refused("ClusterNotFoundException"):
        ecs.update_cluster_settings(cluster="nothing", settings=[])
    with refused("ClusterNotFoundException"):
        ecs.put_cluster_capacity_providers(
            cluster="nothing", capacityProviders=[], defaultCapacityProviderStrategy=[]
        )
    with refused("ClusterNotFoundException"):
        ecs.delete_cluster(cluster="nothing")
    ecs.create_cluster()
    with refused("InvalidParameterException", "capacity provider"):
        ecs.put_cluster_capacity_providers(
            cluster="default", capacityProviders=["NOTHING"], defaultCapacityProviderStrategy=[]
        )
    with refused("InvalidParameterException", "strategy|NOTHING"):
        ecs.put_cluster_capacity_providers(
            cluster="default",
            capacityProviders=["FARGATE"],
            defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT"}],
        )
    with refused("InvalidParameterException", "setting"):
        loose.update_cluster_settings(cluster="default", settings=[{"name": "colour", "value": "red"}])
    with refused("InvalidParameterException", "namespace"):
        ecs.update_cluster(cluster="default", serviceConnectDefaults={"namespace": "a" * 1025})
    nowhere = {"namespace": "arn:aws:servicediscovery:us-east-1:000000000000:namespace/ns-nothing"}
    with refused("NamespaceNotFoundException", "ns-nothing"):
        ecs.update_cluster(cluster="default", serviceConnectDefaults=nowhere)
    with refused("NamespaceNotFoundException", "ns-nothing"):
        ecs.create_cluster(clusterName="other", serviceConnectDefaults=nowhere)
    # A member that is needed, and one of another type.
    with refused("InvalidParameterException", "cluster"):
        loose.update_cluster()
    with refused("InvalidParameterException", "cluster"):
        loose.delete_cluster()
    with refused("SerializationException"):
        loose.delete_cluster(cluster=["default"])


def test_a_cluster_in_use_is_not_deleted(ecs, cluster):
    define(ecs)
    serve(ecs, desired_count=0)
    with refused("ClusterContainsServicesException", "while Services are active"):
        ecs.delete_cluster(cluster="default")
    ecs.delete_service(service="web")
    task = ecs.run_task(taskDefinition="web")["tasks"][0]["taskArn"]
    with refused("ClusterContainsTasksException", "while Tasks are active"):
        ecs.delete_cluster(cluster="default")
    wait(ecs, "tasks_running", tasks=[task])
    told = ecs.describe_clusters()["clusters"][0]
    assert (told["runningTasksCount"], told["activeServicesCount"]) == (1, 0)
    ecs.stop_task(task=task)
    wait(ecs, "tasks_stopped", tasks=[task])
    ecs.delete_cluster(cluster="default")


def test_pages_of_clusters(ecs):
    for name in ("a", "b", "c"):
        ecs.create_cluster(clusterName=name)
        define(ecs, name)
    anothers = ecs.list_task_definitions(maxResults=1)["nextToken"]
    check_pages(ecs.list_clusters, "clusterArns", anothers)
    pages = ecs.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["clusterArns"]) for page in pages] == [2, 1]


def test_capacity_providers(ecs):
    providers = ecs.describe_capacity_providers()["capacityProviders"]
    assert {provider["name"] for provider in providers} == {"FARGATE", "FARGATE_SPOT"}
    one = ecs.describe_capacity_providers(capacityProviders=["FARGATE", "mine"])
    assert [provider["name"] for provider in one["capacityProviders"]] == ["FARGATE"]
    assert one["failures"][0]["reason"] == "MISSING"
    first = ecs.describe_capacity_providers(maxResults=1)
    second = ecs.describe_capacity_providers(maxResults=1, nextToken=first["nextToken"])
    assert first["capacityProviders"] + second["capacityProviders"] == providers and "nextToken" not in second
    with refused("InvalidParameterException", "[Tt]oken"):
        ecs.describe_capacity_providers(nextToken="nothing")
    with refused("InvalidParameterException", "maxResults"):
        ecs.describe_capacity_providers(maxResults=11)
