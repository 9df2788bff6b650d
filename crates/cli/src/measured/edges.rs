//! Who calls whom: the rows of `bowline edges`.

use std::collections::{BTreeMap, BTreeSet};

use bowline_control::telemetry::{EdgeView, Security, Side};
use serde::{Deserialize, Serialize};

use super::{
    rates::{Rates, Sum, milliseconds, percent, rate},
    who::{Party, Who, short},
};
use crate::display::Table;

/// How a hop is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Protection {
    /// Both sides prove who they are.
    MutualTls,
    /// The called side alone does.
    Tls,
    /// In no way.
    Plaintext,
}

impl From<Security> for Protection {
    fn from(security: Security) -> Self {
        match security {
            Security::MutualTls => Self::MutualTls,
            Security::Tls => Self::Tls,
            Security::Plaintext => Self::Plaintext,
        }
    }
}

/// Which side's proxies an edge is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToldBy {
    /// Those of who calls.
    Caller,
    /// Those of who is called: the caller has no proxy of this mesh, or it has told nothing yet.
    Called,
}

/// Who calls whom, and how that goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EdgeRow {
    /// Who calls; `None` where it does not prove who it is, or is not of this mesh.
    pub(crate) from: Option<Party>,
    /// The caller's SPIFFE id, where it proves it.
    pub(crate) from_identity: Option<String>,
    /// Who is called; `None` where it is nothing of this mesh.
    pub(crate) to: Option<Party>,
    /// The called side's SPIFFE id, where it proves it.
    pub(crate) to_identity: Option<String>,
    /// By which discovery name it is called; empty where it is called by none.
    pub(crate) discovery_name: String,
    /// How the hop is protected.
    pub(crate) mode: Protection,
    /// Whose proxies tell of it.
    pub(crate) told_by: ToldBy,
    /// How it goes.
    #[serde(flatten)]
    pub(crate) rates: Rates,
}

impl EdgeRow {
    /// Whether one of the two sides is called so.
    pub(crate) fn concerns(&self, name: &str) -> bool {
        [&self.from, &self.to].into_iter().flatten().any(|party| party.is_called(name))
    }
}

/// What tells rows apart. The parties first: rows stand in this order.
type Key = (Option<Party>, Option<Party>, String, Protection, ToldBy, Option<String>, Option<String>);

/// A row for each pair, name and protection. Where both sides tell of the same calls, the caller is believed: it
/// knows of those that did not arrive.
pub(crate) fn rows(told: &[EdgeView], who: &Who) -> Vec<EdgeRow> {
    let proven = |peer: &str| (!peer.is_empty()).then(|| peer.to_owned());
    let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
    // Calls that a caller tells of: its identity, and whom it calls.
    let mut told_by_callers = BTreeSet::new();
    for view in told.iter().filter(|view| view.edge.side == Side::Outbound) {
        let edge = &view.edge;
        let from = who.party(&edge.workload);
        let to = who.by_identity(&edge.peer).or_else(|| who.by_offer(&edge.cluster)).cloned();
        let mode = Protection::from(edge.security);
        let own = who.identity_of(&from).map(str::to_owned);
        if let (Some(own), Some(to)) = (&own, &to) {
            told_by_callers.insert((own.clone(), to.clone()));
        }
        // It has an identity, and shows it only if it is asked for one.
        let own = own.filter(|_| mode == Protection::MutualTls);
        let name = edge.discovery_name.clone();
        let key = (Some(from), to, name, mode, ToldBy::Caller, own, proven(&edge.peer));
        sums.entry(key).or_default().add(view);
    }
    for view in told.iter().filter(|view| view.edge.side == Side::Inbound) {
        let edge = &view.edge;
        let to = who.party(&edge.workload);
        if told_by_callers.contains(&(edge.peer.clone(), to.clone())) {
            continue;
        }
        let mode = Protection::from(edge.security);
        let own = who.identity_of(&to).map(str::to_owned).filter(|_| mode != Protection::Plaintext);
        let from = who.by_identity(&edge.peer).cloned();
        let name = edge.discovery_name.clone();
        let key = (from, Some(to), name, mode, ToldBy::Called, proven(&edge.peer), own);
        sums.entry(key).or_default().add(view);
    }
    sums.into_iter()
        .map(|((from, to, discovery_name, mode, told_by, from_identity, to_identity), sum)| EdgeRow {
            from,
            from_identity,
            to,
            to_identity,
            discovery_name,
            mode,
            told_by,
            rates: sum.rates(),
        })
        .collect()
}

/// The table of `bowline edges`, `width` columns wide at most.
pub(crate) fn table(rows: &[EdgeRow], width: Option<u16>) -> String {
    let titles = ["FROM", "TO", "RPS", "SUCCESS", "P99", "PROTECTED BY", "IDENTITY"];
    let mut table = Table::of(titles.to_vec()).within(width);
    let parties = || rows.iter().flat_map(|row| [&row.from, &row.to]).flatten();
    for row in rows {
        let name = |party: &Option<Party>, otherwise: &str| match party {
            Some(party) => short(party, parties()),
            None => otherwise.to_owned(),
        };
        let otherwise = if row.discovery_name.is_empty() { "nowhere" } else { &row.discovery_name };
        // Of the other side, as the one that tells sees it.
        let other = match row.told_by {
            ToldBy::Caller => &row.to_identity,
            ToldBy::Called => &row.from_identity,
        };
        let cells = [
            name(&row.from, row.from_identity.as_deref().unwrap_or("unknown")),
            name(&row.to, row.to_identity.as_deref().unwrap_or(otherwise)),
            rate(row.rates.requests_per_second),
            percent(row.rates.success_rate),
            milliseconds(row.rates.p99_ms),
            match row.mode {
                Protection::MutualTls => "√ mutual TLS",
                Protection::Tls => "TLS",
                Protection::Plaintext => "plaintext",
            }
            .to_owned(),
            other.clone().unwrap_or_else(|| "-".into()),
        ];
        table.push(cells.to_vec());
    }
    table.to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use bowline_control::telemetry::{Edge, Workload};
    use bowline_model::metric::Distribution;

    use super::{super::who::Kind, *};

    pub(crate) fn party(name: &str) -> Party {
        match name {
            "lb" => Party { cluster: None, name: name.into(), kind: Kind::LoadBalancer },
            _ => Party { cluster: Some("c".into()), name: name.into(), kind: Kind::Service },
        }
    }

    pub(crate) fn who() -> Who {
        let mut who = Who::default();
        for name in ["a", "b", "lb"] {
            who.add(&format!("spiffe://d/{name}"), party(name));
            who.add_offer(&format!("{name}.n"), party(name));
        }
        who
    }

    /// What was told of ten seconds.
    pub(crate) fn edge(
        name: &str,
        side: Side,
        discovery_name: &str,
        peer: &str,
        ok: u64,
        failed: u64,
    ) -> EdgeView {
        let is_gateway = name == "lb";
        let cluster = if is_gateway { "" } else { "c" }.to_owned();
        let mut response_time = Distribution::default();
        response_time.record(4.0, ok as f64);
        EdgeView {
            edge: Edge {
                workload: Workload { cluster, name: name.into(), is_gateway },
                side,
                discovery_name: discovery_name.into(),
                cluster: format!("{discovery_name}.n"),
                peer: peer.into(),
                security: if peer.is_empty() { Security::Plaintext } else { Security::MutualTls },
            },
            proxies: 1,
            requests_per_second: (ok + failed) as f64 / 10.0,
            responses: [0, 0, ok, 0, 0, failed],
            tcp_connections: 0,
            failures: failed,
            success_rate: (ok + failed > 0).then(|| ok as f64 / (ok + failed) as f64),
            response_time,
            tcp_connections_per_second: 0.0,
            connections_active: 1,
            connection_errors: 0,
            bytes_per_second: 0.0,
        }
    }

    #[test]
    fn calls_that_both_sides_tell_of_are_told_once_as_the_caller_does() {
        let told = [
            edge("a", Side::Outbound, "b", "spiffe://d/b", 90, 10),
            edge("b", Side::Inbound, "b", "spiffe://d/a", 90, 0),
        ];
        let rows = rows(&told, &who());
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.from.clone(), row.to.clone()), (Some(party("a")), Some(party("b"))));
        assert_eq!(row.from_identity.as_deref(), Some("spiffe://d/a"));
        assert_eq!(row.to_identity.as_deref(), Some("spiffe://d/b"));
        assert_eq!((row.mode, row.told_by), (Protection::MutualTls, ToldBy::Caller));
        assert_eq!((row.rates.success_rate, row.rates.requests_per_second), (Some(0.9), 10.0));
        assert!(row.concerns("a") && row.concerns("c/b") && !row.concerns("lb"));
        let text = table(&rows, None);
        assert!(text.contains("√ mutual TLS") && text.contains("spiffe://d/b"), "{text}");
    }

    #[test]
    fn a_caller_who_tells_nothing_is_told_of_by_whom_it_calls() {
        let told = [
            edge("b", Side::Inbound, "b", "spiffe://d/a", 5, 0),
            edge("b", Side::Inbound, "b", "spiffe://elsewhere/x", 6, 0),
            edge("b", Side::Inbound, "b", "", 7, 0),
        ];
        let rows = rows(&told, &who());
        assert!(rows.iter().all(|row| row.told_by == ToldBy::Called && row.to == Some(party("b"))));
        let from: Vec<_> = rows.iter().map(|row| (row.from.clone(), row.from_identity.as_deref())).collect();
        let elsewhere = (None, Some("spiffe://elsewhere/x"));
        assert_eq!(from, [elsewhere, (None, None), (Some(party("a")), Some("spiffe://d/a"))]);
        let text = table(&rows, None);
        assert!(text.lines().any(|line| line.starts_with("unknown") && line.contains("plaintext")), "{text}");
    }

    #[test]
    fn in_plaintext_nobody_proves_who_it_is_and_the_name_tells_who_is_called() {
        let told = [
            edge("a", Side::Outbound, "b", "", 5, 0),
            edge("a", Side::Outbound, "database", "", 5, 0),
            edge("a", Side::Outbound, "", "", 0, 5),
        ];
        let rows = rows(&told, &who());
        assert!(rows.iter().all(|row| row.from_identity.is_none() && row.to_identity.is_none()));
        let text = table(&rows, None);
        let to: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(to, ["nowhere", "database", "b"]);
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let long = format!("spiffe://d/{}", "x".repeat(200));
        let told = [edge("b", Side::Inbound, "b", &long, 5, 0)];
        let rows = rows(&told, &who());
        assert!(table(&rows, None).lines().any(|line| line.chars().count() > 200));
        let narrow = table(&rows, Some(80));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }
}
