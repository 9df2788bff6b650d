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


@pytest.fixture(scope="session")
def cloud_map():
    return harness.client("servicediscovery")


@pytest.fixture(scope="session")
def iam():
    return harness.client("iam")


@pytest.fixture(scope="session")
def sts():
    return harness.client("sts")


@pytest.fixture(scope="session")
def cloudformation():
    return harness.client("cloudformation")


@pytest.fixture(scope="session")
def cloudtrail():
    return harness.client("cloudtrail")


@pytest.fixture(scope="session")
def cloudwatch():
    return harness.client("cloudwatch")


@pytest.fixture
def cluster(ecs):
    """The cluster `default`, with a namespace for Service Connect."""
    return ecs.create_cluster(serviceConnectDefaults={"namespace": "internal"})["cluster"]


def pytest_sessionfinish(session, exitstatus):
    # A failure may hide the rest; a choice of cases covers little, and does not ask.
    if exitstatus != 0 or session.config.option.keyword or not os.environ.get("BOWLINE_COVERAGE"):
        return
    missing = coverage_of_errors.missing(harness.SEEN)
    if missing:
        print("\nnot covered:\n  " + "\n  ".join(missing))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
