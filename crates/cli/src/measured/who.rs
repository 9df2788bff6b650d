//! Whose an identity is, and what they are called.

use std::collections::BTreeMap;

use bowline_control::{
    registry::{Registry, TaskOwner},
    telemetry::Workload,
    view,
};
use bowline_model::identity::SpiffeId;
use serde::{Deserialize, Serialize};

/// What calls or is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// A service of ECS.
    Service,
    /// Standalone tasks of one group.
    TaskGroup,
    /// A load balancer's gateway.
    LoadBalancer,
}

/// A service, a group of standalone tasks, or a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Party {
    /// The cluster's name; a load balancer has none.
    pub(crate) cluster: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
}

impl Party {
    /// Whether a name, `CLUSTER/NAME` or a service's ARN means this one.
    pub(crate) fn is_called(&self, given: &str) -> bool {
        let given = given.rsplit_once(":service/").map_or(given, |(_, name)| name);
        let cluster = self.cluster.as_deref().unwrap_or_default();
        given == self.name || given.split_once('/') == Some((cluster, &self.name))
    }
}

/// Everybody there is.
#[derive(Debug, Default)]
pub(crate) struct Who {
    /// By SPIFFE id.
    identities: BTreeMap<String, Party>,
    /// By the stream's name of what they offer.
    offers: BTreeMap<String, Party>,
}

impl Who {
    pub(crate) fn of(registry: &Registry) -> Self {
        let mut who = Self::default();
        for service in registry.services.values() {
            let (cluster, name) = (Some(service.cluster.clone()), service.name.clone());
            who.add(
                registry.identity_of_service(service).as_str(),
                Party { cluster, name, kind: Kind::Service },
            );
        }
        let trust_domain = &registry.settings().trust_domain;
        for balancer in registry.load_balancers.values() {
            let identity = SpiffeId::of_gateway(trust_domain, &balancer.name);
            let party = Party { cluster: None, name: balancer.name.clone(), kind: Kind::LoadBalancer };
            who.add(identity.as_str(), party);
        }
        for task in registry.tasks.values() {
            if let (TaskOwner::Standalone(standalone), Some(identity)) =
                (&task.owner, registry.identity_of(task))
            {
                let (cluster, name) = (Some(standalone.cluster.clone()), standalone.group.clone());
                who.add(identity.as_str(), Party { cluster, name, kind: Kind::TaskGroup });
            }
        }
        for (offer, service) in view::services_behind(registry) {
            let (cluster, name) = (Some(service.cluster.clone()), service.name.clone());
            who.offers.insert(offer, Party { cluster, name, kind: Kind::Service });
        }
        who
    }

    /// One more.
    pub(crate) fn add(&mut self, identity: &str, party: Party) {
        self.identities.insert(identity.to_owned(), party);
    }

    /// One more thing that somebody offers.
    #[cfg(test)]
    pub(crate) fn add_offer(&mut self, cluster: &str, party: Party) {
        self.offers.insert(cluster.to_owned(), party);
    }

    /// Everybody.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Party> {
        self.identities.values()
    }

    /// Whose an identity is.
    pub(crate) fn by_identity(&self, identity: &str) -> Option<&Party> {
        self.identities.get(identity)
    }

    /// Who is behind a cluster of the streams.
    pub(crate) fn by_offer(&self, cluster: &str) -> Option<&Party> {
        // The cluster of a new set of tasks is called after the deployment besides.
        let of_set = || self.offers.get(cluster.rsplit_once('@')?.0);
        self.offers.get(cluster).or_else(of_set)
    }

    /// A party's identity.
    pub(crate) fn identity_of(&self, party: &Party) -> Option<&str> {
        let found = self.identities.iter().find(|(_, of)| *of == party);
        found.map(|(identity, _)| identity.as_str())
    }

    /// Who tells.
    pub(crate) fn party(&self, workload: &Workload) -> Party {
        let cluster = (!workload.is_gateway).then(|| workload.cluster.clone());
        let is_it = |party: &&Party| party.cluster == cluster && party.name == workload.name;
        // Of one that is gone by now: a group's name without a prefix is the user's own choice, and rare.
        let kind = match (workload.is_gateway, workload.name.starts_with("family:")) {
            (true, _) => Kind::LoadBalancer,
            (false, true) => Kind::TaskGroup,
            (false, false) => Kind::Service,
        };
        let name = workload.name.clone();
        self.all().find(is_it).cloned().unwrap_or(Party { cluster, name, kind })
    }

    /// What a table calls a party: its name alone where that is nobody else's.
    pub(crate) fn short(&self, party: &Party) -> String {
        short(party, self.all())
    }
}

/// A party's name; with its cluster where another one of `all` is called the same.
pub(crate) fn short<'a>(party: &Party, mut all: impl Iterator<Item = &'a Party>) -> String {
    match &party.cluster {
        Some(cluster) if all.any(|other| other.name == party.name && other != party) => {
            format!("{cluster}/{}", party.name)
        }
        _ => party.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_called_by_name_by_cluster_and_by_arn() {
        let party = Party { cluster: Some("shop".into()), name: "web".into(), kind: Kind::Service };
        for name in ["web", "shop/web", "arn:aws:ecs:us-east-1:000000000000:service/shop/web"] {
            assert!(party.is_called(name), "{name}");
        }
        for name in ["we", "other/web", "/web", "arn:aws:ecs:us-east-1:000000000000:service/other/web"] {
            assert!(!party.is_called(name), "{name}");
        }
    }

    #[test]
    fn who_is_called_the_same_is_told_apart_by_the_cluster() {
        let party =
            |cluster: &str| Party { cluster: Some(cluster.into()), name: "web".into(), kind: Kind::Service };
        let mut who = Who::default();
        who.add("spiffe://d/one", party("one"));
        assert_eq!(who.short(&party("one")), "web");
        who.add("spiffe://d/two", party("two"));
        assert_eq!(who.short(&party("one")), "one/web");
    }
}
