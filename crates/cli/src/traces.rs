//! Traces as the CLI shows them.

use std::fmt::Write as _;

use bowline_control::traces::{Part, PartKind, TraceNumbers, TraceRow, Waterfall};

use crate::{
    display::{Table, printable},
    events::second,
};

/// Width where the terminal's is not known.
const WIDTH: usize = 100;
/// Narrowest bar.
const BAR_MIN: usize = 10;
/// Widest column of what is called.
const LABEL_MAX: usize = 56;

/// The list, `width` columns wide at most.
pub(crate) fn table(rows: &[TraceRow], width: Option<u16>) -> String {
    let mut table =
        Table::new(["TRACE", "BEGAN", "DURATION", "PARTS", "SERVICE", "REQUEST", "STATUS"]).within(width);
    for row in rows {
        let status = match (row.is_fault, &*row.status) {
            (true, "") => "failed".to_owned(),
            (true, status) => format!("{status} failed"),
            (false, status) => status.to_owned(),
        };
        table.row([
            row.id.clone(),
            second(row.at),
            duration(row.duration_us),
            row.parts.to_string(),
            printable(&row.service),
            printable(&row.request),
            printable(&status),
        ]);
    }
    table.to_string()
}

/// What `--count` says.
pub(crate) fn numbers(told: &TraceNumbers) -> String {
    let TraceNumbers { traces, spans, documents, bytes, taken, dropped, given_up } = told;
    format!(
        "{traces} traces of {spans} spans and {documents} documents are kept, in {:.1} MiB\n\
         {taken} came in since the start: {dropped} dropped, {given_up} given up for newer ones or for their age\n",
        *bytes as f64 / (1024.0 * 1024.0)
    )
}

/// A trace along its time.
pub(crate) fn waterfall(trace: &Waterfall, width: Option<u16>) -> String {
    let width = width.map_or(WIDTH, usize::from);
    let outcome = if trace.is_fault { ", failed" } else { "" };
    let mut out = format!(
        "trace {}  {}  {}, {} parts{outcome}\n\n",
        trace.id,
        trace.at,
        duration(trace.duration_us),
        trace.parts.len()
    );
    let labels: Vec<String> = trace.parts.iter().map(label).collect();
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    // Status, duration, and what is between the columns.
    let others = 10 + 2 + 9 + 2 + 2;
    let label_width = longest.min(LABEL_MAX).min(width.saturating_sub(others + BAR_MIN)).max(BAR_MIN);
    let bar_width = width.saturating_sub(label_width + others).max(BAR_MIN);
    for (part, label) in trace.parts.iter().zip(&labels) {
        let bar = bar(part, trace.duration_us, bar_width);
        let line = format!(
            "{:label_width$}  {:>10}  {:>9}  {bar}",
            shortened(label, label_width),
            outcome_of(part),
            duration(part.duration_us),
        );
        // Writing to memory does not fail.
        let _ = writeln!(out, "{}", line.trim_end());
        for event in &part.events {
            let attributes: String = event
                .attributes
                .iter()
                .map(|(key, value)| format!("  {}={}", printable(key), printable(value)))
                .collect();
            let indent = " ".repeat(2 * part.depth.min(16) + 2);
            let _ =
                writeln!(out, "{indent}+{} {}{attributes}", duration(event.after_us), printable(&event.name));
        }
    }
    out
}

/// `  cart ← GET /items`
fn label(part: &Part) -> String {
    let arrow = match part.kind {
        PartKind::Server => "←",
        PartKind::Client => "→",
        PartKind::Application => "·",
    };
    let what = match part.kind {
        PartKind::Server => part.request.clone(),
        PartKind::Client | PartKind::Application => part.what(),
    };
    let indent = " ".repeat(2 * part.depth.min(16));
    format!("{indent}{} {arrow} {}", printable(&part.service), printable(&what)).trim_end().to_owned()
}

fn outcome_of(part: &Part) -> String {
    let flags = if part.flags == "-" { "" } else { &part.flags };
    match (part.is_in_progress, &*part.status) {
        (true, _) => "goes on".to_owned(),
        (false, "") if part.is_fault && flags.is_empty() => "failed".to_owned(),
        (false, status) => printable(format!("{status} {flags}").trim()),
    }
}

/// When it was, and how long, of so many columns.
fn bar(part: &Part, whole_us: u64, width: usize) -> String {
    let whole = whole_us.max(1) as f64;
    let column = |us: u64| (us as f64 / whole * width as f64) as usize;
    let start = column(part.after_us).min(width - 1);
    let end = column(part.after_us.saturating_add(part.duration_us)).clamp(start + 1, width);
    let block = if part.is_fault { "▓" } else { "█" };
    format!("{}{}", " ".repeat(start), block.repeat(end - start))
}

/// `850 µs`, `12.3 ms`, `1.20 s`
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use bowline_control::traces::PartEvent;
    use bowline_model::clock::Timestamp;

    use super::*;

    fn trace() -> Waterfall {
        let part = |depth, kind, service: &str, after_us, duration_us| Part {
            id: "1".into(),
            parent: None,
            depth,
            kind,
            service: service.into(),
            task: "t".into(),
            called: "cart".into(),
            request: "GET /items".into(),
            status: "503".into(),
            flags: "UF".into(),
            after_us,
            duration_us,
            is_fault: true,
            is_error: false,
            is_in_progress: false,
            events: vec![PartEvent {
                after_us: 1_500,
                name: "retry".into(),
                attributes: vec![("endpoint".into(), "10.0.0.1\u{1b}[2J".into())],
            }],
        };
        Waterfall {
            id: "07".repeat(16),
            x_ray_id: "1-07070707-070707070707070707070707".into(),
            at: Timestamp::from_secs(1),
            duration_us: 20_000,
            is_fault: true,
            parts: vec![
                part(0, PartKind::Client, "web", 0, 20_000),
                part(1, PartKind::Server, "cart", 10_000, 10_000),
            ],
        }
    }

    #[test]
    fn a_trace_fits_the_terminal_and_cannot_steer_it() {
        for width in [40, 80, 200] {
            let text = waterfall(&trace(), Some(width));
            let longest =
                text.lines().filter(|line| line.contains('▓')).map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= usize::from(width).max(46)), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
        let text = waterfall(&trace(), Some(80));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("20.0 ms, 2 parts, failed"), "{text}");
        assert!(lines[2].starts_with("web → cart GET /items") && lines[2].contains("503 UF"), "{text}");
        assert!(lines[3].contains("+1.5 ms retry  endpoint=10.0.0.1"), "{text}");
        assert!(lines[4].starts_with("  cart ← GET /items"), "{text}");
        let starts = |line: &str| line.chars().position(|c| c == '▓').expect("a bar");
        let (all, half) = (starts(lines[2]), starts(lines[4]));
        assert!(half > all, "the second half of the time: {text}");
    }

    #[test]
    fn durations_are_short() {
        let told: Vec<String> = [0, 999, 12_345, 1_204_000].into_iter().map(duration).collect();
        assert_eq!(told, ["0 µs", "999 µs", "12.3 ms", "1.20 s"]);
    }
}
