//! Access keys: made, opened, and the temporary ones, of which nothing is stored.
//!
//! A stored key's secret is sealed under the master key and opened once. A temporary key's secret
//! stands in its own session token, sealed: whoever has the master key can verify it, and a
//! restart forgets none.

mod session;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_aws::sigv4::SecretKey;
use bowline_model::clock::Timestamp;
use bowline_plumbing::seal::SealKey;
use zeroize::Zeroizing;

pub(crate) use session::{Session, SessionOf};

use crate::{
    iam::{AccessKeyRecord, KeyOwner},
    master_key::{MasterKey, RecordError},
    random,
    registry::Registry,
};

/// Most opened secrets, and most last uses, that are kept in memory.
const KEPT_MAX: usize = 4_096;

/// Opens and makes access keys.
pub(crate) struct Credentials {
    master_key: Arc<MasterKey>,
    session_key: SealKey,
    /// Secrets that were opened, each with the row that it was opened from: a changed row has
    /// another address.
    opened: Mutex<HashMap<String, (Arc<AccessKeyRecord>, SecretKey)>>,
    last_used: Mutex<HashMap<String, LastUse>>,
}

/// When and for what an access key was used last, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastUse {
    pub(crate) at: Timestamp,
    /// The service's signing name.
    pub(crate) service: String,
    /// The region that the signature was for.
    pub(crate) region: String,
}

/// A new access key with its secret.
pub(crate) struct NewKey {
    pub(crate) record: AccessKeyRecord,
    pub(crate) secret: Zeroizing<String>,
}

impl Credentials {
    pub(crate) fn new(master_key: Arc<MasterKey>) -> Self {
        let session_key = master_key.derive("session token");
        Self { master_key, session_key, opened: Mutex::default(), last_used: Mutex::default() }
    }

    /// Makes an access key; nothing is stored yet.
    pub(crate) fn make(&self, owner: KeyOwner, now: Timestamp) -> Result<NewKey, RecordError> {
        let id = format!("AKIA{}", random::base32(16));
        let secret = random::secret();
        let sealed_secret = self.master_key.seal(&context(&id), secret.as_bytes())?;
        Ok(NewKey {
            record: AccessKeyRecord { id, owner, sealed_secret, created_at: now, active: true },
            secret,
        })
    }

    /// The stored key of this id and its secret. A secret that does not open is an error in the
    /// log, and a key that nobody has.
    pub(crate) fn open(&self, registry: &Registry, id: &str) -> Option<(Arc<AccessKeyRecord>, SecretKey)> {
        let record = registry.access_keys.get(id)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, secret)) = opened.get(id)
            && Arc::ptr_eq(of, record)
        {
            return Some((Arc::clone(record), secret.clone()));
        }
        let plain = match self.master_key.open(&context(id), &record.sealed_secret) {
            Ok(plain) => plain,
            Err(error) => {
                tracing::error!(access_key = id, %error, "the secret of an access key does not open");
                return None;
            }
        };
        let text = std::str::from_utf8(&plain).ok()?;
        let secret = SecretKey::new(text);
        if opened.len() >= KEPT_MAX {
            // Which are forgotten does not matter: they are opened again.
            opened.clear();
        }
        opened.insert(id.to_owned(), (Arc::clone(record), secret.clone()));
        Some((Arc::clone(record), secret))
    }

    /// Makes temporary credentials: the id, the secret and the token.
    pub(crate) fn make_session(
        &self,
        session: impl FnOnce(String) -> Session,
    ) -> Result<(String, Zeroizing<String>, String), bowline_plumbing::seal::SealError> {
        let id = format!("ASIA{}", random::base32(16));
        let secret = random::secret();
        let token = session((*secret).clone()).seal(&self.session_key, &id)?;
        Ok((id, secret, token))
    }

    /// What a session token holds, if it is of this access key id.
    pub(crate) fn open_session(&self, id: &str, token: &str) -> Option<Session> {
        Session::open(&self.session_key, id, token)
    }

    /// Remembers a use.
    pub(crate) fn used(&self, id: &str, last_use: LastUse) {
        let mut uses = self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() >= KEPT_MAX && !uses.contains_key(id) {
            uses.clear();
        }
        uses.insert(id.to_owned(), last_use);
    }

    /// The last use since the start.
    pub(crate) fn last_use(&self, id: &str) -> Option<LastUse> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

/// What a sealed secret is bound to.
fn context(id: &str) -> String {
    format!("access-keys/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> (tempfile::TempDir, Credentials) {
        let dir = tempfile::tempdir().expect("a directory");
        let key = MasterKey::load_or_create(dir.path(), false).expect("is made");
        (dir, Credentials::new(Arc::new(key)))
    }

    #[test]
    fn a_key_opens_under_its_own_id_only() {
        let (_dir, credentials) = credentials();
        let new = credentials.make(KeyOwner::Root, Timestamp::from_secs(1)).expect("is made");
        assert!(new.record.id.starts_with("AKIA") && new.record.id.len() == 20);
        assert_eq!(new.secret.len(), 40);
        let mut registry = Registry::default();
        let id = new.record.id.clone();
        let moved = AccessKeyRecord { id: "AKIAOTHER".into(), ..new.record.clone() };
        registry.access_keys.put(id.clone(), new.record);
        registry.access_keys.put("AKIAOTHER", moved);
        assert!(credentials.open(&registry, &id).is_some());
        assert!(credentials.open(&registry, "AKIAOTHER").is_none(), "a sealed secret moved to another id");
        assert!(credentials.open(&registry, "AKIANOBODY").is_none());
    }

    #[test]
    fn a_changed_row_is_opened_anew() {
        let (_dir, credentials) = credentials();
        let new = credentials.make(KeyOwner::Root, Timestamp::from_secs(1)).expect("is made");
        let id = new.record.id.clone();
        let mut registry = Registry::default();
        registry.access_keys.put(id.clone(), new.record);
        assert!(credentials.open(&registry, &id).expect("is there").0.active);
        registry.access_keys.update(&id, |key| key.active = false);
        assert!(!credentials.open(&registry, &id).expect("is there").0.active);
        registry.access_keys.remove(&id);
        assert!(credentials.open(&registry, &id).is_none());
    }
}
