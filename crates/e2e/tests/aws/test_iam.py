"""IAM."""

import json
import urllib.parse

import pytest

import harness
from harness import ACCOUNT, refused

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:*", "Resource": "*"}]}
READ = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:List*", "Resource": "*"}]}

# One of AWS's own.
AWS_POLICY = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
NO_POLICY = f"arn:aws:iam::{ACCOUNT}:policy/nothing"
NO_ARN = "arn:aws:iam::nothing-that-is-one"


@pytest.fixture(scope="module")
def loose():
    return harness.client("iam", validate=False)


def text(document):
    return json.dumps(document)


def role(iam, name="app", **more):
    return iam.create_role(RoleName=name, AssumeRolePolicyDocument=text(TRUST), **more)["Role"]


def policy(iam, name="allow", **more):
    """The ARN of a new managed policy."""
    return iam.create_policy(PolicyName=name, PolicyDocument=text(ALLOW), **more)["Policy"]["Arn"]


def long_policy(characters):
    """A document of more than so many characters."""
    actions = [f"ecs:Describe{number:08}" for number in range(characters // 20)]
    return text({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})


def check_pages(iam, loose, operation, key, anothers, **arguments):
    """Pages of one item make the whole list; forged markers and wrong sizes are refused."""
    call = getattr(iam, operation)
    answer = call(**arguments)
    whole = answer[key]
    assert len(whole) >= 2 and answer["IsTruncated"] is False and "Marker" not in answer
    paginator = iam.get_paginator(operation) if iam.can_paginate(operation) else None
    if paginator:
        pages = paginator.paginate(PaginationConfig={"PageSize": 1}, **arguments)
        assert [page[key] for page in pages] == [[item] for item in whole]
    else:
        items, marker = [], {}
        while marker is not None:
            page = call(MaxItems=1, **marker, **arguments)
            assert len(page[key]) == 1
            items += page[key]
            marker = {"Marker": page["Marker"]} if page["IsTruncated"] else None
        assert items == whole
    for wrong in ("nothing-that-it-gave-out", anothers):
        with refused("ValidationError", "Marker"):
            call(Marker=wrong, **arguments)
    for size in (0, 1001):
        with refused("ValidationError", "maxItems"):
            getattr(loose, operation)(MaxItems=size, **arguments)


@pytest.fixture
def anothers(iam):
    """A marker of an operation that no case pages."""
    return iam.list_policies(Scope="AWS", MaxItems=1)["Marker"]


def test_a_user_from_its_creation_to_its_end(iam):
    made = iam.create_user(UserName="ann", Path="/team/", Tags=[{"Key": "team", "Value": "a"}])["User"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/ann" and made["UserId"].startswith("AIDA")
    assert iam.get_user(UserName="ann")["User"] == made
    iam.update_user(UserName="ann", NewUserName="anne", NewPath="/")
    told = iam.get_user(UserName="anne")["User"]
    assert told["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/anne" and told["UserId"] == made["UserId"]
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["anne"]
    assert iam.list_users(PathPrefix="/team/")["Users"] == []
    iam.delete_user(UserName="anne")
    with refused("NoSuchEntity", "anne"):
        iam.get_user(UserName="anne")
    # Without a name: whoever asks.
    assert iam.get_user()["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_users_that_are_refused(iam, loose):
    iam.create_user(UserName="ann")
    for name in ("ann", "ANN"):
        with refused("EntityAlreadyExists", "already exists"):
            iam.create_user(UserName=name)
    iam.create_user(UserName="bob")
    with refused("EntityAlreadyExists"):
        iam.update_user(UserName="bob", NewUserName="ann")
    with refused("NoSuchEntity"):
        iam.update_user(UserName="nobody", NewUserName="x")
    with refused("NoSuchEntity"):
        iam.delete_user(UserName="nobody")
    with refused("NoSuchEntity", "does not exist"):
        iam.create_user(UserName="eve", PermissionsBoundary=NO_POLICY)
    with refused("InvalidInput", "aws:"):
        iam.create_user(UserName="eve", Tags=[{"Key": "aws:x", "Value": ""}])
    with refused("LimitExceeded"):
        loose.create_user(UserName="eve", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)])
    for name in ("with space", "a" * 65):
        with refused("ValidationError", "userName"):
            loose.create_user(UserName=name)
    with refused("ValidationError", "path"):
        loose.create_user(UserName="eve", Path="nowhere")
    with refused("ValidationError", "[uU]serName"):
        loose.create_user()


def test_a_user_with_anything_of_its_own_is_not_deleted(iam):
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]["AccessKeyId"]
    with refused("DeleteConflict", "access keys"):
        iam.delete_user(UserName="ann")
    iam.delete_access_key(UserName="ann", AccessKeyId=key)
    iam.put_user_policy(UserName="ann", PolicyName="inline", PolicyDocument=text(ALLOW))
    with refused("DeleteConflict", "policies"):
        iam.delete_user(UserName="ann")
    iam.delete_user_policy(UserName="ann", PolicyName="inline")
    iam.attach_user_policy(UserName="ann", PolicyArn=AWS_POLICY)
    with refused("DeleteConflict", "detach"):
        iam.delete_user(UserName="ann")
    iam.detach_user_policy(UserName="ann", PolicyArn=AWS_POLICY)
    iam.delete_user(UserName="ann")


def test_access_keys(iam, loose):
    iam.create_user(UserName="ann")
    made = iam.create_access_key(UserName="ann")["AccessKey"]
    assert made["AccessKeyId"].startswith("AKIA") and made["Status"] == "Active" and made["UserName"] == "ann"
    iam.create_access_key(UserName="ann")
    with refused("LimitExceeded", "AccessKeysPerUser"):
        iam.create_access_key(UserName="ann")
    listed = iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]
    assert {key["Status"] for key in listed} == {"Active"} and len(listed) == 2
    assert "SecretAccessKey" not in listed[0]

    used = iam.get_access_key_last_used(AccessKeyId=made["AccessKeyId"])
    assert used["UserName"] == "ann" and used["AccessKeyLastUsed"]["ServiceName"] == "N/A"
    assert "LastUsedDate" not in used["AccessKeyLastUsed"]
    with_key = harness.client("sts", key=(made["AccessKeyId"], made["SecretAccessKey"]))
    assert with_key.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ann"
    used = iam.get_access_key_last_used(AccessKeyId=made["AccessKeyId"])["AccessKeyLastUsed"]
    assert used["ServiceName"] == "sts" and used["Region"] == harness.REGION and used["LastUsedDate"]

    iam.update_access_key(UserName="ann", AccessKeyId=made["AccessKeyId"], Status="Inactive")
    with refused("InvalidClientTokenId"):
        with_key.get_caller_identity()
    with refused("ValidationError", "[sS]tatus"):
        loose.update_access_key(UserName="ann", AccessKeyId=made["AccessKeyId"], Status="Sleepy")
    iam.delete_access_key(UserName="ann", AccessKeyId=made["AccessKeyId"])
    for operation, more in (
        (iam.update_access_key, {"Status": "Active"}),
        (iam.delete_access_key, {}),
    ):
        with refused("NoSuchEntity", made["AccessKeyId"]):
            operation(UserName="ann", AccessKeyId=made["AccessKeyId"], **more)
    for operation in (iam.create_access_key, iam.list_access_keys):
        with refused("NoSuchEntity", "nobody"):
            operation(UserName="nobody")


def test_a_role_from_its_creation_to_its_end(iam):
    made = role(iam, Path="/app/", Description="first", MaxSessionDuration=7200, Tags=[{"Key": "a", "Value": "b"}])
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/app/app" and made["RoleId"].startswith("AROA")
    told = iam.get_role(RoleName="app")["Role"]
    assert told["AssumeRolePolicyDocument"] == TRUST and told["MaxSessionDuration"] == 7200
    assert told["Description"] == "first" and told["Tags"] == [{"Key": "a", "Value": "b"}]
    assert "LastUsedDate" not in told["RoleLastUsed"]
    iam.update_role(RoleName="app", Description="second", MaxSessionDuration=3600)
    assert iam.get_role(RoleName="app")["Role"]["MaxSessionDuration"] == 3600
    assert iam.update_role_description(RoleName="app", Description="third")["Role"]["Description"] == "third"
    service = json.loads(text(TRUST).replace(f'"AWS": "arn:aws:iam::{ACCOUNT}:root"', '"Service": "ecs-tasks.amazonaws.com"'))
    iam.update_assume_role_policy(RoleName="app", PolicyDocument=text(service))
    assert iam.get_role(RoleName="app")["Role"]["AssumeRolePolicyDocument"] == service
    listed = iam.list_roles(PathPrefix="/app/")["Roles"]
    assert [found["RoleName"] for found in listed] == ["app"] and "Tags" not in listed[0]
    iam.delete_role(RoleName="app")
    with refused("NoSuchEntity", "app"):
        iam.get_role(RoleName="app")


def test_roles_that_are_refused(iam, loose):
    role(iam)
    for name in ("app", "APP"):
        with refused("EntityAlreadyExists", "already exists"):
            role(iam, name)
    for document in ("{", text(ALLOW), text({"Version": "2012-10-17", "Statement": []})):
        with refused("MalformedPolicyDocument"):
            iam.create_role(RoleName="other", AssumeRolePolicyDocument=document)
        with refused("MalformedPolicyDocument"):
            iam.update_assume_role_policy(RoleName="app", PolicyDocument=document)
    many = [f"arn:aws:iam::{ACCOUNT}:user/u{number:040}" for number in range(60)]
    long = text({**TRUST, "Statement": [{**TRUST["Statement"][0], "Principal": {"AWS": many}}]})
    with refused("LimitExceeded"):
        iam.update_assume_role_policy(RoleName="app", PolicyDocument=long)
    with refused("LimitExceeded"):
        iam.create_role(RoleName="other", AssumeRolePolicyDocument=long)
    with refused("InvalidInput", "aws:"):
        role(iam, "other", Tags=[{"Key": "aws:x", "Value": ""}])
    with refused("NoSuchEntity"):
        iam.update_role(RoleName="nothing")
    for seconds in (3599, 43201):
        with refused("ValidationError", "maxSessionDuration"):
            loose.create_role(RoleName="x", AssumeRolePolicyDocument=text(TRUST), MaxSessionDuration=seconds)
    with refused("ValidationError"):
        loose.create_role(RoleName="x")
    for operation, more in (
        (iam.update_role_description, {"Description": ""}),
        (iam.update_assume_role_policy, {"PolicyDocument": text(TRUST)}),
        (iam.delete_role, {}),
    ):
        with refused("NoSuchEntity", "nothing"):
            operation(RoleName="nothing", **more)


def test_a_role_with_anything_of_its_own_is_not_deleted(iam):
    role(iam)
    iam.put_role_policy(RoleName="app", PolicyName="inline", PolicyDocument=text(ALLOW))
    with refused("DeleteConflict", "policies"):
        iam.delete_role(RoleName="app")
    iam.delete_role_policy(RoleName="app", PolicyName="inline")
    iam.attach_role_policy(RoleName="app", PolicyArn=AWS_POLICY)
    with refused("DeleteConflict", "detach"):
        iam.delete_role(RoleName="app")
    iam.detach_role_policy(RoleName="app", PolicyArn=AWS_POLICY)
    iam.create_instance_profile(InstanceProfileName="host")
    iam.add_role_to_instance_profile(InstanceProfileName="host", RoleName="app")
    with refused("DeleteConflict", "instance profile"):
        iam.delete_role(RoleName="app")


def test_service_linked_roles(iam):
    made = iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com", Description="d")["Role"]
    assert made["RoleName"] == "AWSServiceRoleForECS"
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    with refused("InvalidInput", "has been taken"):
        iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    with refused("InvalidInput"):
        iam.create_service_linked_role(AWSServiceName="ecs")
    named = {"RoleName": made["RoleName"]}
    iam.create_instance_profile(InstanceProfileName="host")
    for operation, more in (
        (iam.attach_role_policy, {"PolicyArn": AWS_POLICY}),
        (iam.detach_role_policy, {"PolicyArn": AWS_POLICY}),
        (iam.put_role_policy, {"PolicyName": "p", "PolicyDocument": text(ALLOW)}),
        (iam.delete_role_policy, {"PolicyName": "p"}),
        (iam.put_role_permissions_boundary, {"PermissionsBoundary": AWS_POLICY}),
        (iam.delete_role_permissions_boundary, {}),
        (iam.update_role, {"MaxSessionDuration": 3600}),
        (iam.update_assume_role_policy, {"PolicyDocument": text(TRUST)}),
        (iam.delete_role, {}),
        (iam.add_role_to_instance_profile, {"InstanceProfileName": "host"}),
        (iam.remove_role_from_instance_profile, {"InstanceProfileName": "host"}),
    ):
        with refused("UnmodifiableEntity", "AWSServiceRoleForECS"):
            operation(**named, **more)
    # Its description is the account's to change.
    told = iam.update_role_description(**named, Description="mine")["Role"]
    assert told["Description"] == "mine"
    task = iam.delete_service_linked_role(**named)["DeletionTaskId"]
    assert task.startswith("task/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS/")
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    with refused("NoSuchEntity"):
        iam.delete_service_linked_role(**named)
    with refused("InvalidInput"):
        iam.get_service_linked_role_deletion_status(DeletionTaskId="nothing")
    # A role that is there was not deleted.
    iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    with refused("NoSuchEntity"):
        iam.get_service_linked_role_deletion_status(DeletionTaskId=task)


@pytest.mark.parametrize("kind", ["user", "role"])
def test_inline_policies(iam, loose, kind, anothers):
    name = {kind.title() + "Name": "app"}
    put, get = getattr(iam, f"put_{kind}_policy"), getattr(iam, f"get_{kind}_policy")
    delete, listed = getattr(iam, f"delete_{kind}_policy"), getattr(iam, f"list_{kind}_policies")
    for operation, more in (
        (put, {"PolicyName": "a", "PolicyDocument": text(ALLOW)}),
        (get, {"PolicyName": "a"}),
        (delete, {"PolicyName": "a"}),
        (listed, {}),
    ):
        with refused("NoSuchEntity", "app"):
            operation(**name, **more)
    make(iam, kind)
    for policy_name in ("a", "b", "c"):
        put(**name, PolicyName=policy_name, PolicyDocument=text(ALLOW))
    put(**name, PolicyName="a", PolicyDocument=text(READ))
    told = get(**name, PolicyName="a")
    assert told["PolicyDocument"] == READ and told["PolicyName"] == "a" and told[kind.title() + "Name"] == "app"
    assert listed(**name)["PolicyNames"] == ["a", "b", "c"]
    check_pages(iam, loose, f"list_{kind}_policies", "PolicyNames", anothers, **name)
    delete(**name, PolicyName="c")
    with refused("NoSuchEntity", "c"):
        delete(**name, PolicyName="c")
    with refused("MalformedPolicyDocument"):
        put(**name, PolicyName="a", PolicyDocument="{}")
    with refused("LimitExceeded"):
        put(**name, PolicyName="a", PolicyDocument=long_policy(11_000))
    with refused("ValidationError", "policyName"):
        loose_put = getattr(loose, f"put_{kind}_policy")
        loose_put(**name, PolicyName="with space", PolicyDocument=text(ALLOW))


def make(iam, kind):
    iam.create_user(UserName="app") if kind == "user" else role(iam)


@pytest.mark.parametrize("kind", ["user", "role"])
def test_attached_policies_and_boundaries(iam, loose, kind, anothers):
    name = {kind.title() + "Name": "app"}
    attach, detach = getattr(iam, f"attach_{kind}_policy"), getattr(iam, f"detach_{kind}_policy")
    listed = getattr(iam, f"list_attached_{kind}_policies")
    put, delete = getattr(iam, f"put_{kind}_permissions_boundary"), getattr(iam, f"delete_{kind}_permissions_boundary")
    own = policy(iam, Path="/own/")
    for operation, more in (
        (attach, {"PolicyArn": own}),
        (detach, {"PolicyArn": own}),
        (listed, {}),
        (put, {"PermissionsBoundary": own}),
        (delete, {}),
    ):
        with refused("NoSuchEntity", "app"):
            operation(**name, **more)
    make(iam, kind)
    attach(**name, PolicyArn=own)
    attach(**name, PolicyArn=own)
    attach(**name, PolicyArn=AWS_POLICY)
    told = listed(**name)["AttachedPolicies"]
    assert {"PolicyName": "allow", "PolicyArn": own} in told and len(told) == 2
    assert listed(**name, PathPrefix="/own/")["AttachedPolicies"] == [{"PolicyName": "allow", "PolicyArn": own}]
    check_pages(iam, loose, f"list_attached_{kind}_policies", "AttachedPolicies", anothers, **name)
    assert iam.get_policy(PolicyArn=own)["Policy"]["AttachmentCount"] == 1
    with refused("NoSuchEntity", "nothing"):
        attach(**name, PolicyArn=NO_POLICY)
    with refused("NoSuchEntity", "nothing"):
        detach(**name, PolicyArn=NO_POLICY)
    for operation, more in (
        (attach, {"PolicyArn": NO_ARN}),
        (detach, {"PolicyArn": NO_ARN}),
        (put, {"PermissionsBoundary": NO_ARN}),
    ):
        with refused("InvalidInput", "not valid"):
            operation(**name, **more)
    with refused("ValidationError", "pathPrefix"):
        listed(**name, PathPrefix="own")
    for number in range(8):
        attach(**name, PolicyArn=policy(iam, f"p{number}"))
    with refused("LimitExceeded", "PoliciesPer"):
        attach(**name, PolicyArn=policy(iam, "eleventh"))

    put(**name, PermissionsBoundary=own)
    told = getattr(iam, f"get_{kind}")(**name)[kind.title()]["PermissionsBoundary"]
    assert told == {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": own}
    assert iam.get_policy(PolicyArn=own)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    with refused("NoSuchEntity"):
        put(**name, PermissionsBoundary=NO_POLICY)
    delete(**name)
    assert "PermissionsBoundary" not in getattr(iam, f"get_{kind}")(**name)[kind.title()]
    detach(**name, PolicyArn=own)
    with refused("NoSuchEntity"):
        detach(**name, PolicyArn=own)


def test_a_policy_and_its_versions(iam, loose, anothers):
    made = iam.create_policy(
        PolicyName="allow", PolicyDocument=text(ALLOW), Description="d", Tags=[{"Key": "a", "Value": "b"}]
    )["Policy"]
    arn = made["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/allow" and made["DefaultVersionId"] == "v1"
    told = iam.get_policy(PolicyArn=arn)["Policy"]
    assert told["Description"] == "d" and told["Tags"] == [{"Key": "a", "Value": "b"}] and told["IsAttachable"]
    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=text(READ))["PolicyVersion"]
    assert (second["VersionId"], second["IsDefaultVersion"]) == ("v2", False)
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == READ
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    check_pages(iam, loose, "list_policy_versions", "Versions", anothers, PolicyArn=arn)
    for _ in range(3):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=text(READ), SetAsDefault=True)
    with refused("LimitExceeded", "5 versions"):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=text(READ))
    with refused("DeleteConflict", "default version"):
        iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    with refused("DeleteConflict", "more than one version"):
        iam.delete_policy(PolicyArn=arn)
    for version in ("v1", "v2", "v3", "v4"):
        iam.delete_policy_version(PolicyArn=arn, VersionId=version)
    role(iam)
    iam.attach_role_policy(RoleName="app", PolicyArn=arn)
    with refused("DeleteConflict", "attached"):
        iam.delete_policy(PolicyArn=arn)
    iam.detach_role_policy(RoleName="app", PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    assert iam.list_policies(Scope="Local")["Policies"] == []


def test_policies_that_are_refused(iam, loose):
    arn = policy(iam)
    with refused("EntityAlreadyExists", "allow"):
        policy(iam)
    for document in ("{", text(TRUST), "{}"):
        with refused("MalformedPolicyDocument"):
            iam.create_policy(PolicyName="x", PolicyDocument=document)
        with refused("MalformedPolicyDocument"):
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)
    with refused("LimitExceeded"):
        iam.create_policy(PolicyName="x", PolicyDocument=long_policy(7_000))
    with refused("InvalidInput", "aws:"):
        policy(iam, "x", Tags=[{"Key": "aws:x", "Value": ""}])
    operations = (
        (iam.get_policy, {}),
        (iam.delete_policy, {}),
        (iam.create_policy_version, {"PolicyDocument": text(ALLOW)}),
        (iam.get_policy_version, {"VersionId": "v1"}),
        (iam.delete_policy_version, {"VersionId": "v1"}),
        (iam.set_default_policy_version, {"VersionId": "v1"}),
        (iam.list_policy_versions, {}),
        (iam.list_entities_for_policy, {}),
        (iam.list_policy_tags, {}),
        (iam.tag_policy, {"Tags": [{"Key": "a", "Value": "b"}]}),
        (iam.untag_policy, {"TagKeys": ["a"]}),
    )
    for operation, more in operations:
        with refused("NoSuchEntity", "nothing"):
            operation(PolicyArn=NO_POLICY, **more)
        with refused("InvalidInput", "not valid"):
            operation(PolicyArn=NO_ARN, **more)
    with refused("ValidationError", "policyArn"):
        loose.get_policy(PolicyArn="short")
    for operation in (iam.get_policy_version, iam.delete_policy_version, iam.set_default_policy_version):
        with refused("NoSuchEntity", "v9"):
            operation(PolicyArn=arn, VersionId="v9")
    # AWS's own are not the account's to change.
    for operation, more in (
        (iam.delete_policy, {}),
        (iam.create_policy_version, {"PolicyDocument": text(ALLOW)}),
        (iam.tag_policy, {"Tags": [{"Key": "a", "Value": "b"}]}),
    ):
        with refused("AccessDenied"):
            operation(PolicyArn=AWS_POLICY, **more)


def test_pages_of_policies(iam, loose):
    for name in ("a", "b", "c"):
        policy(iam, name)
        iam.create_user(UserName=name)
    anothers = iam.list_users(MaxItems=1)["Marker"]
    check_pages(iam, loose, "list_policies", "Policies", anothers, Scope="Local")
    attached = iam.list_policies(Scope="Local", OnlyAttached=True)["Policies"]
    assert attached == []
    aws = iam.list_policies(Scope="AWS")["Policies"]
    assert aws and all(found["Arn"].startswith("arn:aws:iam::aws:policy/") for found in aws)
    assert len(iam.list_policies()["Policies"]) == 3 + len(aws)
    told = iam.get_policy(PolicyArn=AWS_POLICY)["Policy"]
    assert told["PolicyName"] == "AmazonECSTaskExecutionRolePolicy" and told["Path"] == "/service-role/"
    version = iam.get_policy_version(PolicyArn=AWS_POLICY, VersionId=told["DefaultVersionId"])["PolicyVersion"]
    assert "ecr:GetAuthorizationToken" in text(version["Document"])


def test_entities_of_a_policy(iam, loose, anothers):
    arn = policy(iam)
    iam.create_user(UserName="ann", Path="/team/")
    iam.attach_user_policy(UserName="ann", PolicyArn=arn)
    for name in ("a", "b"):
        role(iam, name)
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    role(iam, "c", PermissionsBoundary=arn)

    def found(**arguments):
        answer = iam.list_entities_for_policy(PolicyArn=arn, **arguments)
        assert answer["PolicyGroups"] == []
        users = [user["UserName"] for user in answer["PolicyUsers"]]
        return users + [role["RoleName"] for role in answer["PolicyRoles"]]

    assert found(PolicyUsageFilter="PermissionsPolicy") == ["ann", "a", "b"]
    assert found(PolicyUsageFilter="PermissionsBoundary") == ["c"]
    assert found(EntityFilter="Role", PolicyUsageFilter="PermissionsPolicy") == ["a", "b"]
    assert found(EntityFilter="User") == ["ann"] == found(PathPrefix="/team/")
    pages = iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=arn, PaginationConfig={"PageSize": 1})
    assert [len(page["PolicyUsers"]) + len(page["PolicyRoles"]) for page in pages] == [1, 1, 1, 1]
    with refused("ValidationError", "Marker"):
        iam.list_entities_for_policy(PolicyArn=arn, Marker=anothers)
    with refused("ValidationError", "[eE]ntityFilter"):
        loose.list_entities_for_policy(PolicyArn=arn, EntityFilter="Robot")


def test_pages_of_users_roles_keys_and_profiles(iam, loose, anothers):
    for name in ("a", "b", "c"):
        iam.create_user(UserName=name)
        role(iam, name)
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName="a")
    for _ in range(2):
        iam.create_access_key(UserName="a")
    check_pages(iam, loose, "list_users", "Users", anothers)
    check_pages(iam, loose, "list_roles", "Roles", anothers)
    check_pages(iam, loose, "list_instance_profiles", "InstanceProfiles", anothers)
    check_pages(iam, loose, "list_instance_profiles_for_role", "InstanceProfiles", anothers, RoleName="a")
    check_pages(iam, loose, "list_access_keys", "AccessKeyMetadata", anothers, UserName="a")
    assert iam.list_account_aliases()["AccountAliases"] == []
    summary = iam.get_account_summary()["SummaryMap"]
    assert (summary["Users"], summary["Roles"], summary["InstanceProfiles"]) == (3, 3, 3)


def test_an_instance_profile(iam, loose):
    made = iam.create_instance_profile(InstanceProfileName="host", Path="/p/", Tags=[{"Key": "a", "Value": "b"}])
    made = made["InstanceProfile"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/p/host" and made["Roles"] == []
    role(iam)
    iam.add_role_to_instance_profile(InstanceProfileName="host", RoleName="app")
    told = iam.get_instance_profile(InstanceProfileName="host")["InstanceProfile"]
    assert [found["RoleName"] for found in told["Roles"]] == ["app"] and told["Tags"] == [{"Key": "a", "Value": "b"}]
    with refused("LimitExceeded", "InstanceSessionsPerInstanceProfile"):
        iam.add_role_to_instance_profile(InstanceProfileName="host", RoleName="app")
    with refused("DeleteConflict", "remove roles"):
        iam.delete_instance_profile(InstanceProfileName="host")
    iam.remove_role_from_instance_profile(InstanceProfileName="host", RoleName="app")
    with refused("NoSuchEntity", "app"):
        iam.remove_role_from_instance_profile(InstanceProfileName="host", RoleName="app")
    with refused("EntityAlreadyExists", "host"):
        iam.create_instance_profile(InstanceProfileName="host")
    with refused("InvalidInput", "aws:"):
        iam.create_instance_profile(InstanceProfileName="x", Tags=[{"Key": "aws:x", "Value": ""}])
    with refused("LimitExceeded"):
        loose.create_instance_profile(
            InstanceProfileName="x", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)]
        )
    iam.delete_instance_profile(InstanceProfileName="host")
    for operation, more in (
        (iam.get_instance_profile, {}),
        (iam.delete_instance_profile, {}),
        (iam.add_role_to_instance_profile, {"RoleName": "app"}),
        (iam.remove_role_from_instance_profile, {"RoleName": "app"}),
    ):
        with refused("NoSuchEntity", "host"):
            operation(InstanceProfileName="host", **more)
    with refused("NoSuchEntity", "nothing"):
        iam.list_instance_profiles_for_role(RoleName="nothing")


@pytest.mark.parametrize("kind", ["user", "role", "policy"])
def test_tags(iam, loose, kind, anothers):
    if kind == "policy":
        name = {"PolicyArn": policy(iam)}
    else:
        make(iam, kind)
        name = {kind.title() + "Name": "app"}
    tag, untag = getattr(iam, f"tag_{kind}"), getattr(iam, f"untag_{kind}")
    listed = getattr(iam, f"list_{kind}_tags")
    tag(**name, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}, {"Key": "c", "Value": ""}])
    tag(**name, Tags=[{"Key": "b", "Value": "3"}])
    untag(**name, TagKeys=["c", "nothing"])
    assert listed(**name)["Tags"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "3"}]
    check_pages(iam, loose, f"list_{kind}_tags", "Tags", anothers, **name)
    with refused("LimitExceeded", "TagsPer"):
        tag(**name, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(49)])
    with refused("InvalidInput", "aws:"):
        tag(**name, Tags=[{"Key": "aws:x", "Value": ""}])
    # Keys differ by more than their case.
    with refused("InvalidInput", "Duplicate"):
        tag(**name, Tags=[{"Key": "x", "Value": ""}, {"Key": "X", "Value": ""}])
    tag(**name, Tags=[{"Key": "A", "Value": "4"}])
    assert {"Key": "A", "Value": "4"} in listed(**name)["Tags"] and len(listed(**name)["Tags"]) == 2
    if kind != "policy":
        nothing = dict.fromkeys(name, "nothing")
        for operation, more in ((tag, {"Tags": [{"Key": "a", "Value": ""}]}), (untag, {"TagKeys": ["a"]}), (listed, {})):
            with refused("NoSuchEntity", "nothing"):
                operation(**nothing, **more)


def test_documents_are_told_percent_encoded(iam):
    """As on AWS: boto3 decodes them, the wire has RFC 3986."""
    raw = {}
    client = harness.client("iam")
    client.meta.events.register("after-call", lambda http_response, **_: raw.update(text=http_response.text))
    role(iam)
    client.get_role(RoleName="app")
    encoded = urllib.parse.quote(text(TRUST), safe="-_.~")
    assert f"<AssumeRolePolicyDocument>{encoded}</AssumeRolePolicyDocument>" in raw["text"]
