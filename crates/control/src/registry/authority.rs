//! Certificate authorities, and what they signed.

use bowline_model::{arn::Arn, clock::Timestamp, identity::SpiffeId, succession::Slot, task::TaskId};
use serde::{Deserialize, Serialize};

use crate::private_ca::PrivateAuthority;

/// Resource name of the authority that the mesh has of itself.
pub(crate) const MESH_AUTHORITY: &str = "bowline-mesh";

/// Resource name of the authority of the gateways' public certificates.
pub(crate) const PUBLIC_AUTHORITY: &str = "bowline-public";

/// A certificate authority with its sealed key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    /// The ARN.
    pub arn: Arn,
    /// What it signs.
    pub purpose: AuthorityPurpose,
    /// Its certificate, DER; empty as long as it has none.
    pub certificate_der: Vec<u8>,
    /// Its key, PKCS#8, sealed under the master key and its ARN.
    pub sealed_key: Vec<u8>,
    /// The mesh believes certificates that it signed: it was made for that, or a service has named it.
    #[serde(default = "trusted")]
    pub trusted: bool,
    /// What AWS Private CA's API knows of it; `None` of the control plane's own.
    #[serde(default)]
    pub private: Option<Box<PrivateAuthority>>,
    /// Where it is among those that follow one another.
    #[serde(default)]
    pub place: AuthorityPlace,
}

/// Where an authority is in its line: see [`bowline_model::succession`]. The default is a line of its own,
/// for which it signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityPlace {
    /// The authority that the line began with, which is what services name; `None`: this one.
    pub line: Option<Arn>,
    /// Where in the line.
    pub slot: Slot,
    /// How many were there before it.
    pub number: u32,
    /// Since when it is there; of one that nobody moved, 1970.
    pub since: Timestamp,
}

impl AuthorityRecord {
    /// The authority that its line began with.
    pub fn line(&self) -> &Arn {
        self.place.line.as_ref().unwrap_or(&self.arn)
    }
}

/// Rows written before authorities could be without trust.
fn trusted() -> bool {
    true
}

/// What a certificate authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthorityPurpose {
    /// Identities of the mesh: its root is part of the trust bundle.
    Mesh,
    /// What gateways show to clients outside.
    Public,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub task: TaskId,
    /// Which of its identities: `mesh` or a public one's name.
    pub name: String,
    /// The SPIFFE id; `None` for a public certificate.
    pub spiffe_id: Option<SpiffeId>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Who signed it; `None` where an earlier version recorded it: then it was the state
    /// directory's own authority.
    #[serde(default)]
    pub authority: Option<Arn>,
    /// The certificate and what stands between it and its root, PEM, leaf first. Empty where an
    /// earlier version recorded it.
    #[serde(default)]
    pub chain_pem: String,
    /// When it was issued. 1970 where an earlier version recorded it.
    #[serde(default)]
    pub issued_at: Timestamp,
}

impl CertificateRecord {
    /// Orders the certificates of one identity: who has the greater one has it later. [`Self::not_before`] alone does not
    /// tell: it is in whole seconds, and not before the authority's own, so several of a young authority have the same.
    #[must_use]
    pub fn age(&self) -> (Timestamp, Timestamp) {
        (self.issued_at, self.not_before)
    }
}

/// A CRL that was signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrlRecord {
    /// Whose.
    pub authority: Arn,
    /// Its number (RFC 5280 §5.2.3), from 1.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// Until when there is another one.
    pub next_update: Timestamp,
    /// The serial numbers on it, in order.
    pub serials: Vec<String>,
    /// The CRL, PEM.
    pub pem: String,
}
