//! Services and their attributes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    protocol::Timestamp,
    servicediscovery::{DnsConfig, DnsRecord, HealthCheckConfig, HealthCheckCustomConfig, ServiceType, Tag},
};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateServiceRequest {
    pub name: String,
    pub namespace_id: Option<String>,
    pub creator_request_id: Option<String>,
    pub description: Option<String>,
    pub dns_config: Option<DnsConfig>,
    pub health_check_config: Option<HealthCheckConfig>,
    pub health_check_custom_config: Option<HealthCheckCustomConfig>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub r#type: Option<ServiceType>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateServiceRequest {
    pub id: String,
    pub service: ServiceChange,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceChange {
    pub description: Option<String>,
    pub dns_config: Option<DnsConfigChange>,
    pub health_check_config: Option<HealthCheckConfig>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DnsConfigChange {
    pub dns_records: Vec<DnsRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ServiceFilterName {
    #[serde(rename = "NAMESPACE_ID")]
    NamespaceId,
    #[serde(rename = "RESOURCE_OWNER")]
    ResourceOwner,
}

/// By which ways a service's instances are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DiscoveryType {
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "DNS_HTTP")]
    DnsHttp,
}

/// A service, and its summary in a list (which has neither `CreatorRequestId` nor `NamespaceId`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    pub id: String,
    pub arn: String,
    pub resource_owner: String,
    pub name: String,
    pub namespace_id: Option<String>,
    pub description: Option<String>,
    pub instance_count: usize,
    pub dns_config: Option<DnsConfig>,
    pub r#type: DiscoveryType,
    pub health_check_config: Option<HealthCheckConfig>,
    pub health_check_custom_config: Option<HealthCheckCustomConfig>,
    pub create_date: Timestamp,
    pub creator_request_id: Option<String>,
    pub created_by_account: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceResponse {
    pub service: Service,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListServicesResponse {
    pub services: Vec<Service>,
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetServiceAttributesRequest {
    pub service_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetServiceAttributesResponse {
    pub service_attributes: ServiceAttributes,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceAttributes {
    pub service_arn: String,
    pub resource_owner: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateServiceAttributesRequest {
    pub service_id: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteServiceAttributesRequest {
    pub service_id: String,
    pub attributes: Vec<String>,
}
