//! Certificates, as the CLI's commands show them.

use bowline_control::{
    ca::{CertificateSummary, summaries},
    control_plane::{
        CertificateStatus, CertificateView, IdentityView, RevocationTarget, Revoked, ServedCertificate,
    },
};
use bowline_model::{clock::Timestamp, task::TaskId};
use serde::{Deserialize, Serialize};

use crate::{display::Table, span::text as span};

/// Whose certificates are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CertificateTarget {
    /// One, by its serial number.
    Serial(String),
    /// A task's.
    Task(String),
    /// A service's.
    Service(String),
}

impl From<CertificateTarget> for RevocationTarget {
    fn from(target: CertificateTarget) -> Self {
        match target {
            CertificateTarget::Serial(serial) => Self::Serial(serial),
            CertificateTarget::Task(task) => Self::Task(task),
            CertificateTarget::Service(service) => Self::Service(service),
        }
    }
}

/// What a certificate is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Status {
    /// Its holder shows it.
    InUse,
    /// Its holder has a later one.
    Replaced,
    /// Its task is over.
    TaskOver,
    /// It is refused.
    Revoked,
}

/// A certificate that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateRow {
    /// The service or load balancer.
    pub(crate) owner: Option<String>,
    /// The task; `None` for one of Certificate Manager, which all tasks of its owners show.
    pub(crate) task: Option<TaskId>,
    /// `mesh`, the name of a public one, or the ARN of one of Certificate Manager.
    pub(crate) name: String,
    /// The SPIFFE id; `None` for a public certificate.
    pub(crate) identity: Option<String>,
    /// ARN of the authority that signed it; for one of Certificate Manager its issuer's name.
    pub(crate) issuer: String,
    /// Lower-case hexadecimal.
    pub(crate) serial: String,
    /// Valid from.
    pub(crate) not_before: Timestamp,
    /// Valid until.
    pub(crate) not_after: Timestamp,
    /// About when another one is asked for.
    pub(crate) renews_at: Option<Timestamp>,
    /// What it is at present.
    pub(crate) status: Status,
    /// Since when it is refused.
    pub(crate) revoked_at: Option<Timestamp>,
    /// Why it is refused.
    pub(crate) revocation_reason: Option<String>,
    /// Why it is going to end without another one in its place.
    pub(crate) warnings: Vec<String>,
}

/// What a task shows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskIdentity {
    /// The task.
    pub(crate) task: TaskId,
    /// Its certificates, its own first.
    pub(crate) certificates: Vec<ShownCertificate>,
    /// The roots that members believe.
    pub(crate) roots: Vec<ChainLink>,
}

/// A certificate with its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownCertificate {
    /// The certificate.
    #[serde(flatten)]
    pub(crate) row: CertificateRow,
    /// It and what stands between it and its root, leaf first.
    pub(crate) chain: Vec<ChainLink>,
}

/// One certificate of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChainLink {
    subject: String,
    issuer: String,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    names: Vec<String>,
    key: String,
    signature: String,
    is_authority: bool,
    fingerprint: String,
    pem: String,
}

/// What was revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RevokedCertificates {
    /// Serial numbers.
    pub(crate) serials: Vec<String>,
    /// Who gets no more certificates: `task …` or `service …`.
    pub(crate) barred: Option<String>,
    /// Proxies that have said that they refuse.
    pub(crate) proxies_refusing: usize,
    /// Proxies that are connected.
    pub(crate) proxies_connected: usize,
}

pub(crate) fn row(view: CertificateView) -> CertificateRow {
    let CertificateView { record, authority, owner, status, renews_at, revocation, warnings } = view;
    CertificateRow {
        owner,
        task: Some(record.task),
        name: record.name,
        identity: record.spiffe_id.map(|id| id.to_string()),
        issuer: authority.to_string(),
        serial: record.serial,
        not_before: record.not_before,
        not_after: record.not_after,
        renews_at,
        status: match status {
            CertificateStatus::InUse => Status::InUse,
            CertificateStatus::Replaced => Status::Replaced,
            CertificateStatus::TaskOver => Status::TaskOver,
            CertificateStatus::Revoked => Status::Revoked,
        },
        revoked_at: revocation.as_ref().map(|it| it.revoked_at),
        revocation_reason: revocation.map(|it| it.reason.to_string()),
        warnings,
    }
}

/// The row of one that services and load balancers show in the place of the mesh's.
pub(crate) fn served_row(served: ServedCertificate) -> CertificateRow {
    let joined = |all: Vec<String>| (!all.is_empty()).then(|| all.join(", "));
    CertificateRow {
        owner: joined(served.used_by),
        task: None,
        name: served.arn.to_string(),
        identity: joined(served.identities),
        issuer: served.issuer,
        serial: served.serial,
        not_before: served.not_before,
        not_after: served.not_after,
        renews_at: served.renews_at,
        status: Status::InUse,
        revoked_at: None,
        revocation_reason: None,
        warnings: served.warnings,
    }
}

pub(crate) fn identity(view: IdentityView) -> TaskIdentity {
    let certificates = view.certificates.into_iter().map(|view| {
        let chain = links(&view.record.chain_pem);
        ShownCertificate { row: row(view), chain }
    });
    TaskIdentity { task: view.task, certificates: certificates.collect(), roots: links(&view.roots_pem) }
}

fn links(pem: &str) -> Vec<ChainLink> {
    let link = |summary: CertificateSummary| ChainLink {
        subject: summary.subject,
        issuer: summary.issuer,
        serial: summary.serial,
        not_before: summary.not_before,
        not_after: summary.not_after,
        names: summary.names,
        key: summary.key,
        signature: summary.signature,
        is_authority: summary.is_authority,
        fingerprint: summary.fingerprint,
        pem: summary.pem,
    };
    summaries(pem).into_iter().map(link).collect()
}

pub(crate) fn revoked(revoked: Revoked) -> RevokedCertificates {
    RevokedCertificates {
        serials: revoked.serials,
        barred: revoked.barred.map(|subject| subject.to_string()),
        proxies_refusing: revoked.proxies_refusing,
        proxies_connected: revoked.proxies_connected,
    }
}

/// The table of `bowline certs`, and its warnings.
pub(crate) fn table(rows: &[CertificateRow], now: Timestamp) -> String {
    let mut table = Table::new([
        "OWNER",
        "TASK",
        "IDENTITY",
        "ISSUER",
        "SERIAL",
        "AGE",
        "ENDS IN",
        "RENEWS IN",
        "STATUS",
    ]);
    for row in rows {
        table.row([
            row.owner.clone().unwrap_or_else(|| "-".into()),
            row.task.as_ref().map_or_else(|| "-".into(), |task| task.as_str().chars().take(12).collect()),
            row.identity.clone().unwrap_or_else(|| row.name.clone()),
            row.issuer.rsplit('/').next().unwrap_or("-").to_owned(),
            row.serial.clone(),
            span(now.since(row.not_before)),
            span(row.not_after.since(now)),
            row.renews_at.map_or_else(|| "-".into(), |at| format!("~{}", span(at.since(now)))),
            match (&row.status, &row.revocation_reason) {
                (Status::InUse, _) => "in use".into(),
                (Status::Replaced, _) => "replaced".into(),
                (Status::TaskOver, _) => "task over".into(),
                (Status::Revoked, Some(reason)) => format!("REVOKED ({reason})"),
                (Status::Revoked, None) => "REVOKED".into(),
            },
        ]);
    }
    let mut text = table.to_string();
    for row in rows {
        for warning in &row.warnings {
            // Of Certificate Manager's the ARN says what is to be replaced.
            let whose = row.identity.as_deref().filter(|_| row.task.is_some()).unwrap_or(&row.name);
            text.push_str(&format!("‼ {whose} ({}): {warning}\n", &row.serial));
        }
    }
    text
}

/// The text of `bowline identity`: what each certificate says, before its PEM.
pub(crate) fn text_of(identity: &TaskIdentity) -> String {
    let mut text = format!("task {}\n", identity.task);
    for shown in &identity.certificates {
        text.push_str(&format!(
            "\n{}: {}\n",
            shown.row.name,
            shown.row.identity.as_deref().unwrap_or("public")
        ));
        if let (Some(at), Some(reason)) = (shown.row.revoked_at, &shown.row.revocation_reason) {
            text.push_str(&format!("  REVOKED at {at} ({reason})\n"));
        }
        for warning in &shown.row.warnings {
            text.push_str(&format!("  ‼ {warning}\n"));
        }
        for (depth, link) in shown.chain.iter().enumerate() {
            push_link(&mut text, &format!("certificate {depth}"), link);
        }
        if shown.chain.is_empty() {
            text.push_str(
                "  its chain was not recorded by the version that issued it; it will be with the next\n",
            );
        }
    }
    text.push_str("\nroots that members believe\n");
    for link in &identity.roots {
        push_link(&mut text, "root", link);
    }
    text
}

fn push_link(text: &mut String, what: &str, link: &ChainLink) {
    text.push_str(&format!(
        "  {what}\n    subject      {}\n    issuer       {}\n    serial       {}\n    valid        {} to {}\n",
        link.subject, link.issuer, link.serial, link.not_before, link.not_after
    ));
    if !link.names.is_empty() {
        text.push_str(&format!("    names        {}\n", link.names.join(", ")));
    }
    text.push_str(&format!(
        "    key          {}, signed {}{}\n    SHA-256      {}\n{}",
        link.key,
        link.signature,
        if link.is_authority { ", may sign certificates" } else { "" },
        link.fingerprint,
        link.pem
    ));
}
