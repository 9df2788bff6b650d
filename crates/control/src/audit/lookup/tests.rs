use super::*;
use crate::audit::event::{
    AuditEvent, AuditResource, EventCategory, SessionContext, UserIdentity, UserIdentityType,
};
use crate::audit::tests::{KEY, options};
use crate::audit::{AuditLog, verify};

const START: u64 = 1_795_245_143;
const ARN: &str = "arn:aws:ecs:eu-central-1:000000000000:service/demo/web";

/// 120 calls, one a second.
fn events() -> Vec<AuditEvent> {
    let event = |number: u64| {
        let time = Timestamp::from_millis((START + number) * 1000 + 700);
        let mut event = AuditEvent::new(time, "ecs.amazonaws.com", "DescribeServices");
        event.read_only = true;
        event.request_parameters = Some(serde_json::json!({"number": number}));
        if number % 10 == 3 {
            event.name = "CreateService".into();
            event.read_only = false;
            event.resources = vec![AuditResource {
                arn: ARN.into(),
                account_id: "000000000000".into(),
                resource_type: "AWS::ECS::Service".into(),
            }];
        }
        if number % 20 == 4 {
            event.source = "servicediscovery.amazonaws.com".into();
            event.user_identity = UserIdentity {
                kind: UserIdentityType::AssumedRole,
                arn: Some("arn:aws:sts::000000000000:assumed-role/deploy/ci-7".into()),
                access_key_id: Some("ASIAEXAMPLE".into()),
                session_context: Some(SessionContext::default()),
                ..UserIdentity::default()
            };
        }
        match number {
            5 => event.user_identity.kind = UserIdentityType::Root,
            6 => event.user_identity.user_name = Some("mary".into()),
            7 => event.category = EventCategory::Data,
            _ => {}
        }
        event
    };
    (0..120).map(event).collect()
}

struct Logs {
    logs: [AuditLog; 2],
    _dir: tempfile::TempDir,
}

/// The same events in files and in memory.
async fn logs() -> Logs {
    let dir = tempfile::tempdir().expect("a directory");
    let logs = [AuditLog::open(dir.path(), &KEY, options()).expect("opens"), AuditLog::in_memory(1000)];
    for event in events() {
        for log in &logs {
            log.record(event.clone()).expect("is taken");
        }
    }
    for log in &logs {
        log.flush().await.expect("is durable");
    }
    Logs { logs, _dir: dir }
}

fn numbers(events: &[FoundEvent]) -> Vec<u64> {
    let number = |event: &FoundEvent| {
        let record: serde_json::Value = serde_json::from_str(&event.cloud_trail_event).expect("is JSON");
        record["requestParameters"]["number"].as_u64()
    };
    events.iter().filter_map(number).collect()
}

/// All pages of a query.
fn all(log: &AuditLog, query: &LookupQuery) -> Vec<FoundEvent> {
    let mut query = query.clone();
    let mut found = Vec::new();
    for _ in 0..1000 {
        let page = log.lookup(&query).expect("is found");
        assert!(page.events.len() <= query.max_results as usize);
        found.extend(page.events);
        query.next_token = page.next_token;
        if query.next_token.is_none() {
            return found;
        }
    }
    panic!("the pages have no end");
}

fn by(key: LookupKey, value: &str) -> LookupQuery {
    let attribute = Some(LookupAttribute { key, value: value.to_owned() });
    LookupQuery { attribute, max_results: 4, ..LookupQuery::default() }
}

#[tokio::test]
async fn finds_by_each_attribute_newest_first_page_by_page() {
    let every = |step: usize, from: u64| -> Vec<u64> {
        (from..120).step_by(step).collect::<Vec<_>>().into_iter().rev().collect()
    };
    let Logs { logs, _dir } = logs().await;
    let id = events()[0].id.to_string();
    let cases = [
        (LookupKey::EventName, "CreateService", every(10, 3)),
        (LookupKey::ReadOnly, "false", every(10, 3)),
        (LookupKey::Username, "ci-7", every(20, 4)),
        (LookupKey::Username, "root", vec![5]),
        (LookupKey::Username, "mary", vec![6]),
        (LookupKey::ResourceType, "AWS::ECS::Service", every(10, 3)),
        (LookupKey::ResourceName, "web", every(10, 3)),
        (LookupKey::ResourceName, ARN, every(10, 3)),
        (LookupKey::ResourceName, "eb", vec![]),
        (LookupKey::EventSource, "servicediscovery.amazonaws.com", every(20, 4)),
        (LookupKey::AccessKeyId, "ASIAEXAMPLE", every(20, 4)),
        (LookupKey::EventId, &id, vec![]),
    ];
    for log in &logs {
        for (key, value, expected) in &cases {
            assert_eq!(numbers(&all(log, &by(*key, value))), *expected, "{key:?} {value}");
        }
        let everything = all(log, &LookupQuery::default());
        let expected: Vec<u64> = (0..120).rev().filter(|number| *number != 7).collect();
        assert_eq!(numbers(&everything), expected);
        let one = everything.iter().find(|event| event.event_name == "CreateService").expect("is there");
        let again = all(log, &by(LookupKey::EventId, &one.event_id));
        assert_eq!(again, std::slice::from_ref(one));
        assert_eq!(one.resources, [("AWS::ECS::Service".to_owned(), ARN.to_owned())]);
        assert_eq!(one.event_time, Timestamp::from_secs(START + 113));
        let with_data = LookupQuery { data_events: true, ..LookupQuery::default() };
        assert_eq!(numbers(&all(log, &with_data)).len(), 120);
    }
}

#[tokio::test]
async fn finds_by_time_with_both_ends() {
    let Logs { logs, _dir } = logs().await;
    let at = |number: u64| Some(Timestamp::from_millis((START + number) * 1000 + 900));
    for log in &logs {
        let query = LookupQuery { start: at(10), end: at(12), ..LookupQuery::default() };
        assert_eq!(numbers(&all(log, &query)), [12, 11, 10]);
        let query = LookupQuery { start: at(500), end: at(600), ..LookupQuery::default() };
        assert_eq!(log.lookup(&query).expect("finds nothing"), LookupPage::default());
    }
}

#[tokio::test]
async fn a_page_is_not_moved_by_what_is_recorded_meanwhile() {
    let Logs { logs, _dir } = logs().await;
    for log in &logs {
        let mut query = LookupQuery { max_results: 50, ..LookupQuery::default() };
        let first = log.lookup(&query).expect("is found");
        for event in events().into_iter().take(30) {
            log.record(event).expect("is taken");
        }
        log.flush().await.expect("is durable");
        query.next_token = first.next_token;
        let second = log.lookup(&query).expect("is found");
        assert_eq!(numbers(&first.events).last(), Some(&70));
        assert_eq!(numbers(&second.events).first(), Some(&69));
    }
}

#[tokio::test]
async fn bad_queries_are_refused_by_name() {
    let Logs { logs, _dir } = logs().await;
    for log in &logs {
        for max_results in [0, 51] {
            let query = LookupQuery { max_results, ..LookupQuery::default() };
            assert!(matches!(log.lookup(&query), Err(LookupError::InvalidMaxResults(_))));
        }
        let at = |seconds| Some(Timestamp::from_secs(seconds));
        let query = LookupQuery { start: at(2), end: at(1), ..LookupQuery::default() };
        assert!(matches!(log.lookup(&query), Err(LookupError::InvalidTimeRange)));
        for query in [
            by(LookupKey::EventName, ""),
            by(LookupKey::EventName, &"é".repeat(2001)),
            by(LookupKey::ReadOnly, "yes"),
        ] {
            assert!(matches!(log.lookup(&query), Err(LookupError::InvalidLookupAttributes)));
        }
        let query = by(LookupKey::EventName, "CreateService");
        let token = log.lookup(&query).expect("is found").next_token.expect("has more");
        let other = LookupQuery { next_token: Some(token.clone()), ..by(LookupKey::EventName, "Other") };
        assert!(matches!(log.lookup(&other), Err(LookupError::InvalidNextToken)), "of another query");
        let mut altered = token.clone().into_bytes();
        altered[30] = if altered[30] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).expect("is ASCII");
        for token in [
            String::new(),
            "é".repeat(200),
            "A".repeat(64),
            altered,
            token[1..].to_owned(),
            "A".repeat(100_000),
        ] {
            let query = LookupQuery { next_token: Some(token), ..query.clone() };
            assert!(matches!(log.lookup(&query), Err(LookupError::InvalidNextToken)));
        }
    }
}

#[tokio::test]
async fn goes_through_segments_and_stops_at_its_budget() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = AuditLog::open(dir.path(), &KEY, options()).expect("opens");
    let mut rare = events().swap_remove(0);
    rare.name = "Rare".into();
    log.record(rare.clone()).expect("is taken");
    for _ in 0..20 {
        events().into_iter().for_each(|event| log.record(event).expect("is taken"));
    }
    log.flush().await.expect("is durable");
    let crate::audit::Backend::Files { index, keys, .. } = &log.0 else { panic!("is in files") };
    let index = index.lock().clone();
    assert!(index.segments.len() > 2);
    assert_eq!(all(&log, &by(LookupKey::EventName, "Rare")).len(), 1);

    let mut query = by(LookupKey::EventName, "Rare");
    let mut pages = 0;
    let found = loop {
        let page = in_files_within(dir.path(), keys, &index, &query, 100_000).expect("is found");
        pages += 1;
        query.next_token = page.next_token;
        if !page.events.is_empty() {
            break page.events;
        }
        assert!(query.next_token.is_some() && pages < 100);
    };
    assert!(pages > 10, "{pages}");
    assert_eq!(found[0].event_id, rare.id.to_string());
}

#[tokio::test]
async fn an_altered_record_is_not_given_out() {
    let Logs { logs: [log, _], _dir } = logs().await;
    let path = verify::segment_path(_dir.path(), 1);
    let text = std::fs::read_to_string(&path).expect("reads");
    std::fs::write(&path, text.replace("mary", "anna")).expect("writes");
    let found = log.lookup(&by(LookupKey::Username, "anna"));
    assert!(matches!(found, Err(LookupError::Trail(AuditError::Tampered { .. }))), "{found:?}");
}

#[test]
fn memory_keeps_the_last() {
    let log = AuditLog::in_memory(10);
    events().into_iter().for_each(|event| log.record(event).expect("is taken"));
    assert_eq!(numbers(&all(&log, &LookupQuery::default())), (110..120).rev().collect::<Vec<_>>());
    assert_eq!(log.anchor(), None);
}
