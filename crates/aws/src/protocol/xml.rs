//! The notation of responses of the query protocol and of EC2's.

use super::Document;

/// How lists are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `<Tags><member>…</member></Tags>`, maps as `entry` with `key` and `value`.
    Query,
    /// `<tagSet><item>…</item></tagSet>`.
    Ec2,
}

/// Appends `document` as the content of an element.
pub(crate) fn content(out: &mut String, document: &Document, dialect: Dialect) {
    match document {
        Document::Null => {}
        Document::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Document::Integer(value) => out.push_str(&value.to_string()),
        Document::Double(value) => out.push_str(&value.to_string()),
        Document::Text(text) | Document::Untyped(text) => escape(out, text),
        Document::Blob(bytes) => out.push_str(&super::timestamp::base64(bytes)),
        Document::Timestamp(at) => out.push_str(&at.iso8601()),
        Document::List(items) => {
            let name = match dialect {
                Dialect::Query => "member",
                Dialect::Ec2 => "item",
            };
            for item in items {
                element(out, name, item, dialect);
            }
        }
        Document::Map(members) => {
            for (name, value) in members {
                element(out, name, value, dialect);
            }
        }
        Document::Entries(entries) => {
            for (key, value) in entries {
                entry(out, key, value, dialect);
            }
        }
    }
}

/// Appends `<name>…</name>`. A name that no element can have (a key of a map that is data) is
/// written as an entry.
pub(crate) fn element(out: &mut String, name: &str, document: &Document, dialect: Dialect) {
    if !is_name(name) {
        entry(out, name, document, dialect);
        return;
    }
    out.push('<');
    out.push_str(name);
    out.push('>');
    content(out, document, dialect);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

fn entry(out: &mut String, key: &str, value: &Document, dialect: Dialect) {
    out.push_str("<entry><key>");
    escape(out, key);
    out.push_str("</key><value>");
    content(out, value, dialect);
    out.push_str("</value></entry>");
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Text of an element. Characters that XML 1.0 cannot hold at all become U+FFFD.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_the_names_of_their_dialect() {
        let list = Document::Map(vec![(
            "Names".into(),
            Document::List(vec![Document::Text("a<b".into()), Document::Integer(1)]),
        )]);
        let write = |dialect| {
            let mut out = String::new();
            content(&mut out, &list, dialect);
            out
        };
        assert_eq!(write(Dialect::Query), "<Names><member>a&lt;b</member><member>1</member></Names>");
        assert_eq!(write(Dialect::Ec2), "<Names><item>a&lt;b</item><item>1</item></Names>");
    }

    #[test]
    fn a_map_has_entries_whatever_its_keys_are() {
        let mut out = String::new();
        let entries = Document::Entries(vec![("p99".into(), Document::Double(0.5))]);
        element(&mut out, "ExtendedStatistics", &entries, Dialect::Query);
        let wanted =
            "<ExtendedStatistics><entry><key>p99</key><value>0.5</value></entry></ExtendedStatistics>";
        assert_eq!(out, wanted);
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let mut out = String::new();
        escape(&mut out, "a\u{0}b\r");
        assert_eq!(out, "a\u{fffd}b&#xD;");
    }
}
