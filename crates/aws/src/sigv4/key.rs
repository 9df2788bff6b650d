//! Secret access keys, and the keys that are derived from them for a day, a region and a service.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::{constant_time, digest, hmac};
use zeroize::Zeroizing;

use super::{Scope, TERMINATOR, canonical::hex};

/// A secret access key. It is overwritten when dropped and never printed.
#[derive(Clone)]
pub struct SecretKey {
    secret: Zeroizing<String>,
    /// SHA-256 of the secret: whether a derived key is still that of this secret.
    fingerprint: [u8; digest::SHA256_OUTPUT_LEN],
}

impl SecretKey {
    /// The secret access key `secret`.
    pub fn new(secret: impl Into<String>) -> Self {
        let secret = Zeroizing::new(secret.into());
        let mut fingerprint = [0; digest::SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self { secret, fingerprint }
    }

    /// Whether both are the same; takes as long wherever they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.fingerprint, &other.fingerprint).is_ok()
    }

    /// The key that signs requests of `scope`: four HMACs, some microseconds.
    pub fn signing_key(&self, scope: &Scope) -> SigningKey {
        let prefixed = Zeroizing::new([b"AWS4", self.secret.as_bytes()].concat());
        let key = |value: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, value);
        let mut derived = hmac::sign(&key(&prefixed), scope.date.as_bytes());
        for part in [scope.region.as_str(), scope.service.as_str(), TERMINATOR] {
            derived = hmac::sign(&key(derived.as_ref()), part.as_bytes());
        }
        SigningKey { key: key(derived.as_ref()) }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

/// The key that signs the requests of one credential in one [`Scope`].
pub struct SigningKey {
    key: hmac::Key,
}

impl SigningKey {
    /// The signature of a string to sign, in lower-case hexadecimal.
    pub(super) fn sign(&self, string_to_sign: &str) -> String {
        hex(hmac::sign(&self.key, string_to_sign.as_bytes()).as_ref())
    }

    /// Whether `signature` is that of `string_to_sign`; takes as long wherever they differ.
    pub(super) fn verifies(&self, string_to_sign: &str, signature: &str) -> bool {
        let expected = self.sign(string_to_sign);
        constant_time::verify_slices_are_equal(expected.as_bytes(), signature.as_bytes()).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

/// Signing keys that were of use, so that a client's next request costs one HMAC and not five.
///
/// It is asked before a signature is verified and told after one was found good, so that only the
/// holder of a secret fills it. A key is used only for the secret that it was derived from: a
/// rotated secret needs no invalidation.
#[derive(Debug)]
pub struct SigningKeyCache {
    /// By credential, `AKID/20150830/us-east-1/ecs`.
    entries: RwLock<HashMap<String, Entry>>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    date: String,
    fingerprint: [u8; digest::SHA256_OUTPUT_LEN],
    key: Arc<SigningKey>,
}

impl SigningKeyCache {
    /// A cache of at most `capacity` keys (a few hundred bytes each). With 0 nothing is kept.
    pub fn new(capacity: usize) -> Self {
        Self { entries: RwLock::default(), capacity }
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, credential: &str, secret: &SecretKey) -> Option<Arc<SigningKey>> {
        // A panic while the lock is held leaves a map that is whole: there is nothing to repair.
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(credential)?;
        constant_time::verify_slices_are_equal(&entry.fingerprint, &secret.fingerprint)
            .is_ok()
            .then(|| Arc::clone(&entry.key))
    }

    pub(super) fn put(&self, credential: &str, date: &str, secret: &SecretKey, key: Arc<SigningKey>) {
        if self.capacity == 0 {
            return;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity && !entries.contains_key(credential) {
            // Yesterday's keys are of no more use; within a day any is as good as another.
            let oldest =
                entries.iter().min_by(|(_, a), (_, b)| a.date.cmp(&b.date)).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        let entry = Entry { date: date.to_owned(), fingerprint: secret.fingerprint, key };
        entries.insert(credential.to_owned(), entry);
    }
}

/// 1,024 keys.
impl Default for SigningKeyCache {
    fn default() -> Self {
        Self::new(1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(date: &str) -> Scope {
        Scope { date: date.into(), region: "us-east-1".into(), service: "iam".into() }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = SecretKey::new("wJalrXUtnFEMI");
        let key = secret.signing_key(&scope("20150830"));
        assert!(!format!("{secret:?} {key:?}").contains("wJalr"));
    }

    #[test]
    fn a_rotated_secret_does_not_get_the_old_key() {
        let cache = SigningKeyCache::default();
        let (old, new) = (SecretKey::new("old"), SecretKey::new("new"));
        cache.put("a", "20150830", &old, Arc::new(old.signing_key(&scope("20150830"))));
        assert!(cache.get("a", &old).is_some());
        assert!(cache.get("a", &new).is_none());
        assert!(cache.get("b", &old).is_none());
    }

    #[test]
    fn the_cache_is_bounded_and_yesterday_goes_first() {
        let cache = SigningKeyCache::new(2);
        let secret = SecretKey::new("s");
        for (name, date) in [("a", "20150830"), ("b", "20150829"), ("c", "20150830"), ("c", "20150830")] {
            cache.put(name, date, &secret, Arc::new(secret.signing_key(&scope(date))));
        }
        let kept = |name| cache.get(name, &secret).is_some();
        assert_eq!((kept("a"), kept("b"), kept("c")), (true, false, true));
        let none = SigningKeyCache::new(0);
        none.put("a", "20150830", &secret, Arc::new(secret.signing_key(&scope("20150830"))));
        assert!(none.get("a", &secret).is_none());
    }
}
