//! Hand-registered names of Cloud Map, as a task's sidecar should have them.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::task_definition::AppProtocol;

use super::{
    forward, idle_timeout_ms, outlier_detection, protocol, request_timeout_ms, retry_policy, traffic::Traffic,
};
use crate::{
    cloud_map::external::{
        self, ExternalName, Host, Target,
        settings::{Roots, Security, TransportSettings},
    },
    registry::Registry,
};

/// Listeners, routes, clusters and endpoints of every such name that members of a namespace can
/// call.
pub(crate) fn callable(registry: &Registry, namespace: &str) -> Vec<Resource> {
    let names = external::names_in(registry, namespace);
    let ports = names.iter().flat_map(|name| name.ports.iter().map(move |(port, to)| (name, *port, to)));
    ports.flat_map(|(name, port, to)| outbound(registry, namespace, name, port, to)).collect()
}

fn outbound(
    registry: &Registry,
    namespace: &str,
    name: &ExternalName<'_>,
    port: u16,
    targets: &[Target<'_>],
) -> Vec<Resource> {
    let app = name.settings.as_ref().map_or(AppProtocol::Tcp, |settings| settings.protocol);
    let is_tcp = app == AppProtocol::Tcp;
    let [short, long] = [0, 1].map(|place| name.hostnames.get(place).cloned().unwrap_or_default());
    let listener = format!("outbound:{short}:{port}");
    let cluster = format!("{long}:{port}");
    let traffic = Traffic::of(registry, namespace, &name.row.name, app);
    let mut resources = vec![
        Resource::Listener(v1::Listener {
            name: listener.clone(),
            bind: Some(v1::listener::Bind::Outbound(v1::OutboundBind {
                address: name.address.to_string(),
                port: u32::from(port),
                hostnames: name.hostnames.clone(),
            })),
            protocol: protocol(app).into(),
            route: if is_tcp { String::new() } else { listener.clone() },
            cluster: if is_tcp { cluster.clone() } else { String::new() },
            idle_timeout_ms: idle_timeout_ms(None, app),
            max_connections: 0,
        }),
        Resource::Cluster(v1::Cluster {
            name: cluster.clone(),
            protocol: protocol(app).into(),
            kind: Some(v1::cluster::Kind::External(v1::ExternalUpstream {
                security: Some(security(name, &short)),
            })),
            outlier_detection: Some(outlier_detection()),
            discovery_name: name.row.name.clone(),
            ..v1::Cluster::default()
        }),
        Resource::Endpoints(v1::Endpoints {
            name: cluster.clone(),
            endpoints: targets.iter().map(|target| endpoint(name, target, port)).collect(),
        }),
    ];
    if !is_tcp {
        let mut rule = forward(&cluster, request_timeout_ms(None), Some(retry_policy()));
        traffic.rule(&mut rule);
        resources.push(Resource::Route(v1::Route { name: listener, rules: vec![rule] }));
    }
    for resource in &mut resources {
        match resource {
            Resource::Listener(listener) => traffic.listener(listener),
            Resource::Cluster(cluster) => traffic.cluster(cluster),
            _ => {}
        }
    }
    resources
}

fn security(name: &ExternalName<'_>, service: &str) -> v1::external_upstream::Security {
    use v1::{external_upstream::Security as Wire, tls_origination::Roots as WireRoots};
    match &name.settings {
        Err(error) => Wire::Refused(v1::RefusedTransport { reason: error.to_string() }),
        Ok(TransportSettings { security: Security::Plain, .. }) => Wire::Plain(v1::PlainTransport {}),
        Ok(TransportSettings { security: Security::Tls { roots, sni, min_version }, .. }) => {
            Wire::Tls(v1::TlsOrigination {
                server_name: sni.clone().unwrap_or_else(|| service.to_owned()),
                min_version: (*min_version).to_owned(),
                roots: Some(match roots {
                    Roots::System => WireRoots::System(v1::SystemRoots {}),
                    Roots::Given(pem) => WireRoots::RootsPem(pem.clone()),
                }),
            })
        }
    }
}

fn endpoint(name: &ExternalName<'_>, target: &Target<'_>, port: u16) -> v1::Endpoint {
    let (address, hostname) = match target.host {
        Host::Address(address) => (address.to_string(), String::new()),
        Host::Name(name) => (String::new(), name.to_owned()),
    };
    // A name that was asked for stands above those of instances.
    let own_name = match &name.settings {
        Ok(TransportSettings { security: Security::Tls { sni: None, .. }, .. }) => target.cname,
        _ => None,
    };
    v1::Endpoint {
        address,
        hostname,
        port: u32::from(port),
        weight: 1,
        task_id: target.instance.to_owned(),
        server_name: own_name.map(str::to_owned).unwrap_or_default(),
        ..v1::Endpoint::default()
    }
}
