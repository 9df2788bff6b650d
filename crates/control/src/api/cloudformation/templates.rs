//! Templates: told, checked, summed up.

use bowline_aws::{
    cfn::Template,
    cloudformation::{GetTemplateInput, GetTemplateOutput, TemplateInput, TemplateOutput, TemplateParameter},
    protocol::Fault,
};

use super::{TEMPLATE_FILE, body, change_sets, find_any, invalid, made_from, malformed};
use crate::api::call::Call;

pub(super) fn get(call: &Call<'_>, request: GetTemplateInput) -> Result<GetTemplateOutput, Fault> {
    let template = match (&request.change_set_name, &request.stack_name) {
        (Some(change_set), stack) => {
            let record = change_sets::find(&call.registry(), change_set, stack.as_deref())?;
            call.core.open_source(&record.id, &record.source)
        }
        (None, Some(stack)) => made_from(call, &*find_any(&call.registry(), stack)?),
        (None, None) => return Err(invalid("StackName is required if ChangeSetName is not specified.")),
    };
    let template = template.ok_or_else(|| invalid("the template of the stack is not known"))?;
    let template_body = template.files.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n---\n");
    Ok(GetTemplateOutput { template_body, stages_available: vec!["Original", "Processed"] })
}

pub(super) fn validate(_: &Call<'_>, request: TemplateInput) -> Result<TemplateOutput, Fault> {
    let text = body(request.template_body, request.template_url.as_deref())?;
    summed_up(&text.ok_or_else(|| invalid("Either Template URL or Template Body must be specified."))?)
}

pub(super) fn summary(call: &Call<'_>, request: TemplateInput) -> Result<TemplateOutput, Fault> {
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

fn summed_up(text: &str) -> Result<TemplateOutput, Fault> {
    let template = Template::parse_many(&[(TEMPLATE_FILE, text)]).map_err(|faults| malformed(&faults))?;
    let resource_types = template.resource_types();
    let iam: Vec<_> = resource_types.iter().copied().filter(|kind| kind.starts_with("AWS::IAM::")).collect();
    let needs_iam = !iam.is_empty();
    Ok(TemplateOutput {
        parameters: template
            .parameters()
            .map(|parameter| TemplateParameter {
                parameter_key: parameter.name,
                default_value: parameter.default,
                parameter_type: parameter.type_name,
                no_echo: parameter.no_echo,
                description: parameter.description,
            })
            .collect(),
        description: template.description().map(str::to_owned),
        capabilities: if needs_iam { vec!["CAPABILITY_NAMED_IAM"] } else { Vec::new() },
        capabilities_reason: needs_iam
            .then(|| format!("The following resource(s) require capabilities: [{}]", iam.join(", "))),
        resource_types,
    })
}
