//! How services fare: the rows of `bowline stat`.

use std::collections::BTreeMap;

use bowline_control::telemetry::{EdgeView, Side};
use bowline_model::task::TaskId;
use serde::{Deserialize, Serialize};

use super::{
    rates::{Rates, Sum, milliseconds, percent, rate},
    who::{Kind, Party, Who, short},
};
use crate::display::Table;

/// What a row is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub(crate) enum By {
    /// A service.
    #[default]
    Service,
    /// A task.
    Task,
    /// A service and one of those who call it.
    Caller,
}

/// An edge, and whose proxy told of it where that is told apart.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The task.
    pub(crate) task: Option<TaskId>,
    /// What it said.
    pub(crate) edge: EdgeView,
}

/// One of those who call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Caller {
    /// Who it is, where it proves who it is and is one of this mesh.
    pub(crate) party: Option<Party>,
    /// The SPIFFE id that it proves.
    pub(crate) identity: Option<String>,
}

/// How a service fares. A load balancer's rates are of what it passes on, all others' of what comes to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatRow {
    /// Which one.
    #[serde(flatten)]
    pub(crate) service: Party,
    /// Which of its tasks; `None` unless it is asked for by task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<TaskId>,
    /// Who calls; `None` unless it is asked for by caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) caller: Option<Caller>,
    /// How it fares.
    #[serde(flatten)]
    pub(crate) rates: Rates,
}

/// What tells rows apart.
type Key = (Party, Option<TaskId>, Option<Caller>);

/// A row for each service, task or caller. Services to which nothing has come have one, too.
pub(crate) fn rows(told: &[Told], who: &Who, by: By) -> Vec<StatRow> {
    let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
    if by == By::Service {
        sums.extend(who.all().map(|party| ((party.clone(), None, None), Sum::default())));
    }
    for Told { task, edge } in told {
        let party = who.party(&edge.edge.workload);
        let side = if party.kind == Kind::LoadBalancer { Side::Outbound } else { Side::Inbound };
        if edge.edge.side != side {
            continue;
        }
        let task = task.clone().filter(|_| by == By::Task);
        let caller = (by == By::Caller).then(|| match (side, edge.edge.peer.as_str()) {
            // A load balancer's clients prove nothing; the edge's peer is whom it calls.
            (Side::Outbound, _) | (_, "") => Caller { party: None, identity: None },
            (_, peer) => Caller { party: who.by_identity(peer).cloned(), identity: Some(peer.to_owned()) },
        });
        sums.entry((party, task, caller)).or_default().add(edge);
    }
    sums.into_iter()
        .map(|((service, task, caller), sum)| StatRow { service, task, caller, rates: sum.rates() })
        .collect()
}

/// The table of `bowline stat`, `width` columns wide at most.
pub(crate) fn table(rows: &[StatRow], by: By, width: Option<u16>) -> String {
    const RATES: [&str; 7] = ["SUCCESS", "RPS", "P50", "P95", "P99", "TCP/S", "OPEN"];
    let second = match by {
        By::Service => None,
        By::Task => Some("TASK"),
        By::Caller => Some("CALLER"),
    };
    let titles: Vec<_> = ["SERVICE"].into_iter().chain(second).chain(RATES).collect();
    let mut table = Table::of(titles).within(width);
    let parties = || rows.iter().map(|row| &row.service);
    for row in rows {
        let second = match by {
            By::Service => None,
            By::Task => Some(row.task.as_ref().map_or("-", |task| beginning(task)).to_owned()),
            By::Caller => Some(row.caller.as_ref().map_or_else(|| "-".into(), |caller| called(caller, rows))),
        };
        let rates = &row.rates;
        let cells = [
            percent(rates.success_rate),
            rate(rates.requests_per_second),
            milliseconds(rates.p50_ms),
            milliseconds(rates.p95_ms),
            milliseconds(rates.p99_ms),
            rate(rates.tcp_connections_per_second),
            rates.connections_active.to_string(),
        ];
        table.push([short(&row.service, parties())].into_iter().chain(second).chain(cells).collect());
    }
    table.to_string()
}

fn called(caller: &Caller, rows: &[StatRow]) -> String {
    let callers = rows.iter().filter_map(|row| row.caller.as_ref()?.party.as_ref());
    match (&caller.party, &caller.identity) {
        (Some(party), _) => short(party, callers),
        (None, Some(identity)) => identity.clone(),
        (None, None) => "unknown".into(),
    }
}

/// As much of a task's id as tells it apart.
fn beginning(task: &TaskId) -> &str {
    task.as_str().get(..12).unwrap_or(task.as_str())
}

#[cfg(test)]
mod tests {
    use super::{
        super::edges::tests::{edge, party, who},
        *,
    };

    fn told() -> Vec<Told> {
        let task = |number: u8| Some(TaskId::from_random([number; 16]));
        let inbound = |number, peer: &str, ok, failed| Told {
            task: task(number),
            edge: edge("b", Side::Inbound, "b", peer, ok, failed),
        };
        vec![
            inbound(1, "spiffe://d/a", 90, 10),
            inbound(2, "spiffe://d/a", 100, 0),
            inbound(2, "", 0, 200),
            // What b's callers say is not counted again.
            Told { task: task(3), edge: edge("a", Side::Outbound, "b", "spiffe://d/b", 190, 10) },
            Told { task: task(4), edge: edge("lb", Side::Outbound, "a", "spiffe://d/a", 50, 0) },
        ]
    }

    #[test]
    fn a_service_fares_as_its_own_proxies_say_and_a_silent_one_has_a_row() {
        let rows = rows(&told(), &who(), By::Service);
        let names: Vec<_> = rows.iter().map(|row| row.service.name.as_str()).collect();
        assert_eq!(names, ["lb", "a", "b"]);
        let rates = &rows[2].rates;
        assert_eq!((rates.success_rate, rates.requests_per_second), (Some(0.475), 40.0));
        assert_eq!((rates.responses.successful, rates.responses.server_error), (190, 210));
        assert_eq!((rows[0].rates.success_rate, rows[0].rates.requests_per_second), (Some(1.0), 5.0));
        assert_eq!((rows[1].rates.success_rate, rows[1].rates.p99_ms), (None, None));
        let text = table(&rows, By::Service, None);
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["SERVICE", "SUCCESS", "RPS", "P50", "P95", "P99", "TCP/S", "OPEN"]);
        assert_eq!(lines[2], ["a", "-", "0", "-", "-", "-", "0", "0"]);
        assert_eq!(lines[3][..3], ["b", "47.50%", "40.0"]);
        assert!(lines[3][3].ends_with("ms"), "{text}");
    }

    #[test]
    fn tasks_and_callers_are_told_apart() {
        let by_task = rows(&told(), &who(), By::Task);
        let of_b: Vec<_> = by_task.iter().filter(|row| row.service.name == "b").collect();
        assert_eq!(of_b.len(), 2);
        assert!(of_b.iter().all(|row| row.task.is_some() && row.caller.is_none()));
        let by_caller = rows(&told(), &who(), By::Caller);
        let of_b: Vec<_> = by_caller.iter().filter(|row| row.service.name == "b").collect();
        let callers: Vec<_> = of_b.iter().map(|row| row.caller.clone().expect("by caller")).collect();
        let known = Caller { party: Some(party("a")), identity: Some("spiffe://d/a".into()) };
        assert_eq!(callers, [Caller { party: None, identity: None }, known]);
        assert_eq!(of_b[1].rates.success_rate, Some(0.95));
        let text = table(&by_caller, By::Caller, None);
        assert!(text.lines().any(|line| line.starts_with("b ") && line.contains(" unknown ")), "{text}");
    }

    #[test]
    fn a_row_is_flat_json_and_is_read_again() {
        let rows = rows(&told(), &who(), By::Caller);
        let json = serde_json::to_value(&rows).expect("JSON");
        assert_eq!(json[2]["name"], "b");
        assert_eq!(json[2]["kind"], "service");
        assert_eq!(json[2]["requestsPerSecond"], 20.0);
        assert_eq!(json[2]["responses"]["5xx"], 10);
        assert!(json[2].get("task").is_none());
        assert_eq!(serde_json::from_value::<Vec<StatRow>>(json).expect("rows"), rows);
    }
}
