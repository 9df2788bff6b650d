//! Encryption, decryption and data keys.

use bowline_aws::{
    kms::{
        DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, GenerateDataKeyRequest,
        GenerateDataKeyResponse, GenerateRandomRequest, GenerateRandomResponse, ReEncryptRequest,
        ReEncryptResponse, RecipientInfo,
    },
    protocol::{Blob, Fault},
};
use zeroize::Zeroizing;

use super::{check_key_id, dry, grants::check_tokens, invalid, master, not_found};
use crate::{
    api::{call::Call, constraint},
    kms::{
        KeyRecord, KmsError, SYMMETRIC,
        cipher::{self, CIPHERTEXT_BYTES_MAX, Context, PLAINTEXT_BYTES_MAX},
        commands, find, find_by_any, rotation,
    },
};

const RSA_ALGORITHMS: &[&str] = &["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"];

/// A key for use: it is there, enabled, a customer's, and its material is as new as it should be.
fn usable(call: &Call<'_>, given: &str) -> Result<KeyRecord, Fault> {
    check_key_id(given)?;
    let registry = call.registry();
    let key = find_by_any(&registry, given, call.now).map_err(not_found)?;
    key.customers()?;
    key.usable()?;
    if !rotation::is_due(key, call.now) {
        return Ok(key.clone());
    }
    call.change(|registry| {
        Ok(commands::change(registry, &key.id, call.now, |key| {
            rotation::rotate_if_due(master(call), key, call.now)?;
            Ok(key.clone())
        })?)
    })
}

fn check_algorithm(given: Option<&str>) -> Result<(), Fault> {
    match given {
        None => Ok(()),
        Some(given) if given == SYMMETRIC => Ok(()),
        Some(given) if RSA_ALGORITHMS.contains(&given) => {
            Err(KmsError::Usage(format!("{given} is no algorithm of a symmetric key.")).into())
        }
        Some(given) => Err(invalid(format!(
            "1 validation error detected: Value '{given}' at 'encryptionAlgorithm' failed to satisfy constraint: \
             Member must satisfy enum value set: [{SYMMETRIC}, {}]",
            RSA_ALGORITHMS.join(", ")
        ))),
    }
}

fn no_enclave(recipient: Option<&RecipientInfo>) -> Result<(), Fault> {
    match recipient {
        None => Ok(()),
        Some(_) => Err(invalid("Recipient: attestation of enclaves is not served here.")),
    }
}

fn ciphertext(given: Option<Blob>) -> Result<Vec<u8>, Fault> {
    let Some(Blob(bytes)) = given else {
        return Err(invalid("CiphertextBlob is needed: DryRunModifiers are not served here."));
    };
    constraint::items("ciphertextBlob", bytes.len(), 1..=CIPHERTEXT_BYTES_MAX).map_err(invalid)?;
    Ok(bytes)
}

/// Decrypts; the key is the one that the ciphertext names, which `given` must be if there is one.
fn opened(
    call: &Call<'_>,
    given: Option<&str>,
    text: &[u8],
    context: &Context,
) -> Result<(KeyRecord, Zeroizing<Vec<u8>>, String), Fault> {
    cipher::check_context(context)?;
    let head = cipher::head(text)?;
    if let Some(given) = given {
        check_key_id(given)?;
        let registry = call.registry();
        if find_by_any(&registry, given, call.now).map_err(not_found)?.id != head.key_id {
            return Err(KmsError::IncorrectKey.into());
        }
    }
    let registry = call.registry();
    let key = find(&registry, &head.key_id, call.now).map_err(not_found)?;
    key.customers()?;
    key.usable()?;
    let plain = cipher::decrypt(master(call), key, context, text)?;
    let material = usize::try_from(head.version).ok().and_then(|number| key.versions.get(number));
    let material = material.map(|version| version.material_id.clone()).unwrap_or_default();
    Ok((key.clone(), plain, material))
}

pub(super) fn encrypt(call: &Call<'_>, request: EncryptRequest) -> Result<EncryptResponse, Fault> {
    let plain = Zeroizing::new(request.plaintext.0);
    constraint::items("plaintext", plain.len(), 1..=PLAINTEXT_BYTES_MAX)
        .map_err(|_| invalid(format!("Plaintext must have 1 to {PLAINTEXT_BYTES_MAX} bytes.")))?;
    cipher::check_context(&request.encryption_context)?;
    check_algorithm(request.encryption_algorithm.as_deref())?;
    check_tokens(call, &request.grant_tokens)?;
    let key = usable(call, &request.key_id)?;
    dry(request.dry_run)?;
    let text = cipher::encrypt(master(call), &key, &request.encryption_context, &plain)?;
    Ok(EncryptResponse {
        ciphertext_blob: Blob(text),
        key_id: key.arn.to_string(),
        encryption_algorithm: SYMMETRIC.into(),
    })
}

pub(super) fn decrypt(call: &Call<'_>, request: DecryptRequest) -> Result<DecryptResponse, Fault> {
    no_enclave(request.recipient.as_ref())?;
    check_algorithm(request.encryption_algorithm.as_deref())?;
    check_tokens(call, &request.grant_tokens)?;
    let text = ciphertext(request.ciphertext_blob)?;
    let (key, plain, material) = opened(call, request.key_id.as_deref(), &text, &request.encryption_context)?;
    dry(request.dry_run)?;
    Ok(DecryptResponse {
        key_id: key.arn.to_string(),
        plaintext: Blob(plain.to_vec()),
        encryption_algorithm: SYMMETRIC.into(),
        key_material_id: material,
    })
}

pub(super) fn re_encrypt(call: &Call<'_>, request: ReEncryptRequest) -> Result<ReEncryptResponse, Fault> {
    check_algorithm(request.source_encryption_algorithm.as_deref())?;
    check_algorithm(request.destination_encryption_algorithm.as_deref())?;
    check_tokens(call, &request.grant_tokens)?;
    cipher::check_context(&request.destination_encryption_context)?;
    let text = ciphertext(request.ciphertext_blob)?;
    let (source, plain, material) =
        opened(call, request.source_key_id.as_deref(), &text, &request.source_encryption_context)?;
    let key = usable(call, &request.destination_key_id)?;
    dry(request.dry_run)?;
    let text = cipher::encrypt(master(call), &key, &request.destination_encryption_context, &plain)?;
    Ok(ReEncryptResponse {
        ciphertext_blob: Blob(text),
        source_key_id: source.arn.to_string(),
        key_id: key.arn.to_string(),
        source_encryption_algorithm: SYMMETRIC.into(),
        destination_encryption_algorithm: SYMMETRIC.into(),
        source_key_material_id: material,
        destination_key_material_id: key.current().1.material_id.clone(),
    })
}

/// How long a data key is to be.
fn data_key_bytes(request: &GenerateDataKeyRequest) -> Result<usize, Fault> {
    let bytes = match (request.key_spec.as_deref(), request.number_of_bytes) {
        (Some("AES_256"), None) => 32,
        (Some("AES_128"), None) => 16,
        (Some(given), None) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{given}' at 'keySpec' failed to satisfy constraint: Member \
                 must satisfy enum value set: [AES_256, AES_128]"
            )));
        }
        (None, Some(bytes)) => {
            constraint::range("numberOfBytes", bytes, 1..=1_024).map_err(invalid)?;
            bytes
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(invalid("Please specify either number of bytes or key spec."));
        }
    };
    Ok(usize::try_from(bytes).unwrap_or(1))
}

fn random_bytes(length: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KmsError::Internal)?;
    Ok(bytes)
}

fn make_data_key(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
    with_plaintext: bool,
) -> Result<GenerateDataKeyResponse, Fault> {
    no_enclave(request.recipient.as_ref())?;
    let length = data_key_bytes(&request)?;
    cipher::check_context(&request.encryption_context)?;
    check_tokens(call, &request.grant_tokens)?;
    let key = usable(call, &request.key_id)?;
    dry(request.dry_run)?;
    let plain = random_bytes(length)?;
    let text = cipher::encrypt(master(call), &key, &request.encryption_context, &plain)?;
    Ok(GenerateDataKeyResponse {
        ciphertext_blob: Blob(text),
        plaintext: with_plaintext.then(|| Blob(plain.to_vec())),
        key_id: key.arn.to_string(),
        key_material_id: key.current().1.material_id.clone(),
    })
}

pub(super) fn data_key(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
) -> Result<GenerateDataKeyResponse, Fault> {
    make_data_key(call, request, true)
}

pub(super) fn data_key_without_plaintext(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
) -> Result<GenerateDataKeyResponse, Fault> {
    make_data_key(call, request, false)
}

pub(super) fn random(
    _call: &Call<'_>,
    request: GenerateRandomRequest,
) -> Result<GenerateRandomResponse, Fault> {
    if let Some(store) = request.custom_key_store_id {
        let message = format!("There is no custom key store {store}.");
        return Err(Fault::new("CustomKeyStoreNotFoundException", message));
    }
    if request.recipient.is_some() {
        let message = "Recipient: attestation of enclaves is not served here.";
        return Err(KmsError::Unsupported(message.into()).into());
    }
    let Some(bytes) = request.number_of_bytes else { return Err(invalid("NumberOfBytes is needed.")) };
    constraint::range("numberOfBytes", bytes, 1..=1_024).map_err(invalid)?;
    let plain = random_bytes(usize::try_from(bytes).unwrap_or(1))?;
    Ok(GenerateRandomResponse { plaintext: Blob(plain.to_vec()) })
}
