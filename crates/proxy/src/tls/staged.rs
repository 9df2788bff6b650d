//! Which certificate is shown to other proxies: the proxy's own, or for a while, on purpose, one that nobody must
//! believe. The choice is made anew for each handshake.

use std::{sync::Arc, time::Instant};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{PROVIDER, TlsError};

/// All handshakes.
pub(crate) const ALL: u32 = 1_000_000;

/// A faulty certificate that is shown until its deadline.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Names it to the control plane.
    pub(crate) version: String,
    key: Arc<CertifiedKey>,
    per_million: u32,
    /// From then on the proxy's own is shown, whether anybody says so or not.
    pub(crate) until: Instant,
}

impl Staged {
    /// Reads chain and key. They are not compared, nor is any of it checked: what is shown is wrong on purpose.
    pub(crate) fn new(
        version: String,
        chain_der: Vec<Vec<u8>>,
        key_pkcs8: &[u8],
        per_million: u32,
        until: Instant,
    ) -> Result<Self, TlsError> {
        let chain: Vec<_> = chain_der.into_iter().map(CertificateDer::from).collect();
        if chain.is_empty() {
            return Err(TlsError::Certificates);
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8.to_vec()));
        let key = PROVIDER.key_provider.load_private_key(key)?;
        Ok(Self { version, key: Arc::new(CertifiedKey::new(chain, key)), per_million, until })
    }

    /// Whether a part of the handshakes shows the proxy's own still.
    pub(crate) fn is_partial(&self) -> bool {
        self.per_million < ALL
    }

    fn is_drawn(&self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        let mut bytes = [0; 8];
        // Without randomness none is shown that was not to be shown always.
        let drawn = match aws_lc_rs::rand::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes) % u64::from(ALL),
            Err(_) => u64::from(ALL) - 1,
        };
        drawn < u64::from(self.per_million)
    }
}

/// What is shown in handshakes, whatever the other side says of its roots.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    own: Arc<CertifiedKey>,
    staged: Option<Arc<Staged>>,
}

impl Shown {
    /// The proxy's own, or what is staged in its place.
    pub(crate) fn new(own: &Arc<CertifiedKey>, staged: Option<&Arc<Staged>>) -> Self {
        Self { own: Arc::clone(own), staged: staged.cloned() }
    }

    /// The proxy's own, whatever is staged.
    pub(crate) fn own(own: &Arc<CertifiedKey>) -> Self {
        Self::new(own, None)
    }

    /// Whether handshakes differ in what they show.
    pub(crate) fn differs(&self) -> bool {
        self.staged.as_ref().is_some_and(|staged| staged.is_partial())
    }

    fn draw(&self) -> Arc<CertifiedKey> {
        match &self.staged {
            Some(staged) if staged.is_drawn() => Arc::clone(&staged.key),
            _ => Arc::clone(&self.own),
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.draw())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.draw())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pair() -> (Vec<Vec<u8>>, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("a certificate");
        (vec![made.cert.der().to_vec()], made.signing_key.serialize_der())
    }

    fn shown(per_million: u32, until: Instant) -> Shown {
        let (own, own_key) = pair();
        let own_key =
            PROVIDER.key_provider.load_private_key(PrivateKeyDer::Pkcs8(own_key.into())).expect("a key");
        let own = Arc::new(CertifiedKey::new(vec![CertificateDer::from(own[0].clone())], own_key));
        // The key is another's.
        let staged = Staged::new("v".to_owned(), pair().0, &pair().1, per_million, until)
            .expect("nothing is compared");
        Shown::new(&own, Some(&Arc::new(staged)))
    }

    fn count(shown: &Shown, draws: usize) -> usize {
        (0..draws).filter(|_| !Arc::ptr_eq(&shown.draw(), &shown.own)).count()
    }

    #[test]
    fn it_is_drawn_as_often_as_it_should_be_until_its_end() {
        let later = Instant::now() + Duration::from_secs(600);
        assert_eq!(count(&shown(ALL, later), 1_000), 1_000);
        let half = count(&shown(ALL / 2, later), 10_000);
        // Ten standard deviations.
        assert!((4_500..5_500).contains(&half), "{half}");
        assert_eq!(count(&shown(ALL, Instant::now()), 1_000), 0, "it is over");
        assert!(shown(1, later).differs() && !shown(ALL, later).differs());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let later = Instant::now() + Duration::from_secs(600);
        assert!(Staged::new("v".to_owned(), Vec::new(), &pair().1, ALL, later).is_err());
        assert!(Staged::new("v".to_owned(), pair().0, b"no key", ALL, later).is_err());
    }
}
