//! Where calls lead, as the CLI shows it.

use anyhow::bail;
use bowline_control::{
    control_plane::ControlPlane,
    registry::{Registry, TaskRecord},
    routes::{ActionView, DestinationView, RouteView, TargetView},
};
use bowline_model::task::{HealthStatus, TaskId};
use serde::{Deserialize, Serialize};

use crate::{
    display::Table,
    measured::{
        rates::percent,
        who::{Kind, Party, Who},
    },
};

/// A rule of what a service or load balancer calls others by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteRow {
    /// Whose proxies have it.
    pub(crate) from: Party,
    /// Names under which it is called, with the port; a load balancer's address.
    pub(crate) names: Vec<String>,
    /// What a request must have; empty: nothing. Of one name's rules the first that matches decides.
    pub(crate) matches: String,
    /// Where it leads.
    pub(crate) to: Vec<Destination>,
    /// The status that the proxy answers with by itself, be it to send the client elsewhere.
    pub(crate) answer: Option<u32>,
}

/// A cluster that a rule leads to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Destination {
    /// Its name.
    pub(crate) cluster: String,
    /// Its share of the requests, 0 to 1.
    pub(crate) share: f64,
    /// What answers for it.
    pub(crate) targets: Vec<Target>,
}

/// One that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    /// Where it is reached.
    pub(crate) address: String,
    /// The task; `None` of what is outside the mesh.
    pub(crate) task: Option<TaskId>,
    /// The task's health.
    pub(crate) health: HealthStatus,
    /// It gets nothing new.
    pub(crate) draining: bool,
    /// 0: called first; others where those before cannot answer.
    pub(crate) priority: u32,
}

/// The routes of services and load balancers; of all where none is named.
///
/// # Errors
/// There is no such service.
pub(crate) fn rows(control: &ControlPlane, names: &[String]) -> anyhow::Result<Vec<RouteRow>> {
    let registry = control.snapshot();
    let callers = callers(&registry);
    let who = Who::of(&registry);
    for name in names {
        if !callers.iter().any(|(party, _)| party.is_called(name)) {
            let known: Vec<_> = callers.iter().map(|(party, _)| who.short(party)).collect();
            bail!("{name} has no task with a proxy; these have: {}", known.join(", "));
        }
    }
    let is_wanted = |party: &Party| names.is_empty() || names.iter().any(|name| party.is_called(name));
    let wanted = callers.into_iter().filter(|(party, _)| is_wanted(party));
    Ok(wanted
        .flat_map(|(from, task)| {
            let routes = control.routes(&task).into_iter();
            routes.flat_map(move |route| of_route(&from, route)).collect::<Vec<_>>()
        })
        .collect())
}

/// Who calls others, each with the task that came last: its routes are all the others' too.
fn callers(registry: &Registry) -> Vec<(Party, TaskId)> {
    let last = |tasks: Vec<std::sync::Arc<TaskRecord>>| tasks.last().map(|task| task.id.clone());
    let services = registry.services.values().filter_map(|service| {
        let (cluster, name) = (Some(service.cluster.clone()), service.name.clone());
        let task = last(registry.tasks_of_service(&service.arn))?;
        Some((Party { cluster, name, kind: Kind::Service }, task))
    });
    let balancers = registry.load_balancers.values().filter_map(|balancer| {
        let party = Party { cluster: None, name: balancer.name.clone(), kind: Kind::LoadBalancer };
        Some((party, last(registry.tasks_of_gateway(&balancer.arn))?))
    });
    let mut callers: Vec<_> = services.chain(balancers).collect();
    callers.sort();
    callers
}

fn of_route(from: &Party, route: RouteView) -> Vec<RouteRow> {
    let names = route.names;
    let row = |rule: bowline_control::routes::RuleView| {
        let (to, answer) = match rule.action {
            ActionView::Forward(to) => (to.into_iter().map(destination).collect(), None),
            ActionView::Answer(status) | ActionView::Redirect(status) => (Vec::new(), Some(status)),
        };
        RouteRow { from: from.clone(), names: names.clone(), matches: rule.matches, to, answer }
    };
    route.rules.into_iter().map(row).collect()
}

fn destination(view: DestinationView) -> Destination {
    let target = |view: TargetView| {
        let TargetView { address, task, health, draining, priority } = view;
        Target { address, task, health, draining, priority }
    };
    let DestinationView { cluster, share, targets } = view;
    Destination { cluster, share, targets: targets.into_iter().map(target).collect() }
}

/// The table, `width` columns wide at most: a line for each destination of a rule.
pub(crate) fn table(rows: &[RouteRow], width: Option<u16>) -> String {
    let mut table = Table::new(["FROM", "CALLS", "WHERE", "TO", "SHARE", "TARGETS"]).within(width);
    for row in rows {
        let first = |to: &str, share: String, targets: String| {
            let name = row.names.first().cloned().unwrap_or_else(|| "-".into());
            let matches = if row.matches.is_empty() { "-".into() } else { row.matches.clone() };
            [row.from.name.clone(), name, matches, to.to_owned(), share, targets]
        };
        for to in &row.to {
            table.row(first(&to.cluster, percent(Some(to.share)), summary(&to.targets)));
        }
        if let Some(status) = row.answer {
            table.row(first(&format!("answers {status}"), "-".into(), "-".into()));
        }
    }
    table.to_string()
}

/// `3: 2 healthy, 1 draining`
fn summary(targets: &[Target]) -> String {
    let count = |what: &str, test: &dyn Fn(&&Target) -> bool| {
        let count = targets.iter().filter(test).count();
        (count > 0).then(|| format!("{count} {what}"))
    };
    let is = |health| move |target: &&Target| !target.draining && target.health == health;
    let parts = [
        count("healthy", &is(HealthStatus::Healthy)),
        count("unchecked", &is(HealthStatus::Unknown)),
        count("unhealthy", &is(HealthStatus::Unhealthy)),
        count("draining", &|target| target.draining),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(health: HealthStatus, draining: bool) -> TargetView {
        TargetView { address: "127.0.0.2:15006".into(), task: None, health, draining, priority: 0 }
    }

    #[test]
    fn a_rule_has_a_line_for_each_destination() {
        let forward = ActionView::Forward(vec![
            DestinationView {
                cluster: "b.n".into(),
                share: 0.9,
                targets: vec![target(HealthStatus::Healthy, false), target(HealthStatus::Healthy, true)],
            },
            DestinationView { cluster: "b.n@12".into(), share: 0.1, targets: Vec::new() },
        ]);
        let rule =
            |matches: &str, action| bowline_control::routes::RuleView { matches: matches.into(), action };
        let rules = vec![rule("path /old*", ActionView::Redirect(301)), rule("", forward)];
        let from = Party { cluster: Some("c".into()), name: "a".into(), kind: Kind::Service };
        let rows = of_route(&from, RouteView { names: vec!["b:80".into(), "b.n:80".into()], rules });
        assert_eq!((rows.len(), rows[0].answer, rows[1].to.len()), (2, Some(301), 2));
        let text = table(&rows, None);
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["a", "b:80", "path", "/old*", "answers", "301", "-", "-"]);
        assert_eq!(lines[2], ["a", "b:80", "-", "b.n", "90.00%", "1", "healthy,", "1", "draining"]);
        assert_eq!(lines[3], ["a", "b:80", "-", "b.n@12", "10.00%", "none"]);
    }
}
