//! Namespaces.

use serde::{Deserialize, Serialize};

use crate::{
    protocol::Timestamp,
    servicediscovery::{Properties, Soa, Tag},
};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateHttpNamespaceRequest {
    pub name: String,
    pub creator_request_id: Option<String>,
    pub description: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePrivateDnsNamespaceRequest {
    pub name: String,
    pub creator_request_id: Option<String>,
    pub description: Option<String>,
    pub vpc: String,
    #[serde(default)]
    pub tags: Vec<Tag>,
    pub properties: Option<Properties>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePublicDnsNamespaceRequest {
    pub name: String,
}

/// `UpdateHttpNamespace`, `UpdatePrivateDnsNamespace` and `UpdatePublicDnsNamespace`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateNamespaceRequest {
    pub id: String,
    pub updater_request_id: Option<String>,
    pub namespace: NamespaceChange,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamespaceChange {
    pub description: Option<String>,
    pub properties: Option<Properties>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum NamespaceFilterName {
    #[serde(rename = "TYPE")]
    Type,
    #[serde(rename = "NAME")]
    Name,
    #[serde(rename = "HTTP_NAME")]
    HttpName,
    #[serde(rename = "RESOURCE_OWNER")]
    ResourceOwner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NamespaceType {
    #[serde(rename = "DNS_PRIVATE")]
    DnsPrivate,
    #[serde(rename = "HTTP")]
    Http,
}

impl NamespaceType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DnsPrivate => "DNS_PRIVATE",
            Self::Http => "HTTP",
        }
    }
}

/// A namespace, and its summary in a list (which has no `CreatorRequestId`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Namespace {
    pub id: String,
    pub arn: String,
    pub resource_owner: String,
    pub name: String,
    pub r#type: NamespaceType,
    pub description: Option<String>,
    pub service_count: usize,
    pub properties: NamespaceProperties,
    pub create_date: Timestamp,
    pub creator_request_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamespaceProperties {
    pub dns_properties: Option<DnsProperties>,
    pub http_properties: HttpProperties,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DnsProperties {
    pub hosted_zone_id: Option<String>,
    #[serde(rename = "SOA")]
    pub soa: Soa,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HttpProperties {
    pub http_name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetNamespaceResponse {
    pub namespace: Namespace,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListNamespacesResponse {
    pub namespaces: Vec<Namespace>,
    pub next_token: Option<String>,
}
