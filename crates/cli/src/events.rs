//! What has happened to services and load balancers, as the CLI shows it.

use bowline_control::reconcile::Event;
use bowline_model::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::display::{Table, printable};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventRow {
    /// It grows with each event, and begins anew with Bowline.
    pub(crate) number: u64,
    /// When it was.
    pub(crate) at: Timestamp,
    /// The ARN of what it is about.
    pub(crate) resource: String,
    /// The service's or load balancer's name.
    pub(crate) subject: String,
    /// What has happened.
    pub(crate) message: String,
}

/// Those that concern one of `names`; all where there are none. The oldest first.
pub(crate) fn rows(events: Vec<(u64, Event)>, names: &[String]) -> Vec<EventRow> {
    let row = |(number, event)| {
        let Event { at, resource, subject, message } = event;
        // `service web`: what it is the ARN says as well.
        let name = subject.split_once(' ').map_or(&*subject, |(_, name)| name).to_owned();
        EventRow { number, at, resource, subject: name, message }
    };
    let rows = events.into_iter().map(row);
    rows.filter(|row: &EventRow| names.is_empty() || names.iter().any(|name| concerns(row, name))).collect()
}

/// By name, `CLUSTER/NAME` or ARN.
fn concerns(row: &EventRow, name: &str) -> bool {
    let is_end = || row.resource.strip_suffix(name).is_some_and(|before| before.ends_with(['/', ':']));
    row.subject == name || row.resource == name || (name.contains('/') && is_end())
}

/// The table, `width` columns wide at most.
pub(crate) fn table(rows: &[EventRow], width: Option<u16>) -> String {
    let mut table = Table::new(["TIME", "SERVICE", "WHAT"]).within(width);
    for row in rows {
        table.row([second(row.at), printable(&row.subject), printable(&row.message)]);
    }
    table.to_string()
}

/// A line of its own.
pub(crate) fn line(row: &EventRow) -> String {
    format!("{}  {}  {}", second(row.at), printable(&row.subject), printable(&row.message))
}

/// `2026-11-22T03:47:48Z`
pub(crate) fn second(at: Timestamp) -> String {
    let text = at.to_string();
    let text = text.trim_end_matches('Z');
    format!("{}Z", text.split('.').next().unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Vec<(u64, Event)> {
        let event = |cluster: &str, name: &str, message: &str| Event {
            at: Timestamp::from_secs(1_000_000),
            resource: format!("arn:aws:ecs:us-east-1:000000000000:service/{cluster}/{name}"),
            subject: format!("service {name}"),
            message: message.to_owned(),
        };
        vec![
            (4, event("c", "web", "has started 1 task")),
            (5, event("d", "web", "is at rest\u{1b}[2J")),
            (6, event("c", "cart", "has stopped 1 task")),
        ]
    }

    #[test]
    fn events_of_a_service_are_found_by_name_cluster_and_arn() {
        let numbers = |names: &[&str]| -> Vec<u64> {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            rows(events(), &names).iter().map(|row| row.number).collect()
        };
        assert_eq!(numbers(&[]), [4, 5, 6]);
        assert_eq!(numbers(&["web"]), [4, 5]);
        assert_eq!(numbers(&["d/web"]), [5]);
        assert_eq!(numbers(&["arn:aws:ecs:us-east-1:000000000000:service/c/cart", "d/web"]), [5, 6]);
        assert_eq!(numbers(&["eb", "/web"]), [0; 0]);
    }

    #[test]
    fn what_is_shown_cannot_steer_the_terminal() {
        let rows = rows(events(), &[]);
        let text = table(&rows, Some(80));
        assert!(text.starts_with("TIME") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(line(&rows[0]), "1970-01-12T13:46:40Z  web  has started 1 task");
    }
}
