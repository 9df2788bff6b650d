//! Authorities that follow one another, for whoever owns the state directory.

use std::{net::SocketAddr, sync::PoisonError, time::Duration};

use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    succession::{Peer, Slot, Succession, SuccessionRefused},
};
use bowline_plumbing::wall_clock;
use serde_json::json;
use thiserror::Error;

use super::{ControlPlane, authority_named, write_gateway_ca};
use crate::{
    api::CRL_PATH,
    audit::{
        AuditFull,
        event::{AuditOutcome, AuditResource},
    },
    authorities::{AuthoritiesError, NextError, line_of, own_line, put_back, succession_of},
    ca::{CertificateSummary, certificate_pem, summaries},
    registry::{AuthorityPlace, AuthorityPurpose, AuthorityRecord, Registry, RegistryError, SETTINGS},
};

/// Looked again at least so often while something is waited for: certificates end without a word.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Why an authority was not moved: nothing was changed.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The line does not allow it now.
    #[error("{refused}{hint}", refused = .0, hint = hint(.0))]
    Refused(#[from] SuccessionRefused),
    /// What is to follow cannot.
    #[error(transparent)]
    Next(NextError),
    /// There is no such authority.
    #[error("there is no certificate authority {0:?}: `bowline ca list` shows them")]
    NoAuthority(String),
    /// The call could not be recorded, so nothing was done.
    #[error("the audit trail takes no record of it, so nothing was done")]
    Audit(#[from] AuditFull),
    /// The authorities cannot be used as they are.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<NextError> for AuthorityError {
    fn from(error: NextError) -> Self {
        match error {
            NextError::Refused(refused) => Self::Refused(refused),
            NextError::Authorities(error) => Self::Authorities(error),
            error => Self::Next(error),
        }
    }
}

/// What helps, where something does.
fn hint(refused: &SuccessionRefused) -> &'static str {
    match refused {
        SuccessionRefused::NextExists(_) => {
            "\nhint: `bowline ca promote` lets it sign; `bowline ca retire NAME` takes it back"
        }
        SuccessionRefused::NoNext => "\nhint: `bowline ca next` makes one",
        SuccessionRefused::Uninformed(_) => {
            "\nhint: `--wait` waits for them; `--force` goes on without them, and they refuse what others show until \
             they are told"
        }
        SuccessionRefused::Live { .. } => {
            "\nhint: `--wait` waits until they have others; `--force` goes on, and everybody refuses theirs until then"
        }
        SuccessionRefused::IsCurrent(_) => "\nhint: `bowline ca next`, then `bowline ca promote`",
        SuccessionRefused::Known(_)
        | SuccessionRefused::TooMany
        | SuccessionRefused::NothingFormer
        | SuccessionRefused::Ambiguous(_)
        | SuccessionRefused::Unknown(_) => "",
    }
}

/// Whether time alone may help.
fn passes(refused: &SuccessionRefused) -> bool {
    matches!(refused, SuccessionRefused::Uninformed(_) | SuccessionRefused::Live { .. })
}

/// An authority that members trust, or did.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorityView {
    /// Its ARN.
    pub arn: Arn,
    /// The ARN that its line began with, which services name.
    pub line: Arn,
    /// What it signs.
    pub purpose: AuthorityPurpose,
    /// Where it is in its line.
    pub slot: Slot,
    /// Since when it is there; `None` where nobody moved it.
    pub since: Option<Timestamp>,
    /// What its certificate says; `None` as long as it has none.
    pub certificate: Option<CertificateSummary>,
    /// Services that name an authority of its line.
    pub services: Vec<String>,
    /// Proxies that may show a certificate of it.
    pub holders: usize,
}

/// An authority that was moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// It, as it is now.
    pub authority: AuthorityView,
    /// Proxies with certificates that have said that they trust the present roots.
    pub informed: usize,
    /// Proxies with certificates.
    pub proxies: usize,
}

impl ControlPlane {
    /// Every authority that the mesh trusts, and those before and after them in their lines: by line, the
    /// oldest first.
    pub fn authorities(&self) -> Vec<AuthorityView> {
        let registry = self.snapshot();
        let mut shown: Vec<_> = registry
            .authorities
            .values()
            .filter(|record| record.trusted || record.place != AuthorityPlace::default())
            .collect();
        shown.sort_by_key(|record| (record.private.is_some(), record.line().clone(), record.place.number));
        shown.into_iter().map(|record| self.view(&registry, record)).collect()
    }

    fn view(&self, registry: &Registry, record: &AuthorityRecord) -> AuthorityView {
        let peers = self.core.certificate_holders(registry, record.purpose, wall_clock::now());
        let holds = |peer: &&Peer| peer.leaves.iter().any(|leaf| leaf.authority == record.arn);
        let names = |service: &bowline_model::service::Service| {
            let named = service.connect.iter().flat_map(|connect| &connect.services);
            let mut named = named.filter_map(|offered| offered.authority.as_ref());
            named.any(|arn| line_of(registry, arn) == *record.line())
        };
        let services = registry.services.values().filter(|service| names(service));
        let moved = record.place.since != Timestamp::default();
        AuthorityView {
            arn: record.arn.clone(),
            line: record.line().clone(),
            purpose: record.purpose,
            slot: record.place.slot,
            since: moved.then_some(record.place.since),
            certificate: summaries(&certificate_pem(&record.certificate_der)).pop(),
            services: services.map(|service| service.name.clone()).collect(),
            holders: peers.iter().filter(holds).count(),
        }
    }

    /// Makes the authority that is to follow in a line, or takes one of the API's for that: members are
    /// told to trust it, and it signs nothing yet. With `wait`, returns when all have said that they do, or
    /// after so long. Recorded in the audit trail. Blocks for a key of RSA.
    ///
    /// `authority` is any of the line, by ARN or the last part of it; none is the mesh's own.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn next_authority(
        &self,
        authority: Option<&str>,
        with: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<Moved, AuthorityError> {
        let admission = self.core.audit().admit()?;
        let mut event = self.event("AddNextAuthority", &json!({ "authority": authority, "with": with }));
        let done = self.make_next(authority, with);
        match &done {
            Ok(arn) => event.resources = vec![self.authority_resource(arn)],
            Err(error) => event.outcome = failed(error),
        }
        admission.record(event)?;
        let arn = done?;
        tracing::info!(authority = %arn, "a certificate authority is next");
        if let Some(limit) = wait {
            let told = |peers: &[Peer]| peers.iter().all(|peer| peer.informed || peer.leaves.is_empty());
            self.wait_until(&arn, limit, told).await;
        }
        self.moved(&arn)
    }

    fn make_next(&self, authority: Option<&str>, with: Option<&str>) -> Result<Arn, AuthorityError> {
        let _moving = self.core.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let (registry, now) = (self.snapshot(), wall_clock::now());
        let line = self.line_named(&registry, authority)?;
        let authorities = self.core.authorities();
        let made = match with {
            None => Some(authorities.make_next(&registry, &line, now)?),
            Some(_) => None,
        };
        let next = match (&made, with) {
            (Some(made), _) => made.arn.clone(),
            (None, with) => named(&registry, with.unwrap_or_default())?,
        };
        self.core.change(|registry| {
            match made {
                Some(made) => registry.authorities.put(next.to_string(), made),
                None => authorities.check_usable(registry, &next, now)?,
            }
            let mut succession = succession_of(registry, &line);
            let current =
                succession.in_slot(Slot::Current).and_then(|arn| registry.authorities.get(arn.as_str()));
            // What services name may have changed while the key was made.
            let trusted = current.is_some_and(|current| current.trusted);
            let number = current.map_or(1, |current| current.place.number + 1);
            if !trusted {
                return Err(NextError::NotOfTheMesh(line.clone()).into());
            }
            succession.add(next.clone(), now)?;
            registry.authorities.update(next.as_str(), |record| {
                record.place.line = Some(line.clone());
                record.place.number = number;
                record.trusted = true;
            });
            put_back(registry, &succession);
            Ok::<_, AuthorityError>(())
        })?;
        self.after_move(&next)?;
        Ok(next)
    }

    /// Lets the next authority of a line sign. The one before stays trusted; who has certificates of it
    /// asks for others before their time, spread over a while. With `wait`, waits so long for the proxies
    /// that do not trust it yet. Recorded in the audit trail.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn promote_authority(
        &self,
        authority: Option<&str>,
        force: bool,
        wait: Option<Duration>,
    ) -> Result<Moved, AuthorityError> {
        let parameters = json!({ "authority": authority, "force": force });
        self.move_in_line("PromoteAuthority", &parameters, wait, |registry, now| {
            let line = self.line_named(registry, authority)?;
            let mut succession = succession_of(registry, &line);
            if let Some(next) = succession.in_slot(Slot::Next) {
                self.check_signs(registry, next, now)?;
            }
            let peers = self.peers_of(registry, &succession, now);
            let promoted = succession.promote(&peers, force, now)?;
            put_back(registry, &succession);
            Ok(promoted)
        })
        .await
    }

    /// Trusts an authority no more: a former one of a line, or the next. With `wait`, waits so long until
    /// nobody has a certificate of it. Recorded in the audit trail.
    ///
    /// `authority` is the one that is to go, or the one that signs: then it is the only former one of its
    /// line. None is the mesh's own.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub async fn retire_authority(
        &self,
        authority: Option<&str>,
        force: bool,
        wait: Option<Duration>,
    ) -> Result<Moved, AuthorityError> {
        let parameters = json!({ "authority": authority, "force": force });
        self.move_in_line("RetireAuthority", &parameters, wait, |registry, now| {
            let line = self.line_named(registry, authority)?;
            let mut succession = succession_of(registry, &line);
            let which = authority.map(|given| named(registry, given)).transpose()?;
            let which = which.filter(|arn| succession.in_slot(Slot::Current) != Some(arn));
            let peers = self.peers_of(registry, &succession, now);
            let retired = succession.retire(which.as_ref(), &peers, force, now)?;
            put_back(registry, &succession);
            Ok(retired)
        })
        .await
    }

    async fn move_in_line(
        &self,
        name: &str,
        parameters: &serde_json::Value,
        wait: Option<Duration>,
        change: impl Fn(&mut Registry, Timestamp) -> Result<Arn, AuthorityError>,
    ) -> Result<Moved, AuthorityError> {
        let admission = self.core.audit().admit()?;
        let end = tokio::time::Instant::now() + wait.unwrap_or_default();
        let mut answered = self.core.proxies_answered();
        let done = loop {
            answered.mark_unchanged();
            let done = {
                let _moving = self.core.moving.lock().unwrap_or_else(PoisonError::into_inner);
                self.core.change(|registry| change(registry, wall_clock::now()))
            };
            match &done {
                Err(AuthorityError::Refused(refused)) if passes(refused) => {}
                _ => break done,
            }
            if tokio::time::Instant::now() >= end {
                break done;
            }
            let look = tokio::time::Instant::now() + LOOK_INTERVAL;
            // However it ends, it is looked again.
            let _ = tokio::time::timeout_at(end.min(look), answered.changed()).await;
        };
        let mut event = self.event(name, parameters);
        match &done {
            Ok(arn) => event.resources = vec![self.authority_resource(arn)],
            Err(error) => event.outcome = failed(error),
        }
        admission.record(event)?;
        let arn = done?;
        tracing::warn!(authority = %arn, "{name}");
        self.after_move(&arn)?;
        self.moved(&arn)
    }

    /// Certificates tell where CRLs are from now on: here. A failure leaves those of before.
    pub(super) fn tell_crl_base(&self, address: SocketAddr, tls: bool) {
        let scheme = if tls { "https" } else { "http" };
        // Whoever listens everywhere is nowhere in particular: `CustomCname` says where.
        let known = !address.ip().is_unspecified();
        let base = known.then(|| format!("{scheme}://{address}{CRL_PATH}"));
        let told = self.core.change::<_, RegistryError>(|registry| {
            registry.settings.update(SETTINGS, |settings| settings.crl_base = base);
            Ok(())
        });
        let told = told.map_err(AuthoritiesError::from).and_then(|()| self.core.reload_authorities());
        if let Err(error) = told {
            tracing::error!(%error, "certificates do not tell where CRLs are");
        }
    }

    /// The ARN that a line began with, by any of its authorities.
    fn line_named(&self, registry: &Registry, authority: Option<&str>) -> Result<Arn, AuthorityError> {
        match authority {
            None => Ok(own_line(&registry.settings().scope, false)),
            Some(given) => Ok(line_of(registry, &named(registry, given)?)),
        }
    }

    fn check_signs(&self, registry: &Registry, next: &Arn, now: Timestamp) -> Result<(), AuthorityError> {
        let private = registry.authorities.get(next.as_str()).and_then(|record| record.private.as_ref());
        let active = bowline_aws::acmpca::CertificateAuthorityStatus::Active;
        match private.is_none_or(|private| private.status_at(now) == active) {
            true => Ok(()),
            false => Err(NextError::Unusable(next.clone()).into()),
        }
    }

    fn peers_of(&self, registry: &Registry, succession: &Succession, now: Timestamp) -> Vec<Peer> {
        let first = succession.members().first();
        let record = first.and_then(|member| registry.authorities.get(member.authority.as_str()));
        let purpose = record.map_or(AuthorityPurpose::Mesh, |record| record.purpose);
        self.core.certificate_holders(registry, purpose, now)
    }

    /// What others read must say what is so now.
    fn after_move(&self, moved: &Arn) -> Result<(), AuthorityError> {
        let record = self.snapshot().authorities.get(moved.as_str()).cloned();
        if record.is_some_and(|record| record.purpose == AuthorityPurpose::Public) {
            write_gateway_ca(&self.config.state_dir, self.core.authorities())?;
        }
        Ok(())
    }

    async fn wait_until(&self, moved: &Arn, limit: Duration, test: impl Fn(&[Peer]) -> bool) {
        let end = tokio::time::Instant::now() + limit;
        let mut answered = self.core.proxies_answered();
        loop {
            answered.mark_unchanged();
            let registry = self.snapshot();
            let succession = succession_of(&registry, &line_of(&registry, moved));
            let look = tokio::time::Instant::now() + LOOK_INTERVAL;
            if test(&self.peers_of(&registry, &succession, wall_clock::now())) || look >= end + LOOK_INTERVAL
            {
                return;
            }
            let _ = tokio::time::timeout_at(end.min(look), answered.changed()).await;
        }
    }

    fn moved(&self, arn: &Arn) -> Result<Moved, AuthorityError> {
        let registry = self.snapshot();
        let gone = || AuthorityError::NoAuthority(arn.to_string());
        let record = registry.authorities.get(arn.as_str()).ok_or_else(gone)?;
        let peers = self.core.certificate_holders(&registry, record.purpose, wall_clock::now());
        let peers = peers.iter().filter(|peer| !peer.leaves.is_empty());
        Ok(Moved {
            authority: self.view(&registry, record),
            informed: peers.clone().filter(|peer| peer.informed).count(),
            proxies: peers.count(),
        })
    }

    fn authority_resource(&self, arn: &Arn) -> AuditResource {
        AuditResource {
            arn: arn.to_string(),
            account_id: self.snapshot().settings().scope.account_id.clone(),
            resource_type: "AWS::ACMPCA::CertificateAuthority".into(),
        }
    }
}

fn named(registry: &Registry, given: &str) -> Result<Arn, AuthorityError> {
    authority_named(registry, given)
        .ok_or_else(|| AuthorityError::NoAuthority(given.chars().take(200).collect()))
}

fn failed(error: &AuthorityError) -> AuditOutcome {
    let code = match error {
        AuthorityError::Refused(_) | AuthorityError::Next(_) => "InvalidStateException",
        AuthorityError::NoAuthority(_) => "ResourceNotFoundException",
        AuthorityError::Audit(_) | AuthorityError::Authorities(_) | AuthorityError::Registry(_) => {
            "InternalFailure"
        }
    };
    AuditOutcome::Error { code: code.into(), message: error.to_string() }
}
