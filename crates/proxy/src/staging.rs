//! What is faulty on purpose in this proxy, and its ends: a staged certificate is fetched, shown and taken away again;
//! endpoints that lead elsewhere lead back; a disturbance begins and ends. Each has a deadline that this proxy keeps by itself, whatever has become
//! of the control plane.
//!
//! The control plane is told what is shown, for as long as somebody there waits for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_discovery::{identity::ShowsRequest, tonic::Code, v1};
use bowline_model::{clock::Timestamp, fault::LASTING_MAX};
use bowline_plumbing::{backoff::Backoff, wall_clock};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    certificates::{Stored, chain_text},
    config::store::MESH_IDENTITY,
    control_plane::{ControlPlane, ControlPlaneError},
    disturbance::{self, Disturbance},
    tls::{
        TlsError,
        staged::{ALL, Staged},
        verify::serial_of,
    },
};

const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// Begins the name by which it is fetched.
const STAGED_PREFIX: &str = "staged:";

#[derive(Debug, Error)]
enum StagingError {
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// See the module.
pub(crate) struct Staging {
    control_plane: ControlPlane,
    /// The version that is shown.
    shown: Option<String>,
    /// One whose end has come: it is not begun again.
    over: Option<String>,
    /// A disturbance whose end has come.
    disturbance_over: Option<String>,
    /// Requests that came while the last disturbance was in force.
    arrived: u64,
    told: ShowsRequest,
    /// The control plane is an earlier one, which knows nothing of this.
    deaf: bool,
    backoff: Backoff,
    again_at: Option<Instant>,
}

impl Staging {
    pub(crate) fn new(control_plane: ControlPlane) -> Self {
        Self {
            control_plane,
            shown: None,
            over: None,
            disturbance_over: None,
            arrived: 0,
            told: ShowsRequest::default(),
            deaf: false,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
            again_at: None,
        }
    }

    /// Runs for as long as the process lives. `revised` changes with the stream's resources, `certificates` with the
    /// proxy's own.
    pub(crate) async fn run(
        mut self,
        mut revised: watch::Receiver<u64>,
        mut certificates: watch::Receiver<Vec<Stored>>,
    ) {
        loop {
            let next = self.look().await;
            tokio::select! {
                changed = revised.changed() => if changed.is_err() { return },
                changed = certificates.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Does what is due; returns when to look again.
    async fn look(&mut self) -> Instant {
        self.end_what_is_over();
        let disturbed_until = self.disturb();
        let wanted = self.control_plane.control.lock().store.staged_wanted();
        let wanted = wanted.filter(|wanted| {
            wanted.ends_at_unix_ms > wall_clock::machine().as_millis()
                && self.over.as_ref() != Some(&wanted.version)
        });
        let mut failed = false;
        if let Some(wanted) = wanted.filter(|wanted| self.shown.as_ref() != Some(&wanted.version))
            && self.again_at.is_none_or(|at| at <= Instant::now())
            && let Err(error) = self.begin(&wanted).await
        {
            tracing::warn!(error = %chain_text(&error), "no faulty certificate to show; trying again");
            failed = true;
        }
        if let Err(error) = self.tell().await {
            tracing::warn!(error = %chain_text(&error), "the control plane was not told what is shown; trying again");
            failed = true;
        }
        if failed {
            self.again_at = Some(Instant::now() + self.backoff.next_delay());
        } else if self.again_at.is_some_and(|at| at <= Instant::now()) {
            // What woke it before that has not tried again what failed.
            self.again_at = None;
            self.backoff.reset();
        }
        let ends = self.control_plane.control.lock().store.next_fault_end();
        let latest = Instant::now() + LOOK_MAX;
        ends.into_iter().chain(disturbed_until).chain(self.again_at).fold(latest, Instant::min)
    }

    /// Goes back to what is right, where it is time.
    fn end_what_is_over(&mut self) {
        let mut data_plane = self.control_plane.control.lock();
        let now = Instant::now();
        if data_plane.store.staged().is_some_and(|staged| staged.until <= now) {
            self.over.clone_from(&self.shown);
            data_plane.stage(None);
        }
        if data_plane.store.next_fault_end().is_some_and(|end| end <= now) {
            // Made anew, endpoints lead to where they are.
            data_plane.store.end_old_diversions(now);
            data_plane.publish();
            tracing::warn!("endpoints lead to their own addresses again");
        }
        let shown = data_plane.store.staged().map(|staged| staged.version.clone());
        drop(data_plane);
        if self.shown.is_some() && shown != self.shown {
            tracing::warn!("the proxy shows its own certificate again");
        }
        self.shown = shown;
    }

    /// Begins the disturbance that is wanted, ends the one that is not or is over. When the present one ends.
    fn disturb(&mut self) -> Option<Instant> {
        let data_plane = self.control_plane.control.lock();
        let (shared, now) = (Arc::clone(&data_plane.shared), wall_clock::machine());
        let wanted = data_plane.store.disturbance_wanted().filter(|wanted| {
            wanted.ends_at_unix_ms > now.as_millis()
                && self.disturbance_over.as_ref() != Some(&wanted.version)
        });
        drop(data_plane);
        let present = shared.disturbance.load_full();
        if let Some(present) = &present {
            let is_over = present.until <= Instant::now();
            if !is_over && wanted.as_ref().is_some_and(|wanted| wanted.version == present.version) {
                return Some(present.until);
            }
            shared.disturbance.store(None);
            disturbance::set_clock(None);
            self.arrived = present.arrived();
            if is_over {
                self.disturbance_over = Some(present.version.clone());
            }
            tracing::warn!(arrived = self.arrived, "nothing is wrong with the proxy on purpose any longer");
        }
        let wanted = wanted.filter(|wanted| self.disturbance_over.as_ref() != Some(&wanted.version))?;
        let begun = Disturbance::new(&wanted, now);
        let until = begun.until;
        disturbance::set_clock(Some((&wanted, until)));
        shared.disturbance.store(Some(Arc::new(begun)));
        let (clock_ahead_ms, status) = (wanted.clock_ahead_ms, wanted.status);
        tracing::warn!(clock_ahead_ms, status, "something is wrong with the proxy, on purpose");
        Some(until)
    }

    async fn begin(&mut self, wanted: &v1::StagedCertificate) -> Result<(), StagingError> {
        let fetched = self.control_plane.fetch(&format!("{STAGED_PREFIX}{}", wanted.version)).await?;
        let ends_at = Timestamp::from_millis(wanted.ends_at_unix_ms);
        let left = ends_at.since(wall_clock::machine()).min(LASTING_MAX);
        let (version, per_million) = (wanted.version.clone(), wanted.per_million.min(ALL));
        let staged =
            Staged::new(version, fetched.chain_der, &fetched.key, per_million, Instant::now() + left)?;
        let mut data_plane = self.control_plane.control.lock();
        // It may have been called off meanwhile.
        if data_plane.store.staged_wanted().is_some_and(|now| now.version == wanted.version) {
            data_plane.stage(Some(Arc::new(staged)));
            self.shown = Some(wanted.version.clone());
            let (shows, per_million) = (&wanted.shows, wanted.per_million);
            tracing::warn!(shows, per_million, until = %ends_at, "the proxy shows a faulty certificate, on purpose");
        }
        Ok(())
    }

    /// Tells what is shown, if that was not told and somebody may wait for it.
    async fn tell(&mut self) -> Result<(), ControlPlaneError> {
        let (is_asked, serial, disturbance) = {
            let data_plane = self.control_plane.control.lock();
            let own = data_plane.store.identity(MESH_IDENTITY).and_then(|held| held.key.cert.first());
            let present = data_plane.shared.disturbance.load();
            let disturbance = present.as_ref().map(|present| present.version.clone());
            (data_plane.store.is_asked_what_is_shown(), own.and_then(|leaf| serial_of(leaf)), disturbance)
        };
        let now = ShowsRequest {
            serial: serial.unwrap_or_default(),
            staged: self.shown.clone().unwrap_or_default(),
            arrived: if disturbance.is_some() { 0 } else { self.arrived },
            disturbance: disturbance.unwrap_or_default(),
        };
        let is_due = is_asked || !self.told.staged.is_empty() || !self.told.disturbance.is_empty();
        if self.deaf || !is_due || now == self.told || now.serial.is_empty() {
            return Ok(());
        }
        match self.control_plane.shows(now.clone()).await {
            Ok(()) => self.told = now,
            Err(ControlPlaneError::Status(status)) if status.code() == Code::Unimplemented => {
                self.deaf = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
