//! AWS Secrets Manager.

use serde_json::{Value, json};

use super::Endpoint;
use crate::{
    api::{
        authorization::AuthorizationMode,
        testing::{Keys, TestApi},
    },
    audit::LookupQuery,
    control_plane::{desired, task_secrets},
    registry::{RegistryError, TaskRecord},
};

fn ok(endpoint: &Endpoint, name: &str, request: Value) -> Value {
    endpoint.ok("secretsmanager", name, request)
}

fn code(endpoint: &Endpoint, name: &str, request: Value) -> String {
    endpoint.fault("secretsmanager", name, request).code
}

fn token(letter: char) -> String {
    letter.to_string().repeat(32)
}

#[test]
fn a_secret_lives_from_its_creation_to_its_end() {
    let api = Endpoint::new();
    let made = ok(
        &api,
        "CreateSecret",
        json!({"Name": "db", "SecretString": "one", "ClientRequestToken": token('a'),
            "Description": "for the shop", "Tags": [{"Key": "team", "Value": "a"}]}),
    );
    let arn = made["ARN"].as_str().unwrap().to_owned();
    assert_eq!(made["VersionId"], token('a'));
    assert_eq!(code(&api, "CreateSecret", json!({"Name": "db"})), "ResourceExistsException");
    assert_eq!(code(&api, "CreateSecret", json!({"Name": "a b"})), "InvalidParameterException");

    let put = ok(
        &api,
        "PutSecretValue",
        json!({"SecretId": arn, "SecretBinary": "AP8=", "ClientRequestToken": token('b')}),
    );
    assert_eq!(put["VersionStages"], json!(["AWSCURRENT"]));
    let got = ok(&api, "GetSecretValue", json!({"SecretId": "db"}));
    assert_eq!((&got["SecretBinary"], &got["VersionId"]), (&json!("AP8="), &json!(token('b'))));
    let previous = ok(&api, "GetSecretValue", json!({"SecretId": "db", "VersionStage": "AWSPREVIOUS"}));
    assert_eq!(previous["SecretString"], "one");
    for (request, expected) in [
        (json!({"SecretId": "none"}), "ResourceNotFoundException"),
        (json!({"SecretId": "db", "VersionStage": "blue"}), "ResourceNotFoundException"),
        (json!({"SecretId": "db", "VersionId": token('x')}), "ResourceNotFoundException"),
        (
            json!({"SecretId": "db", "VersionId": token('a'), "VersionStage": "AWSCURRENT"}),
            "InvalidRequestException",
        ),
    ] {
        assert_eq!(code(&api, "GetSecretValue", request), expected);
    }

    let told = ok(&api, "DescribeSecret", json!({"SecretId": "db"}));
    assert_eq!(told["VersionIdsToStages"], json!({token('a'): ["AWSPREVIOUS"], token('b'): ["AWSCURRENT"]}));
    assert!(told["LastAccessedDate"].is_number());
    assert_eq!(told["Tags"], json!([{"Key": "team", "Value": "a"}]));

    ok(&api, "DeleteSecret", json!({"SecretId": "db", "RecoveryWindowInDays": 7}));
    assert_eq!(code(&api, "GetSecretValue", json!({"SecretId": "db"})), "InvalidRequestException");
    assert_eq!(code(&api, "CreateSecret", json!({"Name": "db"})), "InvalidRequestException");
    assert_eq!(ok(&api, "ListSecrets", json!({}))["SecretList"], json!([]));
    let planned = ok(&api, "ListSecrets", json!({"IncludePlannedDeletion": true}));
    assert_eq!(planned["SecretList"][0]["ARN"], arn);
    ok(&api, "RestoreSecret", json!({"SecretId": "db"}));
    ok(&api, "DeleteSecret", json!({"SecretId": "db", "ForceDeleteWithoutRecovery": true}));
    assert_eq!(code(&api, "DescribeSecret", json!({"SecretId": "db"})), "ResourceNotFoundException");
    ok(&api, "DeleteSecret", json!({"SecretId": "db", "ForceDeleteWithoutRecovery": true}));
}

#[test]
fn the_schedule_of_a_rotation_is_recorded_and_none_is_run() {
    let api = Endpoint::new();
    ok(&api, "CreateSecret", json!({"Name": "db", "SecretString": "one"}));
    let function = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let mut request = json!({"SecretId": "db", "RotationRules": {"AutomaticallyAfterDays": 10}});
    assert_eq!(code(&api, "RotateSecret", request.clone()), "InvalidRequestException");
    request["RotationLambdaARN"] = json!(function);
    assert_eq!(code(&api, "RotateSecret", request.clone()), "InvalidRequestException");
    request["RotateImmediately"] = json!(false);
    ok(&api, "RotateSecret", request);
    let told = ok(&api, "DescribeSecret", json!({"SecretId": "db"}));
    assert_eq!((&told["RotationEnabled"], &told["RotationLambdaARN"]), (&json!(true), &json!(function)));
    let days = told["NextRotationDate"].as_f64().unwrap() - told["CreatedDate"].as_f64().unwrap();
    assert!((days / 86_400.0 - 10.0).abs() < 0.01);
    ok(&api, "CancelRotateSecret", json!({"SecretId": "db"}));
    let told = ok(&api, "DescribeSecret", json!({"SecretId": "db"}));
    assert_eq!((&told["RotationEnabled"], &told["NextRotationDate"]), (&json!(false), &Value::Null));
}

#[test]
fn a_templates_secrets_are_rows_that_keep_what_was_put_by_other_means() {
    let api = Endpoint::new();
    let template = |value: &str, description: &str| {
        let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",
            "Action": "secretsmanager:DeleteSecret", "Resource": "*"}]});
        json!({"Resources": {
            "Db": {"Type": "AWS::SecretsManager::Secret", "Properties":
                {"Name": "db", "Description": description, "SecretString": value,
                 "Tags": [{"Key": "team", "Value": "a"}]}},
            "Key": {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": "key", "GenerateSecretString":
                {"SecretStringTemplate": "{\"user\":\"app\"}", "GenerateStringKey": "password", "PasswordLength": 20}}},
            "Guard": {"Type": "AWS::SecretsManager::ResourcePolicy", "Properties":
                {"SecretId": {"Ref": "Db"}, "ResourcePolicy": document}}
        }, "Outputs": {"Arn": {"Value": {"Ref": "Db"}}}})
        .to_string()
    };
    let value = |id: &str| ok(&api, "GetSecretValue", json!({"SecretId": id}))["SecretString"].clone();
    let update = |body: String| {
        api.ok("cloudformation", "UpdateStack", json!({"StackName": "s", "TemplateBody": body}));
    };
    api.ok("cloudformation", "CreateStack", json!({"StackName": "s", "TemplateBody": template("one", "a")}));
    assert_eq!(value("db"), "one");
    let generated: Value = serde_json::from_str(value("key").as_str().unwrap()).unwrap();
    assert_eq!((&generated["user"], generated["password"].as_str().unwrap().len()), (&json!("app"), 20));
    let told = ok(&api, "GetResourcePolicy", json!({"SecretId": "db"}));
    assert!(told["ResourcePolicy"].as_str().unwrap().contains("DeleteSecret"));

    let key = value("key");
    ok(&api, "PutSecretValue", json!({"SecretId": "db", "SecretString": "rotated"}));
    api.finish_stack();
    update(template("one", "b"));
    let told = ok(&api, "DescribeSecret", json!({"SecretId": "db"}));
    assert_eq!((told["Description"].clone(), value("db")), (json!("b"), json!("rotated")));
    api.finish_stack();
    update(template("two", "b"));
    assert_eq!((value("db"), value("key")), (json!("two"), key));
    api.finish_stack();

    let foreign = json!({"Resources": {"P": {"Type": "AWS::SecretsManager::ResourcePolicy", "Properties":
        {"SecretId": "db", "ResourcePolicy": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"AWS": "000000000000"}, "Action": "secretsmanager:*", "Resource": "*"}]}}}}});
    let request = json!({"StackName": "t", "TemplateBody": foreign.to_string()});
    assert!(api.fault("cloudformation", "CreateStack", request).message.contains("not of this stack"));

    api.ok("cloudformation", "DeleteStack", json!({"StackName": "s"}));
    api.finish_stack();
    assert_eq!(code(&api, "DescribeSecret", json!({"SecretId": "db"})), "ResourceNotFoundException");
    assert!(api.core.registry().secret_values.is_empty());
}

const GET_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}]}"#;

fn get_one(resource: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"{resource}"{condition}}}]}}"#
    )
}

#[tokio::test]
async fn policies_of_callers_and_of_secrets_decide_together() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let root = Keys::root();
    let mut arns = Vec::new();
    for name in ["mine", "theirs"] {
        let request = json!({"Name": name, "SecretString": "x"});
        let made = api.json(&root, "secretsmanager", "CreateSecret", request).await.ok();
        arns.push(serde_json::from_str::<Value>(&made.body).unwrap()["ARN"].as_str().unwrap().to_owned());
    }
    let current = r#","Condition":{"StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}"#;
    let one = api.user("one", &[&get_one(&arns[0], current)]).await;
    let all = api.user("all", &[GET_ALL]).await;
    let nothing = api.user("nothing", &[]).await;
    let get = async |keys: &Keys, request: Value| {
        api.json(keys, "secretsmanager", "GetSecretValue", request).await.code()
    };
    let denied = "AccessDeniedException";
    assert_eq!(get(&one, json!({"SecretId": "mine"})).await, "");
    assert_eq!(get(&one, json!({"SecretId": "mine", "VersionStage": "AWSPREVIOUS"})).await, denied);
    assert_eq!(get(&one, json!({"SecretId": "theirs"})).await, denied);
    assert_eq!(get(&one, json!({"SecretId": "none"})).await, denied, "it does not tell what is there");
    assert_eq!(get(&nothing, json!({"SecretId": arns[1]})).await, denied);

    // A secret's policy allows one whose own policies say nothing, and denies one whose do.
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/nothing"},
            "Action": "secretsmanager:GetSecretValue", "Resource": "*"},
        {"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::000000000000:user/all"},
            "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]});
    let request =
        json!({"SecretId": "theirs", "ResourcePolicy": policy.to_string(), "BlockPublicPolicy": true});
    api.json(&root, "secretsmanager", "PutResourcePolicy", request).await.ok();
    assert_eq!(get(&nothing, json!({"SecretId": "theirs"})).await, "");
    assert_eq!(get(&nothing, json!({"SecretId": "mine"})).await, denied);
    assert_eq!(get(&all, json!({"SecretId": "theirs"})).await, denied);

    // Of a batch, each secret is allowed or denied by itself.
    let request = json!({"SecretIdList": ["mine", "theirs", "none"]});
    let batch = api.json(&all, "secretsmanager", "BatchGetSecretValue", request).await.ok();
    let batch: Value = serde_json::from_str(&batch.body).unwrap();
    assert_eq!(batch["SecretValues"][0]["Name"], "mine");
    let codes: Vec<_> = batch["Errors"].as_array().unwrap().iter().map(|e| e["ErrorCode"].clone()).collect();
    assert_eq!(codes, [json!(denied), json!("ResourceNotFoundException")]);
}

#[tokio::test]
async fn no_value_is_in_the_audit_trail_or_in_the_clear_in_a_row() {
    const VALUE: &str = "correct-horse-battery-staple";
    let api = TestApi::new(AuthorizationMode::Enforce);
    let root = Keys::root();
    // RFC 4648's base64 of the value, as SecretBinary.
    let binary = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";
    for (name, request) in [
        ("CreateSecret", json!({"Name": "db", "SecretString": VALUE})),
        ("PutSecretValue", json!({"SecretId": "db", "SecretBinary": binary})),
        ("UpdateSecret", json!({"SecretId": "db", "SecretString": format!("{{\"p\":\"{VALUE}\"}}")})),
        ("GetSecretValue", json!({"SecretId": "db"})),
        ("BatchGetSecretValue", json!({"SecretIdList": ["db"]})),
        ("GetRandomPassword", json!({})),
    ] {
        api.json(&root, "secretsmanager", name, request).await.ok();
    }
    let page = api.api.core.audit().lookup(&LookupQuery::default()).expect("is found");
    assert_eq!(page.events.len(), 6);
    let trail = format!("{page:?}");
    assert!(trail.contains("HIDDEN_DUE_TO_SECURITY_REASONS"));
    assert!(!trail.contains(VALUE) && !trail.contains(binary), "{trail}");
    let registry = api.registry();
    let rows = format!("{:?} {:?}", registry.secrets, registry.secret_values);
    assert!(!rows.contains(VALUE));
    for row in registry.secret_values.values() {
        let json = serde_json::to_vec(&**row).unwrap();
        assert!(!String::from_utf8_lossy(&json).contains(VALUE));
        assert!(!row.sealed.windows(VALUE.len()).any(|part| part == VALUE.as_bytes()));
    }
}

/// A task that wants a secret, of a definition with this execution role.
async fn task_wanting(api: &TestApi, value_from: &str, role: Option<&str>) -> TaskRecord {
    let root = Keys::root();
    let mut definition = json!({"family": "f", "containerDefinitions": [{"name": "app", "image": "i",
        "secrets": [{"name": "DB", "valueFrom": value_from}]}]});
    if let Some(role) = role {
        definition["executionRoleArn"] = json!(format!("arn:aws:iam::000000000000:role/{role}"));
    }
    api.json(&root, "ecs", "RegisterTaskDefinition", definition).await.ok();
    api.json(&root, "ecs", "RunTask", json!({"taskDefinition": "f"})).await.ok();
    let registry = api.registry();
    let newest = registry.tasks.values().max_by_key(|task| {
        let definition = task.owner.task_definition().expect("a task of a definition").to_string();
        let revision: u32 = definition.rsplit(':').next().unwrap().parse().unwrap();
        revision
    });
    (**newest.expect("a task")).clone()
}

#[tokio::test]
async fn a_task_gets_what_its_execution_role_may_read_and_the_rest_is_denied_and_audited() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let root = Keys::root();
    let request = json!({"Name": "db", "SecretString": r#"{"user":"app"}"#});
    let made = api.json(&root, "secretsmanager", "CreateSecret", request).await.ok();
    let arn = serde_json::from_str::<Value>(&made.body).unwrap()["ARN"].as_str().unwrap().to_owned();
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    for (role, resource) in [("reader", arn.as_str()), ("other", "arn:aws:secretsmanager:*:*:secret:other-*")]
    {
        let parameters = [("RoleName", role), ("AssumeRolePolicyDocument", trust)];
        api.query(&root, "iam", "CreateRole", &parameters).await.ok();
        let document = get_one(resource, "");
        let parameters = [("RoleName", role), ("PolicyName", "p"), ("PolicyDocument", &document)];
        api.query(&root, "iam", "PutRolePolicy", &parameters).await.ok();
    }
    api.json(&root, "ecs", "CreateCluster", json!({})).await.ok();
    let core = &api.api.core;
    let reference = format!("{arn}:user::");
    let take = |task: &TaskRecord| {
        let values = task_secrets::of_task(core, &core.registry(), task)?;
        Ok::<_, String>(values.get(&reference).expect("is among them").expose().to_owned())
    };
    let task = task_wanting(&api, &reference, Some("reader")).await;
    assert_eq!(take(&task).as_deref(), Ok("app"));
    assert_eq!(take(&task_wanting(&api, &reference, None).await).as_deref(), Ok("app"));

    let mut denied = task_wanting(&api, &reference, Some("other")).await;
    let reason = take(&denied).expect_err("is denied");
    let words = "ResourceInitializationError: unable to pull secrets or registry auth: ";
    assert!(reason.starts_with(words) && reason.contains("AccessDeniedException"), "{reason}");
    assert!(take(&task_wanting(&api, &reference, Some("nobody")).await).is_err());

    // Without a role, a definition is as good as who registered it.
    let rootless = task_wanting(&api, &reference, None).await;
    core.change::<_, RegistryError>(|registry| {
        let arn = rootless.owner.task_definition().expect("one of a definition").to_string();
        registry.task_definition_records.update(&arn, |record| {
            record.registered_by = "arn:aws:iam::000000000000:user/somebody".into();
        });
        Ok(())
    })
    .expect("is changed");
    assert!(take(&rootless).expect_err("is denied").starts_with("ResourceInitializationError"));

    let page = core.audit().lookup(&LookupQuery::default()).expect("is found");
    let records: Vec<Value> = page
        .events
        .iter()
        .map(|event| serde_json::from_str(&event.cloud_trail_event).expect("is JSON"))
        .filter(|record: &Value| record["eventName"] == "GetSecretValue")
        .collect();
    let of = |role: &str| {
        let session = format!("assumed-role/{role}/");
        let mut of = records
            .iter()
            .filter(|record| record["userIdentity"]["arn"].as_str().unwrap().contains(&session));
        of.next().unwrap_or_else(|| panic!("{role} is not in the trail: {records:?}")).clone()
    };
    assert_eq!(of("reader")["errorCode"], Value::Null);
    assert_eq!(of("other")["errorCode"], "AccessDeniedException");
    assert_eq!(of("other")["requestParameters"]["secretId"], arn);

    // The task ends without having started; one that runs already stays.
    desired::end_untold(core, &denied, Some(reason.clone()));
    let refused = core.registry().tasks.get(denied.id.as_str()).cloned().expect("is there");
    denied.report.clone_from(&refused.report);
    let report = refused.report.as_ref().expect("it has ended");
    assert_eq!(report.stopped_reason.as_ref(), Some(&reason));
    assert_eq!(take(&denied).as_deref(), Ok("app"));
}
