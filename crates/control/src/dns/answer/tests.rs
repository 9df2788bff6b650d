use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::dns::zone::{DnsName, Instance, RecordSet, RoutingPolicy, Srv, ZoneTable};

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

fn set<T>(ttl: u32, values: impl IntoIterator<Item = T>) -> Option<RecordSet<T>> {
    let instances = values.into_iter().map(|value| Instance { value, healthy: true }).collect();
    Some(RecordSet { ttl, routing: RoutingPolicy::Multivalue, instances })
}

fn alias(target: &str) -> Name {
    Name { cname: set(20, [name(target)]), ..Name::default() }
}

fn table() -> ZoneTable {
    let zone = |apex| Zone { apex: name(apex), serial: 7, negative_ttl: 15 };
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let v6: Ipv6Addr = "fd00::1".parse().unwrap();
    let srv = |port, target| Srv { priority: 1, weight: 1, port, target: name(target) };
    ZoneTable::new(
        [zone("ns"), zone("other")],
        [
            (name("api.ns"), Name { a: set(60, [address]), aaaa: set(30, [v6]), ..Name::default() }),
            (
                name("db.ns"),
                Name {
                    srv: set(10, [srv(1, "i-1.db.ns"), srv(2, "i-1.db.ns"), srv(3, "far.example.com")]),
                    ..Name::default()
                },
            ),
            (name("i-1.db.ns"), Name { a: set(10, [address]), aaaa: set(10, [v6]), ..Name::default() }),
            (name("_http._tcp.ns"), Name::default()),
            (name("short.ns"), alias("api.ns")),
            (name("across.ns"), alias("short.ns")),
            (name("outside.ns"), alias("example.com")),
            (name("dangling.ns"), alias("gone.other")),
            (name("loop.ns"), alias("pool.ns")),
            (name("pool.ns"), alias("loop.ns")),
            (name("ns"), alias("example.com")),
        ],
    )
}

fn ask(text: &str, kind: RecordType) -> Reply {
    let query = Query::query(rr::Name::from_ascii(text).unwrap(), kind);
    authoritative(&table(), &query).expect("in a zone")
}

fn shown(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

/// Code NOERROR or NXDOMAIN, no answer, and the SOA that says for how long.
fn assert_negative(reply: &Reply, code: ResponseCode, apex: &str) {
    assert_eq!(reply.code, code);
    assert!(reply.authoritative);
    let [record] = &reply.authorities[..] else { panic!("{reply:?}") };
    assert_eq!(record.name.to_ascii(), apex);
    let RData::SOA(soa) = &record.data else { panic!("{record}") };
    assert_eq!((record.ttl, soa.minimum, soa.serial), (15, 15, 7));
}

#[test]
fn addresses_are_answered_in_the_letters_of_the_question() {
    let reply = ask("Api.NS.", RecordType::A);
    assert_eq!((reply.code, reply.authoritative), (ResponseCode::NoError, true));
    assert_eq!(shown(&reply.answers), ["Api.NS. 60 IN A 10.0.0.1"]);
    assert!(reply.authorities.is_empty() && reply.additionals.is_empty());
    assert_eq!(shown(&ask("api.ns.", RecordType::AAAA).answers), ["api.ns. 30 IN AAAA fd00::1"]);
}

#[test]
fn srv_brings_its_targets_addresses_once() {
    let reply = ask("db.ns.", RecordType::SRV);
    assert_eq!(reply.answers.len(), 3);
    assert!(shown(&reply.answers).contains(&"db.ns. 10 IN SRV 1 1 1 i-1.db.ns.".to_owned()));
    assert_eq!(shown(&reply.additionals), ["i-1.db.ns. 10 IN A 10.0.0.1", "i-1.db.ns. 10 IN AAAA fd00::1"]);
}

#[test]
fn a_name_without_the_type_has_no_data() {
    for (text, kind) in [
        ("api.ns.", RecordType::TXT),
        ("api.ns.", RecordType::Unknown(65_280)),
        ("api.ns.", RecordType::CNAME),
        ("db.ns.", RecordType::A),
        // Only names below it.
        ("_tcp.ns.", RecordType::A),
        ("_tcp.ns.", RecordType::ANY),
        ("ns.", RecordType::A),
        ("other.", RecordType::MX),
    ] {
        let reply = ask(text, kind);
        assert!(reply.answers.is_empty(), "{text} {kind}");
        let apex = if text == "other." { "other." } else { "ns." };
        assert_negative(&reply, ResponseCode::NoError, apex);
    }
}

#[test]
fn a_name_that_is_not_there_does_not_exist() {
    for text in ["none.ns.", "x.api.ns.", "a\\.pi.ns."] {
        let reply = ask(text, RecordType::A);
        assert!(reply.answers.is_empty());
        assert_negative(&reply, ResponseCode::NXDomain, "ns.");
    }
    let elsewhere = Query::query(rr::Name::from_ascii("example.com.").unwrap(), RecordType::A);
    assert!(authoritative(&table(), &elsewhere).is_none());
    let root = Query::query(rr::Name::root(), RecordType::NS);
    assert!(authoritative(&table(), &root).is_none());
}

#[test]
fn a_cname_is_followed_within_our_zones() {
    let reply = ask("across.ns.", RecordType::A);
    assert_eq!(
        shown(&reply.answers),
        ["across.ns. 20 IN CNAME short.ns.", "short.ns. 20 IN CNAME api.ns.", "api.ns. 60 IN A 10.0.0.1"]
    );
    for kind in [RecordType::CNAME, RecordType::ANY] {
        assert_eq!(shown(&ask("across.ns.", kind).answers), ["across.ns. 20 IN CNAME short.ns."]);
    }
    let reply = ask("outside.ns.", RecordType::A);
    assert_eq!((reply.code, reply.authorities.len()), (ResponseCode::NoError, 0));
    assert_eq!(shown(&reply.answers), ["outside.ns. 20 IN CNAME example.com."]);
    // The alias is there; what it stands for has no such data, or is not there.
    let reply = ask("short.ns.", RecordType::TXT);
    assert_eq!(reply.answers.len(), 1);
    assert_negative(&reply, ResponseCode::NoError, "ns.");
    let reply = ask("dangling.ns.", RecordType::A);
    assert_eq!(reply.answers.len(), 1);
    assert_negative(&reply, ResponseCode::NXDomain, "other.");
    let reply = ask("loop.ns.", RecordType::A);
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::ServFail, 0));
}

#[test]
fn the_apex_has_soa_and_ns_and_no_cname() {
    assert_eq!(
        shown(&ask("NS.", RecordType::SOA).answers),
        ["NS. 15 IN SOA ns. nobody.invalid. 7 7200 900 1209600 15"]
    );
    assert_eq!(shown(&ask("ns.", RecordType::NS).answers), ["ns. 15 IN NS ns."]);
    assert_eq!(ask("ns.", RecordType::ANY).answers[0].record_type(), RecordType::SOA);
    assert!(ask("ns.", RecordType::CNAME).answers.is_empty());
    assert_negative(&ask("api.ns.", RecordType::SOA), ResponseCode::NoError, "ns.");
}

#[test]
fn any_is_answered_minimally() {
    let reply = ask("api.ns.", RecordType::ANY);
    assert_eq!(shown(&reply.answers).len(), 1);
    assert_eq!(reply.answers[0].record_type(), RecordType::HINFO);
    assert!(reply.authorities.is_empty());
}

#[test]
fn a_set_whose_instances_are_gone_has_no_data() {
    let zone = Zone { apex: name("ns"), serial: 7, negative_ttl: 15 };
    let empty = Name { a: set(60, []), cname: set(60, []), ..Name::default() };
    let table = ZoneTable::new([zone], [(name("api.ns"), empty)]);
    let query = Query::query(rr::Name::from_ascii("api.ns.").unwrap(), RecordType::A);
    assert_negative(&authoritative(&table, &query).unwrap(), ResponseCode::NoError, "ns.");
}
