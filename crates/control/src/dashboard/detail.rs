//! What is told besides of one service or load balancer, to those who look at its page.

use std::collections::BTreeMap;

use bowline_model::{
    load_balancer::{GatewayAction, GatewayCondition, GatewayRule},
    service::{DeploymentId, Service},
    task::TaskId,
    traffic::RouteMatch,
};
use serde_json::{Value, json};

use super::overview::{Items, latest_certificates};
use crate::{
    ecs::record::Deployment,
    publish::{gateway, traffic::policy_of},
    registry::{CertificateRecord, Registry, TaskOwner, TaskRecord},
    telemetry::tasks::Utilization,
    view,
};

/// Most tasks that are told, and most of those that are over.
const TASKS_MAX: usize = 500;
const STOPPED_MAX: usize = 20;
/// Of a certificate's life, when its holder asks for another one.
const RENEWED_AFTER: f64 = 2.0 / 3.0;

/// Details of `service/CLUSTER/NAME` or `gateway/NAME`; nothing of what is not there.
pub(super) fn items(
    registry: &Registry,
    usage: &BTreeMap<TaskId, Utilization>,
    plaintext: &std::collections::BTreeSet<String>,
    subject: &str,
) -> Items {
    let mut items = Items::new();
    if let Some(service) = service_of(registry, subject) {
        let tasks = registry.tasks_of_service(&service.arn);
        put_tasks(registry, usage, &tasks, &mut items);
        put_stopped(registry, service, &mut items);
        put_deployments(registry, service, &tasks, &mut items);
        put_aliases(registry, service, plaintext, &mut items);
        put_policies(registry, service, &mut items);
        put_rules_to(registry, service, &mut items);
    } else if let Some(name) = subject.strip_prefix("gateway/")
        && let Some(balancer) = registry.load_balancers.values().find(|balancer| balancer.name == name)
    {
        put_tasks(registry, usage, &registry.tasks_of_gateway(&balancer.arn), &mut items);
        for listener in gateway::listeners_of(registry, &balancer.arn) {
            put_rules(registry, &listener.arn, listener.port, &listener.default_action, None, &mut items);
        }
    }
    items
}

/// The service of a page.
pub(super) fn service_of<'a>(registry: &'a Registry, subject: &str) -> Option<&'a Service> {
    let (cluster, name) = subject.strip_prefix("service/")?.split_once('/')?;
    let is_it = |service: &&std::sync::Arc<Service>| service.cluster == cluster && service.name == name;
    registry.services.values().find(is_it).map(|service| &**service)
}

fn put_tasks(
    registry: &Registry,
    usage: &BTreeMap<TaskId, Utilization>,
    tasks: &[std::sync::Arc<TaskRecord>],
    items: &mut Items,
) {
    let certificates = latest_certificates(registry);
    for task in tasks.iter().rev().take(TASKS_MAX) {
        let mut told = task_told(task);
        if let Some(used) = usage.get(&task.id) {
            told["cpu"] = json!(super::parties::rounded(used.cpu_percent));
            told["memory"] = json!(super::parties::rounded(used.memory_percent));
            told["memoryBytes"] = json!(used.memory_bytes);
        }
        if let Some(certificate) = certificates.get(&task.id) {
            told["certificate"] = certificate_told(registry, certificate);
        }
        items.insert(format!("task/{}", task.id), told);
    }
}

fn task_told(task: &TaskRecord) -> Value {
    let report = task.report.as_ref();
    let (definition, deployment) = match &task.owner {
        TaskOwner::Service { task_definition, deployment, .. } => {
            (Some(family_of(task_definition.as_str())), Some(deployment.digits()))
        }
        owner => (owner.task_definition().map(|arn| family_of(arn.as_str())), None),
    };
    let reason = task.stop_reason.as_ref().map(|stop| stop.reason.as_str());
    let reason = reason.or_else(|| report.and_then(|report| report.stopped_reason.as_deref()));
    json!({
        "id": task.id.as_str(), "arn": task.arn.as_str(),
        "status": task.status(), "desired": task.desired,
        "health": report.map(|report| report.health),
        "serves": task.available(), "draining": task.draining_since.is_some(),
        "createdAt": task.created_at.as_millis(),
        "zone": task.zone, "definition": definition, "deployment": deployment,
        "stoppedReason": reason,
        "warnings": report.map(|report| report.warnings.clone()).unwrap_or_default(),
    })
}

/// `family:revision`, of a task definition's ARN.
fn family_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn certificate_told(registry: &Registry, certificate: &CertificateRecord) -> Value {
    let (from, until) = (certificate.not_before, certificate.not_after);
    let renews_at = from + until.since(from).mul_f64(RENEWED_AFTER);
    json!({
        "serial": certificate.serial,
        "spiffeId": certificate.spiffe_id.as_ref().map(|id| id.as_str()),
        "notBefore": from.as_millis(), "notAfter": until.as_millis(), "renewsAt": renews_at.as_millis(),
        "authority": registry.authority_of(certificate).as_str(),
        "revoked": registry.revocations.get(&certificate.serial).is_some(),
    })
}

fn put_stopped(registry: &Registry, service: &Service, items: &mut Items) {
    let is_its = |task: &TaskRecord| matches!(&task.owner, TaskOwner::Service { service: of, .. } if *of == service.arn);
    let mut stopped: Vec<_> =
        registry.stopped_tasks.values().filter(|stopped| is_its(&stopped.task)).collect();
    stopped.sort_by_key(|stopped| std::cmp::Reverse(stopped.put_away_at));
    for stopped in stopped.into_iter().take(STOPPED_MAX) {
        let mut told = task_told(&stopped.task);
        told["stoppedAt"] = json!(stopped.task.stopped_at().map(|at| at.as_millis()));
        items.insert(format!("stopped/{}", stopped.task.id), told);
    }
}

fn put_deployments(
    registry: &Registry,
    service: &Service,
    tasks: &[std::sync::Arc<TaskRecord>],
    items: &mut Items,
) {
    let Some(record) = registry.service_records.get(service.arn.as_str()) else { return };
    for (place, deployment) in record.deployments.iter().enumerate() {
        let is_its = |task: &&std::sync::Arc<TaskRecord>| matches!(&task.owner, TaskOwner::Service { deployment: of, .. } if *of == deployment.id);
        let (mut running, mut all) = (0, 0);
        for task in tasks.iter().filter(is_its) {
            all += 1;
            running += usize::from(task.available());
        }
        let mut told = deployment_told(deployment);
        told["place"] = json!(place);
        told["running"] = json!(running);
        told["tasks"] = json!(all);
        told["desired"] = json!(service.desired_count);
        told["current"] = json!(deployment.id == service.deployment);
        told["percent"] = json!(share_of(service, &deployment.id));
        items.insert(format!("deployment/{}", deployment.id.digits()), told);
    }
}

fn deployment_told(deployment: &Deployment) -> Value {
    json!({
        "id": deployment.id.to_string(), "definition": family_of(deployment.task_definition.as_str()),
        "state": deployment.state, "reason": deployment.reason,
        "createdAt": deployment.created_at.as_millis(), "updatedAt": deployment.updated_at.as_millis(),
        "finishedAt": deployment.finished_at.map(|at| at.as_millis()),
        "failedTasks": deployment.failed_tasks,
        "stage": deployment.stage.map(|stage| stage.name()),
        "alarms": deployment.triggered_alarms,
        "hooks": deployment.hooks.iter().map(|hook| json!({
            "stage": hook.stage.name(), "status": hook.status, "expiresAt": hook.expires_at.as_millis(),
        })).collect::<Vec<_>>(),
    })
}

/// What share of the production traffic a deployment's tasks have by weight, in percent; `None` where tasks of
/// several deployments share it by their number.
fn share_of(service: &Service, deployment: &DeploymentId) -> Option<f64> {
    let shift = service.shift.as_ref()?;
    Some(match deployment {
        of if *of == shift.green.deployment => shift.production.percent(),
        of if *of == shift.blue.deployment => shift.production.rest().percent(),
        _ => 0.0,
    })
}

fn put_aliases(
    registry: &Registry,
    service: &Service,
    plaintext: &std::collections::BTreeSet<String>,
    items: &mut Items,
) {
    let offered = view::aliases(registry, service, plaintext);
    for (place, alias) in offered.into_iter().filter(|alias| alias.service_arn == service.arn).enumerate() {
        let told = json!({
            "kind": "alias", "match": format!("{}:{}", alias.names.join(", "), alias.port),
            "protocol": alias.protocol, "mode": alias.mode,
            "targets": [{"name": alias.port_name, "weight": 1}],
        });
        items.insert(format!("route/1-alias-{place:03}"), told);
    }
}

fn put_policies(registry: &Registry, service: &Service, items: &mut Items) {
    let Some(connect) = &service.connect else { return };
    for offered in &connect.services {
        // The one that is published.
        if let Some(policy) = policy_of(registry, &connect.namespace, &offered.discovery_name) {
            for (place, route) in policy.routes.iter().enumerate() {
                let targets: Vec<_> = route
                    .targets
                    .iter()
                    .map(|(name, weight)| json!({"name": name, "weight": weight}))
                    .collect();
                let told = json!({
                    "kind": "policy", "policy": policy.name, "match": matched(&route.matches),
                    "name": offered.discovery_name, "targets": targets,
                });
                items.insert(format!("route/2-{}-{place:03}", offered.discovery_name), told);
            }
        }
    }
}

fn matched(matches: &RouteMatch) -> String {
    let mut text = Vec::new();
    text.extend(matches.method.clone());
    text.push(matches.path.clone().unwrap_or_else(|| "*".to_owned()));
    if !matches.headers.is_empty() {
        text.push(format!("with {} header conditions", matches.headers.len()));
    }
    text.join(" ")
}

fn put_rules_to(registry: &Registry, service: &Service, items: &mut Items) {
    for balancer in registry.load_balancers.values() {
        for listener in gateway::listeners_of(registry, &balancer.arn) {
            let of = Some((balancer.name.as_str(), service));
            put_rules(registry, &listener.arn, listener.port, &listener.default_action, of, items);
        }
    }
}

/// The rules of a listener; only those that lead to a service, where one is given.
fn put_rules(
    registry: &Registry,
    listener: &bowline_model::arn::Arn,
    port: u16,
    default_action: &GatewayAction,
    to: Option<(&str, &Service)>,
    items: &mut Items,
) {
    let rules = gateway::rules_of(registry, listener);
    let all = rules.iter().map(|rule| (Some(*rule), &rule.action)).chain([(None, default_action)]);
    for (place, (rule, action)) in all.enumerate() {
        let (targets, leads) = targets_of(registry, action, to.map(|(_, service)| service));
        if to.is_some() && !leads {
            continue;
        }
        let told = json!({
            "kind": "gateway", "gateway": to.map(|(name, _)| name), "port": port,
            "priority": rule.map(|rule| rule.priority),
            "match": rule.map_or("default".to_owned(), conditions), "targets": targets,
        });
        let gateway = to.map(|(name, _)| name).unwrap_or_default();
        items.insert(format!("route/3-{gateway}-{port:05}-{place:04}"), told);
    }
}

fn targets_of(registry: &Registry, action: &GatewayAction, to: Option<&Service>) -> (Vec<Value>, bool) {
    let GatewayAction::Forward(groups) = action else {
        return (vec![json!({"name": "answered by the load balancer", "weight": 1})], false);
    };
    let mut leads = false;
    let mut targets = Vec::new();
    for (group, weight) in groups {
        let behind = gateway::services_behind(registry, group);
        leads |= behind.iter().any(|(service, _)| to.is_some_and(|to| to.arn == service.arn));
        let names: Vec<_> = behind.iter().map(|(service, _)| service.name.as_str()).collect();
        targets.push(json!({"name": names.join(", "), "weight": weight}));
    }
    (targets, leads)
}

fn conditions(rule: &GatewayRule) -> String {
    let told = rule.conditions.iter().map(|condition| match condition {
        GatewayCondition::Hosts(hosts) => format!("host {}", hosts.join(" or ")),
        GatewayCondition::Paths(paths) => format!("path {}", paths.join(" or ")),
        GatewayCondition::Methods(methods) => format!("method {}", methods.join(" or ")),
        GatewayCondition::Header { name, value } => format!("header {name}: {value}"),
        GatewayCondition::Query { name, value } => format!("query {name}={value}"),
    });
    told.collect::<Vec<_>>().join(", ")
}
