//! The control plane and the agent as what faults are injected into.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context;
use bowline_agent::AgentHandle;
use bowline_chaos::{
    evidence::Evidence,
    injector::{
        Injector,
        ground::{Endpoint, Ground, Undo, Witness},
        relay_process::RelayCommand,
    },
    relay::order::Shown,
};
use bowline_control::control_plane::{ChaosError, ControlPlane, Harmed};
use bowline_model::{
    clock::Timestamp,
    fault::{ControlPlaneHarm, FaultError, FaultFuture, FaultId, FaultyCertificate, SidecarHarm, TaskHarm},
    task::{Secret, TaskId},
};
use bowline_plumbing::wall_clock;

use crate::{local_api::Response, revival};

/// The engine over these two. It holds neither of them up.
pub(crate) fn injector(
    control: &Arc<ControlPlane>,
    agent: Option<&Arc<AgentHandle>>,
) -> anyhow::Result<Injector> {
    let ground = MachineGround {
        control: Arc::downgrade(control),
        agent: agent.map_or_else(Weak::new, Arc::downgrade),
        runs_tasks: agent.is_some(),
    };
    let program = std::env::current_exe().context("this program's path cannot be read")?;
    Ok(Injector::new(Arc::new(ground), RelayCommand { program, arguments: vec!["relay".to_owned()] }))
}

/// What is answered to a request for a certificate that an attacker is to show.
pub(crate) fn forged(
    control: &ControlPlane,
    task: &TaskId,
    shows: Option<&FaultyCertificate>,
    lasting: Duration,
) -> anyhow::Result<Response> {
    let forged = control.forge(task, shows, lasting)?;
    let key =
        rcgen::KeyPair::try_from(forged.key_pkcs8.as_slice()).context("the key that was made is none")?;
    Ok(Response::Forged {
        chain_der: forged.chain_der,
        key: Secret::new(key.serialize_pem()),
        roots_pem: control.identity(task.as_str())?.roots_pem,
        serial: forged.serial,
    })
}

#[derive(Clone)]
struct MachineGround {
    control: Weak<ControlPlane>,
    agent: Weak<AgentHandle>,
    runs_tasks: bool,
}

impl fmt::Debug for MachineGround {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineGround").field("runs_tasks", &self.runs_tasks).finish_non_exhaustive()
    }
}

impl MachineGround {
    fn control(&self) -> Result<Arc<ControlPlane>, FaultError> {
        self.control.upgrade().ok_or_else(|| FaultError::Failed("everything is being taken down".to_owned()))
    }

    fn agent(&self) -> Result<Arc<AgentHandle>, FaultError> {
        let reason = match self.runs_tasks {
            true => "everything is being taken down",
            false => "with --launcher record no task runs",
        };
        self.agent.upgrade().ok_or_else(|| FaultError::Failed(reason.to_owned()))
    }
}

impl Ground for MachineGround {
    fn now(&self) -> Timestamp {
        wall_clock::now()
    }

    fn has_task(&self, task: &TaskId) -> bool {
        self.control().is_ok_and(|control| control.snapshot().tasks.get(task.as_str()).is_some())
    }

    fn endpoints_of(&self, caller: &TaskId, cluster: &str) -> Vec<Endpoint> {
        let Ok(control) = self.control() else { return Vec::new() };
        let endpoints = control.endpoints_of(caller, cluster).into_iter();
        endpoints.map(|(task, address)| Endpoint { task, address }).collect()
    }

    fn forge(
        &self,
        task: &TaskId,
        shows: Option<&FaultyCertificate>,
        lasting: Duration,
    ) -> Result<(Shown, Undo), FaultError> {
        let forged = self.control()?.forge(task, shows, lasting).map_err(refused)?;
        // Nobody believes the faulty ones.
        let believed: Option<Arc<str>> = shows.is_none().then(|| forged.serial.into());
        let undo = self.undo(move |control| {
            let believed = believed.clone();
            async move {
                if let Some(serial) = believed {
                    control.end_forgery(&serial);
                }
                Ok(())
            }
        });
        Ok((Shown { chain_der: forged.chain_der, key_der: forged.key_pkcs8.to_vec() }, undo))
    }

    fn stage_certificate<'a>(
        &'a self,
        tasks: &'a [TaskId],
        shows: &'a FaultyCertificate,
        per_million: u32,
        until: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            let control = self.control()?;
            let stage = control.stage_certificate(tasks, shows, per_million, until).await.map_err(refused)?;
            Ok(self.undo(move |control| async move { control.unstage_certificate(stage).await }))
        })
    }

    fn divert_path<'a>(
        &'a self,
        callers: &'a [TaskId],
        cluster: &'a str,
        to: &'a [(SocketAddr, SocketAddr)],
        until: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            let control = self.control()?;
            let diversion = control.divert_path(callers, cluster, to, until).await.map_err(refused)?;
            Ok(self.undo(move |control| async move { control.end_path_diversion(diversion).await }))
        })
    }

    fn spoof_name(&self, name: &str, address: IpAddr, until: Timestamp) -> Result<Undo, FaultError> {
        let spoof = self.control()?.spoof_name(name, address, until).map_err(refused)?;
        Ok(self.undo(move |control| async move {
            control.end_spoof(spoof);
            Ok(())
        }))
    }

    fn disturb<'a>(
        &'a self,
        tasks: &'a [TaskId],
        harm: &'a SidecarHarm,
        per_million: u32,
        until: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            let control = self.control()?;
            let disturbance = control.disturb(tasks, harm, per_million, until).await.map_err(refused)?;
            Ok(self.undo(move |control| async move { control.end_disturbance(disturbance).await }))
        })
    }

    fn arrived(&self, tasks: &[TaskId]) -> u64 {
        self.control().map_or(0, |control| control.arrived_during_disturbance(tasks))
    }

    fn begin_task_fault<'a>(
        &'a self,
        task: &'a TaskId,
        id: &'a FaultId,
        harm: &'a TaskHarm,
        until: Timestamp,
    ) -> FaultFuture<'a, Undo> {
        Box::pin(async move {
            self.agent()?.begin_fault(task, id, harm.clone(), until).await?;
            let (ground, task, id) = (self.clone(), task.clone(), id.clone());
            Ok(Undo::new(move || {
                let (ground, task, id) = (ground.clone(), task.clone(), id.clone());
                async move {
                    match ground.agent() {
                        Ok(agent) => agent.end_fault(&task, &id).await,
                        // Its tasks are gone with it, or end the fault by themselves.
                        Err(_) => Ok(()),
                    }
                }
            }))
        })
    }

    fn begin_control_plane_fault<'a>(
        &'a self,
        harm: &'a ControlPlaneHarm,
        until: Timestamp,
    ) -> FaultFuture<'a, (Undo, Witness)> {
        Box::pin(async move {
            let control = self.control()?;
            match harm {
                ControlPlaneHarm::Killed => {
                    if !control.keeps_state() {
                        let reason = "an ephemeral server keeps nothing that another could go on with";
                        return Err(FaultError::Invalid(reason.to_owned()));
                    }
                    revival::begin(until).await?;
                    // Whoever is to be killed undoes nothing; what is to revive it holds the deadline.
                    let nothing = Undo::new(|| async { Ok(()) });
                    Ok((nothing, Witness::new(Evidence::default)))
                }
                ControlPlaneHarm::NoIssuance { tasks, lifetime } => {
                    let harmed =
                        control.withhold_certificates(tasks, *lifetime, until).await.map_err(refused)?;
                    Ok(self.undo_harm(harmed))
                }
                ControlPlaneHarm::Garbage { tasks } => {
                    Ok(self.undo_harm(control.spoil_stream(tasks, until).await.map_err(refused)?))
                }
                ControlPlaneHarm::DiskFull => {
                    control.fill_disk(until).map_err(refused)?;
                    let empty = self.undo(|control| async move {
                        control.empty_disk();
                        Ok(())
                    });
                    let control = self.control.clone();
                    let count = move || control.upgrade().map_or(0, |control| control.writes_refused());
                    Ok((empty, Witness::new(move || Evidence { refused: count(), ..Evidence::default() })))
                }
            }
        })
    }
}

impl MachineGround {
    fn undo_harm(&self, harmed: Harmed) -> (Undo, Witness) {
        let of_undo = harmed.clone();
        let undo = self.undo(move |control| {
            let harmed = of_undo.clone();
            async move { control.end_harm(&harmed).await }
        });
        (undo, Witness::new(move || Evidence { refused: harmed.met(), ..Evidence::default() }))
    }

    /// Undoes by this, for as long as there is a control plane; after it sidecars do by themselves.
    fn undo<F>(&self, work: impl Fn(Arc<ControlPlane>) -> F + Clone + Send + Sync + 'static) -> Undo
    where
        F: Future<Output = Result<(), ChaosError>> + Send + 'static,
    {
        let ground = self.clone();
        Undo::new(move || {
            let (ground, work) = (ground.clone(), work.clone());
            async move {
                match ground.control() {
                    Ok(control) => work(control).await.map_err(refused),
                    Err(_) => Ok(()),
                }
            }
        })
    }
}

fn refused(error: ChaosError) -> FaultError {
    let text = error.to_string();
    match error {
        ChaosError::NoTask(_) | ChaosError::NoEndpoint { .. } | ChaosError::NoService(_) => {
            FaultError::NotFound(text)
        }
        ChaosError::Conflict(_) | ChaosError::Invalid(_) => FaultError::Invalid(text),
        _ => FaultError::Failed(text),
    }
}
