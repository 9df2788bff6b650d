//! What is no policy document, and what is said about it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::allow;
use crate::policy::{MANAGED_POLICY_CHARACTERS_MAX, POLICY_BYTES_MAX, Policy, PolicyKind};

fn refused(kind: PolicyKind, document: &str) -> String {
    Policy::parse(kind, document, MANAGED_POLICY_CHARACTERS_MAX).expect_err(document).to_string()
}

#[test]
fn what_is_malformed_says_where_and_what_is_allowed() {
    let document =
        |statement: Value| json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let base = allow("ecs:*", "*");
    let with = |key: &str, value: Value| {
        let mut statement = base.clone();
        statement[key] = value;
        document(statement)
    };
    let without = |key: &str| {
        let mut statement = base.clone();
        statement.as_object_mut().expect("an object").remove(key);
        document(statement)
    };
    let condition = |value: Value| with("Condition", value);
    for (document, expected) in [
        ("".to_owned(), "the document is not JSON"),
        ("[]".into(), "must be a JSON object"),
        ("{}".into(), "Statement: is required"),
        (r#"{"Statement":[]}"#.into(), "Statement: must have at least one"),
        (r#"{"Statement":1}"#.into(), "Statement: must be a JSON object"),
        (r#"{"Statement":{},"Statement":{}}"#.into(), r#"the key "Statement" is given twice"#),
        (r#"{"Version":"2026-01-01","Statement":{}}"#.into(), "Version: must be 2012-10-17 or 2008-10-17"),
        (
            r#"{"version":"2012-10-17","Statement":{}}"#.into(),
            "version: is not known here; there are Version, Id",
        ),
        (without("Effect"), "Statement[0].Effect: is required"),
        (with("Effect", json!("allow")), "Statement[0].Effect: must be Allow or Deny"),
        (without("Action"), "Statement[0]: must have Action or NotAction"),
        (with("NotAction", json!("*")), "Statement[0]: has both Action and NotAction"),
        (without("Resource"), "Statement[0]: must have Resource or NotResource"),
        (with("Action", json!("CreateService")), "Statement[0].Action: \"CreateService\" must be"),
        (with("Action", json!(["ecs:*", "*:Get*"])), "Statement[0].Action[1]: \"*:Get*\" must be"),
        (with("Action", json!([])), "Statement[0].Action: must have at least one"),
        (with("Action", json!([1])), "Statement[0].Action[0]: must be a string"),
        (with("Resource", json!("bucket")), "must be in ARN format or \"*\""),
        (with("Resource", json!("arn:aws:s3:::${aws:x")), "is not closed"),
        (with("Sid", json!("with space")), "Statement[0].Sid: must be letters and digits"),
        (with("Principal", json!("*")), "Statement[0].Principal: is not known here; there are Sid"),
        (with("effect", json!("Deny")), "Statement[0].effect: is not known here"),
        (condition(json!([])), "Statement[0].Condition: must be a JSON object"),
        (
            condition(json!({ "StringMatches": {} })),
            "StringMatches: is no condition operator; there are StringEquals",
        ),
        (condition(json!({ "ForSome:Bool": {} })), "is no condition operator"),
        (condition(json!({ "NullIfExists": {} })), "Null takes neither"),
        (condition(json!({ "Bool": { "nokey": true } })), "is no condition key"),
        (condition(json!({ "Bool": { "a:k": "maybe" } })), "neither true nor false"),
        (condition(json!({ "Bool": { "a:k": [] } })), "at least one value"),
        (condition(json!({ "Bool": { "a:k": [true, null] } })), "Bool.a:k[1]: must be a string, a number"),
        (condition(json!({ "NumericEquals": { "a:k": "1e9" } })), "is no number"),
        (condition(json!({ "DateEquals": { "a:k": "today" } })), "is no date"),
        (condition(json!({ "IpAddress": { "a:k": "10.0.0.0/40" } })), "is no address range"),
        (condition(json!({ "BinaryEquals": { "a:k": "é" } })), "is not base64"),
        (condition(json!({ "ArnLike": { "a:k": "x" } })), "must be in ARN format"),
    ] {
        let error = refused(PolicyKind::Identity, &document);
        assert!(error.contains(expected), "{document}: {error}");
    }
    let twice = json!({ "Statement": [
        { "Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*" },
        { "Sid": "A", "Effect": "Deny", "Action": "*", "Resource": "*" },
    ] });
    assert!(refused(PolicyKind::Identity, &twice.to_string()).contains("\"A\" is given twice"));
}

#[test]
fn what_a_resources_policy_must_have() {
    let with = |principal: Value| {
        let mut statement = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
        statement
            .as_object_mut()
            .expect("an object")
            .extend(principal.as_object().expect("an object").clone());
        json!({ "Statement": statement }).to_string()
    };
    for (document, expected) in [
        (with(json!({})), "must have Principal or NotPrincipal"),
        (with(json!({ "NotPrincipal": "*" })), "is for the Effect Deny only"),
        (with(json!({ "Principal": "bob" })), "must be \"*\" or an object"),
        (with(json!({ "Principal": {} })), "must be \"*\" or an object"),
        (with(json!({ "Principal": { "aws": "*" } })), "Principal.aws: is not known here; there are AWS"),
        (
            with(json!({ "Principal": { "AWS": "arn:aws:iam::111122223333:user/*" } })),
            "must not hold wildcards",
        ),
        (with(json!({ "Principal": { "AWS": ["*", "1111"] } })), "Principal.AWS[1]: \"1111\" must be"),
        (with(json!({ "Principal": { "AWS": "arn:aws:s3:::bucket" } })), "an ARN of IAM or STS"),
        (with(json!({ "Principal": { "Service": "*" } })), "a name without wildcards"),
    ] {
        let error = refused(PolicyKind::Resource, &document);
        assert!(error.contains(expected), "{document}: {error}");
    }
    let trust = with(json!({ "Principal": "*" }));
    assert!(refused(PolicyKind::Trust, &trust).contains("Statement.Resource: is not known here"));
}

#[test]
fn documents_are_bounded() {
    let document = |padding: &str, action: &str| {
        format!(r#"{{"Statement":{{"Effect":"Allow",{padding}"Action":"{action}","Resource":"*"}}}}"#)
    };
    let fixed = document("", "").len();
    let limit = |characters: usize| {
        let action = format!("ecs:{}", "a".repeat(characters - fixed - 4));
        Policy::parse(PolicyKind::Identity, &document(&" \n".repeat(9000), &action), 6144)
    };
    assert!(limit(6144).is_ok());
    assert!(limit(6145).expect_err("too long").to_string().contains("6144 characters"));
    let wide = document(&" ".repeat(POLICY_BYTES_MAX), "*");
    assert!(refused(PolicyKind::Identity, &wide).contains("131072 bytes"));
    let deep = "[".repeat(6000);
    assert!(refused(PolicyKind::Identity, &deep).contains("not JSON"));
    let deep = format!(r#"{{"Statement":{}{}}}"#, "[".repeat(3000), "]".repeat(3000));
    assert!(refused(PolicyKind::Identity, &deep).contains("not JSON"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        text in "\\PC{0,60}",
        words in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"Statement\"", "\"Effect\"", "\"Allow\"", "\"Action\"", "\"*\"",
            "\"Condition\"", "\"Bool\"", "\"a:b\"", "true", "1", "\"Principal\"", "\"AWS\"",
        ]), 0..40),
    ) {
        for kind in [PolicyKind::Identity, PolicyKind::Resource, PolicyKind::Trust] {
            let _ = Policy::parse(kind, &text, 6144);
            let _ = Policy::parse(kind, &words.concat(), 6144);
        }
    }
}
