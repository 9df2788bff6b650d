use bowline_model::task::Egress;
use bowline_stream::directory::Directory;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{
        authorization::AuthorizationMode,
        testing::{Keys, TestApi},
    },
    audit::LookupQuery,
    control_plane::desired,
    task_spec::{self, SpecOptions},
};

const TASKS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:SourceAccount":"000000000000"}}}]}"#;
const SERVICES: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const LIST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:ListClusters","Resource":"*"}]}"#;

fn arn(role: &str) -> String {
    format!("arn:aws:iam::000000000000:role/{role}")
}

async fn role(api: &TestApi, name: &str, trust: &str) {
    let root = Keys::root();
    let parameters = [("RoleName", name), ("AssumeRolePolicyDocument", trust)];
    api.query(&root, "iam", "CreateRole", &parameters).await.ok();
    let parameters = [("RoleName", name), ("PolicyName", "list"), ("PolicyDocument", LIST)];
    api.query(&root, "iam", "PutRolePolicy", &parameters).await.ok();
}

/// Runs a task whose definition has this role, with these overrides.
async fn run(api: &TestApi, role: Option<&str>, overrides: Value) -> TaskId {
    let root = Keys::root();
    api.json(&root, "ecs", "CreateCluster", json!({})).await.ok();
    let definition = json!({
        "family": "job",
        "taskRoleArn": role,
        "containerDefinitions": [{"name": "job", "image": "none", "command": ["true"]}],
    });
    let registered = api.json(&root, "ecs", "RegisterTaskDefinition", definition).await.ok();
    let registered: Value = serde_json::from_str(&registered.body).expect("JSON");
    let request = json!({
        "taskDefinition": registered["taskDefinition"]["taskDefinitionArn"],
        "overrides": overrides,
    });
    let started = api.json(&root, "ecs", "RunTask", request).await.ok();
    let started: Value = serde_json::from_str(&started.body).expect("JSON");
    let arn: Arn = started["tasks"][0]["taskArn"].as_str().expect("a task").parse().expect("an ARN");
    arn.resource_name().rsplit('/').next().expect("an id").parse().expect("an id")
}

fn given(api: &TestApi, task: &TaskId) -> Result<TaskCredentials, TaskCredentialsError> {
    Directory::credentials(&*api.api.core, task)
}

/// Whether the task's spec has a sidecar, and says that it has a role.
fn spec(api: &TestApi, task: &TaskId) -> (bool, bool) {
    let registry = api.registry();
    let options = SpecOptions {
        discovery_address: ([127, 0, 0, 1], 1).into(),
        roots_pem: String::new(),
        egress: Egress::Deny,
        secrets: Arc::default(),
        xray_daemon: None,
        exec: Vec::new(),
    };
    let record = registry.tasks.get(task.as_str()).expect("the task");
    let spec = task_spec::build(&registry, &options, record).expect("a spec");
    assert_eq!(record.proxied, spec.proxy.is_some());
    (spec.proxy.is_some(), spec.role.is_some())
}

/// The trail's records of roles that tasks assumed, latest first.
fn assumptions(api: &TestApi) -> Vec<Value> {
    let page = api.api.core.audit().lookup(&LookupQuery::default()).expect("is found");
    let records =
        page.events.iter().map(|event| serde_json::from_str(&event.cloud_trail_event).expect("JSON"));
    records.filter(|record: &Value| record["eventName"] == "AssumeRole").collect()
}

#[tokio::test]
async fn that_a_task_s_role_was_assumed_or_not_is_in_the_audit_trail_and_the_key_is_not() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    role(&api, "reader", TASKS).await;
    role(&api, "closed", SERVICES).await;
    let task = run(&api, Some(&arn("reader")), json!({})).await;
    let credentials = given(&api, &task).expect("credentials");
    let denied = run(&api, Some(&arn("closed")), json!({})).await;
    assert!(given(&api, &denied).is_err());
    let records = assumptions(&api);
    let of = |task: &TaskId| {
        let mut of = records.iter().filter(|it| it["requestParameters"]["roleSessionName"] == task.as_str());
        of.next().unwrap_or_else(|| panic!("{task} is not in the trail: {records:?}"))
    };
    let record = of(&task);
    let expected = json!({"type": "AWSService", "invokedBy": "ecs-tasks.amazonaws.com"});
    assert_eq!(record["userIdentity"], expected);
    assert_eq!(record["eventSource"], "sts.amazonaws.com");
    assert_eq!(record["sourceIPAddress"], "ecs-tasks.amazonaws.com");
    assert_eq!(record["resources"][0]["ARN"], arn("reader"));
    let session = format!("arn:aws:sts::000000000000:assumed-role/reader/{task}");
    assert_eq!(record["responseElements"]["assumedRoleUser"]["arn"], session);
    assert_eq!(record["errorCode"], Value::Null);
    assert_eq!(of(&denied)["errorCode"], "AccessDenied");
    let trail = format!("{records:?}");
    assert!(!trail.contains(&**credentials.secret_access_key) && !trail.contains(&credentials.session_token));
}

#[tokio::test]
async fn a_task_has_credentials_of_its_own_role_and_they_do_what_the_role_may() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    role(&api, "reader", TASKS).await;
    role(&api, "other", TASKS).await;
    let task = run(&api, Some(&arn("reader")), json!({})).await;
    let overridden = run(&api, Some(&arn("reader")), json!({"taskRoleArn": arn("other")})).await;
    for (task, role) in [(&task, "reader"), (&overridden, "other")] {
        assert_eq!(spec(&api, task), (true, true));
        let credentials = given(&api, task).expect("credentials");
        assert_eq!(credentials.role_arn.as_str(), arn(role));
        let left = credentials.expires_at.since(wall_clock::now());
        assert!((3_590..=3_600).contains(&left.as_secs()), "{left:?}");
        let keys = Keys {
            id: credentials.access_key_id.clone(),
            secret: credentials.secret_access_key.to_string(),
            token: Some(credentials.session_token.clone()),
        };
        let identity = api.query(&keys, "sts", "GetCallerIdentity", &[]).await.ok();
        let expected = format!("arn:aws:sts::000000000000:assumed-role/{role}/{task}");
        assert_eq!(identity.element("Arn"), expected);
        api.json(&keys, "ecs", "ListClusters", json!({})).await.ok();
        let refused = api.json(&keys, "ecs", "CreateCluster", json!({"clusterName": "a"})).await;
        refused.refused("AccessDeniedException", 400);
    }
}

#[tokio::test]
async fn a_task_without_a_role_of_this_account_has_none() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    role(&api, "reader", TASKS).await;
    let without = run(&api, None, json!({})).await;
    let unknown = run(&api, Some("arn:aws:iam::000000000000:role/unknown"), json!({})).await;
    let foreign = run(&api, Some("arn:aws:iam::111122223333:role/reader"), json!({})).await;
    let nobody = TaskId::from_random([1; 16]);
    for task in [&without, &unknown, &foreign] {
        assert_eq!(spec(&api, task), (false, false));
    }
    for task in [&without, &unknown, &foreign, &nobody] {
        assert!(matches!(given(&api, task), Err(TaskCredentialsError::NoRole)));
    }
    let task = run(&api, Some(&arn("reader")), json!({})).await;
    assert!(given(&api, &task).is_ok());
    let root = Keys::root();
    let parameters = [("RoleName", "reader"), ("PolicyName", "list")];
    api.query(&root, "iam", "DeleteRolePolicy", &parameters).await.ok();
    api.query(&root, "iam", "DeleteRole", &[("RoleName", "reader")]).await.ok();
    assert!(matches!(given(&api, &task), Err(TaskCredentialsError::NoRole)), "the role is gone");
}

#[tokio::test]
async fn a_task_that_is_over_has_none() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    role(&api, "reader", TASKS).await;
    let task = run(&api, Some(&arn("reader")), json!({})).await;
    assert!(given(&api, &task).is_ok());
    let record = api.registry().tasks.get(task.as_str()).cloned().expect("the task");
    desired::end_untold(&api.api.core, &record, Some("it cannot run".into()));
    assert!(matches!(given(&api, &task), Err(TaskCredentialsError::NoRole)));
}

#[tokio::test]
async fn a_trust_policy_that_does_not_name_tasks_gives_them_nothing() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    role(&api, "reader", SERVICES).await;
    let task = run(&api, Some(&arn("reader")), json!({})).await;
    match given(&api, &task) {
        Err(TaskCredentialsError::Denied(text)) => assert!(text.contains("sts:AssumeRole"), "{text}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}
