"""STS."""

import datetime
import json

import pytest

import harness
from harness import ACCOUNT, refused

ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        }
    ],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture(scope="module")
def loose():
    return harness.client("sts", validate=False)


@pytest.fixture
def role(iam):
    """The ARN of a role that the account may assume, and that may do everything."""
    iam.create_role(RoleName="app", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName="app", PolicyName="all", PolicyDocument=json.dumps(ALLOW))
    return ROLE


def client(credentials, service="sts"):
    key = (credentials["AccessKeyId"], credentials["SecretAccessKey"])
    return harness.client(service, key=key, token=credentials["SessionToken"])


def lasting(credentials):
    """How many seconds credentials last from now."""
    return (credentials["Expiration"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def test_who_one_is(sts):
    told = sts.get_caller_identity()
    assert (told["Account"], told["Arn"], told["UserId"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)


def test_a_role_is_assumed(sts, iam, role):
    answer = sts.assume_role(
        RoleArn=role,
        RoleSessionName="me",
        DurationSeconds=900,
        Policy=json.dumps(ALLOW),
        PolicyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}],
        Tags=[{"Key": "team", "Value": "a"}],
        SourceIdentity="ann",
    )
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/me"
    role_id = iam.get_role(RoleName="app")["Role"]["RoleId"]
    assert answer["AssumedRoleUser"] == {"AssumedRoleId": f"{role_id}:me", "Arn": session}
    assert answer["SourceIdentity"] == "ann" and 0 < answer["PackedPolicySize"] <= 100
    credentials = answer["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA") and 800 < lasting(credentials) <= 900
    told = client(credentials).get_caller_identity()
    assert (told["Arn"], told["UserId"]) == (session, f"{role_id}:me")
    assert client(credentials, "iam").list_roles()["Roles"]
    with refused("AccessDenied", "session credentials"):
        client(credentials).get_session_token()
    # Part of the credentials is not enough.
    half = harness.client("sts", key=(credentials["AccessKeyId"], credentials["SecretAccessKey"]))
    with refused("InvalidClientTokenId"):
        half.get_caller_identity()


def test_a_sessions_policy_limits_it(sts, role):
    reading = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:List*", "Resource": "*"}]}
    answer = sts.assume_role(RoleArn=role, RoleSessionName="me", Policy=json.dumps(reading))
    limited = client(answer["Credentials"], "iam")
    assert limited.list_users()["Users"] == []
    with refused("AccessDenied", "iam:CreateUser"):
        limited.create_user(UserName="ann")


def test_roles_that_are_not_assumed(sts, loose, iam, role):
    with refused("AccessDenied", "sts:AssumeRole"):
        sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/nothing", RoleSessionName="me")
    services = json.dumps(TRUST).replace(f'"AWS": "arn:aws:iam::{ACCOUNT}:root"', '"Service": "ecs.amazonaws.com"')
    iam.create_role(RoleName="other", AssumeRolePolicyDocument=services)
    with refused("AccessDenied", "sts:AssumeRole"):
        sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/other", RoleSessionName="me")
    with refused("MalformedPolicyDocument"):
        sts.assume_role(RoleArn=role, RoleSessionName="me", Policy="{}")
    long = json.dumps({**ALLOW, "Statement": [{**ALLOW["Statement"][0], "Resource": ["a" * 50] * 45}]})
    with refused("PackedPolicyTooLarge"):
        sts.assume_role(RoleArn=role, RoleSessionName="me", Policy=long[:2040], PolicyArns=[
            {"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}])  # fmt: skip
    with refused("ValidationError", "MaxSessionDuration"):
        sts.assume_role(RoleArn=role, RoleSessionName="me", DurationSeconds=7200)
    for wrong, member in (
        ({"DurationSeconds": 899}, "durationSeconds"),
        ({"RoleSessionName": "x"}, "roleSessionName"),
        ({"RoleSessionName": "with space"}, "roleSessionName"),
        ({"RoleArn": "short"}, "roleArn"),
        ({"ExternalId": "x"}, "externalId"),
    ):
        with refused("ValidationError", member):
            loose.assume_role(**{"RoleArn": role, "RoleSessionName": "me", **wrong})
    with refused("ValidationError"):
        loose.assume_role(RoleSessionName="me")


def test_a_session_of_ones_own(sts, iam):
    credentials = sts.get_session_token(DurationSeconds=900)["Credentials"]
    assert 800 < lasting(credentials) <= 900
    assert client(credentials).get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    ann = harness.client("sts", key=(key["AccessKeyId"], key["SecretAccessKey"]))
    credentials = ann.get_session_token()["Credentials"]
    assert 43_000 < lasting(credentials) <= 43_200
    assert client(credentials).get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ann"


def test_whose_key_it_is(sts, loose):
    assert sts.get_access_key_info(AccessKeyId="AKIAIOSFODNN7EXAMPLE")["Account"] == ACCOUNT
    with refused("ValidationError", "accessKeyId"):
        loose.get_access_key_info(AccessKeyId="short")


def test_keys_that_are_not(sts):
    with refused("InvalidClientTokenId"):
        harness.client("sts", key=("AKIANOTHINGNOTHING00", "secret")).get_caller_identity()
    with refused("SignatureDoesNotMatch"):
        harness.client("sts", key=("test", "wrong")).get_caller_identity()
