//! A simulation: an agent of the test's runs what the passes decide.

use std::sync::Arc;

use bowline_model::{
    arn::Scope,
    task::{HealthStatus, TaskReport},
    task_definition::TaskDefinition,
};
use proptest::prelude::*;

use super::*;
use crate::{
    ecs::{
        instance::InstanceStatus,
        record::{Deployment, DeploymentState, ServiceRecord, TaskDefinitionRecord},
    },
    registry::Cluster,
};

const TICK: Duration = Duration::from_millis(250);

struct Simulation {
    registry: Registry,
    histories: Histories,
    now: Timestamp,
    ids: u8,
    service: Arn,
    /// From its record until a task runs.
    start_time: Duration,
}

impl Simulation {
    fn new(count: u32) -> Self {
        let scope = Scope::default();
        let service = scope.arn("ecs", "service/c/web");
        let mut registry = Registry::default();
        let row = Service {
            arn: service.clone(),
            name: "web".into(),
            cluster: "c".into(),
            task_definition: scope.arn("ecs", "task-definition/web:1"),
            deployment: Default::default(),
            desired_count: count,
            rolling: RollingBounds::default(),
            connect: None,
            targets: Vec::new(),
            assign_public_ip: false,
            shift: None,
        };
        registry.services.put(service.as_str(), row);
        let now = bowline_plumbing::wall_clock::now();
        Self { registry, histories: Histories::default(), now, ids: 0, service, start_time: Duration::ZERO }
    }

    fn pass(&mut self) -> Pass {
        let ids = &mut self.ids;
        pass(&mut self.registry, &mut self.histories, self.now, || {
            *ids += 1;
            TaskId::from_random([*ids; 16])
        })
    }

    fn report(&mut self, id: &TaskId, status: TaskStatus) {
        let report = TaskReport {
            id: id.clone(),
            at: self.now,
            status,
            health: HealthStatus::Unknown,
            containers: Vec::new(),
            inbound: Vec::new(),
            published: Vec::new(),
            proxy_ready: false,
            stopped_reason: None,
            stop_code: None,
            shim_pid: None,
            warnings: Vec::new(),
        };
        self.registry.tasks.update(id.as_str(), |task| task.report = Some(Arc::new(report)));
    }

    fn tasks(&self) -> Vec<TaskRecord> {
        self.registry.tasks.values().map(|task| (**task).clone()).collect()
    }

    /// The agent does what it was told; then a pass.
    fn tick(&mut self) -> Pass {
        for task in self.tasks() {
            if task.desired == DesiredStatus::Stopped {
                self.report(&task.id, TaskStatus::Stopped);
            } else if self.now.since(task.created_at) >= self.start_time {
                self.report(&task.id, TaskStatus::Running);
            }
        }
        self.now = self.now + TICK;
        self.pass()
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    fn available(&self) -> usize {
        self.tasks().iter().filter(|task| task.available()).count()
    }

    fn service(&mut self, change: impl FnOnce(&mut Service)) {
        self.registry.services.update(self.service.clone().as_str(), change);
    }

    /// What was asked for of the service, with this deployment configuration.
    fn record(&mut self, configuration: bowline_aws::ecs::DeploymentConfiguration) {
        let request = bowline_aws::ecs::CreateServiceRequest {
            deployment_configuration: Some(configuration.clone()),
            ..Default::default()
        };
        let record = ServiceRecord {
            request: request.clone(),
            created_at: self.now,
            created_by: String::new(),
            status: ServiceStatus::Active,
            deployments: vec![Deployment {
                id: Default::default(),
                request: request.clone(),
                task_definition: Scope::default().arn("ecs", "task-definition/web:2"),
                created_at: self.now,
                updated_at: self.now,
                finished_at: None,
                state: DeploymentState::InProgress,
                reason: String::new(),
                failed_tasks: 0,
                source: None,
                stage: None,
                hooks: Vec::new(),
                breaker_failures: 0,
                triggered_alarms: Vec::new(),
                rollback: None,
            }],
        };
        self.registry.service_records.put(self.service.as_str(), record);
    }

    fn steady(&self) -> bool {
        is_steady(&self.registry, self.registry.services.get(self.service.as_str()).unwrap())
    }
}

#[test]
fn scale_in_drains_before_it_stops() {
    let mut mesh = Simulation::new(3);
    mesh.pass();
    mesh.ticks(8);
    assert!(mesh.steady());
    mesh.service(|service| service.desired_count = 1);
    let pass = mesh.tick();
    let leaving: Vec<_> = mesh.tasks().into_iter().filter(|task| task.draining_since.is_some()).collect();
    assert_eq!(leaving.len(), 2);
    assert!(leaving.iter().all(|task| task.desired == DesiredStatus::Running), "told to stop at once");
    assert!(pass.again_in.is_some_and(|delay| delay <= DRAIN));
    mesh.ticks(8);
    assert_eq!(mesh.tasks().len(), 1);
    assert!(mesh.steady());
}

#[test]
fn scale_out_starts_more() {
    let mut mesh = Simulation::new(1);
    mesh.pass();
    mesh.ticks(8);
    mesh.service(|service| service.desired_count = 4);
    mesh.ticks(8);
    assert_eq!(mesh.available(), 4);
}

#[test]
fn tasks_of_a_service_that_is_gone_are_stopped_and_nothing_of_them_stays() {
    let mut mesh = Simulation::new(2);
    mesh.pass();
    mesh.ticks(8);
    mesh.registry.services.remove(mesh.service.as_str());
    mesh.tick();
    assert!(mesh.tasks().iter().all(|task| task.desired == DesiredStatus::Stopped));
    mesh.ticks(2);
    assert!(mesh.tasks().is_empty());
    assert!(mesh.histories.by_owner.is_empty() && mesh.histories.steady.is_empty());
}

#[test]
fn an_inactive_definition_goes_with_the_last_task_of_it_and_an_active_one_stays() {
    let mut mesh = Simulation::new(2);
    let [inactive, active] = [1, 2].map(|revision| {
        let arn = Scope::default().arn("ecs", format_args!("task-definition/web:{revision}"));
        let containers = Vec::new();
        let row =
            TaskDefinition { arn, family: "web".into(), revision, containers, limits: Default::default() };
        mesh.registry.task_definitions.put(row.arn.as_str(), row.clone());
        row.arn
    });
    for (arn, ended) in [(&inactive, Some(mesh.now)), (&active, None)] {
        let record = TaskDefinitionRecord {
            request: Default::default(),
            registered_at: mesh.now,
            registered_by: String::new(),
            deregistered_at: ended,
            delete_requested_at: ended,
        };
        mesh.registry.task_definition_records.put(arn.as_str(), record);
    }
    let has = |mesh: &Simulation, arn: &Arn| {
        let record = mesh.registry.task_definition_records.get(arn.as_str());
        assert_eq!(record.is_some(), mesh.registry.task_definitions.get(arn.as_str()).is_some());
        record.is_some()
    };
    mesh.pass();
    mesh.ticks(8);
    mesh.registry.services.remove(mesh.service.as_str());
    mesh.tick();
    assert!(!mesh.tasks().is_empty() && has(&mesh, &inactive));
    mesh.ticks(2);
    assert!(mesh.tasks().is_empty() && !has(&mesh, &inactive) && has(&mesh, &active));
}

#[test]
fn the_third_failure_backs_off_and_health_forgives() {
    let mut mesh = Simulation::new(1);
    mesh.pass();
    for failure in 1..=3 {
        let id = mesh.tasks()[0].id.clone();
        mesh.report(&id, TaskStatus::Stopped);
        let pass = mesh.pass();
        assert_eq!(mesh.tasks().len(), usize::from(failure < 3), "failure {failure}");
        assert_eq!(pass.again_in.is_some(), failure == 3);
    }
    mesh.now = mesh.now + Duration::from_secs(1);
    mesh.pass();
    assert_eq!(mesh.tasks().len(), 1);
    mesh.ticks(8);
    let id = mesh.tasks()[0].id.clone();
    mesh.report(&id, TaskStatus::Stopped);
    mesh.pass();
    assert_eq!(mesh.tasks().len(), 1, "one that was healthy is replaced at once");
}

#[test]
fn the_end_of_a_draining_task_is_no_failure() {
    let mut mesh = Simulation::new(1);
    mesh.pass();
    mesh.ticks(8);
    mesh.service(|service| service.desired_count = 0);
    mesh.tick();
    let id = mesh.tasks()[0].id.clone();
    mesh.report(&id, TaskStatus::Stopped);
    let pass = mesh.pass();
    assert!(mesh.tasks().is_empty());
    assert!(pass.events.iter().all(|event| !event.message.contains("stopped:")), "{:?}", pass.events);
}

#[test]
fn a_protected_task_stays_until_its_protection_is_over() {
    let mut mesh = Simulation::new(2);
    mesh.pass();
    mesh.ticks(8);
    let id = mesh.tasks()[1].id.clone();
    let until = mesh.now + Duration::from_secs(60);
    mesh.registry.tasks.update(id.as_str(), |task| task.protected_until = Some(until));
    mesh.service(|service| service.desired_count = 0);
    mesh.ticks(8);
    assert_eq!(mesh.tasks().iter().map(|task| &task.id).collect::<Vec<_>>(), [&id]);
    let pass = mesh.tick();
    assert!(pass.again_in.is_some_and(|delay| delay <= Duration::from_secs(60)), "nobody looks again");
    mesh.now = until;
    mesh.ticks(8);
    assert!(mesh.tasks().is_empty());
}

#[test]
fn a_draining_machine_keeps_what_the_minimum_needs_and_fills_up_when_it_is_back() {
    let mut mesh = Simulation::new(4);
    let scope = Scope::default();
    let cluster = Cluster {
        arn: scope.arn("ecs", "cluster/c"),
        name: "c".into(),
        default_namespace: None,
        request: Default::default(),
    };
    mesh.registry.clusters.put("c", cluster);
    mesh.record(Default::default());
    mesh.service(|service| service.rolling.minimum_healthy_percent = 50);
    mesh.pass();
    mesh.ticks(8);
    assert_eq!(mesh.available(), 4);
    mesh.registry.container_instances.update("c", |machine| machine.status = InstanceStatus::Draining);
    let mut told = 0;
    for _ in 0..12 {
        let pass = mesh.tick();
        told += pass.events.iter().filter(|event| event.message.contains("unable to place")).count();
    }
    assert_eq!((mesh.available(), mesh.tasks().len()), (2, 2));
    assert_eq!(told, 1, "it is told once");
    mesh.registry.container_instances.update("c", |machine| machine.status = InstanceStatus::Active);
    mesh.ticks(8);
    assert_eq!(mesh.available(), 4);
    mesh.registry.clusters.remove("c");
    mesh.pass();
    assert!(mesh.registry.container_instances.is_empty());
}

mod whole_sets;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A new revision is rolled out while tasks fail: what this takes away never
    /// leaves fewer than were wanted, and in the end there is only the new one.
    #[test]
    fn a_rollout_never_takes_below_the_minimum(
        count in 1_u32..5,
        failures in proptest::collection::vec(proptest::option::weighted(0.2, any::<prop::sample::Index>()), 24),
    ) {
        let mut mesh = Simulation::new(count);
        mesh.pass();
        mesh.ticks(8);
        mesh.start_time = TICK * 4;
        let next = Scope::default().arn("ecs", "task-definition/web:2");
        mesh.service(|service| service.task_definition = next);
        for failure in failures {
            let tasks = mesh.tasks();
            if let (Some(index), false) = (failure, tasks.is_empty()) {
                let id = tasks[index.index(tasks.len())].id.clone();
                mesh.report(&id, TaskStatus::Stopped);
                mesh.pass();
            }
            let before = mesh.available();
            // The agent's part of the tick only adds: what is missing after it was taken by the pass.
            mesh.tick();
            prop_assert!(
                mesh.available() >= before.min(count as usize),
                "{before} were available, {} are", mesh.available()
            );
        }
        mesh.ticks(60);
        prop_assert!(mesh.steady());
    }
}
