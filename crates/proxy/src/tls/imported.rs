//! Certificates from outside the mesh's authorities that speak for services. They name no SPIFFE
//! id, so the control plane says whom they stand for.
//!
//! One is believed by its key (pinned), whatever stands in it but its dates: what `openssl x509
//! -req` makes is of X.509 version 1, or has no names, which verifiers of chains refuse. Or it is
//! believed by its chain, if it carries the names that it was imported with.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use bowline_discovery::v1;
use bowline_model::identity::SpiffeId;
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{
    PROVIDER,
    trust::Roots,
    verify::{IdentityFault, PeerIdentity, certificate_error},
};
use crate::config::convert::{Invalid, invalid};

/// Most ids, keys or chains of a resource.
const LIST_MAX: usize = 1_000;

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
type Pin = [u8; 32];

/// What is believed of one imported certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Imported {
    servers: HashSet<SpiffeId>,
    client: Option<SpiffeId>,
    pins: HashSet<Pin>,
    chains: Vec<Chain>,
}

#[derive(Debug)]
struct Chain {
    roots: Roots,
    /// Lower case.
    names: BTreeSet<String>,
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        self.roots.pem == other.roots.pem && self.names == other.names
    }
}

impl Eq for Chain {}

/// Which side of a handshake shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side<'a> {
    /// The called one; these are expected.
    Server(&'a HashSet<SpiffeId>),
    /// The calling one.
    Client,
}

impl Side<'_> {
    fn usage(self) -> KeyUsage {
        match self {
            Self::Server(_) => KeyUsage::server_auth(),
            Self::Client => KeyUsage::client_auth(),
        }
    }
}

impl Imported {
    /// Reads a resource.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(message: &v1::ImportedCertificate) -> Result<Self, Invalid> {
        for (field, length) in [
            ("serverIds", message.server_ids.len()),
            ("spkiSha256", message.spki_sha256.len()),
            ("chains", message.chains.len()),
        ] {
            if length > LIST_MAX {
                return Err(invalid(field, format!("{length} entries; at most {LIST_MAX} are accepted")));
            }
        }
        let id = |field: &str, text: &str| {
            text.parse::<SpiffeId>().map_err(|error| invalid(field, error.to_string()))
        };
        let chain = |chain: &v1::ImportedChain| {
            let names: BTreeSet<_> = chain.dns_names.iter().map(|name| name.to_ascii_lowercase()).collect();
            if names.is_empty() || names.len() > LIST_MAX {
                return Err(invalid("chains.dnsNames", format!("1 to {LIST_MAX} names are needed")));
            }
            let roots = Roots::from_pem(&chain.roots_pem)
                .map_err(|error| invalid("chains.rootsPem", error.to_string()))?;
            Ok(Chain { roots, names })
        };
        Ok(Self {
            servers: message.server_ids.iter().map(|text| id("serverIds", text)).collect::<Result<_, _>>()?,
            client: match message.client_id.as_str() {
                "" => None,
                text => Some(id("clientId", text)?),
            },
            pins: message.spki_sha256.iter().map(|text| pin(text)).collect::<Result<_, _>>()?,
            chains: message.chains.iter().map(chain).collect::<Result<_, _>>()?,
        })
    }

    /// The id that it stands for on that side.
    fn identity(&self, side: Side<'_>) -> Option<&SpiffeId> {
        match side {
            Side::Client => self.client.as_ref(),
            Side::Server(expected) => self.servers.iter().find(|id| expected.contains(id)),
        }
    }
}

fn pin(text: &str) -> Result<Pin, Invalid> {
    let refuse = || invalid("spkiSha256", "64 hexadecimal digits are needed");
    if text.len() != 64 || !text.is_ascii() {
        return Err(refuse());
    }
    let mut pin = [0; 32];
    for (byte, digits) in pin.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| refuse())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| refuse())?;
    }
    Ok(pin)
}

/// A certificate as it was shown.
struct Shown<'a> {
    parsed: X509Certificate<'a>,
    pin: Pin,
}

impl<'a> Shown<'a> {
    fn read(der: &'a CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        let pin = digest(&SHA256, parsed.public_key().raw).as_ref().try_into().ok()?;
        rest.is_empty().then_some(Self { parsed, pin })
    }

    fn has_names(&self, wanted: &BTreeSet<String>) -> bool {
        wanted.is_subset(&names_in(&self.parsed).collect())
    }

    fn check_dates(&self, now: UnixTime) -> Result<(), CertificateError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = self.parsed.validity();
        if now < validity.not_before.timestamp() {
            Err(CertificateError::NotValidYet)
        } else if now > validity.not_after.timestamp() {
            Err(CertificateError::Expired)
        } else {
            Ok(())
        }
    }

    fn proves(&self, id: &SpiffeId) -> PeerIdentity {
        let serial = self.pin.iter().map(|byte| format!("{byte:02x}")).collect();
        PeerIdentity { id: id.clone(), serial, imported: true }
    }
}

/// All of them, by ARN.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ImportedCertificates(pub(crate) BTreeMap<String, Arc<Imported>>);

impl ImportedCertificates {
    /// Who a certificate proves to be; `None` where it is none of these.
    ///
    /// That who shows it has its key is for the handshake to check.
    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        side: Side<'_>,
    ) -> Option<Result<PeerIdentity, rustls::Error>> {
        if self.0.is_empty() {
            return None;
        }
        let shown = Shown::read(end_entity)?;
        let pinned = || self.0.values().filter(|row| row.pins.contains(&shown.pin));
        if let Some(any) = pinned().next() {
            if let Err(error) = shown.check_dates(now) {
                return Some(Err(error.into()));
            }
            let found = pinned().find_map(|row| row.identity(side));
            return Some(found.map(|id| shown.proves(id)).ok_or_else(|| any.unexpected(side)));
        }
        let mut refused = None;
        for row in self.0.values() {
            for chain in row.chains.iter().filter(|chain| shown.has_names(&chain.names)) {
                let checked = EndEntityCert::try_from(end_entity).and_then(|leaf| {
                    let algorithms = PROVIDER.signature_verification_algorithms.all;
                    let anchors = &chain.roots.anchors;
                    leaf.verify_for_usage(algorithms, anchors, intermediates, now, side.usage(), None, None)
                        .map(|_| ())
                });
                match (checked, row.identity(side)) {
                    (Ok(()), Some(id)) => return Some(Ok(shown.proves(id))),
                    (Ok(()), None) => refused = Some(row.unexpected(side)),
                    // Not to be told by another's chain what is wrong with this one's.
                    (Err(error), Some(_)) => refused = Some(certificate_error(error)),
                    (Err(_), None) => {}
                }
            }
        }
        refused.map(Err)
    }

    /// Who an accepted caller is: the same as [`Self::verify`] said, without its checks.
    pub(crate) fn caller(&self, leaf: &CertificateDer<'_>) -> Option<PeerIdentity> {
        self.accepted(leaf, Side::Client)
    }

    /// Who an accepted server is: the same as [`Self::verify`] said, without its checks.
    pub(crate) fn server(
        &self,
        leaf: &CertificateDer<'_>,
        expected: &HashSet<SpiffeId>,
    ) -> Option<PeerIdentity> {
        self.accepted(leaf, Side::Server(expected))
    }

    fn accepted(&self, leaf: &CertificateDer<'_>, side: Side<'_>) -> Option<PeerIdentity> {
        let shown = (!self.0.is_empty()).then(|| Shown::read(leaf))??;
        let pinned = self.0.values().filter(|row| row.pins.contains(&shown.pin));
        let named =
            self.0.values().filter(|row| row.chains.iter().any(|chain| shown.has_names(&chain.names)));
        let id = pinned.chain(named).find_map(|row| row.identity(side))?;
        Some(shown.proves(id))
    }

    /// Whether any of them stands for this id at all, on either side.
    pub(crate) fn speak_for(&self, id: &SpiffeId) -> bool {
        self.0.values().any(|row| row.client.as_ref() == Some(id) || row.servers.contains(id))
    }
}

impl Imported {
    fn unexpected(&self, side: Side<'_>) -> rustls::Error {
        match (side, self.servers.iter().next()) {
            (Side::Server(_), Some(id)) => IdentityFault::Unexpected(id.clone()).into(),
            _ => IdentityFault::StandsForNobody.into(),
        }
    }
}

/// The SubjectPublicKeyInfo of a certificate that webpki does not read.
pub(crate) fn public_key_of(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.public_key().raw.to_vec())
}

/// The DNS names of a certificate, in lower case; none of one that cannot be read.
pub(crate) fn dns_names(certificate: &[u8]) -> Vec<String> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => names_in(&parsed).collect(),
        Err(_) => Vec::new(),
    }
}

fn names_in(parsed: &X509Certificate<'_>) -> impl Iterator<Item = String> {
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map(|found| found.value.general_names.as_slice()).unwrap_or_default();
    let dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect::<Vec<_>>().into_iter()
}
