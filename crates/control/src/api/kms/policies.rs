//! Key policies.

use bowline_aws::{
    kms::{
        Empty, GetKeyPolicyRequest, GetKeyPolicyResponse, KeyPageRequest, ListKeyPoliciesResponse,
        PutKeyPolicyRequest,
    },
    protocol::Fault,
};
use bowline_model::arn::Arn;

use super::{check_key_id, invalid};
use crate::{
    api::{call::Call, constraint},
    kms::{KmsError, POLICY_NAME, commands, find},
};

/// Refuses a policy that cannot be read, or under which the caller could never change it again.
pub(super) fn check(call: &Call<'_>, policy: &str, arn: &Arn, bypass: Option<bool>) -> Result<(), Fault> {
    commands::check_policy_length(policy)?;
    let authorizer = call.core.authorizer();
    let kept = authorizer
        .keeps_key_policy(&call.registry(), call.caller, policy, arn.as_str(), call.origin)
        .map_err(KmsError::Policy)?;
    if !kept && bypass != Some(true) {
        return Err(KmsError::Policy(
            "The new key policy will not allow you to update the key policy in the future.".into(),
        )
        .into());
    }
    Ok(())
}

fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(name) => Err(KmsError::NotFound(format!("No such policy exists: {name}"))),
    }
}

pub(super) fn put(call: &Call<'_>, request: PutKeyPolicyRequest) -> Result<Empty, Fault> {
    check_key_id(&request.key_id)?;
    let arn = find(&call.registry(), &request.key_id, call.now)?.arn.clone();
    check_name(request.policy_name.as_deref())?;
    check(call, &request.policy, &arn, request.bypass_policy_lockout_safety_check)?;
    call.change(|registry| {
        Ok(commands::change(registry, &request.key_id, call.now, |key| {
            key.customers()?;
            key.policy = request.policy;
            Ok(Empty {})
        })?)
    })
}

pub(super) fn get(call: &Call<'_>, request: GetKeyPolicyRequest) -> Result<GetKeyPolicyResponse, Fault> {
    check_key_id(&request.key_id)?;
    let registry = call.registry();
    let key = find(&registry, &request.key_id, call.now)?;
    check_name(request.policy_name.as_deref())?;
    Ok(GetKeyPolicyResponse { policy: key.policy.clone(), policy_name: POLICY_NAME.into() })
}

pub(super) fn list(call: &Call<'_>, request: KeyPageRequest) -> Result<ListKeyPoliciesResponse, Fault> {
    check_key_id(&request.key_id)?;
    constraint::range("limit", request.limit.unwrap_or(1), 1..=1_000).map_err(invalid)?;
    find(&call.registry(), &request.key_id, call.now)?;
    if request.marker.is_some() {
        // There is one, so no marker was ever given out.
        return Err(invalid("Marker: there is no further page."));
    }
    Ok(ListKeyPoliciesResponse {
        policy_names: vec![POLICY_NAME.into()],
        next_marker: None,
        truncated: false,
    })
}
