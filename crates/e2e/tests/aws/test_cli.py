"""The aws CLI: what it adds to the calls of boto3."""

import contextlib
import io
import json
import os
import subprocess
from unittest import mock

from awscli.clidriver import create_clidriver

from harness import ENDPOINT, IDLE, arn, define, serve, wait


def aws(*arguments, code=0):
    """Runs the CLI's own main function, which spares a process, and gives what it printed."""
    out, error = io.StringIO(), io.StringIO()
    variables = mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": ENDPOINT})
    with variables, contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        found = create_clidriver().main(list(arguments))
    assert found == code, f"aws {' '.join(arguments)}: {found} {out.getvalue()} {error.getvalue()}"
    return out.getvalue() if code == 0 else error.getvalue()


def process(*arguments, **variables):
    """Runs the CLI as people do."""
    environment = {**os.environ, **variables}
    done = subprocess.run(["aws", *arguments], capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_the_endpoint_by_option_and_by_variable():
    made = process("--endpoint-url", ENDPOINT, "ecs", "create-cluster")
    assert made["cluster"]["clusterArn"] == arn("cluster/default")
    assert process("ecs", "list-clusters", AWS_ENDPOINT_URL=ENDPOINT)["clusterArns"] == [arn("cluster/default")]


def test_input_from_a_file(ecs, tmp_path):
    definition = {"family": "from-a-file", "containerDefinitions": [IDLE]}
    path = tmp_path / "definition.json"
    path.write_text(json.dumps(definition))
    query = "taskDefinition.[family, to_string(revision), containerDefinitions[0].command[1]]"
    arguments = ("--cli-input-json", f"file://{path}", "--query", query, "--output", "text")
    assert aws("ecs", "register-task-definition", *arguments).split() == ["from-a-file", "1", "1000"]


def test_tables_pages_and_errors(ecs):
    for name in ("a", "b", "c"):
        ecs.create_cluster(clusterName=name)
    table = aws("ecs", "describe-clusters", "--clusters", "a", "--output", "table")
    assert "DescribeClusters" in table.splitlines()[1]
    assert "||  clusterName" in table and arn("cluster/a") in table
    page = json.loads(aws("ecs", "list-clusters", "--page-size", "1", "--max-items", "2"))
    assert len(page["clusterArns"]) == 2
    rest = json.loads(aws("ecs", "list-clusters", "--starting-token", page["NextToken"]))
    assert rest["clusterArns"] == [arn("cluster/c")]
    error = aws("ecs", "delete-cluster", "--cluster", "nothing", code=255)
    assert "(ClusterNotFoundException) when calling the DeleteCluster operation: Cluster not found." in error


def test_waiters(ecs, cluster):
    define(ecs, "idle", IDLE)
    serve(ecs, "idle", definition="idle")
    task = ecs.run_task(taskDefinition="idle")["tasks"][0]["taskArn"]
    # The CLI asks every 15 or 6 seconds: what it waits for must have happened when it asks first.
    wait(ecs, "services_stable", services=["idle"])
    wait(ecs, "tasks_running", tasks=[task])
    aws("ecs", "wait", "services-stable", "--services", "idle")
    aws("ecs", "wait", "tasks-running", "--tasks", task)
    ecs.stop_task(task=task)
    ecs.delete_service(service="idle", force=True)
    wait(ecs, "tasks_stopped", tasks=[task])
    wait(ecs, "services_inactive", services=["idle"])
    aws("ecs", "wait", "tasks-stopped", "--tasks", task)
    aws("ecs", "wait", "services-inactive", "--services", "idle")
    # A service that cannot become stable ends the wait at once.
    aws("ecs", "wait", "services-stable", "--services", "nothing", code=255)
