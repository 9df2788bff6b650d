//! FIS's experiment templates of a template.

use bowline_aws::{
    cfn::{ResourceBody, StackResource},
    fis::CreateExperimentTemplateRequest,
    protocol::from_json,
};
use serde_json::Value;

use super::Applying;
use crate::{fis::commands, registry::Registry};

const TEMPLATE: &str = "AWS::FIS::ExperimentTemplate";
const TEMPLATES: &str = "experiment-templates";

/// Removes what a stack made. Whether the table is that of experiment templates.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str) -> bool {
    if table == TEMPLATES {
        registry.experiment_templates.remove(key);
    }
    table == TEMPLATES
}

impl Applying<'_> {
    /// Takes up experiment templates.
    pub(super) fn all_experiment_templates(&mut self, registry: &mut Registry) {
        let stack = self.stack;
        for resource in stack.resources.iter().filter(|resource| resource.resource_type == TEMPLATE) {
            if let ResourceBody::Record(body) = &resource.body {
                self.experiment_template(registry, resource, body);
            }
        }
    }

    fn experiment_template(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let id = resource.physical_id.as_str();
        let mut members = body.clone();
        if let Some(members) = members.as_object_mut() {
            members.insert("clientToken".to_owned(), id.into());
            members.entry("actions").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if members.remove("experimentReportConfiguration").is_some() {
                self.note(resource, "ExperimentReportConfiguration: no reports are made");
            }
        }
        let request: CreateExperimentTemplateRequest = match from_json(members) {
            Ok(request) => request,
            Err(violation) => return self.fault(resource, violation.message()),
        };
        let present = registry.experiment_templates.get(id).is_some();
        if !self.is_free(registry, resource, (TEMPLATES, id), present) {
            return;
        }
        let scope = registry.settings().scope.clone();
        match commands::put(registry, &scope, id, request, self.now) {
            Ok(()) => self.made(TEMPLATES, id),
            Err(error) => self.fault(resource, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_aws::cfn::{Inputs, Template};
    use bowline_model::clock::Timestamp;

    use crate::{
        api::{authorization::AuthorizationMode, testing::core_in_memory},
        registry::RegistryError,
        stack::{ApplyError, StackOrder, record::StackTemplate},
    };

    const TEMPLATE: &str = r#"
Parameters:
  Duration: {Type: String, Default: PT1M}
Resources:
  Slow:
    Type: AWS::FIS::ExperimentTemplate
    Properties:
      Description: Backends are slow.
      RoleArn: arn:aws:iam::000000000000:role/chaos
      StopConditions: [{Source: none}]
      Tags: {Name: slow}
      Targets:
        backends:
          ResourceType: aws:ecs:task
          SelectionMode: COUNT(1)
          ResourceTags: {App: backend}
          Filters: [{Path: LastStatus, Values: [RUNNING]}]
      Actions:
        Slower:
          ActionId: aws:ecs:task-network-latency
          Parameters: {duration: !Ref Duration}
          Targets: {Tasks: backends}
"#;

    #[test]
    fn a_template_declares_changes_and_drops_one() {
        let (core, _directory) = core_in_memory(AuthorizationMode::Off);
        let apply = |duration: &str| {
            let parameters = [("Duration".to_owned(), duration.to_owned())].into();
            let inputs = Inputs { stack_name: "s".into(), parameters, ..Inputs::default() };
            let template = Template::parse(TEMPLATE).unwrap_or_else(|faults| panic!("{faults}"));
            let stack = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
            let made_from = StackTemplate {
                files: vec![("template".to_owned(), TEMPLATE.to_owned())],
                parameters: Default::default(),
            };
            core.deploy(&stack, &made_from, &StackOrder { by: "root".into(), ..StackOrder::default() })
                .map(|_| ())
        };
        let row = || core.registry().experiment_templates.values().next().map(Arc::clone);
        apply("PT1M").expect("applies");
        let first = row().expect("a template");
        assert!(first.id.starts_with("EXT") && first.arn.as_str().ends_with(&first.id));
        assert_eq!(first.tags["Name"], "slow");
        let target = &first.content.targets["backends"];
        assert_eq!(
            (target.resource_tags["App"].as_str(), target.filters[0].path.as_str()),
            ("backend", "LastStatus")
        );
        apply("PT2M").expect("applies");
        let second = row().expect("a template");
        assert_eq!((&second.id, second.created_at), (&first.id, first.created_at));
        assert_eq!(second.content.actions["Slower"].parameters["duration"], "PT2M");
        // What the API refuses, a template's resource is refused too.
        assert!(matches!(apply("PT13H"), Err(ApplyError::Faults(_))));
        assert_eq!(row(), Some(second));
        core.change::<_, RegistryError>(|registry| {
            crate::stack::delete(registry, "s", Timestamp::from_secs(9_000));
            Ok(())
        })
        .expect("is deleted");
        assert_eq!(row(), None);
    }
}
