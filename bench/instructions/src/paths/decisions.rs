//! What is decided on each request.

use std::{hint::black_box, net::IpAddr, time::Duration};

use anyhow::{Context, ensure};
use bowline_model::{
    authorization::{Call, Callers, Effect, HttpCall, Rule, Rules},
    balance::{Balancer, Candidate, Draw, Plan, Terms},
    clock::Timestamp,
    identity::{SpiffeId, SpiffePattern},
    wildcard::Wildcard,
};

const CALLER: &str = "spiffe://example/ns/n/cluster/c/svc/a";

fn rule(
    name: &str,
    effect: Effect,
    callers: &[&str],
    methods: &[&str],
    paths: &[&str],
) -> anyhow::Result<Rule> {
    let callers = callers.iter().map(|text| text.parse::<SpiffePattern>()).collect::<Result<_, _>>()?;
    let paths = paths.iter().map(|text| Wildcard::new(text, false).context("a pattern"));
    Ok(Rule {
        name: name.to_owned(),
        effect,
        callers: Callers::Of(callers),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        paths: paths.collect::<anyhow::Result<_>>()?,
        sources: Vec::new(),
    })
}

pub(crate) fn authorization(times: u64) -> anyhow::Result<()> {
    let other = "spiffe://example/ns/n/cluster/c/svc/other";
    let rules = Rules::new(vec![
        rule("no-admin", Effect::Deny, &["spiffe://example/*"], &[], &["/admin/*", "/internal/*"])?,
        rule("other", Effect::Allow, &[other], &[], &[])?,
        rule("readers", Effect::Allow, &["spiffe://example/ns/r/*"], &["GET"], &["/v1/*"])?,
        rule("things", Effect::Allow, &[other, CALLER], &["GET", "POST"], &["/v1/things/*", "/v2/*"])?,
        rule("namespace", Effect::Audit, &["spiffe://example/ns/m/*"], &[], &[])?,
    ]);
    let caller: SpiffeId = CALLER.parse()?;
    let call = Call {
        caller: Some(&caller),
        source: IpAddr::from([10, 0, 3, 17]),
        request: Some(HttpCall { method: "GET", path: "/v1/things/4711" }),
    };
    for _ in 0..times {
        let decision = rules.decide(black_box(&call));
        ensure!(decision.allowed, "the call is refused");
    }
    Ok(())
}

pub(crate) fn pick(times: u64) -> anyhow::Result<()> {
    let candidate = |number: u32| Candidate {
        healthy: number != 7,
        draining: false,
        weight: 1 + number % 3,
        priority: 0,
        zone: 0,
        local: false,
        since: Timestamp::from_millis(0),
        key: u64::from(number),
    };
    let candidates: Vec<_> = (0..20).map(candidate).collect();
    let terms = Terms {
        balancer: Balancer::RoundRobin,
        slow_start: Duration::ZERO,
        panic_percent: 50,
        ..Terms::default()
    };
    let plan = Plan::new(&candidates, &terms, Timestamp::from_millis(1));
    for turn in 0..times {
        let draw =
            Draw { turn: black_box(turn), random: turn.wrapping_mul(0x9e37_79b9_7f4a_7c15), hash: None };
        let picked = plan.pick(draw, |_| 0, |_| false);
        ensure!(picked.is_some_and(|place| place != 7), "no endpoint is picked");
    }
    Ok(())
}
