//! Resource policies.

use bowline_aws::{
    protocol::Fault,
    secretsmanager::{
        GetResourcePolicyResponse, PutResourcePolicyRequest, SecretIdRequest, SecretReference,
        ValidateResourcePolicyRequest, ValidateResourcePolicyResponse, ValidationErrorsEntry,
    },
};

use super::secrets::reference;
use crate::{
    api::call::Call,
    secrets::{SecretError, commands, find},
};

pub(super) fn put(call: &Call<'_>, request: PutResourcePolicyRequest) -> Result<SecretReference, Fault> {
    let PutResourcePolicyRequest { secret_id, resource_policy, block_public_policy } = request;
    commands::check_policy(&resource_policy, block_public_policy.unwrap_or(false))?;
    call.change(|registry| {
        let secret = commands::change(registry, &secret_id, call.now, |secret| {
            secret.policy = Some(resource_policy);
            Ok(())
        })?;
        Ok(reference(&secret, None))
    })
}

pub(super) fn get(call: &Call<'_>, request: SecretIdRequest) -> Result<GetResourcePolicyResponse, Fault> {
    let registry = call.registry();
    let secret = find(&registry, &request.secret_id, call.now)?;
    if secret.deleted_from.is_some() {
        return Err(SecretError::deleted().into());
    }
    Ok(GetResourcePolicyResponse {
        arn: secret.arn.to_string(),
        name: secret.name.clone(),
        resource_policy: secret.policy.clone(),
    })
}

pub(super) fn delete(call: &Call<'_>, request: SecretIdRequest) -> Result<SecretReference, Fault> {
    call.change(|registry| {
        let secret = commands::change(registry, &request.secret_id, call.now, |secret| {
            secret.policy = None;
            Ok(())
        })?;
        Ok(reference(&secret, None))
    })
}

pub(super) fn validate(
    call: &Call<'_>,
    request: ValidateResourcePolicyRequest,
) -> Result<ValidateResourcePolicyResponse, Fault> {
    if let Some(secret_id) = &request.secret_id {
        find(&call.registry(), secret_id, call.now)?;
    }
    let validation_errors: Vec<_> = match commands::check_policy(&request.resource_policy, true) {
        Ok(()) => Vec::new(),
        Err(error @ SecretError::PublicPolicy) => {
            vec![ValidationErrorsEntry {
                check_name: "PUBLIC_POLICY".into(),
                error_message: error.to_string(),
            }]
        }
        Err(error) => return Err(error.into()),
    };
    Ok(ValidateResourcePolicyResponse {
        policy_validation_passed: validation_errors.is_empty(),
        validation_errors,
    })
}
