"""Application Auto Scaling: services have as many tasks as what is measured asks for."""

import datetime

import pytest

import harness
from harness import ACCOUNT, REGION, define, eventually, refused, serve, wait
from test_alarms import ERRORS, measure
from test_cli import aws

ID = "service/default/web"
OF = {"ServiceNamespace": "ecs", "ResourceId": ID, "ScalableDimension": "ecs:service:DesiredCount"}
QUEUE = [{"Name": "Queue", "Value": "orders"}]


@pytest.fixture(scope="module")
def scaling():
    return harness.client("application-autoscaling")


@pytest.fixture(scope="module")
def loose_scaling():
    return harness.client("application-autoscaling", validate=False)


@pytest.fixture(scope="module")
def cloudwatch():
    return harness.client("cloudwatch")


@pytest.fixture
def web(ecs, cluster, scaling):
    """A service of two tasks, which may have one to four."""
    define(ecs)
    serve(ecs, desired_count=2)
    wait(ecs, "services_stable", services=["web"])
    scaling.register_scalable_target(**OF, MinCapacity=1, MaxCapacity=4, Tags={"bowline:metric-period": "10"})


def told(ecs):
    return ecs.describe_services(services=["web"])["services"][0]


def track(scaling, target=10.0, **more):
    metric = {"MetricName": "Waiting", "Namespace": "Shop", "Dimensions": QUEUE, "Statistic": "Average"}
    configuration = {
        "TargetValue": target,
        "CustomizedMetricSpecification": metric,
        "ScaleOutCooldown": 0,
        "ScaleInCooldown": 0,
        **more,
    }
    return scaling.put_scaling_policy(
        **OF,
        PolicyName="queue",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )


def test_target_tracking_scales_out(ecs, scaling, cloudwatch, web):
    put = track(scaling)
    names = [alarm["AlarmName"] for alarm in put["Alarms"]]
    assert sorted(name.rsplit("-", 5)[0] for name in names) == [
        "TargetTracking-service/default/web-AlarmHigh",
        "TargetTracking-service/default/web-AlarmLow",
    ]
    alarms = cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
    assert {(alarm["EvaluationPeriods"], alarm["Threshold"], alarm["Period"]) for alarm in alarms} == {
        (3, 10.0, 10),
        (15, 9.0, 10),
    }
    assert all(alarm["AlarmActions"] == [put["PolicyARN"]] for alarm in alarms)
    # 2 tasks of 15 are 3 of 10.
    measure(cloudwatch, 15, 15, 15, name="Waiting", dimensions=QUEUE)
    eventually("three tasks are wanted", lambda: told(ecs)["desiredCount"] == 3)
    wait(ecs, "services_stable", services=["web"])

    def activities():
        found = scaling.describe_scaling_activities(**OF)["ScalingActivities"]
        return [it for it in found if it["StatusCode"] == "Successful"]

    activity = eventually("the activity is over", activities)[0]
    assert activity["Description"] == "Setting desired count to 3."
    assert activity["Cause"].endswith("in state ALARM triggered policy queue") and "AlarmHigh" in activity["Cause"]
    assert activity["StatusMessage"] == "Successfully set desired count to 3. Change successfully fulfilled by ecs."
    assert len(told(ecs)["deployments"]) == 1, "scaling deploys nothing"
    described = scaling.describe_scaling_policies(**OF)["ScalingPolicies"][0]
    assert described["PolicyARN"] == put["PolicyARN"]
    assert [alarm["AlarmName"] for alarm in described["Alarms"]] == sorted(names)
    scaling.delete_scaling_policy(**OF, PolicyName="queue")
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_target_tracking_scales_in_and_tasks_drain_first(ecs, scaling, cloudwatch, web):
    track(scaling)
    measure(cloudwatch, *[2] * 15, name="Waiting", dimensions=QUEUE)
    eventually("one task is enough", lambda: told(ecs)["desiredCount"] == 1)
    wait(ecs, "services_stable", services=["web"])
    # The agent's work and the alarm's are told as they come.
    messages = " ".join(event["message"] for event in told(ecs)["events"])
    assert "was scaled to 1 tasks: monitor alarm TargetTracking-service/default/web-AlarmLow-" in messages
    assert "has begun draining connections on 1 tasks" in messages


def test_steps_by_an_alarm_of_ones_own(ecs, scaling, cloudwatch, web):
    steps = [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 9},
    ]
    configuration = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps, "Cooldown": 60}
    put = scaling.put_scaling_policy(**OF, PolicyName="steps", StepScalingPolicyConfiguration=configuration)
    assert put["PolicyARN"].endswith(":resource/ecs/service/default/web:policyName/steps")
    cloudwatch.put_metric_alarm(AlarmName="errors", **ERRORS, AlarmActions=[put["PolicyARN"]])
    # The first step; then the second, as far as the most that there may be.
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a case")
    eventually("one more is wanted", lambda: told(ecs)["desiredCount"] == 3)
    measure(cloudwatch, 50)
    eventually("as many as may be are wanted", lambda: told(ecs)["desiredCount"] == 4)
    described = scaling.describe_scaling_policies(ServiceNamespace="ecs", PolicyNames=["steps"])["ScalingPolicies"]
    assert described[0]["StepScalingPolicyConfiguration"] == configuration
    assert described[0]["Alarms"][0]["AlarmName"] == "errors"


def test_a_schedule(ecs, scaling, web):
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    schedule = at.strftime("at(%Y-%m-%dT%H:%M:%S)")
    bounds = {"MinCapacity": 3, "MaxCapacity": 3}
    scaling.put_scheduled_action(**OF, ScheduledActionName="soon", Schedule=schedule, ScalableTargetAction=bounds)
    scaling.put_scheduled_action(
        **OF,
        ScheduledActionName="nightly",
        Schedule="cron(0 3 ? * MON-FRI *)",
        Timezone="UTC",
        ScalableTargetAction={"MinCapacity": 1},
    )
    found = scaling.describe_scheduled_actions(**OF)["ScheduledActions"]
    assert [action["ScheduledActionName"] for action in found] == ["nightly", "soon"]
    eventually("three tasks are wanted", lambda: told(ecs)["desiredCount"] == 3)
    target = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 3)
    found = scaling.describe_scheduled_actions(**OF, ScheduledActionNames=["nightly", "soon"])["ScheduledActions"]
    assert [action["ScheduledActionName"] for action in found] == ["nightly"]
    scaling.delete_scheduled_action(**OF, ScheduledActionName="nightly")
    with refused("ObjectNotFoundException"):
        scaling.delete_scheduled_action(**OF, ScheduledActionName="nightly")


def test_targets_and_their_tags(ecs, scaling, loose_scaling, web):
    target = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[ID])["ScalableTargets"][0]
    assert target["RoleARN"].endswith("/AWSServiceRoleForApplicationAutoScaling_ECSService")
    assert target["SuspendedState"] == {
        "DynamicScalingInSuspended": False,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": False,
    }
    arn = target["ScalableTargetARN"]
    again = scaling.register_scalable_target(
        **OF, MaxCapacity=9, SuspendedState={"DynamicScalingOutSuspended": True}
    )
    assert again["ScalableTargetARN"] == arn
    target = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[ID])["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 9)
    assert target["SuspendedState"]["DynamicScalingOutSuspended"]
    scaling.tag_resource(ResourceARN=arn, Tags={"team": "a"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["bowline:metric-period"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"team": "a"}
    with refused("TooManyTagsException"):
        scaling.tag_resource(ResourceARN=arn, Tags={f"tag-{number}": "x" for number in range(60)})
    with refused("ValidationException"):
        loose_scaling.tag_resource(ResourceARN=arn, Tags={"": "x"})
    with refused("ValidationException"):
        loose_scaling.untag_resource(ResourceARN=arn)
    for operation, more in (
        (scaling.list_tags_for_resource, {}),
        (scaling.tag_resource, {"Tags": {"a": "b"}}),
        (scaling.untag_resource, {"TagKeys": ["a"]}),
    ):
        with refused("ResourceNotFoundException"):
            operation(ResourceARN=arn + "x", **more)
    track(scaling)
    scaling.deregister_scalable_target(**OF)
    assert scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"] == []
    with refused("ObjectNotFoundException", "No scalable target found for service namespace: ecs"):
        scaling.deregister_scalable_target(**OF)
    with refused("ObjectNotFoundException"):
        track(scaling)
    with refused("ObjectNotFoundException"):
        scaling.delete_scaling_policy(**OF, PolicyName="queue")
    with refused("ObjectNotFoundException"):
        scaling.put_scheduled_action(
            **OF, ScheduledActionName="x", Schedule="rate(1 hour)", ScalableTargetAction={"MinCapacity": 1}
        )


def test_what_is_not_served_is_refused(ecs, scaling, web):
    other = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": "table/x",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
    }
    action = {"ScheduledActionName": "x", "Schedule": "rate(1 hour)", "ScalableTargetAction": {"MinCapacity": 1}}
    for call in (
        lambda: scaling.register_scalable_target(**other, MinCapacity=1, MaxCapacity=2),
        lambda: scaling.register_scalable_target(**{**OF, "ResourceId": "service/default/none"}, MinCapacity=1, MaxCapacity=2),
        lambda: scaling.register_scalable_target(**OF, MinCapacity=3, MaxCapacity=2),
        lambda: scaling.deregister_scalable_target(**other),
        lambda: scaling.describe_scalable_targets(ServiceNamespace="dynamodb"),
        lambda: scaling.describe_scaling_activities(ServiceNamespace="dynamodb"),
        lambda: scaling.describe_scaling_policies(ServiceNamespace="dynamodb"),
        lambda: scaling.describe_scheduled_actions(ServiceNamespace="dynamodb"),
        lambda: scaling.delete_scaling_policy(**other, PolicyName="x"),
        lambda: scaling.delete_scheduled_action(**other, ScheduledActionName="x"),
        lambda: scaling.put_scheduled_action(**OF, **{**action, "Schedule": "sometimes"}),
        lambda: scaling.put_scheduled_action(**OF, **action, Timezone="Europe/Berlin"),
        lambda: scaling.put_scaling_policy(**OF, PolicyName="x", PolicyType="PredictiveScaling"),
        lambda: track(scaling, target=0.0),
        lambda: track(scaling, PredefinedMetricSpecification={"PredefinedMetricType": "ALBRequestCountPerTarget"}),
    ):
        with refused("ValidationException"):
            call()
    for operation in (
        scaling.describe_scalable_targets,
        scaling.describe_scaling_activities,
        scaling.describe_scaling_policies,
        scaling.describe_scheduled_actions,
    ):
        with refused("InvalidNextTokenException"):
            operation(ServiceNamespace="ecs", NextToken="nobody's")


def test_the_quota_of_policies(ecs, scaling, web):
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    configuration = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps}
    with refused("LimitExceededException"):
        for number in range(51):
            scaling.put_scaling_policy(**OF, PolicyName=f"p{number}", StepScalingPolicyConfiguration=configuration)


def test_predefined_metrics_and_the_cli(ecs, scaling, cloudwatch, web):
    of = ("--service-namespace", "ecs", "--resource-id", ID, "--scalable-dimension", "ecs:service:DesiredCount")
    configuration = (
        '{"TargetValue": 60, "PredefinedMetricSpecification":'
        ' {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}'
    )
    aws(
        "application-autoscaling", "put-scaling-policy", *of, "--policy-name", "cpu",
        "--policy-type", "TargetTrackingScaling",
        "--target-tracking-scaling-policy-configuration", configuration,
    )
    alarm = cloudwatch.describe_alarms(AlarmNamePrefix=f"TargetTracking-{ID}-AlarmHigh")["MetricAlarms"][0]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Period"]) == ("AWS/ECS", "CPUUtilization", 60)
    assert alarm["Dimensions"] == [
        {"Name": "ClusterName", "Value": "default"},
        {"Name": "ServiceName", "Value": "web"},
    ]
    label = "app/lb/0123456789abcdef/targetgroup/tg/0123456789abcdef"
    requests = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}
    scaling.put_scaling_policy(
        **OF,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 100, "PredefinedMetricSpecification": requests},
    )
    found = cloudwatch.describe_alarms_for_metric(
        Namespace="AWS/ApplicationELB",
        MetricName="RequestCountPerTarget",
        Dimensions=[{"Name": "TargetGroup", "Value": "targetgroup/tg/0123456789abcdef"}],
    )
    assert len(found["MetricAlarms"]) == 2
    arn = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:"
    assert found["MetricAlarms"][0]["AlarmActions"][0].startswith(arn)
