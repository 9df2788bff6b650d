//! Chains that have been verified before. Peers are few, and each shows the same chain for as long as it is valid: its
//! signatures are looked at once.
//!
//! What can change from one handshake to the next is looked at each time: the dates of every certificate that is shown,
//! here; revocation and the proof of possession, by the verifier. What a chain was verified by does not change: a
//! verifier has one trust store for life, and these are one verifier's own.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verify::PeerIdentity;

/// Most chains that are kept.
const CHAINS_MAX: usize = 1_024;

/// A hash of all that a peer shows.
pub(super) type ChainKey = [u8; 32];

/// Chains that are good, by [`key`].
#[derive(Debug, Default)]
pub(super) struct VerifiedChains(Mutex<HashMap<ChainKey, Verified>>);

#[derive(Debug)]
struct Verified {
    peer: PeerIdentity,
    valid: Validity,
}

/// The time within which all certificates of a chain are valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    from: i64,
    until: i64,
}

impl Validity {
    fn of<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Option<Self> {
        let mut all = Self { from: i64::MIN, until: i64::MAX };
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            all.from = all.from.max(parsed.validity().not_before.timestamp());
            all.until = all.until.min(parsed.validity().not_after.timestamp());
        }
        Some(all)
    }

    fn holds(self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| self.from <= now && now <= self.until)
    }
}

/// Names what a peer shows, byte for byte.
pub(super) fn key(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> ChainKey {
    let mut context = Context::new(&SHA256);
    for certificate in std::iter::once(end_entity).chain(intermediates) {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

impl VerifiedChains {
    /// Who has proved to be whom by this chain, if it has been verified and no part of it has expired since.
    pub(super) fn find(&self, key: &ChainKey, now: UnixTime) -> Option<PeerIdentity> {
        let chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chains.get(key).filter(|verified| verified.valid.holds(now)).map(|verified| verified.peer.clone())
    }

    /// Keeps what was verified at `now`, unless its dates cannot be read.
    pub(super) fn keep(
        &self,
        key: ChainKey,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        peer: &PeerIdentity,
        now: UnixTime,
    ) {
        let Some(valid) = Validity::of(std::iter::once(end_entity).chain(intermediates)) else { return };
        if !valid.holds(now) {
            return;
        }
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() >= CHAINS_MAX {
            chains.retain(|_, verified| verified.valid.holds(now));
        }
        if chains.len() >= CHAINS_MAX {
            chains.clear();
        }
        chains.insert(key, Verified { peer: peer.clone(), valid });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc, time::Duration};

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
        SerialNumber,
    };
    use rustls::{CertificateError, server::danger::ClientCertVerifier};

    use super::*;
    use crate::tls::{
        trust::{Revoked, Roots, TrustStore},
        verify::SpiffeVerifier,
    };

    const HOUR: u64 = 3_600;

    struct Ca {
        issuer: Issuer<'static, KeyPair>,
        root_pem: String,
    }

    impl Ca {
        fn new() -> Self {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![]).expect("parameters");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root_pem = params.self_signed(&key).expect("a root").pem();
            Self { issuer: Issuer::new(params, key), root_pem }
        }

        /// Good for an hour.
        fn leaf(&self) -> CertificateDer<'static> {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![]).expect("parameters");
            let id = "spiffe://d/ns/n/cluster/c/svc/s".try_into().expect("ASCII");
            params.subject_alt_names = vec![SanType::URI(id)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.serial_number = Some(SerialNumber::from(7));
            let now = std::time::SystemTime::now();
            params.not_before = (now - Duration::from_secs(60)).into();
            params.not_after = (now + Duration::from_secs(HOUR)).into();
            params.signed_by(&key, &self.issuer).expect("signed").der().clone()
        }

        fn trust(&self, revoked: &[&str]) -> Arc<TrustStore> {
            let serials: HashSet<String> = revoked.iter().map(|serial| (*serial).to_owned()).collect();
            let roots = Arc::new(Roots::from_pem(&self.root_pem).expect("a root"));
            Arc::new(TrustStore {
                roots: [("d".to_owned(), roots)].into(),
                revoked: Arc::new(Revoked::new([("d".to_owned(), serials)])),
                ..TrustStore::default()
            })
        }
    }

    fn later(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + seconds))
    }

    #[test]
    fn a_chain_that_was_verified_expires_and_is_revoked_all_the_same() {
        let ca = Ca::new();
        let leaf = ca.leaf();
        let verifier = SpiffeVerifier::of_clients(&ca.trust(&[]));
        let verify = |verifier: &SpiffeVerifier, now| verifier.verify_client_cert(&leaf, &[], now).map(drop);
        assert_eq!(verify(&verifier, later(0)), Ok(()));
        assert_eq!(verifier.known(), 1);
        assert_eq!(verify(&verifier, later(HOUR / 2)), Ok(()), "known");
        assert_eq!(verify(&verifier, later(2 * HOUR)), Err(expired(&leaf, later(2 * HOUR), &ca)));
        // A change of what is believed makes another verifier.
        let verifier = SpiffeVerifier::of_clients(&ca.trust(&["7"]));
        for _ in 0..2 {
            assert_eq!(verify(&verifier, later(0)), Err(CertificateError::Revoked.into()));
        }
        let verifier = SpiffeVerifier::of_clients(&Ca::new().trust(&[]));
        for _ in 0..2 {
            assert_eq!(verify(&verifier, later(0)), Err(CertificateError::UnknownIssuer.into()));
        }
        assert_eq!(verifier.known(), 0, "what is not good is not kept");
    }

    /// What a verifier says that has never seen the chain.
    fn expired(leaf: &CertificateDer<'_>, now: UnixTime, ca: &Ca) -> rustls::Error {
        let fresh = SpiffeVerifier::of_clients(&ca.trust(&[]));
        fresh.verify_client_cert(leaf, &[], now).map(drop).expect_err("expired")
    }

    #[test]
    fn every_byte_counts_and_where_a_certificate_ends() {
        let certificate = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        let keys = [
            key(&certificate(b"ab"), &[]),
            key(&certificate(b"ac"), &[]),
            key(&certificate(b"a"), &[certificate(b"b")]),
            key(&certificate(b"ab"), &[certificate(b"")]),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let (chains, leaf) = (VerifiedChains::default(), Ca::new().leaf());
        let peer = crate::tls::verify::peer_identity(&leaf).expect("an id");
        for number in 0..=CHAINS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            chains.keep(key, &leaf, &[], &peer, later(0));
            assert!(chains.len() <= CHAINS_MAX);
        }
        assert_eq!(chains.len(), 1);
    }
}
