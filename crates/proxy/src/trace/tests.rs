use bowline_model::sampling::{SamplingPolicy, SamplingRule};
use std::time::Duration;

use http::HeaderValue;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn tracer() -> Tracer {
    Tracer { ids: Ids::from_seed([7; 32]), text: RefCell::default() }
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().expect("a value"));
    }
    headers
}

/// What a request's headers are on the next hop, if its trace is sampled or not.
fn next(came: &[(&'static str, &str)], sampled: bool) -> (Traced, HeaderMap) {
    let (tracer, mut headers) = (tracer(), map(came));
    let traced = Traced::of(&tracer, &read(&headers));
    let Traced { trace, span, parent, formats, .. } = traced;
    headers::write(&tracer, &Outgoing { trace, span, parent, sampled, formats }, &mut headers);
    (traced, headers)
}

#[test]
fn a_request_without_a_context_gets_w3cs_alone() {
    let (traced, headers) = next(&[("accept", "*/*"), ("tracestate", "a=b")], true);
    let parent = format!("00-{}-{}-01", traced.trace, traced.span);
    assert_eq!(headers, map(&[("accept", "*/*"), ("traceparent", &parent)]));
    assert_eq!((traced.parent, traced.is_sampled(), traced.whole), (None, None, false));
}

#[test]
fn each_format_that_came_goes_on_with_the_proxys_span() {
    let w3c = format!("00-{TRACE}-{SPAN}-03");
    let b3 = format!("{TRACE}-{SPAN}-1");
    let came = [
        ("traceparent", w3c.as_str()),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("x-amzn-trace-id", "Root=1-67891233-abcdef012345678912345678;Sampled=0;Self=1-67891234-1"),
        ("b3", &b3),
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "1"),
    ];
    let (traced, headers) = next(&came, true);
    let span = traced.span.to_string();
    let expected = [
        ("traceparent", format!("00-{TRACE}-{span}-03")),
        ("tracestate", "congo=t61rcWkgMzE".to_owned()),
        (
            "x-amzn-trace-id",
            format!("Root=1-{}-{};Parent={span};Sampled=1;Self=1-67891234-1", &TRACE[..8], &TRACE[8..]),
        ),
        ("b3", format!("{TRACE}-{span}-1-{SPAN}")),
        ("x-b3-traceid", TRACE.to_owned()),
        ("x-b3-spanid", span),
        ("x-b3-parentspanid", SPAN.to_owned()),
        ("x-b3-sampled", "1".to_owned()),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(headers, map(&expected));
    assert!(traced.whole && traced.is_sampled() == Some(true));
}

#[test]
fn values_of_many_requests_do_not_run_into_each_other() {
    let tracer = tracer();
    let values: Vec<HeaderValue> = (0..500u32)
        .map(|number| tracer.value(|text| text.extend_from_slice(format!("value {number}").as_bytes())))
        .map(|value| value.expect("a value"))
        .collect();
    for (number, value) in values.iter().enumerate() {
        assert_eq!(value, format!("value {number}").as_str());
    }
    assert_eq!(tracer.value(|text| text.extend_from_slice(b"a\nb")), None);
}

#[test]
fn a_decision_is_made_once() {
    let all = SamplingRule { per_million: 1_000_000, ..SamplingRule::default() };
    let of = |rules| Sampler::new(&SamplingPolicy { rules, failures: false }).expect("a policy");
    let (all, none) = (of(vec![all]), of(vec![]));
    let mut new = Traced::of(&tracer(), &Incoming::default());
    assert!(new.decide(&all, &SampledCall::default()));
    assert!(new.decide(&none, &SampledCall::default()), "it is decided");
    let mut of_caller = Traced::of(&tracer(), &Incoming { sampled: Some(false), ..Incoming::default() });
    assert!(!of_caller.decide(&all, &SampledCall::default()), "the caller has decided");
}

#[test]
fn a_timeline_that_nobody_reads_keeps_nothing() {
    let endpoint = "192.0.2.1:80".parse().expect("an address");
    let mut off = Timeline::new(false);
    off.note(|| unreachable!("nobody reads it"));
    off.waiting("connection").begin();
    assert_eq!(off.into_events(), (vec![], 0));
    let mut on = Timeline::new(true);
    for number in 0..40 {
        on.retries(number, || "broken".into(), endpoint, Duration::ZERO);
    }
    let (events, dropped) = on.into_events();
    assert_eq!((events.len(), dropped), (32, 8));
}
