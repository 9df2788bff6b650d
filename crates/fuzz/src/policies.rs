//! IAM's policies: written by users, decided for every call.

use bowline_model::policy::{
    AttachedPolicy, Decision, POLICY_BYTES_MAX, Policies, Policy, PolicyKind, Principal, RequestContext,
};

const DENY_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;

/// The first line is an action, the second a resource, the third a value of condition keys; what
/// follows is a document, read as every kind of policy and evaluated.
///
/// A denial of everything denies, whatever else there is.
pub fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts = text.splitn(4, '\n');
    let (Some(action), Some(resource), Some(value), Some(document)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let deny_all = Policy::parse(PolicyKind::Identity, DENY_ALL, 100).expect("a policy");
    let denial = [AttachedPolicy { name: "denial", policy: &deny_all }];
    for kind in [PolicyKind::Identity, PolicyKind::Resource, PolicyKind::Trust] {
        let Ok(policy) = Policy::parse(kind, document, POLICY_BYTES_MAX) else { continue };
        let own = AttachedPolicy { name: "own", policy: &policy };
        let both = [own, denial[0]];
        for principal in principals() {
            let request = RequestContext::new(principal, action, resource)
                .with("aws:SourceIp", [value])
                .with("aws:CurrentTime", [value])
                .with("aws:RequestTag/team", [value, "blue"])
                .with("ecs:cluster", [value]);
            let policies = match kind {
                PolicyKind::Identity => {
                    Policies { identity: &both[..1], session: Some(&both[..1]), ..Policies::default() }
                }
                PolicyKind::Resource | PolicyKind::Trust => {
                    Policies { resource: Some(own), ..Policies::default() }
                }
            };
            let decision = policies.evaluate(&request);
            assert_eq!(policies.evaluate(&request), decision);
            let denied = match kind {
                PolicyKind::Identity => Policies { identity: &both, ..policies },
                _ => Policies { identity: &denial, ..policies },
            };
            let decision = denied.evaluate(&request);
            assert!(matches!(decision, Decision::ExplicitDeny { .. }), "{decision:?}");
        }
    }
}

fn principals() -> [Principal; 5] {
    let account_id = || "111122223333".to_owned();
    [
        Principal::Root { arn: "arn:aws:iam::111122223333:root".into(), account_id: account_id() },
        Principal::User { arn: "arn:aws:iam::111122223333:user/a".into(), account_id: account_id() },
        Principal::AssumedRole {
            session_arn: "arn:aws:sts::111122223333:assumed-role/r/s".into(),
            role_arn: "arn:aws:iam::111122223333:role/r".into(),
            account_id: account_id(),
        },
        Principal::Service { name: "ecs-tasks.amazonaws.com".into() },
        Principal::Anonymous,
    ]
}
