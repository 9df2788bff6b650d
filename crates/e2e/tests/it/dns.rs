//! Names of private DNS namespaces, registered by boto3 and asked for by `dig` and by a task.

use std::{net::SocketAddr, process::Command, time::Duration};

use bowline_e2e::{
    command::{Outcome, eventually, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
    server::{TestServer, aws_clients, aws_tests},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// How late a change may come, on a machine that has time. AWS's own takes tens of seconds.
const LATEST: Duration = Duration::from_millis(100);

fn names(endpoint: &str, arguments: &[&str]) -> Value {
    let mut python = Command::new(aws_clients().join("bin/python"));
    python.arg(aws_tests().join("dns_names.py")).arg(endpoint).args(arguments);
    let outcome = run_limited(&mut python, LIMIT);
    assert!(outcome.success(), "{arguments:?}: {outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap_or_default()
}

fn dig(server: SocketAddr, arguments: &str) -> Outcome {
    let mut command = Command::new("dig");
    command.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+tries=1", "+time=5"]);
    let outcome = run_limited(command.args(arguments.split(' ')), LIMIT);
    assert!(outcome.success(), "dig {arguments}: {outcome:?}");
    outcome
}

/// The lines of `dig +short`, sorted.
fn short(server: SocketAddr, arguments: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        dig(server, &format!("{arguments} +short")).stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn dns_of(printed: &Value) -> SocketAddr {
    printed["dns"][0].as_str().expect("a DNS address").parse().expect("an address")
}

#[test]
fn dig_finds_what_boto3_registered() {
    let server = TestServer::start(["--ephemeral", "--launcher", "record"]);
    let dns = dns_of(&server.printed);
    names(&server.endpoint, &["make"]);
    let found = |arguments: &str| short(dns, arguments);
    let come = |what: &str, arguments: &str, wanted: &[&str]| {
        eventually(what, LIMIT, || (found(arguments) == wanted).then_some(()));
    };

    come("the address", "api.shop.internal A", &["10.1.0.1", "10.1.0.2"]);
    assert_eq!(found("api.shop.internal AAAA"), ["fd00::1", "fd00::2"]);
    assert_eq!(found("www.shop.internal CNAME"), ["api.shop.internal."]);
    assert_eq!(found("www.shop.internal A"), ["10.1.0.1", "10.1.0.2", "api.shop.internal."]);
    assert_eq!(found("shop.internal SOA").len(), 1);
    let target = format!("1 1 5432 instance-3-{}.db.shop.internal.", "x".repeat(40));
    assert!(found("db.shop.internal SRV").contains(&target), "{:?}", found("db.shop.internal SRV"));
    // Eight targets of that length do not fit into 512 bytes.
    let cut = dig(dns, "db.shop.internal SRV +ignore +noedns").stdout;
    assert!(cut.contains("flags: qr aa tc"), "{cut}");
    assert_eq!(found("db.shop.internal SRV +tcp").len(), 8);

    let status = |arguments: &str| {
        let text = dig(dns, arguments).stdout;
        text.split_once("status: ").and_then(|(_, rest)| rest.split_once(',')).expect("a status").0.to_owned()
    };
    assert_eq!(status("nobody.shop.internal A"), "NXDOMAIN");
    let no_data = dig(dns, "api.shop.internal TXT").stdout;
    assert!(no_data.contains("status: NOERROR") && no_data.contains("ANSWER: 0, AUTHORITY: 1"), "{no_data}");
    assert_eq!(status("example.com A"), "REFUSED");
    assert_eq!(status("api.shop.internal A +edns=1 +noednsnegotiation"), "BADVERS");
    let ttl = dig(dns, "api.shop.internal A +noall +answer").stdout;
    assert!(ttl.split_whitespace().nth(1) == Some("10"), "{ttl}");

    names(&server.endpoint, &["break"]);
    come("the unhealthy one's absence", "api.shop.internal A", &["10.1.0.2"]);
    names(&server.endpoint, &["mend"]);
    come("its return", "api.shop.internal A", &["10.1.0.1", "10.1.0.2"]);

    let typical = names(&server.endpoint, &["time", &dns.port().to_string(), "500"]);
    eprintln!("from a registration to its name, median of eleven, in milliseconds: {typical}");
    for place in ["dns", "discover"] {
        let late = Duration::from_millis(typical[place].as_u64().expect("a time"));
        assert!(late <= LATEST, "{place}: {late:?}");
    }
}

#[test]
fn a_task_finds_registered_names_and_no_others() {
    let mesh = TestMesh::up(&MeshOptions::example("two-services"));
    let endpoint = mesh.topology["endpoint"].as_str().expect("the AWS endpoint").to_owned();
    names(&endpoint, &["make"]);
    let resolve = |name: &str| {
        let mut command = Command::new(bowline());
        command.args(["exec", "--state-dir"]).arg(mesh.state_dir());
        command.args(["service-a", "--", "getent", "ahostsv4", name]);
        run_limited(&mut command, LIMIT)
    };
    eventually("the name in the task", Duration::from_secs(30), || {
        resolve("api.shop.internal").stdout.contains("10.1.0.1").then_some(())
    });
    assert!(resolve("service-b-sc").stdout.contains("198.18."), "{:?}", resolve("service-b-sc"));
    assert!(!resolve("nobody.shop.internal").success());
    assert!(!resolve("example.com").success());
}
