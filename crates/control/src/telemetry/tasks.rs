//! What tasks use of the machine, and how many there are, as CloudWatch has it.
//!
//! Utilization is a share of what a task's definition reserves: of its `cpu` and `memory`, else of its containers'
//! together, else of the whole machine (Amazon ECS Developer Guide, "Amazon ECS service utilization metrics"). Each
//! task is one sample, so that Average, Minimum and Maximum are over tasks. A cluster's is its share of the machine.
//!
//! The counts, and what is used in units, are those of Container Insights (CloudWatch User Guide, "Amazon ECS
//! Container Insights metrics").

use std::collections::BTreeMap;

use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, Unit},
    service::Service,
    task::{TaskId, TaskStatus, TaskUsage},
    task_definition::TaskDefinition,
};
use bowline_plumbing::machine::Machine;

use super::{
    metric_data::{ECS, MetricText},
    owner::{Owner, owner_of},
};
use crate::registry::Registry;

/// Where Container Insights' metrics are.
const INSIGHTS: &str = "ECS/ContainerInsights";
/// ECS's CPU units of a core.
const UNITS_PER_CORE: f64 = 1_024.0;
const MEBIBYTE: f64 = 1_048_576.0;

/// What a task may use.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reserved {
    cpu_units: f64,
    memory_mib: f64,
}

impl Reserved {
    fn of_machine(machine: Machine) -> Self {
        let cpu_units = f64::from(machine.processors) * UNITS_PER_CORE;
        Self { cpu_units, memory_mib: machine.memory_mib as f64 }
    }

    fn of_task(definition: Option<&TaskDefinition>, machine: Machine) -> Self {
        let whole = Self::of_machine(machine);
        let Some(definition) = definition else { return whole };
        let sum = |of: fn(&bowline_model::task::ResourceLimits) -> Option<u32>| {
            let containers = definition.containers.iter().filter_map(|container| of(&container.limits));
            of(&definition.limits)
                .map(f64::from)
                .or_else(|| Some(containers.map(f64::from).sum::<f64>()))
                .filter(|sum| *sum > 0.0)
        };
        Self {
            cpu_units: sum(|limits| limits.cpu_units).unwrap_or(whole.cpu_units),
            memory_mib: sum(|limits| limits.memory_mib).unwrap_or(whole.memory_mib),
        }
    }
}

/// Data that are joined where they are of one metric.
#[derive(Debug, Default)]
struct Joined(BTreeMap<MetricId, (Unit, Distribution)>);

impl Joined {
    fn record(&mut self, namespace: &str, dimensions: &[(&str, &str)], name: &str, unit: Unit, value: f64) {
        let metric = MetricId::new(namespace, name, dimensions.iter().copied());
        let (_, values) = self.0.entry(metric).or_insert_with(|| (unit, Distribution::default()));
        values.record(value, 1.0);
    }

    fn data(self, at: Timestamp) -> Vec<Datum> {
        let data = self.0.into_iter().map(|(metric, (unit, values))| Datum {
            metric,
            at,
            unit,
            values,
            is_high_resolution: true,
        });
        data.collect()
    }
}

/// What a task has used of what it may, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Utilization {
    /// Of its processor time.
    pub cpu_percent: f64,
    /// Of its memory.
    pub memory_percent: f64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// Each task's own.
pub(super) fn utilization(
    registry: &Registry,
    machine: Machine,
    usage: &[TaskUsage],
) -> Vec<(TaskId, Utilization)> {
    let of_task = |usage: &TaskUsage| {
        let owner = owner_of(registry, registry.tasks.get(usage.task.as_str())?)?;
        let reserved = Reserved::of_task(owner.definition, machine);
        let seconds = usage.over.as_secs_f64();
        let units = usage.cpu.as_secs_f64() / seconds * UNITS_PER_CORE;
        let told = Utilization {
            cpu_percent: units / reserved.cpu_units * 100.0,
            memory_percent: usage.memory_bytes as f64 / MEBIBYTE / reserved.memory_mib * 100.0,
            memory_bytes: usage.memory_bytes,
        };
        (seconds > 0.0).then(|| (usage.task.clone(), told))
    };
    usage.iter().filter_map(of_task).collect()
}

/// What tasks have used until `at`.
pub(super) fn usage(registry: &Registry, machine: Machine, usage: &[TaskUsage], at: Timestamp) -> Vec<Datum> {
    let mut joined = Joined::default();
    let mut clusters: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for usage in usage {
        let Some(task) = registry.tasks.get(usage.task.as_str()) else { continue };
        let Some(Owner { cluster, service, definition }) = owner_of(registry, task) else { continue };
        let seconds = usage.over.as_secs_f64();
        if seconds <= 0.0 {
            continue;
        }
        let units = usage.cpu.as_secs_f64() / seconds * UNITS_PER_CORE;
        let mebibytes = usage.memory_bytes as f64 / MEBIBYTE;
        let sums = clusters.entry(cluster.to_owned()).or_default();
        (sums.0, sums.1) = (sums.0 + units, sums.1 + mebibytes);
        let Some(service) = service else { continue };
        let reserved = Reserved::of_task(definition, machine);
        let of = [("ClusterName", cluster), ("ServiceName", service)];
        let cpu = units / reserved.cpu_units * 100.0;
        let memory = mebibytes / reserved.memory_mib * 100.0;
        joined.record(ECS, &of, "CPUUtilization", Unit::Percent, cpu);
        joined.record(ECS, &of, "MemoryUtilization", Unit::Percent, memory);
        joined.record(INSIGHTS, &of, "CpuUtilized", Unit::None, units);
        joined.record(INSIGHTS, &of, "CpuReserved", Unit::None, reserved.cpu_units);
        joined.record(INSIGHTS, &of, "MemoryUtilized", Unit::Megabytes, mebibytes);
        joined.record(INSIGHTS, &of, "MemoryReserved", Unit::Megabytes, reserved.memory_mib);
        for (name, bytes) in [("NetworkRxBytes", usage.received_bytes), ("NetworkTxBytes", usage.sent_bytes)]
        {
            joined.record(ECS, &of, name, Unit::Bytes, bytes as f64);
            joined.record(INSIGHTS, &of, name, Unit::BytesPerSecond, bytes as f64 / seconds);
        }
    }
    let whole = Reserved::of_machine(machine);
    for (cluster, (units, mebibytes)) in &clusters {
        let of = [("ClusterName", cluster.as_str())];
        joined.record(ECS, &of, "CPUUtilization", Unit::Percent, units / whole.cpu_units * 100.0);
        joined.record(ECS, &of, "MemoryUtilization", Unit::Percent, mebibytes / whole.memory_mib * 100.0);
    }
    joined.data(at)
}

/// How many tasks there are, and how many have stopped since the last time, by service.
pub(super) fn counts(
    registry: &Registry,
    stopped: &BTreeMap<(String, String), u64>,
    at: Timestamp,
) -> Vec<Datum> {
    let mut joined = Joined::default();
    let mut clusters: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for service in registry.services.values() {
        let service: &Service = service;
        let of = [("ClusterName", service.cluster.as_str()), ("ServiceName", service.name.as_str())];
        let tasks = registry.tasks_of_service(&service.arn);
        let running = tasks.iter().filter(|task| task.status() == TaskStatus::Running).count() as f64;
        let pending = tasks.iter().filter(|task| task.status() < TaskStatus::Running).count() as f64;
        joined.record(INSIGHTS, &of, "RunningTaskCount", Unit::Count, running);
        joined.record(INSIGHTS, &of, "PendingTaskCount", Unit::Count, pending);
        joined.record(INSIGHTS, &of, "DesiredTaskCount", Unit::Count, f64::from(service.desired_count));
        joined.record(ECS, &of, "TaskCount", Unit::Count, running);
        let stopped = stopped.get(&(service.cluster.clone(), service.name.clone())).copied();
        joined.record(ECS, &of, "TaskStoppedCount", Unit::Count, stopped.unwrap_or_default() as f64);
        clusters.entry(&service.cluster).or_default().1 += 1;
    }
    for task in registry.tasks.values().filter(|task| task.status() == TaskStatus::Running) {
        if let Some(owner) = owner_of(registry, task) {
            clusters.entry(owner.cluster).or_default().0 += 1;
        }
    }
    for (cluster, (tasks, services)) in clusters {
        let of = [("ClusterName", cluster)];
        joined.record(INSIGHTS, &of, "TaskCount", Unit::Count, tasks as f64);
        joined.record(INSIGHTS, &of, "ServiceCount", Unit::Count, services as f64);
    }
    joined.data(at)
}

const SERVICE: &str = "`ClusterName`, `ServiceName`";
const BOTH: &str = "`ClusterName`, `ServiceName`; `ClusterName`";
const CLUSTER: &str = "`ClusterName`";

const fn metric(
    namespace: &'static str,
    name: &'static str,
    dimensions: &'static str,
    unit: Unit,
    help: &'static str,
) -> MetricText {
    MetricText { namespace, name, dimensions, unit, help }
}

/// Every metric of tasks.
pub const METRICS: &[MetricText] = &[
    metric(
        ECS,
        "CPUUtilization",
        BOTH,
        Unit::Percent,
        "Of what task definitions reserve, a sample a task; of a cluster: of the machine.",
    ),
    metric(
        ECS,
        "MemoryUtilization",
        BOTH,
        Unit::Percent,
        "Of what task definitions reserve, a sample a task; of a cluster: of the machine.",
    ),
    metric(
        ECS,
        "NetworkRxBytes",
        SERVICE,
        Unit::Bytes,
        "Bytes that tasks received over networks of their own.",
    ),
    metric(ECS, "NetworkTxBytes", SERVICE, Unit::Bytes, "Bytes that tasks sent over networks of their own."),
    metric(ECS, "TaskCount", SERVICE, Unit::Count, "Tasks that run, each minute."),
    metric(ECS, "TaskStoppedCount", SERVICE, Unit::Count, "Tasks that have stopped, each minute."),
    metric(INSIGHTS, "RunningTaskCount", SERVICE, Unit::Count, "Tasks that run, each minute."),
    metric(INSIGHTS, "PendingTaskCount", SERVICE, Unit::Count, "Tasks on their way to run, each minute."),
    metric(
        INSIGHTS,
        "DesiredTaskCount",
        SERVICE,
        Unit::Count,
        "Tasks that the service should have, each minute.",
    ),
    metric(INSIGHTS, "TaskCount", CLUSTER, Unit::Count, "Tasks that run, each minute."),
    metric(INSIGHTS, "ServiceCount", CLUSTER, Unit::Count, "Services, each minute."),
    metric(INSIGHTS, "CpuUtilized", SERVICE, Unit::None, "CPU units used, a sample a task."),
    metric(INSIGHTS, "CpuReserved", SERVICE, Unit::None, "CPU units reserved, a sample a task."),
    metric(INSIGHTS, "MemoryUtilized", SERVICE, Unit::Megabytes, "Memory used, a sample a task."),
    metric(INSIGHTS, "MemoryReserved", SERVICE, Unit::Megabytes, "Memory reserved, a sample a task."),
    metric(INSIGHTS, "NetworkRxBytes", SERVICE, Unit::BytesPerSecond, "Bytes received, a sample a task."),
    metric(INSIGHTS, "NetworkTxBytes", SERVICE, Unit::BytesPerSecond, "Bytes sent, a sample a task."),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use bowline_model::{
        arn::Scope,
        metric::Statistic,
        service::RollingBounds,
        task::{DesiredStatus, ResourceLimits, TaskId},
    };

    use super::*;
    use crate::registry::{TaskOwner, TaskRecord};

    const MACHINE: Machine = Machine { processors: 4, memory_mib: 8_192 };

    /// A service of a definition with these limits, and two of its tasks.
    fn registry(limits: ResourceLimits) -> (Registry, [TaskId; 2]) {
        let scope = Scope::default();
        let (service, definition) =
            (scope.arn("ecs", "service/c/web"), scope.arn("ecs", "task-definition/web:1"));
        let mut registry = Registry::default();
        let row = Service {
            arn: service.clone(),
            name: "web".into(),
            cluster: "c".into(),
            task_definition: definition.clone(),
            deployment: Default::default(),
            desired_count: 2,
            rolling: RollingBounds::default(),
            connect: None,
            targets: Vec::new(),
            assign_public_ip: false,
            shift: None,
        };
        registry.services.put(service.as_str(), row);
        let row = TaskDefinition {
            arn: definition.clone(),
            family: "web".into(),
            revision: 1,
            containers: Vec::new(),
            limits,
        };
        registry.task_definitions.put(definition.as_str(), row);
        let ids = [1, 2].map(|number| TaskId::from_random([number; 16]));
        for id in &ids {
            let owner = TaskOwner::Service {
                service: service.clone(),
                task_definition: definition.clone(),
                deployment: Default::default(),
            };
            let row = TaskRecord {
                id: id.clone(),
                arn: scope.arn("ecs", format!("task/c/{id}")),
                owner,
                created_at: Timestamp::from_secs(1),
                desired: DesiredStatus::Running,
                draining_since: None,
                was_healthy: false,
                health_checked: false,
                stop_reason: None,
                tags: Vec::new(),
                capacity_provider: None,
                zone: None,
                protected_until: None,
                proxied: true,
                started_at: None,
                serving_since: None,
                report: None,
            };
            registry.tasks.put(id.as_str(), row);
        }
        (registry, ids)
    }

    fn used(task: &TaskId, cpu: Duration, memory_mib: u64) -> TaskUsage {
        TaskUsage {
            task: task.clone(),
            at: Timestamp::from_secs(10),
            over: Duration::from_secs(10),
            cpu,
            memory_bytes: memory_mib * 1_048_576,
            received_bytes: 100,
            sent_bytes: 200,
        }
    }

    fn told(
        data: &[Datum],
        namespace: &str,
        name: &str,
        dimensions: usize,
        statistic: Statistic,
    ) -> Option<f64> {
        let is = |datum: &&Datum| {
            let metric = &datum.metric;
            (metric.namespace.as_str(), metric.name.as_str(), metric.dimensions.len())
                == (namespace, name, dimensions)
        };
        data.iter().find(is)?.values.statistic(statistic)
    }

    #[test]
    fn utilization_is_of_what_the_definition_reserves() {
        let limits = ResourceLimits { cpu_units: Some(512), memory_mib: Some(1_024) };
        let (registry, [one, other]) = registry(limits);
        // A quarter of a core is half of half a core.
        let usages = [used(&one, Duration::from_millis(2_500), 256), used(&other, Duration::ZERO, 768)];
        let data = usage(&registry, MACHINE, &usages, Timestamp::from_secs(10));
        let cpu = |statistic| told(&data, ECS, "CPUUtilization", 2, statistic);
        assert_eq!((cpu(Statistic::Average), cpu(Statistic::Maximum)), (Some(25.0), Some(50.0)));
        assert_eq!(cpu(Statistic::SampleCount), Some(2.0), "a sample a task");
        assert_eq!(told(&data, ECS, "MemoryUtilization", 2, Statistic::Average), Some(50.0));
        // A quarter of one of four cores; 1 of 8 GiB.
        assert_eq!(told(&data, ECS, "CPUUtilization", 1, Statistic::Average), Some(6.25));
        assert_eq!(told(&data, ECS, "MemoryUtilization", 1, Statistic::Average), Some(12.5));
        assert_eq!(told(&data, ECS, "NetworkTxBytes", 2, Statistic::Sum), Some(400.0));
        assert_eq!(told(&data, INSIGHTS, "CpuUtilized", 2, Statistic::Maximum), Some(256.0));
    }

    #[test]
    fn where_nothing_is_reserved_it_is_of_the_machine() {
        let (registry, [one, _]) = registry(ResourceLimits::default());
        let usages = [used(&one, Duration::from_secs(10), 2_048)];
        let data = usage(&registry, MACHINE, &usages, Timestamp::from_secs(10));
        assert_eq!(told(&data, ECS, "CPUUtilization", 2, Statistic::Average), Some(25.0));
        assert_eq!(told(&data, ECS, "MemoryUtilization", 2, Statistic::Average), Some(25.0));
    }

    #[test]
    fn what_is_listed_is_what_is_put() {
        let (registry, [one, _]) = registry(ResourceLimits::default());
        let stopped = BTreeMap::from([(("c".to_owned(), "web".to_owned()), 3)]);
        let mut data = counts(&registry, &stopped, Timestamp::from_secs(60));
        assert_eq!(told(&data, ECS, "TaskStoppedCount", 2, Statistic::Sum), Some(3.0));
        assert_eq!(told(&data, INSIGHTS, "PendingTaskCount", 2, Statistic::Average), Some(2.0));
        assert_eq!(told(&data, INSIGHTS, "DesiredTaskCount", 2, Statistic::Average), Some(2.0));
        let usages = [used(&one, Duration::from_secs(1), 1)];
        data.extend(usage(&registry, MACHINE, &usages, Timestamp::from_secs(10)));
        // Nothing runs in the cluster, which has one service all the same.
        let put: BTreeSet<_> = data
            .iter()
            .map(|datum| (datum.metric.namespace.as_str(), datum.metric.name.as_str(), datum.unit))
            .collect();
        let listed: BTreeSet<_> =
            METRICS.iter().map(|metric| (metric.namespace, metric.name, metric.unit)).collect();
        assert_eq!(put, listed);
    }
}
