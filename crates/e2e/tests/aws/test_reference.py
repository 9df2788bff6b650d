"""The reference documents' own command lines: reference_commands.sh, and what the CLI refuses.

The documents are named by file and line, as the script and docs/src/reference-commands.md name them.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from harness import ENDPOINT, eventually, wait

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parents[3] / "docs/src/reference-commands.md"
NOTES = "service-connect-notes.md"
README = "tls-demo-readme.md"

# Operations of the script that are not served yet. What has begun to work must leave the list.
NOT_YET: set[tuple[str, str]] = set()

# Where the documents have a command of a service that is served, or soon is.
SERVED = {
    (NOTES, line) for line in (427, 469, 474, 482, 495, 1004, 1773, 1814, 1838, 1857, 1867)
} | {
    (NOTES, line) for line in (1799, 1906, 2105, 2111, 2210, 2373, 2383, 2390)
} | {(README, line) for line in (194, 199, 291, 319, 325, 340)}

# The wrapper that stands before the CLI while the script runs: it writes down what each call did.
WRAPPER = """#!{python}
import json, os, subprocess, sys
done = subprocess.run([{real!r}, *sys.argv[1:]], stderr=subprocess.PIPE, text=True)
sys.stderr.write(done.stderr)
with open({log!r}, "a") as log:
    log.write(json.dumps({{"call": sys.argv[1:], "code": done.returncode, "error": done.stderr}}) + "\\n")
sys.exit(done.returncode)
"""


def environment(**more):
    return {**os.environ, "AWS_ENDPOINT_URL": ENDPOINT, **more}


def test_the_script_has_every_line_of_the_documents():
    scripts = "".join((HERE / f"reference_{name}.sh").read_text() for name in ("commands", "certificates"))
    marks = re.findall(r"^# from: (\S+):(\d+)", scripts, re.MULTILINE)
    assert {(document, int(line)) for document, line in marks} == SERVED


def test_the_script_does_what_it_should(ecs, tmp_path):
    log, tools, work = tmp_path / "log", tmp_path / "tools", tmp_path / "work"
    tools.mkdir(), work.mkdir()
    (tools / "aws").write_text(WRAPPER.format(python=sys.executable, real=shutil.which("aws"), log=str(log)))
    (tools / "aws").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-u", HERE / "reference_commands.sh"],
        cwd=work, env=environment(PATH=path), capture_output=True, text=True, timeout=300,
    )
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(calls) >= 24, done
    unknown = set()
    for call in calls:
        if re.search(r"\((UnknownOperationException|InvalidAction)\)", call["error"]):
            unknown.add(tuple(call["call"][:2]))
        else:
            assert call["code"] == 0, call
    assert unknown == NOT_YET, "what works now must leave NOT_YET; what stopped to work must be looked at"

    # The last: what the README asks for is there.
    assert '"arn:aws:ecs:us-east-1:000000000000:cluster/fast-api-cluster"' in done.stdout
    assert [arn.rsplit("/")[-1] for arn in ecs.list_clusters()["clusterArns"]] == ["fast-api-cluster", "my-cluster"]
    for cluster, services in (
        ("my-cluster", ["backend-service", "frontend-service"]),
        ("fast-api-cluster", ["service-a", "service-b"]),
    ):
        wait(ecs, "services_stable", limit=40, cluster=cluster, services=services)

    def frontend():
        tasks = ecs.list_tasks(cluster="my-cluster", serviceName="frontend-service")["taskArns"]
        return tasks and ecs.describe_tasks(cluster="my-cluster", tasks=tasks)["tasks"][0]["healthStatus"] == "HEALTHY"

    eventually("the frontend has an answer of the backend, by its alias", frontend, limit=120)


def test_the_certificates_of_the_notes_are_imported(tmp_path):
    done = subprocess.run(
        ["bash", "-u", HERE / "reference_certificates.sh"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert len(re.findall(r'"CertificateArn": "arn:aws:acm:', done.stdout)) == 8, done.stdout


NETWORK = "awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=DISABLED}"


def service(name):
    return [
        "ecs", "create-service", "--cluster", "my-cluster", "--service-name", name,
        "--task-definition", "backend-task-def", "--network-configuration", NETWORK, "--enable-service-connect",
    ]  # fmt: skip


def definition(block):
    container = [{"name": "backend", "image": "python:3"}]
    body = {"family": "backend-task-def", "containerDefinitions": container, "serviceConnectConfiguration": block}
    return ["ecs", "register-task-definition", "--cli-input-json", json.dumps(body)]


def connect(block):
    arguments = ["ecs", "create-service", "--service-name", "a", "--task-definition", "a", "--desired-count", "1"]
    return [*arguments, "--service-connect-configuration", json.dumps(block)]


BLOCK = {"enabled": True, "namespace": "my-namespace"}
ENCRYPTED = {
    **BLOCK,
    "encryptionConfiguration": {"certificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/a", "mode": "TLS"},
}

# As the documents have it: the lines, the command, and the CLI's error in the page's words.
REFUSED = [
    ((1857,), service("backend-service"), "Unknown options: --enable-service-connect"),
    ((1867,), service("frontend-service"), "Unknown options: --enable-service-connect"),
    (
        (215, 1814, 1838, 2125, 2224, 2407),
        definition(BLOCK),
        'Unknown parameter in input: "serviceConnectConfiguration", must be one of: family,',
    ),
    (
        (225, 1824, 1914, 2135, 2234, 2417),
        connect(ENCRYPTED),
        'Unknown parameter in serviceConnectConfiguration: "encryptionConfiguration", must be one of: enabled,',
    ),
]


@pytest.mark.parametrize("lines, command, error", REFUSED)
def test_what_the_cli_refuses_is_in_the_page(lines, command, error):
    done = subprocess.run(["aws", *command], env=environment(), capture_output=True, text=True, timeout=180)
    assert done.returncode != 0 and error in done.stderr, done
    page = PAGE.read_text()
    assert error in page
    for line in lines:
        assert f"{NOTES}:{line}" in page, line
