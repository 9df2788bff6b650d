//! Templates: told, checked, summed up.

use bowline_aws::{
    cfn::Template,
    cloudformation::{
        Capability, GetTemplateInput, GetTemplateOutput, ParameterDeclaration, TemplateInput,
        TemplateParameter, TemplateSummary, ValidateTemplateOutput,
    },
    protocol::Fault,
};

use super::{TEMPLATE_FILE, body, change_sets, find_any, invalid, made_from, malformed, needed_capability};
use crate::{
    api::call::Call,
    stack::record::{StackStatus, StackTemplate},
};

pub(super) fn get(call: &Call<'_>, request: GetTemplateInput) -> Result<GetTemplateOutput, Fault> {
    let template = match (&request.change_set_name, &request.stack_name) {
        (Some(change_set), stack) => {
            let record = change_sets::find(&call.registry(), change_set, stack.as_deref())?;
            call.core.open_source(&record.id, &record.source)
        }
        (None, Some(stack)) => {
            let record = find_any(&call.registry(), stack)?;
            match record.status {
                // It was made from nothing yet: what it may become stands in its change set.
                StackStatus::ReviewInProgress => Some(StackTemplate::default()),
                _ => made_from(call, &record),
            }
        }
        (None, None) => return Err(invalid("StackName is required if ChangeSetName is not specified.")),
    };
    let template = template.ok_or_else(|| invalid("the template of the stack is not known"))?;
    let template_body = template.files.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n---\n");
    Ok(GetTemplateOutput { template_body, stages_available: vec!["Original", "Processed"] })
}

pub(super) fn validate(_: &Call<'_>, request: TemplateInput) -> Result<ValidateTemplateOutput, Fault> {
    let text = body(request.template_body, request.template_url.as_deref())?;
    let text = text.ok_or_else(|| invalid("Either Template URL or Template Body must be specified."))?;
    let template = parse(&text)?;
    let (capabilities, capabilities_reason) = capabilities(&template);
    Ok(ValidateTemplateOutput {
        parameters: template
            .parameters()
            .map(|parameter| TemplateParameter {
                parameter_key: parameter.name,
                default_value: parameter.default,
                no_echo: parameter.no_echo,
                description: parameter.description,
            })
            .collect(),
        description: template.description().map(str::to_owned),
        capabilities,
        capabilities_reason,
    })
}

pub(super) fn summary(call: &Call<'_>, request: TemplateInput) -> Result<TemplateSummary, Fault> {
    let text = body(request.template_body, request.template_url.as_deref())?;
    match (text, &request.stack_name) {
        (Some(text), _) => summed_up(&text),
        (None, Some(stack)) => {
            let record = find_any(&call.registry(), stack)?;
            let template = made_from(call, &record).unwrap_or_default();
            let first = template.files.into_iter().next().map(|(_, text)| text);
            summed_up(&first.ok_or_else(|| invalid("the template of the stack is not known"))?)
        }
        (None, None) => Err(invalid("Either StackName, TemplateBody or TemplateURL must be specified.")),
    }
}

fn summed_up(text: &str) -> Result<TemplateSummary, Fault> {
    let template = parse(text)?;
    let (capabilities, capabilities_reason) = capabilities(&template);
    Ok(TemplateSummary {
        parameters: template
            .parameters()
            .map(|parameter| ParameterDeclaration {
                parameter_key: parameter.name,
                default_value: parameter.default,
                parameter_type: parameter.type_name,
                no_echo: parameter.no_echo,
                description: parameter.description,
            })
            .collect(),
        description: template.description().map(str::to_owned),
        capabilities,
        capabilities_reason,
        resource_types: template.resource_types(),
    })
}

fn parse(text: &str) -> Result<Template, Fault> {
    Template::parse_many(&[(TEMPLATE_FILE, text)]).map_err(|faults| malformed(&faults))
}

/// What has to be acknowledged, and why.
fn capabilities(template: &Template) -> (Vec<&'static str>, Option<String>) {
    let needed = needed_capability(template);
    let reason = needed.map(|_| {
        let types = template.resource_types().into_iter().filter(|kind| kind.starts_with("AWS::IAM::"));
        format!("The following resource(s) require capabilities: [{}]", types.collect::<Vec<_>>().join(", "))
    });
    (needed.map(Capability::name).into_iter().collect(), reason)
}
