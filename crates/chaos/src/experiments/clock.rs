//! Clocks that are wrong.

use bowline_model::{
    experiment::{Expectation, Finding, Want},
    fault::{FaultId, FaultKind, SidecarHarm},
};

use super::{
    described::{Described, measures, steal},
    faulty_certificates::called_address,
};
use crate::{
    attack::{self, Reception, TlsVersion},
    experiment::{ExperimentError, Stage, StepFuture, Trial},
    scope::Edge,
};

/// A clock that is a little wrong does no harm, and one that is very wrong is no way in.
pub const CLOCK_SKEW: Described = Described {
    name: "clock-skew",
    title: "Clock skew",
    hypothesis: "A sidecar whose clock is a little slow goes on, and one whose clock is hours slow refuses what is not yet \
                 valid by it, and says so",
    how: "the clocks of the called sidecars are set back by 40 s and the caller's sidecars get new certificates; then they \
          are set back by two hours, and the caller's sidecars get new certificates again",
    expected: "by 40 s nothing changes, though the caller's certificates are newer than that; by two hours the caller's \
               application gets 403 with the cause expired, and who calls from the host meets the alert for it",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Skewed { edge, findings: Vec::new() }))
    },
};

struct Skewed {
    edge: Edge,
    /// Of what was seen while the clocks were a little slow.
    findings: Vec<Finding>,
}

impl Skewed {
    /// Sets back the clocks of the called sidecars, and has the caller's make new connections.
    async fn set_back(&self, stage: &Stage, by: std::time::Duration) -> Result<FaultId, ExperimentError> {
        let behind = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let harm = SidecarHarm::Clock { ahead_ms: -behind };
        let tasks = self.edge.called.healthy_ids();
        let fault = stage.begin(FaultKind::Sidecar { tasks, harm }).await?;
        stage.system().renew(self.edge.caller.healthy_ids()).await?;
        Ok(fault.id)
    }

    /// How somebody on the host is received whose certificate is the caller's, made just now.
    async fn call(&self, stage: &Stage) -> Result<Reception, ExperimentError> {
        let none = || ExperimentError::failed("the caller has no healthy task");
        let (_, credentials) = steal(stage, &self.edge.calling_task().ok_or_else(none)?.id).await?;
        let (_, address) = called_address(&self.edge)?;
        Ok(attack::request(address, TlsVersion::Tls13, Some(&credentials), &self.edge.path).await?)
    }
}

impl Trial for Skewed {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        let refused = Want::forbidden("expired");
        Expectation {
            // From when the clocks are a little slow; they are very slow later.
            detect_within: measures::SKEW_DETECTED,
            recover_within: measures::RECOVERY,
            lost_max: Some(0),
            ..Expectation::refused(refused)
        }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let little = self.set_back(stage, measures::SKEW_TOLERATED).await?;
            let met = self.call(stage).await?;
            let by = measures::SKEW_TOLERATED.as_secs();
            let what =
                format!("a certificate that was made just now is believed by a clock that is {by} s slow");
            self.findings.push(Finding::new(what, met.is_served(), met.to_string()));
            stage.end(&little).await?;
            self.set_back(stage, measures::SKEW_REFUSED).await?;
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let met = self.call(stage).await?;
            let hours = measures::SKEW_REFUSED.as_secs() / 3_600;
            let what = format!("by a clock that is {hours} h slow it is refused, by the alert that says why");
            // RFC 8446 §6.2: certificate_expired, a certificate has expired or is not currently valid.
            let held = matches!(&met, Reception::Alert(alert) if alert == "CertificateExpired");
            let mut findings = std::mem::take(&mut self.findings);
            findings.push(Finding::new(what, held, met.to_string()));
            Ok(findings)
        })
    }
}
