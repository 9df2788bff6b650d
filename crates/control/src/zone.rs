//! Availability zones: which a subnet is in, which a task is placed in.
//!
//! Everything runs on one machine; zones are what the subnets of templates say. They decide who calls
//! whom where a traffic policy is aware of them, and are told as AWS tells them.

use bowline_aws::cfn::StackResource;
use bowline_model::zone::{self, ZoneLoad};
use serde::{Deserialize, Serialize};

use crate::registry::{Registry, TaskOwner, TaskRecord};

/// The resource type whose rows [`Registry::subnets`] are.
pub(crate) const SUBNET: &str = "AWS::EC2::Subnet";
/// The table's name in a stack's record.
pub(crate) const SUBNETS: &str = "subnets";

/// A subnet of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRecord {
    /// The id.
    pub id: String,
    /// Its availability zone.
    pub zone: String,
}

impl SubnetRecord {
    /// The row of a template's resource; CloudFormation gives a subnet that names no zone its region's
    /// first.
    pub(crate) fn of(resource: &StackResource) -> Option<Self> {
        let zone = resource.attribute("AvailabilityZone")?.to_owned();
        Some(Self { id: resource.physical_id.clone(), zone })
    }
}

/// The zone of everything whose subnets are not known: the region's first.
fn default_zone(registry: &Registry) -> String {
    format!("{}a", registry.settings().scope.region)
}

/// The zone that a task is in.
pub(crate) fn of_task(registry: &Registry, task: &TaskRecord) -> String {
    task.zone.clone().unwrap_or_else(|| default_zone(registry))
}

/// The subnet that a task's network interface is in, of those that were asked for.
pub(crate) fn subnet_of<'s>(
    registry: &Registry,
    task: &TaskRecord,
    subnets: &'s [String],
) -> Option<&'s str> {
    let zone = of_task(registry, task);
    let is_there = |id: &&String| registry.subnets.get(id.as_str()).is_some_and(|row| row.zone == zone);
    subnets.iter().find(is_there).or(subnets.first()).map(String::as_str)
}

/// The subnets that tasks of an owner are placed in.
pub(crate) fn subnets_of<'r>(registry: &'r Registry, owner: &'r TaskOwner) -> &'r [String] {
    match owner {
        TaskOwner::Service { service, .. } => registry
            .service_records
            .get(service.as_str())
            .and_then(|record| record.request.network_configuration.as_ref())
            .and_then(|network| network.awsvpc_configuration.as_ref())
            .map(|awsvpc| &awsvpc.subnets[..])
            .unwrap_or_default(),
        TaskOwner::Standalone(standalone) => &standalone.subnets,
        // It stands for the load balancer's nodes in all zones.
        TaskOwner::Gateway { .. } => &[],
    }
}

/// Places tasks in zones, one after the other.
#[derive(Debug)]
pub(crate) struct Spread(Vec<ZoneLoad>);

impl Spread {
    /// For tasks of an owner beside `tasks`, all that its service or its group has.
    pub(crate) fn new<'t>(
        registry: &Registry,
        owner: &TaskOwner,
        tasks: impl Iterator<Item = &'t TaskRecord>,
    ) -> Self {
        let mut zones: Vec<ZoneLoad> = Vec::new();
        for subnet in subnets_of(registry, owner).iter().filter_map(|id| registry.subnets.get(id.as_str())) {
            if !zones.iter().any(|known| known.zone == subnet.zone) {
                zones.push(ZoneLoad { zone: subnet.zone.clone(), ..ZoneLoad::default() });
            }
        }
        if zones.is_empty() {
            return Self(zones);
        }
        for task in tasks.filter(|task| !task.is_ending()) {
            let zone = of_task(registry, task);
            let Some(load) = zones.iter_mut().find(|load| load.zone == zone) else { continue };
            load.service += 1;
            load.deployment += usize::from(deployment_of(&task.owner) == deployment_of(owner));
        }
        Self(zones)
    }

    /// The next task's zone; `None` where no subnet is known.
    pub(crate) fn place(&mut self) -> Option<String> {
        zone::next(&mut self.0).map(str::to_owned)
    }
}

fn deployment_of(owner: &TaskOwner) -> Option<&str> {
    match owner {
        TaskOwner::Service { deployment, .. } => Some(deployment.digits()),
        TaskOwner::Standalone(_) | TaskOwner::Gateway { .. } => None,
    }
}

/// Of a service's tasks that serve, the percentage in a zone, 1 at least: how much of what it calls its
/// callers in that zone may take. 0: it is not known.
pub(crate) fn callers_percent<'t>(
    registry: &Registry,
    zone: &str,
    callers: impl Iterator<Item = &'t TaskRecord>,
) -> u32 {
    let (mut here, mut all) = (0usize, 0usize);
    for task in callers.filter(|task| task.serves()) {
        all += 1;
        here += usize::from(of_task(registry, task) == zone);
    }
    if all == 0 {
        return 0;
    }
    u32::try_from((100 * here + all / 2) / all).unwrap_or(100).max(1)
}
