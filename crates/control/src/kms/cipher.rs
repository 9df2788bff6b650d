//! Encryption under a key.
//!
//! A ciphertext begins with what it takes to find the key: `1`, the key's id (16 bytes), the version's
//! number (4), a salt (16). AES-256-GCM follows, under a key that is derived (HKDF) from the version's
//! material for this salt alone, bound to that head and to the encryption context.

use std::collections::BTreeMap;

use bowline_plumbing::seal::{SealError, SealKey};
use zeroize::Zeroizing;

use super::{KeyRecord, KeyVersion, KmsError};
use crate::{master_key::MasterKey, random};

/// Most bytes that `Encrypt` takes. Source: KMS API reference.
pub(crate) const PLAINTEXT_BYTES_MAX: usize = 4_096;
/// Most bytes of a ciphertext. Source: KMS API reference.
pub(crate) const CIPHERTEXT_BYTES_MAX: usize = 6_144;
/// Most bytes of an encryption context's names and values. Source: KMS's quotas.
const CONTEXT_BYTES_MAX: usize = 8_192;
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const HEAD_BYTES: usize = 1 + ID_BYTES + 4;
const SALT_BYTES: usize = 16;
const MATERIAL_BYTES: usize = 32;
const PURPOSE: &[u8] = b"bowline kms encryption";

/// `EncryptionContext`.
pub(crate) type Context = BTreeMap<String, String>;

/// What a ciphertext says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key_id: String,
    pub(crate) version: u32,
}

/// New material for a key's version of this number.
pub(crate) fn make_material(master: &MasterKey, arn: &str, number: u32) -> Result<Vec<u8>, KmsError> {
    let material = SealKey::generate().map_err(|_| KmsError::Internal)?;
    master.seal(&material_context(arn, number), material.as_bytes()).map_err(|error| {
        tracing::error!(%error, "a key's material could not be sealed");
        KmsError::Internal
    })
}

fn material(
    master: &MasterKey,
    key: &KeyRecord,
    number: u32,
    version: &KeyVersion,
) -> Result<SealKey, KmsError> {
    let opened = master.open(&material_context(key.arn.as_str(), number), &version.sealed);
    let opened = opened.map_err(|error| {
        tracing::error!(%error, "a key's material does not open");
        KmsError::Internal
    })?;
    let mut bytes = Zeroizing::new([0; MATERIAL_BYTES]);
    if opened.len() != bytes.len() {
        return Err(KmsError::Internal);
    }
    bytes.copy_from_slice(&opened);
    Ok(SealKey::from_bytes(*bytes))
}

/// What sealed material is bound to.
fn material_context(arn: &str, number: u32) -> String {
    format!("kms/{arn} {number}")
}

/// Refuses a context that is too long.
pub(crate) fn check_context(context: &Context) -> Result<(), KmsError> {
    let length: usize = context.iter().map(|(name, value)| name.len() + value.len()).sum();
    match length {
        0..=CONTEXT_BYTES_MAX => Ok(()),
        _ => Err(KmsError::Parameter(format!(
            "The encryption context must have at most {CONTEXT_BYTES_MAX} bytes."
        ))),
    }
}

/// Encrypts under the key's present material.
pub(crate) fn encrypt(
    master: &MasterKey,
    key: &KeyRecord,
    context: &Context,
    plain: &[u8],
) -> Result<Vec<u8>, KmsError> {
    let (number, version) = key.current();
    let mut text = vec![VERSION];
    text.extend_from_slice(&id_bytes(&key.id).ok_or(KmsError::Internal)?);
    text.extend_from_slice(&number.to_be_bytes());
    let salt: [u8; SALT_BYTES] = random::bytes();
    let bound = bound(&text, context);
    let sealed = material(master, key, number, version)?.derive(&salt, PURPOSE).seal(&bound, plain);
    text.extend_from_slice(&salt);
    text.append(&mut sealed.map_err(|_| KmsError::Internal)?);
    Ok(text)
}

/// Decrypts what [`encrypt`] made under any of the key's material.
pub(crate) fn decrypt(
    master: &MasterKey,
    key: &KeyRecord,
    context: &Context,
    text: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let head = head(text)?;
    if head.key_id != key.id {
        return Err(KmsError::IncorrectKey);
    }
    let version = usize::try_from(head.version).ok().and_then(|number| key.versions.get(number));
    let version = version.ok_or(KmsError::Ciphertext)?;
    let (head_bytes, rest) = text.split_at(HEAD_BYTES);
    let (salt, sealed) = rest.split_at_checked(SALT_BYTES).ok_or(KmsError::Ciphertext)?;
    let opened = material(master, key, head.version, version)?
        .derive(salt, PURPOSE)
        .open(&bound(head_bytes, context), sealed);
    opened.map(Zeroizing::new).map_err(|error| match error {
        SealError::Authentication | SealError::Format => KmsError::Ciphertext,
        SealError::Randomness => KmsError::Internal,
    })
}

/// Which key a ciphertext is of. Nothing is believed of it before it was decrypted.
pub(crate) fn head(text: &[u8]) -> Result<Head, KmsError> {
    let (&version, rest) = text.split_first().ok_or(KmsError::Ciphertext)?;
    let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or(KmsError::Ciphertext)?;
    let (number, _) = rest.split_first_chunk::<4>().ok_or(KmsError::Ciphertext)?;
    if version != VERSION {
        return Err(KmsError::Ciphertext);
    }
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let key_id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Ok(Head { key_id, version: u32::from_be_bytes(*number) })
}

fn id_bytes(id: &str) -> Option<[u8; ID_BYTES]> {
    let digits: Vec<u32> = id.chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let mut bytes = [0; ID_BYTES];
    if digits.len() != 2 * ID_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] << 4 | pair[1]).ok()?;
    }
    Some(bytes)
}

/// Head and context, each part with its length: no two contexts have the same bytes.
fn bound(head: &[u8], context: &Context) -> Vec<u8> {
    let mut bytes = head.to_vec();
    for (name, value) in context {
        for part in [name, value] {
            // Contexts are shorter than 4 GiB: see `check_context`.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes
}
