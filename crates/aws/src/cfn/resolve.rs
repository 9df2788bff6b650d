//! From a template and its inputs to a stack.

use std::collections::{BTreeMap, HashMap};

use super::diagnostic::{Diagnostic, Report, Span, locate};
use super::evaluate::Evaluator;
use super::physical::{self, Facts};
use super::stack::{Inputs, Output, Stack, StackResource};
use super::template::{Resource, Template};
use super::tree::{Entry, Kind, Node, Path};
use super::{intrinsic, rules, schema, verify};

pub(super) fn resolve(template: &Template, inputs: &Inputs, report: &mut Report) -> Option<Stack> {
    check_inputs(inputs, report);
    let mut evaluator = Evaluator::new(template, inputs, report);
    let active: Vec<&Resource> = template
        .resources
        .iter()
        .filter(|it| it.condition.as_ref().is_none_or(|(name, _)| evaluator.holds(name) == Some(true)))
        .collect();
    let order = order(template, &active, &evaluator, report)?;

    let mut evaluated: HashMap<&str, Node> = HashMap::new();
    let mut resources = Vec::with_capacity(order.len());
    for (resource, depends_on) in order {
        let Some(resource_type) = resource.resource_type else { continue };
        let section = Path::Root.key("Resources");
        let path = section.key(&resource.logical_id);
        let path = path.key("Properties");
        let Some(mut properties) = evaluator.value(&resource.properties, &path, report) else {
            continue;
        };
        if let Some(target) = named_task_definition(template, resource)
            && let Some(identity) = evaluator.identities.get(target)
            && let Kind::Map(entries) = &mut properties.kind
            && let Some(entry) = entries.iter_mut().find(|entry| entry.key == "TaskDefinition")
        {
            entry.value.kind = Kind::String(identity.reference.clone());
        }
        let before = report.error_count();
        schema::check(&resource_type.properties, &properties, resource_type.name, &path, report);
        let facts = Facts {
            inputs,
            resource: resource_type,
            logical_id: &resource.logical_id,
            properties: &properties,
        };
        let mut identity = (resource_type.identify)(&facts);
        identity.secret = has_secret(&properties);
        if let Kind::Map(entries) = &mut properties.kind {
            for (name, value) in &identity.defaults {
                if !entries.iter().any(|entry| entry.key == *name) {
                    let value = Node::string(value, resource.span);
                    entries.push(Entry { key: (*name).to_owned(), key_span: resource.span, value });
                }
            }
        }
        // With a value missing the body would not be what its type promises.
        let complete = report.error_count() == before && !has_unknown(&properties);
        if complete {
            let value = schema::to_json(&resource_type.properties, &properties, resource_type.case);
            match (resource_type.body)(value) {
                Ok(body) => resources.push(StackResource {
                    logical_id: resource.logical_id.clone(),
                    physical_id: identity.reference.clone(),
                    resource_type: resource_type.name.to_owned(),
                    body,
                    depends_on: depends_on.into_iter().map(str::to_owned).collect(),
                    position: locate(&template.files, resource.span),
                    tags: tags(&properties),
                    attributes: identity.attributes.clone(),
                    deletion_policy: resource.deletion_policy.clone(),
                    metadata: resource.metadata.as_ref().map(schema::free_json),
                }),
                Err(error) => {
                    let message =
                        format!("the properties of `{}` cannot be read: {error}", resource.logical_id);
                    report.push(Diagnostic::error("wrong-type", resource.span, path, message));
                }
            }
        }
        evaluator.identities.insert(&resource.logical_id, identity);
        evaluated.insert(&resource.logical_id, properties);
    }
    rules::check(&rules::Evaluated { template, properties: &evaluated }, report);
    check_distinct(&resources, template, report);

    let outputs = template.outputs.iter().filter_map(|it| output(it, &mut evaluator, report)).collect();
    Some(Stack {
        name: inputs.stack_name.clone(),
        id: physical::stack_id(inputs),
        region: inputs.region.clone(),
        account_id: inputs.account_id.clone(),
        description: template.description.clone(),
        resources,
        outputs,
        warnings: Report::default().into_diagnostics(template.files.clone()),
    })
}

fn check_inputs(inputs: &Inputs, report: &mut Report) {
    let start = Span { file: 0, line: 1, column: 1, width: 1 };
    let mut fault = |message: String| report.push(Diagnostic::error("input", start, "", message));
    let name = &inputs.stack_name;
    let letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !letter || name.len() > 128 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        fault(format!("`{name}` is no stack name: letters, digits and hyphens, a letter first, at most 128"));
    }
    if inputs.account_id.len() != 12 || !inputs.account_id.chars().all(|c| c.is_ascii_digit()) {
        fault(format!("`{}` is no account id: 12 digits", inputs.account_id));
    }
    let region = &inputs.region;
    if region.is_empty()
        || region.len() > 32
        || !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        fault(format!("`{region}` is no region"));
    }
}

/// The active resources, each after what it depends on, otherwise in the template's order.
fn order<'t>(
    template: &'t Template,
    active: &[&'t Resource],
    evaluator: &Evaluator<'t>,
    report: &mut Report,
) -> Option<Vec<(&'t Resource, Vec<&'t str>)>> {
    let index: HashMap<&str, usize> =
        active.iter().enumerate().map(|(i, it)| (it.logical_id.as_str(), i)).collect();
    let mut edges: HashMap<&str, Vec<&str>> = HashMap::new();
    for resource in active {
        let mut found: Vec<&str> = resource.depends_on.iter().map(|(name, _)| name.as_str()).collect();
        intrinsic::references(&resource.properties, &|name| evaluator.holds(name), &mut |name, _| {
            found.push(name);
        });
        found.extend(named_task_definition(template, resource));
        // CloudFormation lets DependsOn name a resource whose condition does not hold.
        found.retain(|name| index.contains_key(name));
        let mut seen = std::collections::HashSet::new();
        found.retain(|name| seen.insert(*name));
        edges.insert(&resource.logical_id, found);
    }
    let mut waiting: Vec<usize> = active.iter().map(|it| edges[it.logical_id.as_str()].len()).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); active.len()];
    for (i, resource) in active.iter().enumerate() {
        for name in &edges[resource.logical_id.as_str()] {
            dependents[index[name]].push(i);
        }
    }
    let mut ready: std::collections::BTreeSet<usize> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(i, _)| i).collect();
    let mut sorted = Vec::with_capacity(active.len());
    while let Some(next) = ready.pop_first() {
        sorted.push(next);
        for dependent in &dependents[next] {
            waiting[*dependent] -= 1;
            if waiting[*dependent] == 0 {
                ready.insert(*dependent);
            }
        }
    }
    if sorted.len() < active.len() {
        verify::report_cycle(active.iter().copied(), &edges, report);
        return None;
    }
    Some(
        sorted
            .into_iter()
            .map(|i| (active[i], edges.remove(active[i].logical_id.as_str()).unwrap_or_default()))
            .collect(),
    )
}

/// A local command may name its task definition by logical id, without `Ref`: the second template
/// then stays readable on its own.
fn named_task_definition<'t>(template: &'t Template, resource: &'t Resource) -> Option<&'t str> {
    resource.resource_type.filter(|it| it.name == rules::LOCAL_COMMAND)?;
    let name = resource.properties.get("TaskDefinition")?.str()?;
    let target = template.resource(name)?;
    target.resource_type.filter(|it| it.name == rules::TASK_DEFINITION)?;
    Some(name)
}

fn has_secret(node: &Node) -> bool {
    node.secret
        || match &node.kind {
            Kind::List(items) => items.iter().any(has_secret),
            Kind::Map(entries) => entries.iter().any(|entry| has_secret(&entry.value)),
            _ => false,
        }
}

fn has_unknown(node: &Node) -> bool {
    match &node.kind {
        Kind::Unknown => true,
        Kind::List(items) => items.iter().any(has_unknown),
        Kind::Map(entries) => entries.iter().any(|entry| has_unknown(&entry.value)),
        _ => false,
    }
}

/// `Tags`, a list of keys and values for most types, a map for some.
fn tags(properties: &Node) -> BTreeMap<String, String> {
    let text = |node: Option<&Node>| node.and_then(Node::text).unwrap_or_default().to_owned();
    match properties.get("Tags").map(|tags| &tags.kind) {
        Some(Kind::List(tags)) => {
            tags.iter().map(|tag| (text(tag.get("Key")), text(tag.get("Value")))).collect()
        }
        Some(Kind::Map(tags)) => tags.iter().map(|tag| (tag.key.clone(), text(Some(&tag.value)))).collect(),
        _ => BTreeMap::new(),
    }
}

/// Two resources of one type with one name would be one resource.
fn check_distinct(resources: &[StackResource], template: &Template, report: &mut Report) {
    let mut seen: HashMap<(&str, &str), &str> = HashMap::new();
    for resource in resources {
        let key = (resource.resource_type.as_str(), resource.physical_id.as_str());
        // These go by what they attach to, or by another resource's id.
        let named = matches!(
            key.0,
            "AWS::ECS::Cluster"
                | "AWS::ECS::Service"
                | "AWS::ElasticLoadBalancingV2::LoadBalancer"
                | "AWS::ElasticLoadBalancingV2::TargetGroup"
                | "AWS::Logs::LogGroup"
                | "AWS::IAM::Role"
        );
        if let Some(first) = seen.insert(key, &resource.logical_id).filter(|_| named) {
            let message = format!("`{first}` and `{}` have the same name", resource.logical_id);
            let span = template.resource(&resource.logical_id).map_or_else(Span::default, |it| it.span);
            report.push(Diagnostic::error(
                "duplicate-name",
                span,
                format!("Resources.{}", resource.logical_id),
                message,
            ));
        }
    }
}

fn output(
    declared: &super::template::OutputDeclaration,
    evaluator: &mut Evaluator<'_>,
    report: &mut Report,
) -> Option<Output> {
    if let Some((condition, _)) = &declared.condition
        && evaluator.holds(condition) != Some(true)
    {
        return None;
    }
    let section = Path::Root.key("Outputs");
    let path = section.key(&declared.name);
    let value = evaluator.value(&declared.value, &path.key("Value"), report)?;
    let value = match (value.text(), &value.kind) {
        (Some(text), _) => text.to_owned(),
        (None, Kind::Unknown) => return None,
        _ => {
            super::template::wrong_type("a string", &value, &path.key("Value"), report);
            return None;
        }
    };
    let export_name = declared
        .export_name
        .as_ref()
        .and_then(|name| evaluator.value(name, &path.key("Export"), report))
        .and_then(|name| name.text().map(str::to_owned));
    Some(Output {
        name: declared.name.clone(),
        value,
        description: declared.description.clone(),
        export_name,
    })
}
