//! Entries for fuzzing: what of this crate reads bytes of others and is not public otherwise.
//! No part of its interface.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bowline_discovery::{resource::Resource, v1};
use bowline_model::wildcard::Wildcard;
use hickory_proto::{
    op::{Message, OpCode, Query},
    rr::{Name, RecordType},
};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    caller,
    config::{
        Action, Listener, Match, Redirect, Route, Rule, Snapshot, ValueKind, ValueMatch, store::ResourceStore,
    },
    config_file,
    dns::{Carrier, Elsewhere, Verdict, adopt, encode, examine, upstream::Question},
    framing::Framing,
    headers,
    metrics::Metrics,
    route,
    tls::{
        imported::{Imported, ImportedCertificates, Side, dns_names, public_key_of},
        verify::peer_identity,
    },
};

/// A question of a task, to be answered here or to be asked outside.
pub fn dns_question(bytes: &[u8]) {
    for outside in [false, true] {
        let lookup = |name: &str| name.starts_with('a').then_some(Ipv4Addr::new(198, 18, 1, 1));
        let response = match examine(bytes, |_| outside.then_some(Elsewhere::Host), lookup) {
            None => continue,
            Some(Verdict::Answered(response)) => response,
            Some(Verdict::Elsewhere(_, query, response)) => {
                assert!(outside, "names outside are asked for by who may");
                assert!(Question::new(&query).is_ok(), "{query:?} cannot be asked");
                response
            }
        };
        for carrier in [Carrier::Udp, Carrier::Tcp] {
            let reply = encode(&response, carrier).expect("an answer can be written");
            assert_eq!(reply.get(..2), bytes.get(..2), "it answers another question");
            assert!(carrier == Carrier::Tcp || reply.len() <= 4_096, "{} bytes", reply.len());
        }
    }
}

/// A resolver's answer, from its flags on, to a question for `a.`.
pub fn dns_answer(bytes: &[u8]) {
    let Ok(name) = Name::from_ascii("a.") else { return };
    let query = Query::query(name, RecordType::A);
    let Ok(question) = Question::new(&query) else { return };
    let bytes = [&question.id.to_be_bytes()[..], bytes].concat();
    if let Some(answer) = question.answer(&bytes) {
        let mut response = Message::response(1, OpCode::Query);
        response.add_query(query.clone());
        let response = adopt(response, answer);
        for carrier in [Carrier::Udp, Carrier::Tcp] {
            if let Some(reply) = encode(&response, carrier) {
                assert!(carrier == Carrier::Tcp || reply.len() <= 512, "{} bytes", reply.len());
            }
        }
    }
}

/// A peer's certificate.
pub fn peer_certificate(der: &[u8]) {
    let certificate = CertificateDer::from(der);
    if let Ok(peer) = peer_identity(&certificate) {
        assert!(peer.id.as_str().starts_with("spiffe://"));
    }
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let proved = IMPORTED.verify(&certificate, &[], now, Side::Client);
    assert!(!matches!(proved, Some(Ok(_))), "nobody else signs for that root, or has that key");
    // What is shown as well as what is held is read by these.
    assert_eq!(public_key_of(der).is_none(), X509Certificate::from_der(der).is_err());
    dns_names(der);
}

/// A chain that is believed, and a key.
static IMPORTED: LazyLock<ImportedCertificates> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let mut root = CertificateParams::new(Vec::new()).expect("no names");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let roots_pem = root.self_signed(&key).expect("a root").pem();
    let imported = Imported::read(&v1::ImportedCertificate {
        name: "arn".into(),
        client_id: "spiffe://d/ns/a/cluster/c/svc/s".into(),
        spki_sha256: vec!["00".repeat(32)],
        chains: vec![v1::ImportedChain { roots_pem, dns_names: vec!["a.example".into()] }],
        ..v1::ImportedCertificate::default()
    });
    ImportedCertificates([("arn".to_owned(), Arc::new(imported.expect("usable")))].into())
});

/// Resources of the stream, applied one after the other and linked. Those that name files are
/// left out: it is the operator who writes those.
pub fn resources(resources: Vec<Resource>) {
    let mut store = ResourceStore::new(Arc::new(Metrics::default()));
    for resource in resources {
        if let Resource::Identity(v1::Identity { source: Some(v1::identity::Source::Files(_)), .. }) =
            &resource
        {
            continue;
        }
        let (kind, name) = (resource.kind(), resource.name().to_owned());
        if let Err(rejection) = store.apply("1".into(), resource) {
            assert_eq!((rejection.kind, &rejection.name), (kind, &name), "another one is blamed");
        } else {
            assert!(store.versions(kind).contains_key(&name));
        }
    }
    let snapshot = store.snapshot();
    walk(&snapshot);
    let held: Vec<_> =
        store.all().map(|held| (held.resource.kind(), held.resource.name().to_owned())).collect();
    for (kind, name) in held {
        store.remove(kind, &name);
    }
    let empty = store.snapshot();
    assert!(empty.listeners.is_empty() && empty.clusters.is_empty() && empty.names.is_empty());
}

fn walk(snapshot: &Snapshot) {
    let request = Request::builder().uri("http://a.example/b?c=d").body(());
    let (parts, ()) = request.expect("a request").into_parts();
    for listener in snapshot.listeners.values() {
        let Listener { route: Some(route), .. } = &**listener else { continue };
        if let Some(Action::Forward(forward)) = route::action(route, &parts) {
            for hash in [None, Some(0), Some(u64::MAX)] {
                let _ = route::choose(forward, hash);
            }
        }
    }
}

/// A configuration file's text.
pub fn config_file(text: &str) {
    let _ = config_file::parse(Path::new("proxy.yaml"), text);
}

/// A request's head on its way through: headers of the hop are left, a rule is found.
pub fn request<'a>(method: &str, target: &str, lines: impl Iterator<Item = (&'a str, &'a [u8])>) {
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    let Ok(request) = Request::builder().method(method).uri(uri).body(()) else { return };
    let (mut parts, ()) = request.into_parts();
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
            parts.headers.append(name, value);
        }
    }
    let _ = headers::is_upgrade(&parts.headers);
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::join_cookies(&mut parts.headers);
    let forwarded_for = HeaderName::from_static("x-forwarded-for");
    headers::append_forwarded_for(&mut parts.headers, &forwarded_for, IpAddr::V4(Ipv4Addr::LOCALHOST));
    caller::strip(&mut parts.headers);
    for name in parts.headers.keys() {
        let name = name.as_str().replace('_', "-");
        assert!(!name.starts_with("x-ssl-client-") && name != "x-forwarded-client-cert", "{name} is a claim");
    }
    for left in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
        assert!(!parts.headers.contains_key(&left), "{left} crosses a hop");
    }
    assert!(parts.headers.get_all(header::COOKIE).iter().count() <= 1);
    let seen = parts.headers.get_all(&forwarded_for).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    assert!(seen.len() == 1 && seen[0].ends_with(b"127.0.0.1"), "the client's address is the last");
    let wildcards = |patterns: &[&str]| patterns.iter().filter_map(|p| Wildcard::new(p, true)).collect();
    let matches = Match {
        hosts: wildcards(&["*.Example.com", "a*b*c*d?"]),
        paths: wildcards(&["/a/*", "*b*/?c*"]),
        query: vec![("k".to_owned(), ValueMatch { kind: ValueKind::Exact("a b".into()), invert: false })],
        ..Match::default()
    };
    let _ = route::action(&Route { rules: vec![rule(matches), rule(Match::default())] }, &parts)
        .expect("the last rule takes everything");
}

fn rule(matches: Match) -> Rule {
    let action = Action::Redirect(Redirect {
        status: http::StatusCode::FOUND,
        protocol: "#{protocol}".into(),
        host: "#{host}".into(),
        port: "#{port}".into(),
        path: "/#{path}".into(),
        query: "#{query}".into(),
    });
    Rule { matches, action }
}

/// A client's bytes on an HTTP/1.1 connection, as they come and cut at every so many bytes: the
/// verdict is the same.
pub fn http_framing(bytes: &[u8], size: usize) {
    let whole = Framing::new().follow(bytes);
    let mut cut = Framing::new();
    let parts = bytes.chunks(size.max(1)).try_for_each(|part| cut.follow(part).map_err(|(_, fault)| fault));
    assert_eq!(whole.map_err(|(_, fault)| fault), parts);
    if let Err((right, _)) = whole {
        assert!(right < bytes.len());
        assert_eq!(Framing::new().follow(&bytes[..right]), Ok(()), "the fault is earlier");
    }
}
