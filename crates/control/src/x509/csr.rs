//! Certificate signing requests (PKCS#10, RFC 2986): read from strangers, and made for authorities.

use x509_parser::{
    certification_request::X509CertificationRequest, extensions::GeneralName, prelude::FromDer as _,
};

use super::{
    algorithm::{SignatureAlgorithm, verify_signed},
    certificate::Extension,
    der::{self, tag},
    key::{KeyError, PrivateKey},
    pem,
};

/// Longest request read, in bytes. Source: `CsrBlob` of AWS Private CA.
pub(crate) const CSR_BYTES_MAX: usize = 32_768;
/// Most extensions that a request may ask for.
const EXTENSIONS_MAX: usize = 50;

/// Why a request was refused. All of these are its sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRequest {
    #[error("The certificate signing request is not PEM, or too long.")]
    Pem,
    #[error("The certificate signing request is not a PKCS#10 request.")]
    Malformed,
    #[error(
        "The certificate signing request is not signed by its own key, or by an algorithm that is not supported."
    )]
    Signature,
}

/// What a request says, of a sender that has shown to hold the key.
#[derive(Clone, Debug)]
pub(crate) struct SigningRequest {
    /// The subject, in DER.
    pub(crate) subject: Vec<u8>,
    /// The key, in DER.
    pub(crate) public_key_info: Vec<u8>,
    /// The extensions that it asks for.
    pub(crate) extensions: Vec<Extension>,
}

impl SigningRequest {
    /// Reads a request in PEM, or in DER, and verifies its signature by its own key.
    pub(crate) fn parse(given: &[u8]) -> Result<Self, InvalidRequest> {
        if given.len() > CSR_BYTES_MAX {
            return Err(InvalidRequest::Pem);
        }
        let (_, der) = pem::one(given, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
            .map_err(|_| InvalidRequest::Pem)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| InvalidRequest::Malformed)?;
        if !rest.is_empty() {
            return Err(InvalidRequest::Malformed);
        }
        let info = &request.certification_request_info;
        verify_signed(&der, info.subject_pki.raw).map_err(|_| InvalidRequest::Signature)?;
        Ok(Self {
            subject: info.subject.as_raw().to_vec(),
            public_key_info: info.subject_pki.raw.to_vec(),
            extensions: requested(info.raw).ok_or(InvalidRequest::Malformed)?,
        })
    }
}

/// The extensions of a `CertificationRequestInfo`, as they were encoded.
fn requested(info: &[u8]) -> Option<Vec<Extension>> {
    let info = der::only(info, tag::SEQUENCE)?;
    let Some(attributes) =
        der::elements(info.content, 8)?.into_iter().find(|part| part.tag == tag::constructed(0))
    else {
        return Some(Vec::new());
    };
    let wanted = der::known_oid("1.2.840.113549.1.9.14");
    let mut extensions = Vec::new();
    for attribute in der::elements(attributes.content, EXTENSIONS_MAX)? {
        let parts = der::elements(attribute.content, 2)?;
        let [kind, values] = parts.as_slice() else { return None };
        if kind.whole != wanted {
            continue;
        }
        let list = der::only(values.content, tag::SEQUENCE)?;
        for extension in der::elements(list.content, EXTENSIONS_MAX)? {
            extensions.push(Extension::parse(extension.whole)?);
        }
    }
    match extensions.len() <= EXTENSIONS_MAX {
        true => Some(extensions),
        false => None,
    }
}

/// A request for `subject`, signed by the key that it is for, in PEM.
pub(crate) fn make(
    subject: &[u8],
    key: &PrivateKey,
    algorithm: SignatureAlgorithm,
    extensions: &[Extension],
) -> Result<String, KeyError> {
    let list = der::sequence(extensions.iter().map(Extension::encode));
    let attributes = match extensions.is_empty() {
        true => Vec::new(),
        false => der::sequence([der::known_oid("1.2.840.113549.1.9.14"), der::value(tag::SET, &list)]),
    };
    let info = der::sequence([
        der::small(0),
        subject.to_vec(),
        key.public_key_info(),
        der::value(tag::constructed(0), &attributes),
    ]);
    let signature = key.sign(algorithm, &info)?;
    let request = der::sequence([info, algorithm.identifier(), der::bits(&signature)]);
    Ok(pem::write("CERTIFICATE REQUEST", &request))
}

/// Every URI among the names of a `subjectAltName`'s value; `None` where that cannot be read.
pub(crate) fn uris(alternative_names: &[u8]) -> Option<Vec<String>> {
    let (rest, names) = x509_parser::extensions::SubjectAlternativeName::from_der(alternative_names).ok()?;
    let uris = names.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    rest.is_empty().then(|| uris.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::{algorithm::KeyType, certificate, name};

    #[test]
    fn a_request_is_read_as_it_was_made_and_not_otherwise() {
        let key = PrivateKey::generate(KeyType::P384).unwrap();
        let subject = name::of_common_name("a.example");
        let names = certificate::dns_names(["a.example", "b.example"]);
        let text =
            make(&subject, &key, SignatureAlgorithm::EcdsaSha512, std::slice::from_ref(&names)).unwrap();
        let read = SigningRequest::parse(text.as_bytes()).unwrap();
        assert_eq!((read.subject, read.public_key_info), (subject.clone(), key.public_key_info()));
        assert_eq!(read.extensions, [names]);
        let plain = make(&subject, &key, SignatureAlgorithm::EcdsaSha256, &[]).unwrap();
        assert!(SigningRequest::parse(plain.as_bytes()).unwrap().extensions.is_empty());

        let (_, mut der) = pem::one(text.as_bytes(), &["CERTIFICATE REQUEST"]).unwrap();
        let at = der.windows(9).position(|window| window == b"a.example").unwrap();
        der[at] = b'z';
        let altered = pem::write("CERTIFICATE REQUEST", &der);
        assert_eq!(SigningRequest::parse(altered.as_bytes()).unwrap_err(), InvalidRequest::Signature);
        let other = pem::write("CERTIFICATE REQUEST", b"x");
        assert_eq!(SigningRequest::parse(other.as_bytes()).unwrap_err(), InvalidRequest::Malformed);
        assert_eq!(SigningRequest::parse(b"x").unwrap_err(), InvalidRequest::Pem);
    }
}
