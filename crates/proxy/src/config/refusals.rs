//! What was sent and is not taken: kept for whoever wants to know why the proxy is out of step.

use std::collections::BTreeMap;

use bowline_discovery::resource::ResourceType;
use bowline_model::clock::Timestamp;

/// Most refused resources that are remembered.
const REFUSALS_MAX: usize = 1_024;
/// What is kept of a reason, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// Why a version of a resource is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) version: String,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<(ResourceType, String), Refused>);

impl Refusals {
    /// It is not taken, for this reason.
    pub(crate) fn note(
        &mut self,
        kind: ResourceType,
        name: &str,
        version: String,
        reason: &str,
        now: Timestamp,
    ) {
        let key = (kind, name.to_owned());
        if self.0.len() >= REFUSALS_MAX && !self.0.contains_key(&key) {
            return;
        }
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
        self.0.insert(key, Refused { version, reason, since: now });
    }

    /// It was taken, or is not to be there any more.
    pub(crate) fn forget(&mut self, kind: ResourceType, name: &str) {
        self.0.remove(&(kind, name.to_owned()));
    }

    /// All of them, by type and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&(ResourceType, String), &Refused)> {
        self.0.iter()
    }
}
