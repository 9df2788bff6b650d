//! What is told of tasks is whole at once: nothing of it waits for the reconciler's next pass.

use std::time::Duration;

use bowline_model::{
    clock::Timestamp,
    task::{HealthStatus, StopCode, TaskId, TaskReport, TaskStatus},
};
use serde_json::{Value, json};

use super::Endpoint;
use crate::{
    api::call::wire,
    reconcile::{self, Histories},
};

/// A cluster with a task of its own, of which no agent has said anything yet.
struct OneTask {
    api: Endpoint,
    id: TaskId,
}

impl OneTask {
    fn new(health_check: Option<Value>) -> Self {
        let api = Endpoint::new();
        api.ok("ecs", "CreateCluster", json!({"clusterName": "c"}));
        let container = json!({"name": "app", "image": "app", "healthCheck": health_check});
        let definition = json!({"family": "job", "containerDefinitions": [container]});
        api.ok("ecs", "RegisterTaskDefinition", definition);
        api.ok("ecs", "RunTask", json!({"cluster": "c", "taskDefinition": "job"}));
        let registry = api.core.registry();
        let id = registry.tasks.values().next().expect("it was made").id.clone();
        Self { api, id }
    }

    /// Its agent says so.
    fn reports(&self, at: Timestamp, status: TaskStatus, stop_code: Option<StopCode>) {
        let report = TaskReport {
            at,
            status,
            health: HealthStatus::Unknown,
            stop_code,
            stopped_reason: stop_code.map(|code| format!("{code:?}, as was seen")),
            ..TaskReport::unseen(self.id.clone(), at, None)
        };
        self.api.change(|registry| registry.tasks.update(self.id.as_str(), |task| task.take_up(&report)));
    }

    fn told(&self) -> Value {
        let request = json!({"cluster": "c", "tasks": [self.id.to_string()]});
        self.api.ok("ecs", "DescribeTasks", request)["tasks"][0].clone()
    }

    fn listed(&self, desired_status: &str) -> usize {
        let request = json!({"cluster": "c", "desiredStatus": desired_status});
        self.api.ok("ecs", "ListTasks", request)["taskArns"].as_array().expect("a list").len()
    }
}

fn seconds(at: Timestamp) -> Value {
    json!(wire(at))
}

#[test]
fn it_has_started_as_soon_as_it_runs_whatever_its_health() {
    let task = OneTask::new(Some(json!({"command": ["CMD", "false"]})));
    assert_eq!((&task.told()["lastStatus"], task.told().get("startedAt")), (&json!("PROVISIONING"), None));
    let first = task.api.now();
    task.reports(first, TaskStatus::Pending, None);
    assert_eq!(task.told().get("startedAt"), None);
    task.reports(first + Duration::from_secs(1), TaskStatus::Running, None);
    let told = task.told();
    let started = seconds(first + Duration::from_secs(1));
    assert_eq!((&told["lastStatus"], &told["startedAt"]), (&json!("RUNNING"), &started));
    // When it was first seen to run, whatever is said later.
    task.reports(first + Duration::from_secs(2), TaskStatus::Pending, None);
    task.reports(first + Duration::from_secs(3), TaskStatus::Running, None);
    assert_eq!(task.told()["startedAt"], started);
}

#[test]
fn its_end_is_told_with_its_reason_before_and_after_the_next_pass() {
    let task = OneTask::new(None);
    let end = task.api.now();
    task.reports(end, TaskStatus::Stopped, Some(StopCode::TaskFailedToStart));
    let told = task.told();
    assert_eq!((&told["lastStatus"], &told["desiredStatus"]), (&json!("STOPPED"), &json!("STOPPED")));
    assert_eq!(told["stopCode"], "TaskFailedToStart");
    assert_eq!(told["stoppedReason"], "TaskFailedToStart, as was seen");
    assert_eq!((&told["stoppedAt"], told.get("startedAt")), (&seconds(end), None));
    assert_eq!((task.listed("RUNNING"), task.listed("STOPPED")), (0, 1));

    // Who stops it now comes too late to be the reason.
    let stopped = task.api.ok("ecs", "StopTask", json!({"cluster": "c", "task": task.id.to_string()}));
    assert_eq!(stopped["task"], told);

    task.api.core.reconcile(&mut Default::default(), false).unwrap();
    assert!(task.api.core.registry().tasks.is_empty(), "the pass has put it away");
    assert_eq!(task.told(), told);
    assert_eq!((task.listed("RUNNING"), task.listed("STOPPED")), (0, 1));
}

#[test]
fn a_cluster_whose_tasks_are_over_can_be_deleted_at_once() {
    let task = OneTask::new(None);
    let request = json!({"cluster": "c"});
    assert_eq!(task.api.fault("ecs", "DeleteCluster", request.clone()).code, "ClusterContainsTasksException");
    task.reports(task.api.now(), TaskStatus::Stopped, Some(StopCode::EssentialContainerExited));
    task.api.ok("ecs", "DeleteCluster", request);
}

#[test]
fn what_is_over_is_told_for_an_hour_however_wrong_its_agents_clock() {
    let task = OneTask::new(None);
    let hour = Duration::from_secs(3_600);
    let end = task.api.now() - 2 * hour;
    task.reports(end, TaskStatus::Stopped, Some(StopCode::EssentialContainerExited));
    let now = task.api.now();
    let pass = |at| {
        task.api.change(|registry| {
            reconcile::pass(registry, &mut Histories::default(), at, || unreachable!("nothing is to run"));
        });
    };
    pass(now);
    pass(now + hour - Duration::from_millis(1));
    assert_eq!(task.told()["stoppedAt"], seconds(end));
    pass(now + hour);
    assert_eq!((task.told(), task.listed("STOPPED")), (Value::Null, 0));
}
