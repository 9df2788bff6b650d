//! The dashboard in a real browser, over a mesh of which all is told by its proxies and nothing runs.

mod browser;
mod simulation;

use std::{net::SocketAddr, time::Duration};

use bowline_e2e::command::curl;
use browser::Browser;
use serde_json::{Value, json};
use simulation::{HOSTILE, Running, Simulation};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A simulation on a runtime of its own: the test drives a browser meanwhile.
struct Mesh {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    url: String,
}

impl Mesh {
    fn start(services: usize) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let running = runtime.block_on(async { Simulation::start(services, ANY_PORT).await.run() });
        let url = format!("http://{}", running.address);
        Self { runtime, running: Some(running), url }
    }

    fn page(&self, path: &str) -> String {
        format!("{}/dashboard/#/{path}", self.url)
    }

    /// A call of the API, as root.
    fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let (target, body) = (format!("X-Amz-Target: {target}"), body.to_string());
        let sigv4 = format!("aws:amz:us-east-1:{service}");
        let kind = "Content-Type: application/x-amz-json-1.0";
        let outcome = curl([
            "--fail-with-body",
            "--aws-sigv4",
            &sigv4,
            "--user",
            "test:test",
            "-H",
            &target,
            "-H",
            kind,
            "-d",
            &body,
            &self.url,
        ]);
        assert!(outcome.success(), "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap_or_default()
    }

    fn put_alarm(&self, name: &str, service: &str, state: &str) {
        let dimensions =
            json!([{"Name": "ClusterName", "Value": "front"}, {"Name": "ServiceName", "Value": service}]);
        let alarm = json!({
            "AlarmName": name, "AlarmDescription": HOSTILE, "Namespace": "AWS/ECS", "MetricName": "ServiceConnectErrorCount",
            "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 3, "DatapointsToAlarm": 2, "Threshold": 5.0,
            "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "ignore", "Dimensions": dimensions,
        });
        self.call("monitoring", "GraniteServiceVersion20100801.PutMetricAlarm", &alarm);
        let state = json!({"AlarmName": name, "StateValue": state, "StateReason": HOSTILE});
        self.call("monitoring", "GraniteServiceVersion20100801.SetAlarmState", &state);
    }

    fn stop(mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

/// Nothing was complained of, and nothing was asked for elsewhere.
#[track_caller]
fn assert_clean(browser: &mut Browser, mesh: &Mesh) {
    assert_eq!(browser.complaints(), Vec::<&Value>::new());
    let requests = browser.requests();
    assert!(requests.len() > 3, "{requests:?}");
    let elsewhere: Vec<_> = requests.iter().filter(|url| !url.starts_with(&mesh.url)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert_eq!(browser.evaluate("document.querySelectorAll('img[onerror], [onerror]').length"), 0);
    assert_ne!(browser.evaluate("document.title"), "taken over");
}

/// All that can be used has a name.
#[track_caller]
fn assert_named(browser: &mut Browser) {
    let usable = [
        "button",
        "link",
        "textbox",
        "searchbox",
        "combobox",
        "radio",
        "checkbox",
        "table",
        "dialog",
        "region",
    ];
    let all = browser.accessible();
    let unnamed: Vec<_> =
        all.iter().filter(|(role, name)| usable.contains(&role.as_str()) && name.is_empty()).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
    if all.iter().any(|(role, _)| role == "dialog") {
        // What is behind it is out of reach.
        return;
    }
    for landmark in ["banner", "navigation", "main"] {
        assert!(all.iter().any(|(role, _)| role == landmark), "no {landmark}: {all:?}");
    }
}

#[test]
fn pages_load_and_are_usable_by_keyboard_and_for_those_who_do_not_see() {
    let mesh = Mesh::start(12);
    mesh.put_alarm(HOSTILE, "cart-web", "ALARM");
    mesh.put_alarm("catalog-errors", "catalog-web", "OK");
    let mut browser = Browser::start(1440, 900, &[("prefers-color-scheme", "light")]);
    browser.open(&mesh.page(""));
    browser.wait_for("document.querySelectorAll('.node').length >= 13");
    browser.wait_for("document.querySelectorAll('.edge.ok, .edge.idle, .edge.bad').length >= 1");
    browser.wait_for("document.querySelector('.node.firing')");
    assert_named(&mut browser);
    browser.picture("graph-light");
    browser.media(&[("prefers-color-scheme", "dark")]);
    browser.picture("graph-dark");
    let themes = "getComputedStyle(document.documentElement).backgroundColor";
    let dark = browser.evaluate(themes);
    // The switch: system, then light, then dark.
    browser.press(&["d"]);
    assert_ne!(browser.evaluate(themes), dark, "light, though the system is dark");
    browser.press(&["d"]);
    assert_eq!(browser.evaluate(themes), dark);
    browser.press(&["d"]);
    browser.media(&[("prefers-color-scheme", "light")]);

    // From the top by Tab alone, to the graph; each stop is seen.
    browser.evaluate("(document.activeElement.blur(), scrollTo(0, 0))");
    let mut stops = Vec::new();
    for _ in 0..30 {
        browser.press(&["Tab"]);
        let stop = browser.evaluate(
            "(() => { const it = document.activeElement; const style = getComputedStyle(it); \
             const seen = it.matches(':focus-visible') && (it.closest('.node, .switch') !== null || style.outlineStyle !== 'none'); \
             return [it.getAttribute('aria-label') || it.textContent.trim() || it.placeholder || it.value || it.tagName, seen, it.matches('.node')]; })()",
        );
        assert_eq!(stop[1], true, "the focus is not seen: {stop}");
        stops.push(stop[0].as_str().unwrap_or_default().to_owned());
        if stop[2] == true {
            break;
        }
    }
    for wanted in
        ["Skip to the page", "Graph", "Alarms", "Events", "Experiments", "Sign in", "Find a service (/)"]
    {
        assert!(stops.iter().any(|stop| stop.starts_with(wanted)), "{wanted}: {stops:?}");
    }
    let first = browser.evaluate("document.activeElement.dataset.id");
    browser.press(&["ArrowDown"]);
    let next = browser.evaluate("document.activeElement.dataset.id");
    assert!(next != first && next.is_string(), "{first} {next}");

    // A key for the keys; then the tables, which say what the graph shows.
    browser.press(&["?"]);
    browser.wait_for("document.querySelector('dialog[open]')");
    assert_named(&mut browser);
    browser.picture("keys");
    browser.press(&["Escape"]);
    browser.wait_for("!document.querySelector('dialog')");
    browser.press(&["t"]);
    browser.wait_for("document.querySelectorAll('.tables tbody tr').length > 12");
    let captions =
        browser.evaluate("[...document.querySelectorAll('.tables caption')].map(it => it.textContent)");
    assert_eq!(captions, json!(["Services", "Who calls whom"]));
    browser.picture("tables");
    browser.press(&["/"]);
    browser.write("cart");
    browser.wait_for("document.querySelector('.found').textContent === '1 found'");
    browser.press(&["Escape"]);
    browser.evaluate("document.activeElement.blur()");
    browser.press(&["t"]);

    // One service.
    browser.open(&mesh.page("service/front/cart-web"));
    browser.wait_for("document.querySelectorAll('bowline-plot svg').length === 4");
    browser.wait_for("document.querySelector('.deployments li')");
    browser.wait_for("document.querySelector('.countdown, .deployments')");
    assert_eq!(browser.evaluate("document.title"), "cart-web · Bowline");
    assert_named(&mut browser);
    browser.picture("service-light");
    browser.media(&[("prefers-color-scheme", "dark")]);
    browser.picture("service-dark");

    for (page, shown) in [
        ("alarms", "[...document.querySelectorAll('tbody tr')].length === 2"),
        ("events", "document.querySelectorAll('tbody tr').length > 5"),
        ("experiments", "document.querySelector('caption')"),
    ] {
        browser.open(&mesh.page(page));
        browser.wait_for(shown);
        assert_named(&mut browser);
        browser.picture(page);
    }
    browser.open(
        &mesh.page(&format!("alarms/{}", "%3Cimg%20src=x%20onerror=%22document.title='taken%20over'%22%3E")),
    );
    browser.wait_for("document.querySelectorAll('.history li').length > 1");
    assert!(
        browser
            .evaluate("document.querySelector('.card').textContent")
            .as_str()
            .is_some_and(|it| it.contains(HOSTILE))
    );
    browser.picture("alarm");
    assert_clean(&mut browser, &mesh);
    drop(browser);
    mesh.stop();
}

#[test]
fn who_signs_in_can_do_things_and_nobody_else() {
    let mesh = Mesh::start(4);
    mesh.put_alarm("errors", "cart-web", "OK");
    let mut browser = Browser::start(1200, 800, &[("prefers-color-scheme", "light")]);
    browser.open(&mesh.page("service/front/cart-web"));
    browser.wait_for("document.querySelector('.deployments li')");
    assert_eq!(browser.evaluate("document.querySelectorAll('main button').length"), 0, "it can only be read");
    let status = "fetch('api/action', {method: 'POST', body: '{\"action\":\"enableAlarmActions\",\"alarm\":\"errors\"}'}).then(it => it.status)";
    assert_eq!(browser.evaluate(status), 401);

    browser.evaluate(
        "[...document.querySelectorAll('button')].find(it => it.textContent === 'Sign in').click()",
    );
    browser.wait_for("document.activeElement.id === 'key'");
    browser.write("test");
    browser.press(&["Tab"]);
    browser.write("wrong");
    browser.press(&["Enter"]);
    browser.wait_for("document.querySelector('.failure').textContent.includes('do not go together')");
    browser.picture("sign-in");
    browser.write("test");
    browser.press(&["Enter"]);
    browser.wait_for("document.querySelector('.arn')");
    assert_eq!(browser.evaluate("document.cookie"), "", "no script can read it");
    assert_eq!(browser.evaluate(status), 403, "without the token of the page");

    browser.wait_for("document.querySelector('.bar button')");
    let before = browser.evaluate("document.querySelectorAll('.deployments li').length");
    browser.evaluate("document.querySelector('.bar button').click()");
    browser.wait_for("document.querySelector('dialog .primary')");
    browser.picture("deploy");
    browser.evaluate("document.querySelector('dialog .primary').click()");
    browser.wait_for(&format!("document.querySelectorAll('.deployments li').length > {before}"));
    browser.picture("deploying");

    // Whatever was done stands in the trail, by whom.
    let events = mesh.call(
        "cloudtrail",
        "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents",
        &json!({}),
    );
    let events = events["Events"].as_array().cloned().unwrap_or_default();
    let told = |name: &str| events.iter().filter(|event| event["EventName"] == name).count();
    assert_eq!((told("ConsoleLogin"), told("UpdateService")), (2, 1), "{events:#?}");

    browser.evaluate(
        "[...document.querySelectorAll('button')].find(it => it.textContent === 'Sign out').click()",
    );
    browser.wait_for("!document.querySelector('.arn')");
    drop(browser);
    mesh.stop();
}

/// What the issue asks for, with what a busy machine of two cores needs beside the browser.
#[test]
fn with_two_hundred_services_it_is_painted_at_once_and_updates_cost_little() {
    const UPDATES: u32 = 8;
    let mesh = Mesh::start(200);
    let mut browser = Browser::start(1440, 900, &[("prefers-color-scheme", "light")]);
    browser.open(&mesh.page(""));
    browser.wait_for("document.querySelectorAll('.node').length >= 200");
    let drawn = browser.evaluate("performance.getEntriesByName('bowline:render')[0].startTime + performance.getEntriesByName('bowline:render')[0].duration");
    let paint = browser.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime");
    browser.wait_for("document.querySelectorAll('.edge.ok').length >= 100");
    browser.picture("two-hundred");
    browser.evaluate("performance.clearMeasures()");
    let counters = ["RecalcStyleDuration", "LayoutDuration"];
    let before = counters.map(|name| browser.counter(name));
    let scripting: f64 = browser
        .scripting(|browser| {
            browser.wait_for(&format!("performance.getEntriesByName('bowline:render').length >= {UPDATES}"));
        })
        .iter()
        .sum();
    let after = counters.map(|name| browser.counter(name));
    let updates = browser.evaluate("performance.getEntriesByName('bowline:render').length");
    let updates = updates.as_f64().expect("a number");
    let per_update = scripting / updates;
    let (paint, drawn) = (paint.as_f64().unwrap_or(f64::MAX), drawn.as_f64().unwrap_or(f64::MAX));
    eprintln!(
        "first paint {paint:.0} ms, graph drawn {drawn:.0} ms; scripting per update {per_update:.1} ms of {updates}"
    );
    for (name, (before, after)) in counters.iter().zip(before.iter().zip(after)) {
        eprintln!("{name}: {:.1} ms per update", (after - before) * 1e3 / updates);
    }
    assert!(paint < 1_000.0, "first paint after {paint} ms");
    assert!(drawn < 4_000.0, "graph drawn after {drawn} ms");
    // 3 ms where the processor is this test's own; a shared one has been seen to take three times as long.
    assert!(per_update <= 16.0, "scripting per update: {per_update} ms");

    // Nodes stay where they are while figures change.
    let places = "[...document.querySelectorAll('.node')].map(it => it.dataset.id + it.getAttribute('transform')).sort().join()";
    let at = browser.evaluate(places);
    let count = "performance.getEntriesByName('bowline:render').length";
    let now = browser.evaluate(count).as_u64().unwrap_or_default();
    browser.wait_for(&format!("{count} > {now} + 1"));
    assert_eq!(browser.evaluate(places), at);
    browser.media(&[("prefers-reduced-motion", "reduce"), ("prefers-color-scheme", "dark")]);
    browser.wait_for("document.getAnimations().length === 0");
    browser.picture("two-hundred-dark");
    browser.press(&["+", "+", "+", "+"]);
    browser.picture("zoomed");
    assert_clean(&mut browser, &mesh);
    drop(browser);
    mesh.stop();
}

/// For people who work on the pages: `cargo test -p bowline-e2e --test dashboard -- --ignored simulate`.
#[test]
#[ignore = "it serves until it is ended"]
fn simulate() {
    let count = std::env::var("BOWLINE_SERVICES").ok().and_then(|it| it.parse().ok()).unwrap_or(200);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let address = SocketAddr::new(ANY_PORT.ip(), 4_577);
    let _running = runtime.block_on(async { Simulation::start(count, address).await.run() });
    eprintln!("http://{address}/dashboard/");
    runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3_600)).await });
}
