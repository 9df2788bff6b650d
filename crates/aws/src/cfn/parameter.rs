//! Template parameters: declaration, and the value that a stack is given.

use regex_lite::{Regex, RegexBuilder};

use super::diagnostic::{Diagnostic, Report, Span};
use super::schema::number;
use super::stack::Inputs;
use super::suggest::listed;
use super::template::{map, wrong_type};
use super::tree::{Entry, Kind, Node, Path};

/// A declared parameter.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    span: Span,
    kind: ParameterKind,
    type_name: String,
    pub(super) default: Option<String>,
    default_span: Span,
    allowed_values: Vec<String>,
    allowed_pattern: Option<Regex>,
    constraint_description: Option<String>,
    length: (Option<f64>, Option<f64>),
    range: (Option<f64>, Option<f64>),
    pub(super) no_echo: bool,
    description: Option<String>,
}

/// A parameter as the template declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterDeclaration {
    /// Its name.
    pub name: String,
    /// `Type`.
    pub type_name: String,
    /// `Default`.
    pub default: Option<String>,
    /// `NoEcho`: its value is not told.
    pub no_echo: bool,
    /// `Description`.
    pub description: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParameterKind {
    String,
    Number,
    NumberList,
    StringList,
}

/// The AWS-specific types. Whether such a thing exists is not checked: nothing exists yet.
const AWS_TYPES: &[&str] = &[
    "AWS::EC2::AvailabilityZone::Name",
    "AWS::EC2::Image::Id",
    "AWS::EC2::Instance::Id",
    "AWS::EC2::KeyPair::KeyName",
    "AWS::EC2::SecurityGroup::GroupName",
    "AWS::EC2::SecurityGroup::Id",
    "AWS::EC2::Subnet::Id",
    "AWS::EC2::VPC::Id",
    "AWS::EC2::Volume::Id",
    "AWS::Route53::HostedZone::Id",
    "AWS::SSM::Parameter::Name",
];

const KEYS: &[&str] = &[
    "AllowedPattern",
    "AllowedValues",
    "ConstraintDescription",
    "Default",
    "Description",
    "MaxLength",
    "MaxValue",
    "MinLength",
    "MinValue",
    "NoEcho",
    "Type",
];

fn kind_of(name: &str) -> Option<ParameterKind> {
    // A parameter of the Parameter Store is taken by what is given for it: there is no store.
    let name = match name.strip_prefix("AWS::SSM::Parameter::Value<") {
        Some(inner) => inner.strip_suffix('>')?,
        None => name,
    };
    match name {
        "String" => Some(ParameterKind::String),
        "Number" => Some(ParameterKind::Number),
        "List<Number>" => Some(ParameterKind::NumberList),
        "CommaDelimitedList" | "List<String>" => Some(ParameterKind::StringList),
        name if AWS_TYPES.contains(&name) => Some(ParameterKind::String),
        name => {
            let inner = name.strip_prefix("List<")?.strip_suffix('>')?;
            AWS_TYPES.contains(&inner).then_some(ParameterKind::StringList)
        }
    }
}

impl Parameter {
    pub(super) fn declaration(&self) -> ParameterDeclaration {
        ParameterDeclaration {
            name: self.name.clone(),
            type_name: self.type_name.clone(),
            default: self.default.clone(),
            no_echo: self.no_echo,
            description: self.description.clone(),
        }
    }

    pub(super) fn read(entry: &Entry, path: &Path<'_>, report: &mut Report) -> Option<Self> {
        let mut parameter = Parameter {
            name: entry.key.clone(),
            span: entry.key_span,
            kind: ParameterKind::String,
            type_name: String::new(),
            default: None,
            default_span: entry.key_span,
            allowed_values: Vec::new(),
            allowed_pattern: None,
            constraint_description: None,
            length: (None, None),
            range: (None, None),
            no_echo: false,
            description: None,
        };
        for attribute in map(&entry.value, path, report) {
            parameter.read_attribute(attribute, &path.key(&attribute.key), report);
        }
        if parameter.type_name.is_empty() {
            let message = format!("the parameter `{}` has no `Type`", entry.key);
            report.push(
                Diagnostic::error("missing-property", entry.key_span, path, message)
                    .help("add `Type: String`"),
            );
            return None;
        }
        if let Some(default) = &parameter.default {
            parameter.check(default, parameter.default_span, "the default", &path.key("Default"), report);
        }
        Some(parameter)
    }

    fn read_attribute(&mut self, attribute: &Entry, path: &Path<'_>, report: &mut Report) {
        let node = &attribute.value;
        let text = || node.text().map(str::to_owned);
        match attribute.key.as_str() {
            "Type" => match text().map(|name| (kind_of(&name), name)) {
                Some((Some(kind), name)) => (self.kind, self.type_name) = (kind, name),
                Some((None, name)) => {
                    let message = format!("there is no parameter type `{name}`");
                    let types = ["String", "Number", "List<Number>", "CommaDelimitedList"];
                    let fault = Diagnostic::error("unknown-type", node.span, path, message);
                    report.push(fault.suggest(&name, types.into_iter().chain(AWS_TYPES.iter().copied())));
                    self.type_name = name;
                }
                None => wrong_type("a string", node, path, report),
            },
            "Default" => match text() {
                Some(default) => (self.default, self.default_span) = (Some(default), node.span),
                None => wrong_type("a string or a number", node, path, report),
            },
            "AllowedValues" => match node.list() {
                Some(values) => {
                    self.allowed_values =
                        values.iter().filter_map(|it| it.text().map(str::to_owned)).collect();
                }
                None => wrong_type("a list", node, path, report),
            },
            "AllowedPattern" => match node.text() {
                // CloudFormation's patterns match the whole value.
                Some(pattern) => match compiled(pattern) {
                    Ok(regex) => self.allowed_pattern = Some(regex),
                    Err(_) => {
                        let message = "this pattern is not understood, and not applied";
                        report.push(
                            Diagnostic::warning("pattern", node.span, path, message)
                                .help("look-around and back-references are not supported"),
                        );
                    }
                },
                None => wrong_type("a regular expression", node, path, report),
            },
            "MinLength" => self.length.0 = bound(node, path, report),
            "MaxLength" => self.length.1 = bound(node, path, report),
            "MinValue" => self.range.0 = bound(node, path, report),
            "MaxValue" => self.range.1 = bound(node, path, report),
            "NoEcho" => self.no_echo = node.text().is_some_and(|text| text.eq_ignore_ascii_case("true")),
            "ConstraintDescription" => self.constraint_description = text(),
            "Description" => self.description = text(),
            name => {
                let message = format!("a parameter has no attribute `{name}`");
                let fault = Diagnostic::error("unknown-attribute", attribute.key_span, path, message);
                report.push(fault.suggest(name, KEYS.iter().copied()));
            }
        }
    }

    /// The value that the stack gets, as `Ref` yields it.
    pub(super) fn value(&self, inputs: &Inputs, report: &mut Report) -> Node {
        let section = Path::Root.key("Parameters");
        let path = section.key(&self.name);
        let given = inputs.parameters.get(&self.name);
        let Some(text) = given.or(self.default.as_ref()) else {
            let message = format!("the parameter `{}` has no default and was not given", self.name);
            let fault = Diagnostic::error("missing-parameter", self.span, path, message);
            report.push(fault.help(format!("pass --parameter {}=VALUE", self.name)));
            return Node::new(Kind::Unknown, self.span);
        };
        // A default has been checked when the template was read.
        if given.is_some() && !self.check(text, self.span, "the value given", &path, report) {
            return Node::new(Kind::Unknown, self.span);
        }
        let string = |text: &str| Node { secret: self.no_echo, ..Node::string(text, self.span) };
        match self.kind {
            ParameterKind::String | ParameterKind::Number => string(text),
            ParameterKind::NumberList | ParameterKind::StringList => {
                let items = split(text).map(string).collect();
                Node { secret: self.no_echo, ..Node::new(Kind::List(items), self.span) }
            }
        }
    }

    fn check(&self, text: &str, span: Span, what: &str, path: &Path<'_>, report: &mut Report) -> bool {
        let before = report.error_count();
        let shown = if self.no_echo { what.to_owned() } else { format!("{what} `{text}`") };
        let mut fault = |code, message: String, help: Option<String>| {
            let fault = Diagnostic::error(code, span, path, message);
            let help = self.constraint_description.clone().or(help);
            report.push(help.into_iter().fold(fault, Diagnostic::help));
        };
        let list = matches!(self.kind, ParameterKind::NumberList | ParameterKind::StringList);
        let items: Vec<&str> = if list { split(text).collect() } else { vec![text] };
        for item in items {
            if matches!(self.kind, ParameterKind::Number | ParameterKind::NumberList) {
                match number(&Node::string(item, span)) {
                    None => fault("wrong-type", format!("{shown} is no number"), None),
                    Some(value) => {
                        if let Some(min) = self.range.0.filter(|min| value < *min) {
                            fault("range", format!("{shown} is less than {min}"), None);
                        }
                        if let Some(max) = self.range.1.filter(|max| value > *max) {
                            fault("range", format!("{shown} is more than {max}"), None);
                        }
                    }
                }
            }
            let length = item.chars().count() as f64;
            if let Some(min) = self.length.0.filter(|min| length < *min) {
                fault("length", format!("{shown} is shorter than {min} characters"), None);
            }
            if let Some(max) = self.length.1.filter(|max| length > *max) {
                fault("length", format!("{shown} is longer than {max} characters"), None);
            }
            if !self.allowed_values.is_empty() && !self.allowed_values.iter().any(|allowed| allowed == item) {
                let allowed = listed(self.allowed_values.iter().map(String::as_str));
                fault("not-allowed", format!("{shown} is not allowed"), Some(format!("allowed: {allowed}")));
            }
            if let Some(pattern) = self.allowed_pattern.as_ref().filter(|pattern| !pattern.is_match(item)) {
                fault(
                    "pattern",
                    format!("{shown} does not have the form wanted"),
                    Some(format!("the pattern is {pattern}")),
                );
            }
        }
        report.error_count() == before
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn bound(node: &Node, path: &Path<'_>, report: &mut Report) -> Option<f64> {
    let bound = number(node);
    if bound.is_none() {
        wrong_type("a number", node, path, report);
    }
    bound
}

/// Parameters that were given but that the template does not declare.
pub(super) fn check_unknown(declared: &[Parameter], inputs: &Inputs, report: &mut Report) {
    for name in inputs.parameters.keys() {
        if !declared.iter().any(|parameter| parameter.name == *name) {
            let start = Span { file: 0, line: 1, column: 1, width: 1 };
            let message = format!("the template has no parameter `{name}`");
            let fault = Diagnostic::error("unknown-parameter", start, "Parameters", message);
            report.push(fault.suggest(name, declared.iter().map(|parameter| parameter.name.as_str())));
        }
    }
}

/// Most bytes that a compiled pattern may take, and its matcher's cache: `((a{99}){99}){99}` is as
/// short as it is large.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// A pattern for the whole of a value.
fn compiled(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).nest_limit(64).build()
}

#[cfg(test)]
mod pattern_tests {
    use super::*;

    #[test]
    fn a_pattern_is_bounded() {
        assert!(compiled("[a-z][a-z0-9-]{0,62}").expect("is small").is_match("a-1"));
        assert!(compiled("((a{99}){99}){99}").is_err());
        let nested = format!("{}a{}", "(".repeat(200), ")".repeat(200));
        assert!(compiled(&nested).is_err());
    }
}
