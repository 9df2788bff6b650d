"""Task definitions."""

import pytest

from harness import IDLE, WEB, arn, check_pages, define, refused


def test_a_revision_lives_and_dies(ecs):
    answer = ecs.register_task_definition(
        family="web",
        containerDefinitions=[WEB, {**IDLE, "dependsOn": [{"containerName": "web", "condition": "START"}]}],
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        tags=[{"key": "team", "value": "a"}],
        volumes=[{"name": "scratch"}],
    )
    made = answer["taskDefinition"]
    assert made["taskDefinitionArn"] == arn("task-definition/web:1")
    assert (made["family"], made["revision"], made["status"]) == ("web", 1, "ACTIVE")
    assert made["containerDefinitions"][0]["essential"] is True
    assert made["containerDefinitions"][0]["portMappings"][0]["name"] == "http"
    assert set(made["compatibilities"]) == {"EC2", "FARGATE"}
    assert answer["tags"] == [{"key": "team", "value": "a"}]
    define(ecs)

    assert ecs.describe_task_definition(taskDefinition="web")["taskDefinition"]["revision"] == 2
    first = ecs.describe_task_definition(taskDefinition="web:1", include=["TAGS"])
    assert first["tags"] == [{"key": "team", "value": "a"}]
    assert ecs.describe_task_definition(taskDefinition="web:1").get("tags", []) == []
    assert first["taskDefinition"] == made

    gone = ecs.deregister_task_definition(taskDefinition="web:1")["taskDefinition"]
    assert gone["status"] == "INACTIVE" and gone["deregisteredAt"] >= gone["registeredAt"]
    assert ecs.list_task_definitions()["taskDefinitionArns"] == [arn("task-definition/web:2")]
    assert ecs.list_task_definitions(status="INACTIVE")["taskDefinitionArns"] == [arn("task-definition/web:1")]

    answer = ecs.delete_task_definitions(taskDefinitions=["web:1", "web:2", "nothing:1"])
    assert [deleted["status"] for deleted in answer["taskDefinitions"]] == ["DELETE_IN_PROGRESS"]
    assert len(answer["failures"]) == 2 and "ACTIVE" in answer["failures"][0]["reason"]
    # A number is not given twice.
    assert define(ecs).endswith(":3")


def test_everything_of_a_container_comes_back(ecs):
    container = {
        "name": "full",
        "image": "python:3",
        "cpu": 128,
        "memory": 256,
        "memoryReservation": 128,
        "essential": True,
        "command": ["sleep", "1"],
        "entryPoint": ["sh", "-c"],
        "environment": [{"name": "A", "value": "1"}],
        "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 2, "retries": 3, "startPeriod": 1},
        "portMappings": [{"name": "http", "containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": "/ecs/full", "awslogs-region": "us-east-1"},
        },
        "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 2048}],
        "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch", "readOnly": False}],
        "dockerLabels": {"a": "b"},
        "stopTimeout": 5,
        "user": "1000",
        "workingDirectory": "/",
        "readonlyRootFilesystem": False,
        "privileged": False,
    }
    answer = ecs.register_task_definition(
        family="full",
        containerDefinitions=[container],
        volumes=[{"name": "scratch", "host": {}}],
        taskRoleArn="arn:aws:iam::000000000000:role/task",
        executionRoleArn="arn:aws:iam::000000000000:role/execution",
        runtimePlatform={"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        ephemeralStorage={"sizeInGiB": 21},
    )
    told = answer["taskDefinition"]
    missing = {name: value for name, value in container.items() if told["containerDefinitions"][0].get(name) != value}
    assert not missing
    assert told["taskRoleArn"].endswith("role/task") and told["executionRoleArn"].endswith("role/execution")
    assert told["runtimePlatform"] == {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"}
    assert told["ephemeralStorage"] == {"sizeInGiB": 21}


FARGATE = {"requiresCompatibilities": ["FARGATE"]}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"family": "with space"}, "family"),
        ({"family": "a" * 256}, "length less than or equal to 255"),
        ({"containerDefinitions": []}, "Container list cannot be empty"),
        ({"containerDefinitions": [WEB, {**WEB, "portMappings": []}]}, "unique"),
        ({"containerDefinitions": [WEB, {**WEB, "name": "other"}]}, "[Pp]ort mapping"),
        ({"containerDefinitions": [{**WEB, "essential": False}]}, "essential"),
        ({"containerDefinitions": [{**WEB, "dependsOn": [{"containerName": "x", "condition": "START"}]}]}, "depends"),
        (FARGATE, "awsvpc"),
        ({**FARGATE, "networkMode": "awsvpc"}, "cpu and memory"),
        ({**FARGATE, "networkMode": "awsvpc", "cpu": "257", "memory": "512"}, "cpu|CPU"),
    ],
)
def test_definitions_that_are_refused(loose, changes, message):
    with refused("ClientException", message):
        loose.register_task_definition(**{"family": "x", "containerDefinitions": [WEB], **changes})
    assert loose.list_task_definition_families()["families"] == []


def logged(driver, **options):
    options = {name.replace("_", "-"): value for name, value in options.items()}
    return {**WEB, "logConfiguration": {"logDriver": driver, "options": options}}


FLUENT_BIT = {"type": "fluentbit"}
ROUTER = {"name": "log_router", "image": "amazon/aws-for-fluent-bit:latest", "firelensConfiguration": FLUENT_BIT}
S3 = {**ROUTER, "firelensConfiguration": {**FLUENT_BIT, "options": {"config-file-type": "s3"}}}


@pytest.mark.parametrize(
    "containers, message",
    [
        ([logged("syslog")], "Log driver syslog is not supported on this platform: allowed are awsfirelens, awslogs"),
        ([logged("logfile")], "Unknown log driver 'logfile'"),
        ([logged("awslogs", awslogs_group="g")], "Log driver awslogs requires options: awslogs-region"),
        ([logged("json-file", max_sise="1m")], "disallows options: max-sise .allowed are compress"),
        ([logged("awsfirelens", Name="http")], "must have a container with a firelensConfiguration"),
        ([ROUTER, logged("awsfirelens", Name="kafka")], 'no output "kafka" here: known are cloudwatch_logs, forward'),
        ([ROUTER, logged("awsfirelens", Name="http", Port="0")], "option Port: it is a number from 1 to 65535"),
        ([ROUTER, {**ROUTER, "name": "another"}], "only one container with a firelensConfiguration"),
        ([S3], "s3 is not here"),
    ],
)
def test_log_configurations_that_are_refused(loose, containers, message):
    with refused("ClientException", message):
        loose.register_task_definition(family="logged", containerDefinitions=containers)


def test_the_notes_log_router_is_taken(ecs):
    router = {
        **ROUTER,
        "firelensConfiguration": {
            "type": "fluentbit",
            "options": {"config-file-type": "file", "config-file-value": "/fluent-bit.conf"},
        },
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": "/ecs/service-connect",
                "awslogs-region": "us-east-1",
                "awslogs-create-group": "true",
            },
        },
    }
    app = logged("awsfirelens", Name="firelens", Tag="ecs-application")
    told = ecs.register_task_definition(family="notes", containerDefinitions=[app, router])["taskDefinition"]
    assert told["containerDefinitions"][1]["firelensConfiguration"] == router["firelensConfiguration"]
    assert told["containerDefinitions"][0]["logConfiguration"] == app["logConfiguration"]


def test_members_that_are_refused(ecs, loose):
    with refused("InvalidParameterException", "taskDefinition"):
        loose.describe_task_definition()
    with refused("InvalidParameterException", "family"):
        loose.register_task_definition(containerDefinitions=[WEB])
    with refused("InvalidParameterException", "image"):
        loose.register_task_definition(family="x", containerDefinitions=[{"name": "bare"}])
    # AWS's checks of tags are the same for every resource.
    with refused("InvalidParameterException", "aws:"):
        define(ecs, tags=[{"key": "aws:mine", "value": ""}])
    with refused("ClientException", "describe"):
        ecs.describe_task_definition(taskDefinition="nothing")
    with refused("InvalidParameterException", "[Mm]issing revision"):
        ecs.deregister_task_definition(taskDefinition="web")
    with refused("ClientException", "does not exist"):
        ecs.deregister_task_definition(taskDefinition="web:9")
    with refused("InvalidParameterException", "taskDefinitions"):
        ecs.delete_task_definitions(taskDefinitions=["web:1"] * 11)


def test_pages_and_orders(ecs):
    for family in ("a", "a", "b", "c"):
        define(ecs, family)
    ecs.create_cluster(clusterName="a"), ecs.create_cluster(clusterName="b")
    anothers = ecs.list_clusters(maxResults=1)["nextToken"]
    check_pages(ecs.list_task_definitions, "taskDefinitionArns", anothers)
    check_pages(ecs.list_task_definitions, "taskDefinitionArns", anothers, sort="DESC")
    check_pages(ecs.list_task_definition_families, "families", anothers)
    ascending = ecs.list_task_definitions()["taskDefinitionArns"]
    assert ecs.list_task_definitions(sort="DESC")["taskDefinitionArns"] == ascending[::-1]
    assert len(ecs.list_task_definitions(familyPrefix="a")["taskDefinitionArns"]) == 2
    ecs.deregister_task_definition(taskDefinition="c:1")
    assert ecs.list_task_definition_families(status="ACTIVE")["families"] == ["a", "b"]
    assert ecs.list_task_definition_families(status="INACTIVE")["families"] == ["c"]
    assert ecs.list_task_definition_families(status="ALL", familyPrefix="c")["families"] == ["c"]


def test_pages_stay_true_while_the_list_changes(ecs):
    for family in ("a", "b", "c", "d"):
        define(ecs, family)
    first = ecs.list_task_definitions(maxResults=2)
    ecs.deregister_task_definition(taskDefinition="a:1")
    rest = ecs.list_task_definitions(nextToken=first["nextToken"])
    assert rest["taskDefinitionArns"] == [arn("task-definition/c:1"), arn("task-definition/d:1")]
