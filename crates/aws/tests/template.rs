//! The template reader from the outside.

mod template {
    mod documents;
    mod faults;
    mod intrinsics;
    mod robustness;
    mod scalars;
}

use std::collections::BTreeMap;

use bowline_aws::cfn::{Diagnostics, Inputs, ResourceBody, Stack, Template};
use serde_json::Value;

/// Resolves a template with default inputs and these parameters.
fn resolve(text: &str, parameters: &[(&str, &str)]) -> Result<Stack, Diagnostics> {
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Template::parse(text)?.resolve(&Inputs { parameters, ..Inputs::default() })
}

/// The value that an expression has as the tag of a resource; `sections` come before `Resources`.
fn evaluate(sections: &str, expression: &str) -> String {
    let text = format!(
        "{sections}\nResources:\n  Other:\n    Type: AWS::ECS::Cluster\n  It:\n    Type: AWS::SSM::Parameter\n    \
         Properties:\n      Type: String\n      Value: {expression}\n"
    );
    let stack = resolve(&text, &[]).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    stack.resource("It").expect("it is declared").attribute("Value").expect("a string").to_owned()
}

/// The body of a record.
fn record<'s>(stack: &'s Stack, logical_id: &str) -> &'s Value {
    match &stack.resource(logical_id).expect("the resource is declared").body {
        ResourceBody::Record(value) => value,
        body => panic!("{body:?} is no record"),
    }
}

/// `line:column code`, for comparing whole lists of faults.
fn brief(faults: &Diagnostics) -> Vec<String> {
    faults.iter().map(|it| format!("{}:{} {}", it.line(), it.column(), it.code)).collect()
}
