//! What everybody who looks is told: a pure function of the registry, of what proxies tell and of events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bowline_model::{
    clock::Timestamp,
    service::{Service, TlsMode},
    task::{HealthStatus, TaskId, TaskStatus},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    alarms,
    parties::{self, Hop, Kind, Party, Rates, Sum},
};
use crate::{
    ecs::record::DeploymentState,
    reconcile::Event,
    registry::{CertificateRecord, Registry, TaskOwner, TaskRecord},
    telemetry::TelemetryView,
};

/// Most of the latest events that are told.
const EVENTS_MAX: usize = 300;

/// Most of the latest experiments that are told.
const EXPERIMENTS_MAX: usize = 50;

/// Things by name, as pages have them: `KIND/ID`.
pub(super) type Items = BTreeMap<String, Value>;

/// What is looked at.
pub(super) struct Seen<'a> {
    pub(super) registry: &'a Registry,
    pub(super) telemetry: &'a TelemetryView,
    /// With a number each that grows.
    pub(super) events: &'a [(u64, Event)],
    /// Services left without encryption on purpose.
    pub(super) plaintext: &'a BTreeSet<String>,
}

/// A node of the graph.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    id: String,
    kind: Kind,
    name: &'a str,
    cluster: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<&'a str>,
    /// `ok`, `degraded`, `down`, or `none` of what has no tasks here.
    state: &'static str,
    desired: usize,
    running: usize,
    pending: usize,
    unhealthy: usize,
    /// A deployment is under way.
    deploying: bool,
    /// How hops to it are protected: `MUTUAL_TLS`, `TLS` or `PLAINTEXT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    /// When the first of its certificates ends, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_ends_at: Option<u64>,
    /// Its alarms that are in `ALARM`.
    alarms: usize,
    #[serde(flatten)]
    rates: Rates,
}

/// An edge of the graph.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edge {
    from: String,
    to: String,
    names: Vec<String>,
    /// `mutual_tls`, `tls` or `plaintext`; none where nothing was called.
    mode: Option<&'static str>,
    #[serde(flatten)]
    rates: Rates,
}

/// All of it.
pub(super) fn items(seen: &Seen<'_>) -> Items {
    let Seen { registry, telemetry, .. } = seen;
    let mut items = Items::new();
    let settings = registry.settings();
    items.insert(
        "meta".into(),
        json!({
            "account": settings.scope.account_id,
            "region": settings.scope.region,
            "trustDomain": settings.trust_domain,
        }),
    );
    let hops = parties::hops(registry, telemetry);
    for hop in &hops {
        let edge = Edge {
            from: hop.from.id(),
            to: hop.to.id(),
            names: hop.names.iter().cloned().collect(),
            mode: hop.security.map(|security| security.as_str()),
            rates: hop.sum.rates(),
        };
        put(&mut items, format!("edge/{}>{}", edge.from, edge.to), &edge);
    }
    nodes(seen, &hops, &mut items);
    for (name, alarm) in registry.alarms.iter() {
        put(&mut items, format!("alarm/{name}"), &alarms::told(registry, alarm));
    }
    let skipped = seen.events.len().saturating_sub(EVENTS_MAX);
    for (number, event) in seen.events.iter().skip(skipped) {
        let told = json!({
            "number": number, "at": event.at.as_millis(), "subject": event.subject,
            "resource": event.resource, "message": event.message,
        });
        items.insert(format!("event/{number}"), told);
    }
    for template in registry.experiment_templates.values() {
        let content = &template.content;
        let actions: BTreeMap<_, _> =
            content.actions.iter().map(|(name, action)| (name, &action.action_id)).collect();
        let told = json!({
            "id": template.id, "description": content.description, "actions": actions,
            "targets": content.targets.len(),
            "stopConditions": content.stop_conditions.iter().map(|stop| &stop.source).collect::<Vec<_>>(),
            "role": content.role_arn, "name": template.tags.get("Name"),
            "createdAt": template.created_at.as_millis(), "updatedAt": template.updated_at.as_millis(),
        });
        items.insert(format!("template/{}", template.id), told);
    }
    let mut experiments: Vec<_> = registry.experiments.values().collect();
    experiments.sort_by_key(|experiment| std::cmp::Reverse(experiment.created_at));
    for experiment in experiments.into_iter().take(EXPERIMENTS_MAX) {
        let actions: BTreeMap<_, _> = experiment
            .run
            .actions
            .iter()
            .map(|(name, action)| (name, json!({"status": action.status.as_str(), "reason": action.reason})))
            .collect();
        let told = json!({
            "id": experiment.id, "template": experiment.template, "description": experiment.content.description,
            "status": experiment.run.status.as_str(), "reason": experiment.run.reason, "actions": actions,
            "targets": experiment.resolved.values().map(Vec::len).sum::<usize>(),
            "createdAt": experiment.created_at.as_millis(),
            "endedAt": experiment.run.ended_at.map(Timestamp::as_millis),
        });
        items.insert(format!("experiment/{}", experiment.id), told);
    }
    items
}

/// Puts a thing among the others.
pub(super) fn put(items: &mut Items, key: String, thing: &impl Serialize) {
    match serde_json::to_value(thing) {
        Ok(value) => {
            items.insert(key, value);
        }
        Err(error) => tracing::error!(%error, key, "a thing could not be told"),
    }
}

fn nodes(seen: &Seen<'_>, hops: &[Hop], items: &mut Items) {
    let Seen { registry, plaintext, .. } = seen;
    // What is called is judged by what comes in; who only calls, by what goes out.
    let mut inbound: HashMap<&Party, Sum> = HashMap::new();
    let mut outbound: HashMap<&Party, Sum> = HashMap::new();
    for hop in hops {
        inbound.entry(&hop.to).or_default().merge(&hop.sum);
        outbound.entry(&hop.from).or_default().merge(&hop.sum);
    }
    let tasks = Tasks::of(registry);
    let firing = alarms::firing(registry);
    let mut put_node = |party: &Party, node: Node<'_>| {
        put(items, format!("node/{}", party.id()), &node);
    };
    let blank = |party: &Party| Node {
        id: party.id(),
        kind: party.kind,
        name: "",
        cluster: "",
        namespace: None,
        arn: None,
        state: "none",
        desired: 0,
        running: 0,
        pending: 0,
        unhealthy: 0,
        deploying: false,
        mode: None,
        certificate_ends_at: None,
        alarms: 0,
        rates: Rates::default(),
    };
    for service in registry.services.values() {
        let party = Party::new(Kind::Service, &service.cluster, &service.name);
        let counts = tasks.of_owner(service.arn.as_str());
        let desired = service.desired_count as usize;
        let node = Node {
            name: &service.name,
            cluster: &service.cluster,
            namespace: service.connect.as_ref().map(|connect| connect.namespace.as_str()),
            arn: Some(service.arn.as_str()),
            state: state(desired, &counts),
            desired,
            running: counts.serving,
            pending: counts.pending,
            unhealthy: counts.unhealthy,
            deploying: is_deploying(registry, service),
            mode: mode_of(service, plaintext),
            certificate_ends_at: counts.certificate_ends_at.map(Timestamp::as_millis),
            alarms: firing.get(&party.id()).copied().unwrap_or_default(),
            rates: inbound.get(&party).map(Sum::rates).unwrap_or_default(),
            ..blank(&party)
        };
        put_node(&party, node);
    }
    for balancer in registry.load_balancers.values() {
        let party = Party::new(Kind::LoadBalancer, "", &balancer.name);
        let counts = tasks.of_owner(balancer.arn.as_str());
        let node = Node {
            name: &balancer.name,
            arn: Some(balancer.arn.as_str()),
            state: state(1, &counts),
            desired: 1,
            running: counts.serving,
            pending: counts.pending,
            certificate_ends_at: counts.certificate_ends_at.map(Timestamp::as_millis),
            alarms: firing.get(&party.id()).copied().unwrap_or_default(),
            rates: outbound.get(&party).map(Sum::rates).unwrap_or_default(),
            ..blank(&party)
        };
        put_node(&party, node);
    }
    let others: BTreeSet<&Party> = hops.iter().flat_map(|hop| [&hop.from, &hop.to]).collect();
    for party in others {
        let rates = match party.kind {
            Kind::TaskGroup | Kind::Client => outbound.get(party),
            Kind::External => inbound.get(party),
            // One that is gone is told for as long as its calls are.
            Kind::Service | Kind::LoadBalancer => continue,
        };
        let rates = rates.map(Sum::rates).unwrap_or_default();
        put_node(party, Node { name: &party.name, cluster: &party.cluster, rates, ..blank(party) });
    }
}

/// How a service's ports are protected; `None` where it offers none in the mesh.
fn mode_of(service: &Service, plaintext: &BTreeSet<String>) -> Option<&'static str> {
    let connect = service.connect.as_ref().filter(|connect| !connect.services.is_empty())?;
    Some(match connect.encryption.mode {
        _ if plaintext.contains(&service.name) => "PLAINTEXT",
        TlsMode::Tls => "TLS",
        TlsMode::MutualTls => "MUTUAL_TLS",
    })
}

fn is_deploying(registry: &Registry, service: &Service) -> bool {
    let record = registry.service_records.get(service.arn.as_str());
    let under_way = [DeploymentState::InProgress, DeploymentState::RollbackInProgress];
    record.is_some_and(|record| {
        record.deployments.iter().any(|deployment| under_way.contains(&deployment.state))
    })
}

/// How many tasks there are of one owner.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    serving: usize,
    pending: usize,
    unhealthy: usize,
    certificate_ends_at: Option<Timestamp>,
}

/// `ok`: as many serve as should; `down`: none does; `degraded`: some do, or some are not well.
fn state(desired: usize, counts: &Counts) -> &'static str {
    match counts.serving {
        _ if desired == 0 => "none",
        0 => "down",
        serving if serving < desired || counts.unhealthy > 0 => "degraded",
        _ => "ok",
    }
}

/// The tasks of each owner, counted in one pass.
struct Tasks<'a>(HashMap<&'a str, Counts>);

impl<'a> Tasks<'a> {
    fn of(registry: &'a Registry) -> Self {
        let certificates = latest_certificates(registry);
        let mut all: HashMap<&str, Counts> = HashMap::new();
        for task in registry.tasks.values() {
            let owner = match &task.owner {
                TaskOwner::Service { service, .. } => service.as_str(),
                TaskOwner::Gateway { load_balancer } => load_balancer.as_str(),
                TaskOwner::Standalone(_) => continue,
            };
            let counts = all.entry(owner).or_default();
            counts.serving += usize::from(task.available());
            counts.pending += usize::from(task.status() < TaskStatus::Running);
            counts.unhealthy += usize::from(is_unhealthy(task));
            if let Some(certificate) = certificates.get(&task.id) {
                let ends = certificate.not_after;
                counts.certificate_ends_at =
                    Some(counts.certificate_ends_at.map_or(ends, |first| first.min(ends)));
            }
        }
        Self(all)
    }

    fn of_owner(&self, arn: &str) -> Counts {
        self.0.get(arn).copied().unwrap_or_default()
    }
}

fn is_unhealthy(task: &TaskRecord) -> bool {
    task.report.as_ref().is_some_and(|report| {
        report.health == HealthStatus::Unhealthy && report.status == TaskStatus::Running
    })
}

/// The certificate of the mesh that each task shows: the latest.
pub(super) fn latest_certificates(registry: &Registry) -> HashMap<&TaskId, &CertificateRecord> {
    let mut latest: HashMap<&TaskId, &CertificateRecord> = HashMap::new();
    for certificate in registry.certificates.values().filter(|it| it.spiffe_id.is_some()) {
        let present = latest.entry(&certificate.task).or_insert(certificate);
        if present.not_before < certificate.not_before {
            *present = certificate;
        }
    }
    latest
}
