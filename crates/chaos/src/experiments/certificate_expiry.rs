//! Expired certificates.

use bowline_model::{
    experiment::{Expectation, Want},
    fault::{FaultKind, FaultyCertificate},
};

use crate::{
    experiment::{Experiment, ExperimentError, Stage, StepFuture, Trial},
    scope::{Edge, Scope},
    system::Mesh,
};

/// The caller's sidecars show a certificate that ended an hour ago.
#[derive(Clone, Copy, Debug)]
pub struct CertificateExpiry;

impl Experiment for CertificateExpiry {
    fn name(&self) -> &'static str {
        "certificate-expiry"
    }

    fn title(&self) -> &'static str {
        "Certificate expiry"
    }

    fn hypothesis(&self) -> &'static str {
        "Expired certificates are refused"
    }

    fn how(&self) -> &'static str {
        "the caller's sidecars show a certificate of the mesh's own authority that ended an hour ago"
    }

    fn expected(&self) -> &'static str {
        "the caller's application gets 403 with the cause expired; nothing reaches the called application"
    }

    fn prepare(&self, mesh: &Mesh, scope: &Scope) -> Result<Box<dyn Trial>, ExperimentError> {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Run { edge }))
    }
}

struct Run {
    edge: Edge,
}

impl Trial for Run {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn expectation(&self) -> Expectation {
        Expectation::refused(Want::forbidden("expired"))
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let tasks = self.edge.caller.healthy_ids();
            stage.begin(FaultKind::Certificate { tasks, shows: FaultyCertificate::Expired }).await?;
            Ok(())
        })
    }
}
