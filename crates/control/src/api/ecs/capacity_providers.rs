//! Capacity providers. Those that are made are kept and told; nothing here scales anything.

use bowline_aws::{
    ecs::{
        CapacityProviderStrategyItem,
        api::{
            AutoScalingGroupProvider, CapacityProvider, CapacityProviderResponse, ClusterResponse,
            CreateCapacityProviderRequest, DeleteCapacityProviderRequest, DescribeCapacityProvidersRequest,
            DescribeCapacityProvidersResponse, Failure, ManagedScaling, PutClusterCapacityProvidersRequest,
            Switch, TagsField, UpdateCapacityProviderRequest,
        },
    },
    protocol::Fault,
};
use bowline_model::arn::Arn;

use super::{client, clusters, find_cluster, invalid, page_of, tags};
use crate::{
    api::{call::Call, constraint},
    ecs::capacity::{self, CapacityProviderRecord, FARGATE, OF_CLUSTER_MAX, PROVIDERS_MAX, provider_name},
    registry::Registry,
};

/// Refuses what `CreateCapacityProvider` and `UpdateCapacityProvider` have of ECS Managed Instances,
/// and a cluster, which only they have.
fn check_kind(registry: &Registry, cluster: Option<&str>, managed_instances: bool) -> Result<(), Fault> {
    if let Some(given) = cluster {
        find_cluster(registry, Some(given))?;
    }
    if managed_instances {
        return Err(Fault::new(
            "UnsupportedFeatureException",
            "Amazon ECS Managed Instances are not here: one machine runs every task. Use FARGATE, FARGATE_SPOT or a \
             capacity provider of an Auto Scaling group.",
        ));
    }
    match cluster {
        Some(_) => Err(invalid(
            "The cluster parameter is only for capacity providers that use managedInstancesProvider.",
        )),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let lower = name.to_ascii_lowercase();
    let reserved = ["aws", "ecs", "fargate"].iter().any(|prefix| lower.starts_with(prefix));
    match allowed && !reserved && (1..=255).contains(&name.len()) {
        true => Ok(()),
        false => Err(invalid(
            "The specified capacity provider name is invalid. Up to 255 characters are allowed, including letters \
             (upper and lowercase), numbers, underscores (_), and hyphens (-). The name cannot be prefixed with \
             \"aws\", \"ecs\", or \"fargate\". Specify a valid name and try again.",
        )),
    }
}

/// The provider with AWS's defaults where nothing was given.
///
/// # Errors
/// A value that AWS refuses.
fn completed(mut group: AutoScalingGroupProvider) -> Result<AutoScalingGroupProvider, Fault> {
    let given = group.managed_scaling.unwrap_or_default();
    let member = |name: &str, value: Option<i64>, default: i64, allowed: std::ops::RangeInclusive<i64>| {
        let value = value.unwrap_or(default);
        let path = format!("autoScalingGroupProvider.managedScaling.{name}");
        constraint::range(&path, value, allowed).map_err(invalid)?;
        Ok::<_, Fault>(Some(value))
    };
    let scaling = ManagedScaling {
        status: given.status.or(Some(Switch::Disabled)),
        target_capacity: member("targetCapacity", given.target_capacity, 100, 1..=100)?,
        minimum_scaling_step_size: member(
            "minimumScalingStepSize",
            given.minimum_scaling_step_size,
            1,
            1..=10_000,
        )?,
        maximum_scaling_step_size: member(
            "maximumScalingStepSize",
            given.maximum_scaling_step_size,
            10_000,
            1..=10_000,
        )?,
        instance_warmup_period: member(
            "instanceWarmupPeriod",
            given.instance_warmup_period,
            300,
            0..=10_000,
        )?,
    };
    let protection = group.managed_termination_protection.unwrap_or(Switch::Disabled);
    if protection == Switch::Enabled && scaling.status != Some(Switch::Enabled) {
        return Err(invalid(
            "The managed termination protection setting for the capacity provider is invalid. To enable managed \
             termination protection for a capacity provider, enable managed scaling for the capacity provider.",
        ));
    }
    group.managed_scaling = Some(scaling);
    group.managed_termination_protection = Some(protection);
    group.managed_draining.get_or_insert(Switch::Enabled);
    Ok(group)
}

pub(super) fn create(
    call: &Call<'_>,
    request: CreateCapacityProviderRequest,
) -> Result<CapacityProviderResponse, Fault> {
    check_name(&request.name)?;
    tags::check(&request.tags)?;
    let managed_instances = request.managed_instances_provider.is_some();
    call.change(|registry| {
        check_kind(registry, request.cluster.as_deref(), managed_instances)?;
        let group = request
            .auto_scaling_group_provider
            .clone()
            .ok_or_else(|| invalid("An Auto Scaling group is needed: autoScalingGroupProvider."))?;
        if !is_auto_scaling_group(&group.auto_scaling_group_arn) {
            return Err(invalid(
                "The specified Auto Scaling group ARN is invalid. Specify a valid Auto Scaling group ARN and try again.",
            ));
        }
        let group = completed(group)?;
        if registry.capacity_providers.get(&request.name).is_some() {
            return Err(client(
                "The specified capacity provider already exists. To change the configuration of an existing capacity \
                 provider, update the capacity provider.",
            ));
        }
        if registry.capacity_providers.len() >= PROVIDERS_MAX {
            return Err(Fault::new(
                "LimitExceededException",
                format!("An account can have at most {PROVIDERS_MAX} capacity providers."),
            ));
        }
        let record = CapacityProviderRecord {
            name: request.name.clone(),
            arn: arn(call, &request.name),
            group,
            tags: request.tags.clone(),
        };
        registry.capacity_providers.put(request.name.clone(), record.clone());
        Ok(CapacityProviderResponse {
            capacity_provider: CapacityProvider {
                update_status: Some("CREATE_COMPLETE"),
                ..told(&record)
            },
        })
    })
}

fn is_auto_scaling_group(given: &str) -> bool {
    given.len() <= 1_600
        && given.parse::<Arn>().is_ok()
        && given.contains(":autoscaling:")
        && given.contains(":autoScalingGroup:")
        && given.contains(":autoScalingGroupName/")
}

fn arn(call: &Call<'_>, name: &str) -> Arn {
    call.scope.arn("ecs", format_args!("capacity-provider/{name}"))
}

fn not_found(given: &str) -> Fault {
    invalid(format!(
        "The specified capacity provider '{given}' was not found. Specify a valid name or ARN and try again."
    ))
}

pub(super) fn update(
    call: &Call<'_>,
    request: UpdateCapacityProviderRequest,
) -> Result<CapacityProviderResponse, Fault> {
    let managed_instances = request.managed_instances_provider.is_some();
    call.change(|registry| {
        check_kind(registry, request.cluster.as_deref(), managed_instances)?;
        let name = provider_name(&request.name);
        if FARGATE.contains(&name) {
            return Err(invalid("The FARGATE and FARGATE_SPOT capacity providers cannot be updated."));
        }
        let mut record = registry
            .capacity_providers
            .get(name)
            .map(|record| (**record).clone())
            .ok_or_else(|| not_found(&request.name))?;
        let update = request
            .auto_scaling_group_provider
            .clone()
            .ok_or_else(|| invalid("There is nothing to update: autoScalingGroupProvider is needed."))?;
        if let Some(scaling) = update.managed_scaling {
            let present = record.group.managed_scaling.take().unwrap_or_default();
            record.group.managed_scaling = Some(ManagedScaling {
                status: scaling.status.or(present.status),
                target_capacity: scaling.target_capacity.or(present.target_capacity),
                minimum_scaling_step_size: scaling
                    .minimum_scaling_step_size
                    .or(present.minimum_scaling_step_size),
                maximum_scaling_step_size: scaling
                    .maximum_scaling_step_size
                    .or(present.maximum_scaling_step_size),
                instance_warmup_period: scaling.instance_warmup_period.or(present.instance_warmup_period),
            });
        }
        let protection = update.managed_termination_protection;
        record.group.managed_termination_protection =
            protection.or(record.group.managed_termination_protection);
        record.group.managed_draining = update.managed_draining.or(record.group.managed_draining);
        record.group = completed(record.group)?;
        let response = CapacityProvider { update_status: Some("UPDATE_COMPLETE"), ..told(&record) };
        registry.capacity_providers.put(record.name.clone(), record);
        Ok(CapacityProviderResponse { capacity_provider: response })
    })
}

pub(super) fn delete(
    call: &Call<'_>,
    request: DeleteCapacityProviderRequest,
) -> Result<CapacityProviderResponse, Fault> {
    call.change(|registry| {
        if let Some(given) = &request.cluster {
            find_cluster(registry, Some(given))?;
        }
        let name = provider_name(&request.capacity_provider);
        if FARGATE.contains(&name) {
            return Err(invalid("The FARGATE and FARGATE_SPOT capacity providers are reserved and can't be deleted."));
        }
        let record = registry.capacity_providers.get(name).cloned();
        let record = record.ok_or_else(|| not_found(&request.capacity_provider))?;
        let clusters = registry.clusters.values();
        let associated: Vec<_> = clusters
            .filter(|cluster| cluster.request.capacity_providers.iter().any(|one| provider_name(one) == name))
            .map(|cluster| cluster.name.as_str())
            .collect();
        if !associated.is_empty() {
            return Err(client(format!(
                "The capacity provider cannot be deleted because it is associated with cluster: {}. Remove the \
                 capacity provider from the cluster and try again.",
                associated.join(", ")
            )));
        }
        registry.capacity_providers.remove(name);
        Ok(CapacityProviderResponse {
            capacity_provider: CapacityProvider {
                status: "INACTIVE",
                update_status: Some("DELETE_COMPLETE"),
                ..told(&record)
            },
        })
    })
}

fn told(record: &CapacityProviderRecord) -> CapacityProvider {
    CapacityProvider {
        capacity_provider_arn: record.arn.to_string(),
        name: record.name.clone(),
        status: "ACTIVE",
        auto_scaling_group_provider: Some(record.group.clone()),
        update_status: None,
        tags: record.tags.clone(),
        r#type: "EC2_AUTOSCALING",
    }
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeCapacityProvidersRequest,
) -> Result<DescribeCapacityProvidersResponse, Fault> {
    let registry = call.registry();
    // Only providers of Managed Instances are a cluster's own.
    let of_cluster = match &request.cluster {
        Some(given) => Some(find_cluster(&registry, Some(given))?),
        None => None,
    };
    constraint::items("capacityProviders", request.capacity_providers.len(), 0..=100).map_err(invalid)?;
    let of_account = FARGATE.into_iter().map(|name| CapacityProvider {
        capacity_provider_arn: arn(call, name).to_string(),
        name: name.into(),
        status: "ACTIVE",
        r#type: name,
        ..CapacityProvider::default()
    });
    let made = registry.capacity_providers.values().map(|record| told(record));
    let all: Vec<_> = of_account.chain(made).filter(|_| of_cluster.is_none()).collect();
    let is = |provider: &CapacityProvider, asked: &str| {
        asked == provider.name || asked == provider.capacity_provider_arn
    };
    let failures = request
        .capacity_providers
        .iter()
        .filter(|asked| !all.iter().any(|provider| is(provider, asked)))
        .map(|asked| {
            let arn = match asked.starts_with("arn:") {
                true => asked.clone(),
                false => arn(call, asked).to_string(),
            };
            Failure { arn: Some(arn), reason: Some("MISSING".into()), detail: None }
        })
        .collect();
    let mut wanted = all;
    if !request.capacity_providers.is_empty() {
        wanted.retain(|provider| request.capacity_providers.iter().any(|asked| is(provider, asked)));
    }
    if !request.include.contains(&TagsField::Tags) {
        wanted.iter_mut().for_each(|provider| provider.tags.clear());
    }
    let page = page_of(
        "DescribeCapacityProviders",
        wanted,
        |provider| provider.name.clone(),
        request.next_token.as_deref(),
        request.max_results,
        10,
    )?;
    Ok(DescribeCapacityProvidersResponse {
        capacity_providers: page.items,
        failures,
        next_token: page.next_token,
    })
}

/// Refuses capacity providers of a cluster that are not here, and a strategy of others.
pub(super) fn check_association(
    registry: &Registry,
    providers: &[String],
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), Fault> {
    if providers.len() > OF_CLUSTER_MAX {
        return Err(invalid(format!("A cluster can have at most {OF_CLUSTER_MAX} capacity providers.")));
    }
    match providers.iter().find(|given| !capacity::exists(registry, provider_name(given))) {
        Some(given) => Err(not_found(given)),
        None => capacity::check_strategy(registry, providers, strategy).map_err(invalid),
    }
}

pub(super) fn put_of_cluster(
    call: &Call<'_>,
    request: PutClusterCapacityProvidersRequest,
) -> Result<ClusterResponse, Fault> {
    clusters::change(call, &request.cluster, |registry, name| {
        check_association(
            registry,
            &request.capacity_providers,
            &request.default_capacity_provider_strategy,
        )?;
        let present = registry.clusters.get(name).map(|cluster| cluster.request.capacity_providers.clone());
        for removed in present.unwrap_or_default() {
            let removed = provider_name(&removed);
            let stays = request.capacity_providers.iter().any(|given| provider_name(given) == removed);
            if let Some(service) = capacity::services_using(registry, name, removed).next().filter(|_| !stays)
            {
                return Err(Fault::new(
                    "ResourceInUseException",
                    format!(
                        "The specified capacity provider is in use and cannot be removed: {removed} is in the \
                         strategy of the service {service}."
                    ),
                ));
            }
        }
        let named = |given: &String| provider_name(given).to_owned();
        registry.clusters.update(name, |cluster| {
            cluster.request.capacity_providers = request.capacity_providers.iter().map(named).collect();
            cluster.request.default_capacity_provider_strategy =
                request.default_capacity_provider_strategy.clone();
        });
        Ok(())
    })
}
