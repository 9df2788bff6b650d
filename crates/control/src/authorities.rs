//! The certificate authorities that there are: the mesh's own, those that
//! templates make, and the one of the gateways' public certificates.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bowline_aws::acmpca;
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
    identity::SpiffeId,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use thiserror::Error;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    ca::{Authority, CaError, CheckedCsr, CsrError, KeyAlgorithm, LeafRequest, RootParams, Usage},
    master_key::MasterKey,
    registry::{
        AuthorityPurpose, AuthorityRecord, MESH_AUTHORITY, PUBLIC_AUTHORITY, Registry, RegistryError,
        RegistryWriter,
    },
    revocation::RevokedSerial,
    stream::{directory::IssuedCertificate, tls::TlsMaterial},
};

/// Ten years, as the notes' templates ask for.
const ROOT_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What a layer below said.
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Why a certificate authority could not be made, opened or used.
#[derive(Debug, Error)]
pub enum AuthoritiesError {
    /// Signing failed.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A request is unusable.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// A key does not open.
    #[error("the key of the certificate authority {arn} does not open with this master key")]
    Sealed {
        /// The authority.
        arn: Arn,
        /// Why.
        source: BoxedError,
    },
    /// A key cannot be sealed.
    #[error("a key cannot be sealed")]
    Seal(#[source] BoxedError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The template wants an algorithm that is not here.
    #[error("KeyAlgorithm {0} is not here: use EC_prime256v1 or EC_secp384r1")]
    Algorithm(String),
    /// A file beside the store cannot be written.
    #[error("the gateways' CA certificate cannot be written")]
    File(#[source] io::Error),
    /// The stream's servers cannot use a certificate.
    #[error("the control plane's own certificate cannot be used: {0}")]
    Tls(String),
    /// There is no such authority.
    #[error("there is no certificate authority {0}")]
    Unknown(Arn),
    /// No randomness for a key.
    #[error("a key could not be made")]
    Key(#[source] rcgen::Error),
}

impl AuthoritiesError {
    pub(crate) fn file(source: io::Error) -> Self {
        Self::File(source)
    }

    pub(crate) fn tls(error: impl std::fmt::Display) -> Self {
        Self::Tls(error.to_string())
    }
}

/// What should stand in a certificate.
#[derive(Clone, Debug)]
pub(crate) struct LeafOrder {
    /// Who signs; `None` is the mesh's own authority, or the public one.
    pub(crate) authority: Option<Arn>,
    /// The URI SAN.
    pub(crate) spiffe_id: Option<SpiffeId>,
    /// DNS SANs.
    pub(crate) dns_names: Vec<String>,
    /// IP SANs.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long it lives.
    pub(crate) ttl: Duration,
    /// For clients outside the mesh.
    pub(crate) public: bool,
}

/// All authorities, with their keys in memory.
pub(crate) struct Authorities {
    master_key: Arc<MasterKey>,
    open: ArcSwap<Vec<OpenAuthority>>,
    changed: watch::Sender<u64>,
}

struct OpenAuthority {
    arn: Arn,
    purpose: AuthorityPurpose,
    authority: Arc<Authority>,
}

impl Authorities {
    /// Opens those of the registry; makes the mesh's own and the public one if
    /// they are missing.
    pub(crate) fn open(
        writer: &RegistryWriter,
        master_key: Arc<MasterKey>,
        now: Timestamp,
    ) -> Result<Self, AuthoritiesError> {
        let scope = writer.snapshot().settings().scope.clone();
        let (changed, _) = watch::channel(0);
        let authorities = Self { master_key, open: ArcSwap::from_pointee(Vec::new()), changed };
        for (purpose, id, common_name) in [
            (AuthorityPurpose::Mesh, MESH_AUTHORITY, "Bowline mesh root"),
            (AuthorityPurpose::Public, PUBLIC_AUTHORITY, "Bowline gateway root (this machine only)"),
        ] {
            let arn = scope.arn("acm-pca", format_args!("certificate-authority/{id}"));
            if writer.snapshot().authorities.get(arn.as_str()).is_none() {
                let params = RootParams {
                    common_name: common_name.to_owned(),
                    organization: Some("Bowline".to_owned()),
                    key_algorithm: KeyAlgorithm::EcP256,
                    validity: ROOT_VALIDITY,
                    ..RootParams::default()
                };
                let record = authorities.create(&arn, purpose, &params, now)?;
                writer.change::<_, RegistryError>(|registry| {
                    registry.authorities.put(arn.as_str(), record);
                    Ok(())
                })?;
            }
        }
        authorities.reload(&writer.snapshot())?;
        Ok(authorities)
    }

    /// What seals keys and secrets before they are stored.
    pub(crate) fn master_key(&self) -> &MasterKey {
        &self.master_key
    }

    /// Opens what the registry has and this has not. Whether there was any.
    pub(crate) fn reload(&self, registry: &Registry) -> Result<bool, AuthoritiesError> {
        let present = self.open.load();
        let mut all = Vec::new();
        for record in registry.authorities.values() {
            let known = present.iter().find(|open| open.arn == record.arn);
            let authority = match known {
                Some(open) => Arc::clone(&open.authority),
                None => Arc::new(self.open_record(record)?),
            };
            all.push(OpenAuthority { arn: record.arn.clone(), purpose: record.purpose, authority });
        }
        let changed = all.len() != present.len();
        if changed {
            self.open.store(Arc::new(all));
            self.changed.send_modify(|generation| *generation += 1);
        }
        Ok(changed)
    }

    fn open_record(&self, record: &AuthorityRecord) -> Result<Authority, AuthoritiesError> {
        let key = self.master_key.open(record.arn.as_str(), &record.sealed_key).map_err(|source| {
            AuthoritiesError::Sealed { arn: record.arn.clone(), source: Box::new(source) }
        })?;
        Ok(Authority::from_parts(&record.certificate_der, &key)?)
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Makes the authority of a template.
    pub(crate) fn create_for_template(
        &self,
        arn: &Arn,
        body: &acmpca::CertificateAuthority,
        now: Timestamp,
    ) -> Result<AuthorityRecord, AuthoritiesError> {
        let key_algorithm = match body.key_algorithm {
            acmpca::KeyAlgorithm::EcPrime256v1 => KeyAlgorithm::EcP256,
            acmpca::KeyAlgorithm::EcSecp384r1 => KeyAlgorithm::EcP384,
            other => {
                let name = serde_json::to_value(other).ok().and_then(|name| name.as_str().map(str::to_owned));
                return Err(AuthoritiesError::Algorithm(name.unwrap_or_default()));
            }
        };
        let params = RootParams {
            common_name: body.subject.common_name.clone().unwrap_or_else(|| "Bowline private CA".to_owned()),
            organization: body.subject.organization.clone(),
            organizational_unit: body.subject.organizational_unit.clone(),
            country: body.subject.country.clone(),
            key_algorithm,
            validity: ROOT_VALIDITY,
        };
        self.create(arn, crate::stack::TEMPLATE_AUTHORITY, &params, now)
    }

    fn create(
        &self,
        arn: &Arn,
        purpose: AuthorityPurpose,
        params: &RootParams,
        now: Timestamp,
    ) -> Result<AuthorityRecord, AuthoritiesError> {
        let authority = Authority::create_root(params, now)?;
        let key: Zeroizing<Vec<u8>> = authority.key_pkcs8_der();
        Ok(AuthorityRecord {
            arn: arn.clone(),
            purpose,
            certificate_der: authority.certificate_der().to_vec(),
            sealed_key: self
                .master_key
                .seal(arn.as_str(), &key)
                .map_err(|source| AuthoritiesError::Seal(Box::new(source)))?,
        })
    }

    /// PEM of every root of the mesh.
    pub(crate) fn mesh_roots_pem(&self) -> String {
        self.roots_pem(AuthorityPurpose::Mesh)
    }

    /// PEM of the root of the gateways' public certificates.
    pub(crate) fn public_roots_pem(&self) -> String {
        self.roots_pem(AuthorityPurpose::Public)
    }

    fn roots_pem(&self, purpose: AuthorityPurpose) -> String {
        let open = self.open.load();
        open.iter()
            .filter(|open| open.purpose == purpose)
            .map(|open| open.authority.certificate_pem())
            .collect()
    }

    /// Signs what is ordered.
    pub(crate) fn issue(
        &self,
        order: &LeafOrder,
        csr: &CheckedCsr,
        now: Timestamp,
    ) -> Result<IssuedCertificate, AuthoritiesError> {
        let open = self.open.load();
        let purpose = if order.public { AuthorityPurpose::Public } else { AuthorityPurpose::Mesh };
        let signer = match &order.authority {
            Some(arn) => open
                .iter()
                .find(|open| &open.arn == arn)
                .ok_or_else(|| AuthoritiesError::Unknown(arn.clone()))?,
            None => own(&open, purpose)?,
        };
        let request = LeafRequest {
            public_key: csr,
            spiffe_id: order.spiffe_id.clone(),
            dns_names: order.dns_names.clone(),
            addresses: order.addresses.clone(),
            usage: if order.public { Usage::Server } else { Usage::Both },
            ttl: order.ttl,
        };
        let leaf = signer.authority.issue(&request, now)?;
        Ok(IssuedCertificate {
            chain_der: vec![leaf.certificate_der.to_vec()],
            roots_pem: self.roots_pem(AuthorityPurpose::Mesh),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            spiffe_id: order.spiffe_id.clone(),
            serial: leaf.serial_hex,
            authority: signer.arn.clone(),
        })
    }

    /// Signs a CRL of what was revoked of an authority's; PEM.
    pub(crate) fn sign_crl(
        &self,
        authority: &Arn,
        revoked: &[RevokedSerial],
        number: u64,
        now: Timestamp,
        next_update: Timestamp,
    ) -> Result<String, AuthoritiesError> {
        let open = self.open.load();
        let signer = open.iter().find(|open| &open.arn == authority);
        let signer = signer.ok_or_else(|| AuthoritiesError::Unknown(authority.clone()))?;
        Ok(signer.authority.sign_crl(revoked, number, now, next_update)?)
    }

    /// An authority's certificate: PEM, and its last second.
    pub(crate) fn certificate_of(&self, authority: &Arn) -> Option<(String, Timestamp)> {
        let open = self.open.load();
        let found = open.iter().find(|open| &open.arn == authority)?;
        Some((found.authority.certificate_pem(), found.authority.not_after()))
    }

    /// A fresh certificate for the stream's servers.
    pub(crate) fn own_tls_material(
        &self,
        trust_domain: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<TlsMaterial, AuthoritiesError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthoritiesError::Key)?;
        let csr =
            rcgen::CertificateParams::default().serialize_request(&key).map_err(AuthoritiesError::Key)?;
        let order = LeafOrder {
            authority: None,
            spiffe_id: Some(SpiffeId::of_control_plane(trust_domain)),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            ttl,
            public: false,
        };
        let issued = self.issue(&order, &CheckedCsr::parse(csr.der())?, now)?;
        Ok(TlsMaterial {
            chain_der: issued.chain_der,
            key_pkcs8_der: Zeroizing::new(key.serialize_der()),
            roots_pem: issued.roots_pem,
        })
    }
}

fn own(open: &[OpenAuthority], purpose: AuthorityPurpose) -> Result<&OpenAuthority, AuthoritiesError> {
    let id = match purpose {
        AuthorityPurpose::Mesh => MESH_AUTHORITY,
        AuthorityPurpose::Public => PUBLIC_AUTHORITY,
    };
    open.iter().find(|open| open.arn.resource_name() == id).ok_or_else(|| {
        AuthoritiesError::Unknown(Scope::default().arn("acm-pca", format_args!("certificate-authority/{id}")))
    })
}
