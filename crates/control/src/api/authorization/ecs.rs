//! What requests to ECS demand.

use bowline_aws::protocol::Document;

use super::demand::{Asked, Demand};
use crate::{ecs::definition, ecs::service::cluster_name};

/// Whom roles are passed to by task definitions.
pub(super) const TASKS: &str = "ecs-tasks.amazonaws.com";
/// Whom roles are passed to by services and their volumes.
const SERVICE: &str = "ecs.amazonaws.com";

pub(super) fn demands(asked: &Asked<'_>) -> Vec<Demand> {
    let cluster = cluster_name(asked.text("cluster"));
    let cluster_arn = asked.arn("ecs", format_args!("cluster/{cluster}"));
    let in_cluster = |kind: &str, given: &str| match given.starts_with("arn:") {
        true => given.to_owned(),
        false => asked.arn("ecs", format_args!("{kind}/{cluster}/{given}")),
    };
    let each = |kind: &str, member: &str| {
        let named = asked.texts(member);
        named.into_iter().map(|given| in_cluster(kind, given)).collect::<Vec<_>>()
    };
    let provider = |given: &str| match given.starts_with("arn:") {
        true => given.to_owned(),
        false => asked.arn("ecs", format_args!("capacity-provider/{given}")),
    };
    let resources = match asked.operation {
        "CreateCluster" => {
            let name = cluster_name(asked.text("clusterName"));
            vec![asked.arn("ecs", format_args!("cluster/{name}"))]
        }
        "DeleteCluster"
        | "UpdateCluster"
        | "UpdateClusterSettings"
        | "PutClusterCapacityProviders"
        | "ListContainerInstances"
        | "ListAttributes"
        | "RegisterContainerInstance" => vec![cluster_arn.clone()],
        // A policy names the cluster: that is what the Service Authorization Reference has.
        "DeregisterContainerInstance" => vec![cluster_arn.clone()],
        "DescribeContainerInstances" | "UpdateContainerInstancesState" => {
            each("container-instance", "containerInstances")
        }
        "PutAttributes" | "DeleteAttributes" => {
            targets(asked).into_iter().map(|given| in_cluster("container-instance", given)).collect()
        }
        "CreateCapacityProvider" | "UpdateCapacityProvider" => {
            vec![provider(asked.text("name").unwrap_or_default())]
        }
        "DeleteCapacityProvider" => vec![provider(asked.text("capacityProvider").unwrap_or_default())],
        "DescribeCapacityProviders" => asked.texts("capacityProviders").into_iter().map(provider).collect(),
        "StopServiceDeployment" | "ContinueServiceDeployment" => {
            vec![asked.text("serviceDeploymentArn").unwrap_or("*").to_owned()]
        }
        "GetTaskProtection" | "UpdateTaskProtection" => each("task", "tasks"),
        "ExecuteCommand" => {
            vec![cluster_arn.clone(), in_cluster("task", asked.text("task").unwrap_or_default())]
        }
        "DescribeClusters" => match asked.texts("clusters") {
            named if named.is_empty() => vec![asked.arn("ecs", "cluster/default")],
            named => named
                .into_iter()
                .map(|given| asked.arn("ecs", format_args!("cluster/{}", cluster_name(Some(given)))))
                .collect(),
        },
        "CreateService" => vec![in_cluster("service", asked.text("serviceName").unwrap_or_default())],
        "UpdateService" | "DeleteService" | "ListServiceDeployments" => {
            vec![in_cluster("service", asked.text("service").unwrap_or_default())]
        }
        "DescribeServices" => each("service", "services"),
        "DescribeServiceDeployments" => each("service-deployment", "serviceDeploymentArns"),
        "DescribeServiceRevisions" => each("service-revision", "serviceRevisionArns"),
        "StopTask" => vec![in_cluster("task", asked.text("task").unwrap_or_default())],
        "DescribeTasks" => each("task", "tasks"),
        "RunTask" | "StartTask" => vec![task_definition(asked)],
        "RegisterTaskDefinition" => {
            let family = asked.text("family").unwrap_or_default();
            vec![asked.arn("ecs", format_args!("task-definition/{family}:*"))]
        }
        "DeleteTaskDefinitions" => asked
            .texts("taskDefinitions")
            .into_iter()
            .map(|given| match given.starts_with("arn:") {
                true => given.to_owned(),
                false => asked.arn("ecs", format_args!("task-definition/{given}")),
            })
            .collect(),
        "TagResource" | "UntagResource" | "ListTagsForResource" => {
            vec![asked.text("resourceArn").unwrap_or("*").to_owned()]
        }
        _ => Vec::new(),
    };
    // A list that names nothing is asked for as a whole.
    let resources = if resources.is_empty() { vec!["*".to_owned()] } else { resources };
    let action = format!("ecs:{}", asked.operation);
    let mut demands: Vec<_> = resources
        .into_iter()
        .map(|resource| {
            let demand = Demand::new(action.clone(), resource);
            match knows_cluster(asked.operation) {
                true => demand.with("ecs:cluster", cluster_arn.clone()),
                false => demand,
            }
        })
        .collect();
    demands.extend(passed_roles(asked));
    demands
}

/// Operations whose condition key `ecs:cluster` is set.
fn knows_cluster(operation: &str) -> bool {
    matches!(
        operation,
        "CreateService"
            | "UpdateService"
            | "DeleteService"
            | "DescribeServices"
            | "ListServices"
            | "RunTask"
            | "StartTask"
            | "StopTask"
            | "DescribeTasks"
            | "ListTasks"
            | "ListServiceDeployments"
            | "DescribeServiceDeployments"
            | "DescribeServiceRevisions"
            | "StopServiceDeployment"
            | "ContinueServiceDeployment"
            | "ListContainerInstances"
            | "DescribeContainerInstances"
            | "UpdateContainerInstancesState"
            | "PutAttributes"
            | "DeleteAttributes"
            | "ListAttributes"
            | "GetTaskProtection"
            | "UpdateTaskProtection"
            | "ExecuteCommand"
    )
}

/// The targets of attributes.
fn targets<'a>(asked: &Asked<'a>) -> Vec<&'a str> {
    match asked.request.get("attributes") {
        Some(Document::List(items)) => {
            items.iter().filter_map(|attribute| attribute.get("targetId")?.as_text()).collect()
        }
        _ => Vec::new(),
    }
}

/// The task definition of `RunTask`, with the revision that would run.
fn task_definition(asked: &Asked<'_>) -> String {
    let given = asked.text("taskDefinition").unwrap_or_default();
    if given.starts_with("arn:") {
        return given.to_owned();
    }
    if given.contains(':') {
        return asked.arn("ecs", format_args!("task-definition/{given}"));
    }
    match definition::latest_active(asked.registry, given) {
        Some(arn) => arn.to_string(),
        None => asked.arn("ecs", format_args!("task-definition/{given}:*")),
    }
}

/// `iam:PassRole` for every role that the request hands on: who may run a task with a role could
/// otherwise do what the role may.
fn passed_roles(asked: &Asked<'_>) -> Vec<Demand> {
    let overrides = asked.request.get("overrides");
    let of_overrides = |member: &str| overrides.and_then(|given| given.get(member)?.as_text());
    let mut passed: Vec<(&str, &str)> = Vec::new();
    for member in ["taskRoleArn", "executionRoleArn"] {
        passed.extend(asked.text(member).map(|role| (role, TASKS)));
        passed.extend(of_overrides(member).map(|role| (role, TASKS)));
    }
    passed.extend(asked.text("role").map(|role| (role, SERVICE)));
    if matches!(asked.operation, "CreateService" | "UpdateService" | "RunTask" | "StartTask") {
        collect_roles(asked.request, 0, &mut passed);
    }
    passed
        .into_iter()
        .filter(|(role, _)| !role.is_empty())
        .map(|(role, to)| {
            let arn = match role.starts_with("arn:") {
                true => role.to_owned(),
                false => super::iam::role_arn(asked, role),
            };
            Demand::new("iam:PassRole", arn).with("iam:PassedToService", to)
        })
        .collect()
}

/// Roles within the configuration of Service Connect's TLS and of volumes: `roleArn`.
fn collect_roles<'a>(document: &'a Document, depth: usize, passed: &mut Vec<(&'a str, &'static str)>) {
    // Deeper than any shape of ECS is nothing that is read.
    if depth > 8 {
        return;
    }
    match document {
        Document::Map(members) => {
            for (name, value) in members {
                match value.as_text() {
                    Some(role) if name == "roleArn" => passed.push((role, SERVICE)),
                    _ => collect_roles(value, depth + 1, passed),
                }
            }
        }
        Document::List(items) => {
            for item in items {
                collect_roles(item, depth + 1, passed);
            }
        }
        _ => {}
    }
}
