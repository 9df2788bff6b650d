//! The page: a row an experiment, then each with what was looked at and how requests fared through the fault.

use std::fmt::Write;

use bowline_model::experiment::{Finding, Judgement, Marks, PhaseFigures, Verdict};

use super::{
    Report, escape,
    plot::{Line, Plot},
    span, span_or_never,
};
use crate::record::Record;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--ground:#fff;--good:#06702c;--bad:#b00020;\
--odd:#8a5a00;--fault:#b0002014;--first:#0a5fb4;--second:#b35900}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--line:#3a424c;--ground:#0f1318;--good:#5fd88a;\
--bad:#ff8a9a;--odd:#e3b341;--fault:#ff8a9a1f;--first:#6cb6ff;--second:#ffa657}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:var(--ink);\
background:var(--ground)}\
table{border-collapse:collapse;width:100%;margin:.8rem 0}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;\
border-bottom:1px solid var(--line)}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
caption{text-align:left;color:var(--soft)}section{margin-top:2.5rem}dt{color:var(--soft)}dd{margin:0 0 .5rem}\
.held{color:var(--good)}.fell,.failed{color:var(--bad)}.refused,.aborted,.not-applicable{color:var(--odd)}\
figure{margin:1rem 0}figcaption{color:var(--soft)}svg{width:100%;height:auto}svg text{font-size:10px;fill:var(--soft)}\
svg .value{text-anchor:end}svg .time{text-anchor:middle}.axis{stroke:var(--line)}.mark{stroke:var(--bad);\
stroke-dasharray:3 3}.fault{fill:var(--fault)}polyline{fill:none;stroke-width:2}polyline.first{stroke:var(--first)}\
polyline.second{stroke:var(--second);stroke-dasharray:6 3}.key.first{color:var(--first)}.key.second{color:var(--second)}";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Experiments: {summary}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>Experiments: {summary}</h1>\n\
         <p>Run {at} by Bowline {version} on <code>{subject}</code> in {took}{seed}.</p>\n",
        summary = escape(&report.summary()),
        at = report.began_at,
        version = escape(&report.bowline),
        subject = escape(&report.subject),
        took = span(report.took),
        seed = report.seed.map(|seed| format!(", in the random order of seed {seed}")).unwrap_or_default(),
    );
    overview(&mut page, report);
    for (number, record) in report.records.iter().enumerate() {
        section(&mut page, number, record);
    }
    page.push_str("</body></html>\n");
    page
}

fn overview(page: &mut String, report: &Report) {
    page.push_str(
        "<table>\n<caption>All experiments</caption>\n<thead><tr><th scope=\"col\">Experiment</th>\
         <th scope=\"col\">Verdict</th><th scope=\"col\">Calls</th><th scope=\"col\" class=\"n\">Time to detect</th>\
         <th scope=\"col\" class=\"n\">Time to recover</th><th scope=\"col\" class=\"n\">Requests lost</th></tr></thead>\n\
         <tbody>\n",
    );
    for (number, record) in report.records.iter().enumerate() {
        let figure =
            |of: &dyn Fn(&Judgement) -> String| record.judgement.as_ref().map_or_else(|| "–".to_owned(), of);
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\"><a href=\"#e{number}\">{}</a></th><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&record.title),
            verdict(&record.verdict),
            edge(record),
            figure(&|it| span_or_never(it.time_to_detect)),
            figure(&|it| span_or_never(it.time_to_recover)),
            figure(&|it| it.lost.to_string()),
        );
    }
    page.push_str("</tbody></table>\n");
}

fn verdict(verdict: &Verdict) -> String {
    let word = verdict.word();
    format!("<span class=\"{}\">{word}</span>", word.replace(' ', "-"))
}

fn edge(record: &Record) -> String {
    match (&record.caller, &record.called) {
        (Some(caller), Some(called)) => {
            let template = record.template.as_deref().map(|it| format!("<br><small>{}</small>", escape(it)));
            format!("{} → {}{}", escape(caller), escape(called), template.unwrap_or_default())
        }
        _ => "–".to_owned(),
    }
}

fn section(page: &mut String, number: usize, record: &Record) {
    let _ = write!(
        page,
        "<section id=\"e{number}\">\n<h2>{}: {}</h2>\n<dl><dt>Hypothesis</dt><dd>{}</dd><dt>The fault</dt><dd>{}</dd>\
         <dt>Expected</dt><dd>{}</dd>",
        escape(&record.title),
        verdict(&record.verdict),
        escape(&record.hypothesis),
        escape(&record.how),
        escape(&record.expected),
    );
    if let Some(reason) = record.reason().filter(|_| record.verdict != Verdict::Fell) {
        let _ = write!(page, "<dt>Why</dt><dd>{}</dd>", escape(&reason));
    }
    page.push_str("</dl>\n");
    if let (Some(judgement), Some(marks)) = (&record.judgement, &record.marks) {
        plots(page, record, judgement, marks);
        phases(page, judgement);
    }
    findings(page, record.all_findings());
    page.push_str("</section>\n");
}

fn plots(page: &mut String, record: &Record, judgement: &Judgement, marks: &Marks) {
    let rate = |figures: &PhaseFigures| {
        (figures.requests > 0).then(|| figures.successes as f64 * 100.0 / figures.requests as f64)
    };
    let success = Plot {
        title: format!("{}: share of requests that the application answered, over time", record.title),
        unit: " %",
        top: 100.0,
        lines: vec![Line {
            class: "first",
            name: "success",
            values: judgement.seconds.iter().map(|second| rate(&second.figures)).collect(),
        }],
    };
    let millis = |time: std::time::Duration| Some(time.as_secs_f64() * 1000.0);
    let latencies = |of: fn(&PhaseFigures) -> std::time::Duration| {
        judgement.seconds.iter().map(|second| millis(of(&second.figures))).collect::<Vec<_>>()
    };
    let p99 = latencies(|figures| figures.latencies.p99);
    let top = p99.iter().flatten().copied().fold(1.0, f64::max);
    let latency = Plot {
        title: format!("{}: latency of requests in milliseconds, over time", record.title),
        unit: " ms",
        top: top * 1.1,
        lines: vec![
            Line { class: "second", name: "p99", values: p99 },
            Line { class: "first", name: "p50", values: latencies(|figures| figures.latencies.p50) },
        ],
    };
    let _ = write!(
        page,
        "<figure>\n{}<figcaption>Requests that the application answered, in each half second</figcaption></figure>\n\
         <figure>\n{}<figcaption>Latency: <span class=\"key first\">p50</span>, <span class=\"key second\">p99 (dashed)\
         </span></figcaption></figure>\n",
        success.svg(judgement, marks),
        latency.svg(judgement, marks),
    );
}

fn phases(page: &mut String, judgement: &Judgement) {
    page.push_str(
        "<table>\n<caption>Requests</caption>\n<thead><tr><th scope=\"col\">Phase</th><th scope=\"col\" class=\"n\">\
         Requests</th><th scope=\"col\" class=\"n\">Answered by the application</th><th scope=\"col\" class=\"n\">p50</th>\
         <th scope=\"col\" class=\"n\">p99</th><th scope=\"col\">Outcomes</th></tr></thead>\n<tbody>\n",
    );
    let phases = [("before", &judgement.before), ("during", &judgement.during), ("after", &judgement.after)];
    for (name, figures) in phases {
        let outcomes = figures.outcomes.iter().map(|(outcome, count)| format!("{outcome} × {count}"));
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.1} ms</td>\
             <td class=\"n\">{:.1} ms</td><td>{}</td></tr>",
            figures.requests,
            figures.successes,
            figures.latencies.p50.as_secs_f64() * 1000.0,
            figures.latencies.p99.as_secs_f64() * 1000.0,
            escape(&outcomes.collect::<Vec<_>>().join(", ")),
        );
    }
    page.push_str("</tbody></table>\n");
}

fn findings<'a>(page: &mut String, findings: impl Iterator<Item = &'a Finding>) {
    let mut rows = String::new();
    for finding in findings {
        let word = if finding.held { "held" } else { "fell" };
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td><span class=\"{word}\">{word}</span></td></tr>",
            escape(&finding.what),
            escape(&finding.seen)
        );
    }
    if !rows.is_empty() {
        let _ = write!(
            page,
            "<table>\n<caption>What was looked at</caption>\n<thead><tr><th scope=\"col\">What had to be</th>\
             <th scope=\"col\">What was seen</th><th scope=\"col\">Verdict</th></tr></thead>\n<tbody>\n{rows}</tbody></table>\n"
        );
    }
}
