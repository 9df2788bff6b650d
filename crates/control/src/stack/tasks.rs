//! Task definitions and services of a stack.

use bowline_aws::{
    cfn::StackResource,
    ecs::{self, CreateServiceRequest, RegisterTaskDefinitionRequest},
};

use super::{Applying, secrets};
use crate::{
    ecs::{capacity, definition, service},
    registry::Registry,
    scaling,
    secrets::reference::SecretReference,
    task_spec,
};

impl Applying<'_> {
    pub(super) fn task_definition(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &RegisterTaskDefinitionRequest,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let change = self.change();
        if let Err(faults) = definition::register(registry, &arn, body, change.now, &change.by) {
            return faults.into_iter().for_each(|message| self.fault(resource, message));
        }
        let registered = registry.task_definitions.get(arn.as_str()).cloned();
        for (container, secret) in
            registered.iter().flat_map(|definition| task_spec::wanted_secrets(definition))
        {
            let known = secrets::resolve(&self.secrets, secret).is_some()
                || SecretReference::parse(secret).find(registry, self.now).is_ok();
            if !known {
                self.fault(
                    resource,
                    format!(
                        "container {container} wants the secret {secret}, which is not here: make it first (aws \
                         secretsmanager create-secret), or in the template; parameters (AWS::SSM::Parameter) come from \
                         the template alone"
                    ),
                );
            }
        }
        self.made("task-definitions", arn.as_str());
    }

    pub(super) fn service(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &CreateServiceRequest,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let mut body = body.clone();
        if let Some(cluster) = registry.clusters.get(&service::cluster_name(body.cluster.as_deref())) {
            body.capacity_provider_strategy =
                capacity::or_default(cluster, body.launch_type, body.capacity_provider_strategy);
        }
        if let Some(count) = scaling::kept_count(registry, &arn) {
            body.desired_count = Some(count);
        }
        if let Err(faults) = service::put(registry, &arn, &body, &self.change()) {
            return faults.into_iter().for_each(|message| self.fault(resource, message));
        }
        let strategy = body.deployment_configuration.as_ref().and_then(|deployment| deployment.strategy);
        if strategy.is_some_and(|strategy| strategy != ecs::DeploymentStrategy::Rolling) {
            self.note(
                resource,
                "traffic is not shifted in steps here: old and new tasks both serve until the bake time is over",
            );
        }
        self.made("services", arn.as_str());
    }
}
