//! The canonical request: the one text of a request that caller and callee both compute.
//!
//! Source: IAM User Guide, "Create a signed AWS API request", steps 1 to 3. Where the guide leaves
//! room, the SDKs decide, for it is their requests that arrive: a `+` in a query is a space, a run
//! of blanks in a header is one space, empty path segments vanish.

use aws_lc_rs::digest;

use super::Scope;

/// What the canonical request is made of.
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a [(&'a str, &'a [u8])],
    /// Names in lower case, in order, separated by `;`.
    pub(super) signed_headers: &'a str,
    /// Hexadecimal SHA-256 of the body, or a word that stands for it.
    pub(super) payload_hash: &'a str,
    /// S3 signs the path as it stands: an object's name may hold `//` and `..`.
    pub(super) s3: bool,
}

impl Canonical<'_> {
    /// The canonical request.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let headers_len: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let query_len = self.query.map_or(0, str::len);
        let mut text =
            Vec::with_capacity(self.method.len() + self.path.len() + query_len + headers_len + 256);
        text.extend_from_slice(self.method.as_bytes());
        text.push(b'\n');
        push_path(&mut text, self.path, self.s3);
        text.push(b'\n');
        push_query(&mut text, self.query.unwrap_or_default());
        text.push(b'\n');
        for name in self.signed_headers.split(';') {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            let mut first = true;
            for (_, value) in self.headers.iter().filter(|(other, _)| *other == name) {
                if !first {
                    text.push(b',');
                }
                first = false;
                push_header_value(&mut text, value);
            }
            text.push(b'\n');
        }
        text.push(b'\n');
        text.extend_from_slice(self.signed_headers.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(self.payload_hash.as_bytes());
        text
    }

    /// The string to sign: the canonical request's hash, and what the signature is valid for.
    pub(super) fn string_to_sign(&self, signed_at: super::AmzDate, scope: &Scope) -> String {
        format!(
            "{}\n{signed_at}\n{}/{}/{}/{}\n{}",
            super::ALGORITHM,
            scope.date,
            scope.region,
            scope.service,
            super::TERMINATOR,
            sha256_hex(&self.to_bytes())
        )
    }
}

/// The path. Every service but S3 takes out `.`, `..` and empty segments and then encodes what is
/// already encoded once more; S3 has it encoded once.
fn push_path(text: &mut Vec<u8>, path: &str, s3: bool) {
    if !path.starts_with('/') {
        text.push(b'/');
    }
    if s3 {
        push_encoded(text, decoded(path.as_bytes()), |byte| byte == b'/', false);
        return;
    }
    let plain = |byte: &u8| is_unreserved(*byte) || *byte == b'/';
    if path.bytes().all(|byte| plain(&byte)) && !path.contains("//") && !path.contains("/.") {
        text.extend_from_slice(path.as_bytes());
        return;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    if path.starts_with('/') {
        text.push(b'/');
    }
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            text.push(b'/');
        }
        for byte in segment.bytes() {
            push_byte(text, byte, |_| false);
        }
    }
    // RFC 3986 §5.2.4: what ends in a dot segment ends in a slash.
    let is_directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if is_directory && !segments.is_empty() {
        text.push(b'/');
    }
}

/// The query: names and values encoded, sorted by name and then by value as they are encoded,
/// without `X-Amz-Signature`.
fn push_query(text: &mut Vec<u8>, query: &str) {
    if query.is_empty() {
        return;
    }
    let mut encoded = Vec::with_capacity(query.len() + query.len() / 2);
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Only as it is spelt here, as `Parameters` reads it: a name that was encoded is signed
        // like any other, or something could be added to a query after it was signed.
        if name == "X-Amz-Signature" {
            continue;
        }
        let start = encoded.len();
        push_encoded(&mut encoded, decoded(name.as_bytes()), |_| false, true);
        let middle = encoded.len();
        push_encoded(&mut encoded, decoded(value.as_bytes()), |_| false, true);
        pairs.push((start..middle, middle..encoded.len()));
    }
    pairs.sort_by(|(name, value), (other_name, other_value)| {
        (&encoded[name.clone()], &encoded[value.clone()])
            .cmp(&(&encoded[other_name.clone()], &encoded[other_value.clone()]))
    });
    let mut first = true;
    for (name, value) in pairs {
        if !first {
            text.push(b'&');
        }
        first = false;
        text.extend_from_slice(&encoded[name]);
        text.push(b'=');
        text.extend_from_slice(&encoded[value]);
    }
}

/// A header's value without blanks at its ends, each run of blanks within it one space.
fn push_header_value(text: &mut Vec<u8>, value: &[u8]) {
    let mut first = true;
    for word in value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()) {
        if !first {
            text.push(b' ');
        }
        first = false;
        text.extend_from_slice(word);
    }
}

/// Appends bytes, each with whether it was encoded, in the one form of RFC 3986 in which all but
/// the unreserved and those that `keep` names are `%XX`. What was encoded is not kept.
pub(super) fn push_encoded(
    text: &mut Vec<u8>,
    bytes: impl Iterator<Item = (u8, bool)>,
    keep: impl Fn(u8) -> bool,
    plus_is_space: bool,
) {
    for (byte, was_encoded) in bytes {
        match byte {
            b'+' if plus_is_space && !was_encoded => text.extend_from_slice(b"%20"),
            byte => push_byte(text, byte, |byte| keep(byte) && !was_encoded),
        }
    }
}

fn push_byte(text: &mut Vec<u8>, byte: u8, keep: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if is_unreserved(byte) || keep(byte) {
        text.push(byte);
    } else {
        text.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// The bytes that percent-encoded text stands for, each with whether it was encoded. A `%` that
/// two hexadecimal digits do not follow stands for itself.
pub(super) fn decoded(raw: &[u8]) -> impl Iterator<Item = (u8, bool)> + use<'_> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if let [b'%', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            rest = after;
            return u8::try_from(high * 16 + low).ok().map(|byte| (byte, true));
        }
        let (byte, after) = rest.split_first()?;
        rest = after;
        Some((*byte, false))
    })
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Lower-case hexadecimal SHA-256.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut bytes = Vec::new();
        push(&mut bytes);
        String::from_utf8(bytes).expect("canonical text of ASCII input is ASCII")
    }

    #[test]
    fn paths_are_normalised_and_encoded_twice() {
        for (path, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a//b/", "/a/b/"),
            ("/./a/../b", "/b"),
            ("/..", "/"),
            ("/../..", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/.hidden", "/.hidden"),
            ("/a%20b", "/a%2520b"),
            ("/a b", "/a%20b"),
            ("/ü", "/%C3%BC"),
            ("/%C3%BC", "/%25C3%25BC"),
            ("/x:y@z", "/x%3Ay%40z"),
            ("a", "/a"),
        ] {
            assert_eq!(text(|out| push_path(out, path, false)), canonical, "{path}");
        }
    }

    #[test]
    fn s3_paths_keep_their_segments() {
        for (path, canonical) in [
            ("", "/"),
            ("/my-object//example//photo.user", "/my-object//example//photo.user"),
            ("/a/../b", "/a/../b"),
            ("/a%20b", "/a%20b"),
            ("/a b", "/a%20b"),
            ("/a%2fb", "/a%2Fb"),
            ("/%7Etilde", "/~tilde"),
            ("/a+b", "/a%2Bb"),
        ] {
            assert_eq!(text(|out| push_path(out, path, true)), canonical, "{path}");
        }
    }

    #[test]
    fn queries_are_encoded_and_sorted() {
        for (query, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a=", "a=&a=1&a=2"),
            ("a", "a="),
            ("a&&b", "a=&b="),
            ("a=b=c", "a=b%3Dc"),
            ("Z=1&a=1", "Z=1&a=1"),
            ("a=x y&a=x+y&a=x%20y&a=x%2By", "a=x%20y&a=x%20y&a=x%20y&a=x%2By"),
            ("%61=%7e", "a=~"),
            ("a=%c3%bc", "a=%C3%BC"),
            ("a=ü", "a=%C3%BC"),
            ("a=100%", "a=100%25"),
            ("a=%zz", "a=%25zz"),
            ("X-Amz-Signature=f&a=1", "a=1"),
            ("X-Amz-Signature=f", ""),
            ("X%2DAmz-Signature=f", "X-Amz-Signature=f"),
            // Sorted as encoded: `a-` before `a%`? No: `%` (0x25) comes before `-` (0x2d).
            ("a-=1&a/=1", "a%2F=1&a-=1"),
            // By name first, however the joined texts would compare.
            ("a=1&a-b=1", "a=1&a-b=1"),
        ] {
            assert_eq!(text(|out| push_query(out, query)), canonical, "{query}");
        }
    }

    #[test]
    fn header_values_are_folded() {
        for (value, canonical) in [
            ("", ""),
            ("   ", ""),
            ("  a   b  ", "a b"),
            ("a\t b", "a b"),
            ("\"a  b\"", "\"a b\""),
            ("a", "a"),
        ] {
            assert_eq!(text(|out| push_header_value(out, value.as_bytes())), canonical);
        }
    }

    proptest! {
        /// What is canonical stays as it is: no two readings of one text.
        #[test]
        fn canonical_queries_are_fixed_points(query in "[a-c%&=+ 0-2./ü~-]{0,40}") {
            let once = text(|out| push_query(out, &query));
            prop_assert_eq!(text(|out| push_query(out, &once)), once);
        }

        #[test]
        fn canonical_s3_paths_are_fixed_points(path in "/[a-c%./ +0-9ü]{0,40}") {
            let once = text(|out| push_path(out, &path, true));
            prop_assert_eq!(text(|out| push_path(out, &once, true)), once);
        }
    }
}
