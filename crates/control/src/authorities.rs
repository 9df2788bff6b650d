//! The certificate authorities that there are: the mesh's own, those that
//! templates make, and the one of the gateways' public certificates.

mod line;

use std::{collections::BTreeMap, io, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bowline_aws::acmpca;
use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
    identity::SpiffeId,
    succession::Slot,
};
use bowline_stream::{directory::IssuedCertificate, tls::TlsMaterial};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use thiserror::Error;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    ca::{
        Authority, CaError, CheckedCsr, CsrError, IssuedLeaf, KeyAlgorithm, LeafRequest, RootParams, Usage,
    },
    master_key::MasterKey,
    private_ca::{
        self, PrivateAuthority, PrivateCaError, SHORT_LIVED_MAX,
        commands::{self, NewAuthority},
    },
    registry::{
        AuthorityPlace, AuthorityPurpose, AuthorityRecord, MESH_AUTHORITY, PUBLIC_AUTHORITY, Registry,
        RegistryError, RegistryWriter, Table,
    },
    revocation::RevokedSerial,
    x509::algorithm::SignatureAlgorithm,
};

pub(crate) use self::line::NextError;
pub(crate) use self::line::{line_of, put_back, succession_of, sweep, trust_named};

/// Ten years, as the notes' templates ask for.
pub(crate) const ROOT_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
    /// The template wants an authority that cannot be made.
    #[error(transparent)]
    Private(#[from] PrivateCaError),
    /// A file beside the store cannot be written.
    #[error("the gateways' CA certificate cannot be written")]
    File(#[source] io::Error),
    /// The stream's servers cannot use a certificate.
    #[error("the control plane's own certificate cannot be used: {0}")]
    Tls(String),
    /// There is no such authority.
    #[error("there is no certificate authority {0}")]
    Unknown(Arn),
    /// It has no certificate yet, or is disabled or deleted.
    #[error("the certificate authority {0} is not ACTIVE")]
    NotActive(Arn),
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
    opened: ArcSwap<Opened>,
    changed: watch::Sender<u64>,
}

/// The authorities of one moment.
#[derive(Default)]
pub(crate) struct Opened {
    /// What they were opened from.
    rows: Table<AuthorityRecord>,
    /// As in [`Settings`](crate::registry::Settings).
    crl_base: Option<String>,
    all: Vec<OpenAuthority>,
    /// PEM of what the mesh trusts.
    mesh_roots: String,
}

struct OpenAuthority {
    arn: Arn,
    /// The one that its line began with.
    line: Arn,
    slot: Slot,
    number: u32,
    purpose: AuthorityPurpose,
    /// Part of the trust bundle.
    trusted: bool,
    /// Signs leaves.
    active: bool,
    /// Where its CRL is fetched, if what it signs is to tell.
    crl_url: Option<String>,
    /// What it signs lives so long at most.
    ttl_max: Duration,
    /// What a leaf is sent with: the authority's own certificate and those above it but the root.
    /// Empty for a root, which its peers have.
    above: Vec<Vec<u8>>,
    authority: Arc<Authority>,
}

impl OpenAuthority {
    /// What decides whether another is the same.
    fn state(&self) -> (&Arn, Slot, bool, bool, &[Vec<u8>], &[u8]) {
        let certificate = self.authority.certificate_der();
        (&self.arn, self.slot, self.trusted, self.active, &self.above, certificate)
    }

    fn request<'a>(&'a self, order: &LeafOrder, csr: &'a CheckedCsr) -> LeafRequest<'a> {
        LeafRequest {
            public_key: csr,
            spiffe_id: order.spiffe_id.clone(),
            dns_names: order.dns_names.clone(),
            addresses: order.addresses.clone(),
            crl_url: self.crl_url.as_deref(),
            usage: if order.public { Usage::Server } else { Usage::Both },
            ttl: order.ttl.min(self.ttl_max),
        }
    }
}

impl Opened {
    fn new(rows: Table<AuthorityRecord>, crl_base: Option<String>, all: Vec<OpenAuthority>) -> Self {
        let mut opened = Self { rows, crl_base, all, mesh_roots: String::new() };
        opened.mesh_roots = opened.roots_pem(AuthorityPurpose::Mesh);
        opened
    }

    /// Whether nothing has changed since they were opened.
    pub(crate) fn is_of(&self, registry: &Registry) -> bool {
        self.rows.is_same(&registry.authorities) && self.crl_base == registry.settings().crl_base
    }

    fn roots_pem(&self, purpose: AuthorityPurpose) -> String {
        let trusted = self.all.iter().filter(|open| open.purpose == purpose && open.trusted);
        trusted.map(|open| open.authority.certificate_pem()).collect()
    }

    fn named(&self, arn: &Arn) -> Option<&OpenAuthority> {
        self.all.iter().find(|open| open.arn == *arn)
    }

    /// Who signs for a line at present, by any authority of the line; without one, for the mesh's own or
    /// the public one.
    fn signer(&self, authority: Option<&Arn>, public: bool) -> Result<&OpenAuthority, AuthoritiesError> {
        let line = match authority {
            Some(arn) => self.rows.get(arn.as_str()).map_or(arn, |row| row.line()),
            None => &self.own(public)?.line,
        };
        let unknown = || AuthoritiesError::Unknown(authority.unwrap_or(line).clone());
        let current = |open: &&OpenAuthority| open.line == *line && open.slot == Slot::Current;
        self.all.iter().find(current).ok_or_else(unknown)
    }

    fn own(&self, public: bool) -> Result<&OpenAuthority, AuthoritiesError> {
        let id = own_name(public);
        self.all.iter().find(|open| open.line.resource_name() == id).ok_or_else(|| {
            let arn = Scope::default().arn("acm-pca", format_args!("certificate-authority/{id}"));
            AuthoritiesError::Unknown(arn)
        })
    }

    /// The identifier of the key that signs for each line, by the ARN that the line began with.
    pub(crate) fn signing_keys(&self) -> BTreeMap<Arn, String> {
        let signs = self.all.iter().filter(|open| open.slot == Slot::Current && open.active);
        signs.map(|open| (open.line.clone(), open.authority.key_id().to_owned())).collect()
    }

    /// Signs what is ordered.
    pub(crate) fn issue(
        &self,
        order: &LeafOrder,
        csr: &CheckedCsr,
        now: Timestamp,
    ) -> Result<IssuedCertificate, AuthoritiesError> {
        let signer = self.signer(order.authority.as_ref(), order.public)?;
        if !signer.active {
            return Err(AuthoritiesError::NotActive(signer.arn.clone()));
        }
        self.issue_by(signer, order, csr, now)
    }

    /// Signs what is ordered, valid at another time than now: for a fault that is injected on purpose.
    pub(crate) fn issue_out_of_time(
        &self,
        order: &LeafOrder,
        csr: &CheckedCsr,
        (not_before, not_after): (Timestamp, Timestamp),
    ) -> Result<IssuedCertificate, AuthoritiesError> {
        let signer = self.signer(order.authority.as_ref(), order.public)?;
        if !signer.active {
            return Err(AuthoritiesError::NotActive(signer.arn.clone()));
        }
        let request = signer.request(order, csr);
        let leaf = signer.authority.issue_out_of_time(&request, not_before, not_after)?;
        Ok(self.issued(signer, order, leaf))
    }

    fn issue_by(
        &self,
        signer: &OpenAuthority,
        order: &LeafOrder,
        csr: &CheckedCsr,
        now: Timestamp,
    ) -> Result<IssuedCertificate, AuthoritiesError> {
        let leaf = signer.authority.issue(&signer.request(order, csr), now)?;
        Ok(self.issued(signer, order, leaf))
    }

    fn issued(&self, signer: &OpenAuthority, order: &LeafOrder, leaf: IssuedLeaf) -> IssuedCertificate {
        IssuedCertificate {
            chain_der: std::iter::once(leaf.certificate_der).chain(signer.above.iter().cloned()).collect(),
            roots_pem: self.mesh_roots.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            spiffe_id: order.spiffe_id.clone(),
            serial: leaf.serial_hex,
            authority: signer.arn.clone(),
        }
    }

    /// Signs the certificate of the stream's servers by the oldest of the mesh's own that are trusted
    /// and can sign: a proxy that was away since before the present one was made believes that, too.
    fn issue_own(
        &self,
        order: &LeafOrder,
        csr: &CheckedCsr,
        now: Timestamp,
    ) -> Result<IssuedCertificate, AuthoritiesError> {
        let line = &self.own(false)?.line;
        let mut old: Vec<_> = self
            .all
            .iter()
            .filter(|open| open.line == *line && matches!(open.slot, Slot::Former | Slot::Current))
            .filter(|open| open.active && open.authority.not_after() >= now + order.ttl)
            .collect();
        old.sort_by_key(|open| open.number);
        match old.first() {
            Some(oldest) => self.issue_by(oldest, order, csr, now),
            None => self.issue(order, csr, now),
        }
    }
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
        let authorities = Self { master_key, opened: ArcSwap::default(), changed };
        for (purpose, id, common_name) in [
            (AuthorityPurpose::Mesh, MESH_AUTHORITY, "Bowline mesh root"),
            (AuthorityPurpose::Public, PUBLIC_AUTHORITY, "Bowline gateway root (this machine only)"),
        ] {
            let arn = scope.arn("acm-pca", format_args!("certificate-authority/{id}"));
            if !writer.snapshot().authorities.values().any(|record| *record.line() == arn) {
                let record = authorities.create_own(&arn, purpose, common_name.to_owned(), now)?;
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
        let present = self.opened.load();
        if present.is_of(registry) {
            return Ok(false);
        }
        let present = &present.all;
        let crl_base = registry.settings().crl_base.clone();
        let mut all = Vec::new();
        for record in registry.authorities.values() {
            if record.certificate_der.is_empty() {
                continue;
            }
            let same = |open: &&OpenAuthority| {
                open.arn == record.arn
                    && **open.authority.certificate_der() == *record.certificate_der
                    && record.private.as_ref().is_none_or(|private| open.above == sent_above(record, private))
            };
            let authority = match (present.iter().find(same), &record.private) {
                (Some(open), _) => Arc::clone(&open.authority),
                (None, None) => Arc::new(self.open_record(record)?),
                // One of a user's making may be such that leaves cannot stand under it. That is
                // told to the services that name it, and keeps no other from being used.
                (None, Some(_)) => match self.open_record(record) {
                    Ok(authority) => Arc::new(authority),
                    Err(error) => {
                        tracing::warn!(authority = %record.arn, %error, "it cannot sign tasks' certificates");
                        continue;
                    }
                },
            };
            let private = record.private.as_deref();
            all.push(OpenAuthority {
                arn: record.arn.clone(),
                line: record.line().clone(),
                slot: record.place.slot,
                number: record.place.number,
                purpose: record.purpose,
                trusted: record.trusted,
                active: private
                    .is_none_or(|private| private.status == acmpca::CertificateAuthorityStatus::Active),
                crl_url: private
                    .and_then(|private| private_ca::crl_url(private, &record.arn, crl_base.as_deref())),
                ttl_max: match private.map(|private| private.usage_mode) {
                    Some(acmpca::UsageMode::ShortLivedCertificate) => SHORT_LIVED_MAX,
                    _ => Duration::MAX,
                },
                above: private.map(|private| sent_above(record, private)).unwrap_or_default(),
                authority,
            });
        }
        let changed = !all.iter().map(OpenAuthority::state).eq(present.iter().map(OpenAuthority::state));
        self.opened.store(Arc::new(Opened::new(registry.authorities.clone(), crl_base, all)));
        if changed {
            self.changed.send_modify(|generation| *generation += 1);
        }
        Ok(changed)
    }

    fn open_record(&self, record: &AuthorityRecord) -> Result<Authority, AuthoritiesError> {
        let key =
            private_ca::open_key(&self.master_key, &record.arn, &record.sealed_key).map_err(|source| {
                AuthoritiesError::Sealed { arn: record.arn.clone(), source: Box::new(source) }
            })?;
        let above = record.private.as_ref().map_or(&[][..], |private| &private.chain);
        let asked = record.private.as_ref().map(|private| private.configuration.signing_algorithm);
        let signature = asked.and_then(SignatureAlgorithm::of_aws);
        Ok(Authority::below(&record.certificate_der, above, &key, signature)?)
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Makes the authority of a template, which waits for its certificate.
    pub(crate) fn create_for_template(
        &self,
        arn: &Arn,
        body: &acmpca::CertificateAuthority,
        now: Timestamp,
    ) -> Result<AuthorityRecord, AuthoritiesError> {
        let mut subject = body.subject.clone();
        if subject == acmpca::Subject::default() {
            subject.common_name = Some("Bowline private CA".to_owned());
        }
        let tags = body.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone().unwrap_or_default()));
        let new = NewAuthority {
            kind: body.r#type,
            configuration: acmpca::CertificateAuthorityConfiguration {
                key_algorithm: body.key_algorithm,
                signing_algorithm: body.signing_algorithm,
                subject,
                csr_extensions: body.csr_extensions.clone(),
            },
            revocation: body.revocation_configuration.clone(),
            usage_mode: body.usage_mode.unwrap_or(acmpca::UsageMode::GeneralPurpose),
            key_storage: body.key_storage_security_standard,
            tags: tags.collect(),
            token: None,
        };
        Ok(commands::make(&self.master_key, arn.clone(), new, now)?)
    }

    /// Makes an authority of the control plane's own.
    fn create_own(
        &self,
        arn: &Arn,
        purpose: AuthorityPurpose,
        common_name: String,
        now: Timestamp,
    ) -> Result<AuthorityRecord, AuthoritiesError> {
        let params = RootParams {
            common_name,
            organization: Some("Bowline".to_owned()),
            key_algorithm: KeyAlgorithm::EcP256,
            validity: ROOT_VALIDITY,
            ..RootParams::default()
        };
        let authority = Authority::create_root(&params, now)?;
        let key: Zeroizing<Vec<u8>> = authority.key_pkcs8_der();
        Ok(AuthorityRecord {
            arn: arn.clone(),
            purpose,
            certificate_der: authority.certificate_der().to_vec(),
            sealed_key: private_ca::seal_key(&self.master_key, arn, &key)
                .map_err(|source| AuthoritiesError::Seal(Box::new(source)))?,
            trusted: true,
            private: None,
            place: AuthorityPlace::default(),
        })
    }

    /// The authorities of this moment.
    pub(crate) fn opened(&self) -> Arc<Opened> {
        self.opened.load_full()
    }

    /// PEM of every root of the mesh.
    pub(crate) fn mesh_roots_pem(&self) -> String {
        self.opened.load().mesh_roots.clone()
    }

    /// PEM of every root of the gateways' public certificates.
    pub(crate) fn public_roots_pem(&self) -> String {
        self.opened.load().roots_pem(AuthorityPurpose::Public)
    }

    /// Signs what is ordered.
    pub(crate) fn issue(
        &self,
        order: &LeafOrder,
        csr: &CheckedCsr,
        now: Timestamp,
    ) -> Result<IssuedCertificate, AuthoritiesError> {
        self.opened.load().issue(order, csr, now)
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
        let opened = self.opened.load();
        let signer = opened.named(authority).ok_or_else(|| AuthoritiesError::Unknown(authority.clone()))?;
        Ok(signer.authority.sign_crl(revoked, number, now, next_update)?)
    }

    /// An authority's certificate: PEM, and its last second.
    pub(crate) fn certificate_of(&self, authority: &Arn) -> Option<(String, Timestamp)> {
        let opened = self.opened.load();
        let found = opened.named(authority)?;
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
        let issued = self.opened.load().issue_own(&order, &CheckedCsr::parse(csr.der())?, now)?;
        Ok(TlsMaterial {
            chain_der: issued.chain_der,
            key_pkcs8_der: Zeroizing::new(key.serialize_der()),
            roots_pem: issued.roots_pem,
        })
    }
}

/// The certificates that a leaf is sent with, besides itself.
fn sent_above(record: &AuthorityRecord, private: &PrivateAuthority) -> Vec<Vec<u8>> {
    match private.chain.split_last() {
        None => Vec::new(),
        Some((_root, between)) => {
            std::iter::once(record.certificate_der.clone()).chain(between.iter().cloned()).collect()
        }
    }
}

/// The ARN that the line of the mesh's own authorities, or of the public ones, began with.
pub(crate) fn own_line(scope: &Scope, public: bool) -> Arn {
    scope.arn("acm-pca", format_args!("certificate-authority/{}", own_name(public)))
}

fn own_name(public: bool) -> &'static str {
    if public { PUBLIC_AUTHORITY } else { MESH_AUTHORITY }
}
