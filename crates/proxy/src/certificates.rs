//! The proxy's certificates: keys made here, certificates asked for, renewed
//! at about two thirds of their life, put into use without a dropped
//! connection.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bowline_discovery::{tonic, v1};
use bowline_model::{
    clock::Timestamp,
    sabotage::{Defence, sabotaged},
    task::Secret,
};
use bowline_plumbing::{backoff::Backoff, shim_link::ShimLink, wall_clock};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _};
use zeroize::Zeroizing;

use crate::{
    config::store::{HeldIdentity, MESH_IDENTITY},
    control_plane::{ControlPlane, ControlPlaneError},
    last_good::Keeper,
    tls::{
        self, TlsError,
        verify::{peer_identity, serial_of},
    },
};

const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A certificate without a useful lifetime is asked for again after this.
const RENEWAL_MIN: Duration = Duration::from_secs(1);
/// How long a disk may take until a certificate is used that is not on it.
const KEEP_LIMIT: Duration = Duration::from_secs(2);
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
    /// When it came, by this proxy's clock. Its `not_before` is earlier than that.
    #[serde(default)]
    received: Timestamp,
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

/// By which key certificates are signed at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Signer {
    /// As [`issuer_key_id`] writes it; empty: any will do.
    key_id: String,
    /// How soon one that another key signed is replaced.
    within: Duration,
    /// Another word than before asks for another certificate at once; empty: nobody asks.
    renewal: String,
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

    /// At two thirds of what was left of its life when it came, a little earlier or later for each
    /// proxy.
    fn renew_at(&self, jitter: f64) -> Timestamp {
        if sabotaged(Defence::EarlyRenewal) {
            return self.not_after;
        }
        let begin = self.received.max(self.not_before);
        begin + self.not_after.since(begin).mul_f64(2.0 / 3.0 - 0.05 + 0.1 * jitter)
    }

    /// Its serial number, where it was issued for clients outside the mesh. Of those that are fetched, whoever gave them
    /// to the control plane knows the authority.
    pub(crate) fn serial_outside(&self) -> Option<String> {
        let is_issued = self.name != MESH_IDENTITY && self.wanted.fetched.is_none();
        let leaf = self.chain.first().filter(|_| is_issued)?;
        serial_of(leaf)
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        now < self.not_after
    }

    /// Whether another authority signs now than signed this one.
    fn is_of_another(&self, signer: &Signer) -> bool {
        let signed_by = self.chain.first().and_then(|leaf| issuer_key_id(leaf));
        !signer.key_id.is_empty() && signed_by.is_some_and(|signed_by| signed_by != signer.key_id)
    }
}

/// What a certificate calls its issuer's key (RFC 5280 §4.2.1.1), lower-case hexadecimal.
fn issuer_key_id(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let id = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(id.0.iter().map(|byte| format!("{byte:02x}")).collect())
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
    keeper: Keeper,
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
    /// When a certificate is asked for that the present authority signs, by that one's key.
    reissue: Option<(String, Instant)>,
    /// The key for whose sake one was asked for last: if another signed it, that is not asked again.
    reissued_for: Option<String>,
    /// The word by which one was asked for last.
    renewed_for: String,
}

impl Attempt {
    /// When a certificate that another authority signed is to be replaced before its time. Not at once:
    /// those who have not yet been told of the present one are given a while, and not all come together.
    fn reissue_at(&mut self, stored: &Stored, signer: &Signer, now: Instant) -> Option<Instant> {
        let due = stored.is_of_another(signer) && self.reissued_for.as_ref() != Some(&signer.key_id);
        if !due {
            self.reissue = None;
            return None;
        }
        match &self.reissue {
            Some((key_id, at)) if *key_id == signer.key_id => Some(*at),
            _ => {
                let at = now + signer.within.mul_f64(0.2 + 0.8 * fraction());
                self.reissue = Some((signer.key_id.clone(), at));
                Some(at)
            }
        }
    }
}

impl Certificates {
    pub(crate) fn new(
        control_plane: ControlPlane,
        link: Arc<ShimLink>,
        keeper: Keeper,
        token: Option<Secret>,
        stored: Vec<Stored>,
    ) -> Self {
        let published = watch::Sender::new(stored.clone());
        let stored = stored.into_iter().map(|stored| (stored.name.clone(), stored)).collect();
        Self { control_plane, link, keeper, token, stored, attempts: HashMap::new(), published }
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
            for (name, (wanted, signer)) in wanted {
                // Others are asked for in the name of the proxy's own.
                if name != MESH_IDENTITY && !self.stored.contains_key(MESH_IDENTITY) {
                    continue;
                }
                next = next.min(self.look_after(&name, wanted, &signer).await);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = changed.notified() => {}
            }
        }
    }

    fn wanted(&self) -> BTreeMap<String, (Wanted, Signer)> {
        let resources = self.control_plane.control.lock().store.identity_resources();
        let mut wanted: BTreeMap<_, _> = resources
            .into_iter()
            .filter_map(|identity| match identity.source {
                Some(v1::identity::Source::Issued(issued)) => {
                    let within = Duration::from_secs(issued.reissue_seconds);
                    let signer = Signer { key_id: issued.authority_key_id, within, renewal: issued.renewal };
                    let (dns_names, ttl_seconds) = (identity.dns_names, issued.ttl_seconds);
                    let wanted = Wanted { dns_names, ttl_seconds, fetched: None };
                    Some((identity.name, (wanted, signer)))
                }
                Some(v1::identity::Source::Fetched(fetched)) => {
                    let wanted = Wanted { fetched: Some(fetched.version), ..Wanted::default() };
                    Some((identity.name, (wanted, Signer::default())))
                }
                _ => None,
            })
            .take(PUBLIC_MAX)
            .collect();
        // The proxy's own goes by what the control plane knows of the task.
        wanted.entry(MESH_IDENTITY.to_owned()).or_default().0 = Wanted::default();
        wanted
    }

    /// Renews a certificate if it is time; returns when to look again.
    async fn look_after(&mut self, name: &str, wanted: Wanted, signer: &Signer) -> Instant {
        let (now, clock) = (wall_clock::now(), Instant::now());
        // Serial numbers from outside may be those of the mesh's.
        let is_own = |stored: &&Stored| stored.wanted.fetched.is_none();
        let refused = self.stored.get(name).filter(is_own).is_some_and(|stored| self.is_refused(stored));
        let attempt = self.attempts.entry(name.to_owned()).or_insert_with(|| Attempt {
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
            failures: 0,
            not_before: clock,
            jitter: fraction(),
            reissue: None,
            reissued_for: None,
            renewed_for: String::new(),
        });
        let is_asked = !signer.renewal.is_empty() && attempt.renewed_for != signer.renewal;
        let jitter = attempt.jitter;
        if let Some(stored) = self.stored.get(name).filter(|stored| stored.wanted == wanted && !refused) {
            // Its version changes when there is another.
            if stored.wanted.fetched.is_some() {
                return clock + FETCHED_LOOK;
            }
            let reissue_at = attempt.reissue_at(stored, signer, clock);
            let renew_at = stored.renew_at(jitter);
            if now < renew_at && reissue_at.is_none_or(|at| clock < at) && !is_asked {
                let renewal = clock + renew_at.since(now).max(RENEWAL_MIN);
                return reissue_at.map_or(renewal, |at| renewal.min(at));
            }
        }
        if clock < attempt.not_before {
            return attempt.not_before;
        }
        let failures = attempt.failures;
        let result = self.renew(name, wanted, failures).await;
        let left = self.stored.get(name).map(|stored| stored.not_after.since(wall_clock::now()));
        // Looked up again: `renew` needed the whole of `self`.
        let Some(attempt) = self.attempts.get_mut(name) else { return clock };
        match result {
            Ok(until) => {
                attempt.backoff.reset();
                attempt.failures = 0;
                attempt.jitter = fraction();
                attempt.reissue = None;
                attempt.reissued_for = Some(signer.key_id.clone());
                attempt.renewed_for.clone_from(&signer.renewal);
                tracing::info!(name, %until, "a certificate was issued");
                Instant::now() + RENEWAL_MIN
            }
            Err(error) => {
                attempt.failures = attempt.failures.saturating_add(1);
                let pause = attempt.backoff.next_delay().min(longest_pause(left));
                attempt.not_before = Instant::now() + pause;
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
            received: wall_clock::now(),
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
        let was_away = !self.stored.get(MESH_IDENTITY).is_some_and(|stored| stored.is_valid(now));
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
            received: wall_clock::now(),
            wanted,
        };
        if stored.not_after <= stored.not_before {
            return Err(RenewError::Times);
        }
        let held = stored.held()?;
        let until = stored.not_after;
        self.keep(&stored).await;
        if sabotaged(Defence::Renewal) && self.stored.contains_key(name) {
            {
                let mut data_plane = self.control_plane.control.lock();
                data_plane.store.let_go(name);
                data_plane.publish();
                data_plane.shared.hops.cut_where(|_| true);
            }
            tokio::time::sleep(RENEWAL_MIN).await;
        }
        {
            let mut data_plane = self.control_plane.control.lock();
            if let Some(id) = &held.id
                && !answer.roots_pem.is_empty()
            {
                data_plane.store.set_bootstrap_roots(id.trust_domain(), &answer.roots_pem)?;
                if was_away {
                    // Others may show what was not yet trusted when the stream spoke last.
                    data_plane.store.believe_bootstrap_roots(id.trust_domain());
                }
            }
            data_plane.store.hold(name, held);
            data_plane.shared.metrics.certificates_issued.increment();
            data_plane.publish();
        }
        self.stored.insert(name.to_owned(), stored);
        self.publish();
        Ok(until)
    }

    /// Has a certificate on disk before anybody sees it, where it takes the place of another: a proxy that is killed right
    /// after it has shown that one comes back with it, and not with the one before, for which nobody would ask it again.
    async fn keep(&self, new: &Stored) {
        if !self.stored.contains_key(&new.name) {
            return;
        }
        let others = self.stored.values().filter(|stored| stored.name != new.name);
        let all = others.chain([new]).cloned().collect();
        let written = self.keeper.write(&self.control_plane.control, all);
        if tokio::time::timeout(KEEP_LIMIT, written).await.is_err() {
            tracing::warn!(
                name = new.name,
                "a certificate is used that is not on disk yet: the disk does not answer"
            );
        }
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

/// Longest pause between two attempts to renew a certificate that lives for so long yet: there are several before its
/// end, however short-lived it is.
fn longest_pause(left: Option<Duration>) -> Duration {
    let of_rest = left.filter(|left| !left.is_zero()).map_or(BACKOFF_MAX, |left| left / 8);
    of_rest.clamp(BACKOFF_BASE, BACKOFF_MAX)
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
    fn what_another_authority_signed_is_replaced_once_within_the_time_given() {
        let key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::Issuer::new(root, &key);
        let mut leaf = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let stored = Stored {
            name: "x".to_owned(),
            key: Zeroizing::default(),
            chain: vec![leaf.der().to_vec()],
            not_before: Timestamp::from_secs(1_000),
            not_after: Timestamp::from_secs(4_000),
            received: Timestamp::default(),
            wanted: Wanted::default(),
        };
        let now = Instant::now();
        let mut attempt = Attempt {
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
            failures: 0,
            not_before: now,
            jitter: 0.5,
            reissue: None,
            reissued_for: None,
            renewed_for: String::new(),
        };
        let signer = |key_id: &str| Signer {
            key_id: key_id.to_owned(),
            within: Duration::from_secs(10),
            renewal: String::new(),
        };
        let own = issuer_key_id(leaf.der()).expect("it names it");
        assert_eq!(attempt.reissue_at(&stored, &signer(&own), now), None);
        assert_eq!(attempt.reissue_at(&stored, &signer(""), now), None);
        let at = attempt.reissue_at(&stored, &signer("ab"), now).expect("another signs");
        assert!(at >= now + Duration::from_secs(2) && at <= now + Duration::from_secs(10));
        let later = now + Duration::from_secs(1);
        assert_eq!(attempt.reissue_at(&stored, &signer("ab"), later), Some(at), "it is not put off");
        // Asked for, and signed by yet another: the next is due when its life is.
        attempt.reissued_for = Some("ab".to_owned());
        assert_eq!(attempt.reissue_at(&stored, &signer("ab"), later), None);
        assert!(attempt.reissue_at(&stored, &signer("cd"), later).is_some());
    }

    #[test]
    fn there_are_several_attempts_before_the_end_of_a_life() {
        assert_eq!(longest_pause(Some(Duration::from_secs(8))), Duration::from_secs(1));
        assert_eq!(longest_pause(Some(Duration::from_millis(8))), BACKOFF_BASE);
        assert_eq!(longest_pause(Some(Duration::from_secs(3600))), BACKOFF_MAX);
        // There is none, or its end has come: nothing is won by haste.
        assert_eq!(longest_pause(Some(Duration::ZERO)), BACKOFF_MAX);
        assert_eq!(longest_pause(None), BACKOFF_MAX);
    }

    #[test]
    fn renews_at_about_two_thirds_of_the_life() {
        let stored = |received| Stored {
            name: "x".to_owned(),
            key: Zeroizing::default(),
            chain: vec![],
            not_before: Timestamp::from_secs(1_000),
            not_after: Timestamp::from_secs(4_000),
            received: Timestamp::from_secs(received),
            wanted: Wanted::default(),
        };
        for jitter in [0.0, 0.5, 0.99] {
            let at = stored(1_000).renew_at(jitter).as_secs();
            assert!((2_800..3_200).contains(&at), "{at}");
            // What was dated back, or came late, is used as long as the rest of its life allows.
            let at = stored(3_700).renew_at(jitter).as_secs();
            assert!((3_880..3_920).contains(&at), "{at}");
            // By a clock that is behind, it came before it was made.
            assert_eq!(stored(10).renew_at(jitter), stored(1_000).renew_at(jitter));
        }
    }
}
