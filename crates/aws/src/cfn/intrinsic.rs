//! The intrinsic functions, taken apart: name, arguments, and whether those have the right form.

use super::diagnostic::Span;
use super::tree::{Entry, Kind, Node};

/// A call with its arguments still unevaluated.
#[derive(Debug)]
pub(super) enum Call<'t> {
    Ref(&'t str),
    GetAtt { resource: &'t str, attribute: Attribute<'t> },
    Sub { pieces: Vec<Piece<'t>>, variables: &'t [Entry] },
    Join { delimiter: &'t str, items: &'t Node },
    Select { index: &'t Node, items: &'t Node },
    Split { delimiter: &'t str, source: &'t Node },
    FindInMap([&'t Node; 3]),
    If { condition: &'t str, then: &'t Node, otherwise: &'t Node },
    Base64(&'t Node),
    GetAzs(&'t Node),
    ImportValue(&'t Node),
    Cidr { block: &'t Node, count: &'t Node, bits: Option<&'t Node> },
    Condition(&'t str),
    Equals(&'t Node, &'t Node),
    And(&'t [Node]),
    Or(&'t [Node]),
    Not(&'t Node),
}

/// The attribute of a `Fn::GetAtt`.
#[derive(Debug)]
pub(super) enum Attribute<'t> {
    Named(&'t str),
    /// The list form may compute it.
    Computed(&'t Node),
}

/// One piece of a `Fn::Sub` template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// `${!Literal}`, which stands for `${Literal}`.
    Literal(&'t str),
    /// `${Name}` or `${Resource.Attribute}`
    Name(&'t str),
}

/// What is wrong with a call's form.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) code: &'static str,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// The functions that are evaluated, for "did you mean".
pub(super) const NAMES: &[&str] = &[
    "Fn::And",
    "Fn::Base64",
    "Fn::Cidr",
    "Fn::Equals",
    "Fn::FindInMap",
    "Fn::GetAZs",
    "Fn::GetAtt",
    "Fn::If",
    "Fn::ImportValue",
    "Fn::Join",
    "Fn::Not",
    "Fn::Or",
    "Fn::Select",
    "Fn::Split",
    "Fn::Sub",
    "Ref",
];

/// Whether a node is a call of an intrinsic function, well formed or not.
pub(super) fn is_call(node: &Node) -> bool {
    matches!(node.map(), Some([entry]) if entry.key == "Ref" || entry.key.starts_with("Fn::"))
}

/// What the call may evaluate to without computing anything: the branches of `Fn::If`.
pub(super) fn branches(node: &Node) -> &[Node] {
    match node.map() {
        Some([entry]) if entry.key == "Fn::If" => match entry.value.list() {
            Some([_, branches @ ..]) if branches.len() == 2 => branches,
            _ => &[],
        },
        _ => &[],
    }
}

/// The call that a node is, or `None` if it is none. `{"Condition": "Name"}` is one only where
/// `in_condition` says so: elsewhere `Condition` is an ordinary key, of policies for one.
pub(super) fn parse(node: &Node, in_condition: bool) -> Option<Result<Call<'_>, Malformed>> {
    let Some([entry]) = node.map() else { return None };
    let argument = &entry.value;
    let call = match entry.key.as_str() {
        "Ref" => string(argument, "Ref").map(Call::Ref),
        "Condition" if in_condition => string(argument, "Condition").map(Call::Condition),
        "Fn::GetAtt" => get_att(argument),
        "Fn::Sub" => sub(argument),
        "Fn::Join" => list(argument, "Fn::Join", "[delimiter, list]").and_then(|[delimiter, items]| {
            Ok(Call::Join { delimiter: string(delimiter, "the delimiter of Fn::Join")?, items })
        }),
        "Fn::Select" => {
            list(argument, "Fn::Select", "[index, list]").map(|[index, items]| Call::Select { index, items })
        }
        "Fn::Split" => list(argument, "Fn::Split", "[delimiter, string]").and_then(|[delimiter, source]| {
            match string(delimiter, "the delimiter of Fn::Split")? {
                "" => Err(malformed(delimiter.span, "the delimiter of Fn::Split is empty")),
                delimiter => Ok(Call::Split { delimiter, source }),
            }
        }),
        "Fn::FindInMap" => list(argument, "Fn::FindInMap", "[map, top-level key, second-level key]")
            .map(|[map, top, second]| Call::FindInMap([map, top, second])),
        "Fn::If" => list(argument, "Fn::If", "[condition, value if true, value if false]").and_then(
            |[name, then, otherwise]| {
                Ok(Call::If { condition: string(name, "the condition of Fn::If")?, then, otherwise })
            },
        ),
        "Fn::Base64" => Ok(Call::Base64(argument)),
        "Fn::GetAZs" => Ok(Call::GetAzs(argument)),
        "Fn::ImportValue" => Ok(Call::ImportValue(argument)),
        "Fn::Cidr" => match argument.list() {
            Some([block, count]) => Ok(Call::Cidr { block, count, bits: None }),
            Some([block, count, bits]) => Ok(Call::Cidr { block, count, bits: Some(bits) }),
            _ => Err(malformed(argument.span, "Fn::Cidr takes [block, count, host bits]")),
        },
        "Fn::Equals" => list(argument, "Fn::Equals", "[value, value]").map(|[a, b]| Call::Equals(a, b)),
        "Fn::And" => conditions(argument, "Fn::And").map(Call::And),
        "Fn::Or" => conditions(argument, "Fn::Or").map(Call::Or),
        "Fn::Not" => match argument.list() {
            Some([condition]) => Ok(Call::Not(condition)),
            _ => Err(malformed(argument.span, "Fn::Not takes a list of one condition")),
        },
        name if name.starts_with("Fn::") => Err(refused(name, entry)),
        _ => return None,
    };
    Some(call)
}

fn refused(name: &str, entry: &Entry) -> Malformed {
    let (message, help) = match name {
        "Fn::Transform" => (
            "Fn::Transform is not supported: macros run in an AWS account".to_owned(),
            Some(
                "use the processed template: aws cloudformation get-template --template-stage Processed"
                    .to_owned(),
            ),
        ),
        name if name == "Fn::Length" || name == "Fn::ToJsonString" || name.starts_with("Fn::ForEach") => (
            format!("{name} needs the transform AWS::LanguageExtensions, which is not supported"),
            Some(
                "use the processed template: aws cloudformation get-template --template-stage Processed"
                    .to_owned(),
            ),
        ),
        name => (
            format!("there is no intrinsic function `{name}`"),
            super::suggest::nearest(name, NAMES.iter().copied())
                .map(|nearest| format!("did you mean `{nearest}`?")),
        ),
    };
    Malformed { code: "unsupported-function", span: entry.key_span, message, help }
}

fn malformed(span: Span, message: impl Into<String>) -> Malformed {
    Malformed { code: "malformed-function", span, message: message.into(), help: None }
}

fn string<'t>(node: &'t Node, what: &str) -> Result<&'t str, Malformed> {
    node.name()
        .ok_or_else(|| malformed(node.span, format!("{what} must be a string, not {}", node.kind_name())))
}

fn list<'t, const N: usize>(node: &'t Node, name: &str, form: &str) -> Result<[&'t Node; N], Malformed> {
    let fault = || malformed(node.span, format!("{name} takes {form}"));
    let items = node.list().ok_or_else(fault)?;
    items.iter().collect::<Vec<_>>().try_into().map_err(|_| fault())
}

fn conditions<'t>(node: &'t Node, name: &str) -> Result<&'t [Node], Malformed> {
    match node.list() {
        Some(list) if (2..=10).contains(&list.len()) => Ok(list),
        _ => Err(malformed(node.span, format!("{name} takes a list of 2 to 10 conditions"))),
    }
}

fn get_att(argument: &Node) -> Result<Call<'_>, Malformed> {
    let form = "Fn::GetAtt takes `Resource.Attribute` or [Resource, Attribute]";
    if let Some(text) = argument.str() {
        return match text.split_once('.') {
            Some((resource, attribute)) if !resource.is_empty() && !attribute.is_empty() => {
                Ok(Call::GetAtt { resource, attribute: Attribute::Named(attribute) })
            }
            _ => Err(malformed(argument.span, form)),
        };
    }
    match argument.list() {
        Some([resource, attribute]) => {
            let resource = resource.str().ok_or_else(|| malformed(resource.span, form))?;
            let attribute = match attribute.str() {
                Some(name) => Attribute::Named(name),
                None if is_call(attribute) => Attribute::Computed(attribute),
                None => return Err(malformed(attribute.span, form)),
            };
            Ok(Call::GetAtt { resource, attribute })
        }
        _ => Err(malformed(argument.span, form)),
    }
}

fn sub(argument: &Node) -> Result<Call<'_>, Malformed> {
    let form = "Fn::Sub takes a string, or [string, map of variables]";
    let (template, variables): (&Node, &[Entry]) = match &argument.kind {
        Kind::List(items) => match items.as_slice() {
            [template, variables] => {
                (template, variables.map().ok_or_else(|| malformed(variables.span, form))?)
            }
            _ => return Err(malformed(argument.span, form)),
        },
        _ => (argument, &[]),
    };
    let text = template.text().ok_or_else(|| malformed(template.span, form))?;
    let pieces = pieces(text).map_err(|message| malformed(template.span, message))?;
    Ok(Call::Sub { pieces, variables })
}

/// Takes the template of a `Fn::Sub` apart.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        let inner = &rest[start + 2..];
        let end =
            inner.find('}').ok_or("`${` without its `}` in Fn::Sub; a literal `${` is written `${!`")?;
        let name = &inner[..end];
        match name.strip_prefix('!') {
            Some(literal) => pieces.push(Piece::Literal(literal)),
            None if name.trim().is_empty() => return Err("`${}` names nothing in Fn::Sub".to_owned()),
            None => pieces.push(Piece::Name(name.trim())),
        }
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Calls `visit` with each resource or parameter that a value refers to, in the branches that
/// `choose` takes (`None`: in both).
pub(super) fn references<'t>(
    node: &'t Node,
    choose: &dyn Fn(&str) -> Option<bool>,
    visit: &mut dyn FnMut(&'t str, Span),
) {
    match parse(node, false) {
        Some(Ok(Call::Ref(name))) => visit(name, node.span),
        Some(Ok(Call::GetAtt { resource, attribute })) => {
            visit(resource, node.span);
            if let Attribute::Computed(attribute) = attribute {
                references(attribute, choose, visit);
            }
        }
        Some(Ok(Call::Sub { pieces, variables })) => {
            for piece in pieces {
                if let Piece::Name(name) = piece
                    && !variables.iter().any(|variable| variable.key == name)
                {
                    visit(name.split_once('.').map_or(name, |(resource, _)| resource), node.span);
                }
            }
            variables.iter().for_each(|variable| references(&variable.value, choose, visit));
        }
        Some(Ok(Call::If { condition, then, otherwise })) => {
            let chosen = choose(condition);
            if chosen != Some(false) {
                references(then, choose, visit);
            }
            if chosen != Some(true) {
                references(otherwise, choose, visit);
            }
        }
        _ => match &node.kind {
            Kind::List(items) => items.iter().for_each(|item| references(item, choose, visit)),
            Kind::Map(entries) => entries.iter().for_each(|entry| references(&entry.value, choose, visit)),
            _ => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_template_falls_into_text_names_and_literals() {
        let found = pieces("a${B}c${!D}$e${F.G}").expect("well formed");
        let expected = [
            Piece::Text("a"),
            Piece::Name("B"),
            Piece::Text("c"),
            Piece::Literal("D"),
            Piece::Text("$e"),
            Piece::Name("F.G"),
        ];
        assert_eq!(found, expected);
        assert!(pieces("${").is_err());
        assert!(pieces("${}").is_err());
    }
}
