//! More requests than usual, by friends and by enemies.

use std::time::Duration;

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{FaultId, FaultKind, PathHarm},
};

use super::{
    described::{Described, measures, seconds, steal},
    faulty_certificates::called_address,
    network::few_connections,
};
use crate::{
    attack::{self, Credentials, Flood},
    experiment::{ExperimentError, Stage, StepFuture, Timing, Trial},
    probe::Load,
    scope::Edge,
};

/// TLS costs little where many call.
pub const HIGH_TLS_LOAD: Described = Described {
    name: "high-tls-load",
    title: "High traffic with TLS overhead",
    hypothesis: "High load over TLS is served without degradation",
    how: "100 requests per second from within the caller's task, and 600 more over 32 connections of mutual TLS from the \
          host; a relay between the sidecars counts their connections and delays each direction by 1 ms",
    expected: "99.5 of 100 requests are answered, 99 of 100 within a second, over few connections between the sidecars",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(HighLoad { edge, fault: None, credentials: None }))
    },
};

/// Attackers do not keep the caller from being served.
pub const LAYER7_FLOOD: Described = Described {
    name: "layer7-flood",
    title: "Application-layer DDoS on TLS",
    hypothesis: "The service stays responsive under a layer-7 flood",
    how: "attackers on the host, against one called sidecar: 500 requests per second over 16 connections with a stolen \
          certificate, four that shake hands without a certificate again and again, and 300 connections that begin a \
          handshake and go on no further",
    expected: "99 of 100 requests of the caller's application are answered, 99 of 100 within a second; who has no \
               certificate is never served; every handshake that does not go on is closed within 7 s",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Flooded { edge, credentials: None }))
    },
};

async fn stolen(stage: &Stage, edge: &Edge) -> Result<Credentials, ExperimentError> {
    let none = || ExperimentError::failed("the caller has no healthy task");
    let task = edge.calling_task().ok_or_else(none)?;
    Ok(steal(stage, &task.id).await?.1)
}

fn loaded(share: f64) -> Expectation {
    Expectation {
        p99_max: Some(measures::LOADED_P99),
        recover_within: measures::RECOVERY,
        ..Expectation::served(share)
    }
}

struct HighLoad {
    edge: Edge,
    fault: Option<FaultId>,
    credentials: Option<Credentials>,
}

impl Trial for HighLoad {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn load(&self) -> Load {
        Load { rate: measures::HIGH_RATE, ..Load::default() }
    }

    fn expectation(&self) -> Expectation {
        loaded(0.995)
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            self.credentials = Some(stolen(stage, &self.edge).await?);
            let path = FaultKind::Path {
                callers: self.edge.caller.healthy_ids(),
                cluster: self.edge.alias.cluster.clone(),
                called: Vec::new(),
                harm: PathHarm::Delay {
                    each_way: measures::HIGH_LOAD_DELAY,
                    jitter: Duration::ZERO,
                    handshake_only: false,
                },
            };
            self.fault = Some(stage.begin(path).await?.id);
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(credentials) = &self.credentials else { return Ok(Vec::new()) };
            let (_, address) = called_address(&self.edge)?;
            let load = Flood {
                connections: measures::HIGH_LOAD_CONNECTIONS,
                rate: measures::HIGH_LOAD_RATE,
                handshakers: 0,
                lasting: stage.lasting(),
            };
            let seen = attack::flood(address, credentials, &self.edge.path, load).await?;
            let held = seen.requests > 0 && seen.served * 100 >= seen.requests * 99;
            let told = format!("{} of {}", seen.served, seen.requests);
            Ok(vec![
                much_of(&load, seen.requests),
                Finding::new("99 of 100 requests from the host are answered, too", held, told),
            ])
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(id) = self.fault.clone() else { return Ok(Vec::new()) };
            Ok(vec![few_connections(stage.system().evidence(id).await?.connections)])
        })
    }
}

struct Flooded {
    edge: Edge,
    credentials: Option<Credentials>,
}

impl Trial for Flooded {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn timing(&self) -> Timing {
        Timing { during: measures::LINGERERS_CLOSED + Duration::from_secs(1), ..Timing::default() }
    }

    fn expectation(&self) -> Expectation {
        loaded(0.99)
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            self.credentials = Some(stolen(stage, &self.edge).await?);
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        let _ = stage;
        Box::pin(async move {
            let Some(credentials) = &self.credentials else { return Ok(Vec::new()) };
            let (_, address) = called_address(&self.edge)?;
            let enough = measures::LINGERERS_CLOSED;
            let flood = Flood {
                connections: measures::FLOOD_CONNECTIONS,
                rate: measures::FLOOD_RATE,
                handshakers: measures::FLOOD_HANDSHAKERS,
                lasting: enough,
            };
            let (flooded, lingering) = tokio::join!(
                attack::flood(address, credentials, &self.edge.path, flood),
                attack::linger(address, measures::LINGERERS, enough)
            );
            let flooded = flooded?;
            let closed = format!(
                "{} of {}, the last after {:.1} s",
                lingering.closed,
                lingering.opened,
                seconds(lingering.longest)
            );
            Ok(vec![
                much_of(&flood, flooded.requests),
                Finding::new(
                    "handshakes are begun, and many that do not go on",
                    flooded.handshakes > 0 && lingering.opened * 2 >= measures::LINGERERS,
                    format!("{} handshakes, {} that do not go on", flooded.handshakes, lingering.opened),
                ),
                Finding::new(
                    "who has no certificate is never served",
                    flooded.admitted == 0,
                    format!("{} of {} handshakes ended in service", flooded.admitted, flooded.handshakes),
                ),
                Finding::new(
                    format!("handshakes that do not go on are closed within {} s", enough.as_secs()),
                    lingering.opened > 0 && lingering.closed == lingering.opened,
                    closed,
                ),
            ])
        })
    }
}

/// That a load came about: at least half of what it was to be.
fn much_of(load: &Flood, requests: u64) -> Finding {
    let planned = load.lasting.as_secs_f64() * load.rate as f64;
    let what = "at least half of the load from the host comes";
    Finding::new(what, requests as f64 * 2.0 >= planned, format!("{requests} of {planned:.0} requests"))
}
