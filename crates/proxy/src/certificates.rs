//! The proxy's certificates: keys made here, certificates asked for, renewed
//! at about two thirds of their life, put into use without a dropped
//! connection.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bowline_discovery::{tonic, v1};
use bowline_model::{clock::Timestamp, task::Secret};
use bowline_plumbing::{backoff::Backoff, shim_link::ShimLink, wall_clock};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::{
    config::store::{HeldIdentity, MESH_IDENTITY},
    control_plane::{ControlPlane, ControlPlaneError},
    tls::{self, TlsError, verify::peer_identity},
};

const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A certificate without a useful lifetime is asked for again after this.
const RENEWAL_MIN: Duration = Duration::from_secs(1);
/// Most certificates beside the proxy's own.
const PUBLIC_MAX: usize = 1_000;
/// How long nothing is to be done for a fetched certificate, unless its resource changes.
const FETCHED_LOOK: Duration = Duration::from_secs(3600);
/// Failed renewals after which a token is tried: the control plane may have
/// forgotten the certificate's CA.
const RENEWALS_BEFORE_TOKEN: u32 = 5;

/// A certificate with its key, as it is kept on disk (sealed).
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) name: String,
    /// PKCS#8.
    key: Zeroizing<Vec<u8>>,
    /// DER, leaf first.
    chain: Vec<Vec<u8>>,
    not_before: Timestamp,
    not_after: Timestamp,
    /// What was asked for; a change asks again.
    wanted: Wanted,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    dns_names: Vec<String>,
    ttl_seconds: u64,
    /// Version of one that is fetched with its key.
    #[serde(default)]
    fetched: Option<String>,
}

impl Stored {
    /// The form that handshakes need.
    pub(crate) fn held(&self) -> Result<HeldIdentity, TlsError> {
        let chain: Vec<_> = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_vec()));
        let id = match (self.name.as_str(), chain.first()) {
            (MESH_IDENTITY, Some(leaf)) => {
                Some(peer_identity(leaf).map_err(|fault| TlsError::Identity(fault.to_string()))?.id)
            }
            _ => None,
        };
        Ok(HeldIdentity { key: tls::certified_key(chain, key)?, id })
    }

    /// Two thirds of the life, a little earlier or later for each proxy.
    fn renew_at(&self, jitter: f64) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before + life.mul_f64(2.0 / 3.0 - 0.05 + 0.1 * jitter)
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        now < self.not_after
    }
}

#[derive(Debug, Error)]
enum RenewError {
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no key or request can be made")]
    Key(#[from] rcgen::Error),
    #[error("no token: {0}")]
    Token(String),
    #[error("the answer's times make no sense")]
    Times,
}

/// See the module.
pub(crate) struct Certificates {
    control_plane: ControlPlane,
    link: Arc<ShimLink>,
    token: Option<Secret>,
    stored: BTreeMap<String, Stored>,
    attempts: HashMap<String, Attempt>,
    /// The certificates of this moment, for the state on disk.
    published: watch::Sender<Vec<Stored>>,
}

struct Attempt {
    backoff: Backoff,
    failures: u32,
    not_before: Instant,
    jitter: f64,
}

impl Certificates {
    pub(crate) fn new(
        control_plane: ControlPlane,
        link: Arc<ShimLink>,
        token: Option<Secret>,
        stored: Vec<Stored>,
    ) -> Self {
        let published = watch::Sender::new(stored.clone());
        let stored = stored.into_iter().map(|stored| (stored.name.clone(), stored)).collect();
        Self { control_plane, link, token, stored, attempts: HashMap::new(), published }
    }

    pub(crate) fn published(&self) -> watch::Receiver<Vec<Stored>> {
        self.published.subscribe()
    }

    /// Keeps all certificates fresh. `changed` tells that Identity resources
    /// may be others.
    pub(crate) async fn run(mut self, changed: Arc<Notify>) {
        loop {
            let wanted = self.wanted();
            if self.stored.keys().any(|name| !wanted.contains_key(name)) {
                self.stored.retain(|name, _| wanted.contains_key(name));
                self.publish();
            }
            self.attempts.retain(|name, _| wanted.contains_key(name));
            let mut next = Instant::now() + Duration::from_secs(3600);
            for (name, wanted) in wanted {
                // Others are asked for in the name of the proxy's own.
                if name != MESH_IDENTITY && !self.stored.contains_key(MESH_IDENTITY) {
                    continue;
                }
                next = next.min(self.look_after(&name, wanted).await);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = changed.notified() => {}
            }
        }
    }

    fn wanted(&self) -> BTreeMap<String, Wanted> {
        let resources = self.control_plane.control.lock().store.identity_resources();
        let mut wanted: BTreeMap<_, _> = resources
            .into_iter()
            .filter_map(|identity| match identity.source {
                Some(v1::identity::Source::Issued(issued)) => Some((
                    identity.name,
                    Wanted { dns_names: identity.dns_names, ttl_seconds: issued.ttl_seconds, fetched: None },
                )),
                Some(v1::identity::Source::Fetched(fetched)) => {
                    let wanted = Wanted { fetched: Some(fetched.version), ..Wanted::default() };
                    Some((identity.name, wanted))
                }
                _ => None,
            })
            .take(PUBLIC_MAX)
            .collect();
        // The proxy's own goes by what the control plane knows of the task.
        wanted.insert(MESH_IDENTITY.to_owned(), Wanted::default());
        wanted
    }

    /// Renews a certificate if it is time; returns when to look again.
    async fn look_after(&mut self, name: &str, wanted: Wanted) -> Instant {
        let (now, clock) = (wall_clock::now(), Instant::now());
        // Serial numbers from outside may be those of the mesh's.
        let is_own = |stored: &&Stored| stored.wanted.fetched.is_none();
        let refused = self.stored.get(name).filter(is_own).is_some_and(|stored| self.is_refused(stored));
        let attempt = self.attempts.entry(name.to_owned()).or_insert_with(|| Attempt {
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
            failures: 0,
            not_before: clock,
            jitter: fraction(),
        });
        let jitter = attempt.jitter;
        if let Some(stored) = self.stored.get(name).filter(|stored| stored.wanted == wanted && !refused) {
            // Its version changes when there is another.
            if stored.wanted.fetched.is_some() {
                return clock + FETCHED_LOOK;
            }
            let renew_at = stored.renew_at(jitter);
            if now < renew_at {
                return clock + renew_at.since(now).max(RENEWAL_MIN);
            }
        }
        if clock < attempt.not_before {
            return attempt.not_before;
        }
        let failures = attempt.failures;
        let result = self.renew(name, wanted, failures).await;
        // Looked up again: `renew` needed the whole of `self`.
        let Some(attempt) = self.attempts.get_mut(name) else { return clock };
        match result {
            Ok(until) => {
                attempt.backoff.reset();
                attempt.failures = 0;
                attempt.jitter = fraction();
                tracing::info!(name, %until, "a certificate was issued");
                Instant::now() + RENEWAL_MIN
            }
            Err(error) => {
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.not_before = Instant::now() + attempt.backoff.next_delay();
                tracing::warn!(name, error = %chain_text(&error), "no certificate; trying again");
                attempt.not_before
            }
        }
    }

    /// Whether a certificate was revoked, or the control plane refuses it.
    fn is_refused(&self, stored: &Stored) -> bool {
        let control = self.control_plane.control.lock();
        stored.chain.first().is_some_and(|leaf| control.store.is_refused(leaf))
    }

    /// Gets a certificate with its key.
    async fn fetch(&mut self, name: &str, wanted: Wanted) -> Result<Timestamp, RenewError> {
        let fetched = self.control_plane.fetch(name).await?;
        let leaf = fetched.chain_der.first().ok_or(TlsError::Certificates)?;
        let (not_before, not_after) = validity_of(leaf).ok_or(RenewError::Times)?;
        let stored = Stored {
            name: name.to_owned(),
            key: fetched.key,
            chain: fetched.chain_der,
            not_before,
            not_after,
            wanted,
        };
        let held = stored.held()?;
        {
            let mut data_plane = self.control_plane.control.lock();
            data_plane.store.hold(name, held);
            data_plane.publish();
        }
        self.stored.insert(name.to_owned(), stored);
        self.publish();
        Ok(not_after)
    }

    async fn renew(&mut self, name: &str, wanted: Wanted, failures: u32) -> Result<Timestamp, RenewError> {
        if wanted.fetched.is_some() {
            return self.fetch(name, wanted).await;
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let csr = CertificateParams::new(Vec::new())?.serialize_request(&key)?;
        let now = wall_clock::now();
        let speaks = |stored: &Stored| stored.is_valid(now) && !self.is_refused(stored);
        let has_certificate = self.stored.get(MESH_IDENTITY).is_some_and(speaks);
        let forgotten = name == MESH_IDENTITY && failures >= RENEWALS_BEFORE_TOKEN;
        let token = match has_certificate && !forgotten {
            true => None,
            false => Some(self.next_token().await?),
        };
        let exposed = token.as_ref().map(Secret::expose);
        let answer = self.control_plane.issue(exposed, csr.der().to_vec(), name).await;
        if let Err(ControlPlaneError::Status(status)) = &answer
            && status.code() == tonic::Code::Unavailable
        {
            // It was not reached: the token is still good for its one use.
            self.token = token;
        }
        let answer = answer?;
        let seconds =
            |value: i64| u64::try_from(value).map(Timestamp::from_secs).map_err(|_| RenewError::Times);
        let stored = Stored {
            name: name.to_owned(),
            key: Zeroizing::new(key.serialize_der()),
            chain: answer.chain_der,
            not_before: seconds(answer.not_before)?,
            not_after: seconds(answer.not_after)?,
            wanted,
        };
        if stored.not_after <= stored.not_before {
            return Err(RenewError::Times);
        }
        let held = stored.held()?;
        let until = stored.not_after;
        {
            let mut data_plane = self.control_plane.control.lock();
            if let Some(id) = &held.id
                && !answer.roots_pem.is_empty()
            {
                data_plane.store.set_bootstrap_roots(id.trust_domain(), &answer.roots_pem)?;
            }
            data_plane.store.hold(name, held);
            data_plane.shared.metrics.certificates_issued.increment();
            data_plane.publish();
        }
        self.stored.insert(name.to_owned(), stored);
        self.publish();
        Ok(until)
    }

    fn publish(&self) {
        self.published.send_replace(self.stored.values().cloned().collect());
    }

    /// The token of the greeting, once; then fresh ones from the agent.
    async fn next_token(&mut self) -> Result<Secret, RenewError> {
        if let Some(token) = self.token.take() {
            return Ok(token);
        }
        let link = Arc::clone(&self.link);
        tokio::task::spawn_blocking(move || link.token())
            .await
            .map_err(|error| RenewError::Token(error.to_string()))?
            .map_err(|error| RenewError::Token(error.to_string()))
    }
}

/// First and last second of a certificate.
fn validity_of(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let moment = |seconds: i64| u64::try_from(seconds).ok().map(Timestamp::from_secs);
    let validity = parsed.validity();
    Some((moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?))
}

/// A number in `[0, 1)`.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the renewal is merely not jittered.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// An error with its causes, for the log.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        let more = this.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = this.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_at_about_two_thirds_of_the_life() {
        let stored = Stored {
            name: "x".to_owned(),
            key: Zeroizing::default(),
            chain: vec![],
            not_before: Timestamp::from_secs(1_000),
            not_after: Timestamp::from_secs(4_000),
            wanted: Wanted::default(),
        };
        for jitter in [0.0, 0.5, 0.99] {
            let at = stored.renew_at(jitter).as_secs();
            assert!((2_800..3_200).contains(&at), "{at}");
        }
    }
}
