//! ECS services and their Service Connect configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{arn::Arn, log_driver::LogConfiguration, rollout::shift::Shift};

/// A service: so many tasks of a task definition, under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `…:service/CLUSTER/NAME`
    pub arn: Arn,
    /// The name, unique in the cluster.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// The task definition's ARN.
    pub task_definition: Arn,
    /// What its present tasks were started by: tasks of any other are replaced.
    pub deployment: DeploymentId,
    /// Tasks wanted.
    pub desired_count: u32,
    /// Bounds of a rolling replacement.
    pub rolling: RollingBounds,
    /// Service Connect; `None` where it is off.
    pub connect: Option<ServiceConnect>,
    /// Target groups that its tasks are targets of.
    pub targets: Vec<TargetBinding>,
    /// `assignPublicIp: ENABLED`: ports are published on the host's loopback.
    pub assign_public_ip: bool,
    /// One whole set of its tasks takes another's place.
    #[serde(default)]
    pub shift: Option<Shift>,
}

/// A deployment of a service: the tasks of one configuration. AWS writes it `ecs-svc/` and 19 digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(String);

impl DeploymentId {
    /// From a random number, as 19 digits.
    pub fn from_random(random: u64) -> Self {
        Self(format!("{:019}", random % 10_000_000_000_000_000_000))
    }

    /// The digits alone, as a service revision's ARN ends.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ecs-svc/{}", self.0)
    }
}

/// How far a rolling replacement may go below and above the desired count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollingBounds {
    /// AWS's default: 100.
    pub minimum_healthy_percent: u32,
    /// AWS's default: 200.
    pub maximum_percent: u32,
}

impl Default for RollingBounds {
    fn default() -> Self {
        Self { minimum_healthy_percent: 100, maximum_percent: 200 }
    }
}

/// A service's part in a namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceConnect {
    /// The namespace's name.
    pub namespace: String,
    /// What it offers; none for a client-only service.
    pub services: Vec<ConnectService>,
    /// How its ports are protected.
    #[serde(default)]
    pub encryption: Encryption,
    /// `logConfiguration`: where the sidecars' lines go.
    #[serde(default)]
    pub log: Option<LogConfiguration>,
}

/// How the hops to a service's ports are protected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// Who proves an identity.
    pub mode: TlsMode,
    /// `certificateArn`: what its sidecars show to callers in place of the mesh's certificate.
    pub certificate: Option<Arn>,
    /// `clientCertificateArn`: what callers show to it.
    pub client_certificate: Option<Arn>,
}

/// Who proves an identity in the handshake of a hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// The called side alone: the caller checks it, and is not asked for a certificate.
    #[serde(rename = "TLS")]
    Tls,
    /// Both sides.
    #[default]
    #[serde(rename = "MUTUAL_TLS")]
    MutualTls,
}

impl std::fmt::Display for TlsMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::MutualTls => "MUTUAL_TLS",
        })
    }
}

/// A port that a service offers in its namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectService {
    /// The port mapping's name.
    pub port_name: String,
    /// The name in the namespace; AWS's default is the port name.
    pub discovery_name: String,
    /// What clients call.
    pub alias: Option<ClientAlias>,
    /// `ingressPortOverride`.
    pub ingress_port: Option<u16>,
    /// `timeout.idleTimeoutSeconds`; `None` is AWS's default, zero disables.
    pub idle_timeout: Option<Duration>,
    /// `timeout.perRequestTimeoutSeconds`; `None` is AWS's default, zero disables.
    pub request_timeout: Option<Duration>,
    /// The certificate authority that `tls` names.
    pub authority: Option<Arn>,
    /// The header that marks test traffic, of `testTrafficRules`; `None` is AWS's default.
    #[serde(default)]
    pub test_header: Option<TestHeader>,
}

/// A header that marks test traffic: `testTrafficRules.header`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value exactly; any where there is none.
    pub exact: Option<String>,
}

impl Default for TestHeader {
    /// AWS's: `x-amzn-ecs-blue-green-test`, whatever its value.
    fn default() -> Self {
        Self { name: "x-amzn-ecs-blue-green-test".into(), exact: None }
    }
}

/// AWS's `clientAliases` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAlias {
    /// `dnsName`; `None` is `discoveryName.namespace`.
    pub dns_name: Option<String>,
    /// The port that clients call.
    pub port: u16,
}

impl ConnectService {
    /// Every host name of the alias in `namespace`, the short one first: its
    /// `dnsName`, or the discovery name where it has none, alone and with the
    /// namespace after it.
    pub fn hostnames(&self, namespace: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut add = |name: String| {
            let name = name.to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        };
        if let Some(dns_name) = self.alias.as_ref().and_then(|alias| alias.dns_name.as_deref()) {
            add(dns_name.to_owned());
            if !dns_name.ends_with(&format!(".{namespace}")) {
                add(format!("{dns_name}.{namespace}"));
            }
        } else {
            add(self.discovery_name.clone());
            add(format!("{}.{namespace}", self.discovery_name));
        }
        names
    }
}

/// A container port that a target group sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBinding {
    /// The target group.
    pub target_group: Arn,
    /// The container's name.
    pub container: String,
    /// Its port.
    pub container_port: u16,
    /// `advancedConfiguration.alternateTargetGroupArn`: another name for the same targets here.
    #[serde(default)]
    pub alternate: Option<Arn>,
    /// `advancedConfiguration.testListenerRule`: what this rule or listener forwards is test traffic.
    #[serde(default)]
    pub test_rule: Option<Arn>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_has_its_short_and_its_long_name() {
        let mut service = ConnectService {
            port_name: "http".into(),
            discovery_name: "web".into(),
            alias: Some(ClientAlias { dns_name: None, port: 80 }),
            ingress_port: None,
            idle_timeout: None,
            request_timeout: None,
            authority: None,
            test_header: None,
        };
        assert_eq!(service.hostnames("shop.local"), ["web", "web.shop.local"]);
        service.alias = Some(ClientAlias { dns_name: Some("Front.shop.local".into()), port: 80 });
        assert_eq!(service.hostnames("shop.local"), ["front.shop.local"]);
        service.alias = Some(ClientAlias { dns_name: Some("front".into()), port: 80 });
        assert_eq!(service.hostnames("shop.local"), ["front", "front.shop.local"]);
    }
}
