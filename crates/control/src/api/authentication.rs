//! Who calls: the signature of a request, verified.

use std::sync::Arc;

use bowline_aws::{
    protocol::ServiceProtocol,
    sigv4::{Moment, Presented, Received, SecretKey, SignatureError, SigningKeyCache},
};
use bowline_model::clock::Timestamp;
use zeroize::Zeroize;

use super::call::Caller;
use crate::{
    credentials::{Credentials, LastUse, Session, SessionOf},
    iam::KeyOwner,
    random,
    registry::Registry,
};

/// The access key that a loopback endpoint takes without anybody making one: what `awslocal` and
/// its like send. It is the root user's.
pub const DEFAULT_ACCESS_KEY: (&str, &str) = ("test", "test");

/// Verifies signatures.
pub(crate) struct Authentication {
    /// The secret of the default key; `None` where the endpoint is not on loopback.
    default: Option<SecretKey>,
    /// What requests of nobody's key are verified with: they take as long as others.
    nobody: SecretKey,
    cache: SigningKeyCache,
}

/// A secret, and whose it is.
struct Found {
    secret: SecretKey,
    caller: Caller,
}

impl Authentication {
    /// For an endpoint on loopback (`local`), or for one that others can reach.
    pub(crate) fn new(local: bool) -> Self {
        Self {
            default: local.then(|| SecretKey::new(DEFAULT_ACCESS_KEY.1)),
            nobody: SecretKey::new(&**random::secret()),
            cache: SigningKeyCache::default(),
        }
    }

    /// Who signed the request.
    pub(crate) fn authenticate(
        &self,
        registry: &Registry,
        credentials: &Credentials,
        presented: &Result<Presented, SignatureError>,
        received: &Received<'_>,
        service: &ServiceProtocol,
        now: Timestamp,
    ) -> Result<Caller, SignatureError> {
        let presented = presented.as_ref().map_err(Clone::clone)?;
        presented.require_service(service.endpoint_prefix)?;
        let moment = Moment::at(now.as_secs());
        let found = match &presented.session_token {
            Some(token) => self.temporary(registry, credentials, presented, token),
            None => self.long_lived(registry, credentials, &presented.access_key_id),
        };
        let Some(Found { secret, caller }) = found else {
            // Whether a key exists should not show in how long its refusal takes. What is wrong
            // with the time of the request is told first, as of a key that exists.
            return match presented.verify_cached(received, &self.nobody, &self.cache, moment) {
                Ok(()) | Err(SignatureError::SignatureMismatch | SignatureError::PayloadMismatch) => {
                    Err(SignatureError::InvalidClientToken)
                }
                Err(error) => Err(error),
            };
        };
        presented.verify_cached(received, &secret, &self.cache, moment)?;
        if caller.session.as_ref().is_some_and(|session| session.expires_at <= now) {
            return Err(SignatureError::ExpiredToken);
        }
        let region = presented.scope.region.clone();
        credentials.used(&caller.access_key_id, LastUse { at: now, service: service.name.into(), region });
        Ok(caller)
    }

    /// Whose long-lived access key this is, where the secret is the key's. How long it takes tells neither whether
    /// there is such a key nor where the secret differs.
    pub(crate) fn by_secret(
        &self,
        registry: &Registry,
        credentials: &Credentials,
        id: &str,
        secret: &str,
    ) -> Option<Caller> {
        let shown = SecretKey::new(secret);
        let found = self.long_lived(registry, credentials, id);
        let is_it = found.as_ref().map_or(&self.nobody, |found| &found.secret).is_same(&shown);
        found.filter(|_| is_it).map(|found| found.caller)
    }

    /// Whose long-lived access key this is, as long as it is active: for one who has shown its secret before.
    pub(crate) fn by_id(&self, registry: &Registry, credentials: &Credentials, id: &str) -> Option<Caller> {
        self.long_lived(registry, credentials, id).map(|found| found.caller)
    }

    fn long_lived(&self, registry: &Registry, credentials: &Credentials, id: &str) -> Option<Found> {
        let scope = &registry.settings().scope;
        if id == DEFAULT_ACCESS_KEY.0 {
            return Some(Found { secret: self.default.clone()?, caller: Caller::root(scope, id) });
        }
        let (record, secret) = credentials.open(registry, id)?;
        if !record.active {
            return None;
        }
        let caller = match &record.owner {
            KeyOwner::Root => Caller::root(scope, id),
            KeyOwner::User(name) => Caller::user(scope, registry.iam_users.get(name)?, id),
        };
        Some(Found { secret, caller })
    }

    fn temporary(
        &self,
        registry: &Registry,
        credentials: &Credentials,
        presented: &Presented,
        token: &str,
    ) -> Option<Found> {
        let id = &presented.access_key_id;
        // Some tools send a token with the default key, whatever stands in it.
        if id == DEFAULT_ACCESS_KEY.0 {
            return self.long_lived(registry, credentials, id);
        }
        let mut session: Session = credentials.open_session(id, token)?;
        let secret = SecretKey::new(session.secret.as_str());
        session.secret.zeroize();
        let scope = &registry.settings().scope;
        let mut caller = match &session.of {
            SessionOf::Root => Caller::root(scope, id),
            SessionOf::User { name, id: of } => {
                let user = registry.iam_users.get(name).filter(|user| user.id == *of)?;
                Caller::user(scope, user, id)
            }
            SessionOf::Role { name, id: of, session_name } => {
                let role = registry.iam_roles.get(name).filter(|role| role.id == *of)?;
                Caller::assumed_role(scope, role, session_name, id)
            }
        };
        caller.session = Some(Arc::new(session));
        Some(Found { secret, caller })
    }
}
