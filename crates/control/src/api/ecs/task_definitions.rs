//! Task definitions.

use std::{collections::BTreeSet, sync::Arc};

use bowline_aws::{
    ecs::{
        Compatibility, NetworkMode, RegisterTaskDefinitionRequest,
        api::{
            DeleteTaskDefinitionsRequest, DeleteTaskDefinitionsResponse, DeregisterTaskDefinitionRequest,
            DeregisterTaskDefinitionResponse, DescribeTaskDefinitionRequest, Failure, FamilyStatus,
            ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse,
            ListTaskDefinitionsRequest, ListTaskDefinitionsResponse, SortOrder, TagsField, TaskDefinition,
            TaskDefinitionResponse, TaskDefinitionStatus,
        },
    },
    protocol::Fault,
};
use bowline_model::arn::Arn;

use super::{client, invalid, page_of, tags};
use crate::{
    api::{
        call::{Call, wire},
        constraint, pages,
    },
    ecs::{definition, record::TaskDefinitionRecord},
    registry::Registry,
    secrets::reference::SecretReference,
    stack::secrets,
    task_spec,
};

/// Most revisions in one `DeleteTaskDefinitions`.
const DELETED_MAX: usize = 10;

pub(super) fn register(
    call: &Call<'_>,
    request: RegisterTaskDefinitionRequest,
) -> Result<TaskDefinitionResponse, Fault> {
    check(&request)?;
    call.change(|registry| {
        let revision = definition::next_revision(registry, &request.family);
        let arn = call.scope.arn("ecs", format_args!("task-definition/{}:{revision}", request.family));
        definition::register(registry, &arn, &request, call.now, &call.caller.arn)
            .map_err(|faults| client(faults.join(" ")))?;
        let known = call.core.secrets();
        let registered = registry.task_definitions.get(arn.as_str()).cloned();
        for (container, secret) in registered.iter().flat_map(|definition| task_spec::wanted_secrets(definition)) {
            // As on AWS, a secret that is not there yet is the task's to miss.
            let meant = SecretReference::is_meant(secret)
                || SecretReference::parse(secret).find(registry, call.now).is_ok();
            if !meant && secrets::resolve(&known, secret).is_none() {
                return Err(client(format!(
                    "container {container} wants {secret}, which is not here: parameters come from the templates of \
                     stacks, secrets from Secrets Manager by their ARN"
                )));
            }
        }
        told(registry, &arn)
    })
}

/// What of a task definition ECS refuses at once.
fn check(request: &RegisterTaskDefinitionRequest) -> Result<(), Fault> {
    constraint::length("family", &request.family, 1..=255).map_err(client)?;
    if !request.family.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(client("Invalid family: only alphanumeric characters, \"-\" and \"_\" are allowed"));
    }
    if request.container_definitions.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for container in &request.container_definitions {
        if !names.insert(&container.name) {
            return Err(client(format!("Container name should be unique, but {} is not.", container.name)));
        }
        for name in container.port_mappings.iter().filter_map(|mapping| mapping.name.as_ref()) {
            if !ports.insert(name) {
                return Err(client(format!("Port mapping names must be unique, but {name} is not.")));
            }
        }
    }
    if !request.container_definitions.iter().any(|container| container.essential.unwrap_or(true)) {
        return Err(client("A task definition must have at least one essential container."));
    }
    for container in &request.container_definitions {
        for dependency in &container.depends_on {
            if !names.contains(&dependency.container_name) {
                return Err(client(format!(
                    "{} depends on the container {}, which the task definition does not have.",
                    container.name, dependency.container_name
                )));
            }
        }
    }
    if request.requires_compatibilities.contains(&Compatibility::Fargate) {
        if request.network_mode != Some(NetworkMode::Awsvpc) {
            return Err(client(
                "Fargate only supports network mode 'awsvpc'. Provide networkMode: awsvpc in the task definition.",
            ));
        }
        if request.cpu.is_none() || request.memory.is_none() {
            return Err(client("Fargate requires task definition to have task-level cpu and memory."));
        }
        check_fargate_size(request)?;
    }
    tags::check(&request.tags)
}

/// The sizes that Fargate has: CPU units, and MiB of memory from, to and in steps of.
/// Source: AWS's developer guide, "Fargate task definition considerations for task CPU and memory".
const FARGATE_SIZES: &[(i64, &[i64], i64)] = &[
    (256, &[512, 1_024, 2_048], 0),
    (512, &[1_024, 4_096], 1_024),
    (1_024, &[2_048, 8_192], 1_024),
    (2_048, &[4_096, 16_384], 1_024),
    (4_096, &[8_192, 30_720], 1_024),
    (8_192, &[16_384, 61_440], 4_096),
    (16_384, &[32_768, 122_880], 8_192),
];

fn check_fargate_size(request: &RegisterTaskDefinitionRequest) -> Result<(), Fault> {
    let (Some(cpu), Some(memory)) = (&request.cpu, &request.memory) else { return Ok(()) };
    let size = in_units(cpu, "vcpu").zip(in_units(memory, "gb"));
    let exists = size.is_some_and(|(cpu, memory)| {
        FARGATE_SIZES.iter().any(|(units, amounts, step)| match (*units == cpu, *amounts, *step) {
            (false, _, _) => false,
            (true, [from, to], step) if step > 0 => {
                (*from..=*to).contains(&memory) && (memory - from) % step == 0
            }
            (true, amounts, _) => amounts.contains(&memory),
        })
    });
    match exists {
        true => Ok(()),
        false => Err(client(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
        ))),
    }
}

/// `1024`, or `1 vCPU` and `2GB`, as the 1,024ths that ECS counts in.
fn in_units(text: &str, large: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(large) {
        // Sizes are small: every quarter is exact.
        Some(number) => {
            let number: f64 = number.trim().parse().ok()?;
            let units = number * 1_024.0;
            (units.fract() == 0.0 && (0.0..1e9).contains(&units)).then_some(units as i64)
        }
        None => text.parse().ok(),
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeTaskDefinitionRequest,
) -> Result<TaskDefinitionResponse, Fault> {
    let registry = call.registry();
    let arn = named(&registry, &request.task_definition)
        .ok_or_else(|| client("Unable to describe task definition."))?;
    let mut response = told(&registry, &arn)?;
    if !request.include.contains(&TagsField::Tags) {
        response.tags.clear();
    }
    Ok(response)
}

/// A revision by ARN or `family:revision`, active or not; or the newest active one of a family.
fn named(registry: &Registry, name: &str) -> Option<Arn> {
    if registry.task_definition_records.get(name).is_some() {
        return name.parse().ok();
    }
    definition::find(registry, name)
}

/// As [`named`], where ECS demands a revision.
fn named_with_revision(registry: &Registry, name: &str) -> Result<Arn, Fault> {
    let last = name.rsplit('/').next().unwrap_or(name);
    if !last.contains(':') {
        return Err(invalid(format!("Missing revision for taskDefinition: {name}")));
    }
    named(registry, name).ok_or_else(|| client("The specified task definition does not exist."))
}

pub(super) fn deregister(
    call: &Call<'_>,
    request: DeregisterTaskDefinitionRequest,
) -> Result<DeregisterTaskDefinitionResponse, Fault> {
    call.change(|registry| {
        let arn = named_with_revision(registry, &request.task_definition)?;
        definition::deregister(registry, arn.as_str(), call.now);
        Ok(DeregisterTaskDefinitionResponse { task_definition: told(registry, &arn)?.task_definition })
    })
}

pub(super) fn delete(
    call: &Call<'_>,
    request: DeleteTaskDefinitionsRequest,
) -> Result<DeleteTaskDefinitionsResponse, Fault> {
    constraint::items("taskDefinitions", request.task_definitions.len(), 1..=DELETED_MAX).map_err(invalid)?;
    call.change(|registry| {
        let mut response = DeleteTaskDefinitionsResponse { task_definitions: Vec::new(), failures: Vec::new() };
        for name in &request.task_definitions {
            let failure = |reason: &str| Failure {
                arn: Some(name.clone()),
                reason: Some(reason.to_owned()),
                detail: None,
            };
            let Some(arn) = named(registry, name) else {
                response.failures.push(failure("The specified task definition does not exist. Specify a valid account, family, revision and try again."));
                continue;
            };
            let record = registry.task_definition_records.get(arn.as_str()).cloned();
            if record.is_some_and(|record| record.deregistered_at.is_none()) {
                response.failures.push(failure(
                    "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
                ));
                continue;
            }
            registry.task_definition_records.update(arn.as_str(), |record| {
                record.delete_requested_at.get_or_insert(call.now);
            });
            response.task_definitions.push(told(registry, &arn)?.task_definition);
        }
        Ok(response)
    })
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListTaskDefinitionsRequest,
) -> Result<ListTaskDefinitionsResponse, Fault> {
    let registry = call.registry();
    let wanted = request.status.unwrap_or(TaskDefinitionStatus::Active);
    let rows: Vec<(String, u32, String)> = registry
        .task_definition_records
        .iter()
        .filter(|(_, record)| status(record) == wanted)
        .filter(|(_, record)| {
            request.family_prefix.as_deref().is_none_or(|family| record.request.family == family)
        })
        .filter_map(|(arn, record)| {
            let revision = definition::revision_of(&arn.parse().ok()?)?;
            Some((record.request.family.clone(), revision, arn.to_owned()))
        })
        .collect();
    let descending = request.sort == Some(SortOrder::Descending);
    let page = page_of(
        "ListTaskDefinitions",
        rows,
        |(family, revision, _)| {
            // No family has a space, which is before every character that one has.
            let key = format!("{family} {revision:010}");
            if descending { pages::reversed(&key) } else { key }
        },
        request.next_token.as_deref(),
        request.max_results.or(Some(100)),
        100,
    )?;
    let arns = page.items.into_iter().map(|(_, _, arn)| arn).collect();
    Ok(ListTaskDefinitionsResponse { task_definition_arns: arns, next_token: page.next_token })
}

pub(super) fn list_families(
    call: &Call<'_>,
    request: ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse, Fault> {
    let registry = call.registry();
    let mut active = BTreeSet::new();
    let mut all = BTreeSet::new();
    let prefix = request.family_prefix.as_deref().unwrap_or_default();
    for record in registry.task_definition_records.values() {
        if record.request.family.starts_with(prefix) {
            all.insert(record.request.family.clone());
            if record.deregistered_at.is_none() {
                active.insert(record.request.family.clone());
            }
        }
    }
    let families: Vec<String> = match request.status.unwrap_or(FamilyStatus::Active) {
        FamilyStatus::All => all.into_iter().collect(),
        FamilyStatus::Active => active.into_iter().collect(),
        FamilyStatus::Inactive => all.difference(&active).cloned().collect(),
    };
    let page = page_of(
        "ListTaskDefinitionFamilies",
        families,
        Clone::clone,
        request.next_token.as_deref(),
        request.max_results,
        100,
    )?;
    Ok(ListTaskDefinitionFamiliesResponse { families: page.items, next_token: page.next_token })
}

fn status(record: &TaskDefinitionRecord) -> TaskDefinitionStatus {
    match (record.delete_requested_at, record.deregistered_at) {
        (Some(_), _) => TaskDefinitionStatus::DeleteInProgress,
        (None, Some(_)) => TaskDefinitionStatus::Inactive,
        (None, None) => TaskDefinitionStatus::Active,
    }
}

fn told(registry: &Registry, arn: &Arn) -> Result<TaskDefinitionResponse, Fault> {
    let record: &Arc<TaskDefinitionRecord> = registry
        .task_definition_records
        .get(arn.as_str())
        .ok_or_else(|| client("Unable to describe task definition."))?;
    let mut request = record.request.clone();
    let tags = std::mem::take(&mut request.tags);
    // What ECS fills in.
    for container in &mut request.container_definitions {
        container.essential.get_or_insert(true);
        container.cpu.get_or_insert(0);
    }
    let awsvpc = request.network_mode == Some(NetworkMode::Awsvpc);
    let mut compatibilities = vec![Compatibility::Ec2];
    if awsvpc && request.cpu.is_some() && request.memory.is_some() {
        compatibilities.push(Compatibility::Fargate);
    }
    Ok(TaskDefinitionResponse {
        task_definition: TaskDefinition {
            task_definition_arn: arn.to_string(),
            request,
            revision: definition::revision_of(arn).unwrap_or_default(),
            status: status(record),
            compatibilities,
            requires_attributes: Vec::new(),
            registered_at: wire(record.registered_at),
            registered_by: record.registered_by.clone(),
            deregistered_at: record.deregistered_at.map(wire),
            delete_requested_at: record.delete_requested_at.map(wire),
        },
        tags,
    })
}
