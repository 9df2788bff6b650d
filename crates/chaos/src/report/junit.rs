//! JUnit's XML, as CI systems read it: `testsuites`, `testsuite`, `testcase` with `failure`, `error` or `skipped`.

use std::{fmt::Write, time::Duration};

use bowline_model::experiment::Verdict;

use super::{Report, escape, span_or_never};
use crate::record::Record;

/// The document: one suite, a case an experiment.
pub(super) fn document(report: &Report) -> String {
    let count =
        |wanted: fn(&Verdict) -> bool| report.records.iter().filter(|record| wanted(&record.verdict)).count();
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        report.records.len(),
        count(|it| *it == Verdict::Fell),
        count(|it| matches!(it, Verdict::Refused(_) | Verdict::Failed(_) | Verdict::Aborted)),
        count(|it| matches!(it, Verdict::NotApplicable(_))),
        seconds(report.took),
    );
    let at = report.began_at.to_string();
    // Of ISO 8601 its schema wants neither fraction nor zone.
    let at = at.split('.').next().unwrap_or(&at);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"bowline chaos\" {numbers}>\n  \
         <testsuite name=\"{}\" timestamp=\"{at}\" {numbers}>\n",
        escape(&report.subject),
    );
    for record in &report.records {
        push(&mut text, record);
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn push(text: &mut String, record: &Record) {
    let _ = writeln!(
        text,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\">",
        escape(record.template.as_deref().unwrap_or("bowline.chaos")),
        escape(&record.name),
        seconds(record.took)
    );
    let reason = escape(&record.reason().unwrap_or_default());
    let element = match &record.verdict {
        Verdict::Held => None,
        Verdict::Fell => Some("failure"),
        Verdict::Refused(_) | Verdict::Failed(_) | Verdict::Aborted => Some("error"),
        Verdict::NotApplicable(_) => Some("skipped"),
    };
    match element {
        Some("skipped") => {
            let _ = writeln!(text, "      <skipped message=\"{reason}\"/>");
        }
        Some(element) => {
            let word = record.verdict.word();
            let _ =
                writeln!(text, "      <{element} type=\"{word}\" message=\"{reason}\">{reason}</{element}>");
        }
        None => {}
    }
    let mut out = format!("{}\nexpected: {}\n", record.hypothesis, record.expected);
    if let Some(judgement) = &record.judgement {
        let _ = writeln!(
            out,
            "detected after {}, recovered after {}, {} requests lost",
            span_or_never(judgement.time_to_detect),
            span_or_never(judgement.time_to_recover),
            judgement.lost
        );
    }
    for finding in record.all_findings() {
        let sign = if finding.held { "held" } else { "fell" };
        let _ = writeln!(out, "{sign}: {}: {}", finding.what, finding.seen);
    }
    let _ = writeln!(text, "      <system-out>{}</system-out>\n    </testcase>", escape(&out));
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}
