//! What of the resources is faulty on purpose, and when that ends.

use std::{sync::Arc, time::Instant};

use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1,
};

use super::{MESH_IDENTITY, ResourceStore, Versioned};
use crate::tls::staged::Staged;

impl ResourceStore {
    /// The staged certificate that the stream asks for.
    pub(crate) fn staged_wanted(&self) -> Option<v1::StagedCertificate> {
        self.own_identity()?.staged.clone()
    }

    /// The disturbance that the stream asks for.
    pub(crate) fn disturbance_wanted(&self) -> Option<v1::Disturbance> {
        self.own_identity()?.disturbance.clone()
    }

    /// Whether the control plane wants to be told what is shown, or in force.
    pub(crate) fn is_asked_what_is_shown(&self) -> bool {
        self.own_identity().is_some_and(|identity| {
            let renewal = match &identity.source {
                Some(v1::identity::Source::Issued(issued)) => !issued.renewal.is_empty(),
                _ => false,
            };
            renewal || identity.staged.is_some() || identity.disturbance.is_some()
        })
    }

    fn own_identity(&self) -> Option<&v1::Identity> {
        match &self.raw.get(&(ResourceType::Identity, MESH_IDENTITY.to_owned()))?.resource {
            Resource::Identity(identity) => Some(identity),
            _ => None,
        }
    }

    /// What is shown to other proxies in place of this one's certificates.
    pub(crate) fn staged(&self) -> Option<&Arc<Staged>> {
        self.staged.as_ref()
    }

    /// Shows it in new handshakes, or again what is right. Connections that were made before take no new requests.
    pub(crate) fn set_staged(&mut self, staged: Option<Arc<Staged>>) {
        self.staged = staged;
        self.tls_generation += 1;
    }

    /// With the answer to what calls it off, it is no longer shown.
    pub(super) fn unstage_what_is_called_off(&mut self) {
        let Some(staged) = &self.staged else { return };
        let wanted = self.own_identity().and_then(|identity| identity.staged.as_ref());
        if wanted.is_none_or(|wanted| wanted.version != staged.version) {
            self.set_staged(None);
        }
    }

    /// When the next of what is faulty on purpose ends.
    pub(crate) fn next_fault_end(&self) -> Option<Instant> {
        let diversions = self
            .endpoints
            .values()
            .flatten()
            .filter_map(|draft| draft.diverted)
            .map(|diverted| diverted.until);
        diversions.chain(self.staged.as_ref().map(|staged| staged.until)).min()
    }

    /// Forgets where endpoints were led that are reached by their own addresses again. Whether there were any.
    pub(crate) fn end_old_diversions(&mut self, now: Instant) -> bool {
        let mut ended = false;
        for draft in self.endpoints.values_mut().flatten() {
            if draft.diverted.is_some_and(|diverted| diverted.until <= now) {
                draft.diverted = None;
                ended = true;
            }
        }
        ended
    }
}

/// A resource as it is kept on disk: without what is faulty on purpose. It has no version then, so that the stream
/// sends it anew.
pub(crate) fn without_faults(held: &Versioned) -> Versioned {
    let mut kept = held.clone();
    let faulty = match &mut kept.resource {
        Resource::Identity(identity) => {
            let asked = match &mut identity.source {
                Some(v1::identity::Source::Issued(issued)) => !std::mem::take(&mut issued.renewal).is_empty(),
                _ => false,
            };
            let disturbed = identity.disturbance.take().is_some();
            identity.staged.take().is_some() || disturbed || asked
        }
        Resource::Endpoints(endpoints) => {
            let mut faulty = false;
            for endpoint in &mut endpoints.endpoints {
                faulty |= !std::mem::take(&mut endpoint.diverted_to).is_empty();
                endpoint.diverted_until_unix_ms = 0;
            }
            faulty
        }
        _ => false,
    };
    if faulty {
        kept.version.clear();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_faulty_on_purpose_is_not_kept() {
        let endpoint = |diverted_to: &str| v1::Endpoint {
            address: "127.0.0.1".to_owned(),
            port: 1,
            diverted_to: diverted_to.to_owned(),
            diverted_until_unix_ms: 5,
            ..v1::Endpoint::default()
        };
        let endpoints = |diverted_to: &str| Versioned {
            version: "v".to_owned(),
            resource: Resource::Endpoints(v1::Endpoints {
                name: "c".to_owned(),
                endpoints: vec![endpoint(diverted_to)],
            }),
        };
        let kept = without_faults(&endpoints("127.0.0.1:2"));
        assert_eq!(kept.version, "");
        match kept.resource {
            Resource::Endpoints(kept) => {
                assert_eq!(kept.endpoints[0].diverted_to, "");
                assert_eq!(kept.endpoints[0].port, 1);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(without_faults(&endpoints("")).version, "v");
        let identity = Versioned {
            version: "v".to_owned(),
            resource: Resource::Identity(v1::Identity {
                name: MESH_IDENTITY.to_owned(),
                staged: Some(v1::StagedCertificate::default()),
                ..v1::Identity::default()
            }),
        };
        let kept = without_faults(&identity);
        assert_eq!(kept.version, "");
        assert!(matches!(kept.resource, Resource::Identity(v1::Identity { staged: None, .. })));
        let disturbed = Versioned {
            version: "v".to_owned(),
            resource: Resource::Identity(v1::Identity {
                disturbance: Some(v1::Disturbance::default()),
                ..v1::Identity::default()
            }),
        };
        let kept = without_faults(&disturbed);
        assert_eq!(kept.version, "");
        assert!(matches!(kept.resource, Resource::Identity(v1::Identity { disturbance: None, .. })));
        let issued =
            |renewal: &str| v1::IssuedCertificate { renewal: renewal.to_owned(), ..Default::default() };
        let asked = |renewal| Versioned {
            version: "v".to_owned(),
            resource: Resource::Identity(v1::Identity {
                source: Some(v1::identity::Source::Issued(issued(renewal))),
                ..v1::Identity::default()
            }),
        };
        let kept = without_faults(&asked("now"));
        assert_eq!((kept.version.as_str(), kept.resource == asked("").resource), ("", true));
        assert_eq!(without_faults(&asked("")).version, "v");
    }
}
