//! Clusters.

use bowline_aws::{
    ecs::{
        ClusterSetting, CreateClusterRequest, KeyValuePair, LaunchType, ServiceConnectDefaults,
        api::{
            Cluster as WireCluster, ClusterField, ClusterResponse, DeleteClusterRequest,
            DescribeClustersRequest, DescribeClustersResponse, Failure, ListClustersRequest,
            ListClustersResponse, UpdateClusterRequest, UpdateClusterSettingsRequest,
        },
    },
    protocol::Fault,
};
use bowline_model::task::TaskStatus;

use super::{capacity_providers, cluster_not_found, find_cluster, invalid, page_of};
use crate::{
    api::{call::Call, constraint},
    cloud_map::namespaces::{self, NamespaceSpec},
    ecs::{
        capacity,
        instance::{self, InstanceStatus},
        record::ServiceStatus,
        service::cluster_name,
    },
    registry::{Cluster, Registry, TaskOwner},
};

/// Most clusters in one `DescribeClusters`.
const DESCRIBED_MAX: usize = 100;

pub(super) fn create(call: &Call<'_>, mut request: CreateClusterRequest) -> Result<ClusterResponse, Fault> {
    let name = request.cluster_name.clone().unwrap_or_else(|| "default".into());
    constraint::length("clusterName", &name, 1..=255).map_err(invalid)?;
    constraint::characters("clusterName", &name, "^[a-zA-Z0-9\\-_]*$", |c| c.is_ascii_alphanumeric() || "-_".contains(c))
        .map_err(|_| invalid("Identifier contains invalid characters: only alphanumeric characters, \"-\" and \"_\" are allowed"))?;
    super::tags::check(&request.tags)?;
    check_settings(&request.cluster_settings)?;
    check_defaults(request.service_connect_defaults.as_ref())?;
    request.cluster_name = Some(name.clone());
    call.change(|registry| {
        // AWS answers a cluster that exists with what it is.
        if registry.clusters.get(&name).is_none() {
            capacity_providers::check_association(
                registry,
                &request.capacity_providers,
                &request.default_capacity_provider_strategy,
            )?;
            let default_namespace =
                default_namespace(call, registry, request.service_connect_defaults.as_ref())?;
            let arn = call.scope.arn("ecs", format_args!("cluster/{name}"));
            let row = Cluster { arn, name: name.clone(), default_namespace, request };
            instance::join(registry, &row, call.now);
            registry.clusters.put(name.clone(), row);
        }
        told(registry, &name)
    })
}

/// The namespace that `serviceConnectDefaults` names; ECS makes it where there is none of that name.
fn default_namespace(
    call: &Call<'_>,
    registry: &mut Registry,
    defaults: Option<&bowline_aws::ecs::ServiceConnectDefaults>,
) -> Result<Option<String>, Fault> {
    let given = defaults.and_then(|defaults| defaults.namespace.clone());
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    if let Some(namespace) = registry.namespace_named(&given) {
        return Ok(Some(namespace.name.clone()));
    }
    if given.starts_with("arn:") {
        return Err(Fault::new("NamespaceNotFoundException", format!("There is no namespace {given:?}.")));
    }
    let spec = NamespaceSpec { name: given, ..NamespaceSpec::default() };
    let made = namespaces::put(registry, namespaces::new_arn(&call.scope), spec, call.now)?;
    Ok(Some(made.name.clone()))
}

fn check_settings(settings: &[ClusterSetting]) -> Result<(), Fault> {
    match settings.iter().find(|setting| setting.name.as_deref() != Some("containerInsights")) {
        None => Ok(()),
        Some(setting) => Err(invalid(format!(
            "Invalid cluster setting {:?}: containerInsights is the one that there is.",
            setting.name.as_deref().unwrap_or_default()
        ))),
    }
}

fn check_defaults(defaults: Option<&ServiceConnectDefaults>) -> Result<(), Fault> {
    let given = defaults.and_then(|defaults| defaults.namespace.as_deref()).unwrap_or_default();
    constraint::length("serviceConnectDefaults.namespace", given, 0..=1_024).map_err(invalid)
}

pub(super) fn update(call: &Call<'_>, request: UpdateClusterRequest) -> Result<ClusterResponse, Fault> {
    check_settings(&request.settings)?;
    check_defaults(request.service_connect_defaults.as_ref())?;
    change(call, &request.cluster, |registry, name| {
        if let Some(defaults) = &request.service_connect_defaults {
            let namespace = default_namespace(call, registry, Some(defaults))?;
            registry.clusters.update(name, |cluster| {
                cluster.default_namespace = namespace;
                cluster.request.service_connect_defaults = Some(defaults.clone());
            });
        }
        registry.clusters.update(name, |cluster| {
            if !request.settings.is_empty() {
                cluster.request.cluster_settings.clone_from(&request.settings);
            }
            if request.configuration.is_some() {
                cluster.request.configuration.clone_from(&request.configuration);
            }
        });
        Ok(())
    })
}

pub(super) fn update_settings(
    call: &Call<'_>,
    request: UpdateClusterSettingsRequest,
) -> Result<ClusterResponse, Fault> {
    check_settings(&request.settings)?;
    change(call, &request.cluster, |registry, name| {
        registry.clusters.update(name, |cluster| cluster.request.cluster_settings = request.settings);
        Ok(())
    })
}

/// Changes a cluster and tells it.
pub(super) fn change(
    call: &Call<'_>,
    given: &str,
    change: impl FnOnce(&mut Registry, &str) -> Result<(), Fault>,
) -> Result<ClusterResponse, Fault> {
    call.change(|registry| {
        let name = find_cluster(registry, Some(given))?.name.clone();
        change(registry, &name)?;
        told(registry, &name)
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteClusterRequest) -> Result<ClusterResponse, Fault> {
    call.change(|registry| {
        let cluster = find_cluster(registry, Some(&request.cluster))?;
        let services = registry.services.values().any(|service| service.cluster == cluster.name);
        if services {
            return Err(Fault::new(
                "ClusterContainsServicesException",
                "The Cluster cannot be deleted while Services are active.",
            ));
        }
        if tasks_of(registry, &cluster).any(|task| task.stopped_at().is_none()) {
            return Err(Fault::new(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            ));
        }
        let mut response = told(registry, &cluster.name)?;
        response.cluster.status = "INACTIVE";
        registry.clusters.remove(&cluster.name);
        registry.container_instances.remove(&cluster.name);
        Ok(response)
    })
}

pub(super) fn list(call: &Call<'_>, request: ListClustersRequest) -> Result<ListClustersResponse, Fault> {
    let registry = call.registry();
    let arns: Vec<_> = registry.clusters.values().map(|cluster| cluster.arn.to_string()).collect();
    let page =
        page_of("ListClusters", arns, Clone::clone, request.next_token.as_deref(), request.max_results, 100)?;
    Ok(ListClustersResponse { cluster_arns: page.items, next_token: page.next_token })
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeClustersRequest,
) -> Result<DescribeClustersResponse, Fault> {
    if request.clusters.len() > DESCRIBED_MAX {
        return Err(invalid(format!("clusters can have at most {DESCRIBED_MAX} items.")));
    }
    let registry = call.registry();
    let names = if request.clusters.is_empty() { vec!["default".to_owned()] } else { request.clusters };
    let mut response = DescribeClustersResponse { clusters: Vec::new(), failures: Vec::new() };
    for given in &names {
        match registry.clusters.get(&cluster_name(Some(given))) {
            Some(cluster) => response.clusters.push(describe_one(&registry, cluster, &request.include)),
            None => {
                let arn = match given.starts_with("arn:") {
                    true => given.clone(),
                    false => call.scope.arn("ecs", format_args!("cluster/{given}")).to_string(),
                };
                response.failures.push(Failure {
                    arn: Some(arn),
                    reason: Some("MISSING".into()),
                    detail: None,
                });
            }
        }
    }
    Ok(response)
}

fn told(registry: &Registry, name: &str) -> Result<ClusterResponse, Fault> {
    let cluster = registry.clusters.get(name).ok_or_else(cluster_not_found)?;
    let all = [ClusterField::Configurations, ClusterField::Settings, ClusterField::Tags];
    Ok(ClusterResponse { cluster: describe_one(registry, cluster, &all) })
}

fn tasks_of<'a>(
    registry: &'a Registry,
    cluster: &'a Cluster,
) -> impl Iterator<Item = &'a std::sync::Arc<crate::registry::TaskRecord>> {
    registry.tasks.values().filter(|task| match &task.owner {
        TaskOwner::Service { .. } => {
            registry.service_of(task).is_some_and(|service| service.cluster == cluster.name)
        }
        TaskOwner::Standalone(standalone) => standalone.cluster == cluster.name,
        TaskOwner::Gateway { .. } => false,
    })
}

fn describe_one(registry: &Registry, cluster: &Cluster, include: &[ClusterField]) -> WireCluster {
    let wants = |field| include.contains(&field);
    let running = tasks_of(registry, cluster).filter(|task| task.status() == TaskStatus::Running).count();
    let pending = tasks_of(registry, cluster).filter(|task| task.status() < TaskStatus::Running).count();
    let services = registry.services.values().filter(|service| service.cluster == cluster.name);
    let active = services.filter(|service| {
        let record = registry.service_records.get(service.arn.as_str());
        record.is_none_or(|record| record.status == ServiceStatus::Active)
    });
    let request = &cluster.request;
    WireCluster {
        cluster_arn: cluster.arn.to_string(),
        cluster_name: cluster.name.clone(),
        status: "ACTIVE",
        registered_container_instances_count: registry
            .container_instances
            .get(&cluster.name)
            .map_or(0, |instance| u32::from(instance.status != InstanceStatus::Inactive)),
        running_tasks_count: running,
        pending_tasks_count: pending,
        active_services_count: active.count(),
        statistics: if wants(ClusterField::Statistics) { statistics(registry, cluster) } else { Vec::new() },
        tags: if wants(ClusterField::Tags) { request.tags.clone() } else { Vec::new() },
        settings: if wants(ClusterField::Settings) { request.cluster_settings.clone() } else { Vec::new() },
        configuration: request.configuration.clone().filter(|_| wants(ClusterField::Configurations)),
        capacity_providers: request.capacity_providers.clone(),
        default_capacity_provider_strategy: request.default_capacity_provider_strategy.clone(),
        service_connect_defaults: default_of(registry, cluster),
    }
}

/// What runs, by launch type.
fn statistics(registry: &Registry, cluster: &Cluster) -> Vec<KeyValuePair> {
    let mut statistics = Vec::new();
    for (launch_type, name) in
        [(LaunchType::Ec2, "EC2"), (LaunchType::Fargate, "Fargate"), (LaunchType::External, "External")]
    {
        let tasks = || {
            tasks_of(registry, cluster)
                .filter(move |task| instance::launch_type(registry, task) == Some(launch_type))
        };
        let services = |status| {
            let of_cluster = registry.services.values().filter(|service| service.cluster == cluster.name);
            let records = of_cluster.filter_map(|service| registry.service_records.get(service.arn.as_str()));
            let matching = records.filter(|record| {
                record.status == status && capacity::service_launch_type(&record.request) == launch_type
            });
            matching.count()
        };
        let running = tasks().filter(|task| task.status() == TaskStatus::Running).count();
        let pending = tasks().filter(|task| task.status() < TaskStatus::Running).count();
        for (statistic, value) in [
            (format!("running{name}TasksCount"), running),
            (format!("pending{name}TasksCount"), pending),
            (format!("active{name}ServiceCount"), services(ServiceStatus::Active)),
            (format!("draining{name}ServiceCount"), services(ServiceStatus::Draining)),
        ] {
            statistics.push(KeyValuePair { name: Some(statistic), value: Some(value.to_string()) });
        }
    }
    statistics
}

/// AWS tells the default namespace by its ARN.
fn default_of(registry: &Registry, cluster: &Cluster) -> Option<bowline_aws::ecs::ServiceConnectDefaults> {
    let name = cluster.default_namespace.as_ref()?;
    let namespace = registry.namespace_named(name).map(|namespace| namespace.arn.to_string());
    Some(bowline_aws::ecs::ServiceConnectDefaults { namespace: namespace.or_else(|| Some(name.clone())) })
}
