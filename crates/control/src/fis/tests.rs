//! Experiments on a control plane that runs, with tasks that are records and an injector that remembers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_aws::cfn::{Inputs, Stack, Template};
use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    fault::{
        Fault, FaultError, FaultFuture, FaultId, FaultInjector, FaultKind, FaultOrder, FaultyCertificate,
        PathHarm,
    },
    task::{DesiredStatus, TaskId},
};
use bowline_plumbing::wall_clock;
use serde_json::{Value, json};

use crate::{
    api::testing::{Answer, Keys, TestApi},
    audit::lookup::{LookupAttribute, LookupKey, LookupQuery},
    control_plane::{ControlConfig, ControlPlane, is_settled},
    ecs::instance::InstanceStatus,
    record_launcher,
    registry::Registry,
    stack::record::StackTemplate,
};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(30);

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"fis.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const ROLE: &str = "arn:aws:iam::000000000000:role/chaos";

/// Puts nothing in force, and remembers what it was asked.
#[derive(Debug, Default)]
struct Remembering {
    begun: Mutex<Vec<Fault>>,
    ended: Mutex<Vec<FaultId>>,
    /// Which order is refused, counted from 0.
    refuses: Option<usize>,
}

impl Remembering {
    fn orders(&self) -> Vec<FaultOrder> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().map(|fault| fault.order.clone()).collect()
    }

    fn all_ended(&self) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.len() == ended.len() && begun.iter().all(|fault| ended.contains(&fault.id))
    }
}

impl FaultInjector for Remembering {
    fn begin(&self, order: FaultOrder) -> FaultFuture<'_, Fault> {
        Box::pin(async move {
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            if self.refuses == Some(begun.len()) {
                return Err(FaultError::Failed("it is refused".to_owned()));
            }
            let now = wall_clock::now();
            let id = FaultId::new(u64::try_from(begun.len()).unwrap());
            let fault = Fault { id, ends_at: now + order.lasting, order, began_at: now };
            begun.push(fault.clone());
            Ok(fault)
        })
    }

    fn end(&self, id: FaultId) -> FaultFuture<'_, ()> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Box::pin(async { Ok(()) })
    }

    fn faults(&self) -> Vec<Fault> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Two services that call each other's namespace, and the role of the notes.
struct Mesh {
    control: ControlPlane,
    api: TestApi,
}

fn resolve(text: &str, control: &ControlPlane) -> Stack {
    let template = Template::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    let inputs = Inputs { stack_name: "test".into(), revision: control.revisions(), ..Inputs::default() };
    template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"))
}

impl Mesh {
    async fn new(injector: Option<Arc<Remembering>>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = ControlConfig {
            ephemeral: true,
            dns: None,
            ..ControlConfig::new(directory.path().join("state"))
        };
        let mesh = Self::start(config, directory, injector).await;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/two-services/template.yaml");
        let text = std::fs::read_to_string(path).expect("the example is there");
        let made_from = StackTemplate {
            files: vec![("template".to_owned(), text.clone())],
            parameters: Default::default(),
        };
        mesh.control.apply_stack(&resolve(&text, &mesh.control), &made_from).expect("applies");
        mesh.until("all tasks up", is_settled).await;
        let policies =
            ["AmazonECS_FullAccess", "AmazonRoute53FullAccess", "AWSFISFullAccess", "CloudWatchFullAccess"];
        mesh.role("chaos", TRUST, &policies).await;
        mesh
    }

    async fn start(
        config: ControlConfig,
        directory: tempfile::TempDir,
        injector: Option<Arc<Remembering>>,
    ) -> Self {
        let control = ControlPlane::start(config).await.expect("starts");
        if let Some(injector) = injector {
            control.set_fault_injector(injector);
        }
        tokio::spawn(record_launcher::run(control.agent_port()));
        let api = TestApi::of(Arc::clone(control.core()), directory);
        Self { control, api }
    }

    async fn role(&self, name: &str, trust: &str, policies: &[&str]) {
        let root = Keys::root();
        let parameters = [("RoleName", name), ("AssumeRolePolicyDocument", trust)];
        self.api.query(&root, "iam", "CreateRole", &parameters).await.ok();
        for policy in policies {
            let arn = format!("arn:aws:iam::aws:policy/{policy}");
            let parameters = [("RoleName", name), ("PolicyArn", arn.as_str())];
            self.api.query(&root, "iam", "AttachRolePolicy", &parameters).await.ok();
        }
    }

    async fn until(&self, what: &str, test: impl Fn(&Registry) -> bool) -> Arc<Registry> {
        let mut generation = self.control.generation();
        let waiting = async {
            loop {
                let registry = self.control.snapshot();
                if test(&registry) {
                    return registry;
                }
                generation.changed().await.expect("the control plane runs");
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
    }

    async fn fis(&self, operation: &str, request: Value) -> Answer {
        self.api.json(&Keys::root(), "fis", operation, request).await
    }

    async fn ok(&self, operation: &str, request: Value) -> Value {
        serde_json::from_str(&self.fis(operation, request).await.ok().body).expect("JSON")
    }

    /// Makes a template of these actions and targets, and starts it.
    async fn start_experiment(&self, actions: Value, targets: Value, more: Value) -> String {
        let mut template = json!({
            "clientToken": crate::random::uuid(), "description": "A test.", "roleArn": ROLE,
            "stopConditions": [{"source": "none"}], "actions": actions, "targets": targets,
        });
        let options = more["experimentOptions"]["actionsMode"].clone();
        template.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if !options.is_null() {
            template["experimentOptions"] = json!({});
        }
        let made = self.ok("CreateExperimentTemplate", template).await;
        let id = &made["experimentTemplate"]["id"];
        let mut request = json!({"clientToken": crate::random::uuid(), "experimentTemplateId": id});
        if !options.is_null() {
            request["experimentOptions"] = json!({"actionsMode": options});
        }
        let started = self.ok("StartExperiment", request).await;
        assert_eq!(started["experiment"]["state"]["status"], "pending");
        started["experiment"]["id"].as_str().expect("an id").to_owned()
    }

    async fn experiment(&self, id: &str) -> Value {
        self.ok("GetExperiment", json!({"id": id})).await["experiment"].clone()
    }

    async fn until_status(&self, id: &str, status: &str) -> Value {
        let reached = |registry: &Registry| {
            let now = registry.experiments.get(id).expect("an experiment").run.status;
            assert!(
                !now.is_over() || now.as_str() == status,
                "{:?}",
                registry.experiments.get(id).unwrap().run
            );
            now.as_str() == status
        };
        self.until(status, reached).await;
        self.experiment(id).await
    }

    fn tasks(&self, service: &str) -> Vec<TaskId> {
        let registry = self.control.snapshot();
        let arn = self.service(service);
        registry.tasks_of_service(&arn).into_iter().map(|task| task.id.clone()).collect()
    }

    fn service(&self, name: &str) -> Arn {
        let registry = self.control.snapshot();
        let found = registry.services.values().find(|service| service.name == name).expect("a service");
        found.arn.clone()
    }

    /// What the trail has of an operation: the records.
    fn trail(&self, name: &str) -> Vec<Value> {
        let attribute = LookupAttribute { key: LookupKey::EventName, value: name.to_owned() };
        let query = LookupQuery { attribute: Some(attribute), ..LookupQuery::default() };
        let page = self.api.api.core.audit().lookup(&query).expect("a trail");
        let texts = page.events.iter().map(|event| &event.cloud_trail_event);
        texts.map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }
}

/// A target: the tasks of a service.
fn of_service(name: &str, mode: &str) -> Value {
    json!({"it": {
        "resourceType": "aws:ecs:task", "selectionMode": mode,
        "parameters": {"cluster": "fast-api-cluster", "service": name},
        "filters": [{"path": "LastStatus", "values": ["RUNNING"]}],
    }})
}

fn action(id: &str, parameters: Value) -> Value {
    json!({"it": {"actionId": id, "parameters": parameters, "targets": {"Tasks": "it"}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_stopped_by_its_arn_as_the_notes_do() {
    let mesh = Mesh::new(None).await;
    let task = mesh.tasks("service-b")[0].clone();
    let arn = mesh.control.snapshot().tasks.get(task.as_str()).unwrap().arn.to_string();
    let targets = json!({"EcsTarget": {
        "resourceType": "aws:ecs:task", "resourceArns": [arn], "selectionMode": "ALL",
    }});
    let actions = json!({"StopTask": {
        "actionId": "aws:ecs:stop-task", "parameters": {"force": "true"}, "targets": {"EcsTarget": "EcsTarget"},
    }});
    let id = mesh.start_experiment(actions, targets, json!({})).await;
    let ended = mesh.until_status(&id, "completed").await;
    assert_eq!(ended["actions"]["StopTask"]["state"]["status"], "completed", "{ended:#}");
    let stops = |registry: &Registry| {
        registry.tasks.get(task.as_str()).is_none_or(|task| task.desired == DesiredStatus::Stopped)
    };
    mesh.until("the task ends", stops).await;
    mesh.until("another takes its place", |registry| {
        is_settled(registry) && registry.tasks.get(task.as_str()).is_none()
    })
    .await;
    let resolved = mesh.ok("ListExperimentResolvedTargets", json!({"experimentId": id})).await;
    assert_eq!(resolved["resolvedTargets"][0]["targetInformation"]["arn"], arn);
    let record = &mesh.trail("StopTask")[0];
    assert_eq!(record["userIdentity"]["invokedBy"], "fis.amazonaws.com", "{record:#}");
    assert_eq!(record["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"], "chaos");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_is_not_done() {
    let mesh = Mesh::new(None).await;
    let stop = || action("aws:ecs:stop-task", json!({}));
    let before = mesh.tasks("service-a");
    let others = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    mesh.role("not-its", others, &["AmazonECS_FullAccess"]).await;
    mesh.role("reader", TRUST, &["ReadOnlyAccess"]).await;
    for (role, location, expected) in [
        ("nobody", json!(null), "Unable to assume role."),
        ("not-its", json!(null), "Unable to assume role."),
        ("reader", json!("it"), "ecs:StopTask"),
    ] {
        let role = json!({"roleArn": format!("arn:aws:iam::000000000000:role/{role}")});
        let id = mesh.start_experiment(stop(), of_service("service-a", "ALL"), role).await;
        let failed = mesh.until_status(&id, "failed").await;
        let state = &failed["state"];
        assert!(state["reason"].as_str().unwrap().contains(expected), "{state}");
        assert_eq!(
            (&state["error"]["code"], &state["error"]["location"]),
            (&json!("ConfigurationFailure"), &location)
        );
    }
    assert_eq!(mesh.tasks("service-a"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_put_in_force_and_end_with_their_action() {
    let injector = Arc::new(Remembering::default());
    let mesh = Mesh::new(Some(Arc::clone(&injector))).await;
    let (callers, called) = (mesh.tasks("service-a"), mesh.tasks("service-b"));
    let actions = json!({
        "show": {"actionId": "bowline:certificate-fault", "targets": {"Tasks": "it"},
            "parameters": {"duration": "PT1S", "shows": "expired", "percent": "50"}},
        "slow": {"actionId": "aws:ecs:task-network-latency", "targets": {"Tasks": "it"}, "startAfter": ["show"],
            "parameters": {"duration": "PT1S", "delayMilliseconds": "300", "jitterMilliseconds": "0"}},
    });
    let id = mesh.start_experiment(actions, of_service("service-b", "ALL"), json!({})).await;
    let ended = mesh.until_status(&id, "completed").await;
    let (show, slow) = (&ended["actions"]["show"], &ended["actions"]["slow"]);
    let time = |value: &Value| value.as_f64().unwrap();
    assert!(time(&show["endTime"]) - time(&show["startTime"]) >= 1.0, "{ended:#}");
    assert!(time(&slow["startTime"]) >= time(&show["endTime"]), "{ended:#}");
    assert!(injector.all_ended());
    let orders = injector.orders();
    assert!(orders.iter().all(|order| order.lasting == Duration::from_secs(1) && order.cause == id));
    let FaultKind::Certificate { tasks, shows } = &orders[0].kind else { panic!("{orders:?}") };
    assert_eq!((tasks.len(), shows, orders[0].per_million), (2, &FaultyCertificate::Expired, 500_000));
    // 300 ms a round trip, on what is sent to the tasks, and on what they send.
    let mut to_them = 0;
    for order in &orders[1..] {
        let FaultKind::Path { callers: from, cluster, called: to, harm } = &order.kind else {
            panic!("{order:?}")
        };
        let half = Duration::from_millis(150);
        assert_eq!(*harm, PathHarm::Delay { each_way: half, jitter: Duration::ZERO, handshake_only: false });
        if from.iter().all(|task| callers.contains(task)) {
            assert!(cluster.starts_with("service-b-sc."), "{cluster}");
            assert!(to.len() == called.len() && to.iter().all(|task| called.contains(task)));
            to_them += 1;
        } else {
            assert!(from.iter().all(|task| called.contains(task)) && to.is_empty(), "{order:?}");
        }
    }
    assert!(to_them == 1 && orders.len() > 2, "{orders:?}");
    assert_eq!(mesh.trail("InjectFault").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_cannot_all_be_put_in_force_are_none() {
    let injector = Arc::new(Remembering { refuses: Some(1), ..Remembering::default() });
    let mesh = Mesh::new(Some(Arc::clone(&injector))).await;
    let slow = || action("aws:ecs:task-network-latency", json!({"duration": "PT1H"}));
    let id = mesh.start_experiment(slow(), of_service("service-b", "ALL"), json!({})).await;
    let failed = mesh.until_status(&id, "failed").await;
    assert!(failed["state"]["reason"].as_str().unwrap().contains("it is refused"), "{failed:#}");
    assert!(injector.all_ended() && injector.orders().len() == 1);

    let mesh = Mesh::new(None).await;
    let id = mesh.start_experiment(slow(), of_service("service-b", "ALL"), json!({})).await;
    let failed = mesh.until_status(&id, "failed").await;
    assert!(failed["state"]["reason"].as_str().unwrap().contains("runs no tasks"), "{failed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_is_stopped_by_people_alarms_and_the_lever() {
    let injector = Arc::new(Remembering::default());
    let mesh = Mesh::new(Some(Arc::clone(&injector))).await;
    let stall = || action("bowline:path-fault", json!({"duration": "PT1H", "harm": "stall"}));
    let target = || of_service("service-a", "COUNT(1)");
    let running = |id: String| async {
        let is_running = |registry: &Registry| {
            let run = &registry.experiments.get(&id).unwrap().run;
            run.actions["it"].status.as_str() == "running"
        };
        mesh.until("it runs", is_running).await;
        id
    };
    let id = running(mesh.start_experiment(stall(), target(), json!({})).await).await;
    assert!(!injector.all_ended());
    assert_eq!(
        mesh.ok("StopExperiment", json!({"id": id})).await["experiment"]["state"]["status"],
        "stopping"
    );
    let stopped = mesh.until_status(&id, "stopped").await;
    assert_eq!(stopped["actions"]["it"]["state"]["status"], "stopped");
    assert!(injector.all_ended());
    mesh.fis("StopExperiment", json!({"id": id})).await.refused("ValidationException", 400);

    // One alarm, which one experiment watches and the other does not.
    let root = Keys::root();
    let alarm = json!({
        "AlarmName": "errors", "Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
    });
    mesh.api.json(&root, "cloudwatch", "PutMetricAlarm", alarm).await.ok();
    let stop = |name: &str| {
        let arn = format!("arn:aws:cloudwatch:us-east-1:000000000000:{name}");
        json!({"stopConditions": [{"source": "aws:cloudwatch:alarm", "value": arn}]})
    };
    let watching = running(mesh.start_experiment(stall(), target(), stop("alarm:errors")).await).await;
    let other = running(mesh.start_experiment(stall(), target(), json!({})).await).await;
    let absent = mesh.start_experiment(stall(), target(), stop("alarm/nothing")).await;
    let failed = mesh.until_status(&absent, "failed").await;
    assert_eq!(failed["state"]["error"]["location"], "stopConditions");
    let state = json!({"AlarmName": "errors", "StateValue": "ALARM", "StateReason": "a test"});
    mesh.api.json(&root, "cloudwatch", "SetAlarmState", state).await.ok();
    let halted = mesh.until_status(&watching, "stopped").await;
    assert!(halted["state"]["reason"].as_str().unwrap().contains("errors"), "{halted:#}");
    assert_eq!(mesh.experiment(&other).await["state"]["status"], "running");

    let lever = |status: &str| json!({"id": "default", "state": {"status": status, "reason": "a drill"}});
    assert_eq!(
        mesh.ok("GetSafetyLever", json!({"id": "default"})).await["safetyLever"]["state"]["status"],
        "disengaged"
    );
    mesh.ok("UpdateSafetyLeverState", lever("engaged")).await;
    let stopped = mesh.until_status(&other, "stopped").await;
    assert!(stopped["state"]["reason"].as_str().unwrap().contains("safety lever"), "{stopped:#}");
    assert!(injector.all_ended());
    assert_eq!(
        mesh.ok("GetSafetyLever", json!({"id": "default"})).await["safetyLever"]["state"]["status"],
        "engaged"
    );
    let request = json!({"clientToken": "late", "experimentTemplateId": stopped["experimentTemplateId"]});
    mesh.fis("StartExperiment", request.clone()).await.refused("ConflictException", 409);
    mesh.ok("UpdateSafetyLeverState", lever("disengaged")).await;
    mesh.ok("StartExperiment", request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_counted_filtered_skipped_or_missed() {
    let mesh = Mesh::new(None).await;
    let wait = |target: &str| {
        json!({
            "it": {"actionId": "aws:ecs:stop-task", "targets": {"Tasks": target}},
            "wait": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1S"}, "startAfter": ["it"]},
        })
    };
    let skip_all = json!({"experimentOptions": {"actionsMode": "skip-all"}});
    for (mode, expected) in [("ALL", 2), ("COUNT(1)", 1), ("PERCENT(50)", 1)] {
        let id = mesh.start_experiment(wait("it"), of_service("service-b", mode), skip_all.clone()).await;
        let ended = mesh.until_status(&id, "completed").await;
        assert_eq!(ended["actions"]["it"]["state"]["status"], "skipped");
        assert_eq!(ended["experimentOptions"]["actionsMode"], "skip-all");
        let found = mesh.ok("ListExperimentResolvedTargets", json!({"experimentId": id})).await;
        assert_eq!(found["resolvedTargets"].as_array().unwrap().len(), expected, "{mode}");
    }
    let mut nobody = of_service("service-b", "ALL");
    nobody["it"]["filters"][0]["values"] = json!(["STOPPED"]);
    let id = mesh.start_experiment(wait("it"), nobody.clone(), json!({})).await;
    let failed = mesh.until_status(&id, "failed").await;
    assert_eq!(
        failed["state"]["error"],
        json!({"accountId": "000000000000", "code": "InvalidTarget", "location": "it"})
    );
    assert_eq!(failed["actions"]["wait"]["state"]["status"], "cancelled");
    let skip = json!({"experimentOptions": {"emptyTargetResolutionMode": "skip"}});
    let id = mesh.start_experiment(wait("it"), nobody, skip).await;
    let ended = mesh.until_status(&id, "completed").await;
    assert_eq!(ended["actions"]["it"]["state"]["status"], "skipped");
    assert_eq!(ended["actions"]["wait"]["state"]["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_instance_is_active_again_after_a_while_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let config = || ControlConfig { dns: None, ..ControlConfig::new(&state) };
    let status =
        |registry: &Registry| registry.container_instances.get("demo").map(|instance| instance.status);
    let drain = |duration: &str| {
        json!({"it": {"actionId": "aws:ecs:drain-container-instances", "targets": {"Clusters": "it"},
            "parameters": {"duration": duration, "drainagePercentage": "50"}}})
    };
    let arn = "arn:aws:ecs:us-east-1:000000000000:cluster/demo";
    let targets =
        || json!({"it": {"resourceType": "aws:ecs:cluster", "resourceArns": [arn], "selectionMode": "ALL"}});
    let id = {
        let mesh = Mesh::start(config(), tempfile::tempdir().expect("a directory"), None).await;
        mesh.role("chaos", TRUST, &["AmazonECS_FullAccess"]).await;
        let root = Keys::root();
        mesh.api.json(&root, "ecs", "CreateCluster", json!({"clusterName": "demo"})).await.ok();
        mesh.until("the machine joins", |registry| status(registry) == Some(InstanceStatus::Active)).await;
        let id = mesh.start_experiment(drain("PT1S"), targets(), json!({})).await;
        mesh.until("it drains", |registry| status(registry) == Some(InstanceStatus::Draining)).await;
        mesh.until_status(&id, "completed").await;
        assert_eq!(status(&mesh.control.snapshot()), Some(InstanceStatus::Active));

        let id = mesh.start_experiment(drain("PT1H"), targets(), json!({})).await;
        mesh.until_status(&id, "running").await;
        mesh.until("it drains", |registry| status(registry) == Some(InstanceStatus::Draining)).await;
        let Mesh { control, api } = mesh;
        drop(api);
        control.shutdown().await;
        id
    };
    let mesh = Mesh::start(config(), directory, None).await;
    let failed = mesh.until_status(&id, "failed").await;
    assert_eq!(failed["state"]["error"]["code"], "InternalFailure");
    assert_eq!(status(&mesh.control.snapshot()), Some(InstanceStatus::Active));
    mesh.control.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_restarted_alarms_are_asserted_and_logs_are_written() {
    let mesh = Mesh::new(None).await;
    let before = mesh.tasks("service-b");
    let root = Keys::root();
    let alarm = json!({
        "AlarmName": "errors", "Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
    });
    mesh.api.json(&root, "cloudwatch", "PutMetricAlarm", alarm).await.ok();
    mesh.api.json(&root, "logs", "CreateLogGroup", json!({"logGroupName": "fis"})).await.ok();
    let arn = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:errors";
    let actions = |states: &str| {
        json!({
            "assert": {"actionId": "aws:cloudwatch:assert-alarm-state",
                "parameters": {"alarmArns": arn, "alarmStates": states}},
            "restart": {"actionId": "bowline:restart-service", "targets": {"Services": "it"},
                "startAfter": ["assert"]},
        })
    };
    let targets = || {
        json!({"it": {"resourceType": "aws:ecs:service", "selectionMode": "ALL",
            "resourceArns": [mesh.service("service-b").as_str()]}})
    };
    let group = "arn:aws:logs:us-east-1:000000000000:log-group:fis:*";
    let logs = json!({"logConfiguration": {
        "logSchemaVersion": 2, "cloudWatchLogsConfiguration": {"logGroupArn": group},
    }});
    let id = mesh.start_experiment(actions("ALARM"), targets(), logs.clone()).await;
    let failed = mesh.until_status(&id, "failed").await;
    assert_eq!(failed["actions"]["restart"]["state"]["status"], "cancelled");
    assert_eq!(mesh.tasks("service-b"), before);
    let id = mesh.start_experiment(actions("OK,INSUFFICIENT_DATA"), targets(), logs).await;
    mesh.until_status(&id, "completed").await;
    mesh.until("its tasks are others", |registry| {
        is_settled(registry) && before.iter().all(|task| registry.tasks.get(task.as_str()).is_none())
    })
    .await;
    let kinds = || async {
        let request = json!({"logGroupName": "fis", "logStreamNames": [format!("/aws/fis/{id}")]});
        let answer = mesh.api.json(&root, "logs", "FilterLogEvents", request).await;
        let found: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let lines = found["events"].as_array().cloned().unwrap_or_default();
        let kind = |line: &Value| {
            serde_json::from_str::<Value>(line["message"].as_str()?).ok()?["log_type"]
                .as_str()
                .map(str::to_owned)
        };
        lines.iter().filter_map(kind).collect::<Vec<_>>()
    };
    let written = async {
        while !kinds().await.iter().any(|kind| kind == "experiment-end") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, written).await.expect("it is logged");
    let kinds = kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "action-start").count(), 2, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_while_it_runs_holds_nothing() {
    let injector = Arc::new(Remembering::default());
    let mesh = Mesh::new(Some(Arc::clone(&injector))).await;
    let freeze = action("bowline:freeze", json!({"duration": "PT1H"}));
    let id = mesh.start_experiment(freeze, of_service("service-a", "ALL"), json!({})).await;
    let holds = |registry: &Registry| {
        registry.experiments.get(&id).is_some_and(|it| it.run.actions["it"].status.as_str() == "running")
    };
    mesh.until("it runs", holds).await;
    mesh.control.core().reset(LIMIT).await.expect("forgets");
    let ended = async {
        while !injector.all_ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, ended).await.expect("its fault ends");
}

#[test]
fn no_more_are_kept_and_no_more_go_on_than_may() {
    use super::{
        FisError,
        experiments::{self, ACTIVE_MAX, EXPERIMENTS_MAX},
    };
    let mut registry = Registry::default();
    let scope = registry.settings().scope.clone();
    let template = json!({
        "clientToken": "t", "description": "x", "roleArn": ROLE, "stopConditions": [{"source": "none"}],
        "actions": {"it": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}}},
    });
    let request = bowline_aws::protocol::from_json(template).unwrap();
    let at = |seconds| Timestamp::from_secs(1_000 + seconds);
    let made = super::commands::create(&mut registry, &scope, request, at(0)).unwrap();
    let start = |registry: &mut Registry, number: usize| {
        let request = json!({"clientToken": number.to_string(), "experimentTemplateId": made.id});
        let request = bowline_aws::protocol::from_json(request).unwrap();
        experiments::start(registry, &scope, request, at(u64::try_from(number).unwrap()))
    };
    let over = |registry: &mut Registry| {
        let ids: Vec<_> = experiments::active(registry).map(|one| one.id.clone()).collect();
        for id in ids {
            registry.experiments.update(&id, |one| {
                one.run.abandon(at(0));
            });
        }
    };
    for number in 0..ACTIVE_MAX {
        start(&mut registry, number).unwrap();
    }
    assert!(matches!(start(&mut registry, ACTIVE_MAX), Err(FisError::Quota(_))));
    // The same again is the same.
    assert_eq!(start(&mut registry, 0).unwrap().created_at, at(0));
    for number in ACTIVE_MAX..EXPERIMENTS_MAX + 20 {
        over(&mut registry);
        start(&mut registry, number).unwrap();
    }
    assert_eq!(registry.experiments.len(), EXPERIMENTS_MAX);
    let oldest = registry.experiments.values().map(|one| one.created_at).min();
    assert_eq!(oldest, Some(at(20)));
}
