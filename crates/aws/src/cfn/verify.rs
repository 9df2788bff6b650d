//! What can be found wrong without knowing the parameters: names that refer to nothing, calls of
//! the wrong form, properties that do not exist, cycles.

use std::collections::{HashMap, HashSet};

use super::diagnostic::{Diagnostic, Report, Span};
use super::intrinsic::{self, Attribute, Call, Piece};
use super::template::{Resource, Template};
use super::tree::{Entry, Kind, Node, Path};
use super::{rules, schema};

/// The pseudo parameters, which `Ref` and `Fn::Sub` know in every template.
pub(super) const PSEUDO_PARAMETERS: &[&str] = &[
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

pub(super) fn verify(template: &Template, report: &mut Report) {
    let mut verifier = Verifier { template, report };
    verifier.mappings();
    verifier.conditions();
    verifier.resources();
    verifier.outputs();
    verifier.cycles();
    rules::check(&rules::Declared(template), verifier.report);
}

/// Where a value stands: what it may refer to depends on that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope<'t> {
    Condition,
    Resource(&'t str),
    Output,
}

struct Verifier<'t, 'r> {
    template: &'t Template,
    report: &'r mut Report,
}

impl<'t> Verifier<'t, '_> {
    fn mappings(&mut self) {
        let section = Path::Root.key("Mappings");
        for mapping in &self.template.mappings {
            let path = section.key(&mapping.key);
            for top in super::template::map(&mapping.value, &path, self.report) {
                let path = path.key(&top.key);
                for second in super::template::map(&top.value, &path, self.report) {
                    let values = second.value.list().unwrap_or(std::slice::from_ref(&second.value));
                    if values.iter().any(|value| value.text().is_none()) {
                        let path = path.key(&second.key);
                        super::template::wrong_type(
                            "a string or a list of strings",
                            &second.value,
                            &path,
                            self.report,
                        );
                    }
                }
            }
        }
    }

    fn conditions(&mut self) {
        let section = Path::Root.key("Conditions");
        for condition in &self.template.conditions {
            self.condition(&condition.value, &section.key(&condition.key));
        }
        // A condition that is defined by itself has no value.
        for condition in &self.template.conditions {
            let mut seen = HashSet::new();
            let mut pending = named_conditions(&condition.value);
            while let Some(name) = pending.pop() {
                if name == condition.key {
                    let message = format!("the condition `{name}` depends on itself");
                    let path = section.key(name);
                    self.report.push(Diagnostic::error(
                        "circular-condition",
                        condition.key_span,
                        path,
                        message,
                    ));
                    break;
                }
                if seen.insert(name) {
                    pending.extend(
                        self.template
                            .condition(name)
                            .map(|it| named_conditions(&it.value))
                            .unwrap_or_default(),
                    );
                }
            }
        }
    }

    /// A place where the value must be a condition.
    fn condition(&mut self, node: &'t Node, path: &Path<'_>) {
        match intrinsic::parse(node, true) {
            Some(Ok(Call::Equals(a, b))) => {
                self.value(a, path, Scope::Condition);
                self.value(b, path, Scope::Condition);
            }
            Some(Ok(Call::And(list) | Call::Or(list))) => {
                list.iter().enumerate().for_each(|(i, item)| self.condition(item, &path.index(i)));
            }
            Some(Ok(Call::Not(inner))) => self.condition(inner, path),
            Some(Ok(Call::Condition(name))) => self.condition_exists(name, node.span, path),
            Some(Err(fault)) => self.malformed(fault, path),
            _ => {
                let message = format!("expected a condition, found {}", node.kind_name());
                let fault = Diagnostic::error("wrong-type", node.span, path, message);
                self.report
                    .push(fault.help("a condition is Fn::Equals, Fn::And, Fn::Or, Fn::Not or Condition"));
            }
        }
    }

    fn condition_exists(&mut self, name: &str, span: Span, path: &Path<'_>) {
        if self.template.condition(name).is_none() {
            let message = format!("there is no condition `{name}`");
            let fault = Diagnostic::error("unknown-condition", span, path, message);
            self.report.push(fault.suggest(name, self.template.conditions.iter().map(|it| it.key.as_str())));
        }
    }

    fn malformed(&mut self, fault: intrinsic::Malformed, path: &Path<'_>) {
        let diagnostic = Diagnostic::error(fault.code, fault.span, path, fault.message);
        self.report.push(fault.help.into_iter().fold(diagnostic, Diagnostic::help));
    }

    fn resources(&mut self) {
        let section = Path::Root.key("Resources");
        for resource in &self.template.resources {
            let path = section.key(&resource.logical_id);
            for (name, span) in &resource.depends_on {
                let path = path.key("DependsOn");
                if *name == resource.logical_id {
                    let message = format!("`{name}` depends on itself");
                    self.report.push(Diagnostic::error("circular-dependency", *span, path, message));
                } else if self.template.resource(name).is_none() {
                    let message = format!("there is no resource `{name}`");
                    let fault = Diagnostic::error("unknown-resource", *span, path, message);
                    self.report.push(fault.suggest(name, self.resource_names()));
                }
            }
            if let Some((name, span)) = &resource.condition {
                self.condition_exists(name, *span, &path.key("Condition"));
            }
            let path = path.key("Properties");
            self.value(&resource.properties, &path, Scope::Resource(&resource.logical_id));
            if let Some(known) = resource.resource_type {
                schema::check(&known.properties, &resource.properties, known.name, &path, self.report);
            }
        }
    }

    fn outputs(&mut self) {
        let section = Path::Root.key("Outputs");
        for output in &self.template.outputs {
            let path = section.key(&output.name);
            if let Some((name, span)) = &output.condition {
                self.condition_exists(name, *span, &path.key("Condition"));
            }
            self.value(&output.value, &path.key("Value"), Scope::Output);
            if let Some(name) = &output.export_name {
                self.value(name, &path.key("Export").key("Name"), Scope::Output);
            }
        }
    }

    fn resource_names(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.template.resources.iter().map(|resource| resource.logical_id.as_str())
    }

    /// Walks a value and checks every call in it.
    fn value(&mut self, node: &'t Node, path: &Path<'_>, scope: Scope<'t>) {
        let Some(call) = intrinsic::parse(node, false) else {
            match &node.kind {
                Kind::List(items) => {
                    items.iter().enumerate().for_each(|(i, item)| self.value(item, &path.index(i), scope));
                }
                Kind::Map(entries) => self.entries(entries, path, scope),
                _ => {}
            }
            return;
        };
        match call {
            Err(fault) => self.malformed(fault, path),
            Ok(Call::Ref(name)) => self.reference(name, node.span, path, scope),
            Ok(Call::GetAtt { resource, attribute }) => {
                let name = match attribute {
                    Attribute::Named(name) => Some(name),
                    Attribute::Computed(node) => {
                        self.value(node, path, scope);
                        None
                    }
                };
                self.attribute(resource, name, node.span, path, scope);
            }
            Ok(Call::Sub { pieces, variables }) => {
                for piece in pieces {
                    let Piece::Name(name) = piece else { continue };
                    if variables.iter().any(|variable| variable.key == name) {
                        continue;
                    }
                    match name.split_once('.') {
                        Some((resource, attribute)) => {
                            self.attribute(resource, Some(attribute), node.span, path, scope);
                        }
                        None => self.reference(name, node.span, path, scope),
                    }
                }
                variables.iter().for_each(|variable| self.value(&variable.value, path, scope));
            }
            Ok(Call::If { condition, then, otherwise }) => {
                self.condition_exists(condition, node.span, path);
                self.value(then, path, scope);
                self.value(otherwise, path, scope);
            }
            Ok(Call::FindInMap(arguments)) => {
                self.find_in_map(arguments, path);
                arguments.into_iter().for_each(|argument| self.value(argument, path, scope));
            }
            Ok(Call::Join { items, .. }) => self.list(items, "Fn::Join", path, scope),
            Ok(Call::Select { index, items }) => {
                self.value(index, path, scope);
                self.list(items, "Fn::Select", path, scope);
            }
            Ok(
                Call::Split { source: value, .. }
                | Call::Base64(value)
                | Call::GetAzs(value)
                | Call::ImportValue(value),
            ) => {
                self.value(value, path, scope);
            }
            Ok(Call::Cidr { block, count, bits }) => {
                [Some(block), Some(count), bits]
                    .into_iter()
                    .flatten()
                    .for_each(|it| self.value(it, path, scope));
            }
            Ok(Call::Equals(..) | Call::And(_) | Call::Or(_) | Call::Not(_) | Call::Condition(_)) => {
                let message = "a condition function stands only in the section `Conditions`";
                let fault = Diagnostic::error("misplaced-function", node.span, path, message);
                self.report.push(fault.help("define a condition and use Fn::If with its name"));
            }
        }
    }

    fn entries(&mut self, entries: &'t [Entry], path: &Path<'_>, scope: Scope<'t>) {
        for entry in entries {
            // With other keys beside it, a function is not called.
            if entry.key.starts_with("Fn::") || (entry.key == "Ref" && entries.len() > 1) {
                let message = format!("`{}` must be the only key of its map", entry.key);
                self.report.push(Diagnostic::error("malformed-function", entry.key_span, path, message));
            }
            self.value(&entry.value, &path.key(&entry.key), scope);
        }
    }

    fn list(&mut self, items: &'t Node, function: &str, path: &Path<'_>, scope: Scope<'t>) {
        if items.list().is_none() && !intrinsic::is_call(items) {
            let message = format!("{function} wants a list, found {}", items.kind_name());
            self.report.push(Diagnostic::error("malformed-function", items.span, path, message));
        }
        self.value(items, path, scope);
    }

    fn reference(&mut self, name: &str, span: Span, path: &Path<'_>, scope: Scope<'_>) {
        let known = if name.starts_with("AWS::") {
            PSEUDO_PARAMETERS.contains(&name)
        } else {
            self.template.parameter(name).is_some() || self.template.resource(name).is_some()
        };
        if !known {
            let parameters = self.template.parameters.iter().map(|parameter| parameter.name.as_str());
            let candidates: Vec<&str> =
                parameters.chain(self.resource_names()).chain(PSEUDO_PARAMETERS.iter().copied()).collect();
            let message = format!("`{name}` is neither a resource nor a parameter of the template");
            let mut fault = Diagnostic::error("unknown-reference", span, path, message);
            if let Some(nearest) = super::suggest::nearest(name, candidates) {
                fault = fault.help(format!("did you mean `{nearest}`?"));
            }
            self.report.push(fault);
        } else if scope == Scope::Condition && self.template.resource(name).is_some() {
            self.resource_in_condition(name, span, path);
        } else if scope == Scope::Resource(name) {
            let message = format!("`{name}` refers to itself");
            self.report.push(Diagnostic::error("circular-dependency", span, path, message));
        }
    }

    fn resource_in_condition(&mut self, name: &str, span: Span, path: &Path<'_>) {
        let message = format!("a condition cannot refer to the resource `{name}`, only to parameters");
        self.report.push(Diagnostic::error("misplaced-function", span, path, message));
    }

    fn attribute(
        &mut self,
        name: &str,
        attribute: Option<&str>,
        span: Span,
        path: &Path<'_>,
        scope: Scope<'_>,
    ) {
        let Some(resource) = self.template.resource(name) else {
            let message = format!("there is no resource `{name}`");
            let fault = Diagnostic::error("unknown-resource", span, path, message);
            self.report.push(match self.template.parameter(name) {
                Some(_) => fault.help("it is a parameter, which has no attributes"),
                None => fault.suggest(name, self.resource_names()),
            });
            return;
        };
        if scope == Scope::Condition {
            return self.resource_in_condition(name, span, path);
        }
        if scope == Scope::Resource(name) {
            let message = format!("`{name}` refers to itself");
            return self.report.push(Diagnostic::error("circular-dependency", span, path, message));
        }
        if let (Some(known), Some(attribute)) = (resource.resource_type, attribute)
            && !known.attributes.contains(&attribute)
        {
            let message = format!("{} has no attribute `{attribute}`", known.name);
            let fault = Diagnostic::error("unknown-attribute", span, path, message);
            self.report.push(if known.attributes.is_empty() {
                fault.help("it has none; use Ref")
            } else {
                fault.suggest(attribute, known.attributes.iter().copied())
            });
        }
    }

    fn find_in_map(&mut self, [map, top, second]: [&'t Node; 3], path: &Path<'_>) {
        let Some(name) = map.str() else { return };
        let missing = |what: &str, name: &str, node: &Node, entries: &[Entry]| {
            let message = format!("there is no {what} `{name}`");
            let fault = Diagnostic::error("unknown-map-key", node.span, path, message);
            fault.suggest(name, entries.iter().map(|entry| entry.key.as_str()))
        };
        let mappings = &self.template.mappings;
        let Some(mapping) = mappings.iter().find(|mapping| mapping.key == name) else {
            return self.report.push(missing("mapping", name, map, mappings));
        };
        let Some(top_name) = top.str() else { return };
        let Some(found) = mapping.value.get(top_name) else {
            let entries = mapping.value.map().unwrap_or_default();
            return self.report.push(missing("top-level key", top_name, top, entries));
        };
        let Some(second_name) = second.str() else { return };
        if found.get(second_name).is_none() {
            let entries = found.map().unwrap_or_default();
            self.report.push(missing("second-level key", second_name, second, entries));
        }
    }

    /// Cycles through references that hold whatever the parameters are.
    fn cycles(&mut self) {
        let mut edges: HashMap<&str, Vec<&str>> = HashMap::new();
        for resource in self.template.resources.iter().filter(|resource| resource.condition.is_none()) {
            let found = edges.entry(resource.logical_id.as_str()).or_default();
            found.extend(resource.depends_on.iter().map(|(name, _)| name.as_str()));
            unconditional_references(&resource.properties, found);
        }
        report_cycle(self.template.resources.iter(), &edges, self.report);
    }
}

/// References outside every `Fn::If`.
fn unconditional_references<'t>(node: &'t Node, found: &mut Vec<&'t str>) {
    if matches!(intrinsic::parse(node, false), Some(Ok(Call::If { .. }))) {
        return;
    }
    if intrinsic::is_call(node) {
        return intrinsic::references(node, &|_| None, &mut |name, _| found.push(name));
    }
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| unconditional_references(item, found)),
        Kind::Map(entries) => entries.iter().for_each(|entry| unconditional_references(&entry.value, found)),
        _ => {}
    }
}

/// Reports each resource on a cycle, with the way round; a resource that merely refers to one is
/// not at fault.
pub(super) fn report_cycle<'t>(
    resources: impl Iterator<Item = &'t Resource>,
    edges: &HashMap<&str, Vec<&str>>,
    report: &mut Report,
) {
    let mut reported: HashSet<&str> = HashSet::new();
    for resource in resources {
        let start = resource.logical_id.as_str();
        if reported.contains(start) {
            continue;
        }
        // Breadth first, so that the way round is the shortest.
        let mut came_from: HashMap<&str, &str> = HashMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        'search: while let Some(at) = queue.pop_front() {
            for next in edges.get(at).into_iter().flatten() {
                if *next == start {
                    let mut way = vec![start];
                    let mut step = at;
                    while step != start {
                        way.push(step);
                        step = came_from.get(step).copied().unwrap_or(start);
                    }
                    way.push(start);
                    way.reverse();
                    // A reference of a resource to itself has its own message.
                    if way.len() > 2 {
                        let path = format!("Resources.{start}");
                        let message = format!("circular dependency: {}", way.join(" → "));
                        report.push(Diagnostic::error("circular-dependency", resource.span, path, message));
                    }
                    reported.extend(way);
                    break 'search;
                }
                if !came_from.contains_key(next) {
                    came_from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
    }
}

/// The conditions that a condition names.
fn named_conditions(node: &Node) -> Vec<&str> {
    match intrinsic::parse(node, true) {
        Some(Ok(Call::Condition(name))) => vec![name],
        Some(Ok(Call::And(list) | Call::Or(list))) => list.iter().flat_map(named_conditions).collect(),
        Some(Ok(Call::Not(inner))) => named_conditions(inner),
        _ => Vec::new(),
    }
}
