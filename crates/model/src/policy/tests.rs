//! The policy language and its evaluation, by tables after AWS's documentation.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod malformed;

const ACCOUNT: &str = "111122223333";

fn read(kind: PolicyKind, document: &Value) -> Policy {
    Policy::parse(kind, &document.to_string(), MANAGED_POLICY_CHARACTERS_MAX)
        .unwrap_or_else(|error| panic!("{document}: {error}"))
}

fn policy(kind: PolicyKind, statements: Value) -> Policy {
    read(kind, &json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn identity(statements: Value) -> Policy {
    policy(PolicyKind::Identity, statements)
}

fn named(policy: &Policy) -> AttachedPolicy<'_> {
    AttachedPolicy { name: "p", policy }
}

fn user(name: &str, account: &str) -> Principal {
    Principal::User { arn: format!("arn:aws:iam::{account}:user/{name}"), account_id: account.into() }
}

fn session() -> Principal {
    Principal::AssumedRole {
        session_arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/deploy/ci"),
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/deploy"),
        account_id: ACCOUNT.into(),
    }
}

fn request(action: &str, resource: &str) -> RequestContext {
    RequestContext::new(user("bob", ACCOUNT), action, resource)
}

/// Whether bob may, by these statements of his alone.
fn may(statements: Value, request: &RequestContext) -> bool {
    let policy = identity(statements);
    Policies { identity: &[named(&policy)], ..Policies::default() }.evaluate(request).is_allowed()
}

fn allow(action: &str, resource: &str) -> Value {
    json!({ "Effect": "Allow", "Action": action, "Resource": resource })
}

const SERVICE: &str = "arn:aws:ecs:us-east-1:111122223333:service/demo/a";

#[test]
fn actions_and_resources() {
    let create = request("ecs:CreateService", SERVICE);
    let list = request("ecs:ListClusters", "*");
    for (statement, request, expected) in [
        (allow("ecs:CreateService", SERVICE), &create, true),
        (allow("ECS:createservice", "*"), &create, true),
        (allow("ecs:*", "*"), &create, true),
        (allow("*", "*"), &create, true),
        (allow("*:*", "*"), &create, true),
        (allow("ecs:Create*", "arn:aws:ecs:*:*:service/demo/*"), &create, true),
        (allow("ecs:?reateService", "*"), &create, true),
        (allow("ecs:Delete*", "*"), &create, false),
        (allow("sqs:*", "*"), &create, false),
        (allow("ecs:*", "arn:aws:ecs:*:*:service/DEMO/*"), &create, false),
        (allow("ecs:*", "arn:aws:ecs:us-west-2:*:*"), &create, false),
        // An action that knows no resources needs the resource `*`.
        (allow("ecs:*", "*"), &list, true),
        (allow("ecs:*", "arn:aws:ecs:*:*:*"), &list, false),
        (json!({ "Effect": "Allow", "NotAction": "iam:*", "Resource": "*" }), &create, true),
        (
            json!({ "Effect": "Allow", "NotAction": ["iam:*", "ecs:Create*"], "Resource": "*" }),
            &create,
            false,
        ),
        (json!({ "Effect": "Allow", "Action": "ecs:*", "NotResource": SERVICE }), &create, false),
        (json!({ "Effect": "Allow", "Action": "ecs:*", "NotResource": "arn:aws:s3:::*" }), &create, true),
        (json!({ "Effect": "Deny", "NotAction": "iam:*", "Resource": "*" }), &create, false),
    ] {
        assert_eq!(may(statement.clone(), request), expected, "{statement}");
    }
}

#[test]
fn variables_are_of_the_newer_version() {
    let home = |name: &str| request("s3:GetObject", &format!("arn:aws:s3:::homes/{name}/x"));
    let statement = allow("s3:GetObject", "arn:aws:s3:::homes/${aws:username}/*");
    assert!(may(statement.clone(), &home("bob")));
    assert!(!may(statement.clone(), &home("alice")));
    let old = read(PolicyKind::Identity, &json!({ "Version": "2008-10-17", "Statement": statement }));
    let by_old = |request: &RequestContext| {
        Policies { identity: &[named(&old)], ..Policies::default() }.evaluate(request).is_allowed()
    };
    assert!(!by_old(&home("bob")));
    assert!(by_old(&home("${aws:username}")));
    // Without a value nothing is allowed, and nothing excepted from what is denied.
    let team = "arn:aws:s3:::${aws:PrincipalTag/team}";
    assert!(!may(allow("s3:*", team), &home("bob")));
    assert!(!may(json!({ "Effect": "Allow", "Action": "s3:*", "NotResource": team }), &home("bob")));
    let deny = json!({ "Effect": "Deny", "Action": "s3:*", "NotResource": team });
    assert!(!may(json!([allow("*", "*"), deny]), &home("bob")));
    let other = json!({ "StringNotEquals": { "aws:username": "${aws:PrincipalTag/owner}" } });
    let deny = json!({ "Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": other });
    assert!(!may(json!([allow("*", "*"), deny]), &home("bob")));
    assert!(may(allow("s3:*", "arn:aws:s3:::${aws:PrincipalTag/team, 'homes'}/*"), &home("bob")));
}

/// The keys of a request and their values.
type Keys<'a> = &'a [(&'a str, &'a [&'a str])];

#[test]
fn conditions() {
    const NONE: [(&str, &[&str]); 0] = [];
    let ip: [(&str, &[&str]); 1] = [("aws:SourceIp", &["203.0.113.7"])];
    let tag: [(&str, &[&str]); 1] = [("aws:PrincipalTag/job", &["iamuser-admin"])];
    let many: [(&str, &[&str]); 1] = [("aws:TagKeys", &["env", "cost"])];
    let age: [(&str, &[&str]); 1] = [("aws:MultiFactorAuthAge", &["3600"])];
    let now: [(&str, &[&str]); 1] = [("aws:CurrentTime", &["2026-11-21T07:45:00Z"])];
    let tls: [(&str, &[&str]); 1] = [("aws:SecureTransport", &["true"])];
    let arn: [(&str, &[&str]); 1] = [("aws:SourceArn", &["arn:aws:sns:us-east-1:111122223333:t-1"])];
    // The statement's `Condition`, the request's keys, whether the condition is met.
    let cases: Vec<(Value, Keys<'_>, bool)> = vec![
        // One operator after the other; names of keys without regard to case.
        (json!({ "StringEquals": { "aws:principaltag/JOB": "iamuser-admin" } }), &tag, true),
        (json!({ "StringEquals": { "aws:PrincipalTag/job": "IAMUser-admin" } }), &tag, false),
        (json!({ "StringEquals": { "aws:PrincipalTag/job": "iamuser*" } }), &tag, false),
        (json!({ "StringEquals": { "aws:PrincipalTag/job": ["a", "iamuser-admin"] } }), &tag, true),
        (json!({ "StringEqualsIgnoreCase": { "aws:PrincipalTag/job": "IAMUser-admin" } }), &tag, true),
        (json!({ "StringNotEqualsIgnoreCase": { "aws:PrincipalTag/job": "IAMUser-admin" } }), &tag, false),
        (json!({ "StringLike": { "aws:PrincipalTag/job": "iamuser-*" } }), &tag, true),
        (json!({ "StringLike": { "aws:PrincipalTag/job": "IAMuser-*" } }), &tag, false),
        (json!({ "StringNotLike": { "aws:PrincipalTag/job": ["x*", "iamuser-*"] } }), &tag, false),
        (json!({ "StringNotEquals": { "aws:PrincipalTag/job": ["a", "b"] } }), &tag, true),
        (json!({ "StringNotEquals": { "aws:PrincipalTag/job": ["a", "iamuser-admin"] } }), &tag, false),
        (json!({ "StringLike": { "aws:PrincipalTag/job": "*${aws:PrincipalType}*" } }), &tag, false),
        (json!({ "StringEquals": { "aws:username": "${aws:PrincipalTag/none}" } }), &tag, false),
        (json!({ "StringNotEquals": { "aws:username": "${aws:PrincipalTag/none}" } }), &tag, false),
        (json!({ "NumericLessThanEquals": { "aws:MultiFactorAuthAge": "3600" } }), &age, true),
        (json!({ "NumericLessThan": { "aws:MultiFactorAuthAge": 3600 } }), &age, false),
        (json!({ "NumericEquals": { "aws:MultiFactorAuthAge": 3600.0 } }), &age, true),
        (json!({ "NumericNotEquals": { "aws:MultiFactorAuthAge": [1, 3600] } }), &age, false),
        (json!({ "NumericGreaterThan": { "aws:MultiFactorAuthAge": -1 } }), &age, true),
        (json!({ "NumericGreaterThanEquals": { "aws:MultiFactorAuthAge": 3601 } }), &age, false),
        (json!({ "NumericLessThan": { "aws:PrincipalTag/job": 1 } }), &tag, false),
        (json!({ "DateGreaterThan": { "aws:CurrentTime": "2026-11-21T07:44:59Z" } }), &now, true),
        (json!({ "DateLessThan": { "aws:CurrentTime": "2026-11-21" } }), &now, false),
        (json!({ "DateEquals": { "aws:CurrentTime": "2026-11-21T08:45:00+01:00" } }), &now, true),
        (json!({ "DateNotEquals": { "aws:CurrentTime": "2026-11-21T07:45:00Z" } }), &now, false),
        (json!({ "DateLessThanEquals": { "aws:CurrentTime": "1795247100" } }), &now, true),
        (json!({ "DateGreaterThanEquals": { "aws:CurrentTime": 1795247101 } }), &now, false),
        (json!({ "Bool": { "aws:SecureTransport": true } }), &tls, true),
        (json!({ "Bool": { "aws:SecureTransport": "false" } }), &tls, false),
        (json!({ "Bool": { "aws:SecureTransport": "false" } }), &NONE, false),
        (json!({ "BinaryEquals": { "a:key": "QmluYXJ5VmFsdWVJbkJhc2U2NA==" } }), &NONE, false),
        (json!({ "IpAddress": { "aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"] } }), &ip, true),
        (json!({ "IpAddress": { "aws:SourceIp": "2001:db8::/32" } }), &ip, false),
        (json!({ "NotIpAddress": { "aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"] } }), &ip, false),
        (json!({ "NotIpAddress": { "aws:SourceIp": "192.0.2.0/24" } }), &ip, true),
        (json!({ "ArnLike": { "aws:SourceArn": "arn:aws:sns:*:111122223333:t-*" } }), &arn, true),
        (json!({ "ArnEquals": { "aws:SourceArn": "arn:aws:sns:*:*:t-1" } }), &arn, true),
        (json!({ "ArnLike": { "aws:SourceArn": "arn:aws:sns:*:t-1" } }), &arn, false),
        (json!({ "ArnNotLike": { "aws:SourceArn": "arn:aws:sns:*:*:t-1" } }), &arn, false),
        (json!({ "ArnNotEquals": { "aws:SourceArn": "arn:aws:sqs:*:*:*" } }), &arn, true),
        // Absent keys.
        (json!({ "StringEquals": { "a:key": "x" } }), &NONE, false),
        (json!({ "StringNotEquals": { "a:key": "x" } }), &NONE, true),
        (json!({ "ArnNotLike": { "a:key": "arn:aws:s3:::x" } }), &NONE, true),
        (json!({ "NotIpAddress": { "a:key": "10.0.0.0/8" } }), &NONE, true),
        (json!({ "StringEqualsIfExists": { "a:key": "x" } }), &NONE, true),
        (json!({ "StringEqualsIfExists": { "aws:PrincipalTag/job": "x" } }), &tag, false),
        (json!({ "NumericLessThanIfExists": { "a:key": 1 } }), &NONE, true),
        (json!({ "Null": { "a:key": "true" } }), &NONE, true),
        (json!({ "Null": { "a:key": false } }), &NONE, false),
        (json!({ "Null": { "aws:TagKeys": "false" } }), &many, true),
        // Keys of several values.
        (json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["env", "cost", "x"] } }), &many, true),
        (json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["env"] } }), &many, false),
        (json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["env"] } }), &NONE, true),
        (json!({ "ForAnyValue:StringEquals": { "aws:TagKeys": ["env", "x"] } }), &many, true),
        (json!({ "ForAnyValue:StringEquals": { "aws:TagKeys": ["x"] } }), &many, false),
        (json!({ "ForAnyValue:StringEquals": { "aws:TagKeys": ["x"] } }), &NONE, false),
        (json!({ "ForAnyValue:StringEqualsIfExists": { "aws:TagKeys": ["x"] } }), &NONE, true),
        (json!({ "ForAllValues:StringNotEquals": { "aws:TagKeys": ["env"] } }), &many, false),
        (json!({ "ForAllValues:StringNotEquals": { "aws:TagKeys": ["x"] } }), &many, true),
        (json!({ "ForAnyValue:StringNotEquals": { "aws:TagKeys": ["env"] } }), &many, true),
        (json!({ "ForAnyValue:StringNotLike": { "aws:TagKeys": ["e*", "c*"] } }), &many, false),
        // Of a key without a quantifier any value may match, and none may where none is to.
        (json!({ "StringEquals": { "aws:TagKeys": "cost" } }), &many, true),
        (json!({ "StringNotEquals": { "aws:TagKeys": "cost" } }), &many, false),
        (json!({ "StringNotEquals": { "aws:TagKeys": "x" } }), &many, true),
        // All operators and all keys must be met.
        (json!({ "StringLike": { "aws:PrincipalTag/job": "iam*", "aws:username": "bob" } }), &tag, true),
        (json!({ "StringLike": { "aws:PrincipalTag/job": "iam*", "aws:username": "al*" } }), &tag, false),
        (
            json!({ "StringLike": { "aws:username": "bob" }, "Null": { "aws:PrincipalTag/job": "true" } }),
            &tag,
            false,
        ),
        (json!({}), &NONE, true),
    ];
    for (condition, keys, expected) in cases {
        let mut request = request("ecs:CreateService", SERVICE);
        for (key, values) in keys {
            request = request.with(key, values.iter().copied());
        }
        let statement =
            json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition.clone() });
        assert_eq!(may(statement, &request), expected, "{condition} {keys:?}");
    }
}

#[test]
fn binaries_are_compared_as_base64() {
    let condition = json!({ "BinaryEquals": { "a:key": "QmluYQ==" } });
    let statement = json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition });
    let request = |value: &str| request("a:B", "*").with("a:key", [value]);
    assert!(may(statement.clone(), &request("QmluYQ==")));
    assert!(!may(statement, &request("QmluYg==")));
}

/// The identity allows, the resource's policy, whether the boundary and the session's policy
/// allow, and what comes of it.
#[test]
fn policies_combine() {
    let yes = identity(allow("*", "*"));
    let no = identity(allow("iam:*", "*"));
    let pick = |allows: bool| if allows { named(&yes) } else { named(&no) };
    let granted_to = |principal: Value| {
        policy(
            PolicyKind::Resource,
            json!({ "Effect": "Allow", "Principal": principal, "Action": "ecs:*", "Resource": "*" }),
        )
    };
    let bob = granted_to(json!({ "AWS": "arn:aws:iam::111122223333:user/bob" }));
    let account = granted_to(json!({ "AWS": ACCOUNT }));
    let root = granted_to(json!({ "AWS": "arn:aws:iam::111122223333:root" }));
    let everybody = granted_to(json!("*"));
    let role = granted_to(json!({ "AWS": "arn:aws:iam::111122223333:role/deploy" }));
    let ci = granted_to(json!({ "AWS": "arn:aws:sts::111122223333:assumed-role/deploy/ci" }));
    let tasks = granted_to(json!({ "Service": "ecs-tasks.amazonaws.com" }));
    let service = Principal::Service { name: "ecs-tasks.amazonaws.com".into() };
    let owner = Principal::Root { arn: format!("arn:aws:iam::{ACCOUNT}:root"), account_id: ACCOUNT.into() };
    let here = SERVICE.to_owned();
    let there = SERVICE.replace(ACCOUNT, "444455556666");
    let ok = Ok(());
    type Row<'a> =
        (Principal, &'a str, bool, Option<&'a Policy>, Option<bool>, Option<bool>, Result<(), Missing>);
    let rows: Vec<Row<'_>> = vec![
        (user("bob", ACCOUNT), &here, false, None, None, None, Err(Missing::NoIdentityPolicy)),
        (user("bob", ACCOUNT), &here, true, None, None, None, ok),
        // Within an account either allows.
        (user("bob", ACCOUNT), &here, false, Some(&bob), None, None, ok),
        (user("bob", ACCOUNT), &here, false, Some(&everybody), None, None, ok),
        (user("eve", ACCOUNT), &here, false, Some(&bob), None, None, Err(Missing::NoIdentityPolicy)),
        (user("eve", ACCOUNT), &here, true, Some(&bob), None, None, ok),
        // The account passes on what it was given by policies of its own.
        (user("bob", ACCOUNT), &here, false, Some(&account), None, None, Err(Missing::NoIdentityPolicy)),
        (user("bob", ACCOUNT), &here, false, Some(&root), None, None, Err(Missing::NoIdentityPolicy)),
        (user("bob", ACCOUNT), &here, true, Some(&root), None, None, ok),
        // Boundary and session limit.
        (user("bob", ACCOUNT), &here, true, None, Some(false), None, Err(Missing::Boundary)),
        (user("bob", ACCOUNT), &here, true, None, Some(true), None, ok),
        (user("bob", ACCOUNT), &here, false, None, Some(true), Some(true), Err(Missing::NoIdentityPolicy)),
        (session(), &here, true, None, None, Some(false), Err(Missing::Session)),
        (session(), &here, true, None, Some(true), Some(true), ok),
        // Not what the resource gives to the user or the session itself.
        (user("bob", ACCOUNT), &here, false, Some(&bob), Some(false), None, ok),
        (session(), &here, false, Some(&ci), Some(false), Some(false), ok),
        (session(), &here, false, Some(&role), None, None, ok),
        (session(), &here, false, Some(&role), Some(false), None, Err(Missing::Boundary)),
        (session(), &here, false, Some(&role), None, Some(false), Err(Missing::Session)),
        (session(), &here, false, Some(&everybody), None, Some(false), Err(Missing::Session)),
        // Across accounts both must allow.
        (user("bob", ACCOUNT), &there, true, None, None, None, Err(Missing::ResourcePolicy)),
        (user("bob", ACCOUNT), &there, true, Some(&bob), None, None, ok),
        (user("bob", ACCOUNT), &there, true, Some(&account), None, None, ok),
        (user("bob", ACCOUNT), &there, false, Some(&bob), None, None, Err(Missing::NoIdentityPolicy)),
        (user("bob", ACCOUNT), &there, true, Some(&bob), Some(false), None, Err(Missing::Boundary)),
        (user("bob", "999999999999"), &there, true, Some(&account), None, None, Err(Missing::ResourcePolicy)),
        // The root user needs no policy in its account.
        (owner.clone(), &here, false, None, None, None, ok),
        (owner.clone(), &there, false, None, None, None, Err(Missing::ResourcePolicy)),
        (owner, &there, false, Some(&account), None, None, ok),
        // Who has no identity here has what the resource gives.
        (service.clone(), &here, true, None, None, None, Err(Missing::ResourcePolicy)),
        (service.clone(), &here, false, Some(&tasks), None, None, ok),
        (service, &here, false, Some(&bob), None, None, Err(Missing::ResourcePolicy)),
        (Principal::Anonymous, &here, true, Some(&everybody), None, None, ok),
        (Principal::Anonymous, &here, true, Some(&account), None, None, Err(Missing::ResourcePolicy)),
    ];
    for (index, (principal, resource, allowed, policy, boundary, session, expected)) in
        rows.into_iter().enumerate()
    {
        let identity = [pick(allowed)];
        let session = session.map(|allows| [pick(allows)]);
        let policies = Policies {
            identity: &identity,
            resource: policy.map(named),
            resource_must_allow: false,
            boundary: boundary.map(pick),
            session: session.as_ref().map(|session| session.as_slice()),
        };
        let request = RequestContext::new(principal, "ecs:CreateService", resource);
        let decision = policies.evaluate(&request);
        match expected {
            Ok(()) => assert!(decision.is_allowed(), "row {index}: {decision:?}"),
            Err(because) => assert_eq!(decision, Decision::ImplicitDeny { because }, "row {index}"),
        }
    }
}

#[test]
fn a_role_is_assumed_by_those_whom_it_trusts() {
    let role = "arn:aws:iam::111122223333:role/deploy";
    let trust = |principal: Value| {
        policy(
            PolicyKind::Trust,
            json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }),
        )
    };
    let may_assume = identity(allow("sts:AssumeRole", role));
    let assume = |principal: Principal, trust: &Policy, identity: &[AttachedPolicy<'_>]| {
        let request = RequestContext::new(principal, "sts:AssumeRole", role);
        let policies = Policies { identity, resource: Some(named(trust)), ..Policies::default() };
        let decision = policies.evaluate(&request);
        decision.access_denied(&request).map(|denied| denied.to_string())
    };
    let by_account = trust(json!({ "AWS": ACCOUNT }));
    let by_user = trust(json!({ "AWS": "arn:aws:iam::111122223333:user/bob" }));
    let by_service = trust(json!({ "Service": "ecs-tasks.amazonaws.com" }));
    let bob = || user("bob", ACCOUNT);
    assert_eq!(assume(bob(), &by_user, &[]), None);
    assert_eq!(assume(bob(), &by_account, &[named(&may_assume)]), None);
    assert_eq!(assume(Principal::Service { name: "ecs-tasks.amazonaws.com".into() }, &by_service, &[]), None);
    let denied = assume(bob(), &by_account, &[]).expect("denied");
    assert!(
        denied.ends_with("because no identity-based policy allows the sts:AssumeRole action"),
        "{denied}"
    );
    // That an identity may assume roles does not make the role trust it.
    let denied = assume(bob(), &by_service, &[named(&may_assume)]).expect("denied");
    assert!(denied.ends_with("because no role trust policy allows the sts:AssumeRole action"), "{denied}");
}

#[test]
fn not_principal_excepts_those_it_names() {
    let deny = policy(
        PolicyKind::Resource,
        json!({
            "Sid": "only bob", "Effect": "Deny", "Action": "*", "Resource": "*",
            "NotPrincipal": { "AWS": ["arn:aws:iam::111122223333:user/bob", "arn:aws:iam::111122223333:root"] },
        }),
    );
    let all = identity(allow("*", "*"));
    let decide = |principal: Principal| {
        let request = RequestContext::new(principal, "ecs:CreateService", SERVICE);
        Policies { identity: &[named(&all)], resource: Some(named(&deny)), ..Policies::default() }
            .evaluate(&request)
    };
    assert!(decide(user("bob", ACCOUNT)).is_allowed());
    let root = Principal::Root { arn: format!("arn:aws:iam::{ACCOUNT}:root"), account_id: ACCOUNT.into() };
    assert!(decide(root).is_allowed());
    let denied =
        Decision::ExplicitDeny { of: PolicyType::Resource, policy: "p".into(), sid: Some("only bob".into()) };
    assert_eq!(decide(user("alice", ACCOUNT)), denied);
    assert_eq!(decide(session()), denied);
    assert_eq!(decide(Principal::Anonymous), denied);
}

#[test]
fn denials_are_said_as_aws_says_them() {
    let create = request("ecs:CreateService", SERVICE);
    let deny = identity(json!({ "Sid": "No", "Effect": "Deny", "Action": "ecs:*", "Resource": "*" }));
    let all = identity(allow("*", "*"));
    let prefix = format!(
        "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: ecs:CreateService on resource: {SERVICE}"
    );
    let text = |policies: Policies<'_>| {
        policies.evaluate(&create).access_denied(&create).expect("denied").to_string()
    };
    let (all, deny) = ([named(&all)], [named(&deny)]);
    let base = Policies { identity: &all, ..Policies::default() };
    for (policies, suffix) in [
        (Policies::default(), " because no identity-based policy allows the ecs:CreateService action"),
        (Policies { identity: &deny, ..base }, " with an explicit deny in an identity-based policy"),
        (Policies { boundary: Some(deny[0]), ..base }, " with an explicit deny in a permissions boundary"),
        (Policies { session: Some(&deny), ..base }, " with an explicit deny in a session policy"),
        (
            Policies { session: Some(&[]), ..base },
            " because no session policy allows the ecs:CreateService action",
        ),
    ] {
        assert_eq!(text(policies), format!("{prefix}{suffix}"));
    }
    assert_eq!(base.evaluate(&create), Decision::Allowed { policy: Some("p".into()), sid: None });
    assert!(base.evaluate(&create).access_denied(&create).is_none());
}

fn arbitrary_statement(effect: &'static str) -> impl Strategy<Value = Value> {
    let action = prop::sample::select(vec!["*", "ecs:*", "ecs:Create*", "ecs:CreateService", "iam:*"]);
    let resource = prop::sample::select(vec![
        "*",
        SERVICE,
        "arn:aws:ecs:*:*:service/demo/*",
        "arn:aws:ecs:*:*:cluster/*",
        "arn:aws:ecs:*:*:service/${aws:username}/*",
    ]);
    let condition = prop::sample::select(vec![
        json!({}),
        json!({ "StringEquals": { "aws:username": "bob" } }),
        json!({ "StringNotLike": { "a:key": "x*" } }),
        json!({ "ForAllValues:StringEquals": { "a:key": ["x", "y"] } }),
        json!({ "Null": { "a:key": true } }),
    ]);
    (action, any::<bool>(), resource, any::<bool>(), condition).prop_map(
        move |(action, not_action, resource, not_resource, condition)| {
            json!({
                "Effect": effect,
                (if not_action { "NotAction" } else { "Action" }): action,
                (if not_resource { "NotResource" } else { "Resource" }): resource,
                "Condition": condition,
            })
        },
    )
}

fn arbitrary_request() -> impl Strategy<Value = RequestContext> {
    let action =
        prop::sample::select(vec!["ecs:CreateService", "ECS:createservice", "iam:GetUser", "s3:GetObject"]);
    let resource =
        prop::sample::select(vec![SERVICE, "*", "arn:aws:ecs:us-east-1:111122223333:cluster/demo"]);
    let values = prop::collection::vec(prop::sample::select(vec!["x", "y", "z"]), 0..3);
    (action, resource, values)
        .prop_map(|(action, resource, values)| request(action, resource).with("a:key", values))
}

proptest! {
    /// A statement that covers what it denies denies it, whatever is allowed beside it.
    #[test]
    fn deny_always_wins(
        mut statements in prop::collection::vec(arbitrary_statement("Allow"), 0..4),
        denied in arbitrary_statement("Deny"),
        at in any::<prop::sample::Index>(),
        request in arbitrary_request(),
    ) {
        let alone = identity(denied.clone());
        let is_denied = alone.statements()[0].covers(&request);
        statements.insert(at.index(statements.len() + 1), denied);
        let all = identity(Value::Array(statements));
        let decision = Policies { identity: &[named(&all)], ..Policies::default() }.evaluate(&request);
        let explicit = matches!(decision, Decision::ExplicitDeny { .. });
        prop_assert_eq!(explicit, is_denied);
    }

    #[test]
    fn adding_a_deny_or_a_limit_never_widens(
        statements in prop::collection::vec(
            prop_oneof![arbitrary_statement("Allow"), arbitrary_statement("Deny")], 1..4),
        more in arbitrary_statement("Deny"),
        limit in arbitrary_statement("Allow"),
        request in arbitrary_request(),
    ) {
        let before = identity(Value::Array(statements.clone()));
        let after = identity(Value::Array(statements.into_iter().chain([more]).collect()));
        let limit = identity(limit);
        let (before, after, limit) = ([named(&before)], [named(&after)], [named(&limit)]);
        let base = Policies { identity: &before, ..Policies::default() };
        let was = base.evaluate(&request).is_allowed();
        for narrowed in [
            Policies { identity: &after, ..base },
            Policies { boundary: Some(limit[0]), ..base },
            Policies { session: Some(&limit), ..base },
        ] {
            prop_assert!(was || !narrowed.evaluate(&request).is_allowed());
        }
    }
}
