//! Whole sets that take one another's place.

use bowline_aws::ecs::{
    CanaryConfiguration, DeploymentAlarms, DeploymentCircuitBreaker, DeploymentConfiguration,
    DeploymentStrategy,
};
use bowline_model::{
    rollout::shift::{Share, Stage},
    task_definition::TaskDefinition,
};

use super::*;
use crate::ecs::rollback;

impl Simulation {
    /// A service of so many tasks whose first deployment is complete.
    fn deployed(count: u32, configuration: DeploymentConfiguration) -> Self {
        let mut mesh = Self::new(count);
        mesh.record(configuration);
        let arn = Scope::default().arn("ecs", "task-definition/web:2");
        let definition = TaskDefinition {
            arn: arn.clone(),
            family: "web".into(),
            revision: 2,
            containers: Vec::new(),
            limits: Default::default(),
        };
        mesh.registry.task_definitions.put(arn.as_str(), definition);
        mesh.service(|service| service.task_definition = arn);
        let service = mesh.service.clone();
        mesh.registry
            .service_records
            .update(service.as_str(), |record| record.request.desired_count = Some(i64::from(count)));
        mesh.pass();
        mesh.ticks(8);
        assert!(mesh.steady());
        mesh
    }

    /// Another deployment begins.
    fn deploy(&mut self, number: u64) {
        let (arn, now) = (self.service.clone(), self.now);
        let id = DeploymentId::from_random(number);
        self.service(|service| service.deployment = id.clone());
        self.registry.service_records.update(arn.as_str(), |record| {
            let mut next = record.deployments[0].clone();
            for earlier in &mut record.deployments {
                if earlier.state == DeploymentState::InProgress {
                    earlier.state = DeploymentState::Superseded;
                }
            }
            (next.id, next.created_at, next.state) = (id, now, DeploymentState::InProgress);
            record.deployments.insert(0, next);
        });
    }

    fn row(&self) -> Service {
        (**self.registry.services.get(self.service.as_str()).expect("the service")).clone()
    }

    fn shift(&self) -> Shift {
        self.row().shift.expect("a shift")
    }

    fn running(&self, number: u64) -> usize {
        let id = DeploymentId::from_random(number);
        let of = |task: &TaskRecord| matches!(&task.owner, TaskOwner::Service { deployment, .. } if *deployment == id);
        self.tasks().iter().filter(|task| of(task) && task.available()).count()
    }

    fn state(&self, number: u64) -> DeploymentState {
        let id = DeploymentId::from_random(number);
        let record = self.registry.service_records.get(self.service.as_str()).expect("the record");
        record.deployments.iter().find(|one| one.id == id).expect("the deployment").state
    }
}

fn canary(breaker: bool) -> DeploymentConfiguration {
    DeploymentConfiguration {
        strategy: Some(DeploymentStrategy::Canary),
        canary_configuration: Some(CanaryConfiguration {
            canary_percent: Some(5.0),
            canary_bake_time_in_minutes: Some(10),
        }),
        deployment_circuit_breaker: breaker.then(|| DeploymentCircuitBreaker {
            enable: true,
            rollback: true,
            ..DeploymentCircuitBreaker::default()
        }),
        alarms: Some(DeploymentAlarms { alarm_names: vec!["errors".into()], enable: true, rollback: true }),
        ..DeploymentConfiguration::default()
    }
}

#[test]
fn a_blue_green_deployment_bakes_before_the_old_set_goes() {
    let mut mesh = Simulation::deployed(
        2,
        DeploymentConfiguration {
            strategy: Some(DeploymentStrategy::BlueGreen),
            bake_time_in_minutes: Some(1),
            ..DeploymentConfiguration::default()
        },
    );
    mesh.deploy(1);
    mesh.ticks(24);
    assert_eq!((mesh.shift().stage, mesh.shift().production), (Stage::BakeTime, Share::ALL));
    assert_eq!(mesh.available(), 4, "the whole new set beside the old one");
    assert!(!mesh.steady());
    let pass = mesh.tick();
    assert!(pass.again_in.is_some_and(|delay| delay <= Duration::from_secs(60)), "nobody looks again");
    mesh.now = mesh.now + Duration::from_secs(60);
    mesh.ticks(8);
    assert_eq!((mesh.running(1), mesh.tasks().len()), (2, 2));
    assert!(mesh.steady() && mesh.state(1) == DeploymentState::Completed);
}

#[test]
fn what_fails_of_the_old_set_is_replaced_while_it_has_traffic() {
    let mut mesh = Simulation::deployed(2, canary(false));
    mesh.deploy(1);
    mesh.ticks(24);
    assert_eq!(mesh.shift().production, Share::from_tenths(50));
    let old = mesh.tasks()[0].id.clone();
    mesh.report(&old, TaskStatus::Stopped);
    mesh.pass();
    mesh.ticks(8);
    assert_eq!((mesh.available(), mesh.running(1)), (4, 2));
    // Scaled, both sets are.
    mesh.service(|service| service.desired_count = 3);
    mesh.ticks(8);
    assert_eq!((mesh.available(), mesh.running(1)), (6, 3));
}

#[test]
fn an_alarm_takes_a_canary_back_within_five_seconds() {
    let mut mesh = Simulation::deployed(10, canary(false));
    mesh.deploy(1);
    mesh.ticks(24);
    assert_eq!((mesh.shift().production, mesh.running(1)), (Share::from_tenths(50), 10));
    mesh.histories.alarms.insert("another".into());
    mesh.tick();
    assert!(!mesh.shift().returning);
    mesh.histories.alarms.insert("errors".into());
    let decided = mesh.now;
    mesh.tick();
    assert_eq!((mesh.shift().production, mesh.running(1)), (Share::NONE, 10), "traffic goes first");
    while mesh.state(1) != DeploymentState::RollbackSuccessful {
        assert!(mesh.available() >= 10);
        mesh.tick();
        assert!(mesh.now.since(decided) < Duration::from_secs(5), "{:?}", mesh.row().shift);
    }
    assert_eq!((mesh.running(1), mesh.tasks().len()), (0, 10));
    assert!(mesh.steady());
}

#[test]
fn a_canary_that_cannot_come_up_is_rolled_back_by_itself() {
    let mut mesh = Simulation::deployed(2, canary(true));
    mesh.deploy(1);
    mesh.pass();
    let before: Vec<_> = mesh.tasks().into_iter().map(|task| task.id).collect();
    for _ in 0..40 {
        let new: Vec<_> =
            mesh.tasks().into_iter().filter(|task| task.status() == TaskStatus::Provisioning).collect();
        for task in new {
            mesh.report(&task.id, TaskStatus::Stopped);
        }
        mesh.now = mesh.now + TICK;
        mesh.pass();
        if mesh.state(1) == DeploymentState::RollbackSuccessful {
            break;
        }
    }
    assert_eq!(mesh.state(1), DeploymentState::RollbackSuccessful);
    assert!(mesh.steady());
    assert!(mesh.tasks().iter().all(|task| before.contains(&task.id)), "what served was not touched");
}

#[test]
fn a_third_deployment_begins_from_the_first_set() {
    let mut mesh = Simulation::deployed(2, canary(false));
    mesh.deploy(1);
    mesh.ticks(24);
    assert_eq!(mesh.shift().production, Share::from_tenths(50));
    mesh.deploy(2);
    mesh.tick();
    let shift = mesh.shift();
    assert_eq!((shift.stage, shift.production), (Stage::ReconcileService, Share::NONE));
    assert_eq!(shift.blue.deployment, DeploymentId::default());
    mesh.ticks(24);
    assert_eq!((mesh.running(1), mesh.running(2), mesh.available()), (0, 2, 4));
    // Its way back is to the first.
    let (service, now) = (mesh.service.clone(), mesh.now);
    rollback::begin(&mut mesh.registry, &service, "by hand", now).expect("there is something before");
    mesh.ticks(12);
    assert_eq!((mesh.running(2), mesh.available()), (0, 2));
    assert!(mesh.steady());
}

#[test]
fn a_stopped_deployment_stays_where_it_is() {
    let mut mesh = Simulation::deployed(2, canary(false));
    mesh.deploy(1);
    mesh.ticks(24);
    let (service, now) = (mesh.service.clone(), mesh.now);
    assert!(service::stop_deployment(&mut mesh.registry, &service, "aborted", now));
    mesh.now = mesh.now + Duration::from_secs(3600);
    mesh.ticks(8);
    assert_eq!((mesh.shift().production, mesh.available()), (Share::from_tenths(50), 4));
    let new = mesh.tasks().into_iter().rev().find(|task| task.was_healthy).expect("a new task").id;
    mesh.report(&new, TaskStatus::Stopped);
    mesh.pass();
    mesh.ticks(8);
    assert_eq!(mesh.available(), 3, "nothing of it is started any more");
    mesh.deploy(2);
    mesh.ticks(24);
    assert_eq!((mesh.running(1), mesh.running(2)), (0, 2));
}
