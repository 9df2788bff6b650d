//! Proxies are looked into: what they tell is held against what they should have.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bowline_control::control_plane::NameError;
use bowline_discovery::introspection::{
    DumpPart, FromProxy, Hello, from_proxy::Report, introspection_client::IntrospectionClient,
    to_proxy::Order,
};
use bowline_model::{
    clock::Timestamp,
    diagnostics::{HeldResource, LogState, ProcessState, ProxyDump, RefusedResource},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{LIMIT, Mesh};

fn dump() -> ProxyDump {
    ProxyDump {
        process: ProcessState {
            version: "1".into(),
            pid: 1,
            started: Timestamp::default(),
            identity: None,
            workers: 1,
            memory_bytes: None,
            shedding: "none".into(),
            open: BTreeMap::new(),
            stream_connects: 1,
            generation: 1,
            last_good_written: None,
        },
        log: LogState::default(),
        trust: vec![],
        certificates: vec![],
        listeners: vec![],
        clusters: vec![],
        resources: vec![],
        refused: vec![],
        config: vec![],
    }
}

/// Answers with what `dump` has at the moment, in parts of a few bytes.
async fn answer_dumps(channel: Channel, dump: Arc<Mutex<ProxyDump>>) {
    let (reports, receiver) = mpsc::channel(4);
    let hello = Hello { version: "1".into(), started_ms: 7 };
    let tell = |report| FromProxy { report: Some(report) };
    reports.send(tell(Report::Hello(hello))).await.expect("there is room");
    let mut client = IntrospectionClient::new(channel);
    let mut orders = client.introspect(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
    while let Ok(Some(order)) = orders.message().await {
        let Some(Order::Dump(asked)) = order.order else { continue };
        let json = serde_json::to_vec(&*dump.lock().expect("nothing panicked")).expect("JSON");
        let parts: Vec<_> = json.chunks(1_000).collect();
        for (place, part) in parts.iter().enumerate() {
            let (json, last) = (part.to_vec(), place + 1 == parts.len());
            let part = DumpPart { id: asked.id, json, last, error: String::new() };
            reports.send(tell(Report::Dump(part))).await.expect("the stream stands");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_in_step_or_what_differs_is_named_with_the_reason() {
    let state = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(state.path(), 1).await;
    let task = mesh.tasks_of("service-a").remove(0);
    let named = |name: &str| mesh.control.proxied_tasks(&[name.to_owned()]);
    assert_eq!(named("service-a"), Ok([task.clone()].into()));
    assert_eq!(named(&task.as_str()[..12]), Ok([task.clone()].into()));
    assert!(matches!(named("service-c"), Err(NameError::Unknown { known, .. }) if known.len() == 3));
    assert!(named("").is_err(), "no task's id begins so");

    // Connected, but not to be asked.
    let _proxy = mesh.proxy(&task).await;
    let credentials = mesh.by_token(&task).await.expect("a certificate");
    let diagnosis = mesh.control.diagnose(&task).await;
    assert!(diagnosis.dump.is_err() && !diagnosis.in_step(), "{diagnosis:?}");

    let told = Arc::new(Mutex::new(dump()));
    let answering = tokio::spawn(answer_dumps(mesh.place.channel(Some(&credentials)), Arc::clone(&told)));
    let asked = async {
        loop {
            let diagnosis = mesh.control.diagnose(&task).await;
            if diagnosis.dump.is_ok() {
                return diagnosis;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    // It says that it has nothing: everything that it should have differs.
    let bare = tokio::time::timeout(LIMIT, asked).await.expect("in time");
    assert!(bare.connected && !bare.in_step() && bare.differences.len() > 5, "{bare:?}");
    let held = bare.differences.iter().map(|difference| HeldResource {
        kind: difference.kind.clone(),
        name: difference.name.clone(),
        version: difference.wanted.clone().expect("it should have it"),
    });
    let held: Vec<_> = held.collect();
    told.lock().expect("nothing panicked").resources = held.clone();
    let diagnosis = mesh.control.diagnose(&task).await;
    assert!(diagnosis.in_step(), "{:?}", diagnosis.differences);
    // One of them it refuses, and keeps the one before.
    {
        let mut told = told.lock().expect("nothing panicked");
        let HeldResource { kind, name, version } = held[0].clone();
        told.resources[0].version = "before".into();
        let (reason, since) = ("port: must not be 0".into(), Timestamp::default());
        told.refused = vec![RefusedResource { kind, name, version, reason, since }];
    }
    let diagnosis = mesh.control.diagnose(&task).await;
    let [difference] = diagnosis.differences.as_slice() else { panic!("{diagnosis:?}") };
    assert_eq!((&difference.name, difference.held.as_deref()), (&held[0].name, Some("before")));
    assert_eq!(difference.reason.as_deref(), Some("port: must not be 0"));
    assert!(!diagnosis.in_step());

    let links = mesh.control.proxy_links();
    let link = links.iter().find(|link| link.task == task).expect("it is listed");
    assert!(link.connected && link.process.as_ref().is_some_and(|process| process.version == "1"));
    assert_eq!(link.owner, "service-a");
    answering.abort();
    mesh.stop().await;
}
