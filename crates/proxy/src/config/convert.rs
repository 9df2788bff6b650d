//! Each message of the stream into its validated form, by itself.
//!
//! What comes out still names other resources; [`super::store`] links them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_discovery::v1;
use bowline_model::{
    authorization::{Callers, Effect, Rule, Rules},
    balance::PRIORITY_MAX,
    cidr::Cidr,
    clock::Timestamp,
    fault::LASTING_MAX,
    identity::{SpiffeId, SpiffePattern},
    outlier::OutlierPolicy,
    sabotage::{Defence, sabotaged},
    sampling::{Sampler, SamplingPolicy, SamplingRule},
    wildcard::Wildcard,
};
use bowline_plumbing::wall_clock;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use rustls_pki_types::ServerName;
use thiserror::Error;

pub(super) mod traffic;

use super::{
    ConnectRetry, Diverted, Fixed, ForwardPolicy, HealthCheck, Match, OutboundBind, PrivateDns, Redirect,
    balancing::{self, Balancing, HashKey},
    external::{self, SecurityDraft},
    store::MESH_IDENTITY,
};
use crate::load::Breakers;

/// Most connections of a listener that names no number.
const MAX_CONNECTIONS_DEFAULT: usize = 10_000;
/// Time for TCP connect, and again for the handshake, where none is given.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Most entries in any list of a resource.
const LIST_MAX: usize = 10_000;

/// Why a resource cannot be applied. Sent back in the NACK.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub(crate) struct Invalid {
    /// The field, as the message names it.
    pub(crate) field: String,
    /// What is wrong and what is allowed.
    pub(crate) reason: String,
}

pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Invalid {
    Invalid { field: field.into(), reason: reason.into() }
}

/// A listener whose route, cluster, authorization and identity are names.
#[derive(Debug)]
pub(crate) struct ListenerDraft {
    pub(crate) bind: BindDraft,
    pub(crate) protocol: v1::Protocol,
    pub(crate) route: String,
    pub(crate) cluster: String,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_connections: usize,
}

#[derive(Debug)]
pub(crate) enum BindDraft {
    Outbound(OutboundBind),
    Inbound {
        port_name: String,
        address: Option<SocketAddr>,
        tls: v1::TlsMode,
        authorization: String,
        /// Name of the Identity that is shown.
        identity: String,
    },
    Public {
        address: SocketAddr,
        tls: Option<PublicTlsDraft>,
    },
}

#[derive(Debug)]
pub(crate) struct PublicTlsDraft {
    pub(crate) identity: String,
    pub(crate) more_identities: Vec<String>,
    pub(crate) tls12: bool,
}

/// A route whose clusters are names.
#[derive(Debug)]
pub(crate) struct RouteDraft {
    pub(crate) rules: Vec<(Match, ActionDraft)>,
}

#[derive(Clone, Debug)]
pub(crate) enum ActionDraft {
    Forward {
        clusters: Vec<(String, u32)>,
        policy: ForwardPolicy,
        sticky: Vec<HashKey>,
        /// Name of the Fault in place of the route's.
        fault: Option<String>,
    },
    Redirect(Redirect),
    Fixed(Fixed),
}

#[derive(Debug)]
pub(crate) struct ClusterDraft {
    pub(crate) protocol: v1::Protocol,
    pub(crate) kind: ClusterKindDraft,
    pub(crate) connect_timeout: Duration,
    pub(crate) outlier: Option<OutlierPolicy>,
    pub(crate) max_connections: usize,
    pub(crate) breakers: Breakers,
    pub(crate) connect_retry: ConnectRetry,
    pub(crate) balancing: Balancing,
    pub(crate) discovery_name: String,
    pub(crate) health_check: Option<HealthCheck>,
}

#[derive(Debug)]
pub(crate) enum ClusterKindDraft {
    Mesh {
        tls: v1::TlsMode,
        identities: Vec<SpiffeId>,
        /// Name of the Identity that is shown.
        own: String,
    },
    Application {
        address: Option<IpAddr>,
        port: u16,
    },
    External(SecurityDraft),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointDraft {
    pub(crate) host: HostDraft,
    pub(crate) port: u16,
    pub(crate) task_id: String,
    pub(crate) weight: u32,
    pub(crate) draining: bool,
    pub(crate) priority: u8,
    pub(crate) zone: Arc<str>,
    /// In place of the cluster's, outside the mesh.
    pub(crate) server_name: Option<ServerName<'static>>,
    pub(crate) diverted: Option<Diverted>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostDraft {
    Address(IpAddr),
    /// To be resolved, lower case.
    Name(Arc<str>),
}

fn millis(value: u64) -> Option<Duration> {
    (value > 0).then(|| Duration::from_millis(value))
}

fn port(field: &str, value: u32) -> Result<u16, Invalid> {
    u16::try_from(value).map_err(|_| invalid(field, format!("{value} is no port (0 to 65535)")))
}

fn ip(field: &str, text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| invalid(field, format!("{text:?} is no IP address")))
}

fn bounded(field: &str, length: usize) -> Result<(), Invalid> {
    if length > LIST_MAX {
        return Err(invalid(field, format!("{length} entries; at most {LIST_MAX} are accepted")));
    }
    Ok(())
}

fn known<E: TryFrom<i32>>(field: &str, value: i32) -> Result<E, Invalid> {
    E::try_from(value).map_err(|_| invalid(field, format!("{value} is not known to this version")))
}

pub(crate) fn listener(message: &v1::Listener) -> Result<ListenerDraft, Invalid> {
    let protocol: v1::Protocol = known("protocol", message.protocol)?;
    let bind = match &message.bind {
        None => return Err(invalid("bind", "one of outbound, inbound and public is needed")),
        Some(v1::listener::Bind::Outbound(bind)) => {
            bounded("bind.outbound.hostnames", bind.hostnames.len())?;
            if let Some(bad) = bind.hostnames.iter().find(|name| !is_host_name(name)) {
                return Err(invalid("bind.outbound.hostnames", format!("{bad:?} is no host name")));
            }
            BindDraft::Outbound(OutboundBind {
                address: SocketAddr::new(
                    ip("bind.outbound.address", &bind.address)?,
                    port("bind.outbound.port", bind.port)?,
                ),
                hostnames: bind.hostnames.clone(),
            })
        }
        Some(v1::listener::Bind::Inbound(bind)) => BindDraft::Inbound {
            port_name: bind.port_name.clone(),
            address: match bind.address.as_str() {
                "" => None,
                text => Some(SocketAddr::new(
                    ip("bind.inbound.address", text)?,
                    port("bind.inbound.port", bind.port)?,
                )),
            },
            tls: known("bind.inbound.tls", bind.tls)?,
            authorization: bind.authorization.clone(),
            identity: or_mesh(&bind.identity),
        },
        Some(v1::listener::Bind::Public(bind)) => {
            if protocol == v1::Protocol::Tcp && bind.tls.is_some() {
                return Err(invalid("bind.public.tls", "a public listener of TCP ends no TLS"));
            }
            let address = SocketAddr::new(
                ip("bind.public.address", &bind.address)?,
                port("bind.public.port", bind.port)?,
            );
            let tls = match &bind.tls {
                None => None,
                Some(tls) => Some(PublicTlsDraft {
                    identity: tls.identity.clone(),
                    more_identities: {
                        bounded("bind.public.tls.moreIdentities", tls.more_identities.len())?;
                        tls.more_identities.clone()
                    },
                    tls12: match tls.min_version.as_str() {
                        "" | "1.2" => true,
                        "1.3" => false,
                        other => {
                            return Err(invalid(
                                "bind.public.tls.minVersion",
                                format!("{other:?}; 1.2 and 1.3 are allowed"),
                            ));
                        }
                    },
                }),
            };
            BindDraft::Public { address, tls }
        }
    };
    Ok(ListenerDraft {
        bind,
        protocol,
        route: message.route.clone(),
        cluster: message.cluster.clone(),
        idle_timeout: millis(message.idle_timeout_ms),
        max_connections: match message.max_connections {
            0 => MAX_CONNECTIONS_DEFAULT,
            given => given as usize,
        },
    })
}

/// The Identity that is meant where none is named.
fn or_mesh(name: &str) -> String {
    if name.is_empty() { MESH_IDENTITY.to_owned() } else { name.to_owned() }
}

/// Letters, digits, `-`, `_` and `.`: what may stand in `/etc/hosts`.
pub(crate) fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

pub(crate) fn route(message: &v1::Route) -> Result<RouteDraft, Invalid> {
    bounded("rules", message.rules.len())?;
    let rules = message
        .rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            rule_of(rule).map_err(|error| invalid(format!("rules[{index}].{}", error.field), error.reason))
        })
        .collect::<Result<_, _>>()?;
    Ok(RouteDraft { rules })
}

fn rule_of(rule: &v1::RouteRule) -> Result<(Match, ActionDraft), Invalid> {
    let matches = rule.r#match.as_ref().map(conditions).transpose()?.unwrap_or_default();
    let action = match &rule.action {
        None => return Err(invalid("action", "one of forward, redirect and fixedResponse is needed")),
        Some(v1::route_rule::Action::Forward(forward)) => {
            if forward.clusters.is_empty() {
                return Err(invalid("forward.clusters", "at least one is needed"));
            }
            let clusters: Vec<_> =
                forward.clusters.iter().map(|entry| (entry.cluster.clone(), entry.weight)).collect();
            // A lone cluster takes everything, whatever its weight says.
            let clusters = match clusters.len() {
                1 => vec![(clusters[0].0.clone(), 1)],
                _ => clusters,
            };
            let sticky = balancing::hash_keys("forward.sticky", &forward.sticky)?;
            let fault = (!forward.fault.is_empty()).then(|| forward.fault.clone());
            ActionDraft::Forward { clusters, policy: traffic::forward_policy(forward)?, sticky, fault }
        }
        Some(v1::route_rule::Action::Redirect(redirect)) => {
            let status = match redirect.status {
                301 => StatusCode::MOVED_PERMANENTLY,
                302 => StatusCode::FOUND,
                other => return Err(invalid("redirect.status", format!("{other}; 301 and 302 are allowed"))),
            };
            ActionDraft::Redirect(Redirect {
                protocol: or_placeholder(&redirect.protocol, "#{protocol}"),
                host: or_placeholder(&redirect.host, "#{host}"),
                port: or_placeholder(&redirect.port, "#{port}"),
                path: or_placeholder(&redirect.path, "/#{path}"),
                query: or_placeholder(&redirect.query, "#{query}"),
                status,
            })
        }
        Some(v1::route_rule::Action::FixedResponse(fixed)) => ActionDraft::Fixed(Fixed {
            status: u16::try_from(fixed.status)
                .ok()
                .filter(|status| (200..=599).contains(status))
                .and_then(|status| StatusCode::from_u16(status).ok())
                .ok_or_else(|| {
                    invalid("fixedResponse.status", format!("{} is not of 200 to 599", fixed.status))
                })?,
            content_type: match fixed.content_type.as_str() {
                "" => HeaderValue::from_static("text/plain"),
                text => HeaderValue::from_str(text)
                    .map_err(|_| invalid("fixedResponse.contentType", "is no header value"))?,
            },
            body: bytes::Bytes::copy_from_slice(fixed.body.as_bytes()),
        }),
    };
    Ok((matches, action))
}

/// All conditions of a match.
fn conditions(message: &v1::RouteMatch) -> Result<Match, Invalid> {
    bounded("match.headers", message.headers.len())?;
    bounded("match.query", message.query.len())?;
    bounded("match.also", message.also.len())?;
    if message.also.iter().any(|further| !further.also.is_empty()) {
        return Err(invalid("match.also", "further conditions have none themselves"));
    }
    Ok(Match {
        hosts: wildcards("match.hosts", &message.hosts, true)?,
        paths: wildcards("match.paths", &message.paths, false)?,
        methods: methods("match.methods", &message.methods)?,
        headers: message
            .headers
            .iter()
            .map(|header| {
                let name = HeaderName::from_bytes(header.name.as_bytes())
                    .map_err(|_| invalid("match.headers", format!("{:?} is no header name", header.name)))?;
                Ok((name, traffic::value_match("match.headers", header)?))
            })
            .collect::<Result<_, _>>()?,
        query: message
            .query
            .iter()
            .map(|query| Ok((query.name.clone(), traffic::value_match("match.query", query)?)))
            .collect::<Result<_, _>>()?,
        also: message.also.iter().map(conditions).collect::<Result<_, _>>()?,
    })
}

/// An ALB's defaults: the request's own.
fn or_placeholder(text: &str, placeholder: &str) -> String {
    if text.is_empty() { placeholder.to_owned() } else { text.to_owned() }
}

fn wildcards(field: &str, patterns: &[String], ignore_case: bool) -> Result<Vec<Wildcard>, Invalid> {
    bounded(field, patterns.len())?;
    patterns
        .iter()
        .map(|pattern| {
            Wildcard::new(pattern, ignore_case)
                .ok_or_else(|| invalid(field, "a pattern has 1 to 1,024 bytes"))
        })
        .collect()
}

fn methods(field: &str, names: &[String]) -> Result<Vec<Method>, Invalid> {
    names
        .iter()
        .map(|name| {
            Method::from_bytes(name.as_bytes()).map_err(|_| invalid(field, format!("{name:?} is no method")))
        })
        .collect()
}

pub(crate) fn cluster(message: &v1::Cluster) -> Result<ClusterDraft, Invalid> {
    let kind = match &message.kind {
        None => return Err(invalid("kind", "one of mesh, local and external is needed")),
        Some(v1::cluster::Kind::External(external)) => {
            ClusterKindDraft::External(external::security(external)?)
        }
        Some(v1::cluster::Kind::Mesh(mesh)) => {
            bounded("mesh.identities", mesh.identities.len())?;
            ClusterKindDraft::Mesh {
                own: or_mesh(&mesh.identity),
                tls: known("mesh.tls", mesh.tls)?,
                identities: mesh
                    .identities
                    .iter()
                    .map(|id| id.parse::<SpiffeId>().map_err(|e| invalid("mesh.identities", e.to_string())))
                    .collect::<Result<_, _>>()?,
            }
        }
        Some(v1::cluster::Kind::Local(local)) => ClusterKindDraft::Application {
            address: match local.address.as_str() {
                "" => None,
                text => Some(ip("local.address", text)?),
            },
            port: match port("local.port", local.port)? {
                0 => return Err(invalid("local.port", "0 is no container port")),
                port => port,
            },
        },
    };
    Ok(ClusterDraft {
        protocol: known("protocol", message.protocol)?,
        kind,
        connect_timeout: match sabotaged(Defence::Patience) {
            true => CONNECT_TIMEOUT_DEFAULT / 20,
            false => millis(message.connect_timeout_ms).unwrap_or(CONNECT_TIMEOUT_DEFAULT),
        },
        outlier: message.outlier_detection.as_ref().map(traffic::outlier),
        max_connections: message.max_connections as usize,
        connect_retry: traffic::connect_retry(message.connect_retry.as_ref())?,
        breakers: traffic::breakers(message),
        balancing: message.load_balancing.as_ref().map(balancing::read).transpose()?.unwrap_or_default(),
        discovery_name: match message.discovery_name.as_str() {
            "" => message.name.clone(),
            name => name.to_owned(),
        },
        health_check: message.health_check.as_ref().map(traffic::health_check).transpose()?,
    })
}

pub(crate) fn endpoints(message: &v1::Endpoints) -> Result<Vec<EndpointDraft>, Invalid> {
    bounded("endpoints", message.endpoints.len())?;
    message
        .endpoints
        .iter()
        .map(|endpoint| {
            let port = port("endpoints.port", endpoint.port)?;
            if port == 0 {
                return Err(invalid("endpoints.port", "0 cannot be connected to"));
            }
            Ok(EndpointDraft {
                host: match (endpoint.address.as_str(), endpoint.hostname.as_str()) {
                    (address, "") => HostDraft::Address(ip("endpoints.address", address)?),
                    ("", name) => HostDraft::Name(external::host_name("endpoints.hostname", name)?),
                    _ => return Err(invalid("endpoints.hostname", "is given in place of the address")),
                },
                port,
                task_id: endpoint.task_id.clone(),
                weight: endpoint.weight.clamp(1, 1_000),
                draining: endpoint.draining,
                priority: match u8::try_from(endpoint.priority) {
                    Ok(priority) if priority <= PRIORITY_MAX => priority,
                    _ => return Err(invalid("endpoints.priority", format!("{PRIORITY_MAX} is the highest"))),
                },
                zone: Arc::from(endpoint.zone.as_str()),
                server_name: match endpoint.server_name.as_str() {
                    "" => None,
                    name => Some(external::server_name("endpoints.serverName", name)?),
                },
                diverted: diverted(endpoint)?,
            })
        })
        .collect()
}

/// Where an endpoint's connections are led on purpose. By a clock that nobody sets: it ends when it should even if the
/// machine's is set back.
fn diverted(endpoint: &v1::Endpoint) -> Result<Option<Diverted>, Invalid> {
    if endpoint.diverted_to.is_empty() {
        return Ok(None);
    }
    let to: SocketAddr = match endpoint.diverted_to.parse() {
        Ok(to) => to,
        Err(_) => return Err(invalid("endpoints.divertedTo", "is no IP address with a port")),
    };
    let left = Timestamp::from_millis(endpoint.diverted_until_unix_ms).since(wall_clock::machine());
    let until = Instant::now() + left.min(LASTING_MAX);
    Ok((!left.is_zero()).then_some(Diverted { to, until }))
}

pub(crate) fn authorization(message: &v1::Authorization) -> Result<Rules, Invalid> {
    bounded("rules", message.rules.len())?;
    message.rules.iter().map(authorization_rule).collect::<Result<_, _>>().map(Rules::new)
}

fn authorization_rule(rule: &v1::AuthorizationRule) -> Result<Rule, Invalid> {
    bounded("rules.identities", rule.identities.len())?;
    bounded("rules.sourceCidrs", rule.source_cidrs.len())?;
    let identity = |id: &String| {
        id.parse::<SpiffePattern>().map_err(|error| invalid("rules.identities", error.to_string()))
    };
    let source = |range: &String| {
        range.parse::<Cidr>().map_err(|error| invalid("rules.sourceCidrs", error.to_string()))
    };
    Ok(Rule {
        name: rule.name.clone(),
        effect: match known("rules.effect", rule.effect)? {
            v1::AuthorizationEffect::Allow => Effect::Allow,
            v1::AuthorizationEffect::Deny => Effect::Deny,
            v1::AuthorizationEffect::Audit => Effect::Audit,
        },
        callers: match rule.any_caller {
            true => Callers::Anyone,
            false => Callers::Of(rule.identities.iter().map(identity).collect::<Result<_, _>>()?),
        },
        methods: methods("rules.methods", &rule.methods)?.iter().map(Method::to_string).collect(),
        paths: wildcards("rules.paths", &rule.paths, false)?,
        sources: rule.source_cidrs.iter().map(source).collect::<Result<_, _>>()?,
    })
}

/// The IPv4 address of an outbound listener, for names.
pub(crate) fn ipv4(address: SocketAddr) -> Option<Ipv4Addr> {
    match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// A policy's rules, ready to be asked.
pub(super) fn tracing(message: &v1::Tracing) -> Result<Sampler, Invalid> {
    let rules = message.rules.iter().map(|rule| SamplingRule {
        name: rule.name.clone(),
        host: rule.host.clone(),
        method: rule.method.clone(),
        path: rule.path.clone(),
        discovery_name: rule.discovery_name.clone(),
        reservoir: rule.reservoir,
        per_million: rule.per_million,
    });
    let policy = SamplingPolicy { rules: rules.collect(), failures: message.failures };
    Sampler::new(&policy).map_err(|error| invalid("rules", error.to_string()))
}

/// Most private namespaces; AWS's quota for an account is 50.
const ZONES_MAX: usize = 10_000;

pub(super) fn private_dns(message: &v1::PrivateDns) -> Result<PrivateDns, Invalid> {
    let server = message.server.parse();
    let server = server.map_err(|_| invalid("server", "must be an IP address and a port"))?;
    if message.zones.len() > ZONES_MAX {
        return Err(invalid("zones", format!("there can be at most {ZONES_MAX}")));
    }
    let zone = |name: &String| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let zones: BTreeSet<String> = message.zones.iter().map(zone).collect();
    match zones.contains("") {
        // Every name would leave the task.
        true => Err(invalid("zones", "the root is no private namespace")),
        false => Ok(PrivateDns { server, zones }),
    }
}
