//! What those who have signed in may do: calls of the API's own operations, with the policies asked and the trail
//! written as for any other.

use std::sync::Arc;

use bowline_aws::protocol::Document;
use http::StatusCode;
use serde::Deserialize;

use super::{Refusal, Request, blocking};
use crate::api::server::{self, Performed};

/// Something to do.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Action {
    /// `ecs:UpdateService` with `forceNewDeployment`.
    ForceNewDeployment { cluster: String, service: String },
    /// `ecs:StopTask`.
    StopTask { cluster: String, task: String },
    /// `cloudwatch:SetAlarmState`.
    SetAlarmState { alarm: String, state: String },
    /// `cloudwatch:EnableAlarmActions`.
    EnableAlarmActions { alarm: String },
    /// `cloudwatch:DisableAlarmActions`.
    DisableAlarmActions { alarm: String },
}

impl Action {
    /// The operation, and what is asked of it.
    fn call(self) -> (&'static str, &'static str, Document) {
        let text = |text: &str| Document::Text(text.to_owned());
        let map = |members: Vec<(&str, Document)>| {
            Document::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        let names = |alarm: String| map(vec![("AlarmNames", Document::List(vec![Document::Text(alarm)]))]);
        match self {
            Self::ForceNewDeployment { cluster, service } => {
                let members = vec![
                    ("cluster", Document::Text(cluster)),
                    ("service", Document::Text(service)),
                    ("forceNewDeployment", Document::Bool(true)),
                ];
                ("ecs", "UpdateService", map(members))
            }
            Self::StopTask { cluster, task } => {
                let members = vec![
                    ("cluster", Document::Text(cluster)),
                    ("task", Document::Text(task)),
                    ("reason", text("Stopped in the dashboard")),
                ];
                ("ecs", "StopTask", map(members))
            }
            Self::SetAlarmState { alarm, state } => {
                let members = vec![
                    ("AlarmName", Document::Text(alarm)),
                    ("StateValue", Document::Text(state)),
                    ("StateReason", text("Set in the dashboard")),
                ];
                ("cloudwatch", "SetAlarmState", map(members))
            }
            Self::EnableAlarmActions { alarm } => ("cloudwatch", "EnableAlarmActions", names(alarm)),
            Self::DisableAlarmActions { alarm } => ("cloudwatch", "DisableAlarmActions", names(alarm)),
        }
    }
}

impl Request<'_> {
    /// Does what is asked, if whoever has signed in may.
    ///
    /// # Errors
    /// What the API would answer.
    pub(super) async fn act(&self, body: &[u8]) -> Result<(), Refusal> {
        let caller = self.who_changes()?;
        let action: Action = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "InvalidRequest", error.to_string()))?;
        let (service, operation, request) = action.call();
        let (api, peer) = (Arc::clone(self.api), self.peer);
        let (headers, request_id) = (self.parts.headers.clone(), self.request_id.to_owned());
        let done = blocking(move || {
            let (headers, request_id) = (&headers, request_id.as_str());
            let performed = Performed { caller, service, operation, request, peer, headers, request_id };
            server::perform(&api, performed)
        });
        match done.await? {
            Ok(_) => Ok(()),
            Err(fault) => {
                // The JSON protocols have 400 for what is not allowed, too; 401 would say that nobody has signed in.
                let status = match StatusCode::from_u16(fault.status) {
                    _ if fault.code.starts_with("AccessDenied") => StatusCode::FORBIDDEN,
                    Ok(status) if status != StatusCode::UNAUTHORIZED => status,
                    _ => StatusCode::BAD_REQUEST,
                };
                Err(Refusal::new(status, fault.code, fault.message))
            }
        }
    }
}
