//! Makes the tasks what the services want. Takes no input: it compares the
//! registry with itself (what is desired with what was reported), and may run at
//! any time, any number of times.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bowline_model::{
    arn::Arn,
    clock::Timestamp,
    restart::RestartHistory,
    rollout::{
        self, RolloutTask,
        shift::{self as whole_sets, Revision, Set, Shift},
    },
    sabotage::{Defence, sabotaged},
    service::{DeploymentId, RollingBounds, Service},
    task::{DesiredStatus, TaskId, TaskStatus},
};

pub(crate) mod monitor;
mod shift;
mod start;

use crate::{
    ecs::{
        capacity, instance,
        record::{DeploymentState, ServiceStatus, StoppedTask},
        service,
    },
    registry::{Registry, TaskOwner, TaskRecord},
    stack::lifecycle,
    task_spec,
};

/// From the moment a task's endpoints are published as draining until it is
/// told to stop: time for every proxy to turn away from it.
const DRAIN: Duration = Duration::from_millis(700);

/// How long a task that is over is remembered.
const STOPPED_TASKS_KEPT: Duration = Duration::from_secs(3600);

/// Most tasks that are over and remembered.
const STOPPED_TASKS_MAX: usize = 1_000;

/// A task without a health check counts as healthy after so long.
const PROVEN: Duration = Duration::from_secs(1);

/// Something that people should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was.
    pub at: Timestamp,
    /// The ARN of what it is about.
    pub resource: String,
    /// The service's or gateway's name.
    pub subject: String,
    /// In AWS's words where AWS has some.
    pub message: String,
}

/// What one pass decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// For people.
    pub events: Vec<Event>,
    /// Stacks whose update has failed: they must be made what they were before.
    pub failed_updates: Vec<String>,
    /// When to look again, if nothing changes before.
    pub again_in: Option<Duration>,
}

/// Failure histories by service and deployment, or by load balancer: not kept across a restart,
/// which forgives. What else a pass takes into account besides the registry is here too.
#[derive(Clone, Debug, Default)]
pub struct Histories {
    /// Names of the alarms that are in `ALARM` now: deployments that watch one of them end.
    pub alarms: BTreeSet<String>,
    by_owner: BTreeMap<String, RestartHistory>,
    steady: BTreeMap<String, DeploymentId>,
    /// Those of which it was told that their tasks cannot be placed.
    unplaced: BTreeSet<String>,
}

impl Histories {
    /// Drops those of services and load balancers that are gone.
    fn forget_absent(&mut self, registry: &Registry) {
        let there =
            |key: &str| registry.services.get(key).is_some() || registry.load_balancers.get(key).is_some();
        self.by_owner.retain(|key, _| match key.rsplit_once(' ') {
            Some((arn, digits)) => registry.services.get(arn).is_some_and(|service| {
                let shift = service.shift.iter();
                let of_shift = shift.flat_map(|shift| [&shift.blue.deployment, &shift.green.deployment]);
                of_shift.chain([&service.deployment]).any(|deployment| deployment.digits() == digits)
            }),
            None => there(key),
        });
        self.steady.retain(|key, _| there(key));
        self.unplaced.retain(|key| there(key));
    }
}

/// One pass over everything. `new_task_id` makes ids.
pub fn pass(
    registry: &mut Registry,
    histories: &mut Histories,
    now: Timestamp,
    mut new_task_id: impl FnMut() -> TaskId,
) -> Pass {
    let mut pass = Pass::default();
    instance::follow_clusters(registry, now);
    forget_stopped(registry, histories, now, &mut pass);
    mark_healthy(registry, histories, now, &mut pass);
    monitor::end_failed(registry, &histories.alarms, now, &mut pass);

    let arns: Vec<_> = registry.services.values().map(|service| service.arn.clone()).collect();
    for arn in &arns {
        let Some(service) = registry.services.get(arn.as_str()).cloned() else { continue };
        shift::follow(registry, &service, now, &mut pass);
        let Some(service) = registry.services.get(arn.as_str()).cloned() else { continue };
        let service = &*service;
        let wanted = Wanted {
            subject: &service.name,
            key: service.arn.as_str(),
            owner: TaskOwner::Service {
                service: service.arn.clone(),
                task_definition: service.task_definition.clone(),
                deployment: service.deployment.clone(),
            },
            count: service.desired_count,
            bounds: service.rolling,
            cluster: &service.cluster,
            health_checked: start::is_health_checked(registry, &service.task_definition),
            proxied: task_spec::has_sidecar(registry, service),
            placeable: is_placeable(registry, service),
            shift: service.shift.clone(),
            stopped: is_stopped(registry, service),
        };
        let tasks = registry.tasks_of_service(&service.arn);
        reconcile_owner(registry, histories, wanted, tasks, now, &mut new_task_id, &mut pass);
        announce_steady(registry, histories, service, now, &mut pass);
    }
    let balancers: Vec<_> = registry.load_balancers.values().cloned().collect();
    for balancer in &balancers {
        let wanted = Wanted {
            subject: &balancer.name,
            key: balancer.arn.as_str(),
            owner: TaskOwner::Gateway { load_balancer: balancer.arn.clone() },
            count: 1,
            // Two gateways cannot have the same ports.
            bounds: RollingBounds { minimum_healthy_percent: 0, maximum_percent: 100 },
            cluster: "gateways",
            health_checked: false,
            proxied: true,
            placeable: true,
            shift: None,
            stopped: false,
        };
        let tasks = registry.tasks_of_gateway(&balancer.arn);
        reconcile_owner(registry, histories, wanted, tasks, now, &mut new_task_id, &mut pass);
    }
    stop_orphans(registry);
    finish_draining(registry, now, &mut pass);
    service::finish_draining(registry);
    forget_unused_definitions(registry);
    forget_stopped_tasks(registry, now);
    pass.failed_updates = lifecycle::advance(registry, &histories.alarms, now);
    histories.forget_absent(registry);
    pass
}

/// Drops inactive task definitions that no service wants and no task runs; what was asked for of
/// them is still told.
fn forget_unused_definitions(registry: &mut Registry) {
    let is_inactive = |arn: &str| {
        registry.task_definition_records.get(arn).is_none_or(|record| record.deregistered_at.is_some())
    };
    let inactive: Vec<_> = registry
        .task_definitions
        .iter()
        .map(|(arn, _)| arn.to_owned())
        .filter(|arn| is_inactive(arn))
        .collect();
    let deleted =
        registry.task_definition_records.values().any(|record| record.delete_requested_at.is_some());
    // Mostly there is none, and no need to ask every task.
    if inactive.is_empty() && !deleted {
        return;
    }
    let mut used: BTreeSet<String> = BTreeSet::new();
    used.extend(registry.services.values().map(|service| service.task_definition.to_string()));
    let shifts = registry.services.values().filter_map(|service| service.shift.as_ref());
    used.extend(shifts.map(|shift| shift.blue.task_definition.to_string()));
    used.extend(registry.tasks.values().filter_map(|task| task.owner.task_definition().map(Arn::to_string)));
    for arn in inactive.iter().filter(|arn| !used.contains(*arn)) {
        registry.task_definitions.remove(arn);
    }
    registry
        .task_definition_records
        .retain(|arn, record| record.delete_requested_at.is_none() || used.contains(arn));
}

/// Tasks that are over are told for a while, as AWS does.
fn forget_stopped_tasks(registry: &mut Registry, now: Timestamp) {
    registry.stopped_tasks.retain(|_, stopped| now.since(stopped.put_away_at) < STOPPED_TASKS_KEPT);
    let surplus = registry.stopped_tasks.len().saturating_sub(STOPPED_TASKS_MAX);
    if surplus > 0 {
        let mut oldest: Vec<_> =
            registry.stopped_tasks.iter().map(|(id, task)| (task.put_away_at, id.to_owned())).collect();
        oldest.sort();
        for (_, id) in oldest.into_iter().take(surplus) {
            registry.stopped_tasks.remove(&id);
        }
    }
}

/// What a service or load balancer wants.
struct Wanted<'a> {
    subject: &'a str,
    key: &'a str,
    owner: TaskOwner,
    count: u32,
    bounds: RollingBounds,
    cluster: &'a str,
    health_checked: bool,
    proxied: bool,
    /// There is something to place its tasks on.
    placeable: bool,
    /// A new set of tasks takes the old one's place whole.
    shift: Option<Shift>,
    /// Its deployment has failed or was aborted: no more of its tasks are started.
    stopped: bool,
}

impl Wanted<'_> {
    /// The owner of the tasks of another deployment of the same service.
    fn of(&self, revision: &Revision) -> TaskOwner {
        match &self.owner {
            TaskOwner::Service { service, .. } => TaskOwner::Service {
                service: service.clone(),
                task_definition: revision.task_definition.clone(),
                deployment: revision.deployment.clone(),
            },
            other => other.clone(),
        }
    }

    fn event(&self, at: Timestamp, message: String) -> Event {
        let kind = if matches!(self.owner, TaskOwner::Gateway { .. }) { "gateway" } else { "service" };
        Event { at, resource: self.key.to_owned(), subject: format!("{kind} {}", self.subject), message }
    }
}

/// Drops the records of tasks that are over; counts those that were not told to end.
fn forget_stopped(registry: &mut Registry, histories: &mut Histories, now: Timestamp, pass: &mut Pass) {
    let stopped: Vec<_> =
        registry.tasks.values().filter(|task| task.status() == TaskStatus::Stopped).cloned().collect();
    for task in stopped {
        let (key, subject) = owner_of(registry, &task);
        // One that was draining was on its way out anyway: its end is no failure.
        if task.desired == DesiredStatus::Running && task.draining_since.is_none() {
            let history = histories.by_owner.entry(history_key(&task.owner, &key)).or_default();
            history.failed(task.was_healthy, now);
            if let TaskOwner::Service { service, deployment, .. } = &task.owner {
                service::count_failure(registry, service, deployment, now);
            }
            let reason = task.report.as_ref().and_then(|report| report.stopped_reason.clone());
            let containers = task.report.iter().flat_map(|report| &report.containers);
            let details: Vec<_> = containers
                .filter_map(|container| Some(format!("{}: {}", container.name, container.reason.as_ref()?)))
                .collect();
            let mut message = format!(
                "(task {}) stopped: {}",
                task.id,
                reason.unwrap_or_else(|| "it ended for a reason that is not known".into())
            );
            if !details.is_empty() {
                message.push_str(&format!(" ({})", details.join("; ")));
            }
            pass.events.push(Event { at: now, resource: key, subject, message });
        }
        if !matches!(task.owner, TaskOwner::Gateway { .. }) {
            let stopped = StoppedTask { task: (*task).clone(), put_away_at: now };
            registry.stopped_tasks.put(task.id.as_str(), stopped);
        }
        // Its certificates stay until their end: they can still be revoked.
        registry.tasks.remove(task.id.as_str());
    }
    registry.certificates.retain(|_, certificate| certificate.not_after > now);
}

fn owner_of(registry: &Registry, task: &TaskRecord) -> (String, String) {
    match &task.owner {
        TaskOwner::Service { service, .. } => {
            (service.to_string(), format!("service {}", service.resource_name()))
        }
        TaskOwner::Gateway { load_balancer } => {
            let name =
                registry.load_balancers.get(load_balancer.as_str()).map(|balancer| balancer.name.clone());
            (load_balancer.to_string(), format!("gateway {}", name.unwrap_or_default()))
        }
        TaskOwner::Standalone(standalone) => {
            (task.arn.to_string(), format!("task of {}", standalone.task_definition.resource_name()))
        }
    }
}

/// Deployments are held back each by its own failures: one that cannot come up is no reason to hold
/// back the one that it is rolled back to.
fn history_key(owner: &TaskOwner, owner_key: &str) -> String {
    match owner {
        TaskOwner::Service { deployment, .. } => format!("{owner_key} {}", deployment.digits()),
        _ => owner_key.to_owned(),
    }
}

/// A task counts as healthy when its check passes, or, without one, when it has
/// served for a second.
fn mark_healthy(registry: &mut Registry, histories: &mut Histories, now: Timestamp, pass: &mut Pass) {
    let serving: Vec<_> = registry
        .tasks
        .values()
        .filter(|task| !task.was_healthy && task.available())
        .map(|task| {
            let key = owner_of(registry, task).0;
            (task.id.clone(), history_key(&task.owner, &key), task.owner.clone())
        })
        .collect();
    for (id, key, owner) in serving {
        let mut healthy = false;
        registry.tasks.update(id.as_str(), |task| {
            let since = *task.serving_since.get_or_insert(now);
            healthy = task.health_checked || now.since(since) >= PROVEN;
            task.was_healthy = healthy;
        });
        if healthy {
            histories.by_owner.entry(key).or_default().recovered();
            if let TaskOwner::Service { service, deployment, .. } = &owner {
                service::count_success(registry, service, deployment);
            }
        } else {
            look_again(pass, PROVEN);
        }
    }
}

fn reconcile_owner(
    registry: &mut Registry,
    histories: &mut Histories,
    wanted: Wanted<'_>,
    tasks: Vec<Arc<TaskRecord>>,
    now: Timestamp,
    new_task_id: &mut impl FnMut() -> TaskId,
    pass: &mut Pass,
) {
    // Nothing of a service that was deleted is kept.
    let deleted =
        registry.service_records.get(wanted.key).is_some_and(|record| record.status != ServiceStatus::Active);
    for until in tasks.iter().filter(|task| task.is_protected(now)).filter_map(|task| task.protected_until) {
        look_again(pass, until.since(now));
    }
    let live: Vec<&TaskRecord> = tasks.iter().map(|task| &**task).filter(|task| !task.is_ending()).collect();
    let seen = |task: &TaskRecord| RolloutTask {
        id: task.id.clone(),
        // What is on a draining machine is to leave it.
        current: task.owner == wanted.owner && wanted.placeable,
        healthy: task.available(),
        protected: !deleted && task.is_protected(now),
    };
    let may_start = |owner: &TaskOwner| {
        let is_of_owner = |stopped: &Arc<StoppedTask>| stopped.task.owner == *owner;
        let is_ending = |task: &TaskRecord| task.owner == *owner && task.is_ending();
        if sabotaged(Defence::Replacement)
            && (registry.stopped_tasks.values().any(is_of_owner) || tasks.iter().any(|task| is_ending(task)))
        {
            return false;
        }
        let history = histories.by_owner.get(&history_key(owner, wanted.key));
        history.is_none_or(|history| history.may_start(now))
    };
    // What to start, by whose task it is.
    let (start, stop): (Vec<(TaskOwner, u32)>, Vec<TaskId>) = match &wanted.shift {
        // What must leave a draining machine does so by the bounds.
        Some(shift) if wanted.placeable => {
            let tasks: Vec<_> =
                live.iter().map(|task| (shift::set_of(shift, &task.owner), seen(task))).collect();
            let (blue, green) = (wanted.of(&shift.blue), wanted.of(&shift.green));
            let may_start = |set: Set| match set {
                Set::Blue => may_start(&blue),
                Set::Green => may_start(&green) && !wanted.stopped,
                Set::Neither => false,
            };
            let decision = whole_sets::decide_shift(shift, wanted.count, &tasks, may_start, now);
            (vec![(blue, decision.start_blue), (green, decision.start_green)], decision.stop)
        }
        _ => {
            let tasks: Vec<_> = live.iter().map(|task| seen(task)).collect();
            let may_place = may_start(&wanted.owner) && wanted.placeable && !wanted.stopped;
            let decision = rollout::decide(wanted.count, wanted.bounds, &tasks, may_place);
            (vec![(wanted.owner.clone(), decision.start)], decision.stop)
        }
    };
    let throttled = !start.iter().all(|(owner, _)| may_start(owner));
    announce_unplaced(histories, &wanted, live.len(), now, pass);
    if throttled {
        look_again(pass, Duration::from_millis(500));
    }
    for id in &stop {
        registry.tasks.update(id.as_str(), |task| task.draining_since = Some(now));
        look_again(pass, DRAIN);
    }
    let mut started = Vec::new();
    for (owner, count) in start {
        let new = start::tasks(registry, &wanted, &owner, count, &tasks, now, new_task_id);
        started.extend(new.iter().map(|id| format!("(task {id})")));
    }
    if !started.is_empty() {
        let message = format!("has started {} tasks: {}.", started.len(), started.join(" "));
        pass.events.push(wanted.event(now, message));
    }
    if !stop.is_empty() {
        let ids: Vec<_> = stop.iter().map(|id| format!("(task {id})")).collect();
        let message = format!("has begun draining connections on {} tasks: {}.", ids.len(), ids.join(" "));
        pass.events.push(wanted.event(now, message));
    }
}

/// Whether a service's deployment has ended without having become complete or gone back.
fn is_stopped(registry: &Registry, service: &Service) -> bool {
    let record = registry.service_records.get(service.arn.as_str());
    let primary = record.and_then(|record| record.deployments.first());
    primary.is_some_and(|primary| primary.state == DeploymentState::Stopped)
}

/// Whether there is a container instance for a service's tasks, where they need one.
fn is_placeable(registry: &Registry, service: &Service) -> bool {
    let record = registry.service_records.get(service.arn.as_str());
    record.is_none_or(|record| {
        let launch_type = capacity::service_launch_type(&record.request);
        instance::may_place(registry, &service.cluster, launch_type)
    })
}

/// Says once that tasks cannot be placed.
fn announce_unplaced(
    histories: &mut Histories,
    wanted: &Wanted<'_>,
    live: usize,
    now: Timestamp,
    pass: &mut Pass,
) {
    let missing = usize::try_from(wanted.count).is_ok_and(|count| live < count);
    if wanted.placeable || !missing {
        histories.unplaced.remove(wanted.key);
    } else if histories.unplaced.insert(wanted.key.to_owned()) {
        let message =
            "was unable to place a task because no container instance met all of its requirements. \
                       Reason: No Container Instances were found in your cluster."
                .to_owned();
        pass.events.push(wanted.event(now, message));
    }
}

fn announce_steady(
    registry: &mut Registry,
    histories: &mut Histories,
    service: &Service,
    now: Timestamp,
    pass: &mut Pass,
) {
    let steady = is_steady(registry, service);
    let announced = histories.steady.get(service.arn.as_str()) == Some(&service.deployment);
    let record = registry.service_records.get(service.arn.as_str());
    if steady && record.is_some_and(|record| service::is_deploying(record)) {
        service::complete_deployment(registry, service, now);
    }
    if steady && !announced {
        histories.steady.insert(service.arn.to_string(), service.deployment.clone());
        pass.events.push(Event {
            at: now,
            resource: service.arn.to_string(),
            subject: format!("service {}", service.name),
            message: "has reached a steady state.".into(),
        });
    } else if !steady {
        histories.steady.remove(service.arn.as_str());
    }
}

/// As many tasks of the present deployment serve as are wanted, there
/// are no others, and they have all the traffic.
pub fn is_steady(registry: &Registry, service: &Service) -> bool {
    let tasks = registry.tasks_of_service(&service.arn);
    let current = |task: &TaskRecord| matches!(&task.owner, TaskOwner::Service { deployment, .. } if *deployment == service.deployment);
    service.shift.is_none()
        && tasks.len() == usize::try_from(service.desired_count).unwrap_or(usize::MAX)
        && tasks.iter().all(|task| task.available() && current(task))
}

/// Tasks whose service or load balancer is gone.
fn stop_orphans(registry: &mut Registry) {
    for orphan in registry.orphans() {
        registry.tasks.update(orphan.id.as_str(), |task| task.desired = DesiredStatus::Stopped);
    }
}

fn finish_draining(registry: &mut Registry, now: Timestamp, pass: &mut Pass) {
    let draining: Vec<_> = registry
        .tasks
        .values()
        .filter(|task| task.desired == DesiredStatus::Running)
        .filter_map(|task| Some((task.id.clone(), task.draining_since?, task.serves())))
        .collect();
    for (id, since, serves) in draining {
        let waited = now.since(since);
        if !serves || waited >= DRAIN {
            registry.tasks.update(id.as_str(), |task| task.desired = DesiredStatus::Stopped);
        } else {
            look_again(pass, DRAIN - waited);
        }
    }
}

fn look_again(pass: &mut Pass, delay: Duration) {
    pass.again_in = Some(pass.again_in.map_or(delay, |present| present.min(delay)));
}

/// While everything is being stopped: only drops the records of tasks that are over.
pub(crate) fn forget(registry: &mut Registry) {
    let stopped: Vec<_> = registry
        .tasks
        .values()
        .filter(|task| task.status() == TaskStatus::Stopped)
        .map(|task| task.id.clone())
        .collect();
    for id in stopped {
        registry.tasks.remove(id.as_str());
    }
}

#[cfg(test)]
mod tests;
