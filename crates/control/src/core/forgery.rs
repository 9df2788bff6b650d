//! Certificates that are made for faults: faulty ones, and genuine ones that stand for stolen ones.
//!
//! None of them is recorded as a task's certificate: the stream's servers know nobody by them, whatever they say.

use std::time::Duration;

use bowline_model::{clock::Timestamp, fault::FaultyCertificate, identity::SpiffeId, task::TaskId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use zeroize::Zeroizing;

use super::Core;
use crate::{
    authorities::{AuthoritiesError, LeafOrder},
    ca::{self, CheckedCsr},
    random,
    registry::CertificateRecord,
};

/// How much longer than its fault a certificate lives that is valid.
const LONGER: Duration = Duration::from_secs(60);
/// How far in the past or future a certificate is that is out of time.
const AWAY: Duration = Duration::from_secs(3600);
/// What a certificate without an identity has for a name, which a certificate has to have.
const NAME_OF_NOBODY: &str = "nobody.invalid";

/// A certificate with its key, that was made for a fault.
pub(crate) struct Forgery {
    /// DER, leaf first, without the root.
    pub(crate) chain_der: Vec<Vec<u8>>,
    /// PKCS#8.
    pub(crate) key: Zeroizing<Vec<u8>>,
    /// As the mesh records those that it issues.
    pub(crate) record: CertificateRecord,
}

/// Why no certificate was made for a fault.
#[derive(Debug, Error)]
pub(crate) enum ForgeryError {
    #[error("there is no task {0}")]
    NoTask(TaskId),
    #[error("{0:?} is the SPIFFE id of no service of the mesh")]
    NoService(String),
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    #[error("a certificate could not be made")]
    Made(#[from] rcgen::Error),
}

impl Core {
    /// Makes a certificate as `shows` says, or a genuine one, for a fault that ends at `until`.
    pub(crate) fn forge(
        &self,
        task: &TaskId,
        shows: Option<&FaultyCertificate>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Forgery, ForgeryError> {
        use FaultyCertificate as F;
        let registry = self.registry();
        let no_task = || ForgeryError::NoTask(task.clone());
        let mut order = self.order_for(&registry, task, "").ok_or_else(no_task)?;
        let own = order.spiffe_id.clone().ok_or_else(no_task)?;
        order.ttl = until.since(now) + LONGER;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let made = Maker { core: self, task, own: &own, now, until };
        match shows {
            None | Some(F::Revoked) => made.issued(&order, key),
            Some(F::Identity(id)) => {
                let mut services = registry.services.values();
                let named = services.any(|service| registry.identity_of_service(service).as_str() == id);
                let parsed = id.parse::<SpiffeId>().ok().filter(|_| named);
                order.spiffe_id =
                    Some(parsed.ok_or_else(|| ForgeryError::NoService(id.chars().take(300).collect()))?);
                made.issued(&order, key)
            }
            Some(F::NoIdentity) => {
                order.spiffe_id = None;
                order.dns_names = vec![NAME_OF_NOBODY.to_owned()];
                made.issued(&order, key)
            }
            Some(F::Expired) => made.issued_at(&order, key, (now - 2 * AWAY, now - AWAY)),
            // It is good for nothing later, either: whoever kept it would have one second.
            Some(F::NotYetValid) => {
                let begins = (now + AWAY).max(until + AWAY);
                made.issued_at(&order, key, (begins, begins + Duration::from_secs(1)))
            }
            Some(F::KeyMismatch) => {
                let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let forged = made.issued(&order, key)?;
                Ok(Forgery { key: Zeroizing::new(other.serialize_der()), ..forged })
            }
            Some(F::InvalidChain) => {
                let forged = made.issued(&order, key)?;
                // The key of the certificate that it is signed by goes no further.
                let signer = KeyPair::try_from(&**forged.key).map_err(ForgeryError::Made)?;
                made.under(&forged.chain_der, signer)
            }
            Some(F::UntrustedCa) => made.by_another_authority(key),
            Some(F::SelfSigned) => {
                let certificate = made.params()?.self_signed(&key)?;
                Ok(made.forgery(vec![certificate.der().to_vec()], &key))
            }
        }
    }
}

struct Maker<'a> {
    core: &'a Core,
    task: &'a TaskId,
    own: &'a SpiffeId,
    now: Timestamp,
    until: Timestamp,
}

impl Maker<'_> {
    fn issued(&self, order: &LeafOrder, key: KeyPair) -> Result<Forgery, ForgeryError> {
        let csr = request(&key)?;
        let issued = self.core.authorities.opened().issue(order, &csr, self.now)?;
        Ok(Forgery {
            record: self.record(issued.serial.clone(), &issued.chain_der, Some(&issued)),
            chain_der: issued.chain_der,
            key: Zeroizing::new(key.serialize_der()),
        })
    }

    fn issued_at(
        &self,
        order: &LeafOrder,
        key: KeyPair,
        validity: (Timestamp, Timestamp),
    ) -> Result<Forgery, ForgeryError> {
        let csr = request(&key)?;
        let issued = self.core.authorities.opened().issue_out_of_time(order, &csr, validity)?;
        Ok(Forgery {
            record: self.record(issued.serial.clone(), &issued.chain_der, Some(&issued)),
            chain_der: issued.chain_der,
            key: Zeroizing::new(key.serialize_der()),
        })
    }

    /// A leaf below `chain`, whose first certificate is an end entity's and `signer` its key.
    fn under(&self, chain: &[Vec<u8>], signer: KeyPair) -> Result<Forgery, ForgeryError> {
        let above = CertificateDer::from(chain.first().map(Vec::as_slice).unwrap_or_default());
        let issuer = Issuer::from_ca_cert_der(&above, signer)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = self.params()?.signed_by(&key, &issuer)?;
        let chain = std::iter::once(leaf.der().to_vec()).chain(chain.iter().cloned()).collect();
        Ok(self.forgery(chain, &key))
    }

    fn by_another_authority(&self, key: KeyPair) -> Result<Forgery, ForgeryError> {
        let mut root = CertificateParams::default();
        root.distinguished_name = name("Bowline chaos: an authority that nobody believes");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        self.within_fault(&mut root);
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = root.self_signed(&root_key)?;
        let leaf = self.params()?.signed_by(&key, &Issuer::new(root, root_key))?;
        Ok(self.forgery(vec![leaf.der().to_vec(), certificate.der().to_vec()], &key))
    }

    /// What a leaf says that the mesh's authorities do not sign.
    fn params(&self) -> Result<CertificateParams, ForgeryError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Bowline chaos");
        params.subject_alt_names = vec![SanType::URI(self.own.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        self.within_fault(&mut params);
        Ok(params)
    }

    fn within_fault(&self, params: &mut CertificateParams) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs((self.now - LONGER).as_secs());
        params.not_after = epoch + Duration::from_secs((self.until + LONGER).as_secs());
        let mut serial = random::bytes::<16>();
        // Positive, and as long as all others.
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    }

    fn forgery(&self, chain_der: Vec<Vec<u8>>, key: &KeyPair) -> Forgery {
        let serial = chain_der.first().and_then(|leaf| serial_of(leaf)).unwrap_or_default();
        let record = self.record(serial, &chain_der, None);
        Forgery { chain_der, key: Zeroizing::new(key.serialize_der()), record }
    }

    fn record(
        &self,
        serial: String,
        chain: &[Vec<u8>],
        issued: Option<&bowline_stream::directory::IssuedCertificate>,
    ) -> CertificateRecord {
        CertificateRecord {
            serial,
            task: self.task.clone(),
            name: "fault".to_owned(),
            spiffe_id: issued.map_or_else(|| Some(self.own.clone()), |issued| issued.spiffe_id.clone()),
            not_before: issued.map_or(self.now - LONGER, |issued| issued.not_before),
            not_after: issued.map_or(self.until + LONGER, |issued| issued.not_after),
            authority: issued.map(|issued| issued.authority.clone()),
            chain_pem: chain.iter().map(|der| ca::certificate_pem(der)).collect(),
            issued_at: self.now,
        }
    }
}

fn request(key: &KeyPair) -> Result<CheckedCsr, ForgeryError> {
    let csr = CertificateParams::default().serialize_request(key)?;
    CheckedCsr::parse(csr.der()).map_err(|error| ForgeryError::Authorities(error.into()))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// As the mesh writes serial numbers.
fn serial_of(leaf: &[u8]) -> Option<String> {
    use x509_parser::prelude::FromDer as _;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(leaf).ok()?;
    Some(parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect())
}
