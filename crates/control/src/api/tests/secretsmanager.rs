//! AWS Secrets Manager.

use serde_json::{Value, json};

use super::Endpoint;
use crate::{
    api::{
        authorization::AuthorizationMode,
        testing::{Keys, TestApi},
    },
    audit::LookupQuery,
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
    assert_eq!(
        told["VersionIdsToStages"],
        json!({token('a'): ["AWSPREVIOUS"], token('b'): ["AWSCURRENT"]})
    );
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
    let request = json!({"SecretId": "theirs", "ResourcePolicy": policy.to_string(), "BlockPublicPolicy": true});
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
