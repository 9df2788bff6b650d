use std::sync::Mutex;

use bowline_model::{
    alarm::{
        AlarmActions, AlarmRule, AlarmSource, Comparison, HistoryItemType, MetricStat, MissingData,
        StateRecord,
    },
    arn::Scope,
    metric::{MetricId, Statistic},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    alarms::{AlarmError, arn_of, in_alarm},
    api::{
        authorization::AuthorizationMode,
        testing::{Keys, TestApi, core_in_memory},
    },
};

/// Values of one metric, whatever is asked for.
#[derive(Default)]
struct Values(Mutex<Vec<(Timestamp, f64)>>);

impl Values {
    fn put(&self, at: Timestamp, value: f64) {
        self.0.lock().expect("no panic").push((at, value));
    }
}

impl MetricReader for Values {
    fn values(
        &self,
        _: &MetricId,
        _: Statistic,
        _: Duration,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, f64)> {
        let values = self.0.lock().expect("no panic");
        values.iter().copied().filter(|(at, _)| (from..until).contains(at)).collect()
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_003);
const PERIOD: Duration = Duration::from_secs(10);

fn alarm(action: &str) -> Alarm {
    let stat = MetricStat {
        metric: MetricId::new("Shop", "Errors", []),
        statistic: Statistic::Sum,
        period: PERIOD,
        unit: None,
    };
    Alarm {
        arn: arn_of(&Scope::default(), "errors"),
        name: "errors".into(),
        description: None,
        source: AlarmSource::Metric(stat),
        rule: AlarmRule {
            evaluation_periods: 1,
            datapoints_to_alarm: None,
            threshold: 5.0,
            comparison: Comparison::GreaterThanThreshold,
            missing_data: MissingData::Missing,
            ignores_few_samples: false,
        },
        actions_enabled: true,
        actions: AlarmActions { alarm: vec![action.to_owned()], ..AlarmActions::default() },
        tags: BTreeMap::new(),
        configured_at: NOW,
        state: StateRecord::initial(NOW),
    }
}

fn put(core: &Core, alarm: Alarm) {
    core.change::<_, RegistryError>(|registry| {
        commands::put(registry, alarm, NOW).expect("it can be put");
        Ok(())
    })
    .expect("it is written");
}

fn tick(evaluator: &mut Evaluator, core: &Arc<Core>, values: &Values, now: Timestamp) {
    evaluator.advance(core, values, true, now).expect("it is written");
}

fn summaries(core: &Core, kind: HistoryItemType) -> Vec<String> {
    let registry = core.registry();
    let history = registry.alarm_histories.get("errors").expect("a history");
    history.items.iter().filter(|item| item.kind == kind).map(|item| item.summary.clone()).collect()
}

#[tokio::test]
async fn a_state_that_was_set_is_acted_on_before_the_alarm_is_judged_anew() {
    let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
    let (mut evaluator, values) = (Evaluator::new(), Values::default());
    put(&core, alarm("arn:aws:sns:us-east-1:000000000000:nowhere"));
    values.put(NOW - PERIOD, 1.0);
    let set = core.change::<_, RegistryError>(|registry| {
        let set = commands::set_state(registry, "errors", AlarmState::Alarm, "by hand".into(), None, NOW);
        set.expect("it is there");
        Ok(())
    });
    set.expect("it is written");
    tick(&mut evaluator, &core, &values, NOW + PERIOD);
    assert!(in_alarm(&core.registry()).next().is_none(), "it was judged");
    let actions = summaries(&core, HistoryItemType::Action);
    assert!(actions.len() == 1 && actions[0].contains("nowhere"), "{actions:?}");
}

#[tokio::test]
async fn an_alarm_is_judged_and_its_action_taken_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut text = String::new();
        let mut buffer = [0; 8192];
        let body = loop {
            let read = stream.read(&mut buffer).await.expect("it reads");
            text.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
            if let Some(body) = body.and_then(|body| serde_json::from_str::<Value>(body).ok()) {
                break body;
            }
        };
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it writes");
        body
    });
    let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
    let (mut evaluator, values) = (Evaluator::new(), Values::default());
    put(&core, alarm(&url));
    tick(&mut evaluator, &core, &values, NOW);
    assert_eq!(in_alarm(&core.registry()).count(), 0);
    values.put(Timestamp::from_secs(1_800_000_000), 9.0);
    // Its period is not over yet.
    tick(&mut evaluator, &core, &values, NOW + Duration::from_secs(1));
    assert_eq!(in_alarm(&core.registry()).count(), 0);
    let over = NOW + PERIOD;
    tick(&mut evaluator, &core, &values, over);
    tick(&mut evaluator, &core, &values, over + Duration::from_secs(1));
    assert_eq!(in_alarm(&core.registry()).collect::<Vec<_>>(), ["errors"]);
    assert_eq!(
        summaries(&core, HistoryItemType::StateUpdate),
        ["Alarm updated from INSUFFICIENT_DATA to ALARM"]
    );
    let event = receiver.await.expect("it was received");
    assert_eq!(event["detail-type"], "CloudWatch Alarm State Change");
    assert_eq!(event["detail"]["state"]["value"], "ALARM");
    assert_eq!(event["detail"]["configuration"]["metrics"][0]["metricStat"]["stat"], "Sum");
    let delivery = evaluator.deliveries.join_next().await.expect("one").expect("it ended");
    assert_eq!((delivery.failure, evaluator.deliveries.len()), (None, 0));
}

#[tokio::test]
async fn an_action_that_cannot_be_taken_is_told_in_the_history() {
    let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
    let (mut evaluator, values) = (Evaluator::new(), Values::default());
    put(&core, alarm("arn:aws:sns:us-east-1:000000000000:topic"));
    values.put(Timestamp::from_secs(1_799_999_990), 9.0);
    tick(&mut evaluator, &core, &values, NOW);
    assert_eq!(
        summaries(&core, HistoryItemType::Action),
        ["Failed to execute action arn:aws:sns:us-east-1:000000000000:topic"]
    );
    // Without its actions it comes to its state, and no more.
    let silent =
        Alarm { actions_enabled: false, name: "silent".into(), ..alarm("arn:aws:sns:us-east-1:1:t") };
    put(&core, silent);
    tick(&mut evaluator, &core, &values, NOW);
    let registry = core.registry();
    assert_eq!(in_alarm(&registry).count(), 2);
    let history = registry.alarm_histories.get("silent").expect("a history");
    assert!(history.items.iter().all(|item| item.kind != HistoryItemType::Action));
}

#[tokio::test]
async fn an_alarm_that_was_changed_meanwhile_is_judged_anew() {
    let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
    let (mut evaluator, values) = (Evaluator::new(), Values::default());
    put(&core, alarm("https://127.0.0.1:1/"));
    values.put(Timestamp::from_secs(1_799_999_990), 9.0);
    let transitions = evaluator.judge_due(&core.registry(), &values, NOW);
    let mut other = alarm("https://127.0.0.1:1/");
    other.rule.threshold = 50.0;
    put(&core, other);
    evaluator.step(&core, &values, &transitions, NOW).expect("it is written");
    assert_eq!(in_alarm(&core.registry()).count(), 0);
}

#[test]
fn deleting_is_of_all_or_none_and_leaves_the_history() {
    let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
    put(&core, alarm("https://127.0.0.1:1/"));
    let delete = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        core.change::<_, RegistryError>(|registry| Ok(commands::delete(registry, &names, NOW)))
            .expect("written")
    };
    assert_eq!(delete(&["errors", "x"]), Err(AlarmError::NotFound("x".into())));
    assert_eq!(core.registry().alarms.len(), 1);
    assert_eq!(delete(&["errors"]), Ok(()));
    assert!(core.registry().alarms.is_empty() && core.registry().alarm_histories.get("errors").is_some());
    let month = Duration::from_secs(31 * 86_400);
    core.change::<_, RegistryError>(|registry| {
        commands::sweep(registry, NOW + month);
        Ok(())
    })
    .expect("written");
    assert!(core.registry().alarm_histories.is_empty());
}

#[tokio::test]
async fn the_api_tells_what_it_was_given() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let root = Keys::root();
    let call = async |operation, body| api.json(&root, "cloudwatch", operation, body).await;
    let alarm = json!({
        "AlarmName": "p99", "MetricName": "Latency", "Namespace": "Shop", "ExtendedStatistic": "p99.9",
        "Dimensions": [{"Name": "Service", "Value": "web"}], "Period": 30, "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2, "Threshold": 2, "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": ["https://hooks.test/x"], "Tags": [{"Key": "team", "Value": "a"}],
    });
    call("PutMetricAlarm", alarm.clone()).await.ok();
    let told: Value = serde_json::from_str(&call("DescribeAlarms", json!({})).await.ok().body).expect("JSON");
    let one = &told["MetricAlarms"][0];
    assert_eq!(
        (&one["ExtendedStatistic"], &one["Period"], &one["Threshold"]),
        (&json!("p99.9"), &json!(30), &json!(2.0))
    );
    assert_eq!(
        (&one["StateValue"], &one["TreatMissingData"]),
        (&json!("INSUFFICIENT_DATA"), &json!("missing"))
    );
    call("SetAlarmState", json!({"AlarmName": "p99", "StateValue": "ALARM", "StateReason": "a test"}))
        .await
        .ok();
    assert_eq!(in_alarm(&api.registry()).collect::<Vec<_>>(), ["p99"]);
    let history = call("DescribeAlarmHistory", json!({"AlarmName": "p99"})).await.ok();
    assert!(history.body.contains("Alarm updated from INSUFFICIENT_DATA to ALARM"), "{}", history.body);

    let with = |member: &str, value: Value| {
        let mut other = alarm.clone();
        other[member] = value;
        other
    };
    for (member, value) in [
        ("Period", json!(15)),
        ("EvaluationPeriods", json!(2_881)),
        ("DatapointsToAlarm", json!(4)),
        ("Statistic", json!("Sum")),
        ("ComparisonOperator", json!("LessThanLowerThreshold")),
        ("TreatMissingData", json!("sometimes")),
        ("AlarmActions", json!(["ftp://x"])),
        ("Metrics", json!([{"Id": "m1", "Expression": "1"}])),
        ("Threshold", Value::Null),
    ] {
        call("PutMetricAlarm", with(member, value)).await.refused("ValidationError", 400);
    }
    call("SetAlarmState", json!({"AlarmName": "x", "StateValue": "OK", "StateReason": ""}))
        .await
        .refused("ResourceNotFound", 404);
    call(
        "SetAlarmState",
        json!({"AlarmName": "p99", "StateValue": "OK", "StateReason": "", "StateReasonData": "{"}),
    )
    .await
    .refused("InvalidFormatFault", 400);
    call("DeleteAlarms", json!({"AlarmNames": ["p99"]})).await.ok();
    call("DeleteAlarms", json!({"AlarmNames": ["p99"]})).await.refused("ResourceNotFound", 404);
}

mod scaling;
