//! The Service Connect configuration of a service.

use serde::{Deserialize, Serialize};

use super::LogConfiguration;

/// How a service takes part in Service Connect
/// ([AWS](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectConfiguration.html)).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectConfiguration {
    /// Whether the service takes part.
    pub enabled: bool,
    /// The namespace, by name or ARN. The default is the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The ports that others may call. A service with none is a client only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceConnectService>,
    /// Where the proxy's own log goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<LogConfiguration>,
    /// The proxy's access log; it goes where [`log_configuration`](Self::log_configuration) says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log_configuration: Option<ServiceConnectAccessLogConfiguration>,
    /// Settings of the proxy's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_configurations: Vec<ServiceConnectContainerConfiguration>,
    /// How the service's ports are protected. AWS has no such member; Bowline takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_configuration: Option<ServiceConnectEncryptionConfiguration>,
}

/// How a service's ports are protected, and by which certificates. Not of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectEncryptionConfiguration {
    /// The ARN of the certificate of Certificate Manager that the service's sidecars show. The
    /// default is the identity that the mesh gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_arn: Option<String>,
    /// The ARN of the certificate that callers show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_arn: Option<String>,
    /// Who proves an identity. The default is `MUTUAL_TLS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<EncryptionMode>,
}

/// Who proves an identity in a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EncryptionMode {
    /// The called side alone.
    #[serde(rename = "TLS")]
    Tls,
    /// Both sides.
    #[default]
    #[serde(rename = "MUTUAL_TLS")]
    MutualTls,
}

/// One port of a service that others may call by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectService {
    /// The `name` of a port mapping of the task definition.
    pub port_name: String,
    /// The name in the namespace, unique there. The default is [`port_name`](Self::port_name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_name: Option<String>,
    /// Under which name and port clients call it; AWS allows one. A service without any cannot be
    /// called, but holds its discovery name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_aliases: Vec<ServiceConnectClientAlias>,
    /// The port at which the proxy listens for other proxies. The default is the container port
    /// with `awsvpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_port_override: Option<u16>,
    /// Time limits that apply to its callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeoutConfiguration>,
    /// Asks for TLS between the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServiceConnectTlsConfiguration>,
}

/// A name and port under which clients call a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectClientAlias {
    /// The port that clients use.
    pub port: u16,
    /// The name that clients use, at most 127 characters. The default is
    /// `discoveryName.namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Which requests go to the new revision before the others do, in a blue/green deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_traffic_rules: Option<ServiceConnectTestTrafficRules>,
}

/// Which requests are test traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectTestTrafficRules {
    /// Those with this header.
    pub header: ServiceConnectTestTrafficRulesHeader,
}

/// A header that marks test traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectTestTrafficRulesHeader {
    /// The header's name.
    pub name: String,
    /// What its value must be; without it, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<ServiceConnectTestTrafficRulesHeaderValue>,
}

/// The value of a header that marks test traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectTestTrafficRulesHeaderValue {
    /// Exactly this value.
    pub exact: String,
}

/// Time limits, in seconds; 0 switches a limit off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutConfiguration {
    /// How long a connection may be idle. The default is 300 for HTTP, HTTP/2 and gRPC, and 3600
    /// for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    /// How long the answer to a request may take. The default is 15; TCP has no requests and
    /// takes no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request_timeout_seconds: Option<u32>,
}

/// TLS between the proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectTlsConfiguration {
    /// Who issues the certificates.
    pub issuer_certificate_authority: ServiceConnectTlsCertificateAuthority,
    /// The symmetric KMS key that seals the private keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The role under which ECS manages the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}

/// The authority that issues a service's certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectTlsCertificateAuthority {
    /// The ARN of an authority of AWS Private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_pca_authority_arn: Option<String>,
}

/// The proxy's access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectAccessLogConfiguration {
    /// How a line is written.
    pub format: AccessLogFormat,
    /// Whether the query part of a URL is logged. The default is `DISABLED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_query_parameters: Option<IncludeQueryParameters>,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessLogFormat {
    /// Envoy's text format.
    #[serde(rename = "TEXT")]
    Text,
    /// One JSON object a line.
    #[serde(rename = "JSON")]
    Json,
}

/// Whether query parameters are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IncludeQueryParameters {
    /// They are cut off.
    #[serde(rename = "DISABLED")]
    Disabled,
    /// They are logged.
    #[serde(rename = "ENABLED")]
    Enabled,
}

/// Settings of the proxy's container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceConnectContainerConfiguration {
    /// How much the proxy logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

/// How much a proxy logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogLevel {
    /// Every connection and decision.
    #[serde(rename = "debug")]
    Debug,
    /// What an operator needs.
    #[serde(rename = "info")]
    Info,
}
