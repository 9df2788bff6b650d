//! Certificates: their extensions, signing them, and what must hold before one is handed out.

use std::net::IpAddr;

use aws_lc_rs::digest;
use bowline_model::clock::Timestamp;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{
    algorithm::{SignatureAlgorithm, verify_signed},
    der::{self, tag},
    key::PrivateKey,
};

/// An extension (RFC 5280 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// The object identifier, in DER.
    pub(crate) oid: Vec<u8>,
    pub(crate) critical: bool,
    /// What its octet string holds.
    pub(crate) value: Vec<u8>,
}

/// Object identifiers of the extensions that are known here.
pub(crate) mod id {
    pub(crate) const SUBJECT_KEY: &str = "2.5.29.14";
    pub(crate) const KEY_USAGE: &str = "2.5.29.15";
    pub(crate) const ALTERNATIVE_NAMES: &str = "2.5.29.17";
    pub(crate) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
    pub(crate) const NAME_CONSTRAINTS: &str = "2.5.29.30";
    pub(crate) const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
    pub(crate) const AUTHORITY_KEY: &str = "2.5.29.35";
    pub(crate) const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
}

impl Extension {
    pub(crate) fn new(oid: &'static str, critical: bool, value: Vec<u8>) -> Self {
        Self { oid: der::known_oid(oid), critical, value }
    }

    pub(crate) fn is(&self, oid: &'static str) -> bool {
        self.oid == der::known_oid(oid)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean(true) } else { Vec::new() };
        der::sequence([self.oid.clone(), critical, der::octets(&self.value)])
    }

    /// Reads one; `None` where it is none.
    pub(crate) fn parse(given: &[u8]) -> Option<Self> {
        let parts = der::elements(der::only(given, tag::SEQUENCE)?.content, 3)?;
        let (oid, critical, value) = match parts.as_slice() {
            [oid, value] => (oid, false, value),
            [oid, critical, value] if critical.tag == tag::BOOLEAN => (oid, critical.content != [0], value),
            _ => return None,
        };
        (oid.tag == tag::OID && value.tag == tag::OCTET_STRING).then(|| Self {
            oid: oid.whole.to_vec(),
            critical,
            value: value.content.to_vec(),
        })
    }
}

/// `basicConstraints`, critical.
pub(crate) fn basic_constraints(authority: bool, path_length: Option<u8>) -> Extension {
    let flag = if authority { der::boolean(true) } else { Vec::new() };
    let length = path_length.filter(|_| authority).map(|length| der::small(length.into()));
    let value = der::sequence([flag, length.unwrap_or_default()]);
    Extension::new(id::BASIC_CONSTRAINTS, true, value)
}

/// Bits of `keyUsage`, in the order of RFC 5280 §4.2.1.3.
pub(crate) type KeyUsageBits = [bool; 9];
/// `digitalSignature`, `keyCertSign` and `cRLSign`: an authority's.
pub(crate) const AUTHORITY_USAGE: KeyUsageBits = [true, false, false, false, false, true, true, false, false];
/// `digitalSignature` and `keyEncipherment`: an end entity's, as AWS's templates have it.
pub(crate) const END_ENTITY_USAGE: KeyUsageBits =
    [true, false, true, false, false, false, false, false, false];
/// `digitalSignature`: what a key that only signs can do.
pub(crate) const SIGNING_USAGE: KeyUsageBits = [true, false, false, false, false, false, false, false, false];

/// `keyUsage`, critical.
pub(crate) fn key_usage(bits: &KeyUsageBits) -> Extension {
    Extension::new(id::KEY_USAGE, true, der::named_bits(bits))
}

/// `serverAuth`.
pub(crate) const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
/// `clientAuth`.
pub(crate) const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// `extKeyUsage`, of purposes that are encoded already.
pub(crate) fn extended_key_usage(purposes: &[Vec<u8>]) -> Extension {
    Extension::new(id::EXTENDED_KEY_USAGE, false, der::sequence(purposes))
}

/// `subjectAltName` of DNS names.
pub(crate) fn dns_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Extension {
    let names = names.into_iter().map(|name| der::value(tag::context(2), name.as_bytes()));
    Extension::new(id::ALTERNATIVE_NAMES, false, der::sequence(names))
}

/// `nameConstraints`, critical: DNS names below these, or the same, and no others (RFC 5280 §4.2.1.10). Names of
/// other kinds are not constrained: verifiers refuse every chain that constrains URIs.
pub(crate) fn permitted_dns(names: &[String]) -> Extension {
    let subtrees: Vec<_> =
        names.iter().map(|name| der::sequence([der::value(tag::context(2), name.as_bytes())])).collect();
    let permitted = der::value(tag::constructed(0), &der::joined(subtrees));
    Extension::new(id::NAME_CONSTRAINTS, true, der::sequence([permitted]))
}

/// `cRLDistributionPoints` of one URL (RFC 5280 §4.2.1.13).
pub(crate) fn crl_distribution_point(url: &str) -> Extension {
    let name = der::value(tag::context(6), url.as_bytes());
    let full_name = der::value(tag::constructed(0), &name);
    let point = der::sequence([der::value(tag::constructed(0), &full_name)]);
    Extension::new(id::CRL_DISTRIBUTION_POINTS, false, der::sequence([point]))
}

/// The DNS names that an authority's certificate permits; `None` where it constrains nothing.
pub(crate) fn permitted_dns_of(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let constraints = certificate.name_constraints().ok().flatten()?;
    let permitted = constraints.value.permitted_subtrees.iter().flatten();
    let names = permitted.filter_map(|subtree| match &subtree.base {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Some(names.collect())
}

/// The octets of an address in `subjectAltName`.
pub(crate) fn address_name(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => der::value(tag::context(7), &address.octets()),
        IpAddr::V6(address) => der::value(tag::context(7), &address.octets()),
    }
}

/// The identifier of a key: RFC 7093 §2, the leftmost 160 bits of the SHA-256 of its bit string.
pub(crate) fn key_identifier(public_key_info: &[u8]) -> Option<Vec<u8>> {
    let info = der::only(public_key_info, tag::SEQUENCE)?;
    let parts = der::elements(info.content, 2)?;
    let bits = parts.get(1)?.content.get(1..)?;
    Some(digest::digest(&digest::SHA256, bits).as_ref()[..20].to_vec())
}

/// What is to be signed.
pub(crate) struct Order {
    /// 16 octets, as [`super::super::ca`] makes them.
    pub(crate) serial: [u8; 16],
    pub(crate) algorithm: SignatureAlgorithm,
    /// The issuer's name, in DER.
    pub(crate) issuer: Vec<u8>,
    /// The first second at which it is valid.
    pub(crate) not_before: Timestamp,
    /// The last.
    pub(crate) not_after: Timestamp,
    /// The subject, in DER.
    pub(crate) subject: Vec<u8>,
    /// The key, in DER.
    pub(crate) public_key_info: Vec<u8>,
    /// All but the key identifiers, which are added.
    pub(crate) extensions: Vec<Extension>,
    /// `keyIdentifier` of the issuer; of one that signs itself, its own.
    pub(crate) authority_key: Option<Vec<u8>>,
}

/// A certificate just signed is not what was asked for, or could not be signed. A defect of this
/// program, or a passthrough that a parser refuses: nothing was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate that was signed is refused: {0}")]
pub(crate) struct Unsound(pub(crate) &'static str);

/// Signs, and reads what was signed before it is handed out.
pub(crate) fn sign(order: &Order, key: &PrivateKey, issuer_key_info: &[u8]) -> Result<Vec<u8>, Unsound> {
    let own = key_identifier(&order.public_key_info).ok_or(Unsound("its key cannot be read"))?;
    let mut extensions = order.extensions.clone();
    extensions.push(Extension::new(id::SUBJECT_KEY, false, der::octets(&own)));
    let authority_key = order.authority_key.as_ref().unwrap_or(&own);
    let authority_key = der::sequence([der::value(tag::context(0), authority_key)]);
    extensions.push(Extension::new(id::AUTHORITY_KEY, false, authority_key));
    let list = der::sequence(extensions.iter().map(Extension::encode));
    let tbs = der::sequence([
        der::value(tag::constructed(0), &der::small(2)),
        der::unsigned(&order.serial),
        order.algorithm.identifier(),
        order.issuer.clone(),
        der::sequence([der::time(order.not_before), der::time(order.not_after)]),
        order.subject.clone(),
        order.public_key_info.clone(),
        der::value(tag::constructed(3), &list),
    ]);
    let signature = key.sign(order.algorithm, &tbs).map_err(|_| Unsound("it could not be signed"))?;
    let certificate = der::sequence([tbs, order.algorithm.identifier(), der::bits(&signature)]);
    check(&certificate, order, &extensions, issuer_key_info)?;
    Ok(certificate)
}

/// By another's parser and verifier: an error of the encoder is not confirmed by itself.
fn check(
    certificate: &[u8],
    order: &Order,
    extensions: &[Extension],
    issuer_key_info: &[u8],
) -> Result<(), Unsound> {
    let demand = |holds: bool, reason| if holds { Ok(()) } else { Err(Unsound(reason)) };
    let (rest, read) = X509Certificate::from_der(certificate).map_err(|_| Unsound("it cannot be read"))?;
    demand(rest.is_empty(), "it has bytes after its end")?;
    verify_signed(certificate, issuer_key_info).map_err(|_| Unsound("its signature does not verify"))?;
    demand(read.raw_serial() == order.serial, "its serial number is another")?;
    demand(read.issuer().as_raw() == order.issuer, "its issuer is another")?;
    demand(read.subject().as_raw() == order.subject, "its subject is another")?;
    demand(read.public_key().raw == order.public_key_info, "its key is another")?;
    let seconds = |at: Timestamp| i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let validity = (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
    demand(validity == (seconds(order.not_before), seconds(order.not_after)), "its validity is another")?;
    demand(read.extensions().len() == extensions.len(), "its extensions are others")?;
    demand(read.extensions_map().is_ok(), "it has an extension twice")?;
    let readable = read.extensions().iter().all(|extension| {
        use x509_parser::extensions::ParsedExtension::ParseError;
        !matches!(extension.parsed_extension(), ParseError { .. })
    });
    demand(readable, "one of its extensions cannot be read")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::x509::{algorithm::KeyType, name};

    fn order(key: &PrivateKey, algorithm: SignatureAlgorithm) -> Order {
        Order {
            serial: [0x40; 16],
            algorithm,
            issuer: name::of_common_name("root"),
            not_before: Timestamp::from_secs(1_000_000_000),
            not_after: Timestamp::from_secs(3_000_000_000),
            subject: name::of_common_name("root"),
            public_key_info: key.public_key_info(),
            extensions: vec![basic_constraints(true, Some(0)), key_usage(&AUTHORITY_USAGE)],
            authority_key: None,
        }
    }

    #[test]
    fn what_is_signed_is_what_was_asked_for() {
        for (kind, algorithm) in [
            (KeyType::P256, SignatureAlgorithm::EcdsaSha256),
            (KeyType::P384, SignatureAlgorithm::EcdsaSha512),
            (KeyType::Rsa2048, SignatureAlgorithm::RsaSha512),
        ] {
            let key = PrivateKey::generate(kind).unwrap();
            let signed = sign(&order(&key, algorithm), &key, &key.public_key_info()).unwrap();
            let (_, read) = X509Certificate::from_der(&signed).unwrap();
            let constraints = read.basic_constraints().unwrap().unwrap().value;
            assert!(constraints.ca && constraints.path_len_constraint == Some(0));
            assert!(read.key_usage().unwrap().unwrap().value.key_cert_sign());
        }
    }

    #[test]
    fn another_issuers_key_and_doubled_extensions_are_found_out() {
        let (key, other) = (KeyType::P256, KeyType::P256);
        let (key, other) = (PrivateKey::generate(key).unwrap(), PrivateKey::generate(other).unwrap());
        let wanted = order(&key, SignatureAlgorithm::EcdsaSha256);
        assert!(sign(&wanted, &other, &key.public_key_info()).is_err());
        let mut doubled = order(&key, SignatureAlgorithm::EcdsaSha256);
        doubled.extensions.push(basic_constraints(false, None));
        assert!(sign(&doubled, &key, &key.public_key_info()).is_err());
    }

    proptest! {
        #[test]
        fn extensions_are_read_back(critical: bool, value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let extension = Extension::new(id::KEY_USAGE, critical, value);
            prop_assert_eq!(Extension::parse(&extension.encode()), Some(extension));
        }
    }
}
