"""A clean server for every case, and at the end what no case has covered."""

import os

import pytest

import coverage_of_errors
import harness


@pytest.fixture(autouse=True)
def clean_server():
    # A server that keeps its state cannot be reset.
    if not os.environ.get("BOWLINE_KEEP"):
        harness.reset()


@pytest.fixture(scope="session")
def ecs():
    return harness.client()


@pytest.fixture(scope="session")
def loose():
    """A client that does not look at what it sends."""
    return harness.client(validate=False)


@pytest.fixture
def cluster(ecs):
    """The cluster `default`, with a namespace for Service Connect."""
    return ecs.create_cluster(serviceConnectDefaults={"namespace": "internal"})["cluster"]


def pytest_sessionfinish(session, exitstatus):
    # A failure may hide the rest; a choice of cases, by -k, covers little.
    if exitstatus != 0 or session.config.option.keyword:
        return
    missing = coverage_of_errors.missing(harness.OPERATIONS, harness.SEEN)
    if missing:
        print("\nnot covered:\n  " + "\n  ".join(missing))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
