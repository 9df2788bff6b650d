//! Values of the parameters (`AWS::SSM::Parameter`) that a template itself holds. They stay in
//! memory: no row of the registry has them. Secrets are rows: see `crate::secrets`.

use std::collections::BTreeMap;

use bowline_aws::cfn::{ResourceBody, Stack};
use bowline_model::task::Secret;

/// Values by everything that a container's `valueFrom` may say: ARN or name.
pub type SecretValues = BTreeMap<String, Secret>;

/// The values of `AWS::SSM::Parameter` (`Value`) resources.
pub fn of_stack(stack: &Stack) -> SecretValues {
    let mut values = SecretValues::new();
    for resource in &stack.resources {
        if resource.resource_type != "AWS::SSM::Parameter" {
            continue;
        }
        let ResourceBody::Record(body) = &resource.body else { continue };
        let Some(value) = body.get("Value").and_then(|value| value.as_str()) else { continue };
        let names = [
            Some(resource.physical_id.as_str()),
            resource.attribute("Arn"),
            body.get("Name").and_then(|name| name.as_str()),
        ];
        for name in names.into_iter().flatten() {
            values.insert(name.to_owned(), Secret::new(value.to_owned()));
        }
    }
    values
}

/// What a container's `valueFrom` stands for: a secret or parameter by ARN or
/// name, or one key of a JSON secret (`ARN:key:stage:version`, as ECS has it).
pub fn resolve(values: &SecretValues, value_from: &str) -> Option<Secret> {
    if let Some(value) = values.get(value_from) {
        return Some(value.clone());
    }
    let mut parts = value_from.splitn(8, ':');
    let arn = parts.by_ref().take(7).collect::<Vec<_>>().join(":");
    let key = parts.next()?.split(':').next()?;
    let whole: serde_json::Value = serde_json::from_str(values.get(&arn)?.expose()).ok()?;
    match whole.get(key)? {
        serde_json::Value::String(text) => Some(Secret::new(text.clone())),
        other => Some(Secret::new(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_whole_and_by_its_key() {
        let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf";
        let values = SecretValues::from([
            (arn.to_owned(), Secret::new(r#"{"user":"app","port":5432}"#.to_owned())),
            ("/shop/key".to_owned(), Secret::new("k".to_owned())),
        ]);
        let found = |from: &str| resolve(&values, from).map(|secret| secret.expose().to_owned());
        assert_eq!(found(arn).as_deref(), Some(r#"{"user":"app","port":5432}"#));
        assert_eq!(found(&format!("{arn}:user::")).as_deref(), Some("app"));
        assert_eq!(found(&format!("{arn}:port::")).as_deref(), Some("5432"));
        assert_eq!(found("/shop/key").as_deref(), Some("k"));
        assert_eq!(found(&format!("{arn}:none::")), None);
        assert_eq!(found("other"), None);
    }
}
