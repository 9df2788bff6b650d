//! Certificate authorities that follow one another, as `bowline ca` shows and moves them.

use std::time::Duration;

use bowline_control::{
    ca::CertificateSummary,
    control_plane::{AuthorityError, AuthorityView, ControlPlane, Moved},
};
use bowline_model::{clock::Timestamp, succession::Slot};
use serde::{Deserialize, Serialize};

use crate::display::Table;

/// What is to become of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MoveAuthority {
    /// Any of the line, by ARN or name; none is the mesh's own.
    pub(crate) authority: Option<String>,
    /// What is done.
    pub(crate) to: Move,
    /// How long is waited for proxies, seconds.
    pub(crate) wait_seconds: Option<u64>,
}

/// A step of a roll-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Move {
    /// One more is trusted.
    Next {
        /// An authority of the API in place of a new one.
        with: Option<String>,
    },
    /// The next one signs.
    Promote {
        /// Whoever trusts it or not.
        force: bool,
    },
    /// An earlier one is trusted no more.
    Retire {
        /// Whoever has certificates of it or not.
        force: bool,
    },
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthorityRow {
    /// Its ARN.
    pub(crate) arn: String,
    /// The ARN that its line began with.
    pub(crate) line: String,
    /// `next`, `current`, `former` or `retired`.
    pub(crate) slot: Slot,
    /// Since when; none where nobody moved it.
    pub(crate) since: Option<Timestamp>,
    /// Its subject.
    pub(crate) subject: Option<String>,
    /// Its key.
    pub(crate) key: Option<String>,
    /// Valid from.
    pub(crate) not_before: Option<Timestamp>,
    /// Valid until.
    pub(crate) not_after: Option<Timestamp>,
    /// SHA-256 of its certificate, hexadecimal.
    pub(crate) fingerprint: Option<String>,
    /// Services that name an authority of its line.
    pub(crate) services: Vec<String>,
    /// Proxies that may show a certificate of it.
    pub(crate) proxies: usize,
}

/// An authority that was moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MovedAuthority {
    /// It, as it is now.
    pub(crate) authority: AuthorityRow,
    /// Proxies that have said that they trust the present roots.
    pub(crate) proxies_informed: usize,
    /// Proxies with certificates.
    pub(crate) proxies: usize,
}

pub(crate) fn row(view: AuthorityView) -> AuthorityRow {
    let of =
        |field: fn(&CertificateSummary) -> &String| view.certificate.as_ref().map(|it| field(it).clone());
    AuthorityRow {
        arn: view.arn.to_string(),
        line: view.line.to_string(),
        slot: view.slot,
        since: view.since,
        subject: of(|it| &it.subject),
        key: of(|it| &it.key),
        not_before: view.certificate.as_ref().map(|it| it.not_before),
        not_after: view.certificate.as_ref().map(|it| it.not_after),
        fingerprint: of(|it| &it.fingerprint),
        services: view.services,
        proxies: view.holders,
    }
}

/// Does what is asked for.
pub(crate) async fn carry_out(
    control: &ControlPlane,
    wanted: MoveAuthority,
) -> Result<MovedAuthority, AuthorityError> {
    let (authority, wait) = (wanted.authority.as_deref(), wanted.wait_seconds.map(Duration::from_secs));
    let Moved { authority, informed, proxies } = match wanted.to {
        // A key of RSA takes seconds.
        Move::Next { with } => tokio::task::block_in_place(|| {
            let next = control.next_authority(authority, with.as_deref(), wait);
            tokio::runtime::Handle::current().block_on(next)
        })?,
        Move::Promote { force } => control.promote_authority(authority, force, wait).await?,
        Move::Retire { force } => control.retire_authority(authority, force, wait).await?,
    };
    Ok(MovedAuthority { authority: row(authority), proxies_informed: informed, proxies })
}

/// The last part of an ARN.
pub(crate) fn name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The table of `bowline ca list`.
pub(crate) fn table(rows: &[AuthorityRow]) -> String {
    let mut table =
        Table::new(["AUTHORITY", "LINE", "SLOT", "SINCE", "SUBJECT", "KEY", "ENDS", "PROXIES", "SERVICES"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    for row in rows {
        table.row([
            name(&row.arn).to_owned(),
            name(&row.line).to_owned(),
            row.slot.as_str().to_owned(),
            or_dash(row.since.map(|since| since.to_string())),
            or_dash(row.subject.clone()),
            or_dash(row.key.clone()),
            or_dash(row.not_after.map(|end| end.to_string())),
            row.proxies.to_string(),
            if row.services.is_empty() { "-".into() } else { row.services.join(",") },
        ]);
    }
    table.to_string()
}
