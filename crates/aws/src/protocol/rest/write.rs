//! From a document to a response.

use std::borrow::Cow;

use super::{Binding, Kind, Payload, Rest, Route, Scalar, TimestampFormat, value};
use crate::protocol::{Document, Fault, Response, json};

/// The media type of bodies.
const JSON: &str = "application/json";

/// Writes the answer of an operation that succeeded.
///
/// A body without members is `{}`, but where the status allows none; a payload that is absent is
/// no body.
pub(in crate::protocol) fn write(route: &Route, document: &Document) -> Response {
    let mut parts = Parts::new(document, route.response);
    let status = parts.status.unwrap_or(route.status);
    let bodiless = matches!(status, 204 | 205 | 304);
    let (media_type, body) = match parts.payload.take() {
        Some((_, None)) => (JSON, Vec::new()),
        Some((Payload::Json, Some(document))) => (JSON, json::write(document)),
        Some((Payload::Blob(media_type), Some(Document::Blob(bytes)))) => (media_type, bytes.clone()),
        Some((Payload::Text(media_type) | Payload::Blob(media_type), Some(document))) => {
            let text = value::write(Scalar::Text, document, TimestampFormat::DateTime);
            (media_type, text.unwrap_or_default().into_bytes())
        }
        None if bodiless => (JSON, Vec::new()),
        None => (JSON, parts.body(route.response)),
    };
    let mut headers = parts.headers;
    let body = if bodiless { Vec::new() } else { body };
    if !body.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push((Cow::Borrowed("content-type"), media_type.to_owned()));
    }
    Response { status, headers, body }
}

/// Writes an error: its code in `x-amzn-errortype`, its sentence and its members in the body.
pub(in crate::protocol) fn write_fault(rest: &Rest, fault: &Fault) -> Response {
    let mut members = Vec::new();
    if !fault.members.iter().any(|(name, _)| name.eq_ignore_ascii_case("message")) {
        members.push((rest.message_member.to_owned(), Document::Text(fault.message.clone())));
    }
    members.extend(fault.members.iter().cloned());
    let bindings = rest.errors.iter().find(|(code, _)| *code == fault.code).map_or(&[][..], |(_, of)| of);
    let document = Document::Map(members);
    let parts = Parts::new(&document, bindings);
    let body = parts.body(bindings);
    let mut headers = parts.headers;
    headers.retain(|(name, _)| name != "content-type" && name != "x-amzn-errortype");
    headers.push((Cow::Borrowed("content-type"), JSON.to_owned()));
    headers.push((Cow::Borrowed("x-amzn-errortype"), sendable(&fault.code)));
    if let Some(seconds) = fault.retry_after {
        headers.retain(|(name, _)| name != "retry-after");
        headers.push((Cow::Borrowed("retry-after"), seconds.to_string()));
    }
    Response { status: fault.status, headers, body }
}

/// A document taken apart by where its members go.
struct Parts<'a> {
    status: Option<u16>,
    headers: Vec<(Cow<'static, str>, String)>,
    /// There is a payload, with its value where there is one.
    payload: Option<(Payload, Option<&'a Document>)>,
    /// What stays in the body.
    members: Vec<(&'a str, &'a Document)>,
}

impl<'a> Parts<'a> {
    fn new(document: &'a Document, bindings: &[Binding]) -> Self {
        let mut parts = Self { status: None, headers: Vec::new(), payload: None, members: Vec::new() };
        if let Document::Map(members) = document {
            let bound = |name: &str| bindings.iter().any(|binding| binding.member() == Some(name));
            parts.members = members
                .iter()
                .filter(|(name, _)| !bound(name))
                .map(|(name, value)| (name.as_str(), value))
                .collect();
        }
        for binding in bindings {
            let found = binding.member().and_then(|member| document.get(member));
            let found = found.filter(|found| **found != Document::Null);
            match (*binding, found) {
                (Binding::Header { name, kind, .. }, Some(found)) => {
                    let text = header(kind, found).map(|text| sendable(&text));
                    parts.headers.extend(text.map(|text| (Cow::Borrowed(name), text)));
                }
                (Binding::PrefixHeaders { prefix, .. }, Some(Document::Map(members))) => {
                    for (name, value) in members {
                        let name = format!("{prefix}{}", name.to_ascii_lowercase());
                        let text = value::write(Scalar::Text, value, TimestampFormat::HttpDate);
                        if let (true, Some(text)) = (is_token(&name), text) {
                            parts.headers.push((Cow::Owned(name), sendable(&text)));
                        }
                    }
                }
                (Binding::Payload { payload, .. }, found) => parts.payload = Some((payload, found)),
                (Binding::Status { .. }, Some(Document::Integer(status))) => {
                    // Below are those that are not final.
                    parts.status = u16::try_from(*status).ok().filter(|status| (200..600).contains(status));
                }
                _ => {}
            }
        }
        parts
    }

    /// The structure that stays, in JSON.
    fn body(&self, bindings: &[Binding]) -> Vec<u8> {
        let members = self.members.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone()));
        let mut document = Document::Map(members.collect());
        for binding in bindings {
            if let Binding::BodyTimestamp { path, format } = *binding {
                let written = super::at_path(&mut document, path, &mut |found| {
                    if let Document::Timestamp(at) = *found
                        && format != TimestampFormat::EpochSeconds
                    {
                        *found = Document::Text(value::moment_text(format, at));
                    }
                    Ok(())
                });
                debug_assert!(written.is_ok(), "nothing above fails");
            }
        }
        json::write(&document)
    }
}

/// A header's value; an empty list has none.
fn header(kind: Kind, document: &Document) -> Option<String> {
    const USUAL: TimestampFormat = TimestampFormat::HttpDate;
    match (kind, document) {
        (Kind::Many(scalar), Document::List(items)) => {
            let mut texts = items.iter().filter_map(|item| value::write(scalar, item, USUAL)).peekable();
            texts.peek().is_some().then(|| value::join(scalar, texts))
        }
        (Kind::One(scalar) | Kind::Many(scalar), document) => value::write(scalar, document, USUAL),
    }
}

/// What a header can carry: a control character becomes a blank, so that no text ends the header.
fn sendable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether a header can be called so (RFC 9110 §5.6.2).
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
