//! Who called, as `userIdentity` has it.

use crate::{
    api::call::Caller,
    audit::event::{SessionContext, SessionIssuer, UserIdentity, UserIdentityType},
};

/// Of a call that nobody has proven to have signed; the key is only what it says.
pub(super) fn presented(access_key_id: Option<&str>) -> UserIdentity {
    UserIdentity { access_key_id: access_key_id.map(str::to_owned), ..UserIdentity::default() }
}

/// Of a caller that is known.
pub(in crate::api) fn of(caller: &Caller) -> UserIdentity {
    let mut parts = caller.arn.splitn(6, ':').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let (partition, service, _, account, resource) = (part(), part(), part(), part(), part());
    let (kind, path) = resource.split_once('/').unwrap_or((resource, ""));
    let mut identity = UserIdentity {
        arn: Some(caller.arn.clone()),
        account_id: Some(account.to_owned()).filter(|account| !account.is_empty()),
        access_key_id: Some(caller.access_key_id.clone()),
        principal_id: Some(caller.user_id.clone()).filter(|id| !id.is_empty()),
        ..UserIdentity::default()
    };
    match (service, kind) {
        ("iam", "root") => {
            identity.kind = UserIdentityType::Root;
            identity.principal_id = identity.account_id.clone();
        }
        ("iam", "user") => {
            identity.kind = UserIdentityType::IamUser;
            identity.user_name = path.rsplit('/').next().map(str::to_owned);
        }
        ("sts", "assumed-role") => {
            let role = path.split('/').next().unwrap_or_default();
            identity.kind = UserIdentityType::AssumedRole;
            identity.session_context = Some(SessionContext {
                session_issuer: Some(SessionIssuer {
                    kind: "Role".to_owned(),
                    arn: format!("arn:{partition}:iam::{account}:role/{role}"),
                    account_id: account.to_owned(),
                    user_name: role.to_owned(),
                    ..SessionIssuer::default()
                }),
                ..SessionContext::default()
            });
        }
        _ => {}
    }
    identity
}

#[cfg(test)]
mod tests {
    use bowline_model::arn::Scope;
    use serde_json::{Value, json};

    use super::*;

    fn identity(arn: &str) -> Value {
        let root = Caller::root(&Scope::default(), "AKIDEXAMPLE");
        let caller = Caller { arn: arn.to_owned(), user_id: String::new(), ..root };
        serde_json::to_value(of(&caller)).expect("is JSON")
    }

    #[test]
    fn follows_the_kind_of_caller() {
        assert_eq!(
            identity("arn:aws:iam::123456789012:root"),
            json!({"type": "Root", "principalId": "123456789012", "arn": "arn:aws:iam::123456789012:root",
                "accountId": "123456789012", "accessKeyId": "AKIDEXAMPLE"})
        );
        let user = identity("arn:aws:iam::123456789012:user/team/ann");
        assert_eq!((&user["type"], &user["userName"]), (&json!("IAMUser"), &json!("ann")));
        let role = identity("arn:aws:sts::123456789012:assumed-role/deploy/ci");
        assert_eq!(role["type"], "AssumedRole");
        assert_eq!(role["sessionContext"]["sessionIssuer"]["arn"], "arn:aws:iam::123456789012:role/deploy");
        assert_eq!(identity("no arn")["type"], "Unknown");
        assert_eq!(
            serde_json::to_value(presented(Some("AKIDEXAMPLE"))).expect("is JSON"),
            json!({"type": "Unknown", "accessKeyId": "AKIDEXAMPLE"})
        );
    }
}
