//! Endpoints as they are picked from: at one address each, with what is known of their health.

use std::{net::SocketAddr, sync::Arc};

use bowline_plumbing::wall_clock;

use super::{
    Endpoint,
    convert::{EndpointDraft, HostDraft},
};
use crate::{health::ClusterHealth, resolver::HostAddresses};

/// One endpoint for each address; of a name, for each that it stands for.
pub(super) fn link_endpoints(
    drafts: &[EndpointDraft],
    names: &HostAddresses,
    health: &ClusterHealth,
) -> Vec<Arc<Endpoint>> {
    let mut placed: Vec<(SocketAddr, &EndpointDraft)> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match &draft.host {
            HostDraft::Address(address) => placed.push((SocketAddr::new(*address, draft.port), draft)),
            HostDraft::Name(name) => {
                let addresses = names.get(name).into_iter().flatten();
                placed.extend(addresses.map(|address| (SocketAddr::new(*address, draft.port), draft)));
            }
        }
    }
    let known = placed.iter().map(|(address, draft)| (*address, draft.task_id.as_str()));
    let healths = health.of(known, wall_clock::now());
    let linked = placed.into_iter().zip(healths).map(|((address, draft), health)| {
        Arc::new(Endpoint {
            address,
            task_id: draft.task_id.clone(),
            weight: draft.weight,
            draining: draft.draining,
            priority: draft.priority,
            zone: Arc::clone(&draft.zone),
            hostname: match &draft.host {
                HostDraft::Name(name) => Some(Arc::clone(name)),
                HostDraft::Address(_) => None,
            },
            server_name: draft.server_name.clone(),
            diverted: draft.diverted,
            health,
        })
    });
    linked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(host: HostDraft, task_id: &str) -> EndpointDraft {
        let (port, weight, task_id) = (5432, 1, task_id.to_owned());
        let (priority, zone) = (0, Arc::from(""));
        let (server_name, diverted) = (None, None);
        EndpointDraft { host, port, task_id, weight, draining: false, server_name, diverted, priority, zone }
    }

    #[test]
    fn a_name_is_an_endpoint_at_each_of_its_addresses() {
        let address = |text: &str| text.parse().expect("an address");
        let name: Arc<str> = Arc::from("db.example");
        let drafts = [
            draft(HostDraft::Address(address("192.0.2.1")), "a"),
            draft(HostDraft::Name(Arc::clone(&name)), "b"),
            draft(HostDraft::Name(Arc::from("unresolved.example")), "c"),
        ];
        let names = HostAddresses::from([(name, vec![address("192.0.2.2"), address("2001:db8::2")])]);
        let health = ClusterHealth::default();
        let linked = |names| link_endpoints(&drafts, names, &health);
        let before = linked(&names);
        let told: Vec<_> = before.iter().map(|e| (e.address.to_string(), e.hostname.as_deref())).collect();
        let named = Some("db.example");
        let wanted = [("192.0.2.1:5432", None), ("192.0.2.2:5432", named), ("[2001:db8::2]:5432", named)];
        assert_eq!(told, wanted.map(|(address, name)| (address.to_owned(), name)));
        // What is known of them outlives the next change.
        let after = linked(&names);
        assert!(before.iter().zip(&after).all(|(before, after)| Arc::ptr_eq(&before.health, &after.health)));
        assert_eq!(linked(&HostAddresses::new()).len(), 1);
    }
}
