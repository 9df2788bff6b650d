//! Capacity providers: which there are, what a strategy may say, and where it places tasks.
//!
//! All of them are this machine; what a strategy decides is under which provider's name a task runs.

use std::collections::BTreeMap;

use bowline_aws::ecs::{
    CapacityProviderStrategyItem, CreateServiceRequest, LaunchType, Tag, api::AutoScalingGroupProvider,
};
use bowline_model::{
    arn::Arn,
    capacity::{CapacityShare, place},
};
use serde::{Deserialize, Serialize};

use crate::registry::{Cluster, Registry, TaskOwner, TaskRecord};

/// The capacity providers of every account.
pub const FARGATE: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

/// Most capacity providers that can be made.
pub const PROVIDERS_MAX: usize = 100;

/// Most capacity providers of a cluster or strategy (AWS's quota).
pub const OF_CLUSTER_MAX: usize = 20;

/// A capacity provider that was made with `CreateCapacityProvider`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityProviderRecord {
    /// The name.
    pub name: String,
    /// The ARN.
    pub arn: Arn,
    /// The Auto Scaling group that it was made for. There is none here: it is kept and told.
    pub group: AutoScalingGroupProvider,
    /// ECS's tags of it.
    pub tags: Vec<Tag>,
}

/// A provider's name, by its name or ARN.
pub fn provider_name(given: &str) -> &str {
    match given.starts_with("arn:") {
        true => given.rsplit('/').next().unwrap_or(given),
        false => given,
    }
}

/// Whether there is a provider of this name.
pub fn exists(registry: &Registry, name: &str) -> bool {
    FARGATE.contains(&name) || registry.capacity_providers.get(name).is_some()
}

/// Refuses a strategy that ECS would, in its words; `associated` are the providers of its
/// cluster.
///
/// # Errors
/// What is wrong with it.
pub fn check_strategy(
    registry: &Registry,
    associated: &[String],
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), String> {
    if strategy.len() > OF_CLUSTER_MAX {
        return Err(format!(
            "The capacity provider strategy cannot contain more than {OF_CLUSTER_MAX} capacity providers."
        ));
    }
    let mut names = Vec::new();
    for item in strategy {
        let given = item.capacity_provider.as_deref().unwrap_or_default();
        let name = provider_name(given);
        if !exists(registry, name) {
            return Err(format!(
                "The specified capacity provider '{given}' was not found. Specify a valid name or ARN and try again."
            ));
        }
        if !associated.iter().any(|one| provider_name(one) == name) {
            return Err(format!(
                "The specified capacity provider strategy cannot contain a capacity provider that is not associated \
                 with the cluster: {name}. Associate the capacity provider with the cluster and try again."
            ));
        }
        for (member, value, most) in [("weight", item.weight, 1_000), ("base", item.base, 100_000)] {
            if value.is_some_and(|value| !(0..=most).contains(&value)) {
                return Err(format!(
                    "The {member} of a capacity provider strategy item must be between 0 and {most}."
                ));
            }
        }
        if names.contains(&name) {
            return Err(format!("The capacity provider strategy contains {name} more than once."));
        }
        names.push(name);
    }
    if strategy.iter().filter(|item| item.base.unwrap_or(0) > 0).count() > 1 {
        return Err(
            "Only one capacity provider in a capacity provider strategy can have a base defined.".into()
        );
    }
    let fargate = names.iter().filter(|name| FARGATE.contains(name)).count();
    if fargate > 0 && fargate < names.len() {
        return Err(
            "A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling \
                    groups and Fargate."
                .into(),
        );
    }
    if strategy.len() > 1 && strategy.iter().all(|item| item.weight.unwrap_or(0) == 0) {
        return Err(
            "At least one capacity provider of a capacity provider strategy must have a weight greater than 0."
                .into(),
        );
    }
    Ok(())
}

/// The strategy of a task or service that names neither one nor a launch type: its cluster's.
pub fn or_default(
    cluster: &Cluster,
    launch_type: Option<LaunchType>,
    strategy: Vec<CapacityProviderStrategyItem>,
) -> Vec<CapacityProviderStrategyItem> {
    match strategy.is_empty() && launch_type.is_none() {
        true => cluster.request.default_capacity_provider_strategy.clone(),
        false => strategy,
    }
}

/// The strategy as the model has it. A provider that stands alone needs no weight.
fn shares(strategy: &[CapacityProviderStrategyItem]) -> Vec<CapacityShare> {
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    strategy
        .iter()
        .map(|item| CapacityShare {
            provider: provider_name(item.capacity_provider.as_deref().unwrap_or_default()).to_owned(),
            base: number(item.base),
            weight: if strategy.len() == 1 { 1 } else { number(item.weight) },
        })
        .collect()
}

/// Places tasks one after the other.
#[derive(Debug)]
pub struct Placement {
    shares: Vec<CapacityShare>,
    placed: BTreeMap<String, u32>,
}

impl Placement {
    /// Beside the tasks that there are.
    pub fn new<'a>(
        strategy: &[CapacityProviderStrategyItem],
        present: impl Iterator<Item = &'a TaskRecord>,
    ) -> Self {
        let mut placed = BTreeMap::new();
        for provider in present.filter_map(|task| task.capacity_provider.clone()) {
            *placed.entry(provider).or_insert(0) += 1;
        }
        Self { shares: shares(strategy), placed }
    }

    /// The provider of the next task; `None` without a strategy.
    pub fn place(&mut self) -> Option<String> {
        let placed = &self.placed;
        let provider = place(&self.shares, |name| placed.get(name).copied().unwrap_or(0))?.to_owned();
        *self.placed.entry(provider.clone()).or_insert(0) += 1;
        Some(provider)
    }
}

/// What of a service's request decides where its tasks run.
pub fn strategy_of(registry: &Registry, owner: &TaskOwner) -> Vec<CapacityProviderStrategyItem> {
    match owner {
        TaskOwner::Service { service, .. } => registry
            .service_records
            .get(service.as_str())
            .map(|record| record.request.capacity_provider_strategy.clone())
            .unwrap_or_default(),
        TaskOwner::Standalone(_) | TaskOwner::Gateway { .. } => Vec::new(),
    }
}

/// The launch type of what a capacity provider runs.
pub fn launch_type_of(provider: &str) -> LaunchType {
    match FARGATE.contains(&provider) {
        true => LaunchType::Fargate,
        false => LaunchType::Ec2,
    }
}

/// The launch type of a service's tasks.
pub fn service_launch_type(request: &CreateServiceRequest) -> LaunchType {
    match request.capacity_provider_strategy.first().and_then(|item| item.capacity_provider.as_deref()) {
        Some(provider) => launch_type_of(provider_name(provider)),
        None => request.launch_type.unwrap_or(LaunchType::Ec2),
    }
}

/// The names of a cluster's services whose strategy has the provider.
pub fn services_using<'a>(
    registry: &'a Registry,
    cluster: &'a str,
    provider: &'a str,
) -> impl Iterator<Item = &'a str> {
    registry
        .services
        .values()
        .filter(move |service| service.cluster == cluster)
        .filter(move |service| {
            let record = registry.service_records.get(service.arn.as_str());
            record.is_some_and(|record| {
                record.request.capacity_provider_strategy.iter().any(|item| {
                    provider_name(item.capacity_provider.as_deref().unwrap_or_default()) == provider
                })
            })
        })
        .map(|service| service.name.as_str())
}
