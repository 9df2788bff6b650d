//! Policy documents as they come in and go out.

use bowline_model::policy::{MalformedPolicyDocument, POLICY_BYTES_MAX, Policy, PolicyKind};
use thiserror::Error;

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// It is no policy.
    #[error(transparent)]
    Malformed(#[from] MalformedPolicyDocument),
    /// It has more characters than its place allows.
    #[error("Cannot exceed quota for PolicySize: {0}")]
    TooLong(usize),
}

/// The characters that count: all but white space.
pub fn characters(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}

/// Refuses a document that is no policy of this kind, or longer than `characters_max`.
///
/// # Errors
/// See [`DocumentError`].
pub fn check(kind: PolicyKind, document: &str, characters_max: usize) -> Result<(), DocumentError> {
    if document.len() <= POLICY_BYTES_MAX && characters(document) > characters_max {
        return Err(DocumentError::TooLong(characters_max));
    }
    Policy::parse(kind, document, characters_max)?;
    Ok(())
}

/// A document as IAM's answers hold it: percent-encoded (RFC 3986).
pub fn percent_encoded(document: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(document.len() * 2);
    for byte in document.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_percent_encoded_as_rfc_3986_has_it() {
        assert_eq!(percent_encoded("{\"a b\": \"ä~*\"}"), "%7B%22a%20b%22%3A%20%22%C3%A4~%2A%22%7D");
    }

    #[test]
    fn tells_what_is_too_long_from_what_is_no_policy() {
        let document =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        assert_eq!(check(PolicyKind::Identity, document, 6144), Ok(()));
        assert_eq!(check(PolicyKind::Identity, document, 10), Err(DocumentError::TooLong(10)));
        let spaced = document.replace(',', " ,  ");
        assert_eq!(check(PolicyKind::Identity, &spaced, characters(document)), Ok(()));
        assert!(matches!(check(PolicyKind::Trust, document, 6144), Err(DocumentError::Malformed(_))));
        assert!(matches!(check(PolicyKind::Identity, "{", 6144), Err(DocumentError::Malformed(_))));
    }
}
