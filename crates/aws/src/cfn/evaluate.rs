//! Intrinsic functions and conditions, evaluated.

use std::collections::HashMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::diagnostic::{Diagnostic, Report};
use super::intrinsic::{self, Attribute, Call, Piece};
use super::physical::{self, Identity};
use super::schema::number;
use super::stack::Inputs;
use super::template::Template;
use super::tree::{Entry, Kind, Node, Path};

/// All text that evaluation may produce, in bytes: nested `Fn::Sub`s double what they are given.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) struct Evaluator<'t> {
    template: &'t Template,
    inputs: &'t Inputs,
    parameters: HashMap<&'t str, Node>,
    conditions: HashMap<&'t str, Option<bool>>,
    /// Of the resources evaluated so far.
    pub(super) identities: HashMap<&'t str, Identity>,
    budget: usize,
}

impl<'t> Evaluator<'t> {
    pub(super) fn new(template: &'t Template, inputs: &'t Inputs, report: &mut Report) -> Self {
        super::parameter::check_unknown(&template.parameters, inputs, report);
        let parameters = template
            .parameters
            .iter()
            .map(|parameter| (parameter.name.as_str(), parameter.value(inputs, report)))
            .collect();
        let mut evaluator = Evaluator {
            template,
            inputs,
            parameters,
            conditions: HashMap::new(),
            identities: HashMap::new(),
            budget: TEXT_BYTES_MAX,
        };
        for condition in &template.conditions {
            evaluator.named_condition(&condition.key, report);
        }
        evaluator
    }

    /// Whether a condition holds; `None` if that could not be found out.
    pub(super) fn holds(&self, name: &str) -> Option<bool> {
        self.conditions.get(name).copied().flatten()
    }

    fn named_condition(&mut self, name: &str, report: &mut Report) -> Option<bool> {
        if let Some(known) = self.conditions.get(name) {
            return *known;
        }
        let template = self.template;
        let condition = template.condition(name)?;
        let section = Path::Root.key("Conditions");
        let value = self.condition(&condition.value, &section.key(&condition.key), report);
        self.conditions.insert(&condition.key, value);
        value
    }

    fn condition(&mut self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<bool> {
        match intrinsic::parse(node, true)?.ok()? {
            Call::Equals(a, b) => {
                let a = self.value(a, path, report)?;
                let b = self.value(b, path, report)?;
                equal(&a, &b)
            }
            Call::And(list) => {
                let values: Vec<_> = list.iter().map(|it| self.condition(it, path, report)).collect();
                values.into_iter().try_fold(true, |all, value| Some(all & value?))
            }
            Call::Or(list) => {
                let values: Vec<_> = list.iter().map(|it| self.condition(it, path, report)).collect();
                values.into_iter().try_fold(false, |any, value| Some(any | value?))
            }
            Call::Not(inner) => self.condition(inner, path, report).map(|value| !value),
            Call::Condition(name) => self.named_condition(name, report),
            _ => None,
        }
    }

    /// Evaluates a value. `None` is `AWS::NoValue`; what could not be found out is
    /// [`Kind::Unknown`], and has been reported.
    pub(super) fn value(&mut self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<Node> {
        let kind = match intrinsic::parse(node, false) {
            Some(Ok(call)) => {
                let mut value = self.call(call, node, path, report)?;
                value.span = node.span;
                return Some(value);
            }
            Some(Err(_)) => Kind::Unknown,
            None => match &node.kind {
                Kind::List(items) => Kind::List(
                    items
                        .iter()
                        .enumerate()
                        .filter_map(|(i, item)| self.value(item, &path.index(i), report))
                        .collect(),
                ),
                Kind::Map(entries) => Kind::Map(
                    entries
                        .iter()
                        .filter_map(|entry| {
                            let value = self.value(&entry.value, &path.key(&entry.key), report)?;
                            Some(Entry { key: entry.key.clone(), key_span: entry.key_span, value })
                        })
                        .collect(),
                ),
                kind => kind.clone(),
            },
        };
        Some(Node { kind, span: node.span, secret: node.secret })
    }

    fn call(&mut self, call: Call<'_>, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<Node> {
        let unknown = Node::new(Kind::Unknown, node.span);
        let value = match call {
            Call::Ref("AWS::NoValue") => return None,
            Call::Ref(name) => self.reference(name, node, path, report),
            Call::GetAtt { resource, attribute } => {
                let attribute = match attribute {
                    Attribute::Named(name) => Some(name.to_owned()),
                    Attribute::Computed(node) => self.text(node, path, report).map(|(text, _)| text),
                };
                match attribute {
                    Some(attribute) => self.attribute(resource, &attribute, node, path, report),
                    None => unknown,
                }
            }
            Call::Sub { pieces, variables } => {
                self.substitute(&pieces, variables, node, path, report).unwrap_or(unknown)
            }
            Call::Join { delimiter, items } => {
                let Some(items) = self.list(items, path, report) else { return Some(unknown) };
                let mut parts = Vec::with_capacity(items.len());
                for item in &items {
                    match (item.text(), &item.kind) {
                        (Some(text), _) => parts.push(text),
                        (None, Kind::Unknown) => return Some(unknown),
                        _ => return Some(self.fault(node, path, report, "Fn::Join joins strings only")),
                    }
                }
                // Before anything is allocated: delimiter and list may both be long.
                let length = parts.iter().fold(delimiter.len().saturating_mul(parts.len()), |sum, part| {
                    sum.saturating_add(part.len())
                });
                if length.saturating_sub(delimiter.len()) > self.budget {
                    return Some(self.too_much(node, path, report));
                }
                let text = parts.join(delimiter);
                self.produce(text, items.iter().any(|item| item.secret), node, path, report)
            }
            Call::Select { index, items } => {
                let index = self.value(index, path, report).and_then(|index| number(&index));
                let Some(mut items) = self.list(items, path, report) else { return Some(unknown) };
                match index {
                    Some(index) if index >= 0.0 && index.fract() == 0.0 && (index as usize) < items.len() => {
                        items.swap_remove(index as usize)
                    }
                    Some(index) => {
                        let message =
                            format!("Fn::Select wants item {index} (from 0) of a list of {}", items.len());
                        self.fault(node, path, report, message)
                    }
                    None => self.fault(node, path, report, "the index of Fn::Select is no number"),
                }
            }
            Call::Split { delimiter, source } => match self.text(source, path, report) {
                Some((text, secret)) => {
                    let items =
                        text.split(delimiter).map(|part| Node { secret, ..Node::string(part, node.span) });
                    let items: Vec<Node> = items.collect();
                    if !self.spend(items.len() * size_of::<Node>()) {
                        return Some(self.too_much(node, path, report));
                    }
                    Node::new(Kind::List(items), node.span)
                }
                None => unknown,
            },
            Call::FindInMap(keys) => self.find_in_map(keys, node, path, report).unwrap_or(unknown),
            Call::If { condition, then, otherwise } => match self.holds(condition) {
                Some(true) => return self.value(then, path, report),
                Some(false) => return self.value(otherwise, path, report),
                None => unknown,
            },
            Call::Base64(inner) => match self.text(inner, path, report) {
                Some((text, secret)) => self.produce(STANDARD.encode(text), secret, node, path, report),
                None => unknown,
            },
            Call::ImportValue(inner) => match self.text(inner, path, report) {
                Some((name, _)) => match self.inputs.exports.get(&name) {
                    Some(value) => self.produce(value.clone(), false, node, path, report),
                    None => self.fault(node, path, report, format!("No export named {name} found.")),
                },
                None => unknown,
            },
            Call::GetAzs(_) => {
                let letters = ["a", "b", "c"].map(|letter| format!("{}{letter}", self.inputs.region));
                let zones: &[String] = if self.inputs.availability_zones.is_empty() {
                    &letters
                } else {
                    &self.inputs.availability_zones
                };
                Node::new(
                    Kind::List(zones.iter().map(|zone| Node::string(zone, node.span)).collect()),
                    node.span,
                )
            }
            Call::Cidr { block, count, bits } => {
                let block = self.text(block, path, report);
                let count = self.value(count, path, report).and_then(|count| number(&count));
                let bits = bits.map(|bits| self.value(bits, path, report).and_then(|bits| number(&bits)));
                let (Some((block, _)), Some(count)) = (block, count) else { return Some(unknown) };
                match subnets(&block, count, bits.flatten()) {
                    Ok(blocks) => Node::new(
                        Kind::List(blocks.iter().map(|it| Node::string(it, node.span)).collect()),
                        node.span,
                    ),
                    Err(message) => self.fault(node, path, report, message),
                }
            }
            Call::Condition(_) | Call::Equals(..) | Call::And(_) | Call::Or(_) | Call::Not(_) => unknown,
        };
        Some(value)
    }

    fn fault(&self, node: &Node, path: &Path<'_>, report: &mut Report, message: impl Into<String>) -> Node {
        report.push(Diagnostic::error("evaluation", node.span, path, message));
        Node::new(Kind::Unknown, node.span)
    }

    fn too_much(&self, node: &Node, path: &Path<'_>, report: &mut Report) -> Node {
        self.fault(node, path, report, format!("the template evaluates to more than {TEXT_BYTES_MAX} bytes"))
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let enough = bytes <= self.budget;
        self.budget = self.budget.saturating_sub(bytes);
        enough
    }

    fn produce(
        &mut self,
        text: String,
        secret: bool,
        node: &Node,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Node {
        if !self.spend(text.len()) {
            return self.too_much(node, path, report);
        }
        Node { secret, ..Node::string(text, node.span) }
    }

    /// A value that must be text, and whether it is secret.
    fn text(&mut self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<(String, bool)> {
        let value = self.value(node, path, report)?;
        match (value.text(), &value.kind) {
            (Some(text), _) => Some((text.to_owned(), value.secret)),
            (None, Kind::Unknown) => None,
            _ => {
                self.fault(
                    node,
                    path,
                    report,
                    format!("expected a string here, found {}", value.kind_name()),
                );
                None
            }
        }
    }

    fn list(&mut self, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<Vec<Node>> {
        let value = self.value(node, path, report)?;
        match value.kind {
            Kind::List(items) => Some(items),
            Kind::Unknown => None,
            _ => {
                self.fault(node, path, report, format!("expected a list here, found {}", value.kind_name()));
                None
            }
        }
    }

    fn reference(&mut self, name: &str, node: &Node, path: &Path<'_>, report: &mut Report) -> Node {
        let inputs = self.inputs;
        let text = match name {
            "AWS::Region" => inputs.region.clone(),
            "AWS::AccountId" => inputs.account_id.clone(),
            "AWS::Partition" => physical::partition(&inputs.region).to_owned(),
            "AWS::URLSuffix" => physical::url_suffix(&inputs.region).to_owned(),
            "AWS::StackName" => inputs.stack_name.clone(),
            "AWS::StackId" => physical::stack_id(inputs),
            "AWS::NotificationARNs" => {
                let arns = inputs.notification_arns.iter().map(|arn| Node::string(arn, node.span)).collect();
                return Node::new(Kind::List(arns), node.span);
            }
            name => {
                if let Some(value) = self.parameters.get(name) {
                    return value.clone();
                }
                match self.identities.get(name) {
                    Some(identity) => {
                        let (text, secret) = (identity.reference.clone(), identity.secret);
                        return self.produce(text, secret, node, path, report);
                    }
                    None => return self.not_created(name, node, path, report),
                }
            }
        };
        self.produce(text, false, node, path, report)
    }

    fn attribute(
        &mut self,
        name: &str,
        attribute: &str,
        node: &Node,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Node {
        let Some(identity) = self.identities.get(name) else {
            return self.not_created(name, node, path, report);
        };
        let secret = identity.secret;
        let mut value = match identity.attributes.get(attribute) {
            Some(Value::String(text)) => Node::string(text, node.span),
            Some(Value::Bool(value)) => Node::new(Kind::Bool(*value, value.to_string()), node.span),
            Some(Value::Array(items)) => {
                let items = items.iter().filter_map(|item| Some(Node::string(item.as_str()?, node.span)));
                Node::new(Kind::List(items.collect()), node.span)
            }
            _ => return self.fault(node, path, report, format!("`{name}` has no attribute `{attribute}`")),
        };
        value.secret = secret;
        value
    }

    /// A resource that has no identity: its condition does not hold, or it is faulty itself.
    fn not_created(&mut self, name: &str, node: &Node, path: &Path<'_>, report: &mut Report) -> Node {
        let condition = self.template.resource(name).and_then(|resource| resource.condition.as_ref());
        if let Some((condition, _)) = condition
            && self.holds(condition) == Some(false)
        {
            let message =
                format!("`{name}` is not created, because its condition `{condition}` does not hold");
            report.push(
                Diagnostic::error("unresolved-reference", node.span, path, message)
                    .help(format!("refer to it under `!If [{condition}, …, !Ref AWS::NoValue]`")),
            );
        }
        Node::new(Kind::Unknown, node.span)
    }

    fn substitute(
        &mut self,
        pieces: &[Piece<'_>],
        variables: &[Entry],
        node: &Node,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Option<Node> {
        let (mut out, mut secret) = (String::new(), false);
        for piece in pieces {
            let value = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Literal(name) => {
                    out.push_str(&format!("${{{name}}}"));
                    continue;
                }
                Piece::Name(name) => match variables.iter().find(|variable| variable.key == *name) {
                    Some(variable) => self.value(&variable.value, path, report)?,
                    None => match name.split_once('.') {
                        Some((resource, attribute)) => {
                            self.attribute(resource, attribute, node, path, report)
                        }
                        None => self.reference(name, node, path, report),
                    },
                },
            };
            match (value.text(), &value.kind, piece) {
                (Some(text), ..) => {
                    out.push_str(text);
                    secret |= value.secret;
                    if out.len() > self.budget {
                        return Some(self.too_much(node, path, report));
                    }
                }
                (None, Kind::Unknown, _) => return None,
                (None, _, Piece::Name(name)) => {
                    let message =
                        format!("`${{{name}}}` is {}, and Fn::Sub inserts strings only", value.kind_name());
                    return Some(self.fault(node, path, report, message));
                }
                _ => {}
            }
        }
        Some(self.produce(out, secret, node, path, report))
    }

    fn find_in_map(
        &mut self,
        keys: [&Node; 3],
        node: &Node,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Option<Node> {
        let mut names = Vec::with_capacity(3);
        for key in keys {
            names.push(self.text(key, path, report)?.0);
        }
        let template = self.template;
        let found = template
            .mappings
            .iter()
            .find(|mapping| mapping.key == names[0])
            .and_then(|mapping| mapping.value.get(&names[1])?.get(&names[2]));
        Some(match found {
            Some(value) => value.clone(),
            None => {
                let message =
                    format!("the mapping `{}` has no value for `{}`, `{}`", names[0], names[1], names[2]);
                self.fault(node, path, report, message)
            }
        })
    }
}

/// CloudFormation compares text, and lists item by item.
fn equal(a: &Node, b: &Node) -> Option<bool> {
    match (&a.kind, &b.kind) {
        (Kind::Unknown, _) | (_, Kind::Unknown) => None,
        (Kind::List(a), Kind::List(b)) => {
            let items: Option<Vec<bool>> = a.iter().zip(b).map(|(a, b)| equal(a, b)).collect();
            Some(a.len() == b.len() && items?.into_iter().all(|same| same))
        }
        _ => Some(a.text().is_some() && a.text() == b.text()),
    }
}

/// `Fn::Cidr`: the first `count` blocks within `block` that leave `bits` host bits (default 8).
fn subnets(block: &str, count: f64, bits: Option<f64>) -> Result<Vec<String>, String> {
    let fault = || format!("`{block}` is no CIDR block");
    let (address, prefix) = block.split_once('/').ok_or_else(fault)?;
    let address: IpAddr = address.parse().map_err(|_| fault())?;
    let prefix: u32 = prefix.parse().map_err(|_| fault())?;
    let (width, base) = match address {
        IpAddr::V4(address) => (32, u128::from(u32::from(address))),
        IpAddr::V6(address) => (128, u128::from(address)),
    };
    let bits = bits.unwrap_or(8.0);
    if prefix > width || !(1.0..=256.0).contains(&count) || !(0.0..f64::from(width)).contains(&bits) {
        return Err("Fn::Cidr takes a block, 1 to 256, and how many bits are for hosts".to_owned());
    }
    let (count, bits) = (count as u128, bits as u32);
    let room =
        width.checked_sub(prefix + bits).ok_or("Fn::Cidr: the block is smaller than one of its parts")?;
    if room < 9 && count > (1 << room) {
        return Err(format!("Fn::Cidr: `{block}` has no room for {count} blocks with {bits} host bits"));
    }
    let base = if prefix == 0 { 0 } else { base >> (width - prefix) << (width - prefix) };
    Ok((0..count)
        .map(|index| {
            let address = base + (index << bits);
            match u32::try_from(address) {
                Ok(address) if width == 32 => {
                    format!("{}/{}", std::net::Ipv4Addr::from(address), width - bits)
                }
                _ => format!("{}/{}", std::net::Ipv6Addr::from(address), width - bits),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_into_smaller_ones() {
        assert_eq!(subnets("10.0.0.0/16", 2.0, None), Ok(vec!["10.0.0.0/24".into(), "10.0.1.0/24".into()]));
        assert_eq!(
            subnets("10.0.0.0/24", 2.0, Some(5.0)),
            Ok(vec!["10.0.0.0/27".into(), "10.0.0.32/27".into()])
        );
        assert_eq!(subnets("fd00::/48", 1.0, Some(64.0)), Ok(vec!["fd00::/64".into()]));
        assert!(subnets("10.0.0.0/24", 3.0, Some(7.0)).is_err());
        assert!(subnets("10.0.0.0/24", 1.0, Some(9.0)).is_err());
        assert!(subnets("0.0.0.0/0", 256.0, Some(31.0)).is_err());
        assert!(subnets("nonsense", 1.0, None).is_err());
    }
}
