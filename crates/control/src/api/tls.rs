//! The endpoint's own TLS, for where others than this machine can reach it.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bowline_plumbing::wall_clock;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem, pem::PemObject};
use thiserror::Error;

use crate::{
    authorities::{AuthoritiesError, LeafOrder},
    ca::CheckedCsr,
    core::Core,
};

/// How long a certificate of the own authority lives.
const OWN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often what is shown is made or read anew.
const RENEW_INTERVAL: Duration = Duration::from_secs(12 * 3600);

/// What the endpoint shows its clients.
#[derive(Clone, Debug)]
pub enum EndpointCertificate {
    /// Certificates of the authority that signs gateways' ([`crate::control_plane::ControlPlane::gateway_ca_path`]),
    /// renewed long before they end.
    Own {
        /// DNS names by which clients call it.
        names: BTreeSet<String>,
        /// Addresses by which clients call it.
        addresses: BTreeSet<IpAddr>,
    },
    /// Somebody else's; read anew twice a day.
    Files {
        /// PEM, the leaf first.
        certificate: PathBuf,
        /// PEM: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
}

/// Why the endpoint has no certificate to show.
#[derive(Debug, Error)]
pub enum EndpointTlsError {
    /// A certificate could not be issued.
    #[error("the AWS endpoint's certificate could not be issued")]
    Issue(#[from] AuthoritiesError),
    /// No key could be made.
    #[error("the AWS endpoint's key could not be made")]
    Key(#[source] rcgen::Error),
    /// A file could not be read, or is no PEM.
    #[error("{} cannot be read as PEM", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The certificate and the key do not go together, or are of no kind that TLS takes.
    #[error("the AWS endpoint's certificate or key is unusable")]
    Unusable(#[from] rustls::Error),
}

/// The TLS configuration in use.
pub(crate) struct EndpointTls {
    core: Arc<Core>,
    certificate: EndpointCertificate,
    current: ArcSwap<ServerConfig>,
}

impl EndpointTls {
    /// With a first certificate.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn new(core: Arc<Core>, certificate: EndpointCertificate) -> Result<Self, EndpointTlsError> {
        let current = ArcSwap::from_pointee(load(&core, &certificate)?);
        Ok(Self { core, certificate, current })
    }

    /// What the next handshake uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Renews what is shown, for ever. Where that fails the present certificate stays.
    pub(crate) async fn renew(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            match load(&self.core, &self.certificate) {
                Ok(config) => self.current.store(Arc::new(config)),
                Err(error) => tracing::error!(%error, "the AWS endpoint's certificate could not be renewed"),
            }
        }
    }
}

fn load(core: &Core, certificate: &EndpointCertificate) -> Result<ServerConfig, EndpointTlsError> {
    let (chain, key) = match certificate {
        EndpointCertificate::Own { names, addresses } => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(EndpointTlsError::Key)?;
            let csr = rcgen::CertificateParams::default().serialize_request(&key);
            let csr = CheckedCsr::parse(csr.map_err(EndpointTlsError::Key)?.der());
            let order = LeafOrder {
                authority: None,
                spiffe_id: None,
                dns_names: names.iter().cloned().collect(),
                addresses: addresses.iter().copied().collect(),
                ttl: OWN_TTL,
                public: true,
            };
            let issued =
                core.authorities().issue(&order, &csr.map_err(AuthoritiesError::from)?, wall_clock::now())?;
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            (issued.chain_der.into_iter().map(CertificateDer::from).collect(), PrivateKeyDer::Pkcs8(key))
        }
        EndpointCertificate::Files { certificate, key } => {
            let wrong = |path: &PathBuf| {
                let path = path.clone();
                move |source| EndpointTlsError::Pem { path, source }
            };
            let chain = CertificateDer::pem_file_iter(certificate).map_err(wrong(certificate))?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(wrong(certificate))?;
            (chain, PrivateKeyDer::from_pem_file(key).map_err(wrong(key))?)
        }
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
