"""AWS X-Ray's own SDK against the daemon's protocol, at $BOWLINE_XRAY_DAEMON.

Source of what it sends: the package aws-xray-sdk.
"""

import os
import time

import pytest
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.daemon_config import DaemonConfig
from aws_xray_sdk.core.sampling.local.sampler import LocalSampler
from aws_xray_sdk.core.sampling.sampler import DefaultSampler

from harness import client, eventually

DAEMON = os.environ.get("BOWLINE_XRAY_DAEMON")


@pytest.fixture
def xray():
    return client("xray")


def window():
    return {"StartTime": time.time() - 60, "EndTime": time.time() + 60}


def test_segments_of_the_sdk_are_a_trace(xray):
    all_of_them = {"version": 2, "rules": [], "default": {"fixed_target": 100, "rate": 1.0}}
    xray_recorder.configure(service="shop", daemon_address=DAEMON, sampling=False, sampler=LocalSampler(all_of_them))
    with xray_recorder.in_segment("shop") as segment:
        segment.put_annotation("color", "red")
        with xray_recorder.in_subsegment("cart", namespace="remote"):
            pass
    trace = segment.trace_id

    def found():
        answer = xray.get_trace_summaries(**window(), FilterExpression='edge("shop", "cart") AND annotation.color = "red"')
        return [summary["Id"] for summary in answer["TraceSummaries"]]

    assert eventually("the trace", found) == [trace]


def test_the_sdk_asks_for_rules_and_targets(xray):
    rule = {
        "RuleName": "none", "Priority": 1, "FixedRate": 0, "ReservoirSize": 0, "Version": 1, "ResourceARN": "*",
        "ServiceName": "quiet", "ServiceType": "*", "Host": "*", "HTTPMethod": "*", "URLPath": "*",
    }
    xray.create_sampling_rule(SamplingRule=rule)
    xray.update_sampling_rule(SamplingRuleUpdate={"RuleName": "Default", "FixedRate": 1, "ReservoirSize": 10})
    sampler = DefaultSampler()
    xray_recorder.configure(daemon_address=DAEMON, sampling=True, sampler=sampler)
    sampler.load_settings(DaemonConfig(DAEMON), xray_recorder.context)
    sampler.start()

    def quiet():
        # Before the rules are there, a local one decides.
        decision = sampler.should_trace({"service": "quiet"})
        return not decision and sampler._cache.rules

    eventually("the rules", quiet, limit=120)
    assert not any(sampler.should_trace({"service": "quiet"}) for _ in range(20))
    assert sampler.should_trace({"service": "loud"})

