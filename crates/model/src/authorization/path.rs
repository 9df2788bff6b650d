//! The readings of a path: as it was sent, and as a server may understand it.

use std::borrow::Cow;

/// A path as it was sent, and (where it differs) with its escapes, dots and double slashes
/// resolved, as many servers do before they look for a handler.
///
/// Source: RFC 3986 §6.2.2 and §5.2.4; that `\` counts as `/` and `;` ends a segment is what
/// servers in use do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths<'a> {
    sent: &'a str,
    resolved: Option<String>,
}

impl<'a> Paths<'a> {
    pub(super) fn of(sent: &'a str) -> Self {
        let bytes = sent.as_bytes();
        let plain = !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
            && !bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
        let resolved = if plain { None } else { Some(resolve(sent)).filter(|resolved| resolved != sent) };
        Self { sent, resolved }
    }

    pub(super) fn readings(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.sent).chain(self.resolved.as_deref())
    }
}

fn resolve(sent: &str) -> String {
    let decoded = decode(sent);
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in decoded.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut path = String::with_capacity(decoded.len() + 1);
    for segment in &segments {
        path.push('/');
        path.push_str(segment);
    }
    if ends_in_slash || path.is_empty() {
        path.push('/');
    }
    path
}

/// Percent-decodes once; what is then no UTF-8 is replaced.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are a byte.
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_servers_understand() {
        for (sent, resolved) in [
            ("/admin", None),
            ("/a%64min", Some("/admin")),
            ("//admin", Some("/admin")),
            ("/x/../admin", Some("/admin")),
            ("/x/..%2fadmin", Some("/admin")),
            ("/./admin/", Some("/admin/")),
            ("/x\\admin", Some("/x/admin")),
            ("/admin;v=1/users", Some("/admin/users")),
            ("/../..", Some("/")),
            ("/.well-known/x", None),
            ("/50%", None),
            ("/%ff", Some("/\u{fffd}")),
            ("*", None),
        ] {
            let paths = Paths::of(sent);
            assert_eq!(paths.resolved.as_deref(), resolved, "{sent}");
            assert_eq!(paths.readings().next(), Some(sent));
        }
    }

    proptest! {
        /// However single characters are escaped, and whatever detour is put in, the reading is the same.
        #[test]
        fn no_spelling_hides_a_path(
            names in prop::collection::vec("[a-z]{1,6}", 1..4),
            escaped in any::<u64>(),
            detour in 0..4usize,
        ) {
            let plain = format!("/{}", names.join("/"));
            let spelled: String = plain
                .chars()
                .enumerate()
                .map(|(place, character)| match character != '/' && escaped >> (place % 64) & 1 == 1 {
                    true => format!("%{:02X}", character as u32),
                    false => character.to_string(),
                })
                .collect();
            let detour = ["", "/", "/x/..", "/."][detour];
            let sent = format!("{detour}{spelled}");
            let paths = Paths::of(&sent);
            prop_assert!(paths.readings().any(|reading| reading == plain), "{sent}: {paths:?}");
        }

        #[test]
        fn any_text_has_readings(text in ".{0,40}") {
            prop_assert!(Paths::of(&text).readings().count() >= 1);
        }
    }
}
