"""CloudFormation, and its waiters, by boto3 and by the aws CLI."""

import concurrent.futures
import json
import subprocess

import botocore.exceptions
import pytest

import harness
from harness import ACCOUNT, REGION, refused
from test_reference import environment


@pytest.fixture(scope="module")
def loose():
    return harness.client("cloudformation", validate=False)


def cluster(name="shop", extra=None, **more):
    """A template of one cluster, that exports its name; with an output `Extra` where there is one."""
    outputs = {"Extra": {"Value": extra}} if extra else {}
    return json.dumps(
        {
            "Description": "one cluster",
            "Parameters": {
                "Name": {"Type": "String", "Default": name, "Description": "its name"},
                "Secret": {"Type": "String", "Default": "x", "NoEcho": True},
            },
            "Resources": {"Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": {"Ref": "Name"}}}},
            "Outputs": {
                "Name": {"Value": {"Ref": "Cluster"}, "Export": {"Name": {"Fn::Sub": "${AWS::StackName}-name"}}},
                **outputs,
            },
            **more,
        }
    )


def clusters(count, **more):
    """A template of so many clusters, each exported."""
    names = [f"c{number:03}" for number in range(count)]
    kind = "AWS::ECS::Cluster"
    resources = {name: {"Type": kind, "Properties": {"ClusterName": name}} for name in names}
    outputs = {name: {"Value": {"Ref": name}, "Export": {"Name": f"export-{name}"}} for name in names}
    return json.dumps({"Resources": resources, "Outputs": outputs, **more})


ROLE = json.dumps(
    {
        "Resources": {
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "AssumeRolePolicyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                                "Action": "sts:AssumeRole",
                            }
                        ],
                    }
                },
            }
        }
    }
)


def wait(cloudformation, waiter, **arguments):
    harness.wait(cloudformation, waiter, **arguments)


def create(cloudformation, name="shop", body=None, **more):
    """The id of a new stack that is complete."""
    id = cloudformation.create_stack(StackName=name, TemplateBody=body or cluster(), **more)["StackId"]
    wait(cloudformation, "stack_create_complete", StackName=name)
    return id


def told(cloudformation, name="shop"):
    return cloudformation.describe_stacks(StackName=name)["Stacks"][0]


def check_pages(cloudformation, operation, key, anothers, size=100, **arguments):
    """Two pages: the first is full, together they have everything once; forged tokens are refused."""
    pages = list(cloudformation.get_paginator(operation).paginate(**arguments))
    assert len(pages) >= 2 and len(pages[0][key]) == size
    assert "NextToken" in pages[0] and "NextToken" not in pages[-1]
    items = [json.dumps(item, default=str, sort_keys=True) for page in pages for item in page[key]]
    assert len(set(items)) == len(items)
    for wrong in ("nothing-that-it-gave-out", anothers):
        with refused("ValidationError", "[Tt]oken"):
            getattr(cloudformation, operation)(NextToken=wrong, **arguments)


def test_a_stack_from_its_creation_to_its_end(cloudformation, ecs):
    id = create(
        cloudformation,
        Parameters=[{"ParameterKey": "Secret", "ParameterValue": "hidden"}],
        Tags=[{"Key": "team", "Value": "a"}],
        TimeoutInMinutes=5,
        ClientRequestToken="token-1",
    )
    assert id.startswith(f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/shop/")
    wait(cloudformation, "stack_exists", StackName="shop")
    stack = told(cloudformation)
    assert stack["StackId"] == id and stack["StackStatus"] == "CREATE_COMPLETE" and stack["TimeoutInMinutes"] == 5
    assert stack["Description"] == "one cluster" and stack["Tags"] == [{"Key": "team", "Value": "a"}]
    assert {"ParameterKey": "Secret", "ParameterValue": "****"} in stack["Parameters"]
    assert stack["Outputs"] == [{"OutputKey": "Name", "OutputValue": "shop", "ExportName": "shop-name"}]
    assert told(cloudformation, id)["StackName"] == "shop"
    assert ecs.describe_clusters(clusters=["shop"])["clusters"]

    events = cloudformation.describe_stack_events(StackName="shop")["StackEvents"]
    assert [(event["LogicalResourceId"], event["ResourceStatus"]) for event in reversed(events)] == [
        ("shop", "CREATE_IN_PROGRESS"),
        ("Cluster", "CREATE_IN_PROGRESS"),
        ("Cluster", "CREATE_COMPLETE"),
        ("shop", "CREATE_COMPLETE"),
    ]
    assert {event["ClientRequestToken"] for event in events} == {"token-1"}

    resource = cloudformation.describe_stack_resource(StackName="shop", LogicalResourceId="Cluster")
    resource = resource["StackResourceDetail"]
    assert (resource["PhysicalResourceId"], resource["ResourceType"]) == ("shop", "AWS::ECS::Cluster")
    assert resource["ResourceStatus"] == "CREATE_COMPLETE"
    found = cloudformation.describe_stack_resources(StackName="shop")["StackResources"]
    assert [one["LogicalResourceId"] for one in found] == ["Cluster"]
    assert cloudformation.describe_stack_resources(PhysicalResourceId="shop")["StackResources"] == found
    assert cloudformation.list_stack_resources(StackName="shop")["StackResourceSummaries"][0]["LogicalResourceId"]
    exports = cloudformation.list_exports()["Exports"]
    assert exports == [{"ExportingStackId": id, "Name": "shop-name", "Value": "shop"}]
    template = cloudformation.get_template(StackName="shop", TemplateStage="Original")
    assert template["TemplateBody"] == json.loads(cluster()) and template["StagesAvailable"] == ["Original", "Processed"]

    with refused("ValidationError", "No updates are to be performed"):
        cloudformation.update_stack(
            StackName="shop", UsePreviousTemplate=True, ClientRequestToken="token-2",
            Parameters=[{"ParameterKey": "Secret", "UsePreviousValue": True}],
        )  # fmt: skip
    # As on AWS, another description alone is no update.
    with refused("ValidationError", "No updates are to be performed"):
        cloudformation.update_stack(StackName="shop", TemplateBody=cluster(Description="two"))
    updated = cloudformation.update_stack(
        StackName="shop", TemplateBody=cluster(Description="two"), ClientRequestToken="token-2",
        Tags=[{"Key": "team", "Value": "b"}],
    )  # fmt: skip
    assert updated["StackId"] == id
    wait(cloudformation, "stack_update_complete", StackName="shop")
    stack = told(cloudformation)
    assert stack["Description"] == "two" and stack["Tags"] == [{"Key": "team", "Value": "b"}]
    assert stack["LastUpdatedTime"] >= stack["CreationTime"]

    cloudformation.update_termination_protection(StackName="shop", EnableTerminationProtection=True)
    with refused("ValidationError", "TerminationProtection"):
        cloudformation.delete_stack(StackName="shop")
    cloudformation.update_termination_protection(StackName="shop", EnableTerminationProtection=False)
    cloudformation.delete_stack(StackName="shop", ClientRequestToken="token-3")
    wait(cloudformation, "stack_delete_complete", StackName="shop")
    with refused("ValidationError", "does not exist"):
        cloudformation.describe_stacks(StackName="shop")
    assert told(cloudformation, id)["StackStatus"] == "DELETE_COMPLETE"
    assert cloudformation.list_stacks(StackStatusFilter=["CREATE_COMPLETE"])["StackSummaries"] == []
    gone = cloudformation.list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
    assert [summary["StackId"] for summary in gone] == [id] and gone[0]["DeletionTime"]
    # As on AWS: it is deleted already.
    cloudformation.delete_stack(StackName="shop")
    assert ecs.list_clusters()["clusterArns"] == []


def test_tokens_of_requests(cloudformation):
    arguments = {"StackName": "shop", "TemplateBody": cluster(), "ClientRequestToken": "one"}
    id = cloudformation.create_stack(**arguments)["StackId"]
    assert cloudformation.create_stack(**arguments)["StackId"] == id
    wait(cloudformation, "stack_create_complete", StackName="shop")
    with refused("TokenAlreadyExistsException", "one"):
        cloudformation.create_stack(**{**arguments, "StackName": "other"})
    update = {"StackName": "shop", "TemplateBody": cluster(extra="two")}
    with refused("TokenAlreadyExistsException", "one"):
        cloudformation.update_stack(**update, ClientRequestToken="one")
    assert cloudformation.update_stack(**update, ClientRequestToken="two")["StackId"] == id
    # The same request, though its update is over and nothing would change.
    wait(cloudformation, "stack_update_complete", StackName="shop")
    assert cloudformation.update_stack(**update, ClientRequestToken="two")["StackId"] == id
    third = cluster(extra="three")
    made = cloudformation.create_change_set(StackName="shop", ChangeSetName="third", TemplateBody=third)["Id"]
    with refused("TokenAlreadyExistsException", "two"):
        cloudformation.execute_change_set(ChangeSetName=made, ClientRequestToken="two")
    cloudformation.execute_change_set(ChangeSetName=made, ClientRequestToken="three")
    cloudformation.execute_change_set(ChangeSetName=made, ClientRequestToken="three")
    wait(cloudformation, "stack_update_complete", StackName="shop")
    with refused("TokenAlreadyExistsException", "three"):
        cloudformation.delete_stack(StackName="shop", ClientRequestToken="three")
    cloudformation.delete_stack(StackName="shop", ClientRequestToken="four")
    cloudformation.delete_stack(StackName="shop", ClientRequestToken="four")
    wait(cloudformation, "stack_delete_complete", StackName="shop")


def test_stacks_that_are_refused(cloudformation, loose):
    create(cloudformation)
    with refused("AlreadyExistsException", "already exists"):
        cloudformation.create_stack(StackName="shop", TemplateBody=cluster())
    for name in ("1st", "with_underscore", "a" * 129):
        with refused("ValidationError", "stackName"):
            loose.create_stack(StackName=name, TemplateBody=cluster())
    for body in ("{", "[]", "{}", json.dumps({"Resources": {}}), json.dumps({"Resources": {"A": {"Type": "X::Y::Z"}}})):
        with refused("ValidationError"):
            cloudformation.create_stack(StackName="other", TemplateBody=body)
    with refused("ValidationError", "Template"):
        cloudformation.create_stack(StackName="other")
    with refused("ValidationError", "51200"):
        loose.create_stack(StackName="other", TemplateBody=cluster(Description="x" * 60_000))
    with refused("ValidationError", "no S3"):
        cloudformation.create_stack(StackName="other", TemplateURL="https://s3.amazonaws.com/b/t.json")
    with refused("ValidationError", "not both"):
        cloudformation.create_stack(
            StackName="other", TemplateBody=cluster(), DisableRollback=True, OnFailure="DELETE"
        )
    unknown = [{"ParameterKey": "Nothing", "ParameterValue": "x"}]
    with refused("ValidationError", "Nothing"):
        cloudformation.create_stack(StackName="other", TemplateBody=cluster(), Parameters=unknown)
    for operation, more in (
        (cloudformation.update_stack, {"TemplateBody": cluster()}),
        (cloudformation.describe_stacks, {}),
        (cloudformation.describe_stack_events, {}),
        (cloudformation.describe_stack_resources, {}),
        (cloudformation.describe_stack_resource, {"LogicalResourceId": "Cluster"}),
        (cloudformation.list_stack_resources, {}),
        (cloudformation.list_change_sets, {}),
        (cloudformation.get_template, {}),
        (cloudformation.get_template_summary, {}),
        (cloudformation.update_termination_protection, {"EnableTerminationProtection": True}),
        (cloudformation.create_change_set, {"ChangeSetName": "a", "TemplateBody": cluster()}),
    ):
        with refused("ValidationError", "does not exist"):
            operation(StackName="nothing", **more)
    # `cdk destroy` and `aws cloudformation deploy` look at the words.
    with refused("ValidationError", r"^Stack \[nothing\] does not exist$"):
        cloudformation.describe_stack_events(StackName="nothing")
    with refused("ValidationError", "^Stack with id nothing does not exist$"):
        cloudformation.describe_stacks(StackName="nothing")
    with refused("ValidationError", "does not exist"):
        cloudformation.describe_stack_resource(StackName="shop", LogicalResourceId="Nothing")
    with refused("ValidationError", "does not exist"):
        cloudformation.describe_stack_resources(PhysicalResourceId="nothing")
    assert [stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]] == ["shop"]


def test_capabilities_are_demanded(cloudformation, iam):
    with refused("InsufficientCapabilitiesException", "CAPABILITY_IAM"):
        cloudformation.create_stack(StackName="roles", TemplateBody=ROLE)
    named = ROLE.replace('"Properties": {', '"Properties": {"RoleName": "mine", ')
    with refused("InsufficientCapabilitiesException", "CAPABILITY_NAMED_IAM"):
        cloudformation.create_stack(StackName="roles", TemplateBody=named, Capabilities=["CAPABILITY_IAM"])
    create(cloudformation, "roles", ROLE, Capabilities=["CAPABILITY_IAM"])
    role = cloudformation.describe_stack_resource(StackName="roles", LogicalResourceId="Role")
    assert iam.get_role(RoleName=role["StackResourceDetail"]["PhysicalResourceId"])
    with refused("InsufficientCapabilitiesException", "CAPABILITY_NAMED_IAM"):
        cloudformation.update_stack(StackName="roles", TemplateBody=named)
    with refused("InsufficientCapabilitiesException"):
        cloudformation.create_change_set(StackName="roles", ChangeSetName="a", TemplateBody=named)


def test_what_another_stack_imports_is_not_deleted(cloudformation):
    create(cloudformation)
    importing = json.dumps(
        {
            "Resources": {
                "Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": {"Fn::Sub": "${I}-2"}}}
            },
            "Parameters": {"I": {"Type": "String", "Default": "i"}},
            "Outputs": {"I": {"Value": {"Fn::ImportValue": "shop-name"}}},
        }
    )
    create(cloudformation, "importing", importing)
    assert told(cloudformation, "importing")["Outputs"][0]["OutputValue"] == "shop"
    with refused("ValidationError", "in use by importing"):
        cloudformation.delete_stack(StackName="shop")


def test_a_change_set_from_its_creation_to_its_execution(cloudformation):
    made = cloudformation.create_change_set(
        StackName="shop", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=cluster(), Description="d",
        Tags=[{"Key": "a", "Value": "b"}], Capabilities=["CAPABILITY_IAM"],
    )  # fmt: skip
    wait(cloudformation, "change_set_create_complete", StackName="shop", ChangeSetName="first")
    assert told(cloudformation)["StackStatus"] == "REVIEW_IN_PROGRESS"
    # It was made from nothing yet; `cdk deploy` asks.
    assert cloudformation.get_template(StackName="shop")["TemplateBody"] == ""
    set = cloudformation.describe_change_set(ChangeSetName=made["Id"])
    assert (set["Status"], set["ExecutionStatus"], set["Description"]) == ("CREATE_COMPLETE", "AVAILABLE", "d")
    assert set["StackId"] == made["StackId"] and set["Tags"] == [{"Key": "a", "Value": "b"}]
    assert set["Changes"] == [
        {
            "Type": "Resource",
            "ResourceChange": {"Action": "Add", "LogicalResourceId": "Cluster", "ResourceType": "AWS::ECS::Cluster"},
        }
    ]
    assert cloudformation.get_template(ChangeSetName=made["Id"])["TemplateBody"] == json.loads(cluster())
    with refused("AlreadyExistsException", "first"):
        cloudformation.create_change_set(
            StackName="shop", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=cluster()
        )
    summaries = cloudformation.list_change_sets(StackName="shop")["Summaries"]
    assert [summary["ChangeSetId"] for summary in summaries] == [made["Id"]]
    cloudformation.execute_change_set(StackName="shop", ChangeSetName="first")
    wait(cloudformation, "stack_create_complete", StackName="shop")
    with refused("InvalidChangeSetStatus", "cannot be executed"):
        cloudformation.execute_change_set(StackName="shop", ChangeSetName="first")
    with refused("ValidationError", "already exists"):
        cloudformation.create_change_set(
            StackName="shop", ChangeSetName="x", ChangeSetType="CREATE", TemplateBody=cluster()
        )

    # One that changes nothing fails, as the waiter says.
    cloudformation.create_change_set(StackName="shop", ChangeSetName="same", UsePreviousTemplate=True)
    with pytest.raises(botocore.exceptions.WaiterError, match="FAILED"):
        wait(cloudformation, "change_set_create_complete", StackName="shop", ChangeSetName="same")
    set = cloudformation.describe_change_set(StackName="shop", ChangeSetName="same")
    assert "didn't contain changes" in set["StatusReason"] and set["ExecutionStatus"] == "UNAVAILABLE"
    with refused("InvalidChangeSetStatus"):
        cloudformation.execute_change_set(StackName="shop", ChangeSetName="same")
    cloudformation.delete_change_set(StackName="shop", ChangeSetName="same")

    second = json.loads(cluster())
    second["Resources"]["Other"] = {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "other"}}
    cloudformation.create_change_set(StackName="shop", ChangeSetName="second", TemplateBody=json.dumps(second))
    changes = cloudformation.describe_change_set(StackName="shop", ChangeSetName="second")["Changes"]
    assert [change["ResourceChange"]["LogicalResourceId"] for change in changes] == ["Other"]
    cloudformation.execute_change_set(StackName="shop", ChangeSetName="second")
    wait(cloudformation, "stack_update_complete", StackName="shop")
    for operation in (
        cloudformation.describe_change_set,
        cloudformation.execute_change_set,
        cloudformation.get_template,
    ):
        with refused("ChangeSetNotFound", "nothing"):
            operation(StackName="shop", ChangeSetName="nothing")
    cloudformation.delete_change_set(StackName="shop", ChangeSetName="nothing")


def test_templates_are_summed_up(cloudformation, loose):
    create(cloudformation)
    for summary in (
        cloudformation.get_template_summary(TemplateBody=cluster()),
        cloudformation.get_template_summary(StackName="shop"),
        cloudformation.validate_template(TemplateBody=cluster()),
    ):
        assert summary["Description"] == "one cluster" and "CapabilitiesReason" not in summary
        named = {parameter["ParameterKey"]: parameter for parameter in summary["Parameters"]}
        assert named["Name"]["DefaultValue"] == "shop" and named["Name"]["Description"] == "its name"
        assert named["Secret"]["NoEcho"] is True
    summary = cloudformation.get_template_summary(TemplateBody=ROLE)
    assert summary["Capabilities"] == ["CAPABILITY_IAM"] and summary["ResourceTypes"] == ["AWS::IAM::Role"]
    assert "AWS::IAM::Role" in summary["CapabilitiesReason"]
    named = ROLE.replace('"Properties": {', '"Properties": {"RoleName": "mine", ')
    assert cloudformation.validate_template(TemplateBody=named)["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
    for operation in (loose.validate_template, loose.get_template_summary):
        with refused("ValidationError"):
            operation(TemplateBody="{")
        with refused("ValidationError"):
            operation()


def test_pages_of_everything(cloudformation):
    create(cloudformation, "many", clusters(101))
    create(cloudformation, "few", cluster())
    anothers = cloudformation.list_stack_resources(StackName="many")["NextToken"]
    others = cloudformation.list_exports()["NextToken"]
    check_pages(cloudformation, "list_stack_resources", "StackResourceSummaries", others, StackName="many")
    check_pages(cloudformation, "list_exports", "Exports", anothers)
    check_pages(cloudformation, "describe_stack_events", "StackEvents", anothers, StackName="many")
    for number in range(101):
        cloudformation.create_change_set(
            StackName=f"s{number:03}", ChangeSetName="a", ChangeSetType="CREATE", TemplateBody=cluster(f"s{number:03}")
        )
    check_pages(cloudformation, "list_stacks", "StackSummaries", anothers)
    check_pages(cloudformation, "describe_stacks", "Stacks", anothers)
    for number in range(101):
        cloudformation.create_change_set(
            StackName="few", ChangeSetName=f"a{number:03}", TemplateBody=cluster(extra=str(number))
        )
    check_pages(cloudformation, "list_change_sets", "Summaries", anothers, StackName="few")
    body = clusters(102, Description="more").replace('"c', '"d')
    cloudformation.create_change_set(StackName="many", ChangeSetName="more", TemplateBody=body)
    check_pages(
        cloudformation, "describe_change_set", "Changes", anothers, StackName="many", ChangeSetName="more"
    )


def aws(*arguments):
    """A command of the aws CLI, which must succeed."""
    done = subprocess.run(["aws", *arguments], env=environment(), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done
    return done


def test_tags_alone_are_an_update(cloudformation):
    create(cloudformation, Tags=[{"Key": "a", "Value": "b"}])
    # Tags that are not given stay.
    same = {"StackName": "shop", "ChangeSetName": "same", "UsePreviousTemplate": True}
    cloudformation.create_change_set(**same)
    assert cloudformation.describe_change_set(StackName="shop", ChangeSetName="same")["Status"] == "FAILED"
    tags = [{"Key": "a", "Value": "c"}]
    cloudformation.create_change_set(**{**same, "ChangeSetName": "tags"}, Tags=tags)
    cloudformation.execute_change_set(StackName="shop", ChangeSetName="tags")
    wait(cloudformation, "stack_update_complete", StackName="shop")
    assert told(cloudformation)["Tags"] == tags


def test_the_clis_waiters(cloudformation, ecs, iam, tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        parts = [
            pool.submit(_stacks_by_the_cli, cloudformation, tmp_path / "template.json"),
            pool.submit(_iam_by_the_cli, iam),
            pool.submit(_services_by_the_cli, ecs),
        ]
        for part in parts:
            part.result()


def _stacks_by_the_cli(cloudformation, template):
    template.write_text(cluster())
    deploy = ("cloudformation", "deploy", "--stack-name", "shop", "--template-file", str(template))
    # A change set, its waiter, its execution, the stack's waiter.
    aws(*deploy)
    aws("cloudformation", "wait", "stack-exists", "--stack-name", "shop")
    aws("cloudformation", "wait", "stack-create-complete", "--stack-name", "shop")
    assert "No changes to deploy" in aws(*deploy, "--no-fail-on-empty-changeset").stdout
    template.write_text(cluster(extra="two"))
    aws("cloudformation", "update-stack", "--stack-name", "shop", "--template-body", f"file://{template}")
    wait(cloudformation, "stack_update_complete", StackName="shop")
    aws("cloudformation", "wait", "stack-update-complete", "--stack-name", "shop")
    aws("cloudformation", "delete-stack", "--stack-name", "shop")
    wait(cloudformation, "stack_delete_complete", StackName="shop")
    aws("cloudformation", "wait", "stack-delete-complete", "--stack-name", "shop")


def _iam_by_the_cli(iam):
    iam.create_user(UserName="ann")
    trust = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}'
    iam.create_role(RoleName="app", AssumeRolePolicyDocument=trust)
    policy = iam.create_policy(PolicyName="p", PolicyDocument=trust.replace('"Principal":"*"', '"Resource":"*"'))
    iam.create_instance_profile(InstanceProfileName="host")
    aws("iam", "wait", "user-exists", "--user-name", "ann")
    aws("iam", "wait", "role-exists", "--role-name", "app")
    aws("iam", "wait", "policy-exists", "--policy-arn", policy["Policy"]["Arn"])
    aws("iam", "wait", "instance-profile-exists", "--instance-profile-name", "host")


def _services_by_the_cli(ecs):
    ecs.create_cluster()
    harness.define(ecs, container=harness.IDLE)
    harness.serve(ecs)
    harness.wait(ecs, "services_stable", services=["web"])
    aws("ecs", "wait", "services-stable", "--services", "web")
    tasks = ecs.list_tasks()["taskArns"]
    aws("ecs", "wait", "tasks-running", "--tasks", *tasks)
    ecs.delete_service(service="web", force=True)
    harness.wait(ecs, "services_inactive", services=["web"])
    aws("ecs", "wait", "services-inactive", "--services", "web")
    harness.wait(ecs, "tasks_stopped", tasks=tasks)
    aws("ecs", "wait", "tasks-stopped", "--tasks", *tasks)
