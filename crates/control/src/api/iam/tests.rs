use crate::api::{
    authorization::AuthorizationMode,
    testing::{Keys, TestApi},
};

const ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const EXECUTION: &str = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy";

fn api() -> (TestApi, Keys) {
    (TestApi::new(AuthorizationMode::Enforce), Keys::root())
}

#[tokio::test]
async fn a_role_lives_as_on_aws() {
    let (api, root) = api();
    let iam = |action: &'static str, parameters: Vec<(&'static str, &'static str)>| {
        let (api, root) = (&api, &root);
        async move { api.query(root, "iam", action, &parameters).await }
    };
    let role = ("RoleName", "Runner");
    let made =
        iam("CreateRole", vec![role, ("Path", "/app/"), ("AssumeRolePolicyDocument", TRUST)]).await.ok();
    assert_eq!(made.element("Arn"), "arn:aws:iam::000000000000:role/app/Runner");
    assert!(made.element("RoleId").starts_with("AROA"));
    assert!(made.element("AssumeRolePolicyDocument").starts_with("%7B%22Version%22%3A"));
    let again = iam("CreateRole", vec![("RoleName", "runner"), ("AssumeRolePolicyDocument", TRUST)]).await;
    again.refused("EntityAlreadyExists", 409);
    iam("CreateRole", vec![("RoleName", "x"), ("AssumeRolePolicyDocument", ALL)])
        .await
        .refused("MalformedPolicyDocument", 400);

    iam("AttachRolePolicy", vec![role, ("PolicyArn", EXECUTION)]).await.ok();
    iam("AttachRolePolicy", vec![role, ("PolicyArn", "arn:aws:iam::aws:policy/None")])
        .await
        .refused("NoSuchEntity", 404);
    iam("PutRolePolicy", vec![role, ("PolicyName", "all"), ("PolicyDocument", ALL)]).await.ok();
    let attached = iam("ListAttachedRolePolicies", vec![role]).await.ok();
    assert_eq!(attached.element("PolicyName"), "AmazonECSTaskExecutionRolePolicy");
    let entities = iam("ListEntitiesForPolicy", vec![("PolicyArn", EXECUTION)]).await.ok();
    assert_eq!(entities.element("RoleName"), "Runner");

    iam("DeleteRole", vec![role]).await.refused("DeleteConflict", 409);
    iam("DeleteRolePolicy", vec![role, ("PolicyName", "all")]).await.ok();
    iam("DeleteRole", vec![role]).await.refused("DeleteConflict", 409);
    iam("DetachRolePolicy", vec![role, ("PolicyArn", EXECUTION)]).await.ok();
    iam("DeleteRole", vec![role]).await.ok();
    iam("GetRole", vec![role]).await.refused("NoSuchEntity", 404);
    assert_eq!(api.registry().iam_roles.len(), 0);
}

#[tokio::test]
async fn a_managed_policy_has_five_versions_at_most() {
    let (api, root) = api();
    let made =
        api.query(&root, "iam", "CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", ALL)]).await.ok();
    let arn = made.element("Arn");
    let version = |action: &'static str, more: Vec<(&'static str, &'static str)>| {
        let mut parameters = vec![("PolicyArn", arn.as_str())];
        parameters.extend(more);
        let (api, root) = (&api, &root);
        async move { api.query(root, "iam", action, &parameters).await }
    };
    for number in 2..=5 {
        let made = version("CreatePolicyVersion", vec![("PolicyDocument", ALL)]).await.ok();
        assert_eq!(made.element("VersionId"), format!("v{number}"));
    }
    version("CreatePolicyVersion", vec![("PolicyDocument", ALL)]).await.refused("LimitExceeded", 409);
    version("DeletePolicyVersion", vec![("VersionId", "v1")]).await.refused("DeleteConflict", 409);
    version("SetDefaultPolicyVersion", vec![("VersionId", "v5")]).await.ok();
    version("DeletePolicyVersion", vec![("VersionId", "v1")]).await.ok();
    version("GetPolicyVersion", vec![("VersionId", "v1")]).await.refused("NoSuchEntity", 404);
    let next = version("CreatePolicyVersion", vec![("PolicyDocument", ALL), ("SetAsDefault", "true")]).await;
    assert_eq!(next.ok().element("VersionId"), "v6", "a number is used once");
    let told = version("ListPolicyVersions", vec![]).await.ok();
    assert_eq!(told.element("VersionId"), "v6", "the newest first");
    version("DeletePolicy", vec![]).await.refused("DeleteConflict", 409);
}

#[tokio::test]
async fn what_aws_manages_cannot_be_changed() {
    let (api, root) = api();
    let parameters = [("PolicyArn", EXECUTION), ("PolicyDocument", ALL)];
    api.query(&root, "iam", "CreatePolicyVersion", &parameters).await.refused("AccessDenied", 403);
    api.query(&root, "iam", "DeletePolicy", &parameters).await.refused("AccessDenied", 403);
    let told =
        api.query(&root, "iam", "GetPolicyVersion", &[("PolicyArn", EXECUTION), ("VersionId", "v1")]).await;
    assert!(told.ok().element("Document").contains("ecr%3AGetAuthorizationToken"));
}

#[tokio::test]
async fn a_users_keys_follow_its_name_and_go_before_it() {
    let (api, root) = api();
    let keys = api.user("ann", &[ALL]).await;
    api.query(&keys, "iam", "CreateAccessKey", &[]).await.ok();
    api.query(&keys, "iam", "CreateAccessKey", &[]).await.refused("LimitExceeded", 409);
    api.query(&root, "iam", "UpdateUser", &[("UserName", "ann"), ("NewUserName", "anna")]).await.ok();
    let identity = api.query(&keys, "sts", "GetCallerIdentity", &[]).await.ok();
    assert_eq!(identity.element("Arn"), "arn:aws:iam::000000000000:user/anna");
    api.query(&root, "iam", "DeleteUserPolicy", &[("UserName", "anna"), ("PolicyName", "p0")]).await.ok();
    api.query(&root, "iam", "DeleteUser", &[("UserName", "anna")]).await.refused("DeleteConflict", 409);
    let used = api.query(&root, "iam", "GetAccessKeyLastUsed", &[("AccessKeyId", &keys.id)]).await.ok();
    assert_eq!(used.element("ServiceName"), "sts");
}

#[tokio::test]
async fn inline_policies_have_a_limit_together() {
    let (api, root) = api();
    api.query(&root, "iam", "CreateUser", &[("UserName", "ann")]).await.ok();
    let padding = "x".repeat(900);
    let document = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:{padding}"}}]}}"#
    );
    for (name, code) in [("a", ""), ("b", ""), ("c", "LimitExceeded")] {
        let parameters = [("UserName", "ann"), ("PolicyName", name), ("PolicyDocument", &document)];
        assert_eq!(api.query(&root, "iam", "PutUserPolicy", &parameters).await.code(), code, "{name}");
    }
    // In place of itself it does not count.
    let parameters = [("UserName", "ann"), ("PolicyName", "a"), ("PolicyDocument", &document)];
    api.query(&root, "iam", "PutUserPolicy", &parameters).await.ok();
}

#[tokio::test]
async fn lists_have_pages() {
    let (api, root) = api();
    for name in ["a", "b", "c"] {
        api.query(&root, "iam", "CreateUser", &[("UserName", name)]).await.ok();
    }
    let first = api.query(&root, "iam", "ListUsers", &[("MaxItems", "2")]).await.ok();
    assert_eq!(first.element("IsTruncated"), "true");
    let rest = api.query(&root, "iam", "ListUsers", &[("Marker", &first.element("Marker"))]).await.ok();
    assert_eq!((rest.element("UserName"), rest.element("IsTruncated")), ("c".into(), "false".into()));
    api.query(&root, "iam", "ListUsers", &[("Marker", "no")]).await.refused("ValidationError", 400);
    let summary = api.query(&root, "iam", "GetAccountSummary", &[]).await.ok();
    assert!(summary.body.contains("<entry><key>Users</key><value>3</value></entry>"), "{}", summary.body);
}
