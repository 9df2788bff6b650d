//! While one whole set of a service's tasks takes another's place, what is called by the service's
//! name is two clusters: that of the name, with the old set, and one of the new set's beside it.
//!
//! The name's cluster is the old set's until the end, and the new set's has the deployment in its
//! name: neither ever changes whose it is while a route leads there.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::{
    rollout::shift::{Set, Share, Shift},
    service::{Service, TestHeader},
};

use crate::registry::{Registry, TaskOwner};

/// How a cluster's traffic is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The name's own cluster.
    blue: String,
    /// The new set's cluster.
    green: String,
    /// Its share of the production traffic.
    pub(super) production: Share,
    /// Test traffic goes there.
    test: bool,
}

/// Divides a cluster between the sets of its service. One of connections (`tcp`) stays one: there
/// the endpoints' weights make the shares.
pub(super) fn divide(
    registry: &Registry,
    service: &Service,
    [cluster, endpoints]: [Resource; 2],
    tcp: bool,
) -> (Vec<Resource>, Option<Split>) {
    let (Some(shift), Resource::Cluster(cluster), Resource::Endpoints(mut endpoints)) =
        (&service.shift, cluster.clone(), endpoints.clone())
    else {
        return (vec![cluster, endpoints], None);
    };
    let is_green = |endpoint: &v1::Endpoint| set_of(registry, shift, &endpoint.task_id) == Set::Green;
    // Those of other services stand in for either set.
    let (stand_ins, own): (Vec<_>, Vec<_>) =
        endpoints.endpoints.into_iter().partition(|endpoint| endpoint.priority > 0);
    let (mut green, mut blue): (Vec<_>, Vec<_>) = own.into_iter().partition(is_green);
    let live = |set: &[v1::Endpoint]| set.iter().filter(|endpoint| !endpoint.draining).count();
    // A set that has nothing left to answer gets nothing to answer.
    let production = match (live(&blue), live(&green)) {
        (_, 0) => Share::NONE,
        (0, _) => Share::ALL,
        _ => shift.production,
    };
    if tcp {
        weigh(&mut blue, &mut green, production);
        blue.append(&mut green);
        blue.extend(stand_ins);
        endpoints.endpoints = blue;
        return (vec![Resource::Cluster(cluster), Resource::Endpoints(endpoints)], None);
    }
    let test = shift.test && live(&green) > 0;
    let name = format!("{}@{}", cluster.name, shift.green.deployment.digits());
    let split = Split { blue: cluster.name.clone(), green: name.clone(), production, test };
    blue.extend(stand_ins.iter().cloned());
    green.extend(stand_ins);
    endpoints.endpoints = blue;
    let beside = v1::Cluster { name: name.clone(), ..cluster.clone() };
    let resources = vec![
        Resource::Cluster(cluster),
        Resource::Endpoints(endpoints),
        Resource::Cluster(beside),
        Resource::Endpoints(v1::Endpoints { name, endpoints: green }),
    ];
    (resources, Some(split))
}

fn set_of(registry: &Registry, shift: &Shift, task: &str) -> Set {
    match registry.tasks.get(task).map(|task| &task.owner) {
        Some(TaskOwner::Service { deployment, .. }) => shift.set_of(deployment),
        _ => Set::Neither,
    }
}

/// Gives endpoints weights by which green's together are to blue's as the shares are.
fn weigh(blue: &mut [v1::Endpoint], green: &mut [v1::Endpoint], production: Share) {
    let live = |set: &[v1::Endpoint]| {
        u64::try_from(set.iter().filter(|endpoint| !endpoint.draining).count()).unwrap_or(u64::MAX)
    };
    let (blues, greens) = (live(blue), live(green));
    let of_blue = u64::from(production.rest().tenths()).saturating_mul(greens);
    let of_green = u64::from(production.tenths()).saturating_mul(blues);
    // A weight is 1,000 at most, and the greater one is that, so that rounding weighs least.
    let most = of_blue.max(of_green).max(1);
    for (set, weight) in [(blue, of_blue), (green, of_green)] {
        for endpoint in set {
            let scaled = weight.saturating_mul(1_000).saturating_add(most / 2) / most;
            endpoint.weight = u32::try_from(scaled.max(1)).unwrap_or(1);
            // What it has it finishes.
            endpoint.draining |= weight == 0;
        }
    }
}

/// The rules that stand for one that leads to clusters of which some are divided: `own`, whose test
/// traffic comes first, and `others`.
pub(super) fn rules(
    rule: v1::RouteRule,
    own: Option<&Split>,
    others: &[Split],
    header: Option<&TestHeader>,
) -> Vec<v1::RouteRule> {
    let Some(v1::route_rule::Action::Forward(forward)) = &rule.action else { return vec![rule] };
    if own.is_none() && others.is_empty() {
        return vec![rule];
    }
    let mut rules = Vec::new();
    let leads_to = |split: &&Split| forward.clusters.iter().any(|one| one.cluster == split.blue);
    if let Some(split) = own.filter(|split| split.test).filter(leads_to) {
        let default = TestHeader::default();
        let header = header.unwrap_or(&default);
        let mut test = rule.clone();
        test.r#match.get_or_insert_default().headers.push(v1::HeaderMatch {
            name: header.name.clone(),
            exact: header.exact.clone().unwrap_or_default(),
            present: header.exact.is_none(),
            ..v1::HeaderMatch::default()
        });
        lead(&mut test, vec![v1::WeightedCluster { cluster: split.green.clone(), weight: 1 }]);
        rules.push(test);
    }
    let clusters = forward.clusters.iter().flat_map(|one| {
        match own.into_iter().chain(others).find(|split| split.blue == one.cluster) {
            Some(split) => split.weighted(one.weight),
            None => vec![part(&one.cluster, one.weight, Share::ALL)],
        }
    });
    let clusters = clusters.collect();
    let mut production = rule;
    lead(&mut production, clusters);
    rules.push(production);
    rules
}

/// A share of what a rule gives to a cluster.
fn part(cluster: &str, weight: u32, share: Share) -> v1::WeightedCluster {
    v1::WeightedCluster { cluster: cluster.to_owned(), weight: weight.saturating_mul(share.tenths()) }
}

impl Split {
    #[cfg(test)]
    pub(super) fn between(blue: &str, green: &str, production: Share) -> Self {
        Self { blue: blue.into(), green: green.into(), production, test: true }
    }

    /// Whether it is this cluster that is divided.
    pub(super) fn is_of(&self, cluster: &str) -> bool {
        self.blue == cluster
    }

    /// The cluster's part of a rule, divided.
    pub(super) fn weighted(&self, weight: u32) -> Vec<v1::WeightedCluster> {
        vec![part(&self.blue, weight, self.production.rest()), part(&self.green, weight, self.production)]
    }

    /// Where test traffic goes, once it does.
    pub(super) fn test_cluster(&self) -> Option<&str> {
        self.test.then_some(&self.green)
    }

    /// The new set's cluster, with its share of `part` in `whole` of a cluster's endpoints.
    pub(super) fn part_of(&self, part: u32, whole: u32) -> v1::WeightedCluster {
        let tenths = u64::from(self.production.tenths()) * u64::from(part) / u64::from(whole.max(1));
        v1::WeightedCluster { cluster: self.green.clone(), weight: u32::try_from(tenths).unwrap_or(0) }
    }
}

/// Makes a rule forward to these clusters.
pub(super) fn lead(rule: &mut v1::RouteRule, clusters: Vec<v1::WeightedCluster>) {
    if let Some(v1::route_rule::Action::Forward(forward)) = &mut rule.action {
        forward.clusters = clusters;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoints(count: usize) -> Vec<v1::Endpoint> {
        (0..count).map(|_| v1::Endpoint { weight: 1, ..v1::Endpoint::default() }).collect()
    }

    proptest! {
        /// Connections are divided within one percent where each set's weights can say so.
        #[test]
        fn weights_of_connections_make_the_shares(
            blues in 1usize..20,
            greens in 1usize..20,
            tenths in 50u16..=950,
        ) {
            let (mut blue, mut green) = (endpoints(blues), endpoints(greens));
            weigh(&mut blue, &mut green, Share::from_tenths(tenths));
            let sum = |set: &[v1::Endpoint]| set.iter().map(|one| f64::from(one.weight)).sum::<f64>();
            prop_assert!(blue.iter().chain(&green).all(|one| (1..=1_000).contains(&one.weight)));
            let share = sum(&green) / (sum(&green) + sum(&blue));
            prop_assert!((share - f64::from(tenths) / 1_000.0).abs() < 0.01, "{share} of {tenths}");
        }
    }

    #[test]
    fn a_set_without_a_share_takes_no_new_connections() {
        let (mut blue, mut green) = (endpoints(2), endpoints(2));
        weigh(&mut blue, &mut green, Share::NONE);
        assert!(green.iter().all(|one| one.draining) && blue.iter().all(|one| !one.draining));
        let (mut blue, mut green) = (endpoints(2), endpoints(2));
        weigh(&mut blue, &mut green, Share::ALL);
        assert!(blue.iter().all(|one| one.draining) && green.iter().all(|one| !one.draining));
    }

    #[test]
    fn test_traffic_is_asked_for_first_and_weights_make_up_the_whole() {
        let rule = crate::publish::forward("web.ns", 15_000, None);
        assert_eq!(rules(rule.clone(), None, &[], None), std::slice::from_ref(&rule));
        let split = Split {
            blue: "web.ns".into(),
            green: "web.ns@1".into(),
            production: Share::from_tenths(50),
            test: true,
        };
        let header = TestHeader { name: "x-test".into(), exact: Some("1".into()) };
        let [test, production] = &rules(rule.clone(), Some(&split), &[], Some(&header))[..] else {
            panic!("two rules")
        };
        let asked = &test.r#match.as_ref().expect("a match").headers[0];
        assert_eq!((&*asked.name, &*asked.exact, asked.present), ("x-test", "1", false));
        let weights = |rule: &v1::RouteRule| match &rule.action {
            Some(v1::route_rule::Action::Forward(forward)) => {
                forward.clusters.iter().map(|one| (one.cluster.clone(), one.weight)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(weights(test), [("web.ns@1".into(), 1)]);
        assert_eq!(weights(production), [("web.ns".into(), 950), ("web.ns@1".into(), 50)]);
        assert_eq!((production.r#match.as_ref(), split.part_of(1, 2).weight), (None, 25));

        // A rule that leads to others too: each is divided, and keeps its weight beside the others.
        let mut mixed = rule;
        let one = |cluster: &str, weight| v1::WeightedCluster { cluster: cluster.to_owned(), weight };
        lead(&mut mixed, vec![one("other.ns", 1), one("api.ns", 3)]);
        let other = Split { blue: "api.ns".into(), green: "api.ns@2".into(), ..split.clone() };
        let [divided] = &rules(mixed, Some(&split), &[other], Some(&header))[..] else { panic!("one rule") };
        let expected = [("other.ns", 1_000), ("api.ns", 2_850), ("api.ns@2", 150)];
        assert_eq!(weights(divided), expected.map(|(name, weight)| (name.to_owned(), weight)));
    }
}
