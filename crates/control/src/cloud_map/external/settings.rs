//! How a hand-registered service is spoken to: what its tags and service attributes with the prefix
//! `bowline:` say.
//!
//! A setting that is not understood never leads to less protection than was asked for: the service
//! is unusable until it is mended.

use std::{collections::BTreeMap, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_model::task_definition::AppProtocol;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::is_dns_name;
use crate::registry::{DiscoveryService, Registry};

/// What every setting's name begins with.
const PREFIX: &str = "bowline:";

/// Most certificates of `bowline:ca`.
const ROOTS_MAX: usize = 20;

/// How a service is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransportSettings {
    /// `bowline:protocol`; TCP where there is none.
    pub(crate) protocol: AppProtocol,
    pub(crate) security: Security,
}

/// `bowline:tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// `off`, or none.
    Plain,
    Tls {
        roots: Roots,
        /// `bowline:sni`; where there is none, the instance's CNAME or the service's name.
        sni: Option<String>,
        /// `bowline:tls-min-version`: `1.2` or `1.3`.
        min_version: &'static str,
    },
}

/// Who is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// `system`: the machine's bundle.
    System,
    /// `ca`, or an authority's ARN: PEM.
    Given(String),
}

/// What is wrong with a service's settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum SettingsError {
    #[error(
        "{0} is no setting: bowline:protocol, bowline:tls, bowline:tls-min-version, bowline:sni and bowline:ca are"
    )]
    Unknown(String),
    #[error("{0} is given twice, as a tag and as a service attribute, and they differ")]
    Contradiction(String),
    #[error("{name} is {value:?}: {allowed}")]
    Value { name: &'static str, value: String, allowed: &'static str },
    #[error("{0} is given, but TLS is off: bowline:tls says who is believed")]
    WithoutTls(&'static str),
    #[error("bowline:ca is given, but bowline:tls is not \"ca\"")]
    UnusedCa,
    #[error("bowline:tls is \"ca\", and there is no service attribute bowline:ca")]
    NoCa,
    #[error("bowline:ca is no certificate of an authority, as PEM or as base64 of DER")]
    BadCa,
    #[error("there is no certificate authority {0}")]
    NoAuthority(String),
}

/// The settings of a service.
///
/// # Errors
/// One of them is unknown, unusable, or does not fit the others.
pub(crate) fn of(registry: &Registry, row: &DiscoveryService) -> Result<TransportSettings, SettingsError> {
    let (given, ca) = given(row)?;
    let get = |name: &str| given.get(name).copied();
    let protocol = match get("bowline:protocol") {
        None | Some("tcp") => AppProtocol::Tcp,
        Some("http") => AppProtocol::Http,
        Some("http2") => AppProtocol::Http2,
        Some("grpc") => AppProtocol::Grpc,
        Some(other) => return Err(value("bowline:protocol", other, "tcp, http, http2 and grpc are known")),
    };
    let min_version = match get("bowline:tls-min-version") {
        None | Some("1.2") => "1.2",
        Some("1.3") => "1.3",
        Some(other) => return Err(value("bowline:tls-min-version", other, "1.2 and 1.3 are known")),
    };
    let sni = get("bowline:sni");
    if let Some(sni) = sni.filter(|sni| !is_dns_name(sni) && sni.parse::<IpAddr>().is_err()) {
        return Err(value("bowline:sni", sni, "it is a DNS name or an IP address"));
    }
    let roots = match get("bowline:tls") {
        None | Some("off") => {
            for name in ["bowline:sni", "bowline:tls-min-version"] {
                if get(name).is_some() {
                    return Err(SettingsError::WithoutTls(name));
                }
            }
            None
        }
        Some("system") => Some(Roots::System),
        Some("ca") => Some(Roots::Given(ca_pem(ca.as_deref().ok_or(SettingsError::NoCa)?)?)),
        Some(arn) if arn.starts_with("arn:") => Some(Roots::Given(authority_pem(registry, arn)?)),
        Some(other) => {
            return Err(value(
                "bowline:tls",
                other,
                "off, system, ca and the ARN of a certificate authority are known",
            ));
        }
    };
    if ca.is_some() && get("bowline:tls") != Some("ca") {
        return Err(SettingsError::UnusedCa);
    }
    let security = match roots {
        None => Security::Plain,
        Some(roots) => Security::Tls { roots, sni: sni.map(str::to_owned), min_version },
    };
    Ok(TransportSettings { protocol, security })
}

fn value(name: &'static str, value: &str, allowed: &'static str) -> SettingsError {
    SettingsError::Value { name, value: value.to_owned(), allowed }
}

/// The settings by name, and the text of `bowline:ca` with its parts in the order of their keys.
type Given<'a> = (BTreeMap<&'a str, &'a str>, Option<String>);

fn given(row: &DiscoveryService) -> Result<Given<'_>, SettingsError> {
    let tags = row.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str(), true));
    let attributes = row.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str(), false));
    let mut given = BTreeMap::new();
    let mut ca: Option<String> = None;
    for (key, value, is_tag) in tags.chain(attributes).filter(|(key, ..)| key.starts_with(PREFIX)) {
        match key {
            "bowline:protocol" | "bowline:tls" | "bowline:tls-min-version" | "bowline:sni" => {
                if given.insert(key, value).is_some_and(|before| before != value) {
                    return Err(SettingsError::Contradiction(key.to_owned()));
                }
            }
            // Too long for a tag. Attributes come in the order of their keys.
            key if !is_tag && (key == "bowline:ca" || key.starts_with("bowline:ca.")) => {
                ca.get_or_insert_default().push_str(value);
            }
            other => return Err(SettingsError::Unknown(other.to_owned())),
        }
    }
    Ok((given, ca))
}

/// One or more certificates, as PEM: given as PEM, or one as base64 of its DER.
fn ca_pem(text: &str) -> Result<String, SettingsError> {
    let certificates: Vec<CertificateDer<'_>> = if text.trim_start().starts_with("-----BEGIN") {
        let read = CertificateDer::pem_slice_iter(text.as_bytes()).take(ROOTS_MAX);
        read.collect::<Result<_, _>>().map_err(|_| SettingsError::BadCa)?
    } else {
        let base64: String = text.split_ascii_whitespace().collect();
        vec![STANDARD.decode(base64).map_err(|_| SettingsError::BadCa)?.into()]
    };
    if certificates.is_empty() {
        return Err(SettingsError::BadCa);
    }
    certificates.iter().map(|der| checked_pem(der)).collect()
}

fn authority_pem(registry: &Registry, arn: &str) -> Result<String, SettingsError> {
    let authority = registry.authorities.get(arn);
    let authority = authority.ok_or_else(|| SettingsError::NoAuthority(arn.to_owned()))?;
    checked_pem(&authority.certificate_der)
}

/// A certificate that proxies take for a root.
fn checked_pem(der: &[u8]) -> Result<String, SettingsError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| SettingsError::BadCa)?;
    let is_anchor = webpki::anchor_from_trusted_cert(&CertificateDer::from(der)).is_ok();
    if !rest.is_empty() || !certificate.is_ca() || !is_anchor {
        return Err(SettingsError::BadCa);
    }
    Ok(crate::ca::certificate_pem(der))
}

#[cfg(test)]
mod tests {
    use bowline_aws::servicediscovery::Tag;

    use super::*;

    fn row(tags: &[(&str, &str)], attributes: &[(&str, &str)]) -> DiscoveryService {
        DiscoveryService {
            arn: "arn:aws:servicediscovery:us-east-1:000000000000:service/srv-a".parse().expect("an ARN"),
            id: "srv-a".into(),
            namespace_id: "ns-a".into(),
            name: "db".into(),
            description: None,
            dns_config: None,
            health_check_config: None,
            health_check_custom: false,
            service_type: None,
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            tags: tags.iter().map(|(k, v)| Tag { key: (*k).into(), value: (*v).into() }).collect(),
            created_at: bowline_model::clock::Timestamp::from_secs(0),
            creator_request_id: None,
            revision: 0,
        }
    }

    fn settings(
        tags: &[(&str, &str)],
        attributes: &[(&str, &str)],
    ) -> Result<TransportSettings, SettingsError> {
        of(&Registry::default(), &row(tags, attributes))
    }

    fn certificate(ca: bool) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["ca.example".into()]).expect("parameters");
        if ca {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&key).expect("signed");
        (certificate.pem(), STANDARD.encode(certificate.der()))
    }

    #[test]
    fn without_settings_it_is_plain_tcp() {
        let plain = TransportSettings { protocol: AppProtocol::Tcp, security: Security::Plain };
        assert_eq!(settings(&[("owner", "me")], &[("weight", "5")]), Ok(plain.clone()));
        assert_eq!(settings(&[("bowline:tls", "off")], &[("bowline:tls", "off")]), Ok(plain));
    }

    #[test]
    fn tls_is_what_was_asked_for() {
        let tls = |roots, sni: Option<&str>, min_version| Security::Tls {
            roots,
            sni: sni.map(str::to_owned),
            min_version,
        };
        let found = settings(&[("bowline:tls", "system")], &[("bowline:protocol", "http")]).expect("usable");
        assert_eq!((found.protocol, found.security), (AppProtocol::Http, tls(Roots::System, None, "1.2")));
        let (pem, base64) = certificate(true);
        let (first, second) = base64.split_at(100);
        let tags = [("bowline:tls", "ca"), ("bowline:sni", "db.example"), ("bowline:tls-min-version", "1.3")];
        for ca in [&[("bowline:ca", pem.as_str())][..], &[("bowline:ca.2", second), ("bowline:ca.1", first)]]
        {
            let found = settings(&tags, ca).expect("usable");
            let Security::Tls { roots: Roots::Given(given), sni, min_version } = found.security else {
                panic!("{found:?}")
            };
            assert_eq!((sni.as_deref(), min_version), (Some("db.example"), "1.3"));
            let same = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).expect("one");
            assert_eq!(same(&given), same(&pem));
        }
    }

    #[test]
    fn what_cannot_be_done_is_an_error_and_never_plain() {
        let (leaf, _) = certificate(false);
        let (ca, _) = certificate(true);
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Pairs<'_>, Pairs<'_>); 13] = [
            (&[("bowline:tsl", "system")], &[]),
            (&[("bowline:tls", "on")], &[]),
            (&[("bowline:tls", "")], &[]),
            (&[("bowline:tls", "System")], &[]),
            (&[("bowline:tls", "ca")], &[]),
            (&[("bowline:tls", "ca")], &[("bowline:ca", "nonsense")]),
            (&[("bowline:tls", "ca")], &[("bowline:ca", &leaf)]),
            (&[("bowline:tls", "arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/x")], &[]),
            (&[("bowline:tls", "off")], &[("bowline:tls", "system")]),
            (&[("bowline:sni", "db.example")], &[]),
            (&[("bowline:tls", "system"), ("bowline:sni", "not a name")], &[]),
            (&[("bowline:tls", "system"), ("bowline:protocol", "redis")], &[]),
            (&[], &[("bowline:ca", &ca)]),
        ];
        for (tags, attributes) in cases {
            assert!(settings(tags, attributes).is_err(), "{tags:?} {attributes:?}");
        }
    }
}
