//! Operations: what an API call began, told afterwards.

use bowline_aws::servicediscovery::api::OperationType;
use bowline_model::clock::Timestamp;
use serde::Serialize;

use super::CloudMapError;
use crate::{
    random,
    registry::{CloudMapOperation, Registry},
};

/// How many operations are kept, the newest.
pub(crate) const KEPT_MAX: usize = 1_000;

/// What an operation was about, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    pub(crate) namespace: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) instance: Option<String>,
}

/// A request that may come again.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    operation_type: OperationType,
    /// `CreatorRequestId` or `UpdaterRequestId`.
    request_id: Option<String>,
    digest: String,
}

impl Asked {
    /// A request with all its parameters.
    pub(crate) fn new(
        operation_type: OperationType,
        request_id: Option<&str>,
        request: &impl Serialize,
    ) -> Self {
        let text = serde_json::to_vec(request).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { operation_type, request_id: request_id.map(str::to_owned), digest }
    }

    /// A request that has no id.
    pub(crate) fn once(operation_type: OperationType) -> Self {
        Self { operation_type, request_id: None, digest: String::new() }
    }

    /// The operation of the same request, where it was made before.
    ///
    /// # Errors
    /// Another request had its id.
    pub(crate) fn before(&self, registry: &Registry) -> Result<Option<String>, CloudMapError> {
        let Some(id) = &self.request_id else { return Ok(None) };
        let earlier = registry.cloud_map_operations.values().find(|operation| {
            operation.operation_type == self.operation_type && operation.request_id.as_ref() == Some(id)
        });
        match earlier {
            Some(earlier) if earlier.request_digest == self.digest => Ok(Some(earlier.id.clone())),
            Some(earlier) => Err(CloudMapError::DuplicateRequest { operation: earlier.id.clone() }),
            None => Ok(None),
        }
    }

    /// Records that it was done. Returns the operation's id.
    pub(crate) fn done(self, registry: &mut Registry, targets: Targets, now: Timestamp) -> String {
        let id = format!("{}-{}", random::alphanumeric(32), random::alphanumeric(8));
        let operations = &mut registry.cloud_map_operations;
        let sequence = operations.values().map(|operation| operation.sequence).max().unwrap_or(0) + 1;
        while operations.len() >= KEPT_MAX {
            let oldest = operations.values().min_by_key(|operation| operation.sequence);
            let Some(oldest) = oldest.map(|operation| operation.id.clone()) else { break };
            operations.remove(&oldest);
        }
        let operation = CloudMapOperation {
            id: id.clone(),
            operation_type: self.operation_type,
            at: now,
            sequence,
            namespace: targets.namespace,
            service: targets.service,
            instance: targets.instance,
            request_id: self.request_id,
            request_digest: self.digest,
        };
        operations.put(id.clone(), operation);
        id
    }
}
