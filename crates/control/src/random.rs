//! Ids that nobody can guess.

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_model::{service::DeploymentId, task::TaskId};
use zeroize::Zeroizing;

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("AWS-LC aborts where the system has no random numbers");
    bytes
}

/// An id for a new task.
pub(crate) fn task_id() -> TaskId {
    TaskId::from_random(bytes())
}

/// An id for a new deployment.
pub(crate) fn deployment_id() -> DeploymentId {
    DeploymentId::from_random(u64::from_le_bytes(bytes()))
}

/// A random (version 4) UUID, as AWS's request ids, event ids and tokens are.
pub(crate) fn uuid() -> String {
    crate::audit::event::EventId::random().to_string()
}

/// `length` random characters of base 32 (`A`–`Z`, `2`–`7`): the end of an access key's id and of
/// IAM's unique ids.
pub(crate) fn base32(length: usize) -> String {
    const CHARACTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let characters = bytes::<32>().map(|byte| char::from(CHARACTERS[usize::from(byte % 32)]));
        text.extend(characters.iter().take(length - text.len()));
    }
    text
}

/// A new secret access key: 40 characters, 240 random bits.
pub(crate) fn secret() -> Zeroizing<String> {
    let bytes = Zeroizing::new(bytes::<30>());
    Zeroizing::new(STANDARD.encode(bytes.as_slice()))
}

/// `length` random letters and digits: the end of an AWS id such as `ns-…` or `srv-…`.
pub(crate) fn alphanumeric(length: usize) -> String {
    const CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in bytes::<32>() {
            // 252 is the largest multiple of 36 in a byte: no character is likelier than another.
            if byte < 252 && text.len() < length {
                text.push(char::from(CHARACTERS[usize::from(byte) % 36]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(uuid, super::uuid());
        assert_eq!(alphanumeric(16).len(), 16);
    }
}
