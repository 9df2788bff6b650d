//! From JSON to policies. Every element is known, or it is an error.

use std::collections::HashSet;

use super::{
    Effect, MalformedPolicyDocument, POLICY_BYTES_MAX, Policy, PolicyKind, Selection, Statement,
    condition::{Condition, Operator},
    json::Json,
    pattern::{ArnPattern, Pattern, Syntax},
    principal::PrincipalSet,
};

type Parsed<T> = Result<T, MalformedPolicyDocument>;
type Object = [(String, Json)];

fn fail<T>(path: &str, reason: impl Into<String>) -> Parsed<T> {
    Err(MalformedPolicyDocument::new(path, reason))
}

pub(super) fn policy(kind: PolicyKind, document: &str, characters_max: usize) -> Parsed<Policy> {
    if document.len() > POLICY_BYTES_MAX {
        return fail("", format!("the document is longer than {POLICY_BYTES_MAX} bytes"));
    }
    if document.chars().filter(|c| !c.is_whitespace()).count() > characters_max {
        let reason =
            format!("the document is longer than {characters_max} characters, white space not counted");
        return fail("", reason);
    }
    let json: Json = match serde_json::from_str(document) {
        Ok(json) => json,
        Err(error) => return fail("", format!("the document is not JSON: {error}")),
    };
    let object = object("", &json)?;
    known("", object, &["Version", "Id", "Statement"])?;
    let variables = match get(object, "Version").map(|json| string("Version", json)).transpose()? {
        Some("2012-10-17") => true,
        Some("2008-10-17") | None => false,
        Some(_) => return fail("Version", "must be 2012-10-17 or 2008-10-17"),
    };
    let id = get(object, "Id").map(|json| string("Id", json)).transpose()?.map(Into::into);
    let statements = match get(object, "Statement") {
        Some(Json::Array(statements)) if statements.is_empty() => {
            return fail("Statement", "must have at least one statement");
        }
        Some(Json::Array(statements)) => statements
            .iter()
            .enumerate()
            .map(|(index, json)| statement(kind, variables, &format!("Statement[{index}]"), json))
            .collect::<Parsed<Vec<_>>>()?,
        Some(json) => vec![statement(kind, variables, "Statement", json)?],
        None => return fail("Statement", "is required"),
    };
    let mut sids = HashSet::new();
    for sid in statements.iter().filter_map(Statement::sid) {
        if !sids.insert(sid) {
            return fail(
                "Statement",
                format!("the Sid {sid:?} is given twice; it must be unique in a policy"),
            );
        }
    }
    Ok(Policy { kind, id, statements })
}

fn statement(kind: PolicyKind, variables: bool, path: &str, json: &Json) -> Parsed<Statement> {
    let fields = object(path, json)?;
    let allowed: &[&str] = match kind {
        PolicyKind::Identity => {
            &["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"]
        }
        PolicyKind::Resource => &[
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ],
        PolicyKind::Trust => {
            &["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"]
        }
    };
    known(path, fields, allowed)?;
    let at = |name: &str| format!("{path}.{name}");
    let sid = match get(fields, "Sid").map(|json| string(&at("Sid"), json)).transpose()? {
        Some(sid)
            if kind == PolicyKind::Identity && !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            return fail(&at("Sid"), "must be letters and digits (a-z, A-Z, 0-9)");
        }
        Some("") | None => None,
        Some(sid) => Some(sid.to_owned()),
    };
    let effect = match get(fields, "Effect").map(|json| string(&at("Effect"), json)).transpose()? {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(_) => return fail(&at("Effect"), "must be Allow or Deny"),
        None => return fail(&at("Effect"), "is required"),
    };
    let principals = match kind {
        PolicyKind::Identity => None,
        PolicyKind::Resource | PolicyKind::Trust => {
            Some(either(path, fields, "Principal", "NotPrincipal", principals)?)
        }
    };
    if effect == Effect::Allow && matches!(principals, Some(Selection::AllBut(_))) {
        return fail(&at("NotPrincipal"), "is for the Effect Deny only: it would allow everybody else");
    }
    let actions = either(path, fields, "Action", "NotAction", |path, json| {
        list(path, json)?.iter().map(|(path, text)| action(path, text)).collect()
    })?;
    let resources = match kind {
        PolicyKind::Trust => None,
        PolicyKind::Identity | PolicyKind::Resource => {
            Some(either(path, fields, "Resource", "NotResource", |path, json| {
                let compile = |(path, text): &(String, String)| {
                    ArnPattern::parse(text, variables).or_else(|reason| fail(path, reason))
                };
                list(path, json)?.iter().map(compile).collect()
            })?)
        }
    };
    let conditions = get(fields, "Condition")
        .map_or(Ok(Vec::new()), |json| conditions(variables, &at("Condition"), json))?;
    Ok(Statement { sid, effect, principals, actions, resources, conditions })
}

/// An element of which the statement must have either the plain form or the `Not…` form.
fn either<T>(
    path: &str,
    fields: &Object,
    name: &str,
    not_name: &str,
    read: impl Fn(&str, &Json) -> Parsed<T>,
) -> Parsed<Selection<T>> {
    match (get(fields, name), get(fields, not_name)) {
        (Some(json), None) => read(&format!("{path}.{name}"), json).map(Selection::Only),
        (None, Some(json)) => read(&format!("{path}.{not_name}"), json).map(Selection::AllBut),
        (Some(_), Some(_)) => fail(path, format!("has both {name} and {not_name}; it must have one of them")),
        (None, None) => fail(path, format!("must have {name} or {not_name}")),
    }
}

fn action(path: &str, text: &str) -> Parsed<Pattern> {
    let vendor = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name = |c: char| c.is_ascii_alphanumeric() || "*?-_".contains(c);
    let well_formed = matches!(text, "*" | "*:*")
        || text.split_once(':').is_some_and(|(before, after)| {
            !before.is_empty() && before.chars().all(vendor) && !after.is_empty() && after.chars().all(name)
        });
    if !well_formed {
        let reason =
            format!("{text:?} must be \"*\" or prefaced by a vendor, such as ecs:CreateService or ecs:*");
        return fail(path, reason);
    }
    let syntax = Syntax { wildcards: true, variables: false };
    Pattern::parse(&text.to_ascii_lowercase(), syntax).or_else(|reason| fail(path, reason))
}

fn principals(path: &str, json: &Json) -> Parsed<PrincipalSet> {
    let mut set = PrincipalSet::default();
    let fields = match json {
        Json::String(text) if text == "*" => {
            set.everybody = true;
            return Ok(set);
        }
        Json::Object(fields) if !fields.is_empty() => fields,
        _ => return fail(path, "must be \"*\" or an object of AWS, Service and Federated"),
    };
    known(path, fields, &["AWS", "Service", "Federated"])?;
    for (kind, json) in fields {
        for (path, text) in list(&format!("{path}.{kind}"), json)? {
            match kind.as_str() {
                "AWS" => aws_principal(&mut set, &path, &text)?,
                _ if text.is_empty() || text.contains(['*', '?']) => {
                    return fail(&path, "must be a name without wildcards");
                }
                "Service" => set.services.push(text),
                _ => set.providers.push(text),
            }
        }
    }
    Ok(set)
}

fn aws_principal(set: &mut PrincipalSet, path: &str, text: &str) -> Parsed<()> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if text == "*" {
        set.everybody = true;
        return Ok(());
    }
    if is_account(text) {
        set.accounts.push(text.to_owned());
        return Ok(());
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        _ if text.contains(['*', '?']) => fail(path, "must not hold wildcards, unless it is \"*\""),
        ["arn", partition, "iam" | "sts", "", account, resource]
            if !partition.is_empty() && is_account(account) && !resource.is_empty() =>
        {
            if *resource == "root" {
                set.accounts.push((*account).to_owned());
            } else {
                set.arns.push(text.to_owned());
            }
            Ok(())
        }
        _ => fail(path, format!("{text:?} must be \"*\", an account id or an ARN of IAM or STS")),
    }
}

fn conditions(variables: bool, path: &str, json: &Json) -> Parsed<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (name, json) in object(path, json)? {
        let path = format!("{path}.{name}");
        let operator = Operator::parse(name).or_else(|reason| fail(&path, reason))?;
        for (key, json) in object(&path, json)? {
            let path = format!("{path}.{key}");
            if key.split_once(':').is_none_or(|(vendor, name)| vendor.is_empty() || name.is_empty()) {
                return fail(&path, "is no condition key; one is vendor:key, such as aws:SourceIp");
            }
            let scalar = |path: &str, json: &Json| match json {
                Json::String(text) | Json::Number(text) => Ok(text.clone()),
                Json::Bool(value) => Ok(value.to_string()),
                _ => fail(path, "must be a string, a number or a boolean, or a list of these"),
            };
            let values = match json {
                Json::Array(items) if items.is_empty() => return fail(&path, "must have at least one value"),
                Json::Array(items) => items
                    .iter()
                    .enumerate()
                    .map(|(index, json)| scalar(&format!("{path}[{index}]"), json))
                    .collect::<Parsed<Vec<_>>>()?,
                json => vec![scalar(&path, json)?],
            };
            let condition = Condition::parse(operator, key, &values, variables);
            conditions.push(condition.or_else(|reason| fail(&path, reason))?);
        }
    }
    Ok(conditions)
}

/// One string or several, each with its path.
fn list(path: &str, json: &Json) -> Parsed<Vec<(String, String)>> {
    match json {
        Json::String(text) => Ok(vec![(path.to_owned(), text.clone())]),
        Json::Array(items) if items.is_empty() => fail(path, "must have at least one item"),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, json)| {
                let path = format!("{path}[{index}]");
                let text = string(&path, json)?.to_owned();
                Ok((path, text))
            })
            .collect(),
        _ => fail(path, "must be a string or a list of strings"),
    }
}

fn object<'a>(path: &str, json: &'a Json) -> Parsed<&'a Object> {
    match json {
        Json::Object(fields) => Ok(fields),
        _ => fail(path, "must be a JSON object"),
    }
}

fn string<'a>(path: &str, json: &'a Json) -> Parsed<&'a str> {
    match json {
        Json::String(text) => Ok(text),
        _ => fail(path, "must be a string"),
    }
}

fn get<'a>(fields: &'a Object, name: &str) -> Option<&'a Json> {
    fields.iter().find(|(other, _)| other == name).map(|(_, json)| json)
}

fn known(path: &str, fields: &Object, allowed: &[&str]) -> Parsed<()> {
    match fields.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
        Some((name, _)) => {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            fail(&path, format!("is not known here; there are {}", allowed.join(", ")))
        }
        None => Ok(()),
    }
}
