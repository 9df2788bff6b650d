//! Keys that have got into the wrong hands.

use bowline_model::experiment::{Expectation, Finding};

use super::{
    described::{Described, measures, steal},
    faulty_certificates::called_address,
};
use crate::{
    attack::{self, Credentials, LongLived, TlsVersion},
    experiment::{ExperimentError, Stage, StepFuture, Trial},
    scope::Edge,
};

/// A stolen certificate is worth nothing once it is revoked.
pub const SECRET_COMPROMISE: Described = Described {
    name: "secret-compromise",
    title: "Secret or certificate compromise",
    hypothesis: "A compromised certificate is worth nothing as soon as it is revoked, and the service goes on",
    how: "an attacker on the host has a certificate and key of the caller's identity and is served by it; the certificate \
          is revoked for keyCompromise, and the caller's sidecars get new ones",
    expected: "the attacker's open connection ends, its next handshake ends in an alert, and no request of the caller is lost",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Compromised { edge, stolen: None }))
    },
};

struct Compromised {
    edge: Edge,
    stolen: Option<(String, Credentials)>,
}

impl Trial for Compromised {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        Expectation { lost_max: Some(0), recover_within: measures::RECOVERY, ..Expectation::served(1.0) }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let none = || ExperimentError::failed("the caller has no healthy task");
            let (forged, credentials) = steal(stage, &self.edge.calling_task().ok_or_else(none)?.id).await?;
            self.stolen = Some((forged.serial, credentials));
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some((serial, credentials)) = &self.stolen else { return Ok(Vec::new()) };
            let (_, address) = called_address(&self.edge)?;
            let path = &self.edge.path;
            let mut open = LongLived::open(address, credentials).await?;
            let before = match &mut open {
                Ok(open) => open.request(path).await,
                Err(met) => met.clone(),
            };
            // Where it opens nothing, that it opens nothing later shows nothing.
            let what = "the stolen certificate opens the called sidecar before it is revoked";
            let mut findings = vec![Finding::new(what, before.is_served(), before.to_string())];
            stage.system().revoke(serial.clone()).await?;
            if let Ok(open) = &mut open {
                let met = open.request(path).await;
                let what = "the attacker's open connection is of no use after that";
                findings.push(Finding::new(what, !met.is_served(), met.to_string()));
            }
            let met = attack::request(address, TlsVersion::Tls13, Some(credentials), path).await?;
            let what = "another handshake with it meets an alert";
            findings.push(Finding::new(what, met.is_alert(), met.to_string()));
            let tasks = self.edge.caller.healthy_ids();
            let wanted = tasks.len();
            let renewed = stage.system().renew(tasks).await?;
            let what = "the caller's sidecars show new certificates";
            findings.push(Finding::new(what, renewed == wanted, format!("{renewed} of {wanted}")));
            Ok(findings)
        })
    }
}
