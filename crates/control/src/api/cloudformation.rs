//! AWS CloudFormation.
//!
//! Source of names, shapes and errors: AWS's CloudFormation API reference.

mod change_sets;
mod stacks;
mod templates;

use std::{collections::BTreeMap, sync::Arc};

use bowline_aws::{
    cfn::{Diagnostics, Stack, Template},
    cloudformation::{Capability, Parameter, Tag},
    protocol::Fault,
};
use serde::Serialize;

use super::{
    call::Call,
    constraint,
    operation::{Operation, operation},
};
use crate::{
    registry::Registry,
    stack::{
        ApplyError, StackOrder,
        record::{StackRecord, StackRequest, StackTemplate},
    },
};

/// Everything that is served, by name.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Write, Effective, "CreateChangeSet", change_sets::create),
    operation!(Write, Effective, "CreateStack", stacks::create),
    operation!(Write, Effective, "DeleteChangeSet", change_sets::delete),
    operation!(Write, Effective, "DeleteStack", stacks::delete),
    operation!(Read, Effective, "DescribeChangeSet", change_sets::describe),
    operation!(Read, Effective, "DescribeStackEvents", stacks::events),
    operation!(Read, Effective, "DescribeStackResource", stacks::resource),
    operation!(Read, Effective, "DescribeStackResources", stacks::resources),
    operation!(Read, Effective, "DescribeStacks", stacks::describe),
    operation!(Write, Effective, "ExecuteChangeSet", change_sets::execute),
    operation!(Read, Effective, "GetTemplate", templates::get),
    operation!(Read, Effective, "GetTemplateSummary", templates::summary),
    operation!(Read, Effective, "ListChangeSets", change_sets::list),
    operation!(Read, Effective, "ListExports", stacks::exports),
    operation!(Read, Effective, "ListStackResources", stacks::list_resources),
    operation!(Read, Effective, "ListStacks", stacks::list),
    operation!(Write, Effective, "UpdateStack", stacks::update),
    operation!(Write, Effective, "UpdateTerminationProtection", stacks::update_termination_protection),
    operation!(Read, Effective, "ValidateTemplate", templates::validate),
];

/// The name that the only file of a stack's template has.
const TEMPLATE_FILE: &str = "template";

/// How many items a page of a list has.
const PAGE: usize = 100;

/// Longest template in a request, CloudFormation's own limit.
const TEMPLATE_BODY_BYTES_MAX: usize = 51_200;

/// A response without members.
#[derive(Serialize)]
struct Nothing {}

/// `ValidationError`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new("ValidationError", message)
}

fn no_stack(name: &str) -> Fault {
    invalid(format!("Stack with id {name} does not exist"))
}

/// What UpdateStack, DescribeStackEvents and CreateChangeSet say; `cdk destroy` looks for it.
fn no_stack_in_brackets(name: &str) -> Fault {
    invalid(format!("Stack [{name}] does not exist"))
}

/// A live stack by name or ARN.
fn find(registry: &Registry, given: &str) -> Option<Arc<StackRecord>> {
    let by_name = registry.stacks.get(given);
    by_name.or_else(|| registry.stacks.values().find(|stack| stack.id == given)).cloned()
}

/// A stack by name or ARN; by ARN also one that is gone.
fn find_any(registry: &Registry, given: &str) -> Result<Arc<StackRecord>, Fault> {
    find(registry, given)
        .or_else(|| registry.deleted_stacks.get(given).cloned())
        .ok_or_else(|| no_stack(given))
}

fn check_name(name: &str) -> Result<(), Fault> {
    constraint::length("stackName", name, 1..=128).map_err(invalid)?;
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if well_formed {
        return Ok(());
    }
    Err(invalid(format!(
        "1 validation error detected: Value '{}' at 'stackName' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*",
        name.chars().filter(|c| !c.is_control()).take(100).collect::<String>()
    )))
}

/// The template of a request.
fn body(body: Option<String>, url: Option<&str>) -> Result<Option<String>, Fault> {
    match (body, url) {
        (Some(_), Some(_)) => Err(invalid("Either Template URL or Template Body must be specified.")),
        (None, Some(_)) => Err(invalid(
            "TemplateURL is not supported: there is no S3 here. Pass the template itself (--template-body file://…, \
             or `aws cloudformation deploy` without --s3-bucket).",
        )),
        (Some(body), None) if body.len() > TEMPLATE_BODY_BYTES_MAX => Err(invalid(format!(
            "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have \
             length less than or equal to {TEMPLATE_BODY_BYTES_MAX}"
        ))),
        (body, None) => Ok(body),
    }
}

/// What a stack is to be made from. A parameter that is to stay takes its value from `previous`.
fn source(
    body: Option<String>,
    use_previous_template: bool,
    parameters: &[Parameter],
    previous: Option<&StackTemplate>,
) -> Result<StackTemplate, Fault> {
    let files = match (body, previous) {
        (Some(body), _) => vec![(TEMPLATE_FILE.to_owned(), body)],
        (None, Some(previous)) if use_previous_template => previous.files.clone(),
        (None, _) => return Err(invalid("Either Template URL or Template Body must be specified.")),
    };
    let mut values = BTreeMap::new();
    for parameter in parameters {
        let key = parameter.parameter_key.clone();
        let value = match (parameter.use_previous_value.unwrap_or(false), &parameter.parameter_value) {
            (true, None) => {
                let previous = previous.ok_or_else(|| {
                    invalid(format!("Invalid input for parameter key {key}. Cannot specify usePreviousValue as true for a parameter key not in the previous template"))
                })?;
                match previous.parameters.get(&key) {
                    Some(value) => value.clone(),
                    // The default that it had then stands in the template still.
                    None => continue,
                }
            }
            (false, Some(value)) => value.clone(),
            _ => return Err(invalid(format!("Parameter {key} needs a value, or UsePreviousValue"))),
        };
        values.insert(key, value);
    }
    Ok(StackTemplate { files, parameters: values })
}

fn malformed(faults: &Diagnostics) -> Fault {
    invalid(format!("Template format error: {faults}"))
}

/// Evaluates, and demands the capabilities that its resources take.
fn resolve(
    call: &Call<'_>,
    name: &str,
    template: &StackTemplate,
    given: &[Capability],
) -> Result<Stack, Fault> {
    let stack = call.core.resolve_stack(name, template).map_err(|faults| malformed(&faults))?;
    let needed = read(template)?.and_then(|template| needed_capability(&template));
    let acknowledged = match needed {
        None => true,
        Some(Capability::NamedIam) => given.contains(&Capability::NamedIam),
        Some(_) => given.contains(&Capability::Iam) || given.contains(&Capability::NamedIam),
    };
    match needed.filter(|_| !acknowledged) {
        Some(needed) => Err(Fault::new(
            "InsufficientCapabilitiesException",
            format!("Requires capabilities : [{}]", needed.name()),
        )),
        None => Ok(stack),
    }
}

/// The template itself.
fn read(template: &StackTemplate) -> Result<Option<Template>, Fault> {
    let files: Vec<_> = template.files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    match files.is_empty() {
        true => Ok(None),
        false => Template::parse_many(&files).map(Some).map_err(|faults| malformed(&faults)),
    }
}

/// IAM resources, the more so with names of their own, are acknowledged.
fn needed_capability(template: &Template) -> Option<Capability> {
    template.names_iam_resources().map(|named| if named { Capability::NamedIam } else { Capability::Iam })
}

/// What an order is refused with.
fn refused(error: ApplyError) -> Fault {
    match error {
        ApplyError::Faults(_) => invalid(error.to_string()),
        ApplyError::Registry(error) => error.into(),
        error => {
            tracing::error!(%error, "a stack could not be carried out");
            Fault::new("InternalFailure", error.to_string()).with_status(500)
        }
    }
}

fn order(call: &Call<'_>, tags: &[Tag], capabilities: &[Capability]) -> StackOrder {
    StackOrder {
        by: call.caller.arn.clone(),
        tags: tag_map(tags),
        capabilities: capabilities.iter().map(|capability| capability.name().to_owned()).collect(),
        ..StackOrder::default()
    }
}

fn tag_map(tags: &[Tag]) -> BTreeMap<String, String> {
    tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect()
}

/// A request with a token, `asked` being what it asks for.
fn request_of(token: Option<String>, asked: &str) -> Result<Option<StackRequest>, Fault> {
    let Some(token) = token else { return Ok(None) };
    constraint::length("clientRequestToken", &token, 1..=128).map_err(invalid)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    constraint::characters("clientRequestToken", &token, "[a-zA-Z0-9][-a-zA-Z0-9]*", allowed)
        .map_err(invalid)?;
    Ok(Some(StackRequest { token, asked: asked.to_owned() }))
}

/// The stack that the same request was done with before. A token of another request is refused.
fn done_before(
    registry: &Registry,
    name: &str,
    request: Option<&StackRequest>,
) -> Result<Option<Arc<StackRecord>>, Fault> {
    let Some(request) = request else { return Ok(None) };
    // Of a stack that is gone, one of the same name may take the token.
    for stack in registry.stacks.values() {
        match stack.requests.iter().find(|known| known.token == request.token) {
            Some(known) if known == request && (stack.name == name || stack.id == name) => {
                return Ok(Some(Arc::clone(stack)));
            }
            Some(_) => {
                return Err(Fault::new(
                    "TokenAlreadyExistsException",
                    format!("The client request token {} belongs to another request", request.token),
                ));
            }
            None => {}
        }
    }
    Ok(None)
}

fn told_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}

fn told_parameters(parameters: &[(String, String)]) -> Vec<Parameter> {
    let told = parameters.iter().map(|(key, value)| Parameter {
        parameter_key: key.clone(),
        parameter_value: Some(value.clone()),
        use_previous_value: None,
    });
    told.collect()
}

/// A page, or the error for a token of another operation.
fn page<T>(operation: &str, items: Vec<T>, token: Option<&str>) -> Result<super::pages::Page<T>, Fault> {
    // The order of what is told is the list's own.
    let numbered: Vec<_> = items.into_iter().enumerate().collect();
    let page = super::pages::page(operation, numbered, |(place, _)| format!("{place:08}"), token, PAGE)
        .map_err(|_| invalid("Invalid NextToken"))?;
    let items = page.items.into_iter().map(|(_, item)| item).collect();
    Ok(super::pages::Page { items, next_token: page.next_token })
}

/// What the stack was made from.
fn made_from(call: &Call<'_>, record: &StackRecord) -> Option<StackTemplate> {
    call.core.open_source(&record.id, &record.source)
}
