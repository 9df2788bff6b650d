//! Seals and opens values.

use zeroize::Zeroizing;

use super::SecretError;
use crate::master_key::MasterKey;

/// First byte of a sealed value's plaintext: what it is.
const TEXT: u8 = 0;
const BYTES: u8 = 1;

/// A value in the clear; wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretValue {
    /// `SecretString`.
    Text(Zeroizing<String>),
    /// `SecretBinary`.
    Bytes(Zeroizing<Vec<u8>>),
}

impl SecretValue {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Seals and opens values under the master key. Each is bound to its secret's ARN and its version:
/// moved to another row, it does not open.
#[derive(Clone, Copy)]
pub(crate) struct Vault<'a> {
    key: &'a MasterKey,
}

impl<'a> Vault<'a> {
    pub(crate) fn new(key: &'a MasterKey) -> Self {
        Self { key }
    }

    /// What values are sealed under.
    pub(crate) fn master_key(self) -> &'a MasterKey {
        self.key
    }

    pub(crate) fn seal(self, arn: &str, version: &str, value: &SecretValue) -> Result<Vec<u8>, SecretError> {
        let (kind, bytes) = match value {
            SecretValue::Text(text) => (TEXT, text.as_bytes()),
            SecretValue::Bytes(bytes) => (BYTES, bytes.as_slice()),
        };
        // Of its final size from the start: growing would leave copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(1 + bytes.len()));
        plain.push(kind);
        plain.extend_from_slice(bytes);
        self.key.seal(&context(arn, version), &plain).map_err(|error| {
            tracing::error!(%error, "a secret's value could not be sealed");
            SecretError::Seal
        })
    }

    pub(crate) fn open(self, arn: &str, version: &str, sealed: &[u8]) -> Result<SecretValue, SecretError> {
        let plain = self.key.open(&context(arn, version), sealed).map_err(|error| {
            tracing::error!(%error, "a secret's value does not open");
            SecretError::Open
        })?;
        match plain.split_first() {
            Some((&TEXT, text)) => {
                let text = std::str::from_utf8(text).map_err(|_| SecretError::Open)?;
                Ok(SecretValue::text(text))
            }
            Some((&BYTES, bytes)) => Ok(SecretValue::Bytes(Zeroizing::new(bytes.to_vec()))),
            _ => Err(SecretError::Open),
        }
    }
}

/// What a sealed value is bound to.
fn context(arn: &str, version: &str) -> String {
    format!("secrets/{arn} {version}")
}
