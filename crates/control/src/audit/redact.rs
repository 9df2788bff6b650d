//! Secrets never reach the trail.

use serde_json::{Map, Value};

/// What stands in a secret's place, as `CloudTrail` writes it.
pub(super) const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";
/// What stands in the place of what is nested too deeply to look through.
const TOO_DEEP: &str = "OMITTED_NESTED_TOO_DEEPLY";
/// Deeper values are left out. AWS's own requests have about 10 levels.
const DEPTH_MAX: usize = 48;
/// So many hidden values are looked for in the error message.
const REMEMBERED_MAX: usize = 64;
/// A shorter one would be found in every message.
const REMEMBERED_BYTES_MIN: usize = 4;

/// Names whose value is always secret, and every name that ends with one:
/// `MasterUserPassword`. Lower case, letters and digits only.
const DENIED_ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "privatekey",
    "secretkey",
    "secretaccesskey",
    "sessiontoken",
    "securitytoken",
    "accesstoken",
    "authtoken",
    "refreshtoken",
    "secretstring",
    "secretbinary",
    "clientsecret",
    "plaintext",
    "ciphertextblob",
    "granttoken",
    "granttokens",
    "credentials",
    // A template is text that holds anything, secrets too.
    "templatebody",
];

/// Lists and maps in which everything but names and references is secret.
/// AWS hides the environment of a task definition as well.
const DENIED_CONTAINERS: &[&str] = &["environment", "environmentvariables", "secretoptions", "secrets"];
/// What remains readable in those.
const SHOWN_IN_CONTAINERS: &[&str] = &["name", "valuefrom", "type", "containername"];

/// Names of the two halves of an entry that says its own name.
const ENTRY_NAMES: &[&str] = &["name", "key", "parameterkey"];
const ENTRY_VALUES: &[&str] = &["value", "parametervalue", "defaultvalue"];

/// Hides what is secret, and remembers it.
pub(super) struct Redactor {
    /// The caller's names, normalized.
    names: Vec<String>,
    /// What was hidden, to be hidden where it was repeated.
    remembered: Vec<String>,
}

impl Redactor {
    /// One that hides the values of these names too.
    pub(super) fn new(names: &[String]) -> Self {
        Self { names: names.iter().map(|name| normalized(name)).collect(), remembered: Vec::new() }
    }

    /// Hides the secrets within.
    pub(super) fn redact(&mut self, value: &mut Value) {
        self.walk(value, false, 0);
    }

    /// The text without any of the secrets hidden before.
    pub(super) fn redact_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.remembered {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        text
    }

    fn walk(&mut self, value: &mut Value, in_container: bool, depth: usize) {
        if depth > DEPTH_MAX {
            *value = Value::from(TOO_DEEP);
            return;
        }
        match value {
            Value::Object(members) => self.walk_members(members, in_container, depth),
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, in_container, depth + 1)),
            Value::Null => {}
            scalar if in_container => *scalar = Value::from(HIDDEN),
            Value::String(text) => self.walk_text(text, depth),
            Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn walk_members(&mut self, members: &mut Map<String, Value>, in_container: bool, depth: usize) {
        let secret_entry = self.is_secret_entry(members);
        for (name, value) in members.iter_mut() {
            let name = normalized(name);
            let shown = SHOWN_IN_CONTAINERS.contains(&name.as_str());
            if self.is_secret(&name) || secret_entry && ENTRY_VALUES.contains(&name.as_str()) {
                self.hide(value);
            } else if DENIED_CONTAINERS.contains(&name.as_str()) {
                self.walk(value, true, depth + 1);
            } else {
                // Shown is a plain name, never a structure that hides there.
                let hidden = in_container && !(shown && !value.is_object() && !value.is_array());
                self.walk(value, hidden, depth + 1);
            }
        }
    }

    /// Text that is JSON itself: a document within the document.
    fn walk_text(&mut self, text: &mut String, depth: usize) {
        if !text.trim_start().starts_with(['{', '[', '"']) {
            return;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(mut inner) => {
                let before = inner.clone();
                self.walk(&mut inner, false, depth + 1);
                // Untouched text stays as it was written.
                if inner != before {
                    *text = inner.to_string();
                }
            }
            // Cut short, or nested past the parser's limit: it cannot be
            // looked through, so the mere name of a secret hides it.
            Err(_) => {
                let plain = normalized(text);
                let own = self.names.iter().map(String::as_str);
                if DENIED_ENDINGS.iter().copied().chain(own).any(|name| plain.contains(name)) {
                    HIDDEN.clone_into(text);
                }
            }
        }
    }

    fn is_secret(&self, name: &str) -> bool {
        DENIED_ENDINGS.iter().any(|ending| name.ends_with(ending)) || self.names.iter().any(|own| own == name)
    }

    /// `{"ParameterKey": "DbPassword", "ParameterValue": …}`, or a parameter of
    /// type `SecureString`.
    fn is_secret_entry(&self, members: &Map<String, Value>) -> bool {
        members.iter().any(|(name, value)| {
            let (name, Some(value)) = (normalized(name), value.as_str()) else { return false };
            ENTRY_NAMES.contains(&name.as_str()) && self.is_secret(&normalized(value))
                || name == "type" && value == "SecureString"
        })
    }

    fn hide(&mut self, value: &mut Value) {
        if value.is_null() {
            return;
        }
        if let Value::String(text) = value
            && text.len() >= REMEMBERED_BYTES_MIN
            && self.remembered.len() < REMEMBERED_MAX
        {
            self.remembered.push(std::mem::take(text));
        }
        *value = Value::from(HIDDEN);
    }
}

/// `secret_string`, `SecretString` and `secret-string` are one name.
fn normalized(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redacted(mut value: Value, names: &[&str]) -> Value {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Redactor::new(&names).redact(&mut value);
        value
    }

    #[test]
    fn hides_values_of_denied_names_and_of_the_callers() {
        let value = json!({"name": "db", "SecretString": "s3cret", "secretBinary": [1, 2], "token": "t", "n": null,
            "nextToken": "page", "Password": null});
        assert_eq!(
            redacted(value, &["Token"]),
            json!({"name": "db", "SecretString": HIDDEN, "secretBinary": HIDDEN, "token": HIDDEN, "n": null,
                "nextToken": "page", "Password": null})
        );
    }

    #[test]
    fn shows_what_an_environment_holds_by_name_only() {
        let value = json!({"containerDefinitions": [{
            "environment": [{"name": "URL", "value": "postgres://u:p@db"}],
            "secrets": [{"name": "KEY", "valueFrom": "arn:aws:secretsmanager:…"}],
            "logConfiguration": {"options": {"a": "b"}, "secretOptions": [{"name": "apikey", "value": "hunter2"}]},
        }], "environment": {"variables": {"A": "hunter2", "name": {"value": "hunter2"}}}});
        assert_eq!(
            redacted(value, &[]),
            json!({"containerDefinitions": [{
                "environment": [{"name": "URL", "value": HIDDEN}],
                "secrets": [{"name": "KEY", "valueFrom": "arn:aws:secretsmanager:…"}],
                "logConfiguration": {"options": {"a": "b"}, "secretOptions": [{"name": "apikey", "value": HIDDEN}]},
            }], "environment": {"variables": {"A": HIDDEN, "name": {"value": HIDDEN}}}})
        );
    }

    #[test]
    fn an_entry_that_says_its_own_name_is_hidden() {
        let value = json!([{"ParameterKey": "DbPassword", "ParameterValue": "x"}, {"Name": "/p", "Type": "SecureString",
            "Value": "x"}, {"key": "team", "value": "a"}]);
        assert_eq!(
            redacted(value, &[]),
            json!([{"ParameterKey": "DbPassword", "ParameterValue": HIDDEN}, {"Name": "/p", "Type": "SecureString",
                "Value": HIDDEN}, {"key": "team", "value": "a"}])
        );
    }

    #[test]
    fn a_secret_is_hidden_where_a_message_repeats_it() {
        let mut redactor = Redactor::new(&[]);
        redactor.redact(&mut json!({"password": "hunter2"}));
        assert_eq!(redactor.redact_text("hunter2 is too weak"), format!("{HIDDEN} is too weak"));
    }

    #[test]
    fn json_that_cannot_be_parsed_is_hidden_if_it_names_a_secret() {
        let deep = format!("{}{{\"password\": \"x\"}}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(
            redacted(json!({"a": deep, "b": "{\"pass\\u0077ord: x", "c": "[a-z]+"}), &["pass"]),
            json!({"a": HIDDEN, "b": HIDDEN, "c": "[a-z]+"})
        );
    }

    #[test]
    fn json_without_secrets_stays_as_it_was_written() {
        let text = "{ \"a\" :  1 }";
        assert_eq!(redacted(json!({"policy": text}), &[]), json!({"policy": text}));
    }

    /// One step outwards from a value.
    #[derive(Debug, Clone)]
    enum Layer {
        Array(Vec<String>),
        Object(String, Vec<(String, i32)>),
        Text,
    }

    fn layer() -> impl Strategy<Value = Layer> {
        prop_oneof![
            prop::collection::vec("[a-z]{0,5}", 0..3).prop_map(Layer::Array),
            ("\\PC{0,8}", prop::collection::vec(("[a-z]{0,5}", any::<i32>()), 0..3))
                .prop_map(|(name, members)| Layer::Object(name, members)),
            Just(Layer::Text),
        ]
    }

    fn wrap(value: Value, layer: &Layer) -> Value {
        match layer {
            Layer::Array(items) => items.iter().map(|item| json!(item)).chain([value]).collect(),
            Layer::Object(name, members) => {
                let mut object: Map<String, Value> =
                    members.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                object.insert(name.clone(), value);
                Value::Object(object)
            }
            Layer::Text => Value::String(value.to_string()),
        }
    }

    fn secret_name() -> impl Strategy<Value = String> {
        const NAMES: &[&str] = &[
            "SecretString",
            "secret_string",
            "SecretBinary",
            "Password",
            "MASTER-USER-PASSWORD",
            "SecretAccessKey",
            "SessionToken",
            "privateKey",
            "PrivateKey",
            "Passphrase",
            "TemplateBody",
            "callersOwn",
            "CALLERS_OWN",
        ];
        prop::sample::select(NAMES).prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn a_secret_under_any_nesting_is_hidden(
            name in secret_name(),
            inside in prop::collection::vec(layer(), 0..4),
            outside in prop::collection::vec(layer(), 0..8),
            in_options in any::<bool>(),
        ) {
            const SECRET: &str = "correct-horse-battery-staple";
            let secret = inside.iter().fold(json!(SECRET), wrap);
            let object = if in_options {
                json!({"secretOptions": [{"name": name, "value": secret}]})
            } else {
                json!({"before": 1, name: secret, "after": [2]})
            };
            let value = outside.iter().fold(object, wrap);
            prop_assert!(value.to_string().contains(SECRET));
            let hidden = redacted(value, &["callersown"]);
            prop_assert!(!hidden.to_string().contains(SECRET), "{}", hidden);
        }
    }
}
