//! Services are scaled by what is measured: the API, the alarms, the policies and the command together.

use bowline_plumbing::wall_clock;

use super::*;
use crate::api::testing::Answer;

const ID: &str = "service/shop/web";

struct Shop {
    api: TestApi,
    evaluator: Evaluator,
    values: Values,
    /// The begin of a period of 10 s.
    begin: Timestamp,
}

impl Shop {
    /// A service of `count` tasks, of which there may be 1 to 10.
    async fn new(count: u32) -> Self {
        let api = TestApi::new(AuthorizationMode::Enforce);
        let begin = Timestamp::from_secs(wall_clock::now().as_secs() / 10 * 10);
        let shop = Self { api, evaluator: Evaluator::new(), values: Values::default(), begin };
        shop.ecs("CreateCluster", json!({"clusterName": "shop"})).await.ok();
        let container = json!({"name": "web", "image": "web"});
        let definition = json!({"family": "web", "containerDefinitions": [container]});
        shop.ecs("RegisterTaskDefinition", definition).await.ok();
        let service =
            json!({"cluster": "shop", "serviceName": "web", "taskDefinition": "web", "desiredCount": count});
        shop.ecs("CreateService", service).await.ok();
        // Its first deployment is over.
        shop.api
            .api
            .core
            .change::<_, RegistryError>(|registry| {
                let service = registry.services.values().next().expect("one").clone();
                crate::ecs::service::complete_deployment(registry, &service, begin);
                Ok(())
            })
            .expect("it is written");
        shop.scaling(
            "RegisterScalableTarget",
            json!({"MinCapacity": 1, "MaxCapacity": 10, "Tags": {"bowline:metric-period": "10"}}),
        )
        .await
        .ok();
        shop
    }

    async fn ecs(&self, operation: &str, body: Value) -> Answer {
        self.api.json(&Keys::root(), "ecs", operation, body).await
    }

    /// An operation of Application Auto Scaling on the service.
    async fn scaling(&self, operation: &str, mut body: Value) -> Answer {
        body["ServiceNamespace"] = "ecs".into();
        body["ResourceId"] = ID.into();
        body["ScalableDimension"] = "ecs:service:DesiredCount".into();
        self.api.json(&Keys::root(), "application-autoscaling", operation, body).await
    }

    async fn told(&self, operation: &str) -> Value {
        serde_json::from_str(&self.scaling(operation, json!({})).await.ok().body).expect("JSON")
    }

    async fn track(&self, configuration: Value) -> Answer {
        let metric = json!({"MetricName": "Queue", "Namespace": "Shop", "Statistic": "Average"});
        let mut whole = json!({"TargetValue": 10.0, "CustomizedMetricSpecification": metric,
            "ScaleOutCooldown": 30, "ScaleInCooldown": 30});
        for (member, value) in configuration.as_object().expect("members") {
            whole[member] = value.clone();
        }
        let policy = json!({"PolicyName": "queue", "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": whole});
        self.scaling("PutScalingPolicy", policy).await
    }

    /// Periods of 10 s pass, with this value in each.
    fn pass(&mut self, periods: u32, value: f64) {
        for _ in 0..periods {
            self.values.put(self.begin, value);
            self.begin = self.begin + PERIOD;
            self.tick(1);
        }
    }

    fn tick(&mut self, second: u64) {
        let now = self.begin + Duration::from_secs(second);
        tick(&mut self.evaluator, &self.api.api.core, &self.values, now);
    }

    fn count(&self) -> u32 {
        let registry = self.api.registry();
        registry.services.values().next().expect("a service").desired_count
    }
}

#[tokio::test]
async fn target_tracking_adds_and_takes_tasks() {
    let mut shop = Shop::new(2).await;
    let put: Value = serde_json::from_str(&shop.track(json!({})).await.ok().body).expect("JSON");
    let names: Vec<&str> = put["Alarms"]
        .as_array()
        .expect("alarms")
        .iter()
        .filter_map(|alarm| alarm["AlarmName"].as_str())
        .collect();
    assert_eq!(names.len(), 2, "{put}");
    assert!(names.iter().all(|name| name.starts_with("TargetTracking-service/shop/web-Alarm")), "{names:?}");
    shop.pass(2, 25.0);
    assert_eq!(shop.count(), 2, "two of three periods are not enough");
    shop.pass(1, 25.0);
    assert_eq!(shop.count(), 5, "2 tasks of 25 are 5 of 10");
    let deployments = shop.api.registry().service_records.values().next().expect("one").deployments.len();
    assert_eq!(deployments, 1, "scaling deploys nothing");
    // Within the cooldown the same metric means the same number.
    shop.pass(2, 25.0);
    assert_eq!(shop.count(), 5);
    shop.pass(14, 4.0);
    assert_eq!(shop.count(), 5, "14 of 15 periods are not enough");
    shop.pass(1, 4.0);
    assert_eq!(shop.count(), 2, "5 tasks of 4 are 2 of 10");
    let told = shop.told("DescribeScalingActivities").await;
    let causes: Vec<_> = told["ScalingActivities"]
        .as_array()
        .expect("activities")
        .iter()
        .map(|one| (one["Description"].as_str().expect("text"), one["StatusCode"].as_str().expect("text")))
        .collect();
    assert_eq!(
        causes,
        [("Setting desired count to 2.", "InProgress"), ("Setting desired count to 5.", "Overridden")]
    );
    let cause = told["ScalingActivities"][0]["Cause"].as_str().expect("text");
    assert!(
        cause.contains("AlarmLow-") && cause.ends_with("in state ALARM triggered policy queue"),
        "{cause}"
    );
    shop.scaling("DeleteScalingPolicy", json!({"PolicyName": "queue"})).await.ok();
    assert!(shop.api.registry().alarms.is_empty());
    shop.scaling("DeleteScalingPolicy", json!({"PolicyName": "queue"}))
        .await
        .refused("ObjectNotFoundException", 400);
}

#[tokio::test]
async fn nothing_is_taken_away_while_a_deployment_is_under_way_or_where_that_is_off() {
    let mut shop = Shop::new(5).await;
    shop.track(json!({})).await.ok();
    let update = json!({"cluster": "shop", "service": "web", "forceNewDeployment": true});
    shop.ecs("UpdateService", update).await.ok();
    shop.pass(16, 4.0);
    assert_eq!(shop.count(), 5);
    shop.track(json!({"DisableScaleIn": true})).await.ok();
    assert_eq!(shop.api.registry().alarms.len(), 1);
    shop.pass(3, 20.0);
    assert_eq!(shop.count(), 10, "adding is not held back by either");
}

#[tokio::test]
async fn steps_follow_an_alarm_of_ones_own() {
    let mut shop = Shop::new(2).await;
    let steps = json!([
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 4},
    ]);
    let configuration =
        json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps, "Cooldown": 60});
    let policy = json!({"PolicyName": "steps", "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": configuration});
    let put: Value =
        serde_json::from_str(&shop.scaling("PutScalingPolicy", policy).await.ok().body).expect("JSON");
    let mut alarm = alarm(put["PolicyARN"].as_str().expect("an ARN"));
    alarm.rule.threshold = 50.0;
    let core = Arc::clone(&shop.api.api.core);
    super::put(&core, alarm);
    shop.pass(1, 55.0);
    assert_eq!(shop.count(), 3);
    // A larger step within the cooldown counts what was added before.
    shop.pass(1, 75.0);
    assert_eq!(shop.count(), 6);
    shop.pass(3, 75.0);
    assert_eq!(shop.count(), 6, "the same step within the cooldown adds nothing");
    let told = shop.told("DescribeScalingPolicies").await;
    assert_eq!(told["ScalingPolicies"][0]["Alarms"][0]["AlarmName"], "errors");
}

#[tokio::test]
async fn a_schedule_moves_the_bounds_and_what_is_outside_them() {
    let shop = Shop::new(2).await;
    let at = |seconds| {
        let text = (shop.begin + Duration::from_secs(seconds)).to_string();
        format!("at({})", &text[..19])
    };
    let action = json!({"ScheduledActionName": "evening", "Schedule": at(300),
        "ScalableTargetAction": {"MinCapacity": 6, "MaxCapacity": 8}});
    shop.scaling("PutScheduledAction", action).await.ok();
    let core = &shop.api.api.core;
    let advance = |seconds| {
        let now = shop.begin + Duration::from_secs(seconds);
        let is_due = engine::is_due(&core.registry(), now);
        let moved = core.change::<_, RegistryError>(|registry| Ok(engine::advance(registry, now)));
        assert_eq!(is_due, !moved.expect("written").is_empty());
    };
    advance(299);
    assert_eq!(shop.count(), 2);
    advance(300);
    assert_eq!(shop.count(), 6);
    let told = shop.told("DescribeScalableTargets").await;
    assert_eq!(
        (&told["ScalableTargets"][0]["MinCapacity"], &told["ScalableTargets"][0]["MaxCapacity"]),
        (&json!(6), &json!(8))
    );
    assert!(shop.api.registry().scheduled_actions.is_empty(), "what is done once is gone");
    let past = json!({"ScheduledActionName": "x", "Schedule": "at(2020-01-01T00:00:00)",
        "ScalableTargetAction": {"MinCapacity": 6}});
    shop.scaling("PutScheduledAction", past).await.refused("ValidationException", 400);
}

#[tokio::test]
async fn what_is_not_served_is_refused_and_what_is_gone_forgotten() {
    let shop = Shop::new(2).await;
    let other = json!({"ServiceNamespace": "dynamodb", "ResourceId": "table/x",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits", "MinCapacity": 1, "MaxCapacity": 2});
    let send = async |body| {
        shop.api.json(&Keys::root(), "application-autoscaling", "RegisterScalableTarget", body).await
    };
    send(other).await.refused("ValidationException", 400);
    let absent = json!({"ServiceNamespace": "ecs", "ResourceId": "service/shop/none",
        "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 1, "MaxCapacity": 2});
    send(absent).await.refused("ValidationException", 400);
    shop.scaling("RegisterScalableTarget", json!({"MinCapacity": 5, "MaxCapacity": 4}))
        .await
        .refused("ValidationException", 400);
    shop.track(json!({"TargetValue": 0})).await.refused("ValidationException", 400);
    shop.track(
        json!({"PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}),
    )
    .await
    .refused("ValidationException", 400);
    shop.track(json!({})).await.ok();
    shop.ecs("DeleteService", json!({"cluster": "shop", "service": "web", "force": true})).await.ok();
    let core = &shop.api.api.core;
    core.change::<_, RegistryError>(|registry| {
        crate::ecs::service::finish_draining(registry);
        engine::advance(registry, shop.begin);
        Ok(())
    })
    .expect("written");
    let registry = core.registry();
    assert!(registry.services.is_empty() && registry.scalable_targets.is_empty());
    assert!(registry.scaling_policies.is_empty() && registry.alarms.is_empty());
}
