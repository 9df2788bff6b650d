"""Services."""

import pytest

from harness import (
    IDLE,
    arn,
    check_pages,
    connect,
    define,
    eventually,
    refused,
    serve,
    wait,
)


def told(ecs, name="web", **more):
    return ecs.describe_services(services=[name], **more)["services"][0]


def is_steady(ecs):
    """Tells the service once it has said that it is steady: that comes after its last task runs."""
    service = told(ecs)
    return service["deployments"][0]["rolloutState"] == "COMPLETED" and service["events"] and service


def test_a_service_from_its_creation_to_its_end(ecs, cluster):
    definition = define(ecs)
    made = serve(
        ecs,
        serviceConnectConfiguration=connect(),
        launchType="FARGATE",
        platformVersion="LATEST",
        networkConfiguration={
            "awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
        },
        deploymentConfiguration={
            "minimumHealthyPercent": 50,
            "maximumPercent": 150,
            "deploymentCircuitBreaker": {"enable": True, "rollback": False},
        },
        enableECSManagedTags=True,
        propagateTags="SERVICE",
        tags=[{"key": "team", "value": "a"}],
    )
    assert made["serviceArn"] == arn("service/default/web") and made["status"] == "ACTIVE"
    assert made["clusterArn"] == arn("cluster/default") and made["taskDefinition"] == definition
    assert made["launchType"] == "FARGATE" and made["tags"] == [{"key": "team", "value": "a"}]
    assert made["deploymentConfiguration"]["maximumPercent"] == 150
    deployment = made["deployments"][0]
    assert deployment["status"] == "PRIMARY" and deployment["rolloutState"] == "IN_PROGRESS"
    assert deployment["serviceConnectConfiguration"]["services"][0]["clientAliases"][0] == {"port": 80, "dnsName": "web"}
    resource = deployment["serviceConnectResources"][0]
    assert resource["discoveryName"] == "http" and resource["discoveryArn"].startswith("arn:aws:servicediscovery:")

    wait(ecs, "services_stable", services=["web"])
    stable = eventually("it is steady", lambda: is_steady(ecs))
    assert stable["runningCount"] == 1
    assert "tags" not in stable or stable["tags"] == []
    assert told(ecs, include=["TAGS"])["tags"] == [{"key": "team", "value": "a"}]
    assert "has reached a steady state" in stable["events"][0]["message"]

    assert ecs.update_service(service="web", desiredCount=0)["service"]["desiredCount"] == 0
    wait(ecs, "services_stable", services=["web"])
    assert ecs.delete_service(service="web")["service"]["status"] in ("DRAINING", "INACTIVE")
    wait(ecs, "services_inactive", services=["web"])
    assert ecs.list_services()["serviceArns"] == []
    with refused("ServiceNotActiveException", "not ACTIVE"):
        ecs.update_service(service="web", desiredCount=1)
    with refused("ServiceNotFoundException"):
        ecs.delete_service(service="web")
    # Its name is free again.
    assert serve(ecs, desired_count=0)["status"] == "ACTIVE"


def test_a_new_definition_replaces_the_tasks(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, "idle", definition="idle")
    wait(ecs, "services_stable", services=["idle"])
    before = ecs.list_tasks(serviceName="idle")["taskArns"]
    define(ecs, "idle", IDLE)
    updated = ecs.update_service(service="idle", taskDefinition="idle")["service"]
    assert [deployment["status"] for deployment in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
    assert updated["taskDefinition"].endswith("idle:2")
    wait(ecs, "services_stable", services=["idle"])
    after = ecs.list_tasks(serviceName="idle")["taskArns"]
    assert len(after) == 1 and after != before
    forced = ecs.update_service(service="idle", forceNewDeployment=True)["service"]
    assert forced["deployments"][0]["id"] != updated["deployments"][0]["id"]
    ecs.delete_service(service="idle", force=True)
    wait(ecs, "services_inactive", services=["idle"])


def test_creating_the_same_service_again(ecs, cluster):
    define(ecs)
    first = serve(ecs, desired_count=0)
    assert serve(ecs, desired_count=0)["serviceArn"] == first["serviceArn"]
    with refused("InvalidParameterException", "not idempotent"):
        serve(ecs, desired_count=1)


@pytest.mark.parametrize(
    "changes, code, message",
    [
        ({"serviceName": "with space"}, "InvalidParameterException", "service name"),
        ({"serviceName": "a" * 256}, "InvalidParameterException", "length less than or equal to 255"),
        ({"desiredCount": -1}, "InvalidParameterException", "desiredCount"),
        ({"desiredCount": None}, "InvalidParameterException", "desiredCount"),
        ({"taskDefinition": None}, "InvalidParameterException", "TaskDefinition can not be blank"),
        ({"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found"),
        ({"cluster": "nothing"}, "ClusterNotFoundException", "Cluster not found"),
        ({"launchType": "LAPTOP"}, "InvalidParameterException", "launchType"),
        ({"launchType": "FARGATE", "platformVersion": "9.9.9"}, "PlatformUnknownException", "9.9.9"),
        ({"tags": [{"key": "aws:a", "value": ""}]}, "InvalidParameterException", "aws:"),
        ({"serviceConnectConfiguration": {**connect(), "namespace": "nothing"}}, "NamespaceNotFoundException", "nothing"),
        ({"serviceConnectConfiguration": connect(discoveryName="UPPER")}, "InvalidParameterException", "discoveryName"),
        ({"serviceConnectConfiguration": connect(portName="other")}, "InvalidParameterException", "portName"),
        (
            {"serviceConnectConfiguration": {"enabled": True, "services": [{"portName": "http", "clientAliases": [{"port": 1}, {"port": 2}]}]}},
            "InvalidParameterException",
            "[Oo]nly one client alias",
        ),
        ({"serviceConnectConfiguration": connect(port=70000)}, "InvalidParameterException", "port"),
    ],
)
def test_services_that_are_refused(ecs, loose, cluster, changes, code, message):
    define(ecs)
    request = {"serviceName": "web", "taskDefinition": "web", "desiredCount": 0, **changes}
    request = {name: value for name, value in request.items() if value is not None}
    try:
        with refused(code, message):
            loose.create_service(**request)
    finally:
        assert ecs.list_services()["serviceArns"] == []


def test_two_services_cannot_have_one_name(ecs, cluster):
    define(ecs)
    serve(ecs, desired_count=0, serviceConnectConfiguration=connect())
    with refused("InvalidParameterException", "belongs to"):
        serve(ecs, "other", desired_count=0, serviceConnectConfiguration=connect())
    assert len(ecs.list_services()["serviceArns"]) == 1


def test_operations_on_services_that_are_not_there(ecs, loose, cluster):
    for operation, arguments in (
        (ecs.update_service, {"service": "web"}),
        (ecs.delete_service, {"service": "web"}),
        (ecs.list_service_deployments, {"service": "web"}),
    ):
        with refused("ServiceNotFoundException"):
            operation(**arguments)
        with refused("ClusterNotFoundException"):
            operation(cluster="nothing", **arguments)
    with refused("ClusterNotFoundException"):
        ecs.describe_services(cluster="nothing", services=["web"])
    with refused("ClusterNotFoundException"):
        ecs.list_services(cluster="nothing")
    answer = ecs.describe_services(services=["web"])
    assert answer["services"] == [] and answer["failures"] == [{"arn": arn("service/default/web"), "reason": "MISSING"}]
    with refused("InvalidParameterException", "empty"):
        ecs.describe_services(services=[])
    with refused("InvalidParameterException", "10"):
        ecs.describe_services(services=["web"] * 11)
    for operation in (loose.update_service, loose.delete_service):
        with refused("InvalidParameterException", "service"):
            operation()


def test_updates_that_are_refused_change_nothing(ecs, cluster):
    define(ecs)
    serve(ecs, desired_count=0)
    before = eventually("it is steady", lambda: is_steady(ecs))
    for changes, code in (
        ({"desiredCount": -1}, "InvalidParameterException"),
        ({"taskDefinition": "nothing"}, "ClientException"),
        ({"serviceConnectConfiguration": {**connect(), "namespace": "nothing"}}, "NamespaceNotFoundException"),
        ({"platformVersion": "9.9.9"}, "PlatformUnknownException"),
    ):
        with refused(code):
            ecs.update_service(service="web", **changes)
    assert told(ecs) == before


def test_a_running_service_is_deleted_only_by_force(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, "idle", definition="idle")
    with refused("InvalidParameterException", "scaled above 0"):
        ecs.delete_service(service="idle")
    wait(ecs, "services_stable", services=["idle"])
    ecs.delete_service(service="idle", force=True)
    wait(ecs, "services_inactive", services=["idle"])
    assert ecs.list_tasks()["taskArns"] == []


def test_pages_of_services(ecs, cluster):
    define(ecs)
    for name in ("a", "b", "c"):
        serve(ecs, name, desired_count=0, serviceConnectConfiguration=connect(name, discoveryName=name))
        ecs.create_cluster(clusterName=name)
    anothers = ecs.list_clusters(maxResults=1)["nextToken"]
    check_pages(ecs.list_services, "serviceArns", anothers)
    check_pages(ecs.list_services_by_namespace, "serviceArns", anothers, namespace="internal")
    by_arn = cluster["serviceConnectDefaults"]["namespace"]
    assert len(ecs.list_services_by_namespace(namespace=by_arn)["serviceArns"]) == 3
    with refused("NamespaceNotFoundException"):
        ecs.list_services_by_namespace(namespace="nothing")
    assert ecs.list_services(launchType="FARGATE")["serviceArns"] == []
    assert len(ecs.list_services(schedulingStrategy="REPLICA")["serviceArns"]) == 3


def test_deployments_and_revisions(ecs, cluster):
    define(ecs, "idle", IDLE)
    definition = define(ecs, "idle", IDLE)
    serve(ecs, "idle", definition="idle", desired_count=0)
    for _ in range(2):
        ecs.update_service(service="idle", forceNewDeployment=True)
    key = "serviceDeployments"
    ecs.create_cluster(clusterName="other")
    anothers = ecs.list_clusters(maxResults=1)["nextToken"]

    def finished():
        deployments = ecs.list_service_deployments(service="idle")[key]
        return all(told["status"] in ("SUCCESSFUL", "STOPPED") for told in deployments) and deployments[0]

    newest = eventually("all deployments are over", finished)
    assert newest["status"] == "SUCCESSFUL"
    # Not before: their status would change between two pages.
    check_pages(ecs.list_service_deployments, key, anothers, service="idle")
    assert newest["serviceArn"] == arn("service/default/idle") and newest["finishedAt"] >= newest["startedAt"]
    assert ecs.list_service_deployments(service="idle", status=["PENDING"])[key] == []
    between = {"after": newest["createdAt"]}
    assert ecs.list_service_deployments(service="idle", createdAt=between)[key] == []

    missing = newest["serviceDeploymentArn"][:-1]
    answer = ecs.describe_service_deployments(serviceDeploymentArns=[newest["serviceDeploymentArn"], missing])
    assert answer["failures"] == [{"arn": missing, "reason": "MISSING"}]
    full = answer["serviceDeployments"][0]
    assert full["status"] == "SUCCESSFUL" and full["deploymentConfiguration"]["strategy"] == "ROLLING"
    revision = full["targetServiceRevision"]["arn"]
    assert full["sourceServiceRevisions"][0]["arn"] != revision

    answer = ecs.describe_service_revisions(serviceRevisionArns=[revision, revision[:-1]])
    assert answer["failures"][0]["reason"] == "MISSING"
    told = answer["serviceRevisions"][0]
    assert told["taskDefinition"] == definition and told["containerImages"][0]["containerName"] == "idle"
    for operation, member in (
        (ecs.describe_service_deployments, "serviceDeploymentArns"),
        (ecs.describe_service_revisions, "serviceRevisionArns"),
    ):
        with refused("InvalidParameterException", member):
            operation(**{member: []})
        with refused("InvalidParameterException", member):
            operation(**{member: [revision] * 21})
