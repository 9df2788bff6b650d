//! Where a proxy's routes lead, for people: what was published to it, with the health of what is behind as the
//! registry has it.

use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1,
};
use bowline_model::task::{HealthStatus, TaskId};
use bowline_stream::directory::ResourceSet;

use crate::registry::Registry;

/// What a proxy calls others by.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteView {
    /// Names under which it is called, with the port; the listener's address where it has none.
    pub names: Vec<String>,
    /// The rules in their order: the first that matches decides.
    pub rules: Vec<RuleView>,
}

/// A rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleView {
    /// What a request must have; empty: nothing.
    pub matches: String,
    /// Where it leads.
    pub action: ActionView,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionView {
    /// One of these answers.
    Forward(Vec<DestinationView>),
    /// The proxy answers with this status by itself.
    Answer(u32),
    /// The client is sent elsewhere, with this status.
    Redirect(u32),
}

/// A cluster that a rule leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationView {
    /// Its name on the stream.
    pub cluster: String,
    /// Its share of the requests, 0 to 1.
    pub share: f64,
    /// What answers for it.
    pub targets: Vec<TargetView>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetView {
    /// `127.1.2.3:15006`
    pub address: String,
    /// The task; `None` of what is outside the mesh.
    pub task: Option<TaskId>,
    /// The task's health.
    pub health: HealthStatus,
    /// It gets nothing new.
    pub draining: bool,
    /// 0: called first; others where those before cannot answer.
    pub priority: u32,
}

/// The routes among a proxy's resources, by the listeners' names.
pub(crate) fn of(set: &ResourceSet, registry: &Registry) -> Vec<RouteView> {
    let listeners = set.of(ResourceType::Listener).values();
    let listeners = listeners.filter_map(|resource| match &*resource.resource {
        Resource::Listener(listener) => Some(listener),
        _ => None,
    });
    listeners.filter_map(|listener| route(set, registry, listener)).collect()
}

fn route(set: &ResourceSet, registry: &Registry, listener: &v1::Listener) -> Option<RouteView> {
    let names = match listener.bind.as_ref()? {
        // Where others reach the task itself: there are no routes to choose from.
        v1::listener::Bind::Inbound(_) => return None,
        v1::listener::Bind::Outbound(bind) => {
            bind.hostnames.iter().map(|name| format!("{name}:{}", bind.port)).collect()
        }
        v1::listener::Bind::Public(bind) => vec![format!("{}:{}", bind.address, bind.port)],
    };
    let whole = |cluster: &str| v1::WeightedCluster { cluster: cluster.to_owned(), weight: 1 };
    let rules = match get(set, ResourceType::Route, &listener.route) {
        Some(Resource::Route(route)) => {
            route.rules.iter().filter_map(|rule| self::rule(set, registry, rule)).collect()
        }
        _ if listener.cluster.is_empty() => Vec::new(),
        _ => {
            let action = ActionView::Forward(destinations(set, registry, &[whole(&listener.cluster)]));
            vec![RuleView { matches: String::new(), action }]
        }
    };
    Some(RouteView { names, rules })
}

fn get<'a>(set: &'a ResourceSet, of: ResourceType, name: &str) -> Option<&'a Resource> {
    Some(&*set.get(of, name)?.resource)
}

fn rule(set: &ResourceSet, registry: &Registry, rule: &v1::RouteRule) -> Option<RuleView> {
    let action = match rule.action.as_ref()? {
        v1::route_rule::Action::Forward(forward) => {
            ActionView::Forward(destinations(set, registry, &forward.clusters))
        }
        v1::route_rule::Action::Redirect(redirect) => ActionView::Redirect(redirect.status),
        v1::route_rule::Action::FixedResponse(response) => ActionView::Answer(response.status),
    };
    Some(RuleView { matches: rule.r#match.as_ref().map(matches).unwrap_or_default(), action })
}

fn destinations(
    set: &ResourceSet,
    registry: &Registry,
    clusters: &[v1::WeightedCluster],
) -> Vec<DestinationView> {
    let whole: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    let destination = |to: &v1::WeightedCluster| DestinationView {
        cluster: to.cluster.clone(),
        share: if whole == 0 { 0.0 } else { f64::from(to.weight) / whole as f64 },
        targets: match get(set, ResourceType::Endpoints, &to.cluster) {
            Some(Resource::Endpoints(endpoints)) => {
                endpoints.endpoints.iter().map(|endpoint| target(registry, endpoint)).collect()
            }
            _ => Vec::new(),
        },
    };
    clusters.iter().map(destination).collect()
}

fn target(registry: &Registry, endpoint: &v1::Endpoint) -> TargetView {
    let task = registry.tasks.get(&endpoint.task_id);
    let host = if endpoint.address.is_empty() { &endpoint.hostname } else { &endpoint.address };
    TargetView {
        address: format!("{host}:{}", endpoint.port),
        task: task.map(|task| task.id.clone()),
        health: task.and_then(|task| Some(task.report.as_ref()?.health)).unwrap_or_default(),
        draining: endpoint.draining,
        priority: endpoint.priority,
    }
}

/// `host a.example and path /b* and header x-test = yes`
fn matches(it: &v1::RouteMatch) -> String {
    let any = |what: &str, all: &[String]| (!all.is_empty()).then(|| format!("{what} {}", all.join(" or ")));
    let one = |what: &str, header: &v1::HeaderMatch| {
        let v1::HeaderMatch { name, exact, prefix, suffix, present, range, invert } = header;
        let not = if *invert { "not " } else { "" };
        let test = match range {
            Some(range) => format!(" of {} to {}", range.start, range.end),
            None if *present => String::new(),
            None if !prefix.is_empty() => format!(" = {prefix}*"),
            None if !suffix.is_empty() => format!(" = *{suffix}"),
            None => format!(" = {exact}"),
        };
        format!("{not}{what} {name}{test}")
    };
    let mut all: Vec<String> = [any("host", &it.hosts), any("path", &it.paths), any("method", &it.methods)]
        .into_iter()
        .flatten()
        .collect();
    all.extend(it.headers.iter().map(|header| one("header", header)));
    all.extend(it.query.iter().map(|parameter| one("query", parameter)));
    // Theirs is the same form, one within another; what was published has few.
    all.extend(it.also.iter().map(matches).filter(|text| !text.is_empty()));
    all.join(" and ")
}
