//! The containers of a task as a state machine without I/O: what happened goes
//! in, what to do next comes out. The clock is an argument.

use std::time::{Duration, Instant};

use bowline_model::task::{
    ContainerDependency, ContainerReport, ContainerSpec, DependencyCondition, HealthStatus, StopCode,
    TaskStatus,
};

use super::health::Health;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its dependencies, or the sidecar, are not there yet.
    Waiting,
    /// It has been told to start.
    Starting,
    /// Its program runs.
    Running,
    /// Its program has ended, or never ran.
    Stopped,
}

/// What to do with the container of this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start it.
    Start(usize),
    /// Ask it to end (SIGTERM).
    Terminate(usize),
    /// End it (SIGKILL).
    Kill(usize),
    /// Run its health check.
    Check(usize),
}

/// A container and what is known of it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) spec: ContainerSpec,
    pub(crate) phase: Phase,
    pub(crate) pid: Option<u32>,
    started_at: Option<Instant>,
    terminated_at: Option<Instant>,
    killed: bool,
    exit_code: Option<i32>,
    reason: Option<String>,
    failed_to_start: bool,
    health: Option<Health>,
}

impl Container {
    /// It is the log router: it has no program of its own.
    pub(crate) fn is_served(&self) -> bool {
        self.spec.firelens.is_some()
    }

    fn health_status(&self) -> HealthStatus {
        match self.is_served() && self.phase == Phase::Running {
            true => HealthStatus::Healthy,
            false => self.health.as_ref().map(Health::status).unwrap_or_default(),
        }
    }
}

/// As ECS has it, containers start after their task's log router, and end before it.
fn after_router(spec: &ContainerSpec, router: Option<&str>) -> ContainerSpec {
    let mut spec = spec.clone();
    if let Some(router) = router.filter(|_| spec.firelens.is_none())
        && !spec.depends_on.iter().any(|dependency| dependency.container == router)
    {
        let condition = DependencyCondition::Start;
        spec.depends_on.push(ContainerDependency { container: router.to_owned(), condition });
    }
    spec
}

/// A task's containers.
#[derive(Debug)]
pub(crate) struct Containers {
    list: Vec<Container>,
}

/// Whether a dependency lets its container start.
enum Dependency {
    Met,
    Pending(Option<Instant>),
    Never(String),
}

impl Containers {
    pub(crate) fn new(specs: &[ContainerSpec]) -> Self {
        let router = specs.iter().find(|spec| spec.firelens.is_some()).map(|spec| spec.name.as_str());
        let list = specs
            .iter()
            .map(|spec| Container {
                // Nothing runs in a log router that could be asked.
                health: spec.health_check.clone().filter(|_| spec.firelens.is_none()).map(Health::new),
                spec: after_router(spec, router),
                phase: Phase::Waiting,
                pid: None,
                started_at: None,
                terminated_at: None,
                killed: false,
                exit_code: None,
                reason: None,
                failed_to_start: false,
            })
            .collect();
        Self { list }
    }

    pub(crate) fn get(&self, index: usize) -> &Container {
        &self.list[index]
    }

    /// The running container of this name.
    pub(crate) fn running(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|c| c.spec.name == name && c.phase == Phase::Running)
    }

    /// What is due while the task should run: starts, and health checks.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for index in 0..self.list.len() {
            if self.list[index].phase == Phase::Waiting {
                match self.dependencies(index, now) {
                    Dependency::Met => {
                        self.list[index].phase = Phase::Starting;
                        actions.push(Action::Start(index));
                    }
                    Dependency::Pending(_) => {}
                    Dependency::Never(reason) => self.failed(index, reason),
                }
            }
            let container = &mut self.list[index];
            if container.phase == Phase::Running
                && let Some(health) = &mut container.health
                && health.begin_if_due(now)
            {
                actions.push(Action::Check(index));
            }
        }
        actions
    }

    /// What is due while the task is being stopped. A container is asked to
    /// end once those that depend on it have ended, and killed when its
    /// `stopTimeout` has passed.
    pub(crate) fn due_for_stop(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for index in 0..self.list.len() {
            if self.list[index].phase == Phase::Waiting {
                self.list[index].phase = Phase::Stopped;
            }
            if self.list[index].phase != Phase::Running || self.has_running_dependents(index) {
                continue;
            }
            let container = &mut self.list[index];
            match container.terminated_at {
                None => {
                    container.terminated_at = Some(now);
                    actions.push(Action::Terminate(index));
                }
                Some(at) if now >= at + container.spec.stop_timeout && !container.killed => {
                    container.killed = true;
                    actions.push(Action::Kill(index));
                }
                Some(_) => {}
            }
        }
        actions
    }

    /// When something is due next, if nothing happens before.
    pub(crate) fn next_deadline(&self, now: Instant, stopping: bool) -> Option<Instant> {
        let deadline = |(index, container): (usize, &Container)| match container.phase {
            Phase::Waiting if !stopping => match self.dependencies(index, now) {
                Dependency::Pending(until) => until,
                _ => Some(now),
            },
            Phase::Running if stopping => {
                let at = container.terminated_at?;
                (!container.killed).then(|| at + container.spec.stop_timeout)
            }
            Phase::Running => container.health.as_ref()?.next_check(),
            _ => None,
        };
        self.list.iter().enumerate().filter_map(deadline).min()
    }

    pub(crate) fn started(&mut self, index: usize, pid: Option<u32>, now: Instant) {
        let container = &mut self.list[index];
        container.phase = Phase::Running;
        container.pid = pid;
        container.started_at = Some(now);
        if let Some(health) = &mut container.health {
            health.started(now);
        }
    }

    /// It could not be started; `reason` in AWS's words.
    pub(crate) fn failed(&mut self, index: usize, reason: String) {
        let container = &mut self.list[index];
        container.phase = Phase::Stopped;
        container.failed_to_start = true;
        container.reason = Some(reason);
    }

    pub(crate) fn exited(&mut self, index: usize, code: i32, reason: Option<String>) {
        let container = &mut self.list[index];
        if container.phase == Phase::Stopped {
            return;
        }
        container.phase = Phase::Stopped;
        container.exit_code = Some(code);
        container.reason = container.reason.take().or(reason);
        container.pid = None;
    }

    pub(crate) fn checked(&mut self, index: usize, healthy: bool, now: Instant) {
        if let Some(health) = &mut self.list[index].health {
            health.done(healthy, now);
        }
    }

    /// Why the task must stop by itself, if it must. `of_service`: a service's
    /// scheduler replaces a task whose health checks fail; a standalone task goes on.
    pub(crate) fn failure(&self, of_service: bool) -> Option<(StopCode, String)> {
        let essential = || self.list.iter().filter(|container| container.spec.essential);
        if let Some(failed) = essential().find(|container| container.failed_to_start) {
            return Some((StopCode::TaskFailedToStart, failed.reason.clone().unwrap_or_default()));
        }
        if let Some(ended) = essential().find(|container| container.phase == Phase::Stopped) {
            let mut reason = "Essential container in task exited".to_owned();
            if let Some(more) = &ended.reason {
                reason = format!("{reason}: {more}");
            }
            return Some((StopCode::EssentialContainerExited, reason));
        }
        if of_service && self.health() == HealthStatus::Unhealthy {
            let reason = "Task failed container health checks".to_owned();
            return Some((StopCode::ServiceSchedulerInitiated, reason));
        }
        if !self.list.is_empty() && self.all_stopped() {
            return Some((StopCode::EssentialContainerExited, "All containers in task exited".to_owned()));
        }
        None
    }

    pub(crate) fn all_stopped(&self) -> bool {
        self.list.iter().all(|container| container.phase == Phase::Stopped)
    }

    /// Every essential container runs.
    pub(crate) fn essential_run(&self) -> bool {
        self.list.iter().filter(|c| c.spec.essential).all(|c| c.phase == Phase::Running)
    }

    /// The worst of the essential containers' health.
    pub(crate) fn health(&self) -> HealthStatus {
        let mut worst = None;
        for container in self.list.iter().filter(|container| container.spec.essential) {
            let Some(health) = &container.health else { continue };
            let rank = |status| match status {
                HealthStatus::Unhealthy => 2,
                HealthStatus::Unknown => 1,
                HealthStatus::Healthy => 0,
            };
            if worst.is_none_or(|known| rank(health.status()) > rank(known)) {
                worst = Some(health.status());
            }
        }
        worst.unwrap_or_default()
    }

    pub(crate) fn reports(&self, stopping: bool) -> Vec<ContainerReport> {
        self.list
            .iter()
            .map(|container| ContainerReport {
                name: container.spec.name.clone(),
                status: match container.phase {
                    Phase::Waiting | Phase::Starting => TaskStatus::Pending,
                    Phase::Running if stopping => TaskStatus::Stopping,
                    Phase::Running => TaskStatus::Running,
                    Phase::Stopped => TaskStatus::Stopped,
                },
                health: container.health_status(),
                exit_code: container.exit_code,
                reason: container.reason.clone(),
                pid: container.pid,
            })
            .collect()
    }

    fn has_running_dependents(&self, index: usize) -> bool {
        let name = &self.list[index].spec.name;
        self.list.iter().any(|other| {
            matches!(other.phase, Phase::Starting | Phase::Running)
                && other.spec.depends_on.iter().any(|dependency| &dependency.container == name)
        })
    }

    fn dependencies(&self, index: usize, now: Instant) -> Dependency {
        let mut earliest: Option<Instant> = None;
        let mut pending = false;
        for wanted in &self.list[index].spec.depends_on {
            match self.dependency(&wanted.container, wanted.condition, now) {
                Dependency::Met => {}
                Dependency::Never(reason) => return Dependency::Never(reason),
                Dependency::Pending(until) => {
                    pending = true;
                    earliest = match (earliest, until) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                }
            }
        }
        if pending { Dependency::Pending(earliest) } else { Dependency::Met }
    }

    fn dependency(&self, name: &str, condition: DependencyCondition, now: Instant) -> Dependency {
        let never = |why: String| {
            Dependency::Never(format!(
                "CannotStartContainerError: dependency on container {name} not met: {why}"
            ))
        };
        let Some(other) = self.list.iter().find(|container| container.spec.name == name) else {
            return never("no such container".to_owned());
        };
        if other.failed_to_start {
            return never("it did not start".to_owned());
        }
        let ended = other.phase == Phase::Stopped;
        let met = match condition {
            DependencyCondition::Start => ended || other.phase == Phase::Running,
            DependencyCondition::Complete => ended,
            DependencyCondition::Success if ended && other.exit_code != Some(0) => {
                return never(format!("it exited with code {}", other.exit_code.unwrap_or_default()));
            }
            DependencyCondition::Success => ended,
            DependencyCondition::Healthy if ended => return never("it exited".to_owned()),
            DependencyCondition::Healthy if other.is_served() => other.phase == Phase::Running,
            DependencyCondition::Healthy => match other.health.as_ref().map(Health::status) {
                None => return never("it has no health check".to_owned()),
                Some(HealthStatus::Unhealthy) => return never("it is unhealthy".to_owned()),
                Some(status) => status == HealthStatus::Healthy,
            },
        };
        if met {
            return Dependency::Met;
        }
        // `startTimeout` stands on the container that is waited for (ECS's documentation).
        let until = other.started_at.zip(other.spec.start_timeout).map(|(at, timeout)| at + timeout);
        match until {
            Some(until) if now >= until => {
                let timeout = other.spec.start_timeout.map_or(0, |timeout: Duration| timeout.as_secs());
                never(format!("its startTimeout of {timeout} s has passed"))
            }
            until => Dependency::Pending(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::task::{FireLensSpec, ResourceLimits};

    fn container(name: &str, depends_on: &[(&str, DependencyCondition)]) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: String::new(),
            command: vec!["true".to_owned()],
            working_directory: None,
            environment: Default::default(),
            secrets: Default::default(),
            essential: true,
            health_check: None,
            depends_on: depends_on
                .iter()
                .map(|(name, condition)| ContainerDependency {
                    container: (*name).to_owned(),
                    condition: *condition,
                })
                .collect(),
            stop_timeout: Duration::from_secs(30),
            start_timeout: None,
            ulimits: Vec::new(),
            mounts: Vec::new(),
            limits: ResourceLimits::default(),
            readonly_root: false,
            log: None,
            firelens: None,
        }
    }

    #[test]
    fn a_log_router_is_served_before_others_start_and_after_they_end() {
        let now = Instant::now();
        let mut router = container("log_router", &[]);
        router.command = Vec::new();
        router.firelens = Some(FireLensSpec { metadata: true, config_files: Vec::new() });
        let waits = container("waits", &[("log_router", DependencyCondition::Healthy)]);
        let mut containers = Containers::new(&[container("app", &[]), waits, router]);
        assert_eq!(containers.due(now), [Action::Start(2)]);
        assert!(containers.get(2).is_served());
        containers.started(2, None, now);
        assert_eq!(containers.due(now), [Action::Start(0), Action::Start(1)]);
        assert_eq!(containers.reports(false)[2].health, HealthStatus::Healthy);
        containers.started(0, None, now);
        containers.started(1, None, now);
        assert_eq!(containers.due_for_stop(now), [Action::Terminate(0), Action::Terminate(1)]);
        containers.exited(0, 0, None);
        assert_eq!(containers.due_for_stop(now), []);
        containers.exited(1, 0, None);
        assert_eq!(containers.due_for_stop(now), [Action::Terminate(2)]);
    }

    #[test]
    fn starts_in_the_order_of_dependencies_and_stops_in_the_reverse() {
        let now = Instant::now();
        let mut containers =
            Containers::new(&[container("app", &[("db", DependencyCondition::Start)]), container("db", &[])]);
        assert_eq!(containers.due(now), [Action::Start(1)]);
        assert_eq!(containers.due(now), []);
        containers.started(1, None, now);
        assert_eq!(containers.due(now), [Action::Start(0)]);
        containers.started(0, None, now);
        assert!(containers.essential_run());
        assert_eq!(containers.due_for_stop(now), [Action::Terminate(0)]);
        let late = now + Duration::from_secs(30);
        assert_eq!(containers.next_deadline(now, true), Some(late));
        assert_eq!(containers.due_for_stop(late), [Action::Kill(0)]);
        containers.exited(0, 137, None);
        assert_eq!(containers.due_for_stop(late), [Action::Terminate(1)]);
        containers.exited(1, 0, None);
        assert!(containers.all_stopped());
    }

    #[test]
    fn success_is_a_code_of_zero_and_a_failure_of_it_fails_the_task() {
        let now = Instant::now();
        let mut migrate = container("migrate", &[]);
        migrate.essential = false;
        let specs = [migrate, container("app", &[("migrate", DependencyCondition::Success)])];
        let mut containers = Containers::new(&specs);
        assert_eq!(containers.due(now), [Action::Start(0)]);
        containers.started(0, None, now);
        assert_eq!(containers.due(now), []);
        containers.exited(0, 3, None);
        assert_eq!(containers.due(now), []);
        let (code, reason) = containers.failure(true).expect("fails");
        assert_eq!(code, StopCode::TaskFailedToStart);
        assert!(reason.contains("it exited with code 3"), "{reason}");
    }

    #[test]
    fn gives_up_on_a_dependency_after_its_start_timeout() {
        let now = Instant::now();
        let mut slow = container("slow", &[]);
        slow.start_timeout = Some(Duration::from_secs(5));
        let mut containers =
            Containers::new(&[slow, container("app", &[("slow", DependencyCondition::Complete)])]);
        assert_eq!(containers.due(now), [Action::Start(0)]);
        containers.started(0, None, now);
        let late = now + Duration::from_secs(5);
        assert_eq!(containers.next_deadline(now, false), Some(late));
        assert_eq!(containers.due(late), []);
        assert!(containers.failure(true).expect("fails").1.contains("startTimeout"));
    }

    #[test]
    fn an_essential_exit_stops_the_task_and_another_does_not() {
        let now = Instant::now();
        let mut helper = container("helper", &[]);
        helper.essential = false;
        let mut containers = Containers::new(&[container("app", &[]), helper]);
        containers.due(now);
        containers.started(0, None, now);
        containers.started(1, None, now);
        containers.exited(1, 1, None);
        assert_eq!(containers.failure(true), None);
        containers.exited(0, 0, None);
        let reason = "Essential container in task exited".to_owned();
        assert_eq!(containers.failure(true), Some((StopCode::EssentialContainerExited, reason)));
    }
}
