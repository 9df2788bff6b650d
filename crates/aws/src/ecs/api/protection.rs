//! Protection of tasks against scale-in and deployments.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::protocol::Timestamp;

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct GetTaskProtectionRequest {
    pub cluster: String,
    #[serde(default)]
    pub tasks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateTaskProtectionRequest {
    pub cluster: String,
    pub tasks: Vec<String>,
    pub protection_enabled: bool,
    pub expires_in_minutes: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedTask {
    pub task_arn: String,
    pub protection_enabled: bool,
    pub expiration_date: Option<Timestamp>,
}

/// The response of `GetTaskProtection` and `UpdateTaskProtection`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskProtectionResponse {
    pub protected_tasks: Vec<ProtectedTask>,
    pub failures: Vec<Failure>,
}
