//! Who calls: the signature of a request, verified.

use bowline_aws::{
    protocol::ServiceProtocol,
    sigv4::{Moment, Presented, Received, SecretKey, SignatureError, SigningKeyCache},
};
use bowline_model::clock::Timestamp;

use super::call::Caller;

/// The access key that a loopback endpoint takes without anybody making one: what `awslocal` and
/// its like send.
pub const DEFAULT_ACCESS_KEY: (&str, &str) = ("test", "test");

/// Verifies signatures.
pub(crate) struct Authentication {
    /// The account's root, by the default key; `None` where the endpoint is not on loopback.
    default: Option<(SecretKey, Caller)>,
    cache: SigningKeyCache,
}

impl Authentication {
    /// For an endpoint on loopback (`local`), or for one that others can reach.
    pub(crate) fn new(root_arn: String, local: bool) -> Self {
        let (id, secret) = DEFAULT_ACCESS_KEY;
        let root = Caller { arn: root_arn, access_key_id: id.to_owned() };
        Self { default: local.then(|| (SecretKey::new(secret), root)), cache: SigningKeyCache::default() }
    }

    /// Who signed the request.
    pub(crate) fn authenticate(
        &self,
        presented: &Result<Presented, SignatureError>,
        received: &Received<'_>,
        service: &ServiceProtocol,
        now: Timestamp,
    ) -> Result<Caller, SignatureError> {
        let presented = presented.as_ref().map_err(Clone::clone)?;
        presented.require_service(service.name)?;
        let (secret, caller) = self
            .default
            .as_ref()
            .filter(|_| presented.access_key_id == DEFAULT_ACCESS_KEY.0)
            .ok_or(SignatureError::InvalidClientToken)?;
        presented.verify_cached(received, secret, &self.cache, Moment::at(now.as_secs()))?;
        Ok(caller.clone())
    }
}
