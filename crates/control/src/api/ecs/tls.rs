//! What a service's `tls` names: a key and a role, with which ECS would manage certificates.
//!
//! Private keys are made in the sidecars here and stay there, so nothing is encrypted under the key;
//! that it could be is asked, as AWS would find out when the service's first task starts.

use bowline_aws::{
    ecs::{CreateServiceRequest, ServiceConnectTlsConfiguration},
    protocol::Fault,
};
use bowline_model::arn::Arn;

use super::invalid;
use crate::{
    api::{
        authorization::demand,
        call::{Call, Caller},
    },
    iam::RoleRecord,
    kms,
    registry::Registry,
};

/// Who assumes the role.
const SERVICE: &str = "ecs.amazonaws.com";
/// What AWS's managed policy for the role has of KMS.
const KEY_USES: [&str; 2] = ["GenerateDataKey", "Decrypt"];

/// Refuses keys that cannot be used, and roles that ECS may not assume or that may not use the key.
pub(super) fn check(
    call: &Call<'_>,
    registry: &Registry,
    arn: &Arn,
    request: &CreateServiceRequest,
) -> Result<(), Fault> {
    let connect = request.service_connect_configuration.iter().filter(|connect| connect.enabled);
    for tls in connect.flat_map(|connect| &connect.services).filter_map(|offered| offered.tls.as_ref()) {
        check_one(call, registry, arn, tls)?;
    }
    Ok(())
}

fn check_one(
    call: &Call<'_>,
    registry: &Registry,
    arn: &Arn,
    tls: &ServiceConnectTlsConfiguration,
) -> Result<(), Fault> {
    if let Some(key) = &tls.kms_key {
        kms::check_usable(registry, key, call.now)
            .map_err(|error| invalid(format!("The KMS key of tls cannot be used: {error}")))?;
    }
    let Some(given) = tls.role_arn.as_deref() else { return Ok(()) };
    let authorizer = call.core.authorizer();
    let name = given.rsplit('/').next().unwrap_or(given);
    let role = registry.iam_roles.get(name).filter(|role| role.arn.as_str() == given);
    let Some(role) = role else {
        return match authorizer.is_enforced() {
            true => Err(unable_to_assume(given)),
            false => Ok(()),
        };
    };
    let account = &call.scope.account_id;
    let keys = [("aws:SourceArn", arn.as_str()), ("aws:SourceAccount", account.as_str())];
    authorizer
        .authorize_service(SERVICE, role, account, call.now, &keys)
        .map_err(|_| unable_to_assume(given))?;
    match &tls.kms_key {
        Some(key) => check_key(call, registry, role, key),
        None => Ok(()),
    }
}

fn check_key(call: &Call<'_>, registry: &Registry, role: &RoleRecord, key: &str) -> Result<(), Fault> {
    // Made by whoever needs it first, with a policy for its service.
    if kms::managed_alias(&call.scope, key).is_some() {
        return Ok(());
    }
    let caller = Caller::assumed_role(&call.scope, role, "ecs-service-connect-tls", "");
    let demands =
        KEY_USES.map(|operation| demand::of_key_use(registry, &call.scope, &caller, operation, key));
    call.core
        .authorizer()
        .authorize(registry, &caller, &demands, call.origin)
        .map_err(|denied| invalid(format!("The role of tls may not use its KMS key: {}", denied.0)))
}

fn unable_to_assume(role: &str) -> Fault {
    invalid(format!(
        "ECS was unable to assume the role '{role}' that was provided for this service. Please verify that the role \
         being passed has the proper trust relationship and permissions and that your IAM user has permissions to \
         pass this role."
    ))
}
