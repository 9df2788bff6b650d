//! One call's record in the audit trail, from the moment that its operation is known.

pub(super) mod identity;
mod resources;

use std::{net::SocketAddr, sync::Arc};

use bowline_aws::{
    protocol::{Document, Fault, OperationName, Protocol},
    sigv4::{Presented, SignatureError},
};
use bowline_model::arn::Scope;
use bowline_plumbing::wall_clock;
use http::{HeaderMap, header};
use serde_json::Value;

use super::{
    call::Caller,
    operation::{self, Access},
};
use crate::audit::{
    Admission, AuditEvent, AuditLog,
    event::{AuditOutcome, EventCategory},
};

/// Parameters that are secret although their names do not say so: a template's `NoEcho`
/// parameters are told from others by the template only.
const SECRET_PARAMETERS: &[(&str, &str)] = &[("cloudformation", "ParameterValue")];

/// What the query protocol has among a request's parameters and is none.
const QUERY_ENVELOPE: &[&str] = &["Action", "Version"];

/// A call that is being recorded. Dropping it records that the call ended early.
pub(super) struct Recording {
    audit: Arc<AuditLog>,
    event: AuditEvent,
    protocol: Protocol,
    access: Option<Access>,
    /// Of a call that changes something: its place in the queue.
    admission: Option<Admission>,
    /// Whether it is a data event, and those are not recorded.
    skipped: bool,
    ended: bool,
}

/// What of the connection and the request's head is recorded.
pub(super) struct Origin<'a> {
    pub(super) peer: SocketAddr,
    pub(super) headers: &'a HeaderMap,
    pub(super) request_id: &'a str,
    pub(super) presented: &'a Result<Presented, SignatureError>,
    /// The account whose endpoint this is.
    pub(super) account_id: &'a str,
}

/// Somebody signs in, or could not: CloudTrail's `ConsoleLogin`. `who` is the caller, or else the key that was shown.
pub(crate) fn sign_in(
    peer: SocketAddr,
    headers: &HeaderMap,
    scope: &Scope,
    who: Result<&Caller, &str>,
) -> AuditEvent {
    let mut event = AuditEvent::new(wall_clock::now(), "signin.amazonaws.com", "ConsoleLogin");
    event.region.clone_from(&scope.region);
    event.source_ip_address = peer.ip().to_canonical().to_string();
    let agent = headers.get(header::USER_AGENT);
    event.user_agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    event.recipient_account_id.clone_from(&scope.account_id);
    match who {
        Ok(caller) => {
            event.user_identity = identity::of(caller);
            event.response_elements = Some(serde_json::json!({"ConsoleLogin": "Success"}));
        }
        Err(key) => {
            // What was shown may be a secret in the wrong field.
            let is_id =
                key.len() <= 32 && key.starts_with('A') && key.bytes().all(|it| it.is_ascii_alphanumeric());
            event.user_identity = identity::presented(is_id.then_some(key));
            event.response_elements = Some(serde_json::json!({"ConsoleLogin": "Failure"}));
            event.outcome = AuditOutcome::Error {
                code: "Failed authentication".to_owned(),
                message: "The access key and the secret do not go together.".to_owned(),
            };
        }
    }
    event
}

impl Recording {
    /// Of a call by nobody known yet.
    pub(super) fn begin(
        audit: &Arc<AuditLog>,
        data_events: bool,
        name: &OperationName,
        origin: &Origin<'_>,
    ) -> Self {
        let access = operation::find(name.service, &name.operation).map(|operation| operation.access);
        let source = format!("{}.amazonaws.com", name.service.endpoint_prefix);
        let mut event = AuditEvent::new(wall_clock::now(), source, &name.operation);
        let presented = origin.presented.as_ref().ok();
        event.region = presented.map(|presented| presented.scope.region.clone()).unwrap_or_default();
        event.source_ip_address = origin.peer.ip().to_canonical().to_string();
        event.user_agent = origin
            .headers
            .get(header::USER_AGENT)
            .map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
        event.user_identity =
            identity::presented(presented.map(|presented| presented.access_key_id.as_str()));
        event.request_id = Some(origin.request_id.to_owned());
        // What an operation that nobody knows would do is not known either.
        event.read_only = access.is_some_and(Access::is_read);
        if access.is_some_and(Access::is_data) {
            event.category = EventCategory::Data;
        }
        event.recipient_account_id = origin.account_id.to_owned();
        event.secret_parameters = SECRET_PARAMETERS
            .iter()
            .filter(|(service, _)| *service == name.service.name)
            .map(|(_, parameter)| (*parameter).to_owned())
            .collect();
        Self {
            audit: Arc::clone(audit),
            event,
            protocol: name.protocol,
            access,
            admission: None,
            skipped: access.is_some_and(Access::is_data) && !data_events,
            ended: false,
        }
    }

    /// Records nothing of it: there were too many like it.
    pub(super) fn leave_out(&mut self) {
        self.skipped = true;
    }

    /// In which region it is, of a call without a signature that says so.
    pub(super) fn in_region(&mut self, region: &str) {
        region.clone_into(&mut self.event.region);
    }

    /// Who it is, once that is proven.
    pub(super) fn by(&mut self, caller: &Caller) {
        self.event.user_identity = identity::of(caller);
    }

    /// What is asked, once it is read. Told only of a caller who is known: nobody else may write
    /// more into the trail than a line's frame.
    pub(super) fn asks(&mut self, request: &Document) {
        if self.skipped {
            return;
        }
        let mut parameters = Value::from(request);
        if matches!(self.protocol, Protocol::Query | Protocol::Ec2)
            && let Value::Object(members) = &mut parameters
        {
            // A presigned URL's signature is good until it expires: it is as secret as a password.
            members.retain(|name, _| {
                !QUERY_ENVELOPE.contains(&name.as_str()) && !name.to_ascii_lowercase().starts_with("x-amz-")
            });
        }
        if parameters.as_object().is_none_or(|members| !members.is_empty()) {
            resources::collect(&parameters, &mut self.event.resources);
            self.event.request_parameters = Some(parameters);
        }
    }

    /// Before anything is changed: makes sure that it will be recorded.
    ///
    /// # Errors
    /// The trail takes no more, so the call must not be carried out.
    pub(super) fn admit(&mut self) -> Result<(), Fault> {
        if self.access != Some(Access::Write) {
            return Ok(());
        }
        let admission = self.audit.admit().map_err(|full| {
            tracing::warn!(reason = %full, operation = self.event.name, "a call was refused unrecorded");
            let why = if full.is_disk_full { ": its disk has no space left" } else { "" };
            Fault::new(
                "ServiceUnavailable",
                format!(
                    "Nothing was changed: the call cannot be recorded in the audit trail at the moment{why}."
                ),
            )
            .with_status(503)
        })?;
        self.admission = Some(admission);
        Ok(())
    }

    /// How it ended. Does not wait for the disk.
    pub(super) fn end(mut self, outcome: &Result<Document, Fault>) {
        if self.skipped {
            return;
        }
        match outcome {
            Ok(response) if self.access == Some(Access::Write) => {
                let response = Value::from(response);
                resources::collect(&response, &mut self.event.resources);
                // CloudTrail has null where there is nothing to tell.
                self.event.response_elements =
                    Some(response).filter(|value| value.as_object().is_none_or(|all| !all.is_empty()));
            }
            Ok(_) => {}
            Err(Fault { code, message, .. }) => {
                self.event.outcome = AuditOutcome::Error { code: code.clone(), message: message.clone() };
            }
        }
        self.record();
    }

    fn record(&mut self) {
        self.ended = true;
        if self.skipped {
            return;
        }
        let now = wall_clock::now();
        let mut event = std::mem::replace(&mut self.event, AuditEvent::new(now, "", ""));
        event.time = now;
        let recorded = match self.admission.take() {
            Some(admission) => admission.record(event),
            None => self.audit.record(event),
        };
        // The trail itself counts these, and tells of them once it can.
        if let Err(full) = recorded {
            tracing::debug!(reason = %full, "a call was not recorded");
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.ended {
            // A panic, or the end of the process: whether anything was changed is not known.
            self.event.outcome = AuditOutcome::Error {
                code: "InternalFailure".to_owned(),
                message: "The call ended early.".to_owned(),
            };
            self.record();
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_aws::protocol::SERVICES;
    use serde_json::json;

    use super::*;
    use crate::audit::LookupQuery;

    fn begin(audit: &Arc<AuditLog>, service: &str, operation: &str) -> Recording {
        let service = SERVICES.iter().find(|known| known.name == service).expect("is served");
        let name = OperationName { service, operation: operation.to_owned(), protocol: service.protocol };
        let origin = Origin {
            peer: "[::ffff:127.0.0.1]:1".parse().expect("an address"),
            headers: &HeaderMap::new(),
            request_id: "r",
            presented: &Err(SignatureError::MissingAuthenticationToken),
            account_id: "123456789012",
        };
        Recording::begin(audit, false, &name, &origin)
    }

    fn recorded(audit: &AuditLog) -> Value {
        let page = audit.lookup(&LookupQuery::default()).expect("is found");
        let [event] = page.events.as_slice() else { panic!("{page:?}") };
        serde_json::from_str(&event.cloud_trail_event).expect("is JSON")
    }

    #[test]
    fn a_presigned_urls_signature_and_a_templates_parameters_are_kept_out() {
        let text = |text: &str| Document::Untyped(text.to_owned());
        let parameter = [("ParameterKey", "Db"), ("ParameterValue", "swordfish")];
        let parameter = parameter.map(|(name, value)| (name.to_owned(), text(value))).to_vec();
        let request = Document::Map(
            [("Action", "CreateStack"), ("Version", "2010-05-15"), ("StackName", "demo")]
                .into_iter()
                .chain([("X-Amz-Signature", "0123abcd"), ("x-amz-security-token", "token")])
                .map(|(name, value)| (name.to_owned(), text(value)))
                .chain([("Parameters".to_owned(), Document::List(vec![Document::Map(parameter)]))])
                .collect(),
        );
        let audit = Arc::new(AuditLog::in_memory(10));
        let mut recording = begin(&audit, "cloudformation", "CreateStack");
        recording.asks(&request);
        recording.end(&Ok(Document::empty()));
        let record = recorded(&audit);
        let hidden = "HIDDEN_DUE_TO_SECURITY_REASONS";
        assert_eq!(
            record["requestParameters"],
            json!({"StackName": "demo", "Parameters": [{"ParameterKey": "Db", "ParameterValue": hidden}]})
        );
        assert_eq!(record["sourceIPAddress"], "127.0.0.1");
    }

    #[test]
    fn a_call_that_ends_early_is_recorded_as_such() {
        let audit = Arc::new(AuditLog::in_memory(10));
        let mut recording = begin(&audit, "ecs", "CreateCluster");
        recording.admit().expect("there is room");
        drop(recording);
        let record = recorded(&audit);
        assert_eq!((&record["errorCode"], &record["readOnly"]), (&json!("InternalFailure"), &json!(false)));
    }
}
