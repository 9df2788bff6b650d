//! Packets that are lost and packets that are late, between two sidecars.

use std::time::Duration;

use bowline_model::{
    experiment::{Expectation, Finding},
    fault::{FaultId, FaultKind, PathHarm},
};
use tokio::time;

use super::described::{Described, measures};
use crate::{
    experiment::{ExperimentError, Stage, StepFuture, Timing, Trial},
    probe::Load,
    scope::Edge,
};

/// Lost packets are made good for.
pub const DROPPED_PACKETS: Described = Described {
    name: "dropped-packets",
    title: "Dropped packets in the TLS handshake",
    hypothesis: "Handshakes succeed though packets are dropped",
    how: "the kernel drops 12 of 100 packets in each direction between the caller's sidecars and the called service's; \
          the caller's sidecars make new connections five times meanwhile, for their certificates are renewed",
    expected: "98 of 100 requests are answered",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Harmed { edge, path: Path::Lossy, fault: None }))
    },
};

/// A slow handshake is paid for once.
pub const HIGH_LATENCY: Described = Described {
    name: "high-latency",
    title: "High latency in mutual authentication",
    hypothesis: "Mutual TLS does not degrade under high latency: a handshake is paid for once, not by each request",
    how: "each direction between the sidecars is delayed by 150 ms (20 ms more or less at random) until a connection's \
          handshake is done",
    expected: "every request is answered, over few connections",
    prepare: |mesh, scope| {
        let edge = scope.choose(mesh, Edge::require_mutual_tls).map_err(ExperimentError::NotApplicable)?;
        Ok(Box::new(Harmed { edge, path: Path::Slow, fault: None }))
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Lossy,
    Slow,
}

struct Harmed {
    edge: Edge,
    path: Path,
    fault: Option<FaultId>,
}

impl Trial for Harmed {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    fn load(&self) -> Load {
        Load { timeout: Duration::from_secs(8), ..Load::default() }
    }

    fn timing(&self) -> Timing {
        match self.path {
            Path::Lossy => {
                let during = measures::BETWEEN_HANDSHAKES * (measures::HANDSHAKES_UNDER_LOSS + 1);
                Timing { during, ..Timing::default() }
            }
            Path::Slow => Timing::default(),
        }
    }

    fn expectation(&self) -> Expectation {
        let share = match self.path {
            Path::Lossy => 0.98,
            Path::Slow => 1.0,
        };
        Expectation { recover_within: measures::RECOVERY, ..Expectation::served(share) }
    }

    fn inject<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, ()> {
        Box::pin(async move {
            let harm = match self.path {
                Path::Lossy => PathHarm::Loss { percent: measures::LOSS_PERCENT },
                Path::Slow => PathHarm::Delay {
                    each_way: measures::HANDSHAKE_DELAY,
                    jitter: measures::HANDSHAKE_JITTER,
                    handshake_only: true,
                },
            };
            let path = FaultKind::Path {
                callers: self.edge.caller.healthy_ids(),
                cluster: self.edge.alias.cluster.clone(),
                called: Vec::new(),
                harm,
            };
            self.fault = Some(stage.begin(path).await?.id);
            Ok(())
        })
    }

    fn during<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            if self.path == Path::Lossy {
                for _ in 0..measures::HANDSHAKES_UNDER_LOSS {
                    time::sleep(measures::BETWEEN_HANDSHAKES).await;
                    // Another certificate, another connection: those before are used no more.
                    stage.system().renew(self.edge.caller.healthy_ids()).await?;
                }
            }
            Ok(Vec::new())
        })
    }

    fn after<'a>(&'a mut self, stage: &'a Stage) -> StepFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(id) = self.fault.clone() else { return Ok(Vec::new()) };
            let evidence = stage.system().evidence(id).await?;
            let connections = evidence.connections;
            Ok(match self.path {
                Path::Lossy => {
                    let least = u64::from(measures::HANDSHAKES_UNDER_LOSS);
                    let what = format!("at least {least} connections are made while packets are lost");
                    let dropped = evidence.packets_dropped;
                    vec![
                        Finding::new(what, connections >= least, format!("{connections} connections")),
                        Finding::new("packets are lost", dropped > 0, format!("{dropped} packets")),
                    ]
                }
                Path::Slow => vec![few_connections(connections)],
            })
        })
    }
}

/// That connections are kept.
pub(super) fn few_connections(connections: u64) -> Finding {
    let most = measures::CONNECTIONS_MAX;
    let what = format!("requests share connections: 1 to {most} are made");
    Finding::new(what, (1..=most).contains(&connections), format!("{connections} connections"))
}
