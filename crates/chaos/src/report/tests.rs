use std::time::Duration;

use bowline_model::experiment::{Expectation, Finding, Marks, Outcome, Sample, Want, judge};

use super::*;
use crate::experiments::{BackendUnavailable, CertificateExpiry};

/// A run whose names and outcomes try to get out of the markup.
fn report() -> Report {
    let marks = Marks {
        injected: Duration::from_secs(2),
        in_force: Duration::from_secs(2),
        ended: Duration::from_secs(4),
        finished: Duration::from_secs(6),
    };
    let sample = |number: u64| Sample {
        at: Duration::from_millis(number * 100),
        latency: Duration::from_millis(3),
        outcome: match number {
            20..40 => Outcome::refused(403, "<script>alert(1)</script>\u{1b}[2J"),
            _ => Outcome::answered(200),
        },
    };
    let samples: Vec<_> = (0..60).map(sample).collect();
    let expectation = Expectation::refused(Want::forbidden("expired"));
    let judgement = judge(&samples, &marks, &expectation);
    let mut fell = Record::begin(&CertificateExpiry, Timestamp::from_secs(1_000_000));
    fell.verdict = judgement.verdict(&[]);
    fell.judgement = Some(judgement);
    fell.marks = Some(marks);
    fell.expectation = Some(expectation);
    fell.caller = Some("a\"&<b>".to_owned());
    fell.called = Some("c".to_owned());
    fell.findings = vec![Finding::new("a <b> & c", true, "'seen'")];
    let mut skipped = Record::begin(&BackendUnavailable, Timestamp::from_secs(1_000_010));
    skipped.verdict = Verdict::NotApplicable("only one task & no other".to_owned());
    let mut held = skipped.clone();
    held.verdict = Verdict::Held;
    let mut refused = skipped.clone();
    refused.verdict = Verdict::Refused("no steady state".to_owned());
    Report {
        bowline: "0.1.0".to_owned(),
        subject: "template <one>.yaml".to_owned(),
        began_at: Timestamp::from_secs(1_000_000),
        took: Duration::from_millis(12_340),
        seed: Some(7),
        records: vec![fell, skipped, held, refused],
    }
}

/// Every element that is opened is closed, in order; attributes are quoted. The elements' names, in order.
fn elements(markup: &str, void: &[&str]) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut all = Vec::new();
    let mut rest = markup;
    while let Some(begin) = rest.find('<') {
        let text = &rest[..begin];
        assert!(!text.contains('>') || open.last().is_some_and(|it| it == "style"), "{text}");
        let end = begin + rest[begin..].find('>').expect("a tag ends");
        let tag = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '/']).next().expect("a name").to_owned();
        if !tag.ends_with('/') && !void.contains(&name.as_str()) {
            open.push(name.clone());
        }
        all.push(name);
    }
    assert_eq!(open, Vec::<String>::new());
    all
}

#[test]
fn the_page_is_whole_needs_nothing_and_believes_nothing() {
    let page = report().html();
    let elements = elements(&page, &["meta", "br"]);
    let count = |name: &str| elements.iter().filter(|it| *it == name).count();
    assert_eq!((count("section"), count("svg"), count("polyline")), (4, 2, 3));
    assert_eq!(count("script"), 0);
    for outside in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("&lt;script&gt;"));
    assert!(!page.contains('\u{1b}'));
    assert!(page.contains("class=\"fell\">fell") && page.contains("fault begins"));
}

#[test]
fn junit_has_a_case_an_experiment_with_why() {
    let text = report().junit();
    let elements = elements(&text, &[]);
    let expected = [
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "system-out",
        "testcase",
        "skipped",
        "system-out",
        "testcase",
        "system-out",
        "testcase",
        "error",
        "system-out",
    ];
    assert_eq!(elements, expected);
    assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\" time=\"12.340\""), "{text}");
    assert!(text.contains("timestamp=\"1970-01-12T13:46:40\""), "{text}");
    assert!(text.contains("name=\"certificate-expiry\"") && text.contains("only one task &amp; no other"));
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn json_is_read_as_written() {
    let report = report();
    assert_eq!(serde_json::from_str::<Report>(&report.json()).expect("it can be read"), report);
}

#[test]
fn the_worst_verdict_decides() {
    let whole = report();
    let of = |indices: &[usize]| Report {
        records: indices.iter().map(|index| whole.records[*index].clone()).collect(),
        ..whole.clone()
    };
    let (fell, skipped, held, refused) = (0, 1, 2, 3);
    assert_eq!(of(&[held, held]).conclusion(true), Conclusion::Held);
    assert_eq!(of(&[held, skipped]).conclusion(false), Conclusion::Held);
    assert_eq!(of(&[held, skipped]).conclusion(true), Conclusion::Refused);
    assert_eq!(of(&[skipped]).conclusion(false), Conclusion::Refused, "nothing was shown");
    assert_eq!(of(&[]).conclusion(false), Conclusion::Refused);
    assert_eq!(of(&[held, refused]).conclusion(false), Conclusion::Refused);
    assert_eq!(of(&[refused, fell]).conclusion(false), Conclusion::Fell);
    let mut aborted = of(&[fell, held]);
    aborted.records[1].verdict = Verdict::Aborted;
    assert_eq!(aborted.conclusion(false), Conclusion::Aborted);
    let codes = [Conclusion::Held, Conclusion::Fell, Conclusion::Refused, Conclusion::Aborted];
    assert_eq!(codes.map(Conclusion::exit_code), [0, 1, 3, 130]);
}

#[test]
fn text_tells_why_a_hypothesis_fell() {
    let text = report().text();
    assert!(text.starts_with("× certificate-expiry: fell  a\"&<b> → c\n"), "{text}");
    assert!(text.contains("    × during: all of requests get 403 expired from 2.0 s after"), "{text}");
    assert!(text.ends_with("1 held, 1 fell, 1 refused, 1 not applicable in 12.3 s\n"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
