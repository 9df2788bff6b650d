//! `iam:PassRole` for the roles of a template's task definitions. `CloudFormation` makes resources
//! with the caller's permissions: who may make stacks could otherwise run a task with any role, and
//! do what the role may.

use bowline_aws::{
    cfn::{ResourceBody, Stack},
    protocol::Fault,
};

use crate::api::{authorization::demand, call::Call};

/// Checks it for the task definitions that are new, or another than `before`.
///
/// # Errors
/// `AccessDenied`: the caller's policies do not allow it.
pub(super) fn check(call: &Call<'_>, stack: &Stack, before: Option<&Stack>) -> Result<(), Fault> {
    let registry = call.registry();
    let mut demands = Vec::new();
    for resource in &stack.resources {
        let ResourceBody::EcsTaskDefinition(definition) = &resource.body else { continue };
        let present = before.and_then(|before| before.resource(&resource.logical_id));
        if present.is_some_and(|present| present.body == resource.body) {
            continue;
        }
        let roles = [&definition.task_role_arn, &definition.execution_role_arn].into_iter().flatten();
        for role in roles.filter(|role| !role.is_empty()) {
            demands.push(demand::of_passing_to_tasks(&registry, &call.scope, role));
        }
    }
    let allowed = call.core.authorizer().authorize(&registry, call.caller, &demands, call.origin);
    allowed.map_err(|denied| Fault::new("AccessDenied", denied.0).with_status(403))
}
