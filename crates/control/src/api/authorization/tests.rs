use bowline_plumbing::wall_clock;
use serde_json::json;

use super::AuthorizationMode;
use crate::{
    api::{
        operation,
        testing::{Answer, Keys, TestApi, temporary},
    },
    registry::RegistryError,
    stack::lifecycle,
};

const ROLE: &str = "arn:aws:iam::000000000000:role/worker";

fn policy(effect: &str, action: &str, resource: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource}]})
        .to_string()
}

fn trust(statement: serde_json::Value) -> String {
    let mut statement = statement;
    statement["Effect"] = "Allow".into();
    statement["Action"] = json!(["sts:AssumeRole", "sts:TagSession"]);
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

async fn role(api: &TestApi, trust: &str, policies: &[&str]) {
    let root = Keys::root();
    let parameters = [("RoleName", "worker"), ("AssumeRolePolicyDocument", trust)];
    api.query(&root, "iam", "CreateRole", &parameters).await.ok();
    for (number, document) in policies.iter().enumerate() {
        let name = format!("p{number}");
        let parameters = [("RoleName", "worker"), ("PolicyName", &name), ("PolicyDocument", document)];
        api.query(&root, "iam", "PutRolePolicy", &parameters).await.ok();
    }
}

async fn assume(api: &TestApi, keys: &Keys, more: &[(&str, &str)]) -> Answer {
    let mut parameters = vec![("RoleArn", ROLE), ("RoleSessionName", "job-1")];
    parameters.extend(more);
    api.query(keys, "sts", "AssumeRole", &parameters).await
}

async fn make_cluster(api: &TestApi, keys: &Keys, name: &str) -> Answer {
    api.json(keys, "ecs", "CreateCluster", json!({ "clusterName": name })).await
}

#[tokio::test]
async fn a_user_may_what_its_policies_allow() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let allowed = policy("Allow", "ecs:CreateCluster", "arn:aws:ecs:*:*:cluster/dev-*");
    let keys = api.user("ann", &[&allowed]).await;
    make_cluster(&api, &keys, "dev-1").await.ok();
    let refused = make_cluster(&api, &keys, "prod").await.refused("AccessDeniedException", 400);
    let sentence = "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: ecs:CreateCluster on \
                    resource: arn:aws:ecs:us-east-1:000000000000:cluster/prod because no identity-based policy \
                    allows the ecs:CreateCluster action";
    assert!(refused.body.contains(sentence), "{}", refused.body);
    assert_eq!(api.registry().clusters.len(), 1);
    api.query(&keys, "iam", "ListUsers", &[]).await.refused("AccessDenied", 403);
    // A deny is stronger, and the root user is not asked.
    let root = Keys::root();
    let deny = policy("Deny", "ecs:*", "*");
    let parameters = [("UserName", "ann"), ("PolicyName", "deny"), ("PolicyDocument", deny.as_str())];
    api.query(&root, "iam", "PutUserPolicy", &parameters).await.ok();
    make_cluster(&api, &keys, "dev-2").await.refused("AccessDeniedException", 400);
    make_cluster(&api, &root, "dev-2").await.ok();
}

#[tokio::test]
async fn a_boundary_limits_what_policies_allow() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let root = Keys::root();
    let keys = api.user("ann", &[&policy("Allow", "*", "*")]).await;
    make_cluster(&api, &keys, "one").await.ok();
    let arn = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let parameters = [("UserName", "ann"), ("PermissionsBoundary", arn)];
    api.query(&root, "iam", "PutUserPermissionsBoundary", &parameters).await.ok();
    let refused = make_cluster(&api, &keys, "two").await.refused("AccessDeniedException", 400);
    assert!(refused.body.contains("no permissions boundary allows"), "{}", refused.body);
    api.json(&keys, "ecs", "ListClusters", json!({})).await.ok();
}

#[tokio::test]
async fn off_and_audit_refuse_nothing_but_signatures() {
    for mode in [AuthorizationMode::Off, AuthorizationMode::Audit] {
        let api = TestApi::new(mode);
        let keys = api.user("ann", &[]).await;
        make_cluster(&api, &keys, "one").await.ok();
        let wrong = Keys { secret: "wrong".into(), ..keys };
        make_cluster(&api, &wrong, "two").await.refused("InvalidSignatureException", 400);
    }
}

#[tokio::test]
async fn a_role_is_assumed_by_whom_it_trusts() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let ann = api.user("ann", &[]).await;
    let bob = api.user("bob", &[&policy("Allow", "sts:AssumeRole", "*")]).await;
    let trusted = json!({
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/ann"},
        "Condition": {"StringEquals": {"sts:ExternalId": "secret-word"}},
    });
    role(&api, &trust(trusted), &[&policy("Allow", "ecs:*", "*")]).await;
    assume(&api, &ann, &[]).await.refused("AccessDenied", 403);
    assume(&api, &bob, &[("ExternalId", "secret-word")]).await.refused("AccessDenied", 403);
    let assumed = assume(&api, &ann, &[("ExternalId", "secret-word"), ("DurationSeconds", "900")]).await.ok();
    let session_arn = "arn:aws:sts::000000000000:assumed-role/worker/job-1";
    assert_eq!(assumed.element("Arn"), session_arn);
    let session = temporary(&assumed);
    assert!(session.id.starts_with("ASIA"));
    let identity = api.query(&session, "sts", "GetCallerIdentity", &[]).await.ok();
    assert_eq!(identity.element("Arn"), session_arn);
    assert!(identity.element("UserId").ends_with(":job-1"));
    make_cluster(&api, &session, "one").await.ok();
    api.query(&session, "iam", "ListUsers", &[]).await.refused("AccessDenied", 403);
    assume(&api, &ann, &[("ExternalId", "secret-word"), ("DurationSeconds", "7200")])
        .await
        .refused("ValidationError", 400);
    assume(&api, &ann, &[("ExternalId", "secret-word"), ("DurationSeconds", "899")])
        .await
        .refused("ValidationError", 400);
    // The credentials end with the role, also where another takes its name.
    let root = Keys::root();
    for (action, more) in [("DeleteRolePolicy", Some(("PolicyName", "p0"))), ("DeleteRole", None)] {
        let mut parameters = vec![("RoleName", "worker")];
        parameters.extend(more);
        api.query(&root, "iam", action, &parameters).await.ok();
    }
    role(&api, &trust(json!({"Principal": {"AWS": "*"}})), &[&policy("Allow", "*", "*")]).await;
    make_cluster(&api, &session, "two").await.refused("UnrecognizedClientException", 400);
}

#[tokio::test]
async fn a_session_policy_limits_the_session() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let ann = api.user("ann", &[&policy("Allow", "sts:*", "*")]).await;
    role(&api, &trust(json!({"Principal": {"AWS": "000000000000"}})), &[&policy("Allow", "ecs:*", "*")])
        .await;
    let limit = policy("Allow", "ecs:List*", "*");
    let session = temporary(&assume(&api, &ann, &[("Policy", &limit)]).await.ok());
    api.json(&session, "ecs", "ListClusters", json!({})).await.ok();
    let refused = make_cluster(&api, &session, "one").await.refused("AccessDeniedException", 400);
    assert!(refused.body.contains("no session policy allows"), "{}", refused.body);
    let read_only = ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess");
    let session = temporary(&assume(&api, &ann, &[read_only]).await.ok());
    make_cluster(&api, &session, "one").await.refused("AccessDeniedException", 400);
}

#[tokio::test]
async fn roles_are_passed_by_whom_policies_let() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let ecs = policy("Allow", "ecs:*", "*");
    let keys = api.user("ann", &[&ecs]).await;
    let definition = json!({
        "family": "f", "taskRoleArn": ROLE, "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "c", "image": "i"}],
    });
    let refused = api.json(&keys, "ecs", "RegisterTaskDefinition", definition.clone()).await;
    let refused = refused.refused("AccessDeniedException", 400);
    assert!(
        refused.body.contains("iam:PassRole on resource: arn:aws:iam::000000000000:role/worker"),
        "{}",
        refused.body
    );
    let pass = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "iam:PassRole", "Resource": ROLE,
        "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    }]})
    .to_string();
    let parameters = [("UserName", "ann"), ("PolicyName", "pass"), ("PolicyDocument", pass.as_str())];
    api.query(&Keys::root(), "iam", "PutUserPolicy", &parameters).await.ok();
    api.json(&keys, "ecs", "RegisterTaskDefinition", definition).await.ok();
}

#[tokio::test]
async fn a_template_s_task_definitions_pass_roles_too() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    role(&api, &trust(json!({"Principal": {"Service": "ecs-tasks.amazonaws.com"}})), &[]).await;
    let stacks = policy("Allow", "cloudformation:*", "*");
    let keys = api.user("ann", &[&stacks]).await;
    let template = |role: &str, member: &str, image: &str| {
        json!({"Resources": {"Task": {"Type": "AWS::ECS::TaskDefinition", "Properties": {
            "Family": "f", "Cpu": "256", "Memory": "512", member: role,
            "ContainerDefinitions": [{"Name": "c", "Image": image}],
        }}}})
        .to_string()
    };
    let call = async |keys: &Keys, operation: &str, template: &str, more: &[(&str, &str)]| {
        let mut parameters = vec![("StackName", "s"), ("TemplateBody", template)];
        parameters.extend(more);
        api.query(keys, "cloudformation", operation, &parameters).await
    };
    for (given, member) in [(ROLE, "TaskRoleArn"), ("worker", "TaskRoleArn"), (ROLE, "ExecutionRoleArn")] {
        let refused = call(&keys, "CreateStack", &template(given, member, "a"), &[]).await;
        let refused = refused.refused("AccessDenied", 403);
        assert!(refused.body.contains(&format!("iam:PassRole on resource: {ROLE}")), "{}", refused.body);
    }
    let (first, second) = (template(ROLE, "TaskRoleArn", "a"), template(ROLE, "TaskRoleArn", "b"));
    let create = [("ChangeSetName", "c"), ("ChangeSetType", "CREATE")];
    call(&keys, "CreateChangeSet", &first, &create).await.ok();
    let execute = [("StackName", "s"), ("ChangeSetName", "c")];
    api.query(&keys, "cloudformation", "ExecuteChangeSet", &execute).await.refused("AccessDenied", 403);
    assert_eq!(api.registry().task_definitions.len(), 0, "nothing was changed");

    // Made by who may, it is not passed again by a change that leaves it as it is.
    api.query(&Keys::root(), "cloudformation", "ExecuteChangeSet", &execute).await.ok();
    let completes = || {
        let advanced = api.api.core.change(|registry| {
            lifecycle::advance(registry, &Default::default(), wall_clock::now());
            Ok::<_, RegistryError>(())
        });
        advanced.expect("stored");
    };
    completes();
    let tags = [("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")];
    call(&keys, "UpdateStack", &first, &tags).await.ok();
    completes();
    call(&keys, "UpdateStack", &second, &[]).await.refused("AccessDenied", 403);
    let pass = policy("Allow", "iam:PassRole", ROLE);
    let parameters = [("UserName", "ann"), ("PolicyName", "pass"), ("PolicyDocument", pass.as_str())];
    api.query(&Keys::root(), "iam", "PutUserPolicy", &parameters).await.ok();
    call(&keys, "UpdateStack", &second, &[]).await.ok();
}

#[tokio::test]
async fn conditions_see_the_request() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let document = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "ecs:CreateCluster", "Resource": "*",
        "Condition": {
            "IpAddress": {"aws:SourceIp": "127.0.0.0/8"},
            "StringEquals": {"aws:RequestTag/team": "blue", "aws:RequestedRegion": "us-east-1"},
            "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"},
        },
    }]})
    .to_string();
    let keys = api.user("ann", &[&document]).await;
    make_cluster(&api, &keys, "one").await.refused("AccessDeniedException", 400);
    let tagged = |team: &str| json!({"clusterName": "one", "tags": [{"key": "team", "value": team}]});
    api.json(&keys, "ecs", "CreateCluster", tagged("red")).await.refused("AccessDeniedException", 400);
    api.json(&keys, "ecs", "CreateCluster", tagged("blue")).await.ok();
}

#[tokio::test]
async fn a_key_that_is_inactive_or_gone_is_nobodys() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let root = Keys::root();
    let keys = api.user("ann", &[&policy("Allow", "*", "*")]).await;
    make_cluster(&api, &keys, "one").await.ok();
    let status = |status: &'static str| [("UserName", "ann"), ("AccessKeyId", &*keys.id), ("Status", status)];
    api.query(&root, "iam", "UpdateAccessKey", &status("Inactive")).await.ok();
    make_cluster(&api, &keys, "two").await.refused("UnrecognizedClientException", 400);
    api.query(&root, "iam", "UpdateAccessKey", &status("Active")).await.ok();
    make_cluster(&api, &keys, "two").await.ok();
    // A token beside a key of one's own, and another's.
    let with_token = Keys { token: Some("AAAA".into()), ..keys.clone() };
    make_cluster(&api, &with_token, "three").await.refused("UnrecognizedClientException", 400);
    let session = temporary(&api.query(&keys, "sts", "GetSessionToken", &[]).await.ok());
    make_cluster(&api, &session, "three").await.ok();
    let without_token = Keys { token: None, ..session.clone() };
    make_cluster(&api, &without_token, "four").await.refused("UnrecognizedClientException", 400);
    api.query(&session, "sts", "GetSessionToken", &[]).await.refused("AccessDenied", 403);
    api.query(&root, "iam", "DeleteAccessKey", &[("UserName", "ann"), ("AccessKeyId", &keys.id)]).await.ok();
    make_cluster(&api, &keys, "four").await.refused("UnrecognizedClientException", 400);
}

/// Operations that everybody may call who is authentic.
const FREE: &[(&str, &str)] = &[("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")];

/// Every operation of every service refuses who is not authentic and who may not, in the code of
/// its protocol, and changes nothing.
#[tokio::test]
async fn every_operation_refuses_whom_it_should() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let keys = api.user("nobody", &[]).await;
    let expired = expired_session(&api);
    let wrong = Keys { secret: "wrong".into(), ..keys.clone() };
    let unknown = Keys { id: "AKIAAAAAAAAAAAAAAAAA".into(), ..keys.clone() };
    let generation = api.registry().generation;
    let mut count = 0;
    for service in bowline_aws::protocol::SERVICES {
        let json_like = service.protocol.is_json_like();
        for operation in operation::of_service(service.name) {
            let send = |keys: Option<Keys>, at: u64| {
                let body = match json_like {
                    true => "{}".to_owned(),
                    false => format!(
                        "Action={}&Version={}&RoleArn=arn:aws:iam::000000000000:role/none&RoleSessionName=some",
                        operation.name, service.version
                    ),
                };
                let api = &api;
                async move { api.send(keys.as_ref(), service.name, operation.name, body, at).await }
            };
            let now = wall_clock::now().as_secs();
            let code = |json: (&'static str, u16), query: (&'static str, u16)| match json_like {
                // restJson1 says by the status what the other JSON protocols say by the code alone.
                true if service.rest.is_some() => (json.0, 403),
                true => json,
                false => query,
            };
            let mut expect = vec![
                (
                    None,
                    now,
                    code(("MissingAuthenticationTokenException", 400), ("MissingAuthenticationToken", 403)),
                ),
                (Some(&wrong), now, code(("InvalidSignatureException", 400), ("SignatureDoesNotMatch", 403))),
                (
                    Some(&keys),
                    now - 3600,
                    code(("InvalidSignatureException", 400), ("SignatureDoesNotMatch", 403)),
                ),
                (
                    Some(&unknown),
                    now,
                    code(("UnrecognizedClientException", 400), ("InvalidClientTokenId", 403)),
                ),
                (Some(&expired), now, code(("ExpiredTokenException", 400), ("ExpiredToken", 403))),
            ];
            if !FREE.contains(&(service.name, operation.name)) {
                expect.push((Some(&keys), now, code(("AccessDeniedException", 400), ("AccessDenied", 403))));
            }
            for (by, at, (code, status)) in expect {
                let answer = send(by.cloned(), at).await;
                assert_eq!(
                    (answer.code().as_str(), answer.status),
                    (code, status),
                    "{}:{}: {}",
                    service.name,
                    operation.name,
                    answer.body
                );
                count += 1;
            }
        }
    }
    assert!(count > 100 * 5, "only {count} refusals were tried");
    assert_eq!(api.registry().generation, generation, "a refused request changed something");
}

/// Credentials of the root user that were over a second ago.
fn expired_session(api: &TestApi) -> Keys {
    use crate::credentials::{Session, SessionOf};
    let now = wall_clock::now();
    let made = api.api.core.credentials().make_session(|secret| Session {
        secret,
        of: SessionOf::Root,
        issued_at: now - std::time::Duration::from_secs(901),
        expires_at: now - std::time::Duration::from_secs(1),
        policy: None,
        policy_arns: Vec::new(),
        tags: Default::default(),
        source_identity: None,
    });
    let (id, secret, token) = made.expect("randomness");
    Keys { id, secret: (*secret).clone(), token: Some(token) }
}

/// A key of the root user that is not the default one.
fn made_key(api: &TestApi) -> Keys {
    use crate::{iam::KeyOwner, registry::RegistryError};
    let new = api.api.core.credentials().make(KeyOwner::Root, wall_clock::now()).expect("is made");
    let keys = Keys { id: new.record.id.clone(), secret: (*new.secret).clone(), token: None };
    let put = api.api.core.change::<_, RegistryError>(|registry| {
        registry.access_keys.put(new.record.id.clone(), new.record);
        Ok(())
    });
    put.expect("is stored");
    keys
}

#[tokio::test]
async fn the_default_key_is_nobodys_off_loopback() {
    let list = |api: TestApi, keys: Keys| async move {
        api.json(&keys, "ecs", "ListClusters", serde_json::json!({})).await.code()
    };
    assert_eq!(list(TestApi::new(AuthorizationMode::Enforce), Keys::root()).await, "");
    let open = TestApi::open_to_others(AuthorizationMode::Enforce);
    let made = made_key(&open);
    assert_eq!(open.json(&made, "ecs", "ListClusters", serde_json::json!({})).await.code(), "");
    assert_eq!(list(open, Keys::root()).await, "UnrecognizedClientException");
    let open = TestApi::open_to_others(AuthorizationMode::Off);
    assert_eq!(list(open, Keys::root()).await, "UnrecognizedClientException", "nor where nobody is asked");
}

/// A bucket that was emptied then gains nothing now.
fn in_an_hour() -> std::time::Instant {
    std::time::Instant::now() + std::time::Duration::from_secs(3600)
}

#[tokio::test]
async fn a_key_that_asks_too_much_is_told_to_wait() {
    let open = TestApi::open_to_others(AuthorizationMode::Enforce);
    let keys = made_key(&open);
    while open.api.limits.call_by(&keys.id, in_an_hour()).is_ok() {}
    let answer = open.json(&keys, "ecs", "ListClusters", serde_json::json!({})).await;
    assert_eq!(answer.code(), "ThrottlingException");
}

#[tokio::test]
async fn calls_by_nobody_do_not_fill_the_trail() {
    let api = TestApi::new(AuthorizationMode::Enforce);
    let address = "127.0.0.1".parse().expect("an address");
    while api.api.limits.refused(address, in_an_hour()).is_ok() {}
    let recorded = || {
        let page = api.api.core.audit().lookup(&crate::audit::LookupQuery::default());
        page.expect("is found").events.len()
    };
    let before = recorded();
    let now = wall_clock::now().as_secs();
    let answer = api.send(None, "ecs", "ListClusters", "{}".to_owned(), now).await;
    assert_eq!(answer.code(), "ThrottlingException");
    let form = "Action=GetCallerIdentity&Version=2011-06-15".to_owned();
    assert_eq!(api.send(None, "sts", "GetCallerIdentity", form, now).await.code(), "Throttling");
    assert_eq!(recorded(), before);
    // Who is known is not concerned.
    assert_eq!(api.json(&Keys::root(), "ecs", "ListClusters", serde_json::json!({})).await.code(), "");
}

#[tokio::test]
async fn policies_can_ask_for_tls() {
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecs:*","Resource":"*",
        "Condition":{"Bool":{"aws:SecureTransport":"true"},"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}}}"#;
    let plain = TestApi::new(AuthorizationMode::Enforce);
    let keys = plain.user("somebody", &[policy]).await;
    let list = serde_json::json!({});
    assert_eq!(plain.json(&keys, "ecs", "ListClusters", list.clone()).await.code(), "AccessDeniedException");
    let open = TestApi::open_to_others(AuthorizationMode::Enforce);
    let root = made_key(&open);
    let call = |action: &'static str, parameters: Vec<(&'static str, &'static str)>| {
        let (open, root) = (&open, &root);
        async move { open.query(root, "iam", action, &parameters).await.ok() }
    };
    call("CreateUser", vec![("UserName", "somebody")]).await;
    let policy = vec![("UserName", "somebody"), ("PolicyName", "p"), ("PolicyDocument", policy)];
    call("PutUserPolicy", policy).await;
    let made = call("CreateAccessKey", vec![("UserName", "somebody")]).await;
    let keys = Keys { id: made.element("AccessKeyId"), secret: made.element("SecretAccessKey"), token: None };
    assert_eq!(open.json(&keys, "ecs", "ListClusters", list).await.code(), "");
}

#[tokio::test]
async fn policies_can_ask_for_a_resources_tags() {
    let policy = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":"ecs:DeleteCluster","Resource":"*",
         "Condition":{"StringEquals":{"aws:ResourceTag/team":"shop"}}},
        {"Effect":"Allow","Action":"iam:GetRole","Resource":"*",
         "Condition":{"StringEquals":{"iam:ResourceTag/team":"shop"}}},
        {"Effect":"Allow","Action":"servicediscovery:GetNamespace","Resource":"*",
         "Condition":{"StringEquals":{"aws:ResourceTag/team":"shop"}}}]}"#;
    let api = TestApi::new(AuthorizationMode::Enforce);
    let (root, keys) = (Keys::root(), api.user("somebody", &[policy]).await);
    for (name, team) in [("ours", "shop"), ("theirs", "other")] {
        let tags = serde_json::json!([{"key": "team", "value": team}]);
        let made = serde_json::json!({"clusterName": name, "tags": tags});
        assert_eq!(api.json(&root, "ecs", "CreateCluster", made).await.code(), "");
        let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ecs.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
        let role = [
            ("RoleName", name),
            ("AssumeRolePolicyDocument", trust),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", team),
        ];
        assert_eq!(api.query(&root, "iam", "CreateRole", &role).await.code(), "");
        let tags = serde_json::json!([{"Key": "team", "Value": team}]);
        let made = serde_json::json!({"Name": name, "Tags": tags});
        assert_eq!(api.json(&root, "servicediscovery", "CreateHttpNamespace", made).await.code(), "");
        let id = api.registry().namespaces.get(name).expect("is made").id.clone();
        let codes = [
            api.json(&keys, "ecs", "DeleteCluster", serde_json::json!({"cluster": name})).await.code(),
            api.query(&keys, "iam", "GetRole", &[("RoleName", name)]).await.code(),
            api.json(&keys, "servicediscovery", "GetNamespace", serde_json::json!({"Id": id})).await.code(),
        ];
        let refused = ["AccessDeniedException", "AccessDenied", "AccessDeniedException"];
        assert_eq!(codes, if team == "shop" { [""; 3] } else { refused }, "{name}");
    }
}
