//! Operations that work on after they are answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::Timestamp;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetOperationRequest {
    pub operation_id: String,
    pub owner_account: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationType {
    #[serde(rename = "CREATE_NAMESPACE")]
    CreateNamespace,
    #[serde(rename = "DELETE_NAMESPACE")]
    DeleteNamespace,
    #[serde(rename = "UPDATE_NAMESPACE")]
    UpdateNamespace,
    #[serde(rename = "UPDATE_SERVICE")]
    UpdateService,
    #[serde(rename = "REGISTER_INSTANCE")]
    RegisterInstance,
    #[serde(rename = "DEREGISTER_INSTANCE")]
    DeregisterInstance,
}

impl OperationType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateNamespace => "CREATE_NAMESPACE",
            Self::DeleteNamespace => "DELETE_NAMESPACE",
            Self::UpdateNamespace => "UPDATE_NAMESPACE",
            Self::UpdateService => "UPDATE_SERVICE",
            Self::RegisterInstance => "REGISTER_INSTANCE",
            Self::DeregisterInstance => "DEREGISTER_INSTANCE",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OperationStatus {
    #[serde(rename = "SUCCESS")]
    Success,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Operation {
    pub id: String,
    pub owner_account: String,
    pub r#type: OperationType,
    pub status: OperationStatus,
    pub create_date: Timestamp,
    pub update_date: Timestamp,
    /// By kind: `NAMESPACE`, `SERVICE`, `INSTANCE`.
    pub targets: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetOperationResponse {
    pub operation: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OperationFilterName {
    #[serde(rename = "NAMESPACE_ID")]
    NamespaceId,
    #[serde(rename = "SERVICE_ID")]
    ServiceId,
    #[serde(rename = "STATUS")]
    Status,
    #[serde(rename = "TYPE")]
    Type,
    #[serde(rename = "UPDATE_DATE")]
    UpdateDate,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperationSummary {
    pub id: String,
    pub status: OperationStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOperationsResponse {
    pub operations: Vec<OperationSummary>,
    pub next_token: Option<String>,
}
