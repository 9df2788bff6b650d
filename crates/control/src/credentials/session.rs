//! What a session token holds.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bowline_model::clock::Timestamp;
use bowline_plumbing::seal::{SealError, SealKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// What a sealed session is bound to, before its access key id.
const CONTEXT: &str = "session token\0";

/// Temporary credentials, as their token holds them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The secret access key.
    pub(crate) secret: String,
    /// Whose session it is.
    pub(crate) of: SessionOf,
    /// When it was made.
    pub(crate) issued_at: Timestamp,
    /// When it is over.
    pub(crate) expires_at: Timestamp,
    /// The inline session policy: what it leaves out the session may not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// Managed policies as session policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) policy_arns: Vec<String>,
    /// Session tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    /// `SourceIdentity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_identity: Option<String>,
}

/// Whose a session is. The ids are those of the user or role at the time: a session does not
/// outlive the deletion of its owner, even where another takes the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SessionOf {
    /// The account's root user.
    Root,
    /// A user.
    User {
        /// Its name.
        name: String,
        /// Its unique id.
        id: String,
    },
    /// A role that was assumed.
    Role {
        /// Its name.
        name: String,
        /// Its unique id.
        id: String,
        /// `RoleSessionName`.
        session_name: String,
    },
}

impl Session {
    /// The token, for the access key `id`.
    pub(super) fn seal(&self, key: &SealKey, id: &str) -> Result<String, SealError> {
        let json = serde_json::to_vec(self).expect("text, numbers and maps of text are always JSON");
        let json = Zeroizing::new(json);
        Ok(STANDARD.encode(key.seal(&context(id), &json)?))
    }

    /// Reads a token of the access key `id`.
    pub(super) fn open(key: &SealKey, id: &str, token: &str) -> Option<Self> {
        let sealed = STANDARD.decode(token).ok()?;
        let json = Zeroizing::new(key.open(&context(id), &sealed).ok()?);
        serde_json::from_slice(&json).ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

fn context(id: &str) -> Vec<u8> {
    [CONTEXT.as_bytes(), id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session() -> Session {
        Session {
            secret: "secret".into(),
            of: SessionOf::Role { name: "r".into(), id: "AROA".into(), session_name: "s".into() },
            issued_at: Timestamp::from_secs(1),
            expires_at: Timestamp::from_secs(2),
            policy: Some("{}".into()),
            policy_arns: Vec::new(),
            tags: BTreeMap::new(),
            source_identity: None,
        }
    }

    #[test]
    fn a_token_opens_for_its_access_key_only() {
        let key = SealKey::generate().expect("randomness");
        let token = session().seal(&key, "ASIA1").expect("seals");
        assert!(Session::open(&key, "ASIA1", &token) == Some(session()));
        assert!(Session::open(&key, "ASIA2", &token).is_none());
        let other = SealKey::generate().expect("randomness");
        assert!(Session::open(&other, "ASIA1", &token).is_none());
        assert!(!token.contains("secret"));
    }

    proptest! {
        #[test]
        fn a_changed_token_does_not_open(at in 0usize..400, with in "[A-Za-z0-9+/]") {
            let key = SealKey::from_bytes([7; 32]);
            let token = session().seal(&key, "ASIA1").expect("seals");
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &with);
            prop_assume!(changed != token);
            // Of the last characters before the padding some bits are in no byte.
            if STANDARD.decode(&changed).ok() != STANDARD.decode(&token).ok() {
                prop_assert!(Session::open(&key, "ASIA1", &changed).is_none());
            }
        }

        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            prop_assert!(Session::open(&SealKey::from_bytes([7; 32]), "ASIA1", &text).is_none());
        }
    }
}
