//! The notations of values in paths, queries and headers.

use std::borrow::Cow;

use super::{Scalar, TimestampFormat};
use crate::protocol::{
    Document, Timestamp,
    timestamp::{base64, from_base64},
};

/// Most items of a list in headers.
pub(super) const ITEMS_MAX: usize = 10_000;

impl Scalar {
    /// The notation of a moment, where this is one.
    fn format(self, usual: TimestampFormat) -> TimestampFormat {
        match self {
            Self::TimestampAs(format) => format,
            _ => usual,
        }
    }

    /// What it is, for messages.
    fn name(self) -> &'static str {
        match self {
            Self::Text => "String",
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::Float => "Double",
            Self::Timestamp | Self::TimestampAs(_) => "Timestamp",
            Self::MediaType => "String in base64",
        }
    }
}

/// Reads a value.
///
/// # Errors
/// AWS's sentence for another type.
pub(super) fn read(scalar: Scalar, text: &str, usual: TimestampFormat) -> Result<Document, String> {
    let found = match scalar {
        Scalar::Text => Some(Document::Text(text.to_owned())),
        Scalar::Boolean => match text {
            "true" => Some(Document::Bool(true)),
            "false" => Some(Document::Bool(false)),
            _ => None,
        },
        Scalar::Integer => integer(text).map(Document::Integer),
        Scalar::Float => float(text).map(Document::Double),
        Scalar::Timestamp | Scalar::TimestampAs(_) => {
            moment(scalar.format(usual), text).map(Document::Timestamp)
        }
        Scalar::MediaType => {
            from_base64(text).and_then(|bytes| String::from_utf8(bytes).ok()).map(Document::Text)
        }
    };
    found.ok_or_else(|| format!("STRING_VALUE can not be converted to {}", scalar.name()))
}

/// Writes a value; `None` for what is no scalar.
pub(super) fn write(scalar: Scalar, document: &Document, usual: TimestampFormat) -> Option<String> {
    Some(match document {
        Document::Null | Document::List(_) | Document::Map(_) | Document::Entries(_) => return None,
        Document::Bool(value) => value.to_string(),
        Document::Integer(value) => value.to_string(),
        Document::Double(value) => float_text(*value),
        Document::Text(text) | Document::Untyped(text) => match scalar {
            Scalar::MediaType => base64(text.as_bytes()),
            _ => text.clone(),
        },
        Document::Blob(bytes) => base64(bytes),
        Document::Timestamp(at) => moment_text(scalar.format(usual), *at),
    })
}

fn integer(text: &str) -> Option<i64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust reads further names of these.
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
        _ => None,
    }
}

fn float_text(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => value.to_string(),
    }
}

/// Reads a moment in this notation and no other.
pub(super) fn moment(format: TimestampFormat, text: &str) -> Option<Timestamp> {
    match format {
        TimestampFormat::DateTime if text.contains('T') => Timestamp::parse_iso8601(text),
        TimestampFormat::DateTime => None,
        TimestampFormat::HttpDate => Timestamp::parse_http_date(text),
        TimestampFormat::EpochSeconds => {
            float(text).filter(|seconds| seconds.is_finite()).map(Timestamp::from_seconds)
        }
    }
}

pub(super) fn moment_text(format: TimestampFormat, at: Timestamp) -> String {
    match format {
        TimestampFormat::DateTime => at.iso8601(),
        TimestampFormat::HttpDate => at.http_date(),
        TimestampFormat::EpochSeconds => at.seconds().to_string(),
    }
}

/// The items of a list in a header: between commas, those in quotes without them. A date in HTTP's
/// notation holds a comma itself.
///
/// # Errors
/// A quote is open at the end, or something follows a closed one, or there are too many.
pub(super) fn items(scalar: Scalar, value: &str) -> Result<Vec<Cow<'_, str>>, String> {
    let mut items = Vec::new();
    let mut rest = value.trim_matches([' ', '\t']);
    let dates = matches!(scalar, Scalar::Timestamp | Scalar::TimestampAs(TimestampFormat::HttpDate));
    while !rest.is_empty() {
        if items.len() == ITEMS_MAX {
            return Err(format!("there are more than {ITEMS_MAX} items"));
        }
        let item;
        (item, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (item, after) = unquote(quoted)?;
                (Some(Cow::Owned(item)), after)
            }
            None => {
                let mut commas = rest.match_indices(',').map(|(at, _)| at);
                let end = if dates { commas.nth(1) } else { commas.next() };
                let (item, after) = rest.split_at(end.unwrap_or(rest.len()));
                let item = item.trim_matches([' ', '\t']);
                // RFC 9110 §5.6.1: empty elements do not count.
                ((!item.is_empty()).then_some(Cow::Borrowed(item)), after)
            }
        };
        items.extend(item);
        rest = rest.trim_start_matches([' ', '\t']);
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start_matches([' ', '\t']),
            None if rest.is_empty() => rest,
            None => return Err("something follows a quoted item".to_owned()),
        };
    }
    Ok(items)
}

/// A quoted string (RFC 9110 §5.6.4) after its first quote, and what follows its last.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut item = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((item, &text[at + 1..])),
            '\\' => item.extend(chars.next().map(|(_, c)| c)),
            c => item.push(c),
        }
    }
    Err("a quoted item does not end".to_owned())
}

/// The inverse of [`items`].
pub(super) fn join(scalar: Scalar, items: impl Iterator<Item = String>) -> String {
    let quoted = matches!(scalar, Scalar::Text);
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push_str(", ");
        }
        let plain = !item.is_empty()
            && !item.contains(|c: char| c.is_control() || matches!(c, '"' | ','))
            && !item.starts_with([' ', '\t'])
            && !item.ends_with([' ', '\t']);
        if plain || !quoted {
            out.push_str(&item);
            continue;
        }
        out.push('"');
        for c in item.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USUAL: TimestampFormat = TimestampFormat::HttpDate;

    #[test]
    fn values_are_of_their_type_alone() {
        for (scalar, text) in [
            (Scalar::Boolean, "True"),
            (Scalar::Boolean, ""),
            (Scalar::Integer, "+1"),
            (Scalar::Integer, " 1"),
            (Scalar::Integer, "1.0"),
            (Scalar::Integer, "9223372036854775808"),
            (Scalar::Float, "inf"),
            (Scalar::Float, "nan"),
            (Scalar::Float, "1e999"),
            (Scalar::Timestamp, "2026-11-21T07:01:19Z"),
            (Scalar::TimestampAs(TimestampFormat::DateTime), "2026-11-21"),
            (Scalar::TimestampAs(TimestampFormat::EpochSeconds), "NaN"),
            (Scalar::MediaType, "{}"),
            (Scalar::MediaType, "/w=="),
        ] {
            let error = read(scalar, text, USUAL).expect_err(text);
            assert!(error.starts_with("STRING_VALUE can not be converted to "), "{error}");
        }
        assert_eq!(read(Scalar::Float, "-Infinity", USUAL), Ok(Document::Double(f64::NEG_INFINITY)));
        assert_eq!(read(Scalar::MediaType, "eyJhIjoxfQ==", USUAL), Ok(Document::Text("{\"a\":1}".into())));
    }

    #[test]
    fn lists_are_between_commas_outside_of_quotes_and_dates() {
        let read = |scalar, value| items(scalar, value).map(|items| items.join("|"));
        assert_eq!(read(Scalar::Text, "a, \"b,\\\"c\\\\\" ,,d e,").as_deref(), Ok("a|b,\"c\\|d e"));
        assert_eq!(read(Scalar::Integer, "1,2 , 3").as_deref(), Ok("1|2|3"));
        let dates = "Mon, 16 Dec 2019 23:48:18 GMT, Mon, 16 Dec 2019 23:48:18 GMT";
        assert_eq!(items(Scalar::Timestamp, dates).map(|items| items.len()), Ok(2));
        assert!(items(Scalar::Text, "\"a").is_err() && items(Scalar::Text, "\"a\"b").is_err());
        assert!(items(Scalar::Text, &"a,".repeat(ITEMS_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn lists_that_are_written_are_read(texts in prop::collection::vec("[a\", \\\\ü]{0,6}", 0..6)) {
            let joined = join(Scalar::Text, texts.iter().cloned());
            prop_assert_eq!(items(Scalar::Text, &joined).expect("reads"), texts);
        }

        #[test]
        fn scalars_that_are_written_are_read(number in any::<f64>(), whole in any::<i64>(), seconds in 0..4_000_000_000i64) {
            let at = Document::Timestamp(Timestamp::from_milliseconds(seconds * 1000));
            for (scalar, document) in [
                (Scalar::Float, Document::Double(number)),
                (Scalar::Integer, Document::Integer(whole)),
                (Scalar::Timestamp, at.clone()),
                (Scalar::TimestampAs(TimestampFormat::DateTime), at.clone()),
                (Scalar::TimestampAs(TimestampFormat::EpochSeconds), at),
                (Scalar::MediaType, Document::Text(whole.to_string())),
            ] {
                let text = write(scalar, &document, USUAL).expect("a scalar");
                prop_assert_eq!(format!("{:?}", read(scalar, &text, USUAL)), format!("{:?}", Ok::<_, ()>(document)));
            }
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            for scalar in [Scalar::Text, Scalar::Timestamp] {
                let _ = (items(scalar, &text), read(scalar, &text, USUAL));
            }
        }
    }
}
