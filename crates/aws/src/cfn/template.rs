//! The template's sections.

use std::collections::HashMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Report, Source, Sources, Span};
use super::parameter::{Parameter, ParameterDeclaration};
use super::schema::{self, ResourceType};
use super::stack::{Inputs, Stack};
use super::suggest::listed;
use super::tree::{self, Entry, Node, Path};
use super::{RESOURCES_MAX, intrinsic, resolve, verify};

/// A template that has been read and found to be in order, whatever its parameters.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) files: Sources,
    pub(super) description: Option<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) mappings: Vec<Entry>,
    pub(super) conditions: Vec<Entry>,
    pub(super) resources: Vec<Resource>,
    pub(super) outputs: Vec<OutputDeclaration>,
    /// What is wrong, or worth a remark, short of an error.
    remarks: Vec<Diagnostic>,
}

/// A resource as the template declares it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) logical_id: String,
    pub(super) span: Span,
    /// `None` if the type is not known; that has been reported.
    pub(super) resource_type: Option<&'static ResourceType>,
    pub(super) properties: Node,
    pub(super) depends_on: Vec<(String, Span)>,
    pub(super) condition: Option<(String, Span)>,
    pub(super) deletion_policy: Option<String>,
    pub(super) metadata: Option<Node>,
}

/// An output as the template declares it.
#[derive(Clone, Debug)]
pub(super) struct OutputDeclaration {
    pub(super) name: String,
    pub(super) value: Node,
    pub(super) description: Option<String>,
    pub(super) condition: Option<(String, Span)>,
    pub(super) export_name: Option<Node>,
}

const SECTIONS: &[&str] = &[
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
];

/// Properties by which IAM's resources name themselves.
const NAMES_OF_IAM: &[&str] =
    &["GroupName", "InstanceProfileName", "ManagedPolicyName", "RoleName", "UserName"];

const RESOURCE_KEYS: &[&str] = &[
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
];

impl Template {
    /// Reads a template in YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, and everything remarkable, at once.
    pub fn parse(text: &str) -> Result<Template, Diagnostics> {
        Self::parse_many(&[("template", text)])
    }

    /// Reads several files as one template: one that CloudFormation accepts, and beside it what
    /// only Bowline reads. Each is `(file name, text)`; references may cross files, and a name
    /// may be defined in only one of them.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, at once.
    pub fn parse_many(files: &[(&str, &str)]) -> Result<Template, Diagnostics> {
        let sources: Sources = files
            .iter()
            .map(|(name, text)| Source { name: (*name).to_owned(), text: (*text).to_owned() })
            .collect();
        let mut template = Template {
            files: Arc::clone(&sources),
            description: None,
            parameters: Vec::new(),
            mappings: Vec::new(),
            conditions: Vec::new(),
            resources: Vec::new(),
            outputs: Vec::new(),
            remarks: Vec::new(),
        };
        let mut report = Report::default();
        let mut whole = true;
        for (index, (_, text)) in files.iter().enumerate() {
            let file = u16::try_from(index).unwrap_or(u16::MAX);
            match tree::read(file, text, &mut report) {
                Some(root) => template.add_file(&root, &mut report),
                None => whole = false,
            }
        }
        // References of one file may point into the one that could not be read.
        if whole {
            if template.resources.is_empty() && !report.has_errors() {
                let start = Span { file: 0, line: 1, column: 1, width: 1 };
                report.push(Diagnostic::error(
                    "no-resources",
                    start,
                    "Resources",
                    "the template has no resources",
                ));
            }
            verify::verify(&template, &mut report);
        }
        if report.has_errors() {
            return Err(report.into_diagnostics(sources));
        }
        template.remarks = report.into_diagnostics(sources).items;
        Ok(template)
    }

    /// Warnings and notes about a template that is otherwise in order.
    #[must_use]
    pub fn warnings(&self) -> Diagnostics {
        Diagnostics { files: Arc::clone(&self.files), items: self.remarks.clone(), more: 0 }
    }

    /// `Description`.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The parameters, in the template's order.
    pub fn parameters(&self) -> impl Iterator<Item = ParameterDeclaration> {
        self.parameters.iter().map(Parameter::declaration)
    }

    /// The types of its resources, each once, in alphabetical order.
    #[must_use]
    pub fn resource_types(&self) -> Vec<&'static str> {
        let types: std::collections::BTreeSet<_> = self
            .resources
            .iter()
            .filter_map(|resource| resource.resource_type)
            .map(|kind| kind.name)
            .collect();
        types.into_iter().collect()
    }

    /// Whether it has resources of IAM, whose creation has to be acknowledged; true where any of them
    /// gives itself a name (`CAPABILITY_NAMED_IAM`). Source: "Acknowledging IAM resources in
    /// CloudFormation templates".
    #[must_use]
    pub fn names_iam_resources(&self) -> Option<bool> {
        let iam = self.resources.iter().filter(|resource| {
            resource.resource_type.is_some_and(|kind| kind.name.starts_with("AWS::IAM::"))
        });
        let names =
            |resource: &Resource| NAMES_OF_IAM.iter().any(|name| resource.properties.get(name).is_some());
        iam.fold(None, |found, resource| Some(found.unwrap_or(false) || names(resource)))
    }

    /// The parameters that have no default and must be given to [`resolve`](Self::resolve).
    pub fn required_parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters
            .iter()
            .filter(|parameter| parameter.default.is_none())
            .map(|parameter| parameter.name.as_str())
    }

    /// Evaluates the template: every value known, every resource with its id, in creation order.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters or with the values they lead to, at once.
    pub fn resolve(&self, inputs: &Inputs) -> Result<Stack, Diagnostics> {
        let mut report = Report::default();
        self.remarks.iter().for_each(|remark| report.push(remark.clone()));
        let stack = resolve::resolve(self, inputs, &mut report);
        let diagnostics = |report: Report| report.into_diagnostics(Arc::clone(&self.files));
        match stack {
            Some(mut stack) if !report.has_errors() => {
                stack.warnings = diagnostics(report);
                Ok(stack)
            }
            _ => Err(diagnostics(report)),
        }
    }

    pub(super) fn resource(&self, logical_id: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.logical_id == logical_id)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    pub(super) fn condition(&self, name: &str) -> Option<&Entry> {
        self.conditions.iter().find(|condition| condition.key == name)
    }

    fn add_file(&mut self, root: &Node, report: &mut Report) {
        let Some(sections) = root.map() else {
            let message = format!("a template is a map with a section `Resources`, not {}", root.kind_name());
            report.push(Diagnostic::error("wrong-type", root.span, "", message));
            return;
        };
        let mut names = Names::of(self);
        for section in sections {
            let path = Path::Root.key(&section.key);
            let node = &section.value;
            match section.key.as_str() {
                "AWSTemplateFormatVersion" if node.text() != Some("2010-09-09") => {
                    let message = "the only template format version is '2010-09-09'";
                    report.push(Diagnostic::error("not-allowed", node.span, path, message));
                }
                "AWSTemplateFormatVersion" | "Metadata" => {}
                "Description" => match node.text() {
                    Some(text) => {
                        self.description = self.description.take().or_else(|| Some(text.to_owned()));
                    }
                    None => wrong_type("a string", node, &path, report),
                },
                "Parameters" => {
                    for entry in map(node, &path, report) {
                        if names.new_reference(entry, &path, report)
                            && let Some(parameter) = Parameter::read(entry, &path.key(&entry.key), report)
                        {
                            self.parameters.push(parameter);
                        }
                    }
                }
                "Mappings" => self.mappings.extend(names.distinct(map(node, &path, report), &path, report)),
                "Conditions" => {
                    self.conditions.extend(names.distinct(map(node, &path, report), &path, report));
                }
                "Resources" => {
                    for entry in map(node, &path, report) {
                        if names.new_reference(entry, &path, report) {
                            self.add_resource(entry, &path, report);
                        }
                    }
                }
                "Outputs" => {
                    for entry in names.distinct(map(node, &path, report), &path, report) {
                        self.outputs.extend(OutputDeclaration::read(&entry, &path.key(&entry.key), report));
                    }
                }
                "Rules" => {
                    let message = "Rules are not evaluated here";
                    report.push(Diagnostic::note("ignored", section.key_span, path, message));
                }
                "Transform" => {
                    let named = node.text().or_else(|| node.list().and_then(|list| list.first()?.text()));
                    let message = format!(
                        "the transform `{}` is not supported: macros run in AWS",
                        named.unwrap_or("?")
                    );
                    let help = "use the processed template: aws cloudformation get-template --template-stage Processed";
                    report.push(
                        Diagnostic::error("unsupported-transform", section.key_span, path, message)
                            .help(help),
                    );
                }
                name => {
                    let message = format!("a template has no section `{name}`");
                    let fault = Diagnostic::error("unknown-section", section.key_span, path, message);
                    report.push(fault.suggest(name, SECTIONS.iter().copied()));
                }
            }
        }
    }

    fn add_resource(&mut self, entry: &Entry, parent: &Path<'_>, report: &mut Report) {
        let path = parent.key(&entry.key);
        if self.resources.len() >= RESOURCES_MAX {
            let message = format!("more than {RESOURCES_MAX} resources, CloudFormation's limit");
            report.push(Diagnostic::error("too-many-resources", entry.key_span, parent, message));
            return;
        }
        check_logical_id(entry, &path, report);
        let attributes = map(&entry.value, &path, report);
        let mut resource = Resource {
            logical_id: entry.key.clone(),
            span: entry.key_span,
            resource_type: None,
            properties: Node::new(tree::Kind::Map(Vec::new()), entry.key_span),
            depends_on: Vec::new(),
            condition: None,
            deletion_policy: None,
            metadata: None,
        };
        for attribute in attributes {
            let node = &attribute.value;
            let path = path.key(&attribute.key);
            match attribute.key.as_str() {
                "Type" => resource.resource_type = find_type(node, &path, report),
                "Properties" => match node.map() {
                    Some(_) => resource.properties = node.clone(),
                    None => wrong_type("a map", node, &path, report),
                },
                "DependsOn" => {
                    let names = node.list().unwrap_or(std::slice::from_ref(node));
                    for name in names {
                        match name.str() {
                            Some(text) => resource.depends_on.push((text.to_owned(), name.span)),
                            None => wrong_type("a logical id or a list of them", name, &path, report),
                        }
                    }
                }
                "Condition" => resource.condition = condition_name(node, &path, report),
                "DeletionPolicy" | "UpdateReplacePolicy" => {
                    const POLICIES: &[&str] = &["Delete", "Retain", "RetainExceptOnCreate", "Snapshot"];
                    match node.text() {
                        Some(policy) if POLICIES.contains(&policy) => {
                            if attribute.key == "DeletionPolicy" {
                                resource.deletion_policy = Some(policy.to_owned());
                            }
                        }
                        _ if intrinsic::is_call(node) => {}
                        _ => {
                            let message = format!("`{}` is no {}", node.text().unwrap_or("?"), attribute.key);
                            let fault = Diagnostic::error("not-allowed", node.span, path, message);
                            report.push(fault.help(format!("allowed: {}", listed(POLICIES.iter().copied()))));
                        }
                    }
                }
                "Metadata" => resource.metadata = Some(node.clone()),
                "CreationPolicy" | "UpdatePolicy" => {}
                name => {
                    let message = format!("a resource has no attribute `{name}`");
                    let fault = Diagnostic::error("unknown-attribute", attribute.key_span, path, message);
                    let fault = match resource_property(attributes, name) {
                        Some(owner) => fault
                            .help(format!("`{name}` is a property of {owner}: indent it below `Properties`")),
                        None => fault.suggest(name, RESOURCE_KEYS.iter().copied()),
                    };
                    report.push(fault);
                }
            }
        }
        if !attributes.iter().any(|attribute| attribute.key == "Type") {
            let message = format!("the resource `{}` has no `Type`", entry.key);
            report.push(Diagnostic::error("missing-type", entry.key_span, path, message));
        }
        self.resources.push(resource);
    }
}

/// The type among `attributes`, if `name` is a property of it.
fn resource_property(attributes: &[Entry], name: &str) -> Option<&'static str> {
    let type_name = attributes.iter().find(|attribute| attribute.key == "Type")?.value.str()?;
    let found = schema::find(type_name)?;
    found.properties.properties().iter().any(|property| property.name == name).then_some(found.name)
}

/// The names that are taken, across sections and files.
struct Names {
    taken: HashMap<String, &'static str>,
}

impl Names {
    fn of(template: &Template) -> Self {
        let mut taken = HashMap::new();
        taken.extend(template.parameters.iter().map(|it| (it.name.clone(), "reference")));
        taken.extend(template.resources.iter().map(|it| (it.logical_id.clone(), "reference")));
        taken.extend(template.mappings.iter().map(|it| (format!("Mappings.{}", it.key), "mapping")));
        taken.extend(template.conditions.iter().map(|it| (format!("Conditions.{}", it.key), "condition")));
        taken.extend(template.outputs.iter().map(|it| (format!("Outputs.{}", it.name), "output")));
        Names { taken }
    }

    /// Parameters and resources share one name space, that of `Ref`.
    fn new_reference(&mut self, entry: &Entry, path: &Path<'_>, report: &mut Report) -> bool {
        self.insert(entry.key.clone(), entry, path, report)
    }

    fn distinct(&mut self, entries: &[Entry], path: &Path<'_>, report: &mut Report) -> Vec<Entry> {
        entries
            .iter()
            .filter(|entry| self.insert(format!("{path}.{}", entry.key), entry, path, report))
            .cloned()
            .collect()
    }

    fn insert(&mut self, name: String, entry: &Entry, path: &Path<'_>, report: &mut Report) -> bool {
        let new = self.taken.insert(name, "").is_none();
        if !new {
            let message = format!("`{}` is defined already", entry.key);
            report.push(Diagnostic::error("duplicate-name", entry.key_span, path.key(&entry.key), message));
        }
        new
    }
}

fn find_type(node: &Node, path: &Path<'_>, report: &mut Report) -> Option<&'static ResourceType> {
    let Some(name) = node.str() else {
        wrong_type("the name of a resource type", node, path, report);
        return None;
    };
    let found = schema::find(name);
    if found.is_none() {
        let fault = |message: String| Diagnostic::error("unknown-type", node.span, path, message);
        report.push(if name.starts_with("Custom::") || name == "AWS::CloudFormation::CustomResource" {
            fault(format!("the custom resource `{name}` is not supported: its function would run in AWS"))
                .help("declare what it creates in the template, or pass its result as a parameter")
        } else {
            let service = name.rsplit_once("::").map_or(name, |(service, _)| service);
            let related: Vec<&str> =
                schema::names().filter(|it| it.rsplit_once("::").is_some_and(|it| it.0 == service)).collect();
            let fault = fault(format!("the resource type `{name}` is not known here"));
            match super::suggest::nearest(name, schema::names()) {
                Some(meant) => fault.help(format!("did you mean `{meant}`?")),
                None if related.is_empty() => {
                    fault.help(format!("known are types of {}", listed(services().iter().copied())))
                }
                None => fault.help(format!("known are {}", listed(related))),
            }
        });
    }
    found
}

/// `AWS::ECS`, `AWS::EC2`, …, each once.
fn services() -> Vec<&'static str> {
    let mut services: Vec<&str> =
        schema::names().filter_map(|name| Some(name.rsplit_once("::")?.0)).collect();
    services.sort_unstable();
    services.dedup();
    services
}

impl OutputDeclaration {
    fn read(entry: &Entry, path: &Path<'_>, report: &mut Report) -> Option<Self> {
        const KEYS: &[&str] = &["Condition", "Description", "Export", "Value"];
        let mut output = OutputDeclaration {
            name: entry.key.clone(),
            value: Node::new(tree::Kind::Unknown, entry.key_span),
            description: None,
            condition: None,
            export_name: None,
        };
        let mut has_value = false;
        for attribute in map(&entry.value, path, report) {
            let node = &attribute.value;
            let path = path.key(&attribute.key);
            match attribute.key.as_str() {
                "Value" => {
                    output.value = node.clone();
                    has_value = true;
                }
                "Description" => output.description = node.text().map(str::to_owned),
                "Condition" => output.condition = condition_name(node, &path, report),
                "Export" => match node.map() {
                    Some([name]) if name.key == "Name" => output.export_name = Some(name.value.clone()),
                    _ => wrong_type("a map with the key `Name`", node, &path, report),
                },
                name => {
                    let message = format!("an output has no attribute `{name}`");
                    let fault = Diagnostic::error("unknown-attribute", attribute.key_span, path, message);
                    report.push(fault.suggest(name, KEYS.iter().copied()));
                }
            }
        }
        if !has_value {
            let message = format!("the output `{}` has no `Value`", entry.key);
            report.push(Diagnostic::error("missing-property", entry.key_span, path, message));
        }
        has_value.then_some(output)
    }
}

fn condition_name(node: &Node, path: &Path<'_>, report: &mut Report) -> Option<(String, Span)> {
    match node.name() {
        Some(name) => Some((name.to_owned(), node.span)),
        None => {
            wrong_type("the name of a condition", node, path, report);
            None
        }
    }
}

/// Logical ids are alphanumeric.
fn check_logical_id(entry: &Entry, path: &Path<'_>, report: &mut Report) {
    let id = &entry.key;
    if id.is_empty() || id.len() > 255 || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        let message = format!("`{id}` is no logical id: only letters and digits, at most 255");
        report.push(Diagnostic::error("logical-id", entry.key_span, path, message));
    }
}

pub(super) fn wrong_type(wanted: &str, node: &Node, path: &Path<'_>, report: &mut Report) {
    let message = format!("expected {wanted}, found {}", node.kind_name());
    report.push(Diagnostic::error("wrong-type", node.span, path, message));
}

/// The entries of a map; of nothing, if it is none, which is reported.
pub(super) fn map<'t>(node: &'t Node, path: &Path<'_>, report: &mut Report) -> &'t [Entry] {
    node.map().unwrap_or_else(|| {
        wrong_type("a map", node, path, report);
        &[]
    })
}
