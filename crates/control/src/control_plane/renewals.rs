//! The loops that renew certificates before they end: Certificate Manager's, and the control plane's own.

use std::{sync::Arc, time::Duration};

use bowline_model::{arn::Arn, clock::Timestamp, metric::MetricWriter};
use bowline_plumbing::wall_clock;
use bowline_stream::tls::TlsHandle;

use crate::{
    acm::{AcmCertificate, AcmError, expiry, renewal},
    core::Core,
    registry::Table,
};

/// Longest time between two looks: the machine may have slept, or its clock been set.
const LOOK_MAX: Duration = Duration::from_secs(600);
/// Shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// Renews what is due, for as long as the control plane runs.
pub(super) async fn run(core: Arc<Core>) {
    let mut generation = core.registry_generation();
    // The certificates that were told of, and when.
    let mut told = None;
    loop {
        generation.mark_unchanged();
        let now = wall_clock::now();
        let registry = core.registry();
        let is_told = told.as_ref().is_some_and(|(certificates, at): &(Table<AcmCertificate>, Timestamp)| {
            certificates.is_same(&registry.acm_certificates) && now.since(*at) < expiry::EVERY
        });
        if !is_told {
            told = Some((registry.acm_certificates.clone(), now));
            core.metrics().put(expiry::data(&registry, now));
        }
        let (due, next) = renewal::plan(&core.registry(), now);
        for arn in due {
            let core = Arc::clone(&core);
            // RSA keys take a while to make.
            let renewed = tokio::task::spawn_blocking(move || core.renew(&arn, now)).await;
            if let Err(error) = renewed {
                tracing::error!(%error, "a renewal broke off");
            }
        }
        let wait = next.map_or(LOOK_MAX, |next| next.since(wall_clock::now()).clamp(LOOK_MIN, LOOK_MAX));
        // What is used, or came, may be due.
        tokio::time::sleep(LOOK_MIN).await;
        tokio::select! {
            changed = generation.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Core {
    /// Renews one certificate. A failure is noted in its row, and logged.
    pub(crate) fn renew(&self, arn: &Arn, now: Timestamp) {
        let registry = self.registry();
        let renewed = crate::acm::find(&registry, arn.as_str())
            .and_then(|row| renewal::signed_again(self.authorities(), &registry, row, now));
        let done = renewed.and_then(|renewed| {
            let failure = renewed.0.failure;
            self.change::<_, AcmError>(|registry| renewal::install(registry, renewed, now))?;
            Ok(failure)
        });
        match done {
            Ok(None) => tracing::info!(certificate = %arn, "a certificate was renewed"),
            Ok(Some(failure)) => {
                tracing::warn!(certificate = %arn, ?failure, "a certificate was not renewed; it is tried again");
            }
            Err(error) => {
                tracing::error!(certificate = %arn, %error, "a certificate was not renewed; it is tried again");
                let noted = self.change::<_, AcmError>(|registry| {
                    renewal::note_failure(registry, arn, now);
                    Ok(())
                });
                if let Err(error) = noted {
                    tracing::error!(certificate = %arn, %error, "that could not be noted");
                }
            }
        }
    }
}

/// The control plane's own certificate is renewed at half its life.
pub(super) async fn renew_own_certificate(core: Arc<Core>, tls: TlsHandle) {
    let mut authorities = core.authorities_changed();
    loop {
        let timer = tokio::time::sleep(core.own_certificate_ttl() / 2);
        tokio::select! {
            () = timer => {}
            changed = authorities.changed() => if changed.is_err() { return },
        }
        match core.own_tls_material() {
            Ok(material) => {
                if let Err(error) = tls.replace(&material) {
                    tracing::error!(%error, "the control plane's certificate could not be put in place");
                }
            }
            Err(error) => tracing::error!(%error, "the control plane's certificate could not be renewed"),
        }
    }
}
