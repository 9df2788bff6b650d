//! What the task's own application is shown when it calls `https://` on an
//! alias: leaves of the task's CA, minted for exactly the names and addresses
//! of the alias that was called.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bowline_plumbing::shim_link::TaskAuthority;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{TlsError, certified_key, public_config};

/// A leaf's life; the last ones end with their CA.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A leaf begins this long before it is made: clocks are set back.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
/// Most leaves kept. A task with more aliases mints again, which takes well
/// under a millisecond.
const LEAVES_MAX: usize = 512;

/// What a leaf is for: names (lower case) and addresses.
type Subject = (Vec<String>, Vec<IpAddr>);

struct Leaf {
    server: Arc<ServerConfig>,
    renew_at: SystemTime,
}

/// The task's CA, and the leaves that it has minted.
pub(crate) struct ApplicationAuthority {
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
    leaves: Mutex<HashMap<Subject, Leaf>>,
}

impl fmt::Debug for ApplicationAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationAuthority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl ApplicationAuthority {
    /// # Errors
    /// Certificate or key cannot be read.
    pub(crate) fn new(authority: &TaskAuthority) -> Result<Self, TlsError> {
        let der = CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes())
            .map_err(|_| TlsError::Certificates)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| TlsError::Certificates)?;
        let seconds =
            u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| TlsError::Certificates)?;
        let key = KeyPair::from_pem(authority.key_pem.expose()).map_err(|_| TlsError::Key)?;
        Ok(Self {
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            issuer: Issuer::from_ca_cert_der(&der, key)?,
            leaves: Mutex::default(),
        })
    }

    /// The server's side for an alias of these names and addresses: a kept
    /// leaf, or a new one when there is none or two thirds of its life are over.
    ///
    /// # Errors
    /// The CA is over, or a name cannot be in a certificate.
    pub(crate) fn server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut subject: Subject =
            (names.iter().map(|name| name.to_ascii_lowercase()).collect(), addresses.to_vec());
        subject.0.sort_unstable();
        subject.0.dedup();
        subject.1.sort_unstable();
        subject.1.dedup();
        // Held while minting: who comes meanwhile most likely wants the same.
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(&subject).filter(|leaf| now < leaf.renew_at) {
            return Ok(Arc::clone(&leaf.server));
        }
        let leaf = self.mint(&subject, now)?;
        let server = Arc::clone(&leaf.server);
        if leaves.len() >= LEAVES_MAX && !leaves.contains_key(&subject) {
            let oldest = leaves.iter().min_by_key(|(_, leaf)| leaf.renew_at).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                leaves.remove(&oldest);
            }
        }
        leaves.insert(subject, leaf);
        Ok(server)
    }

    fn mint(&self, (names, addresses): &Subject, now: SystemTime) -> Result<Leaf, TlsError> {
        let ends = (now + LIFETIME).min(self.not_after);
        let life = ends.duration_since(now).map_err(|_| TlsError::AuthorityExpired)?;
        if life.is_zero() {
            return Err(TlsError::AuthorityExpired);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Bowline alias");
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.not_before = (now - BACKDATED).into();
        params.not_after = ends.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = certified_key(vec![certificate.der().clone()], key)?;
        Ok(Leaf { server: public_config(&key, &[], true)?, renew_at: now + life * 2 / 3 })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bowline_model::task::Secret;
    use rcgen::{BasicConstraints, IsCa};

    use super::*;

    fn authority() -> ApplicationAuthority {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.not_after = (SystemTime::now() + Duration::from_secs(10 * 24 * 3600)).into();
        let certificate_pem = params.self_signed(&key).expect("a CA").pem();
        let key_pem = Secret::new(key.serialize_pem());
        ApplicationAuthority::new(&TaskAuthority { certificate_pem, key_pem }).expect("usable")
    }

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1));

    #[test]
    fn a_leaf_is_kept_until_two_thirds_of_its_life() {
        let (authority, now) = (authority(), SystemTime::now());
        let get = |names: &[&str], hours: u64| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            authority.server(&names, &[ADDRESS], now + Duration::from_secs(hours * 3600)).expect("a leaf")
        };
        let first = get(&["b", "a"], 0);
        assert!(Arc::ptr_eq(&first, &get(&["A", "b"], 15)));
        assert!(!Arc::ptr_eq(&first, &get(&["a"], 0)), "another alias");
        let second = get(&["a", "b"], 17);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &get(&["a", "b"], 18)));
    }

    #[test]
    fn no_more_leaves_are_kept_than_the_limit_and_the_oldest_goes() {
        let (authority, now) = (authority(), SystemTime::now());
        let get = |number: usize| {
            let now = now + Duration::from_secs(number.min(LEAVES_MAX) as u64);
            authority.server(&[format!("n{number}")], &[], now).expect("a leaf")
        };
        let (first, second) = (get(0), get(1));
        for number in 2..=LEAVES_MAX {
            get(number);
        }
        assert_eq!(authority.leaves.lock().expect("not poisoned").len(), LEAVES_MAX);
        assert!(Arc::ptr_eq(&second, &get(1)));
        assert!(!Arc::ptr_eq(&first, &get(0)));
    }

    #[test]
    fn nothing_is_issued_after_the_cas_end_or_for_a_name_that_cannot_be() {
        let (authority, now) = (authority(), SystemTime::now());
        let late = now + Duration::from_secs(11 * 24 * 3600);
        assert!(matches!(authority.server(&["a".to_owned()], &[], late), Err(TlsError::AuthorityExpired)));
        assert!(matches!(authority.server(&["ä".to_owned()], &[], now), Err(TlsError::Issue(_))));
    }
}
