//! Live requests, as `bowline tap` shows them.

use bowline_model::{
    tap::{TapHeader, TapProtocol, TapSecurity, TapSide, Tapped},
    task::TaskId,
};
use bowline_stream::introspection::tap::TappedAt;
use serde::{Deserialize, Serialize};

use crate::{display::printable, measured::rates::milliseconds, measured::who::Who};

/// A request, with whom it is between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TapRow {
    /// Whose proxy saw it.
    pub(crate) task: TaskId,
    /// Name of the service, group or load balancer of that task.
    pub(crate) service: String,
    /// Name of who calls, where it is of this mesh and proves it.
    pub(crate) from: Option<String>,
    /// Name of who is called, where it is of this mesh and proves it.
    pub(crate) to: Option<String>,
    /// The request.
    #[serde(flatten)]
    pub(crate) request: Tapped,
}

/// What has come since the last question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TapRows {
    /// The requests.
    pub(crate) rows: Vec<TapRow>,
    /// Requests that are not among them: beyond the limit, or too many to be told.
    pub(crate) dropped: u64,
    /// Proxies that tell.
    pub(crate) proxies: usize,
    /// What proxies said against it.
    pub(crate) errors: Vec<String>,
}

/// A request with its parties' names.
pub(crate) fn row(tapped: TappedAt, owner: String, who: &Who) -> TapRow {
    let TappedAt { task, request } = tapped;
    let name = |identity: &str| who.by_identity(identity).map(|party| who.short(party));
    let (from, to) = (name(&request.caller), name(&request.called));
    TapRow { task, service: owner, from, to, request }
}

/// A line for a request, and one more for each header.
pub(crate) fn lines(row: &TapRow, width: Option<u16>) -> String {
    let request = &row.request;
    let mut text = cut(&line(row), width);
    for (mark, headers) in [('>', &request.request_headers), ('<', &request.response_headers)] {
        for TapHeader { name, value } in headers {
            let value = value.as_deref().map_or_else(|| "[redacted]".to_owned(), printable);
            text.push_str(&cut(&format!("    {mark} {}: {value}", printable(name)), width));
        }
    }
    text
}

/// `15:04:05.123  200  GET   5.2ms  web → cart  √ mutual TLS  cart:8202/items  (web 3f2a1b2c, → 127.0.0.2:15006)`
fn line(row: &TapRow) -> String {
    let request = &row.request;
    let at = request.start.to_string();
    let time = at.split_once('T').map_or(at.as_str(), |(_, time)| time.trim_end_matches('Z'));
    let status = match (request.protocol, request.status, request.grpc_status) {
        (TapProtocol::Tcp, ..) => "tcp".to_owned(),
        (TapProtocol::Grpc, _, Some(grpc)) => format!("grpc {grpc}"),
        (_, 0, _) => "---".to_owned(),
        (_, status, _) => status.to_string(),
    };
    let party = |name: &Option<String>, identity: &str, unknown: &str| match (name, identity) {
        (Some(name), _) => name.clone(),
        (None, "") => unknown.to_owned(),
        (None, identity) => printable(identity),
    };
    let from = match request.side {
        TapSide::Public => "client".to_owned(),
        _ => party(&row.from, &request.caller, "unknown"),
    };
    let elsewhere = match request.discovery_name.as_str() {
        "" => "elsewhere".to_owned(),
        name => printable(name),
    };
    let to = party(&row.to, &request.called, &elsewhere);
    let security = match request.security {
        TapSecurity::MutualTls => "√ mutual TLS",
        TapSecurity::Tls => "√ TLS",
        TapSecurity::Plaintext => "plaintext",
    };
    let what = match request.protocol {
        TapProtocol::Tcp => format!("{} B in, {} B out", request.bytes_received, request.bytes_sent),
        _ => format!("{}{}", printable(&request.authority), printable(&request.path)),
    };
    let mut text = format!(
        "{time}  {status:>3}  {method:<4}  {took:>7}  {from} → {to}  {security}  {what}",
        method = printable(&request.method),
        took = milliseconds(Some(request.duration_us as f64 / 1_000.0)),
    );
    if request.flags != "-" {
        text.push_str(&format!("  {}", printable(&request.flags)));
    }
    if !request.refusal.is_empty() {
        text.push_str(&format!("  refused {}", printable(&request.refusal)));
    }
    let side = match request.side {
        TapSide::Inbound => "called",
        TapSide::Outbound | TapSide::Public => "calls",
        TapSide::Egress => "egress",
    };
    let task: String = row.task.as_str().chars().take(8).collect();
    text.push_str(&format!("  ({} {task} {side}", printable(&row.service)));
    if let Some(endpoint) = request.endpoint {
        text.push_str(&format!(", → {endpoint}"));
    }
    text.push(')');
    text
}

/// No wider than the terminal.
fn cut(line: &str, width: Option<u16>) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    if line.chars().count() <= width {
        return format!("{line}\n");
    }
    let cut: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…\n")
}

#[cfg(test)]
mod tests {
    use bowline_model::clock::Timestamp;

    use super::*;
    use crate::measured::who::{Kind, Party};

    fn tapped() -> Tapped {
        Tapped {
            start: Timestamp::from_millis(54_245_123),
            duration_us: 5_210,
            response_us: Some(4_000),
            side: TapSide::Outbound,
            protocol: TapProtocol::Http1,
            security: TapSecurity::MutualTls,
            caller: "spiffe://d/web".into(),
            called: "spiffe://d/cart".into(),
            discovery_name: "cart".into(),
            method: "GET".into(),
            path: "/items".into(),
            authority: "cart:8202".into(),
            status: 200,
            grpc_status: None,
            flags: "-".into(),
            refusal: String::new(),
            bytes_received: 0,
            bytes_sent: 4,
            endpoint: Some("127.0.0.2:15006".parse().expect("an address")),
            request_headers: vec![],
            response_headers: vec![],
        }
    }

    fn of(request: Tapped) -> TapRow {
        let mut who = Who::default();
        for name in ["web", "cart"] {
            let party = Party { cluster: Some("c".into()), name: name.into(), kind: Kind::Service };
            who.add(&format!("spiffe://d/{name}"), party);
        }
        row(TappedAt { task: TaskId::from_random([7; 16]), request }, "web".into(), &who)
    }

    #[test]
    fn a_request_is_a_line() {
        let row = of(tapped());
        assert_eq!((row.from.as_deref(), row.to.as_deref()), (Some("web"), Some("cart")));
        let text = lines(&row, None);
        for part in [
            "15:04:05.123  200  GET",
            "5.21ms",
            "web → cart",
            "√ mutual TLS",
            "cart:8202/items",
            "127.0.0.2:15006",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn headers_follow_redacted_ones_without_their_values() {
        let header =
            |name: &str, value: Option<&str>| TapHeader { name: name.into(), value: value.map(Into::into) };
        let request = Tapped {
            request_headers: vec![header("accept", Some("*/*")), header("cookie", None)],
            response_headers: vec![header("server", Some("x\u{1b}[2J"))],
            ..tapped()
        };
        let text = lines(&of(request), None);
        let lines: Vec<_> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(lines, ["> accept: */*", "> cookie: [redacted]", "< server: x\u{fffd}[2J"]);
    }

    #[test]
    fn what_did_not_come_through_says_so_and_a_line_fits() {
        let request = Tapped {
            side: TapSide::Inbound,
            status: 0,
            flags: "DC".into(),
            refusal: "caller:revoked".into(),
            caller: String::new(),
            path: "/x".repeat(300),
            security: TapSecurity::Plaintext,
            ..tapped()
        };
        let row = of(request);
        let text = lines(&row, None);
        assert!(
            text.contains("---")
                && text.contains("unknown → cart")
                && text.contains("refused caller:revoked"),
            "{text}"
        );
        let narrow = lines(&row, Some(80));
        assert!(narrow.trim_end().chars().count() == 80 && narrow.ends_with("…\n"), "{narrow}");
        let tcp = Tapped { protocol: TapProtocol::Tcp, status: 0, ..tapped() };
        assert!(lines(&of(tcp), None).contains("tcp"), "a connection");
    }
}
