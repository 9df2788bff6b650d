"""Runs in a task, with nothing but what the task was given. Its argument says what that should be."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
import botocore.exceptions

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
ALWAYS = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")
ADDRESS = "http://169.254.170.2"


def status(url):
    """The status of an answer to a request without a token; None where nobody answers."""
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise SystemExit(f"{code} was expected")


def sdk():
    """What the role may is done, and nothing else."""
    identity = boto3.client("sts").get_caller_identity()
    print("I am", identity["Arn"], flush=True)
    ecs = boto3.client("ecs")
    assert ecs.list_clusters()["clusterArns"], "the role's policy allows it"
    refused("AccessDeniedException", ecs.create_cluster, clusterName="another")
    # The key that is the root user's on the machine is nobody's from within a task.
    root = boto3.client("sts", aws_access_key_id="test", aws_secret_access_key="test")
    refused("InvalidClientTokenId", root.get_caller_identity)


def cli():
    command = [os.path.join(os.path.dirname(sys.executable), "aws"), "sts", "get-caller-identity"]
    told = subprocess.run([*command, "--query", "Arn", "--output", "text"], check=True, stdout=subprocess.PIPE)
    print("The CLI is", told.stdout.decode().strip(), flush=True)


def role():
    assert all(os.environ[name] for name in (URI, *ALWAYS))
    assert FULL_URI not in os.environ and TOKEN not in os.environ
    sdk()
    cli()
    task = os.environ[URI]
    assert status(ADDRESS + task) == 200
    # A path that is not this task's is not answered, be it a task's id.
    for path in ("/", "/v2/credentials", "/v2/credentials/" + "0" * 32, task[:-1], "/latest/meta-data"):
        assert status(ADDRESS + path) == 404, path
    # Nor is there anything else at the address where clouds keep a machine's credentials.
    assert status("http://169.254.169.254/latest/meta-data/") is None


def host():
    assert all(os.environ[name] for name in (FULL_URI, TOKEN, *ALWAYS))
    assert URI not in os.environ
    sdk()
    assert status(os.environ[FULL_URI]) == 401, "who has no token is given nothing"


def denied():
    assert status(ADDRESS + os.environ[URI]) == 403
    try:
        boto3.client("sts").get_caller_identity()
    except botocore.exceptions.CredentialRetrievalError as error:
        assert "ecs-tasks.amazonaws.com is not authorized to perform: sts:AssumeRole" in str(error), error
    else:
        raise SystemExit("there are credentials")


def none():
    found = [name for name in (URI, FULL_URI, TOKEN, *ALWAYS) if name in os.environ]
    assert not found, found
    assert status(ADDRESS + "/") is None, "somebody answers"


{"role": role, "host": host, "denied": denied, "none": none}[sys.argv[1]]()
