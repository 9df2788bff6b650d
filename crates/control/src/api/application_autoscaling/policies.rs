//! Scaling policies.

use bowline_aws::{
    application_autoscaling::{
        DeleteScalingPolicyRequest, DescribeScalingPoliciesRequest, DescribeScalingPoliciesResponse, Empty,
        PutScalingPolicyRequest, PutScalingPolicyResponse, ScalingPolicy,
    },
    protocol::Fault,
};

use super::{check_filter, check_name, check_resource_id, invalid, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    registry::Registry,
    scaling::{DIMENSION, NAMESPACE, PolicyContent, ScalingPolicyRecord, commands},
};

/// What a policy does, by its type; AWS's default is step scaling.
fn content(request: &PutScalingPolicyRequest) -> Result<PolicyContent, Fault> {
    let tracking = request.target_tracking_scaling_policy_configuration.clone();
    let steps = request.step_scaling_policy_configuration.clone();
    match (request.policy_type.as_deref(), tracking, steps) {
        (Some("PredictiveScaling"), ..) => Err(invalid("Predictive scaling is not served here.")),
        (Some("TargetTrackingScaling"), Some(given), None) => Ok(PolicyContent::TargetTracking(given)),
        (Some("StepScaling") | None, None, Some(given)) => Ok(PolicyContent::Step(given)),
        (Some("TargetTrackingScaling" | "StepScaling") | None, ..) => Err(invalid(
            "Exactly the configuration of the policy's type must be given: StepScalingPolicyConfiguration or \
             TargetTrackingScalingPolicyConfiguration.",
        )),
        (Some(other), ..) => Err(invalid(format!(
            "1 validation error detected: Value '{other:.100}' at 'policyType' failed to satisfy constraint: Member must \
             satisfy enum value set: [StepScaling, TargetTrackingScaling, PredictiveScaling]"
        ))),
    }
}

pub(super) fn put(
    call: &Call<'_>,
    request: PutScalingPolicyRequest,
) -> Result<PutScalingPolicyResponse, Fault> {
    commands::check_dimension(&request.service_namespace, &request.scalable_dimension)?;
    check_resource_id(&request.resource_id)?;
    check_name("policyName", &request.policy_name)?;
    let content = content(&request)?;
    let PutScalingPolicyRequest { policy_name, resource_id, .. } = request;
    call.change(|registry| {
        let arn =
            commands::put_policy(registry, &call.scope, &resource_id, &policy_name, content, None, call.now)?;
        Ok(PutScalingPolicyResponse {
            alarms: commands::alarms_of(registry, &arn),
            policy_arn: arn.to_string(),
        })
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteScalingPolicyRequest) -> Result<Empty, Fault> {
    commands::check_dimension(&request.service_namespace, &request.scalable_dimension)?;
    check_resource_id(&request.resource_id)?;
    call.change(|registry| {
        commands::delete_policy(registry, &request.resource_id, &request.policy_name, call.now)?;
        Ok(Empty {})
    })
}

fn told(registry: &Registry, policy: &ScalingPolicyRecord) -> ScalingPolicy {
    let (policy_type, steps, tracking) = match &policy.content {
        PolicyContent::Step(given) => ("StepScaling", Some(given.clone()), None),
        PolicyContent::TargetTracking(given) => ("TargetTrackingScaling", None, Some(given.clone())),
    };
    ScalingPolicy {
        policy_arn: policy.arn.to_string(),
        policy_name: policy.name.clone(),
        service_namespace: NAMESPACE,
        resource_id: policy.resource_id.clone(),
        scalable_dimension: DIMENSION,
        policy_type,
        step_scaling_policy_configuration: steps,
        target_tracking_scaling_policy_configuration: tracking,
        alarms: commands::alarms_of(registry, &policy.arn),
        creation_time: wire(policy.created_at),
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeScalingPoliciesRequest,
) -> Result<DescribeScalingPoliciesResponse, Fault> {
    let id = request.resource_id.as_deref();
    check_filter(&request.service_namespace, request.scalable_dimension.as_deref(), id)?;
    constraint::items("policyNames", request.policy_names.len(), 0..=50).map_err(invalid)?;
    let registry = call.registry();
    let wanted = registry.scaling_policies.iter().filter(|(_, policy)| {
        id.is_none_or(|id| policy.resource_id == id)
            && (request.policy_names.is_empty() || request.policy_names.contains(&policy.name))
    });
    let key = |(key, _): &(&str, &std::sync::Arc<ScalingPolicyRecord>)| (*key).to_owned();
    let token = request.next_token.as_deref();
    let page = page_of("DescribeScalingPolicies", wanted, key, token, request.max_results)?;
    Ok(DescribeScalingPoliciesResponse {
        scaling_policies: page.items.into_iter().map(|(_, policy)| told(&registry, policy)).collect(),
        next_token: page.next_token,
    })
}
