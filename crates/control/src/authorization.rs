//! Who may call which service: the rules of a port, and the answer to "may it?".

use std::net::{IpAddr, Ipv4Addr};

use bowline_model::{
    authorization::{Call, HttpCall, Rules, policy::CalledPort},
    identity::SpiffeId,
    service::Service,
    task_definition::AppProtocol,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    publish::{self, ServicePort},
    registry::Registry,
};

/// The rules of a service's port, from all policies in the order of their keys.
pub(crate) fn rules_of(
    registry: &Registry,
    service: &Service,
    port: &ServicePort<'_>,
    proves_callers: bool,
) -> Rules {
    let settings = registry.settings();
    let gateways: Vec<_> = publish::gateway::callers(registry, service, port)
        .iter()
        .map(|name| SpiffeId::of_gateway(&settings.trust_domain, name))
        .collect();
    let called = CalledPort {
        trust_domain: &settings.trust_domain,
        service: &service.name,
        namespace: service.connect.as_ref().map(|connect| connect.namespace.as_str()),
        port: port.mapping.container_port,
        offered: port.offered.is_some(),
        gateways: &gateways,
        proves_callers,
    };
    called.rules(registry.authorization_policies.values().map(|policy| &**policy))
}

/// A call to be judged without making it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyQuestion {
    /// The caller: a SPIFFE id, or a service's name (`CLUSTER/NAME` where two have it).
    pub from: String,
    /// The called service: its name, or `CLUSTER/NAME`.
    pub to: String,
    /// The HTTP method.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The container port; `None`: the service's only one, or each of them.
    pub port: Option<u16>,
    /// Where the call comes from; `None`: this machine.
    pub source: Option<IpAddr>,
}

/// What the rules say of a call to one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAnswer {
    /// The caller's SPIFFE id.
    pub from: String,
    /// The called service.
    pub to: String,
    /// The container port.
    pub port: u16,
    /// Whether it may be called.
    pub allowed: bool,
    /// `ALLOW` or `DENY`.
    pub effect: String,
    /// The rule that decides; `None`: no rule allows it.
    pub rule: Option<String>,
    /// Rules that only log it.
    pub audited_by: Vec<String>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyQuestionError {
    /// No such service.
    #[error("there is no service {0}; a caller may also be given by its SPIFFE id")]
    NoService(String),
    /// More than one service has the name.
    #[error("several services are called {0}: give one as CLUSTER/NAME")]
    Ambiguous(String),
    /// The service takes no calls on that port.
    #[error("{service} has no port {port} that others can call; its ports: {ports}")]
    NoPort {
        /// The service.
        service: String,
        /// The port that was given.
        port: u16,
        /// Those that there are.
        ports: String,
    },
    /// The service takes no calls.
    #[error("{0} has no port that others can call")]
    NoPorts(String),
}

/// Answers a question, for each port that it is about.
///
/// # Errors
/// See [`PolicyQuestionError`].
pub fn answer(
    registry: &Registry,
    proves_callers: impl Fn(&Service) -> bool,
    question: &PolicyQuestion,
) -> Result<Vec<PolicyAnswer>, PolicyQuestionError> {
    let caller = match question.from.parse::<SpiffeId>() {
        Ok(id) => id,
        Err(_) => registry.identity_of_service(service_named(registry, &question.from)?),
    };
    let service = service_named(registry, &question.to)?;
    let definition = registry.task_definitions.get(service.task_definition.as_str());
    let ports = definition.map(|definition| publish::service_ports(service, definition)).unwrap_or_default();
    let number = |port: &ServicePort<'_>| port.mapping.container_port;
    let listed = || ports.iter().map(|port| number(port).to_string()).collect::<Vec<_>>().join(", ");
    if ports.is_empty() {
        return Err(PolicyQuestionError::NoPorts(service.name.clone()));
    }
    let asked: Vec<_> =
        ports.iter().filter(|port| question.port.is_none_or(|asked| asked == number(port))).collect();
    if let (Some(port), true) = (question.port, asked.is_empty()) {
        return Err(PolicyQuestionError::NoPort { service: service.name.clone(), port, ports: listed() });
    }
    let proved = proves_callers(service);
    let answers = asked.into_iter().map(|port| {
        let rules = rules_of(registry, service, port, proved);
        let is_http = port.mapping.protocol != AppProtocol::Tcp;
        let decision = rules.decide(&Call {
            caller: proved.then_some(&caller),
            source: question.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            request: is_http.then_some(HttpCall { method: &question.method, path: &question.path }),
        });
        PolicyAnswer {
            from: caller.to_string(),
            to: service.name.clone(),
            port: number(port),
            allowed: decision.allowed,
            effect: if decision.allowed { "ALLOW" } else { "DENY" }.into(),
            rule: decision.rule.map(|rule| rule.name.clone()),
            audited_by: decision.audits.iter().map(|rule| rule.name.clone()).collect(),
        }
    });
    Ok(answers.collect())
}

fn service_named<'a>(registry: &'a Registry, given: &str) -> Result<&'a Service, PolicyQuestionError> {
    let (cluster, name) = match given.split_once('/') {
        Some((cluster, name)) => (Some(cluster), name),
        None => (None, given),
    };
    let mut found = registry
        .services
        .values()
        .filter(|service| service.name == name && cluster.is_none_or(|cluster| service.cluster == cluster));
    match (found.next(), found.next()) {
        (Some(service), None) => Ok(service),
        (Some(_), Some(_)) => Err(PolicyQuestionError::Ambiguous(given.to_owned())),
        (None, _) => Err(PolicyQuestionError::NoService(given.to_owned())),
    }
}
