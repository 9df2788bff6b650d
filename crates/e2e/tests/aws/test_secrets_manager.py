"""AWS Secrets Manager: every operation, each of its errors that can be caused, and pages."""

import json

import pytest

from harness import ACCOUNT, client, refused

TOKENS = [letter * 32 for letter in "abcdef"]
LAMBDA = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:rotate"


def policy(principal):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "secretsmanager:*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def secrets():
    return client("secretsmanager")


@pytest.fixture(scope="module")
def anything():
    return client("secretsmanager", validate=False)


@pytest.fixture
def secret(secrets):
    """`shop/db` with the value `one`; its ARN."""
    return secrets.create_secret(Name="shop/db", SecretString="one", ClientRequestToken=TOKENS[0])["ARN"]


def test_a_secret_by_name_arn_and_partial_arn(secrets, secret):
    assert secret[:-6].endswith(":secret:shop/db-")
    for given in ("shop/db", secret, secret[:-7]):
        got = secrets.get_secret_value(SecretId=given)
        assert (got["SecretString"], got["ARN"], got["VersionStages"]) == ("one", secret, ["AWSCURRENT"])
    assert got["VersionId"] == TOKENS[0]
    for given in ("shop", secret[:-8], secret[:-1], "arn:aws:secretsmanager"):
        with refused("ResourceNotFoundException"):
            secrets.get_secret_value(SecretId=given)


def test_creating(secrets, anything, secret):
    again = secrets.create_secret(Name="shop/db", SecretString="one", ClientRequestToken=TOKENS[0])
    assert again["ARN"] == secret
    for value, token in (("two", TOKENS[0]), ("one", TOKENS[1])):
        with refused("ResourceExistsException"):
            secrets.create_secret(Name="shop/db", SecretString=value, ClientRequestToken=token)
    assert "VersionId" not in secrets.create_secret(Name="empty")
    with refused("ResourceNotFoundException", "AWSCURRENT"):
        secrets.get_secret_value(SecretId="empty")
    for arguments in (
        {"Name": "a b"},
        {"Name": ""},
        {},
        {"Name": "x" * 513},
        {"Name": "x", "SecretString": ""},
        {"Name": "x", "SecretString": "x" * 65_537},
        {"Name": "x", "SecretString": "x", "SecretBinary": b"x"},
        {"Name": "x", "SecretString": "x", "ClientRequestToken": "short"},
        {"Name": "x", "Tags": [{"Key": "aws:x", "Value": ""}]},
        {"Name": "x", "Tags": [{"Key": str(number), "Value": ""} for number in range(51)]},
        {"Name": "x", "AddReplicaRegions": [{"Region": "eu-west-1"}]},
        {"Name": "x", "Description": "x" * 2_049},
    ):
        with refused("InvalidParameterException"):
            anything.create_secret(**{"ClientRequestToken": TOKENS[0], **arguments})


def test_versions_and_their_labels(secrets, secret):
    secrets.put_secret_value(SecretId=secret, SecretBinary=b"\x00\xff", ClientRequestToken=TOKENS[1])
    got = secrets.get_secret_value(SecretId=secret)
    assert got["SecretBinary"] == b"\x00\xff" and "SecretString" not in got
    assert secrets.get_secret_value(SecretId=secret, VersionStage="AWSPREVIOUS")["SecretString"] == "one"
    put = secrets.put_secret_value(
        SecretId=secret, SecretString="three", ClientRequestToken=TOKENS[2], VersionStages=["AWSPENDING", "blue"]
    )
    assert put["VersionStages"] == ["AWSPENDING", "blue"]
    secrets.put_secret_value(
        SecretId=secret, SecretString="three", ClientRequestToken=TOKENS[2], VersionStages=["AWSPENDING"]
    )
    with refused("ResourceExistsException"):
        secrets.put_secret_value(SecretId=secret, SecretString="four", ClientRequestToken=TOKENS[2])
    with refused("InvalidRequestException", "VersionStage"):
        secrets.get_secret_value(SecretId=secret, VersionId=TOKENS[2], VersionStage="AWSCURRENT")

    move = {"SecretId": secret, "VersionStage": "AWSCURRENT"}
    for arguments in ({}, {"RemoveFromVersionId": TOKENS[1]}, {"MoveToVersionId": TOKENS[2]}):
        with refused("InvalidParameterException"):
            secrets.update_secret_version_stage(**move, **arguments)
    with refused("ResourceNotFoundException"):
        secrets.update_secret_version_stage(**move, MoveToVersionId=TOKENS[5])
    secrets.update_secret_version_stage(**move, MoveToVersionId=TOKENS[2], RemoveFromVersionId=TOKENS[1])
    secrets.update_secret_version_stage(SecretId=secret, VersionStage="blue", RemoveFromVersionId=TOKENS[2])
    stages = secrets.describe_secret(SecretId=secret)["VersionIdsToStages"]
    assert stages == {TOKENS[1]: ["AWSPREVIOUS"], TOKENS[2]: ["AWSCURRENT", "AWSPENDING"]}

    labelled = secrets.list_secret_version_ids(SecretId=secret)["Versions"]
    assert {version["VersionId"] for version in labelled} == set(TOKENS[1:3])
    seen, token = [], {}
    while True:
        page = secrets.list_secret_version_ids(SecretId=secret, IncludeDeprecated=True, MaxResults=1, **token)
        seen += [version["VersionId"] for version in page["Versions"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert sorted(seen) == TOKENS[:3]
    with refused("InvalidNextTokenException"):
        secrets.list_secret_version_ids(SecretId=secret, NextToken="nobody's")


def test_more_labels_than_there_may_be(secrets, secret):
    for number in range(19):
        secrets.update_secret_version_stage(
            SecretId=secret, VersionStage=f"label-{number}", MoveToVersionId=TOKENS[0]
        )
    with refused("LimitExceededException"):
        secrets.update_secret_version_stage(SecretId=secret, VersionStage="one more", MoveToVersionId=TOKENS[0])


def test_more_versions_of_a_day_than_there_may_be(secrets, secret):
    for number in range(99):
        secrets.put_secret_value(SecretId=secret, SecretString=str(number))
    for operation in (secrets.put_secret_value, secrets.update_secret):
        with refused("LimitExceededException", "100 versions"):
            operation(SecretId=secret, SecretString="one more")


def test_updating(secrets, secret):
    keys = client("kms")
    keys.create_alias(AliasName="alias/k", TargetKeyId=keys.create_key()["KeyMetadata"]["KeyId"])
    secrets.update_secret(SecretId=secret, Description="d", KmsKeyId="alias/k")
    told = secrets.describe_secret(SecretId=secret)
    assert (told["Description"], told["KmsKeyId"]) == ("d", "alias/k")
    updated = secrets.update_secret(SecretId=secret, SecretString="two", ClientRequestToken=TOKENS[1])
    assert updated["VersionId"] == TOKENS[1]
    with refused("ResourceExistsException"):
        secrets.update_secret(SecretId=secret, SecretString="three", ClientRequestToken=TOKENS[1])
    with refused("InvalidParameterException"):
        secrets.update_secret(SecretId=secret, SecretString="x", SecretBinary=b"x")
    with refused("ResourceNotFoundException"):
        secrets.update_secret(SecretId="none", Description="d")


def test_a_batch(secrets, secret):
    secrets.create_secret(Name="shop/key", SecretString="k")
    batch = secrets.batch_get_secret_value(SecretIdList=["shop/key", "none", secret])
    assert [value["SecretString"] for value in batch["SecretValues"]] == ["k", "one"]
    assert [error["ErrorCode"] for error in batch["Errors"]] == ["ResourceNotFoundException"]
    first = secrets.batch_get_secret_value(Filters=[{"Key": "name", "Values": ["shop/"]}], MaxResults=1)
    rest = secrets.batch_get_secret_value(
        Filters=[{"Key": "name", "Values": ["shop/"]}], NextToken=first["NextToken"]
    )
    values = first["SecretValues"] + rest["SecretValues"]
    assert sorted(value["Name"] for value in values) == ["shop/db", "shop/key"] and "NextToken" not in rest
    for arguments in ({}, {"SecretIdList": ["a"], "Filters": [{"Key": "name", "Values": ["a"]}]}):
        with refused("InvalidParameterException"):
            secrets.batch_get_secret_value(**arguments)
    with refused("InvalidNextTokenException"):
        secrets.batch_get_secret_value(Filters=[{"Key": "name", "Values": ["a"]}], NextToken="nobody's")


def test_lists(secrets, anything):
    for number in range(5):
        tags = [{"Key": "tier", "Value": f"t{number}"}]
        secrets.create_secret(Name=f"list/{number}", Description=f"secret number{number}", Tags=tags)
    pages = secrets.get_paginator("list_secrets").paginate(SortBy="name", PaginationConfig={"PageSize": 2})
    names = [[entry["Name"] for entry in page["SecretList"]] for page in pages]
    assert names == [["list/4", "list/3"], ["list/2", "list/1"], ["list/0"]]

    def found(*values, key):
        answer = secrets.list_secrets(Filters=[{"Key": key, "Values": list(values)}], SortOrder="asc", SortBy="name")
        return [entry["Name"][-1] for entry in answer["SecretList"]]

    assert found("list/1", "list/3", key="name") == ["1", "3"]
    assert found("!list/1", key="name") == ["0", "2", "3", "4"]
    assert found("number2", key="description") == ["2"]
    assert found("t4", key="tag-value") == ["4"] and len(found("tier", key="tag-key")) == 5
    assert found("NUMBER0", key="all") == ["0"]
    assert len(found("us-east-1", key="primary-region")) == 5 and found("x", key="owning-service") == []
    for arguments in (
        {"MaxResults": 0},
        {"MaxResults": 101},
        {"SortBy": "size"},
        {"Filters": [{"Key": "size", "Values": ["1"]}]},
        {"Filters": [{"Key": "name", "Values": []}]},
        {"Filters": [{"Key": "name", "Values": ["\u00e4"]}]},
    ):
        with refused("InvalidParameterException"):
            anything.list_secrets(**arguments)
    with refused("InvalidNextTokenException"):
        secrets.list_secrets(NextToken="nobody's")


def test_deleting_and_restoring(secrets, secret):
    for arguments in (
        {"RecoveryWindowInDays": 6},
        {"RecoveryWindowInDays": 31},
        {"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True},
    ):
        with refused("InvalidParameterException"):
            secrets.delete_secret(SecretId=secret, **arguments)
    deleted = secrets.delete_secret(SecretId=secret)
    told = secrets.describe_secret(SecretId=secret)
    assert told["DeletedDate"] == deleted["DeletionDate"]
    assert (told["DeletedDate"] - told["CreatedDate"]).days in (29, 30)
    one = {"SecretId": secret}
    for operation, arguments in (
        (secrets.get_secret_value, {}),
        (secrets.put_secret_value, {"SecretString": "x"}),
        (secrets.update_secret, {"Description": "x"}),
        (secrets.update_secret_version_stage, {"VersionStage": "x", "MoveToVersionId": TOKENS[0]}),
        (secrets.delete_secret, {}),
        (secrets.rotate_secret, {}),
        (secrets.cancel_rotate_secret, {}),
        (secrets.tag_resource, {"Tags": []}),
        (secrets.untag_resource, {"TagKeys": []}),
        (secrets.get_resource_policy, {}),
        (secrets.put_resource_policy, {"ResourcePolicy": policy({"AWS": ACCOUNT})}),
        (secrets.delete_resource_policy, {}),
    ):
        with refused("InvalidRequestException", "deletion"):
            operation(**one, **arguments)
    with refused("InvalidRequestException", "scheduled"):
        secrets.create_secret(Name="shop/db")
    assert secrets.list_secrets()["SecretList"] == []
    assert len(secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]) == 1
    secrets.restore_secret(**one)
    assert secrets.get_secret_value(**one)["SecretString"] == "one"
    secrets.delete_secret(**one, ForceDeleteWithoutRecovery=True)
    secrets.delete_secret(**one, ForceDeleteWithoutRecovery=True)
    assert secrets.create_secret(Name="shop/db")["ARN"] != secret


@pytest.mark.parametrize(
    "given, code", [("none", "ResourceNotFoundException"), ("x" * 2_049, "InvalidParameterException")]
)
def test_what_is_not_there(anything, given, code):
    secrets, one = anything, {"SecretId": given}
    for operation, arguments in (
        (secrets.get_secret_value, {}),
        (secrets.put_secret_value, {"SecretString": "x"}),
        (secrets.describe_secret, {}),
        (secrets.list_secret_version_ids, {}),
        (secrets.update_secret_version_stage, {"VersionStage": "x", "MoveToVersionId": TOKENS[0]}),
        (secrets.delete_secret, {}),
        (secrets.restore_secret, {}),
        (secrets.rotate_secret, {}),
        (secrets.cancel_rotate_secret, {}),
        (secrets.tag_resource, {"Tags": []}),
        (secrets.untag_resource, {"TagKeys": []}),
        (secrets.get_resource_policy, {}),
        (secrets.put_resource_policy, {"ResourcePolicy": policy({"AWS": ACCOUNT})}),
        (secrets.delete_resource_policy, {}),
        (secrets.validate_resource_policy, {"ResourcePolicy": policy({"AWS": ACCOUNT})}),
    ):
        with refused(code):
            operation(**one, **arguments)


def test_tags(secrets, secret):
    secrets.tag_resource(SecretId=secret, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    secrets.tag_resource(SecretId=secret, Tags=[{"Key": "b", "Value": "3"}])
    secrets.untag_resource(SecretId=secret, TagKeys=["a", "never"])
    assert secrets.describe_secret(SecretId=secret)["Tags"] == [{"Key": "b", "Value": "3"}]
    with refused("InvalidParameterException", "aws:"):
        secrets.tag_resource(SecretId=secret, Tags=[{"Key": "aws:b", "Value": ""}])


def test_policies(secrets, secret):
    mine = policy({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    assert "ResourcePolicy" not in secrets.get_resource_policy(SecretId=secret)
    secrets.put_resource_policy(SecretId=secret, ResourcePolicy=mine, BlockPublicPolicy=True)
    assert secrets.get_resource_policy(SecretId=secret)["ResourcePolicy"] == mine
    secrets.delete_resource_policy(SecretId=secret)
    assert "ResourcePolicy" not in secrets.get_resource_policy(SecretId=secret)
    with refused("PublicPolicyException"):
        secrets.put_resource_policy(SecretId=secret, ResourcePolicy=policy("*"), BlockPublicPolicy=True)
    for operation in (secrets.put_resource_policy, secrets.validate_resource_policy):
        with refused("MalformedPolicyDocumentException"):
            operation(SecretId=secret, ResourcePolicy="{")
    assert secrets.validate_resource_policy(ResourcePolicy=mine)["PolicyValidationPassed"]
    answer = secrets.validate_resource_policy(SecretId=secret, ResourcePolicy=policy("*"))
    assert not answer["PolicyValidationPassed"] and answer["ValidationErrors"]


def test_rotation_is_recorded(secrets, secret):
    for arguments in ({}, {"RotationLambdaARN": LAMBDA}):
        with refused("InvalidRequestException"):
            secrets.rotate_secret(SecretId=secret, **arguments)
    for rules in ({"AutomaticallyAfterDays": 1, "ScheduleExpression": "rate(1 day)"}, {"ScheduleExpression": "daily"}):
        with refused("InvalidParameterException"):
            secrets.rotate_secret(
                SecretId=secret, RotationLambdaARN=LAMBDA, RotationRules=rules, RotateImmediately=False
            )
    secrets.rotate_secret(
        SecretId=secret,
        RotationLambdaARN=LAMBDA,
        RotationRules={"ScheduleExpression": "rate(10 days)", "Duration": "3h"},
        RotateImmediately=False,
    )
    told = secrets.describe_secret(SecretId=secret)
    assert told["RotationEnabled"] and told["RotationLambdaARN"] == LAMBDA
    assert (told["NextRotationDate"] - told["CreatedDate"]).days in (9, 10)
    secrets.cancel_rotate_secret(SecretId=secret)
    assert not secrets.describe_secret(SecretId=secret)["RotationEnabled"]


def test_passwords(secrets):
    assert len(secrets.get_random_password()["RandomPassword"]) == 32
    digits = secrets.get_random_password(
        PasswordLength=8, ExcludeLowercase=True, ExcludeUppercase=True, ExcludePunctuation=True
    )
    assert digits["RandomPassword"].isdigit()
    for arguments in ({"PasswordLength": 4_097}, {"PasswordLength": 2}):
        with refused("InvalidParameterException"):
            secrets.get_random_password(**arguments)
