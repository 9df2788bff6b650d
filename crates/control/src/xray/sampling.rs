//! Sampling rules: which traces are made.
//!
//! A rule is a row of the registry, by its name. There is always the rule `Default`, of the least priority; where no row
//! says otherwise it takes one trace a second and 5 % of the others. Clients, X-Ray's SDKs, ask for rules and for their
//! share of each rule's reservoir; proxies are told of those rules that can be applied to what a proxy knows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bowline_aws::xray::{SamplingRule, SamplingRuleUpdate};
use bowline_discovery::v1;
use bowline_model::{arn::Scope, clock::Timestamp, sampling::DefaultSampling};
use serde::{Deserialize, Serialize};

use crate::{api::constraint, registry::Registry};

/// The rule that there always is.
pub(crate) const DEFAULT: &str = "Default";
/// Since when there is it: X-Ray's user guide has this moment.
const DEFAULT_SINCE: Timestamp = Timestamp::from_secs(1_529_959_993);
/// Most rules besides it. Source: X-Ray's quotas.
pub(crate) const RULES_MAX: usize = 25;
/// Most tags of a rule.
const TAGS_MAX: usize = 50;
/// Most attributes of a rule. Source: "Configure sampling rules".
const ATTRIBUTES_MAX: usize = 5;

/// A sampling rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingRuleRow {
    /// As it was given, with its name and ARN.
    pub rule: SamplingRule,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
}

/// Why a rule was not made, changed or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// It cannot be one, or there is none.
    #[error("{0}")]
    Invalid(String),
    /// It has more tags than it may have.
    #[error("A resource can have at most {TAGS_MAX} tags.")]
    TooManyTags,
    /// There are as many as there may be.
    #[error("The maximum number of sampling rules has been reached: {RULES_MAX}.")]
    Limit,
}

fn invalid(message: impl Into<String>) -> RuleError {
    RuleError::Invalid(message.into())
}

impl SamplingRuleRow {
    /// The rule that there is where nothing else was said of it. It is as old as time.
    fn default_rule(scope: &Scope, default: DefaultSampling) -> Self {
        Self {
            rule: SamplingRule {
                rule_name: Some(DEFAULT.to_owned()),
                rule_arn: Some(arn(scope, DEFAULT)),
                resource_arn: "*".to_owned(),
                priority: 10_000,
                fixed_rate: f64::from(default.per_million) / 1e6,
                reservoir_size: default.reservoir.into(),
                service_name: "*".to_owned(),
                service_type: "*".to_owned(),
                host: "*".to_owned(),
                http_method: "*".to_owned(),
                url_path: "*".to_owned(),
                version: 1,
                attributes: BTreeMap::new(),
            },
            tags: BTreeMap::new(),
            created_at: DEFAULT_SINCE,
            modified_at: DEFAULT_SINCE,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.rule.rule_name.as_deref().unwrap_or_default()
    }
}

fn arn(scope: &Scope, name: &str) -> String {
    scope.arn("xray", format_args!("sampling-rule/{name}")).to_string()
}

/// All rules, in the order in which they are tried.
pub(crate) fn all(registry: &Registry, scope: &Scope) -> Vec<SamplingRuleRow> {
    let mut rules: Vec<SamplingRuleRow> =
        registry.sampling_rules.values().map(|row| SamplingRuleRow::clone(row)).collect();
    if registry.sampling_rules.get(DEFAULT).is_none() {
        rules.push(SamplingRuleRow::default_rule(scope, registry.settings().sampling));
    }
    rules.sort_by(|a, b| (a.rule.priority, a.name()).cmp(&(b.rule.priority, b.name())));
    rules
}

/// The name of the rule that a request names in one of two ways.
pub(crate) fn named(name: Option<&str>, arn: Option<&str>) -> Result<String, RuleError> {
    match (name, arn) {
        (Some(_), Some(_)) => Err(invalid("Only one of RuleName or RuleARN may be specified.")),
        (Some(name), None) => Ok(name.to_owned()),
        (None, Some(arn)) => match arn.rsplit_once(":sampling-rule/") {
            Some((_, name)) => Ok(name.to_owned()),
            None => Err(invalid("Invalid sampling rule ARN.")),
        },
        (None, None) => Err(invalid("One of RuleName or RuleARN must be specified.")),
    }
}

/// The rule of this name.
pub(crate) fn find(registry: &Registry, scope: &Scope, name: &str) -> Result<SamplingRuleRow, RuleError> {
    match registry.sampling_rules.get(name) {
        Some(row) => Ok(SamplingRuleRow::clone(row)),
        None if name == DEFAULT => Ok(SamplingRuleRow::default_rule(scope, registry.settings().sampling)),
        None => Err(invalid("Sampling rule does not exist.")),
    }
}

fn check(rule: &SamplingRule) -> Result<(), RuleError> {
    let name = rule.rule_name.as_deref().unwrap_or_default();
    let text = |member: &str, value: &str, longest| {
        constraint::length(&format!("samplingRule.{member}"), value, 0..=longest).map_err(invalid)
    };
    constraint::length("samplingRule.ruleName", name, 1..=32).map_err(invalid)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_./ :+=@%".contains(c);
    constraint::characters("samplingRule.ruleName", name, "[a-zA-Z0-9-_./ :+=@%]+", is_name)
        .map_err(invalid)?;
    if name != DEFAULT {
        constraint::range("samplingRule.priority", rule.priority, 1..=9_999).map_err(invalid)?;
    }
    if !(0.0..=1.0).contains(&rule.fixed_rate) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{}' at 'samplingRule.fixedRate' failed to satisfy constraint: Member must have value between 0 and 1",
            rule.fixed_rate
        )));
    }
    constraint::range("samplingRule.reservoirSize", rule.reservoir_size, 0..=i64::from(u32::MAX))
        .map_err(invalid)?;
    if rule.version != 1 {
        return Err(invalid("Invalid sampling rule version."));
    }
    text("resourceARN", &rule.resource_arn, 500)?;
    text("serviceName", &rule.service_name, 64)?;
    text("serviceType", &rule.service_type, 64)?;
    text("host", &rule.host, 64)?;
    text("hTTPMethod", &rule.http_method, 10)?;
    text("uRLPath", &rule.url_path, 128)?;
    constraint::items("samplingRule.attributes", rule.attributes.len(), 0..=ATTRIBUTES_MAX)
        .map_err(invalid)?;
    for (key, value) in &rule.attributes {
        constraint::length("samplingRule.attributes", key, 1..=32).map_err(invalid)?;
        constraint::length("samplingRule.attributes", value, 1..=32).map_err(invalid)?;
    }
    Ok(())
}

/// Checks what a rule is tagged with.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), RuleError> {
    if tags.len() > TAGS_MAX {
        return Err(RuleError::TooManyTags);
    }
    for (key, value) in tags {
        constraint::length("tags", key, 1..=128).map_err(invalid)?;
        constraint::length("tags", value, 0..=256).map_err(invalid)?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys that begin with aws: are reserved."));
        }
    }
    Ok(())
}

/// Makes a rule.
pub(crate) fn create(
    registry: &mut Registry,
    scope: &Scope,
    mut rule: SamplingRule,
    tags: BTreeMap<String, String>,
    now: Timestamp,
) -> Result<SamplingRuleRow, RuleError> {
    let name = named(rule.rule_name.as_deref(), rule.rule_arn.as_deref())?;
    rule.rule_name = Some(name.clone());
    rule.rule_arn = Some(arn(scope, &name));
    if name == DEFAULT {
        return Err(invalid("The default sampling rule cannot be created."));
    }
    check(&rule)?;
    // Its model has no error of its own for that.
    check_tags(&tags).map_err(|error| invalid(error.to_string()))?;
    if registry.sampling_rules.get(&name).is_some() {
        return Err(invalid("Sampling rule already exists."));
    }
    if registry.sampling_rules.iter().filter(|(known, _)| *known != DEFAULT).count() >= RULES_MAX {
        return Err(RuleError::Limit);
    }
    let row = SamplingRuleRow { rule, tags, created_at: now, modified_at: now };
    registry.sampling_rules.put(name, row.clone());
    Ok(row)
}

/// Changes what is given of a rule.
pub(crate) fn update(
    registry: &mut Registry,
    scope: &Scope,
    update: SamplingRuleUpdate,
    now: Timestamp,
) -> Result<SamplingRuleRow, RuleError> {
    let name = named(update.rule_name.as_deref(), update.rule_arn.as_deref())?;
    let mut row = find(registry, scope, &name)?;
    if name == DEFAULT {
        let is_other = update.resource_arn.is_some()
            || update.priority.is_some()
            || update.service_name.is_some()
            || update.service_type.is_some()
            || update.host.is_some()
            || update.http_method.is_some()
            || update.url_path.is_some()
            || update.attributes.is_some();
        if is_other {
            return Err(invalid(
                "Only FixedRate and ReservoirSize of the default sampling rule can be changed.",
            ));
        }
    }
    let rule = &mut row.rule;
    fn set<T>(member: &mut T, given: Option<T>) {
        if let Some(given) = given {
            *member = given;
        }
    }
    set(&mut rule.resource_arn, update.resource_arn);
    set(&mut rule.priority, update.priority);
    set(&mut rule.fixed_rate, update.fixed_rate);
    set(&mut rule.reservoir_size, update.reservoir_size);
    set(&mut rule.service_name, update.service_name);
    set(&mut rule.service_type, update.service_type);
    set(&mut rule.host, update.host);
    set(&mut rule.http_method, update.http_method);
    set(&mut rule.url_path, update.url_path);
    set(&mut rule.attributes, update.attributes);
    check(rule)?;
    row.modified_at = now;
    registry.sampling_rules.put(name, row.clone());
    Ok(row)
}

/// Drops a rule, and gives what it was.
pub(crate) fn delete(
    registry: &mut Registry,
    scope: &Scope,
    name: &str,
) -> Result<SamplingRuleRow, RuleError> {
    if name == DEFAULT {
        return Err(invalid("The default sampling rule cannot be deleted."));
    }
    let row = find(registry, scope, name)?;
    registry.sampling_rules.remove(name);
    Ok(row)
}

/// The rules as proxies are told of them, in the order in which they are tried. A rule for resources, kinds of services
/// or attributes that no proxy has is not among them.
pub(crate) fn published(registry: &Registry) -> Vec<v1::SamplingRule> {
    let scope = registry.settings().scope.clone();
    let fits = |rule: &SamplingRule| {
        rule.resource_arn == "*"
            && rule.attributes.is_empty()
            && matches!(&*rule.service_type, "*" | "AWS::ECS::Container" | "AWS::ECS::*" | "AWS::*")
    };
    let pattern = |text: &str| if text == "*" { String::new() } else { text.to_owned() };
    all(registry, &scope)
        .into_iter()
        .filter(|row| fits(&row.rule))
        .map(|row| v1::SamplingRule {
            name: row.name().to_owned(),
            host: pattern(&row.rule.host),
            method: pattern(&row.rule.http_method),
            path: pattern(&row.rule.url_path),
            discovery_name: pattern(&row.rule.service_name),
            reservoir: u32::try_from(row.rule.reservoir_size).unwrap_or(u32::MAX),
            per_million: (row.rule.fixed_rate * 1e6).round() as u32,
        })
        .collect()
}

/// How often clients report. Source: `GetSamplingTargets` answers 10.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// How long a client counts that has not reported again.
const CLIENT_TTL: Duration = Duration::from_secs(30);

/// How long what was reported is told.
const WINDOWS_KEPT: u64 = 60;

/// Most clients that share rules; a further one gets nothing of a reservoir.
const CLIENTS_MAX: usize = 10_000;

/// What clients have told of their sampling.
#[derive(Debug, Default)]
pub(crate) struct SamplingStatistics {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// When each client has told of a rule last, by rule and client.
    clients: BTreeMap<(String, String), Timestamp>,
    /// By the number of the ten seconds and the rule.
    windows: BTreeMap<(u64, String), Counted>,
}

/// What was counted of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) requests: i64,
    pub(crate) borrowed: i64,
    pub(crate) sampled: i64,
}

impl SamplingStatistics {
    /// Takes a client's report, and tells which part of the rule's reservoir is its own.
    pub(crate) fn report(&self, rule: &SamplingRule, client: &str, counted: Counted, now: Timestamp) -> i64 {
        let name = rule.rule_name.clone().unwrap_or_default();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clients.retain(|_, at| now.since(*at) < CLIENT_TTL);
        let window = now.as_secs() / INTERVAL.as_secs();
        kept.windows.retain(|(at, _), _| at + WINDOWS_KEPT > window);
        let sum = kept.windows.entry((window, name.clone())).or_default();
        sum.requests = sum.requests.saturating_add(counted.requests);
        sum.borrowed = sum.borrowed.saturating_add(counted.borrowed);
        sum.sampled = sum.sampled.saturating_add(counted.sampled);
        let key = (name.clone(), client.to_owned());
        if !kept.clients.contains_key(&key) && kept.clients.len() >= CLIENTS_MAX {
            return 0;
        }
        kept.clients.insert(key, now);
        let mut sharing =
            kept.clients.range((name.clone(), String::new())..).take_while(|((rule, _), _)| *rule == name);
        let count = sharing.clone().count() as i64;
        let rank = sharing.position(|((_, other), _)| other == client).unwrap_or(0) as i64;
        let (each, over) = (rule.reservoir_size / count.max(1), rule.reservoir_size % count.max(1));
        each + i64::from(rank < over)
    }

    /// What was reported lately: the beginning of each ten seconds, the rule, and what was counted.
    pub(crate) fn told(&self) -> Vec<(Timestamp, String, Counted)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |((window, rule), counted): (&(u64, String), &Counted)| {
            (Timestamp::from_secs(window * INTERVAL.as_secs()), rule.clone(), *counted)
        };
        kept.windows.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservoir_is_shared_to_the_last_one() {
        let statistics = SamplingStatistics::default();
        let mut rule = SamplingRuleRow::default_rule(&Scope::default(), DefaultSampling::default()).rule;
        rule.reservoir_size = 7;
        let now = Timestamp::from_secs(1_000);
        let counted = Counted { requests: 5, borrowed: 1, sampled: 2 };
        let clients = ["a", "b", "c"];
        clients.iter().for_each(|client| {
            statistics.report(&rule, client, counted, now);
        });
        let shares: Vec<i64> =
            clients.iter().map(|client| statistics.report(&rule, client, counted, now)).collect();
        assert_eq!(shares, [3, 2, 2]);
        let later = now + CLIENT_TTL;
        assert_eq!(statistics.report(&rule, "b", counted, later), 7, "the others are gone");
        let told = statistics.told();
        assert_eq!(told[0].2, Counted { requests: 30, borrowed: 6, sampled: 12 });
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn proxies_are_told_of_what_they_can_apply() {
        let mut registry = Registry::default();
        let scope = Scope::default();
        let rule = |name: &str, priority: i64| SamplingRule {
            rule_name: Some(name.to_owned()),
            rule_arn: None,
            priority,
            fixed_rate: 0.25,
            reservoir_size: 3,
            url_path: "/pay/*".to_owned(),
            ..SamplingRuleRow::default_rule(&scope, DefaultSampling::default()).rule
        };
        let now = Timestamp::from_secs(1);
        create(&mut registry, &scope, rule("late", 20), BTreeMap::new(), now).expect("made");
        create(&mut registry, &scope, rule("early", 10), BTreeMap::new(), now).expect("made");
        let lambda = SamplingRule { service_type: "AWS::Lambda::Function".into(), ..rule("lambda", 5) };
        create(&mut registry, &scope, lambda, BTreeMap::new(), now).expect("made");
        let told = published(&registry);
        let names: Vec<&str> = told.iter().map(|rule| &*rule.name).collect();
        assert_eq!(names, ["early", "late", DEFAULT]);
        assert_eq!(
            (&*told[0].path, told[0].per_million, told[0].reservoir, &*told[0].host),
            ("/pay/*", 250_000, 3, "")
        );
    }
}
