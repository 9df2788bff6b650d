//! The DNS server as real clients see it: asked with `dig` (bind9-dnsutils).

use std::{net::SocketAddr, process::Command, sync::Arc};

use arc_swap::ArcSwap;
use bowline_control::dns::{
    DnsConfig, DnsServer,
    zone::{DnsName, Instance, Name, RecordSet, RoutingPolicy, Srv, Zone, ZoneTable},
};

fn name(text: &str) -> DnsName {
    text.parse().expect("a name")
}

fn set<T>(values: impl IntoIterator<Item = T>) -> Option<RecordSet<T>> {
    let instances = values.into_iter().map(|value| Instance { value, healthy: true }).collect();
    Some(RecordSet { ttl: 60, routing: RoutingPolicy::Multivalue, instances })
}

fn table(serial: u32, last: u8) -> ZoneTable {
    // Long enough that eight SRV records with their targets exceed 512 bytes.
    let host = |n: u8| name(&format!("instance-{n}-{}.db.demo.local", "x".repeat(40)));
    let mut names = vec![
        (
            name("api.demo.local"),
            Name {
                a: set([[10, 0, 0, last].into()]),
                aaaa: set(["fd00::1".parse().expect("an address")]),
                ..Name::default()
            },
        ),
        (name("www.demo.local"), Name { cname: set([name("api.demo.local")]), ..Name::default() }),
        (
            name("db.demo.local"),
            Name {
                srv: set((0..8).map(|n| Srv { priority: 1, weight: 1, port: 5_432, target: host(n) })),
                ..Name::default()
            },
        ),
        (
            name("_one._tcp.demo.local"),
            Name {
                srv: set([Srv { priority: 1, weight: 1, port: 5_432, target: host(0) }]),
                ..Name::default()
            },
        ),
    ];
    names.extend((0..8).map(|n| (host(n), Name { a: set([[10, 0, 1, n].into()]), ..Name::default() })));
    let zone = Zone { apex: name("demo.local"), serial, negative_ttl: 15 };
    ZoneTable::new([zone], names)
}

/// What `dig` prints, its comments included.
async fn dig(server: SocketAddr, arguments: &str) -> String {
    let mut command = Command::new("dig");
    command.args(["-r", &format!("@{}", server.ip()), "-p", &server.port().to_string()]);
    command.args(["+tries=1", "+time=10", "+nocookie"]).args(arguments.split(' '));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("dig is waited for")
        .expect("dig runs: install bind9-dnsutils, or run scripts/install-components");
    let text = String::from_utf8(output.stdout).expect("dig prints text");
    assert!(output.status.success(), "dig {arguments}: {text}");
    assert!(!text.contains("Warning") && !text.contains("WARNING: Messages"), "dig {arguments}: {text}");
    text
}

/// The records of a section, spaces made single, sorted.
fn section(text: &str, title: &str) -> Vec<String> {
    let start = format!(";; {title} SECTION:");
    let lines = text.lines().skip_while(|line| *line != start).skip(1).take_while(|line| !line.is_empty());
    let mut records: Vec<_> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    records.sort();
    records
}

fn status(text: &str) -> &str {
    text.split_once("status: ").and_then(|(_, rest)| rest.split_once(',')).expect("a header").0
}

#[tokio::test]
async fn dig_gets_what_stands_in_the_zone() {
    let zones = Arc::new(ArcSwap::from_pointee(table(7, 1)));
    let server = DnsServer::start(DnsConfig::new(([127, 0, 0, 1], 0).into()), zones.clone()).unwrap();
    let at = server.local_addr();
    const SOA: &str = "demo.local. 15 IN SOA demo.local. nobody.invalid. 7 7200 900 1209600 15";

    let text = dig(at, "api.demo.local A").await;
    assert_eq!(status(&text), "NOERROR");
    assert!(text.contains(" qr aa rd;"), "{text}");
    assert_eq!(section(&text, "ANSWER"), ["api.demo.local. 60 IN A 10.0.0.1"]);
    let text = dig(at, "API.demo.LOCAL AAAA").await;
    assert_eq!(section(&text, "ANSWER"), ["API.demo.LOCAL. 60 IN AAAA fd00::1"]);
    let text = dig(at, "www.demo.local A").await;
    assert_eq!(
        section(&text, "ANSWER"),
        ["api.demo.local. 60 IN A 10.0.0.1", "www.demo.local. 60 IN CNAME api.demo.local."]
    );
    let text = dig(at, "_one._tcp.demo.local SRV").await;
    let host = format!("instance-0-{}.db.demo.local.", "x".repeat(40));
    assert_eq!(section(&text, "ANSWER"), [format!("_one._tcp.demo.local. 60 IN SRV 1 1 5432 {host}")]);
    assert_eq!(section(&text, "ADDITIONAL"), [format!("{host} 60 IN A 10.0.1.0")]);
    assert_eq!(section(&dig(at, "demo.local SOA").await, "ANSWER"), [SOA]);
    assert_eq!(section(&dig(at, "demo.local NS").await, "ANSWER"), ["demo.local. 15 IN NS demo.local."]);
    let text = dig(at, "api.demo.local ANY +notcp").await;
    assert_eq!(section(&text, "ANSWER"), ["api.demo.local. 3600 IN HINFO \"RFC8482\" \"\""]);

    for (arguments, expected) in [
        ("none.demo.local A", "NXDOMAIN"),
        ("api.demo.local MX", "NOERROR"),
        ("_tcp.demo.local A", "NOERROR"),
        ("api.demo.local TYPE65280", "NOERROR"),
    ] {
        let text = dig(at, arguments).await;
        assert_eq!(status(&text), expected, "{arguments}");
        assert!(section(&text, "ANSWER").is_empty());
        assert_eq!(section(&text, "AUTHORITY"), [SOA]);
    }
    for (arguments, expected) in [
        ("example.com A", "REFUSED"),
        ("version.bind CH TXT", "REFUSED"),
        ("demo.local A +opcode=notify", "NOTIMP"),
        ("api.demo.local A +edns=1 +noednsnegotiation", "BADVERS"),
        ("+header-only api.demo.local", "FORMERR"),
    ] {
        assert_eq!(status(&dig(at, arguments).await), expected, "{arguments}");
    }

    zones.store(Arc::new(table(8, 2)));
    let text = dig(at, "api.demo.local A").await;
    assert_eq!(section(&text, "ANSWER"), ["api.demo.local. 60 IN A 10.0.0.2"]);
}

#[tokio::test]
async fn dig_goes_on_over_tcp_where_an_answer_is_cut() {
    let server = DnsServer::start(DnsConfig::new(([127, 0, 0, 1], 0).into()), Arc::new(table(7, 1))).unwrap();
    let at = server.local_addr();
    let text = dig(at, "db.demo.local SRV +noedns +ignore").await;
    assert!(text.contains(" qr aa tc rd;") && section(&text, "ANSWER").is_empty(), "{text}");
    let text = dig(at, "db.demo.local SRV +noedns").await;
    assert!(text.contains("Truncated, retrying in TCP mode"), "{text}");
    assert_eq!(section(&text, "ANSWER").len(), 8);
    assert_eq!(section(&text, "ADDITIONAL").len(), 8);
    // With EDNS all eight fit, and the server says what it takes itself.
    let text = dig(at, "db.demo.local SRV +bufsize=4096").await;
    assert!(text.contains("; EDNS: version: 0, flags:; udp: 1232"), "{text}");
    assert!(!text.contains("Truncated"));
    assert_eq!(section(&text, "ANSWER").len(), 8);
    let text = dig(at, "db.demo.local SRV +bufsize=512 +ignore").await;
    assert!(text.contains(" tc "), "{text}");
    // Two questions on one connection.
    let text = dig(at, "+tcp +keepopen api.demo.local A www.demo.local A").await;
    assert_eq!(text.matches("status: NOERROR").count(), 2, "{text}");
}
