//! Recent errors with their traces, and lines of logs, of one service.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    service::Service,
    trace::{Span, SpanKind},
};
use bowline_observe::{
    logs::{LogStore, Reading, Streams},
    traces::{KeptSpan, Trace, TraceQuery, TraceStore},
};
use bowline_plumbing::wall_clock;
use serde::Serialize;

use super::{Refusal, detail};
use crate::{
    core::Core,
    registry::{Registry, TaskOwner},
};

/// How far back is looked.
const SINCE: Duration = Duration::from_secs(3_600);
/// Most errors that are told.
const ERRORS_MAX: usize = 25;
/// Most failed traces that are looked at for them, whoever's they are; so many at a time.
const TRACES_MAX: usize = 2_000;
const TRACES_PAGE: usize = 200;
/// Most lines, and bytes of them, of a group.
const LINES_MAX: usize = 150;
const LINES_BYTES_MAX: usize = 256 * 1024;
/// Most characters of a line.
const LINE_MAX: usize = 2_000;
/// Most groups that a service writes to.
const GROUPS_MAX: usize = 8;

/// Traces and logs of one thing.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Records {
    /// Calls that failed, the latest first.
    traces: Vec<TraceRow>,
    /// The latest last; `None` where its containers' logs go to no group.
    logs: Option<Vec<LogRow>>,
}

/// A call that failed.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceRow {
    /// The trace that it is part of.
    id: String,
    /// Its span's id: a trace may have several calls that failed.
    span: String,
    /// Milliseconds since 1970.
    at: u64,
    /// Whether the service was called, or called another one.
    is_called: bool,
    /// Which discovery name was called.
    name: String,
    method: String,
    path: String,
    status: u16,
    flags: String,
    /// Milliseconds.
    lasted: f64,
}

impl TraceRow {
    fn of(trace: &Trace, span: &Span) -> Self {
        Self {
            id: trace.id.to_string(),
            span: span.id.to_string(),
            at: span.start_us / 1_000,
            is_called: span.kind == SpanKind::Server,
            name: span.discovery_name.clone(),
            method: span.method.clone(),
            path: span.path.chars().take(LINE_MAX).collect(),
            status: span.status,
            flags: span.flags.clone(),
            lasted: span.duration_us as f64 / 1e3,
        }
    }
}

/// A line of a log.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRow {
    /// Milliseconds since 1970.
    at: u64,
    stream: String,
    message: String,
}

/// Of `service/CLUSTER/NAME`. Reads from the disk.
pub(super) fn of(core: &Core, subject: &str) -> Result<Records, Refusal> {
    let (registry, now) = (core.registry(), wall_clock::now());
    let service = detail::service_of(&registry, subject).ok_or_else(Refusal::not_found)?;
    let groups = groups_of(&registry, service);
    let logs = (!groups.is_empty()).then(|| logs(core.logs(), &registry, service, &groups, now));
    Ok(Records { traces: errors(core.traces(), service, now), logs })
}

/// Calls of the service, or by it, that failed.
fn errors(traces: &TraceStore, service: &Service, now: Timestamp) -> Vec<TraceRow> {
    let from_us = (now - SINCE).as_millis().saturating_mul(1_000);
    let is_its = |kept: &&KeptSpan| {
        kept.origin.service == service.name && kept.origin.cluster == service.cluster && kept.span.is_fault()
    };
    let mut rows = Vec::new();
    let mut after = None;
    for _ in 0..TRACES_MAX / TRACES_PAGE {
        let query = TraceQuery { from_us, failed: true, limit: TRACES_PAGE, after, ..TraceQuery::default() };
        let page = traces.list(&query);
        after = page.last().map(|last| (last.start_us, last.id));
        for trace in page.iter().filter_map(|summary| traces.trace(summary.id)) {
            rows.extend(trace.spans.iter().filter(is_its).map(|kept| TraceRow::of(&trace, &kept.span)));
            if rows.len() >= ERRORS_MAX {
                rows.truncate(ERRORS_MAX);
                return rows;
            }
        }
        if page.len() < TRACES_PAGE {
            break;
        }
    }
    rows
}

/// The groups that the service's containers, and its proxies, write to.
fn groups_of(registry: &Registry, service: &Service) -> BTreeSet<String> {
    let definition = registry.task_definition_records.get(service.task_definition.as_str());
    let containers = definition.iter().flat_map(|record| &record.request.container_definitions);
    let of_containers = containers.filter_map(|container| container.log_configuration.as_ref());
    let record = registry.service_records.get(service.arn.as_str());
    let connect = record.and_then(|record| record.request.service_connect_configuration.as_ref());
    let of_proxy = connect.and_then(|connect| connect.log_configuration.as_ref());
    let all = of_containers.chain(of_proxy).filter(|logs| logs.log_driver == "awslogs");
    all.filter_map(|logs| logs.options.get("awslogs-group").cloned()).take(GROUPS_MAX).collect()
}

/// The latest lines of the service's tasks: of streams that end with a task's id, as `awslogs` calls them.
fn logs(
    store: &LogStore,
    registry: &Registry,
    service: &Service,
    groups: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<LogRow> {
    let is_its =
        |owner: &TaskOwner| matches!(owner, TaskOwner::Service { service: of, .. } if *of == service.arn);
    let tasks: BTreeSet<&str> =
        registry.known_tasks().filter(|task| is_its(&task.owner)).map(|task| task.id.as_str()).collect();
    let mut rows: BTreeMap<(u64, u64, &str), LogRow> = BTreeMap::new();
    for group in groups {
        // A group that is not there yet has no lines.
        let Ok(streams) = store.streams(group) else { continue };
        let names = streams.into_iter().map(|stream| stream.name.to_string());
        let names: BTreeSet<_> =
            names.filter(|name| name.rsplit('/').next().is_some_and(|id| tasks.contains(id))).collect();
        if names.is_empty() {
            continue;
        }
        let reading = Reading {
            streams: Streams::Named(names),
            from: now - SINCE,
            until: now + SINCE,
            after: None,
            before: None,
            is_forward: false,
            limit: LINES_MAX,
            bytes: LINES_BYTES_MAX,
            takes: &|_| true,
        };
        match store.read(group, &reading) {
            Ok(page) => rows.extend(page.events.into_iter().map(|event| {
                let row = LogRow {
                    at: event.position.at.as_millis(),
                    stream: event.stream.to_string(),
                    message: event.message.chars().take(LINE_MAX).collect(),
                };
                ((row.at, event.position.sequence, group.as_str()), row)
            })),
            Err(error) => tracing::warn!(%error, group, "logs could not be read for the dashboard"),
        }
    }
    let skipped = rows.len().saturating_sub(LINES_MAX);
    rows.into_values().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use bowline_model::{
        log::{LogEvent, LogWriter},
        trace::{Span, SpanId, SpanOrigin, SpanProtocol, SpanWriter, TraceId},
    };
    use serde_json::json;

    use super::*;
    use crate::api::{
        authorization::AuthorizationMode,
        testing::{Keys, TestApi},
    };

    #[tokio::test]
    async fn errors_and_lines_of_a_service_are_told_and_of_no_other() {
        let api = TestApi::new(AuthorizationMode::Off);
        let root = Keys::root();
        api.json(&root, "ecs", "CreateCluster", json!({"clusterName": "c"})).await.ok();
        let logging = json!({"logDriver": "awslogs", "options": {"awslogs-group": "/shop", "awslogs-region": "us-east-1"}});
        let container = json!({"name": "app", "image": "i", "logConfiguration": logging});
        let definition = json!({"family": "app", "containerDefinitions": [container]});
        api.json(&root, "ecs", "RegisterTaskDefinition", definition).await.ok();
        let service =
            json!({"cluster": "c", "serviceName": "web", "taskDefinition": "app", "desiredCount": 0});
        api.json(&root, "ecs", "CreateService", service).await.ok();
        let core = &api.api.core;
        let told = of(core, "service/c/web").expect("there is one");
        assert_eq!((told.traces.len(), told.logs.map(|lines| lines.len())), (0, Some(0)), "nothing yet");

        let now = wall_clock::now();
        let span = |id: u8, status: u16| Span {
            trace: TraceId::new([id; 16]).expect("an id"),
            id: SpanId::new([id; 8]).expect("an id"),
            parent: None,
            kind: SpanKind::Server,
            start_us: now.as_millis() * 1_000 - 5_000,
            duration_us: 4_500,
            protocol: SpanProtocol::Http1,
            discovery_name: "web".into(),
            peer: String::new(),
            method: "GET".into(),
            path: "/<b>".into(),
            authority: "web".into(),
            status,
            grpc_status: None,
            flags: "-".into(),
            bytes_received: 0,
            bytes_sent: 0,
            upstream: None,
            events: Vec::new(),
            events_dropped: 0,
        };
        let origin = |service: &str| SpanOrigin {
            cluster: "c".into(),
            service: service.into(),
            task: "t".into(),
            is_gateway: false,
        };
        core.traces().put(&origin("web"), vec![span(1, 503), span(2, 200)]);
        core.traces().put(&origin("other"), vec![span(3, 500)]);
        let event = LogEvent { at: now, message: "hello".into() };
        core.logs().put("/shop", "app/app/0123", vec![event], true).expect("kept");
        let told = of(core, "service/c/web").expect("there is one");
        let [row] = told.traces.as_slice() else { panic!("{told:?}") };
        assert_eq!((row.status, row.lasted, row.path.as_str()), (503, 4.5, "/<b>"));
        assert_eq!(told.logs, Some(Vec::new()), "the stream is of no task of it");
        assert!(of(core, "service/c/nobody").is_err());
    }
}
