//! X-Ray's sampling rules of a template.

use std::collections::BTreeMap;

use bowline_aws::{
    cfn::{ResourceBody, StackResource},
    protocol::from_json,
    xray::{SamplingRule, SamplingRuleUpdate},
};
use serde_json::Value;

use super::Applying;
use crate::{registry::Registry, xray::sampling};

const RULE: &str = "AWS::XRay::SamplingRule";
const RULES: &str = "sampling-rules";

/// Removes what a stack made. Whether the table is that of sampling rules.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str) -> bool {
    if table == RULES {
        registry.sampling_rules.remove(key);
    }
    table == RULES
}

impl Applying<'_> {
    /// Takes up sampling rules.
    pub(super) fn all_sampling_rules(&mut self, registry: &mut Registry) {
        let stack = self.stack;
        for resource in stack.resources.iter().filter(|resource| resource.resource_type == RULE) {
            if let ResourceBody::Record(body) = &resource.body {
                self.sampling_rule(registry, resource, body);
            }
        }
    }

    fn sampling_rule(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let Some(given) = body.get("SamplingRule").and_then(Value::as_object) else {
            return self.note(resource, "it is recorded: a rule is made of SamplingRule alone");
        };
        let Some(arn) = self.arn(resource) else { return };
        let name = arn.resource().trim_start_matches("sampling-rule/").to_owned();
        let mut members = given.clone();
        members.entry("Version").or_insert_with(|| 1.into());
        members.insert("RuleName".to_owned(), name.clone().into());
        members.remove("RuleARN");
        let rule: SamplingRule = match from_json(Value::Object(members)) {
            Ok(rule) => rule,
            Err(violation) => return self.fault(resource, format!("SamplingRule: {}", violation.message())),
        };
        let present = registry.sampling_rules.get(&name).is_some();
        if !self.is_free(registry, resource, (RULES, &name), present) {
            return;
        }
        let scope = registry.settings().scope.clone();
        let done = match present {
            true => sampling::update(registry, &scope, update(rule), self.now),
            false => sampling::create(registry, &scope, rule, tags(body), self.now),
        };
        match done {
            Ok(_) => {
                registry.sampling_rules.update(&name, |row| row.tags = tags(body));
                self.made(RULES, &name);
            }
            Err(error) => self.fault(resource, error.to_string()),
        }
    }
}

/// All of a rule, in place of what there was.
fn update(rule: SamplingRule) -> SamplingRuleUpdate {
    SamplingRuleUpdate {
        rule_name: rule.rule_name,
        rule_arn: None,
        resource_arn: Some(rule.resource_arn),
        priority: Some(rule.priority),
        fixed_rate: Some(rule.fixed_rate),
        reservoir_size: Some(rule.reservoir_size),
        service_name: Some(rule.service_name),
        service_type: Some(rule.service_type),
        host: Some(rule.host),
        http_method: Some(rule.http_method),
        url_path: Some(rule.url_path),
        attributes: Some(rule.attributes),
    }
}

fn tags(body: &Value) -> BTreeMap<String, String> {
    let text = |tag: &Value, member: &str| tag.get(member).and_then(Value::as_str).map(str::to_owned);
    let tag = |tag: &Value| Some((text(tag, "Key")?, text(tag, "Value").unwrap_or_default()));
    body.get("Tags").and_then(Value::as_array).into_iter().flatten().filter_map(tag).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_aws::cfn::{Inputs, Template};
    use bowline_model::clock::Timestamp;

    use crate::{
        api::{authorization::AuthorizationMode, testing::core_in_memory},
        core::Core,
        registry::RegistryError,
        stack::{StackOrder, record::StackTemplate},
    };

    const TEMPLATE: &str = r#"
Parameters:
  Rate: {Type: Number, Default: 0.5}
Resources:
  Pay:
    Type: AWS::XRay::SamplingRule
    Properties:
      SamplingRule:
        RuleName: pay
        Priority: 5
        FixedRate: !Ref Rate
        ReservoirSize: 2
        ResourceARN: "*"
        ServiceName: "*"
        ServiceType: "*"
        Host: "*"
        HTTPMethod: "*"
        URLPath: /pay/*
      Tags: [{Key: team, Value: a}]
Outputs:
  Arn: {Value: !GetAtt Pay.RuleARN}
"#;

    fn deploy(core: &Arc<Core>, text: &str) -> Result<Vec<String>, String> {
        let template = Template::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
        let inputs = Inputs { stack_name: "test".into(), revision: core.revisions(), ..Inputs::default() };
        let stack = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
        let made_from = StackTemplate {
            files: vec![("template".into(), text.to_owned())],
            parameters: Default::default(),
        };
        let order = StackOrder { by: "test".into(), ..StackOrder::default() };
        let deployed = core.deploy(&stack, &made_from, &order).map_err(|error| error.to_string())?;
        Ok(deployed.notes.into_iter().map(|note| note.message).collect())
    }

    #[test]
    fn a_templates_rule_is_there_until_the_stack_is_gone() {
        let (core, _dir) = core_in_memory(AuthorizationMode::Enforce);
        deploy(&core, TEMPLATE).expect("it is deployed");
        let registry = core.registry();
        let row = registry.sampling_rules.get("pay").expect("a rule");
        assert_eq!((row.rule.fixed_rate, row.rule.version, row.tags["team"].as_str()), (0.5, 1, "a"));
        let stack = registry.stacks.get("test").expect("a stack");
        assert_eq!(Some(&stack.outputs[0].value), row.rule.rule_arn.as_ref());
        deploy(&core, &TEMPLATE.replace("Default: 0.5", "Default: 0.25")).expect("it is deployed");
        assert_eq!(core.registry().sampling_rules.get("pay").map(|row| row.rule.fixed_rate), Some(0.25));
        let now = Timestamp::from_secs(1_800_000_000);
        core.change::<_, RegistryError>(|registry| {
            crate::stack::delete(registry, "test", now);
            Ok(())
        })
        .expect("it is written");
        assert!(core.registry().sampling_rules.is_empty());
    }
}
