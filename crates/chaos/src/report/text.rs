//! A report for a terminal.

use std::fmt::Write;

use bowline_model::experiment::Verdict;
use bowline_plumbing::text::printable;

use super::{Report, span, span_or_never};
use crate::record::Record;

/// Some lines an experiment.
pub(super) fn lines(report: &Report) -> String {
    let mut text = String::new();
    for record in &report.records {
        push(&mut text, record);
    }
    let _ = writeln!(text, "{} in {}", report.summary(), span(report.took));
    text
}

fn push(text: &mut String, record: &Record) {
    let sign = match record.verdict {
        Verdict::Held => "√",
        Verdict::Fell | Verdict::Failed(_) => "×",
        Verdict::NotApplicable(_) | Verdict::Refused(_) | Verdict::Aborted => "-",
    };
    let edge = match (&record.caller, &record.called) {
        (Some(caller), Some(called)) => format!("  {} → {}", printable(caller), printable(called)),
        _ => String::new(),
    };
    let _ = writeln!(text, "{sign} {}: {}{edge}", printable(&record.name), record.verdict.word());
    let _ = writeln!(text, "    {}", printable(&record.hypothesis));
    if let Some(judgement) = &record.judgement {
        let p99 = |figures: &bowline_model::experiment::PhaseFigures| span(figures.latencies.p99);
        let _ = writeln!(
            text,
            "    detected after {}, recovered after {}, {} of {} requests lost; p99 {} / {} / {}",
            span_or_never(judgement.time_to_detect),
            span_or_never(judgement.time_to_recover),
            judgement.lost,
            judgement.during.requests + judgement.after.requests,
            p99(&judgement.before),
            p99(&judgement.during),
            p99(&judgement.after),
        );
    }
    if record.verdict == Verdict::Fell {
        for finding in record.all_findings().filter(|finding| !finding.held) {
            let _ = writeln!(text, "    × {}: {}", printable(&finding.what), printable(&finding.seen));
        }
    } else if let Some(reason) = record.reason() {
        let _ = writeln!(text, "    {}", printable(&reason));
    }
}
