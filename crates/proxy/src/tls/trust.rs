//! Who is believed: roots by trust domain, and serial numbers that are not.

use std::collections::{BTreeMap, HashMap, HashSet};

use bowline_model::sabotage::{Defence, sabotaged};
use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use super::{TlsError, imported::ImportedCertificates, verify::PeerIdentity};

/// Most roots of a trust domain.
const ROOTS_MAX: usize = 100;

/// The roots of one trust domain.
#[derive(Debug)]
pub(crate) struct Roots {
    /// Kept so that the anchors can be listed and stored.
    pub(crate) pem: String,
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
}

impl Roots {
    pub(crate) fn from_pem(pem: &str) -> Result<Self, TlsError> {
        let anchors: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .take(ROOTS_MAX)
            .map(|certificate| {
                let certificate = certificate.map_err(|_| TlsError::Certificates)?;
                let anchor =
                    webpki::anchor_from_trusted_cert(&certificate).map_err(|_| TlsError::Certificates)?;
                Ok(anchor.to_owned())
            })
            .collect::<Result<_, TlsError>>()?;
        if anchors.is_empty() {
            return Err(TlsError::Certificates);
        }
        Ok(Self { pem: pem.to_owned(), anchors })
    }
}

/// Serial numbers refused, by trust domain. Lower-case hex, no leading zeros.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Revoked {
    by_domain: HashMap<String, HashSet<String>>,
}

impl Revoked {
    pub(crate) fn new(lists: impl IntoIterator<Item = (String, HashSet<String>)>) -> Self {
        Self { by_domain: lists.into_iter().collect() }
    }

    /// Whether a serial number is refused of any trust domain: for a certificate without an identity.
    pub(crate) fn contains_anywhere(&self, serial: &str) -> bool {
        self.by_domain.values().any(|serials| serials.contains(serial))
    }

    /// How many are refused of a trust domain.
    pub(crate) fn count(&self, trust_domain: &str) -> usize {
        self.by_domain.get(trust_domain).map_or(0, HashSet::len)
    }

    pub(crate) fn contains(&self, trust_domain: &str, serial: &str) -> bool {
        self.by_domain.get(trust_domain).is_some_and(|serials| serials.contains(serial))
    }
}

/// All that verification rests on, of one moment.
#[derive(Debug, Default)]
pub(crate) struct TrustStore {
    pub(crate) roots: BTreeMap<String, std::sync::Arc<Roots>>,
    pub(crate) revoked: std::sync::Arc<Revoked>,
    pub(crate) imported: std::sync::Arc<ImportedCertificates>,
}

impl TrustStore {
    /// Whether who was believed is not any more. Expired ones may finish what they have.
    pub(crate) fn refuses(&self, peer: &PeerIdentity) -> bool {
        if sabotaged(Defence::Revocation) {
            return false;
        }
        match peer.imported {
            // Its certificate may have been replaced; that its service has none is another matter.
            true => !self.imported.speak_for(&peer.id),
            false => self.revoked.contains(peer.id.trust_domain(), &peer.serial),
        }
    }
}

/// DER's big-endian integer as lower-case hex without leading zeros.
pub(crate) fn serial_text(serial: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(serial.len() * 2);
    for byte in serial {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_have_no_leading_zeros() {
        assert_eq!(serial_text(&[0x00, 0xab, 0x01]), "ab01");
        assert_eq!(serial_text(&[0x0b, 0x01]), "b01");
        assert_eq!(serial_text(&[0x00]), "0");
    }
}
