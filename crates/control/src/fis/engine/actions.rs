//! Does what actions are, in the name of the experiment's role.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline_aws::fis::TemplateAction;
use bowline_model::{
    arn::Arn,
    fault::{ALL, FaultError, FaultId, FaultKind, FaultOrder, LASTING_MIN, TaskHarm, Victims},
    task::{DesiredStatus, TaskId},
};
use bowline_plumbing::wall_clock;
use serde_json::json;

use super::{
    SERVICE,
    targets::{assume, refused},
};
use crate::{
    api::{authorization::demand::Demand, service_call::ServiceCall},
    core::Core,
    ecs::instance::InstanceStatus,
    fis::{
        experiments::{self, ExperimentRecord},
        paths,
        plan::{self, Plan},
        run::{Begun, ErrorCode, Held, RunError},
    },
    registry::{Registry, RegistryError},
};

/// The document of Systems Manager that AWS runs for an action on tasks, which its role must be allowed to send.
/// Source: AWS FIS user guide, "Use the AWS FIS aws:ecs:task actions".
const DOCUMENTS: &[(&str, &str)] = &[
    ("aws:ecs:task-cpu-stress", "AWSFIS-Run-CPU-Stress"),
    ("aws:ecs:task-io-stress", "AWSFIS-Run-IO-Stress"),
    ("aws:ecs:task-kill-process", "AWSFIS-Run-Kill-Process"),
    ("aws:ecs:task-network-blackhole-port", "AWSFIS-Run-Network-Blackhole-Port"),
    ("aws:ecs:task-network-latency", "AWSFIS-Run-Network-Latency-Sources"),
    ("aws:ecs:task-network-packet-loss", "AWSFIS-Run-Network-Packet-Loss-Sources"),
];

/// What the role must be allowed for Bowline's own faults.
const INJECT: &str = "bowline:InjectFault";

/// Most characters of a reason. Source: FIS API reference.
const REASON_MAX: usize = 512;

/// An action of an experiment, and what it is done to.
struct Acting<'a> {
    core: &'a Arc<Core>,
    experiment: &'a ExperimentRecord,
    name: &'a str,
    action: &'a TemplateAction,
    role: ServiceCall,
    targets: Vec<Arn>,
}

/// Begins an action.
pub(super) async fn begin(
    core: &Arc<Core>,
    experiment: &ExperimentRecord,
    name: &str,
) -> Result<Begun, RunError> {
    let begun = try_to_begin(core, experiment, name).await;
    begun.map_err(|error| RunError { reason: error.reason.chars().take(REASON_MAX).collect(), ..error })
}

async fn try_to_begin(
    core: &Arc<Core>,
    experiment: &ExperimentRecord,
    name: &str,
) -> Result<Begun, RunError> {
    let failed = |reason: String| RunError::new(ErrorCode::ConfigurationFailure, reason);
    let action = experiment.content.actions.get(name);
    let action = action.ok_or_else(|| failed(format!("There is no action {name}.")))?;
    let plan = plan::parse(&action.action_id, &action.parameters).map_err(failed)?;
    let targets = action.targets.values().filter_map(|target| experiment.resolved.get(target)).flatten();
    let acting = Acting {
        core,
        experiment,
        name,
        action,
        role: assume(core, experiment)?,
        targets: targets.filter_map(|arn| arn.parse().ok()).collect(),
    };
    acting.begin(plan).await
}

impl Acting<'_> {
    async fn begin(&self, plan: Plan) -> Result<Begun, RunError> {
        match plan {
            Plan::Wait(lasting) => Ok(lasts(lasting, Held::default())),
            Plan::AssertAlarms { arns, states } => self.assert_alarms(&arns, &states),
            Plan::StopTasks { force } => self.stop_tasks(force).await,
            Plan::RestartServices => self.restart_services().await,
            Plan::Drain { lasting, percent } => self.drain(lasting, percent).await,
            Plan::Tasks { harm, lasting } => {
                let kind = FaultKind::Task { tasks: self.tasks()?.into_iter().collect(), harm };
                let ids = self.inject(vec![kind], ALL, lasting.unwrap_or(LASTING_MIN)).await?;
                Ok(match lasting {
                    Some(lasting) => lasts(lasting, Held { faults: ids, drained: Vec::new() }),
                    None => Begun::default(),
                })
            }
            Plan::Certificates { shows, per_million, lasting } => {
                let kind = FaultKind::Certificate { tasks: self.tasks()?.into_iter().collect(), shows };
                self.fault(vec![kind], per_million, lasting).await
            }
            Plan::Around { harm: None, lasting, .. } => Ok(lasts(lasting, Held::default())),
            Plan::Around { harm: Some(harm), sources, lasting } => {
                let kinds = paths::around(&self.core.registry(), &self.tasks()?, &sources, &harm);
                self.fault(kinds, ALL, lasting).await
            }
            Plan::Paths { harm, cluster, per_million, lasting } => {
                let kinds = paths::from(&self.core.registry(), &self.tasks()?, cluster.as_deref(), &harm);
                self.fault(kinds, per_million, lasting).await
            }
            Plan::Name { name, address, lasting } => {
                self.fault(vec![FaultKind::Name { name, address }], ALL, lasting).await
            }
        }
    }

    /// The tasks that are still there.
    fn tasks(&self) -> Result<BTreeSet<TaskId>, RunError> {
        let registry = self.core.registry();
        let there: BTreeSet<TaskId> = self
            .targets
            .iter()
            .filter_map(|arn| registry.tasks.get(arn.resource_name()))
            .filter(|task| task.desired == DesiredStatus::Running)
            .map(|task| task.id.clone())
            .collect();
        match there.is_empty() {
            true => Err(RunError::new(ErrorCode::InvalidTarget, "None of the target tasks runs any more.")),
            false => Ok(there),
        }
    }

    async fn fault(
        &self,
        kinds: Vec<FaultKind>,
        per_million: u32,
        lasting: Duration,
    ) -> Result<Begun, RunError> {
        if kinds.is_empty() {
            let reason = "No sidecar's path is what was asked for: nothing calls the targets, and they call nothing \
                          of that name.";
            return Err(RunError::new(ErrorCode::InvalidTarget, reason));
        }
        let faults = self.inject(kinds, per_million, lasting).await?;
        Ok(lasts(lasting, Held { faults, drained: Vec::new() }))
    }

    /// Puts all of these faults in force, or none.
    async fn inject(
        &self,
        kinds: Vec<FaultKind>,
        per_million: u32,
        lasting: Duration,
    ) -> Result<Vec<FaultId>, RunError> {
        let Some(injector) = self.core.fault_injector() else {
            let reason = "This process runs no tasks: there is nothing that faults could be injected into.";
            return Err(RunError::new(ErrorCode::ConfigurationFailure, reason));
        };
        self.allowed(&kinds)?;
        let mut begun = Vec::new();
        for kind in kinds {
            let order = FaultOrder { kind, per_million, lasting, cause: self.experiment.id.clone() };
            let fault = match order.check() {
                Ok(()) => injector.begin(order).await,
                Err(error) => Err(error),
            };
            match fault {
                Ok(fault) => begun.push(fault.id),
                Err(error) => {
                    for id in begun {
                        if let Err(error) = injector.end(id).await {
                            tracing::warn!(%error, "a fault was left to its deadline");
                        }
                    }
                    return Err(not_injected(&error));
                }
            }
        }
        Ok(begun)
    }

    /// Asks whether the role may, and records that it does.
    fn allowed(&self, kinds: &[FaultKind]) -> Result<(), RunError> {
        let scope = self.core.registry().settings().scope.clone();
        let id = self.action.action_id.as_str();
        let document = DOCUMENTS.iter().find(|(of, _)| *of == id).map(|(_, document)| {
            let arn = format!("arn:{}:ssm:{}::document/{document}", scope.partition, scope.region);
            vec![Demand::new("ssm:SendCommand", arn)]
        });
        let own = || match self.targets.is_empty() {
            true => vec![Demand::new(INJECT, "*")],
            false => self.targets.iter().map(|arn| Demand::new(INJECT, arn.as_str())).collect(),
        };
        let parameters = json!({
            "experimentId": self.experiment.id, "actionName": self.name, "actionId": id,
            "parameters": self.action.parameters, "faults": kinds.len(),
            "targets": self.targets.iter().map(Arn::as_str).collect::<Vec<_>>(),
        });
        let asked = self.role.admit(self.core, &document.unwrap_or_else(own), "InjectFault", parameters);
        asked.map_err(|fault| refused(&fault))
    }

    /// An operation of ECS, in the role's name.
    async fn ecs(&self, operation: &'static str, request: serde_json::Value) -> Result<(), RunError> {
        let (core, role) = (Arc::clone(self.core), self.role.clone());
        let done = tokio::task::spawn_blocking(move || role.perform(&core, "ecs", operation, &request)).await;
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(fault)) => Err(refused(&fault)),
            Err(_) => Err(RunError::new(ErrorCode::InternalFailure, "An internal error occurred.")),
        }
    }

    async fn stop_tasks(&self, force: bool) -> Result<Begun, RunError> {
        for arn in &self.targets {
            let reason = format!("Stopped by {SERVICE}, experiment {}.", self.experiment.id);
            let request = json!({"cluster": cluster_of(arn), "task": arn.as_str(), "reason": reason});
            self.ecs("StopTask", request).await?;
        }
        // The role may stop it, so it may stop it at once. Where nothing runs there is nothing to be killed.
        if let Some(injector) = self.core.fault_injector().filter(|_| force) {
            let tasks: Vec<TaskId> =
                self.targets.iter().filter_map(|arn| arn.resource_name().parse().ok()).collect();
            let harm = TaskHarm::Kill { victims: Victims::Containers, signal: 9 };
            let order = FaultOrder {
                kind: FaultKind::Task { tasks, harm },
                per_million: ALL,
                lasting: LASTING_MIN,
                cause: self.experiment.id.clone(),
            };
            match injector.begin(order).await {
                // It may have ended by itself meanwhile.
                Ok(_) | Err(FaultError::NotFound(_)) => {}
                Err(error) => return Err(not_injected(&error)),
            }
        }
        Ok(Begun::default())
    }

    async fn restart_services(&self) -> Result<Begun, RunError> {
        for arn in &self.targets {
            let request =
                json!({"cluster": cluster_of(arn), "service": arn.as_str(), "forceNewDeployment": true});
            self.ecs("UpdateService", request).await?;
        }
        Ok(Begun::default())
    }

    async fn drain(&self, lasting: Duration, percent: u32) -> Result<Begun, RunError> {
        let mut held = Held::default();
        for cluster in &self.targets {
            // A cluster has this machine, or nothing: any share of one is one.
            let name = cluster.resource_name();
            let registry = self.core.registry();
            let instance = registry.container_instances.get(name).filter(|_| percent > 0);
            let Some(instance) = instance.filter(|it| it.status != InstanceStatus::Inactive) else {
                self.restore(&held)?;
                let reason = format!("The cluster {name} has no container instance.");
                return Err(RunError::new(ErrorCode::InvalidTarget, reason));
            };
            // One that drains already is not this experiment's to give back.
            if instance.status != InstanceStatus::Active {
                continue;
            }
            held.drained.push(name.to_owned());
            // Before it is done: a process that dies in between must find what to give back.
            self.remember(&held)?;
            let request = json!({
                "cluster": name, "containerInstances": [instance.arn.as_str()], "status": "DRAINING",
            });
            if let Err(error) = self.ecs("UpdateContainerInstancesState", request).await {
                self.restore(&held)?;
                return Err(error);
            }
        }
        Ok(lasts(lasting, held))
    }

    fn remember(&self, held: &Held) -> Result<(), RunError> {
        let written = self.core.change::<_, RegistryError>(|registry| {
            registry
                .experiments
                .update(&self.experiment.id, |experiment| experiment.run.hold(self.name, held.clone()));
            Ok(())
        });
        written.map_err(|error| not_written(&error))
    }

    fn restore(&self, held: &Held) -> Result<(), RunError> {
        restore(self.core, &held.drained)
    }

    fn assert_alarms(&self, arns: &[String], states: &[String]) -> Result<Begun, RunError> {
        let demands: Vec<Demand> =
            arns.iter().map(|arn| Demand::new("cloudwatch:DescribeAlarms", arn.as_str())).collect();
        let parameters = json!({
            "experimentId": self.experiment.id, "actionName": self.name, "alarmArns": arns, "alarmStates": states,
        });
        let asked = self.role.admit(self.core, &demands, "AssertAlarmState", parameters);
        asked.map_err(|fault| refused(&fault))?;
        let registry = self.core.registry();
        for arn in arns {
            let name = arn.parse().ok().and_then(|arn| experiments::alarm_named(&arn));
            let alarm = name.as_deref().and_then(|name| registry.alarms.get(name));
            let failure = match alarm {
                None => format!("The alarm {arn} was not found."),
                Some(alarm) => {
                    let state = alarm.state.state.to_string();
                    if states.contains(&state) {
                        continue;
                    }
                    format!("The alarm {} is in state {state}, not {}.", alarm.name, states.join(" or "))
                }
            };
            return Err(RunError::new(ErrorCode::ConfigurationFailure, failure));
        }
        Ok(Begun::default())
    }
}

/// Gives back what an action held.
pub(super) async fn end(core: &Arc<Core>, held: Held) -> Result<(), RunError> {
    let mut failure = restore(core, &held.drained).err();
    if let Some(injector) = core.fault_injector() {
        for id in held.faults {
            if let Err(error) = injector.end(id).await {
                failure.get_or_insert_with(|| {
                    let reason = format!("A fault could not be ended before its deadline: {error}");
                    RunError::new(ErrorCode::DependentServiceFailure, reason)
                });
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

fn restore(core: &Core, drained: &[String]) -> Result<(), RunError> {
    if drained.is_empty() {
        return Ok(());
    }
    let written = core.change::<_, RegistryError>(|registry| {
        for cluster in drained {
            undrain(registry, cluster);
        }
        Ok(())
    });
    written.map_err(|error| not_written(&error))
}

/// A drained container instance takes tasks again. No role is asked: what an experiment did is undone whatever has
/// become of its role.
pub(super) fn undrain(registry: &mut Registry, cluster: &str) {
    registry.container_instances.update(cluster, |instance| {
        if instance.status == InstanceStatus::Draining {
            instance.status = InstanceStatus::Active;
            instance.version += 1;
        }
    });
}

fn lasts(lasting: Duration, held: Held) -> Begun {
    Begun { until: Some(wall_clock::now() + lasting), held }
}

/// The cluster's name in the ARN of a task or a service.
fn cluster_of(arn: &Arn) -> &str {
    arn.resource().split('/').nth(1).unwrap_or_default()
}

fn not_written(error: &RegistryError) -> RunError {
    tracing::error!(%error, "an experiment could not be written down");
    RunError::new(ErrorCode::InternalFailure, "An internal error occurred.")
}

fn not_injected(error: &FaultError) -> RunError {
    let code = match error {
        FaultError::Invalid(_) => ErrorCode::ConfigurationFailure,
        FaultError::NotFound(_) => ErrorCode::InvalidTarget,
        FaultError::TooMany | FaultError::Failed(_) => ErrorCode::DependentServiceFailure,
    };
    RunError::new(code, error.to_string())
}
