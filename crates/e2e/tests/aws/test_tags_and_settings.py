"""Tags, and settings of the account."""

import pytest

from harness import IDLE, arn, check_pages, define, refused, serve


@pytest.fixture
def resources(ecs, cluster):
    definition = define(ecs, "idle", IDLE)
    service = serve(ecs, "idle", definition="idle", desired_count=0)["serviceArn"]
    task = ecs.run_task(taskDefinition="idle")["tasks"][0]["taskArn"]
    return [cluster["clusterArn"], definition, service, task]


def test_everything_can_be_tagged(ecs, resources):
    for resource in resources:
        ecs.tag_resource(resourceArn=resource, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
        ecs.tag_resource(resourceArn=resource, tags=[{"key": "b", "value": "3"}])
        ecs.untag_resource(resourceArn=resource, tagKeys=["a", "never"])
        assert ecs.list_tags_for_resource(resourceArn=resource)["tags"] == [{"key": "b", "value": "3"}]
    assert ecs.describe_clusters(include=["TAGS"])["clusters"][0]["tags"] == [{"key": "b", "value": "3"}]
    assert ecs.describe_tasks(tasks=[resources[3]], include=["TAGS"])["tasks"][0]["tags"][0]["value"] == "3"


def test_tags_that_are_refused(ecs, loose, cluster):
    resource = cluster["clusterArn"]
    for tags, message in (
        ([{"key": "aws:a", "value": ""}], "aws:"),
        ([{"key": "a" * 129, "value": ""}], "128"),
        ([{"key": "a", "value": "a" * 257}], "256"),
        ([{"key": "a", "value": ""}] * 2, "[Dd]uplicate"),
        ([{"key": str(number), "value": ""} for number in range(51)], "50"),
    ):
        with refused("InvalidParameterException", message):
            loose.tag_resource(resourceArn=resource, tags=tags)
    ecs.tag_resource(resourceArn=resource, tags=[{"key": str(number), "value": ""} for number in range(50)])
    with refused("LimitExceededException", "50"):
        ecs.tag_resource(resourceArn=resource, tags=[{"key": "one more", "value": ""}])
    assert len(ecs.list_tags_for_resource(resourceArn=resource)["tags"]) == 50


def test_tags_of_what_is_not_there(ecs, cluster):
    change = (
        (ecs.tag_resource, {"tags": [{"key": "a", "value": ""}]}),
        (ecs.untag_resource, {"tagKeys": ["a"]}),
    )
    for operation, arguments in (*change, (ecs.list_tags_for_resource, {})):
        with refused("ClusterNotFoundException"):
            operation(resourceArn=arn("cluster/nothing"), **arguments)
        with refused("InvalidParameterException", "ARN"):
            operation(resourceArn="nothing", **arguments)
    for operation, arguments in change:
        with refused("ResourceNotFoundException"):
            operation(resourceArn=arn("service/default/nothing"), **arguments)
    with refused("InvalidParameterException", "found"):
        ecs.list_tags_for_resource(resourceArn=arn("service/default/nothing"))


def test_settings_of_the_account(ecs, loose):
    assert ecs.list_account_settings()["settings"] == []
    setting = ecs.put_account_setting(name="containerInsights", value="enabled")["setting"]
    assert (setting["name"], setting["value"]) == ("containerInsights", "enabled")
    ecs.put_account_setting_default(name="fargateFIPSMode", value="enabled")
    named = ecs.list_account_settings(name="containerInsights")["settings"]
    assert [found["value"] for found in named] == ["enabled"]
    assert len(ecs.list_account_settings(value="enabled")["settings"]) == 2
    assert len(ecs.list_account_settings(effectiveSettings=True)["settings"]) > 5
    assert ecs.delete_account_setting(name="containerInsights")["setting"]["value"] == "disabled"
    assert ecs.list_account_settings(name="containerInsights")["settings"] == []

    for operation in (loose.put_account_setting, loose.put_account_setting_default):
        with refused("InvalidParameterException", "colour"):
            operation(name="colour", value="red")
        with refused("InvalidParameterException", "value"):
            operation(name="containerInsights", value="")
    with refused("InvalidParameterException", "colour"):
        loose.delete_account_setting(name="colour")


def test_pages_of_settings(ecs):
    for name in ("a", "b"):
        ecs.create_cluster(clusterName=name)
    for name in ("containerInsights", "fargateFIPSMode", "awsvpcTrunking"):
        ecs.put_account_setting(name=name, value="enabled")
    # Pages are of 10 at most, as AWS has it.
    anothers = ecs.list_clusters(maxResults=1)["nextToken"]
    check_pages(ecs.list_account_settings, "settings", anothers)
