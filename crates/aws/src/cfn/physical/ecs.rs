//! ECS: clusters go by name, services and task definitions by ARN.

use super::{Facts, Identity};
use crate::ecs::RegisterTaskDefinitionRequest;

pub(in crate::cfn) fn ecs_cluster(facts: &Facts<'_>) -> Identity {
    let name = facts.name("ClusterName", 255);
    Identity::new(name.clone())
        .with("Arn", facts.arn("ecs", &format!("cluster/{name}")))
        .default_property("ClusterName", name)
}

pub(in crate::cfn) fn ecs_service(facts: &Facts<'_>) -> Identity {
    let name = facts.name("ServiceName", 255);
    let cluster = facts.name_in("Cluster").unwrap_or("default");
    let arn = facts.arn("ecs", &format!("service/{cluster}/{name}"));
    Identity::new(arn.clone())
        .with("ServiceArn", arn)
        .with("Name", name.clone())
        .default_property("ServiceName", name)
}

pub(in crate::cfn) fn ecs_task_definition(facts: &Facts<'_>) -> Identity {
    let family = facts.name("Family", 255);
    let revision = facts
        .typed::<RegisterTaskDefinitionRequest>(&[("family", &family)])
        .map_or(1, |definition| facts.inputs.revision.of(&definition));
    let arn = facts.arn("ecs", &format!("task-definition/{family}:{revision}"));
    Identity::new(arn.clone()).with("TaskDefinitionArn", arn).default_property("Family", family)
}
