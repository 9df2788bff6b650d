"""Runs in a task, with nothing but what the task was given."""

import os
import sys
import urllib.error
import urllib.request

import boto3
import botocore.exceptions

GIVEN = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")

if sys.argv[1] == "none":
    found = [name for name in GIVEN if name in os.environ]
    assert not found, found
    try:
        urllib.request.urlopen("http://169.254.170.2/", timeout=5)
    except urllib.error.HTTPError as error:
        raise SystemExit("somebody answers") from error
    except OSError:
        raise SystemExit(0) from None
    raise SystemExit("somebody answers")

for name in GIVEN:
    assert os.environ[name], name
identity = boto3.client("sts").get_caller_identity()
task = os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"].rsplit("/", 1)[1]
assert identity["Arn"].endswith(f":assumed-role/reader/{task}"), identity

ecs = boto3.client("ecs")
assert ecs.list_clusters()["clusterArns"], "the role's policy allows it"
try:
    ecs.create_cluster(clusterName="another")
except botocore.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "AccessDeniedException", error
else:
    raise SystemExit("the role's policy does not allow it")

# The key that is the root user's on the machine is nobody's from within a task.
root = boto3.client("sts", aws_access_key_id="test", aws_secret_access_key="test")
try:
    print(root.get_caller_identity())
except botocore.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "InvalidClientTokenId", error
else:
    raise SystemExit("a task is the root user")

# Another's path is not answered.
try:
    urllib.request.urlopen("http://169.254.170.2/v2/credentials/" + "0" * 32, timeout=5)
except urllib.error.HTTPError as error:
    assert error.code == 404, error
else:
    raise SystemExit("another task's credentials")
