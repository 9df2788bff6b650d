//! What a running Bowline knows of itself, its certificates, proxies, services and alarms.

use std::time::Duration;

use bowline_control::{
    control_plane::{CertificateStatus, CertificateView, ControlPlane, ProxyLink},
    view,
};
use bowline_model::{
    alarm::AlarmState,
    clock::Timestamp,
    service::TlsMode,
    succession::Slot,
    task::{HealthStatus, TaskId},
};
use bowline_plumbing::wall_clock;
use serde::{Deserialize, Serialize};

use super::{Check, Group, count};
use crate::span;

/// The reconciler passes at least every ten seconds.
const PASS_LATE: Duration = Duration::from_secs(45);
/// Proxies report every ten seconds.
const REPORT_LATE: Duration = Duration::from_secs(45);
/// A task that serves for less is not asked why its proxy has not reported.
const SETTLING: Duration = Duration::from_secs(30);
/// An authority that ends sooner is to be followed by another.
const AUTHORITY_LOW: Duration = Duration::from_secs(30 * 86_400);

/// What is to be judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MeshFacts {
    /// The control plane's version.
    pub(crate) version: String,
    /// Its clock.
    pub(crate) now: Timestamp,
    /// When it began: proxies are given time to come back to it.
    pub(crate) began: Timestamp,
    /// When the reconciler last passed over everything, and whether that failed.
    pub(crate) reconciled: Option<(Timestamp, bool)>,
    /// Who signs.
    pub(crate) authorities: Vec<AuthorityFact>,
    /// What is shown.
    pub(crate) certificates: Vec<CertificateFact>,
    /// Tasks' proxies.
    pub(crate) proxies: Vec<ProxyFact>,
    /// Services.
    pub(crate) services: Vec<ServiceFact>,
    /// Load balancers: name, and whether it serves.
    pub(crate) gateways: Vec<(String, bool)>,
    /// Names of alarms in `ALARM`, and why.
    pub(crate) alarms: Vec<(String, String)>,
    /// How many alarms there are.
    pub(crate) alarms_total: usize,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthorityFact {
    /// The last part of its ARN.
    pub(crate) name: String,
    /// Whether it signs.
    pub(crate) signs: bool,
    /// When it ends; none where it has no certificate yet.
    pub(crate) not_after: Option<Timestamp>,
}

/// A certificate that somebody shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateFact {
    /// Whose it is.
    pub(crate) owner: String,
    /// Which: a task and a name, or an ARN.
    pub(crate) what: String,
    /// Valid from.
    pub(crate) not_before: Timestamp,
    /// Valid until.
    pub(crate) not_after: Timestamp,
    /// About when another one is asked for.
    pub(crate) renews_at: Option<Timestamp>,
    /// Why it is going to end without another one in its place.
    pub(crate) warnings: Vec<String>,
}

/// A task's proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyFact {
    /// The task.
    pub(crate) task: TaskId,
    /// Name of the service, group or load balancer.
    pub(crate) owner: String,
    /// Its stream of resources is open.
    pub(crate) connected: bool,
    /// It has acknowledged the endpoints that are published now.
    pub(crate) has_latest: bool,
    /// What it refuses, type and reason.
    pub(crate) refused: Vec<(String, String)>,
    /// Its version; none where it cannot be asked.
    pub(crate) version: Option<String>,
    /// Since when its task serves.
    pub(crate) serving_since: Option<Timestamp>,
    /// Until when its last report tells.
    pub(crate) reported: Option<Timestamp>,
    /// Lines that its access log had no room for.
    pub(crate) access_log_dropped: u64,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceFact {
    /// Its name.
    pub(crate) name: String,
    /// Tasks wanted.
    pub(crate) desired: u32,
    /// Tasks that take requests.
    pub(crate) available: usize,
    /// Tasks whose health checks fail.
    pub(crate) unhealthy: usize,
    /// How its hops are protected; none where it is not called.
    pub(crate) mode: Option<String>,
    /// What its tasks have weaker than they should.
    pub(crate) warnings: Vec<String>,
}

/// Looks at what a control plane knows.
pub(crate) fn gather(control: &ControlPlane) -> MeshFacts {
    let registry = control.snapshot();
    let reports = control.report_states();
    let proxy = |link: ProxyLink| {
        let report = reports.get(&link.task).copied().unwrap_or_default();
        ProxyFact {
            task: link.task,
            owner: link.owner,
            connected: link.connected,
            has_latest: link.has_latest,
            refused: link.refused.into_iter().collect(),
            version: link.process.map(|process| process.version),
            serving_since: link.serving_since,
            reported: report.last,
            access_log_dropped: report.access_log_dropped,
        }
    };
    let services = registry.services.values().map(|service| {
        let tasks = registry.tasks_of_service(&service.arn);
        let reports = || tasks.iter().filter_map(|task| task.report.as_ref());
        let is_plaintext = control.plaintext_services().contains(&service.name);
        let called = service.connect.as_ref().filter(|connect| !connect.services.is_empty());
        let mut warnings: Vec<_> = reports().flat_map(|report| report.warnings.iter().cloned()).collect();
        warnings.sort();
        warnings.dedup();
        ServiceFact {
            name: service.name.clone(),
            desired: service.desired_count,
            available: tasks.iter().filter(|task| task.available()).count(),
            unhealthy: reports().filter(|report| report.health == HealthStatus::Unhealthy).count(),
            mode: called.map(|connect| {
                let mode = match connect.encryption.mode {
                    _ if is_plaintext => "PLAINTEXT",
                    TlsMode::Tls => "TLS",
                    _ => "MUTUAL_TLS",
                };
                mode.to_owned()
            }),
            warnings,
        }
    });
    let in_use = |view: &CertificateView| view.status == CertificateStatus::InUse;
    let of_tasks = control.certificates().into_iter().filter(in_use).map(|view| CertificateFact {
        owner: view.owner.unwrap_or_else(|| "-".into()),
        what: format!("{} of task {}", view.record.name, view.record.task),
        not_before: view.record.not_before,
        not_after: view.record.not_after,
        renews_at: view.renews_at,
        warnings: view.warnings,
    });
    let imported = control.served_certificates().into_iter().map(|served| CertificateFact {
        owner: served.used_by.join(", "),
        what: served.arn.to_string(),
        not_before: served.not_before,
        not_after: served.not_after,
        // When it is renewed is for whoever manages it; what goes wrong is among the warnings.
        renews_at: None,
        warnings: served.warnings,
    });
    let alarms = registry.alarms.values();
    // Those of target tracking are in ALARM whenever there is nothing to do for fewer tasks.
    let is_of_scaling = |name: &str| name.starts_with("TargetTracking-");
    let in_alarm =
        alarms.filter(|alarm| alarm.state.state == AlarmState::Alarm && !is_of_scaling(&alarm.name));
    MeshFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: wall_clock::now(),
        began: control.began(),
        reconciled: control.last_reconciled(),
        authorities: control
            .authorities()
            .into_iter()
            .map(|view| AuthorityFact {
                name: view.arn.as_str().rsplit('/').next().unwrap_or_default().to_owned(),
                signs: view.slot == Slot::Current,
                not_after: view.certificate.map(|certificate| certificate.not_after),
            })
            .collect(),
        certificates: of_tasks.chain(imported).collect(),
        proxies: control.proxy_links().into_iter().map(proxy).collect(),
        services: services.collect(),
        gateways: view::gateways(&registry)
            .into_iter()
            .map(|gateway| (gateway.name, gateway.ready))
            .collect(),
        alarms: in_alarm.map(|alarm| (alarm.name.clone(), alarm.state.reason.clone())).collect(),
        alarms_total: registry.alarms.values().count(),
    }
}

/// What is well with a mesh, and what is not. `endpoint`: where the AWS endpoint is, and why it does not answer;
/// `own_version` is this program's.
pub(crate) fn judge(facts: &MeshFacts, endpoint: &(String, Option<String>), own_version: &str) -> Vec<Group> {
    let group = |title, checks| Group { title, checks };
    vec![
        group("control plane", control_plane(facts, endpoint, own_version)),
        group("certificates", certificates(facts)),
        group("proxies", proxies(facts)),
        group("services", services(facts)),
        group("telemetry", telemetry(facts)),
        group("alarms", alarms(facts)),
    ]
}

fn control_plane(facts: &MeshFacts, endpoint: &(String, Option<String>), own: &str) -> Vec<Check> {
    let late = facts.reconciled.map(|(at, _)| facts.now.since(at));
    let store = match (facts.reconciled, late) {
        (Some((_, true)), _) => Check::failure(
            "control-store",
            "the reconciler's last pass failed: changes cannot be kept",
            "see what `bowline up` wrote on standard error; a full disk is the usual cause",
            "operating.md",
        ),
        (None, _) => Check::warning(
            "control-store",
            "the reconciler has not passed yet",
            "give it a moment, or --wait 1m",
            "operating.md",
        ),
        (_, Some(late)) if late > PASS_LATE => Check::failure(
            "control-store",
            format!("the reconciler has not passed for {}", span::text(late)),
            "see what `bowline up` wrote on standard error; a machine that is overloaded is the usual cause",
            "operating.md",
        ),
        _ => Check::ok("control-store", "what is decided is kept, and carried out"),
    };
    let (url, refused) = endpoint;
    let endpoint = match refused {
        None => Check::ok("control-endpoint", format!("the AWS endpoint {url} answers")),
        Some(reason) => Check::failure(
            "control-endpoint",
            format!("the AWS endpoint {url} does not answer: {reason}"),
            "restart `bowline up`: tasks live on meanwhile",
            "aws-endpoint.md",
        ),
    };
    let version = match facts.version == own {
        true => Check::ok("control-version", format!("control plane and command are of version {own}")),
        false => Check::warning(
            "control-version",
            format!("the control plane is of version {}, this command of {own}", facts.version),
            "restart `bowline up` with the version that you use: tasks live on",
            "operating.md",
        ),
    };
    vec![Check::ok("control-reachable", "the control plane answers"), store, endpoint, version]
}

fn certificates(facts: &MeshFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    let page = "revocation.md";
    for authority in facts.authorities.iter().filter(|authority| authority.signs) {
        let Some(end) = authority.not_after else { continue };
        let left = end.since(facts.now);
        let hint = format!("bowline ca next {0}; then promote, then retire", authority.name);
        if end <= facts.now {
            let what = format!("the authority {} has ended", authority.name);
            checks.push(Check::failure("certificates-authorities", what, hint, "operating.md"));
        } else if left < AUTHORITY_LOW {
            let what = format!("the authority {} ends in {}", authority.name, span::text(left));
            checks.push(Check::warning("certificates-authorities", what, hint, "operating.md"));
        }
    }
    if checks.is_empty() {
        let signing = facts.authorities.iter().filter(|authority| authority.signs);
        let what = match signing.filter_map(|authority| authority.not_after).min() {
            Some(end) => format!("authorities are valid, for {} at least", span::text(end.since(facts.now))),
            None => "no authority signs yet".to_owned(),
        };
        checks.push(Check::ok("certificates-authorities", what));
    }
    let before = checks.len();
    for certificate in &facts.certificates {
        let CertificateFact { owner, what, .. } = certificate;
        let life = certificate.not_after.since(certificate.not_before);
        // Proxies renew at two thirds of a certificate's life, each a little earlier or later.
        let late = certificate.renews_at.map(|at| facts.now.since(at)).unwrap_or_default();
        if certificate.not_after <= facts.now {
            checks.push(Check::failure(
                "certificates-leaves",
                format!("{owner}: the certificate {what} has ended"),
                "bowline diagnostics TASK tells what its proxy shows; a proxy that cannot reach the control plane cannot renew",
                page,
            ));
        } else if late > life.mul_f64(0.15) {
            checks.push(Check::warning(
                "certificates-leaves",
                format!("{owner}: the certificate {what} should have been renewed {} ago", span::text(late)),
                "bowline diagnostics TASK; the sidecar's log in the task's directory says why it was not",
                page,
            ));
        }
        for warning in &certificate.warnings {
            let what = format!("{owner}: {what}: {warning}");
            checks.push(Check::warning("certificates-leaves", what, "bowline certs shows it", page));
        }
    }
    if checks.len() == before && !facts.certificates.is_empty() {
        let soonest = facts.certificates.iter().map(|it| it.not_after.since(facts.now)).min();
        let soonest = span::text(soonest.unwrap_or_default());
        let number = count(facts.certificates.len(), "certificate");
        let what = format!("{number} in use, valid for {soonest} at least, renewed in time");
        checks.push(Check::ok("certificates-leaves", what));
    }
    checks
}

fn short(task: &TaskId) -> String {
    task.as_str().chars().take(12).collect()
}

fn proxies(facts: &MeshFacts) -> Vec<Check> {
    let page = "inspect.md";
    let mut checks = Vec::new();
    let serving = || facts.proxies.iter().filter(|proxy| proxy.serving_since.is_some());
    if facts.proxies.is_empty() {
        return vec![];
    }
    let number = serving().count();
    let before = checks.len();
    for proxy in serving().filter(|proxy| !proxy.connected) {
        checks.push(Check::failure(
            "proxies-connected",
            format!("{}: the proxy of task {} is not connected", proxy.owner, short(&proxy.task)),
            "it serves with what it had last; the sidecar's log in the task's directory says why it cannot connect",
            page,
        ));
    }
    if checks.len() == before {
        let proxies = if number == 1 { "1 proxy is".to_owned() } else { format!("{number} proxies are") };
        checks.push(Check::ok("proxies-connected", format!("{proxies} connected")));
    }
    let before = checks.len();
    for proxy in serving().filter(|proxy| proxy.connected) {
        let task = short(&proxy.task);
        for (kind, reason) in &proxy.refused {
            checks.push(Check::failure(
                "proxies-in-step",
                format!("{}: the proxy of task {task} refuses {kind}: {reason}", proxy.owner),
                format!("bowline diagnostics {task} tells what differs"),
                page,
            ));
        }
        if proxy.refused.is_empty() && !proxy.has_latest {
            checks.push(Check::warning(
                "proxies-in-step",
                format!(
                    "{}: the proxy of task {task} has not acknowledged the latest endpoints",
                    proxy.owner
                ),
                format!("give it a moment, or --wait 1m; bowline diagnostics {task} tells what differs"),
                page,
            ));
        }
    }
    if checks.len() == before {
        checks.push(Check::ok("proxies-in-step", "proxies are in step with the control plane"));
    }
    let before = checks.len();
    for proxy in serving().filter(|proxy| proxy.connected) {
        let task = short(&proxy.task);
        let hint = "start its task anew, with `aws ecs update-service --force-new-deployment`";
        match &proxy.version {
            None => checks.push(Check::warning(
                "proxies-version",
                format!(
                    "{}: the proxy of task {task} cannot be asked yet, or is of an older version",
                    proxy.owner
                ),
                hint,
                page,
            )),
            Some(version) if *version != facts.version => checks.push(Check::warning(
                "proxies-version",
                format!(
                    "{}: the proxy of task {task} is of version {version}, the control plane of {}",
                    proxy.owner, facts.version
                ),
                hint,
                page,
            )),
            Some(_) => {}
        }
    }
    if checks.len() == before {
        checks.push(Check::ok("proxies-version", format!("proxies are of version {}", facts.version)));
    }
    checks
}

fn services(facts: &MeshFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    let (number, page) = (count(facts.services.len(), "service"), "operating.md");
    for service in &facts.services {
        let desired = usize::try_from(service.desired).unwrap_or(usize::MAX);
        if service.available < desired {
            checks.push(Check::failure(
                "services-running",
                format!("{}: {} of {desired} tasks take requests", service.name, service.available),
                format!("bowline events {}, and what its tasks wrote", service.name),
                page,
            ));
        }
    }
    for (name, _) in facts.gateways.iter().filter(|(_, ready)| !ready) {
        let hint = format!("bowline events {name}");
        checks.push(Check::failure("services-running", format!("{name}: it does not serve"), hint, page));
    }
    if checks.is_empty() && !(facts.services.is_empty() && facts.gateways.is_empty()) {
        let balancers = count(facts.gateways.len(), "load balancer");
        checks.push(Check::ok("services-running", format!("{number} and {balancers} run as they should")));
    }
    let before = checks.len();
    for service in facts.services.iter().filter(|service| service.unhealthy > 0) {
        checks.push(Check::failure(
            "services-healthy",
            format!("{}: {} unhealthy", service.name, count(service.unhealthy, "task")),
            format!("bowline events {}, and what its tasks wrote", service.name),
            page,
        ));
    }
    if checks.len() == before && !facts.services.is_empty() {
        checks.push(Check::ok("services-healthy", "no task's health check fails"));
    }
    let called = || facts.services.iter().filter_map(|service| Some((service, service.mode.as_deref()?)));
    let before = checks.len();
    for (service, mode) in called().filter(|(_, mode)| *mode != "MUTUAL_TLS") {
        let (what, hint) = match mode {
            "PLAINTEXT" => {
                ("calls to it are NOT ENCRYPTED, by --aws-plaintext", "leave --aws-plaintext away")
            }
            _ => ("its callers need not prove who they are", "set its tls mode to mutual"),
        };
        let what = format!("{}: {what}", service.name);
        checks.push(Check::warning("services-mutual-tls", what, hint, "modes.md"));
    }
    if checks.len() == before && called().next().is_some() {
        checks.push(Check::ok("services-mutual-tls", "all calls between services are mutual TLS"));
    }
    for service in &facts.services {
        for warning in &service.warnings {
            let what = format!("{}: {warning}", service.name);
            checks.push(Check::warning(
                "services-weaker",
                what,
                "bowline check --pre tells of the machine",
                page,
            ));
        }
    }
    checks
}

fn telemetry(facts: &MeshFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    let settled = |proxy: &&ProxyFact| {
        let since = proxy.serving_since.map(|since| since.max(facts.began));
        proxy.connected && since.is_some_and(|since| facts.now.since(since) > SETTLING)
    };
    let asked: Vec<_> = facts.proxies.iter().filter(settled).collect();
    for proxy in &asked {
        let late = proxy.reported.map(|at| facts.now.since(at));
        if late.is_none_or(|late| late > REPORT_LATE) {
            checks.push(Check::failure(
                "telemetry-reports",
                format!("{}: the proxy of task {} does not report", proxy.owner, short(&proxy.task)),
                "its counters are kept until it does; its log in the task's directory says why it cannot",
                "metrics.md",
            ));
        }
    }
    if checks.is_empty() && !asked.is_empty() {
        checks.push(Check::ok("telemetry-reports", "proxies report what they count"));
    }
    let before = checks.len();
    for proxy in facts.proxies.iter().filter(|proxy| proxy.access_log_dropped > 0) {
        let (owner, task, lines) = (&proxy.owner, short(&proxy.task), proxy.access_log_dropped);
        checks.push(Check::warning(
            "telemetry-access-log",
            format!("{owner}: the access log of task {task} had no room for {lines} lines"),
            "whoever reads the access log is slower than it is written",
            "operating.md",
        ));
    }
    if checks.len() == before && !asked.is_empty() {
        checks.push(Check::ok("telemetry-access-log", "no line of an access log was dropped"));
    }
    checks
}

fn alarms(facts: &MeshFacts) -> Vec<Check> {
    let warn = |(name, reason): &(String, String)| {
        let what = format!("{name} is in ALARM: {reason}");
        Check::warning("alarms", what, "aws cloudwatch describe-alarm-history tells since when", "alarms.md")
    };
    let mut checks: Vec<_> = facts.alarms.iter().map(warn).collect();
    if checks.is_empty() && facts.alarms_total > 0 {
        let what = format!("{}, none in ALARM", count(facts.alarms_total, "alarm"));
        checks.push(Check::ok("alarms", what));
    }
    checks
}

#[cfg(test)]
mod tests;
