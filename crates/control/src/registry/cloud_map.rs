//! Rows of AWS Cloud Map: namespaces, services, instances and the operations that made them.

use std::collections::BTreeMap;

use bowline_aws::servicediscovery::{DnsConfig, HealthCheckConfig, ServiceType, Tag, api::OperationType};
use bowline_model::{arn::Arn, clock::Timestamp};
use serde::{Deserialize, Serialize};

/// A Cloud Map namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The ARN.
    pub arn: Arn,
    /// The id at the ARN's end: `ns-…`.
    pub id: String,
    /// The name.
    pub name: String,
    /// Whether it is a private DNS namespace rather than an HTTP one.
    pub private_dns: bool,
    /// `Description`.
    #[serde(default)]
    pub description: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Timestamp,
    /// The VPC of a private DNS namespace; kept and told, nothing here acts on it.
    #[serde(default)]
    pub vpc: Option<String>,
    /// The hosted zone's id of a private DNS namespace.
    #[serde(default)]
    pub hosted_zone_id: Option<String>,
    /// Seconds that a resolver may keep "there is no such name"; `None` is AWS's default.
    #[serde(default)]
    pub soa_ttl: Option<i64>,
    /// `CreatorRequestId`.
    #[serde(default)]
    pub creator_request_id: Option<String>,
}

/// A Cloud Map service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryService {
    /// `…:service/srv-…`
    pub arn: Arn,
    /// The id at the ARN's end: `srv-…`.
    pub id: String,
    /// The namespace's id.
    pub namespace_id: String,
    /// The name, unique in the namespace.
    pub name: String,
    /// `Description`.
    pub description: Option<String>,
    /// `DnsConfig`, without a namespace in it.
    pub dns_config: Option<DnsConfig>,
    /// `HealthCheckConfig`: kept and told; no Route 53 is here to check anything.
    pub health_check_config: Option<HealthCheckConfig>,
    /// `HealthCheckCustomConfig`: callers say whether instances are healthy.
    pub health_check_custom: bool,
    /// `Type` as it was asked for: found by `DiscoverInstances` alone.
    pub service_type: Option<ServiceType>,
    /// `ServiceAttributes`.
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// When it was made.
    pub created_at: Timestamp,
    /// `CreatorRequestId`.
    pub creator_request_id: Option<String>,
    /// `InstancesRevision`: grows whenever an instance comes or goes.
    pub revision: u64,
}

impl DiscoveryService {
    /// Whether instances say that they are healthy in some way: where not, callers of
    /// `DiscoverInstances` get all of them.
    pub fn has_health_check(&self) -> bool {
        self.health_check_custom
    }
}

/// An instance that was registered by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The id, unique in the service.
    pub id: String,
    /// The service's id.
    pub service_id: String,
    /// `Attributes`: AWS's own begin with `AWS_`.
    pub attributes: BTreeMap<String, String>,
    /// `CreatorRequestId`.
    pub creator_request_id: Option<String>,
    /// What `UpdateInstanceCustomHealthStatus` said last, or `AWS_INIT_HEALTH_STATUS`; `None`
    /// where the service has no custom health check.
    pub custom_health: Option<CustomHealth>,
    /// When it was registered last.
    pub registered_at: Timestamp,
}

impl Instance {
    /// The key of a service's instance.
    pub fn key(service_id: &str, id: &str) -> String {
        format!("{service_id}/{id}")
    }

    /// The id of the service in such a key; services' ids have no slash.
    pub(crate) fn service_of_key(key: &str) -> Option<&str> {
        key.split_once('/').map(|(service, _)| service)
    }
}

pub use bowline_aws::servicediscovery::api::CustomHealthStatus as CustomHealth;

/// An operation that an API call began. Here it is over when the call is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudMapOperation {
    /// The id.
    pub id: String,
    /// What was done.
    pub operation_type: OperationType,
    /// When.
    pub at: Timestamp,
    /// Orders operations of one millisecond.
    pub sequence: u64,
    /// The namespace's id.
    pub namespace: Option<String>,
    /// The service's id.
    pub service: Option<String>,
    /// The instance's id.
    pub instance: Option<String>,
    /// `CreatorRequestId` or `UpdaterRequestId`: the same again is answered with this operation.
    pub request_id: Option<String>,
    /// SHA-256 of what was asked for, to tell the same request from another with its id.
    pub request_digest: String,
}
