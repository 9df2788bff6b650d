//! From a request to a document.

use super::{
    Binding, Kind, Payload, Route, Scalar, TimestampFormat,
    pattern::{Plus, parameters, unescape},
    value,
};
use crate::protocol::{Document, RequestHead, json};

/// Reads the members of a request from all their places.
///
/// The content type is not asked: AWS's services take JSON under any.
///
/// # Errors
/// What is malformed, for people: AWS answers it with a `SerializationException`.
pub(in crate::protocol) fn read(
    route: &Route,
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<Document, String> {
    let labels = route.pattern().values(head.path).ok_or("the path is of another operation")?;
    let query: Vec<_> = parameters(head.query)
        .collect::<Result<_, _>>()
        .map_err(|malformed| format!("the query is malformed: {malformed}"))?;
    let mut members = Vec::new();
    let mut payload = false;
    for binding in route.request {
        let found = match *binding {
            Binding::Label { member, scalar } => {
                let at = |what: String| format!("{what} at '{member}'");
                let (_, text) =
                    labels.iter().find(|(name, _)| *name == member).ok_or("a label is not bound")?;
                let text = unescape(text, Plus::Itself)
                    .map_err(|malformed| at(format!("the path is malformed: {malformed}")))?;
                Some(value::read(scalar, &text, TimestampFormat::DateTime).map_err(at)?)
            }
            Binding::Query { name, member, kind } => {
                let mut given = query.iter().filter(|(found, _)| found == name).map(|(_, text)| &**text);
                let read = |scalar, text: &str| {
                    value::read(scalar, text, TimestampFormat::DateTime)
                        .map_err(|what| format!("{what} at '{member}'"))
                };
                match kind {
                    Kind::One(scalar) => given.next().map(|text| read(scalar, text)).transpose()?,
                    Kind::Many(scalar) => {
                        let items: Vec<_> = given.map(|text| read(scalar, text)).collect::<Result<_, _>>()?;
                        (!items.is_empty()).then_some(Document::List(items))
                    }
                }
            }
            Binding::QueryParams { lists, .. } => query_map(&query, lists),
            Binding::Header { name, member, kind } => {
                header(head, name, kind).map_err(|what| format!("{what} at '{member}'"))?
            }
            Binding::PrefixHeaders { prefix, .. } => prefixed(head, prefix)?,
            Binding::Payload { member, payload: kind } => {
                payload = true;
                self::payload(kind, body).map_err(|what| format!("{what} at '{member}'"))?
            }
            Binding::Status { .. } | Binding::BodyTimestamp { .. } => None,
        };
        if let (Some(member), Some(document)) = (binding.member(), found) {
            members.push((member.to_owned(), document));
        }
    }
    if !payload {
        match json::parse(body).map_err(|error| format!("the body is no JSON: {error}"))? {
            // Nothing in the body stands for what is elsewhere.
            Document::Map(given) => members.extend(given.into_iter().filter(|(name, _)| {
                !route.request.iter().any(|binding| binding.member() == Some(name.as_str()))
            })),
            Document::Null => {}
            _ => return Err("the body is no structure".to_owned()),
        }
    }
    let mut document = Document::Map(members);
    for binding in route.request {
        if let Binding::BodyTimestamp { path, format } = *binding {
            moments(&mut document, path, format).map_err(|what| format!("{what} at '{path}'"))?;
        }
    }
    Ok(document)
}

/// The parameters of a signature in the query and the headers of one elsewhere: they are between the
/// client and the endpoint, are of no operation, and some are secret.
const SIGNATURE_PARAMETERS: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];
const SIGNATURE_HEADERS: [&str; 2] = ["authorization", "x-amz-security-token"];

/// A map of all parameters, in their order.
fn query_map<'a, T: AsRef<str> + 'a>(query: &'a [(T, T)], lists: bool) -> Option<Document> {
    let mut map: Vec<(String, Document)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let of_operation = |name: &str| !SIGNATURE_PARAMETERS.contains(&name);
    for (name, text) in query.iter().filter(|(name, _)| of_operation(name.as_ref())) {
        let text = Document::Text(text.as_ref().to_owned());
        let place = *places.entry(name.as_ref()).or_insert(map.len());
        match map.get_mut(place) {
            None if lists => map.push((name.as_ref().to_owned(), Document::List(vec![text]))),
            None => map.push((name.as_ref().to_owned(), text)),
            Some((_, Document::List(items))) => items.push(text),
            // Of texts the first counts.
            Some(_) => {}
        }
    }
    (!map.is_empty()).then_some(Document::Map(map))
}

fn text(value: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(value)
        .map(|text| text.trim_matches([' ', '\t']))
        .map_err(|_| "the header is no UTF-8".to_owned())
}

fn header(head: &RequestHead<'_>, name: &str, kind: Kind) -> Result<Option<Document>, String> {
    let mut given = head
        .headers
        .iter()
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| text(value));
    let read = |scalar, text: &str| value::read(scalar, text, TimestampFormat::HttpDate);
    match kind {
        Kind::One(scalar) => match given.next().transpose()? {
            // No value is no member, unless no value is a value.
            Some("") if scalar != Scalar::Text => Ok(None),
            Some(text) => read(scalar, text).map(Some),
            None => Ok(None),
        },
        Kind::Many(scalar) => {
            let mut items = None::<Vec<Document>>;
            for text in given {
                let items = items.get_or_insert_default();
                for item in value::items(scalar, text?)? {
                    items.push(read(scalar, &item)?);
                }
                if items.len() > value::ITEMS_MAX {
                    return Err(format!("there are more than {} items", value::ITEMS_MAX));
                }
            }
            Ok(items.map(Document::List))
        }
    }
}

fn prefixed(head: &RequestHead<'_>, prefix: &str) -> Result<Option<Document>, String> {
    let mut map: Vec<(String, Document)> = Vec::new();
    for (name, value) in head.headers {
        if SIGNATURE_HEADERS.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            continue;
        }
        let Some((start, rest)) = name.split_at_checked(prefix.len()) else { continue };
        if start.eq_ignore_ascii_case(prefix) {
            let rest = rest.to_ascii_lowercase();
            // Of two with the same name the first counts; there are few headers.
            if !map.iter().any(|(other, _)| *other == rest) {
                map.push((rest, Document::Text(text(value)?.to_owned())));
            }
        }
    }
    Ok((!map.is_empty()).then_some(Document::Map(map)))
}

fn payload(kind: Payload, body: &[u8]) -> Result<Option<Document>, String> {
    if body.is_empty() {
        return Ok(None);
    }
    Ok(Some(match kind {
        Payload::Json => json::parse(body).map_err(|error| format!("the body is no JSON: {error}"))?,
        Payload::Blob(_) => Document::Blob(body.to_vec()),
        Payload::Text(_) => {
            Document::Text(String::from_utf8(body.to_vec()).map_err(|_| "the body is no UTF-8".to_owned())?)
        }
    }))
}

/// Reads the moments at a path of the body that are in another notation than JSON's own.
fn moments(document: &mut Document, path: &str, format: TimestampFormat) -> Result<(), String> {
    super::at_path(document, path, &mut |found| {
        let at = match &*found {
            Document::Null | Document::Timestamp(_) => return Ok(()),
            Document::Text(text) => value::moment(format, text),
            Document::Integer(_) | Document::Double(_) if format == TimestampFormat::EpochSeconds => {
                return Ok(());
            }
            _ => None,
        };
        let at = at.ok_or_else(|| format!("{} can not be converted to Timestamp", found.kind()))?;
        *found = Document::Timestamp(at);
        Ok(())
    })
}
