//! What the API layer tells of a call.

use std::fmt;

use bowline_model::clock::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// One API call: who, from where, what, and how it ended. Field by field a
/// `CloudTrail` record (AWS `CloudTrail` user guide, "record contents"), which
/// recording makes of it: secrets hidden, sizes bounded.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// When the call was completed.
    pub time: Timestamp,
    /// `eventSource`: `ecs.amazonaws.com`.
    pub source: String,
    /// `eventName`: the operation, `CreateService`.
    pub name: String,
    /// `eventID`: random, unless set.
    pub id: EventId,
    /// `awsRegion`: of the request's signature.
    pub region: String,
    /// `sourceIPAddress`: the peer's address, or a service's name.
    pub source_ip_address: String,
    /// `userAgent`, as the client sent it. At most 1 KiB is kept.
    pub user_agent: Option<String>,
    /// Who called.
    pub user_identity: UserIdentity,
    /// How the call ended.
    pub outcome: AuditOutcome,
    /// The parsed request. At most 100 KiB is kept.
    pub request_parameters: Option<Value>,
    /// The response of a call that changed something. At most 100 KiB is kept.
    pub response_elements: Option<Value>,
    /// What is neither. At most 28 KiB is kept.
    pub additional_event_data: Option<Value>,
    /// `requestID`: as in the response's header.
    pub request_id: Option<String>,
    /// Whether the operation changes nothing.
    pub read_only: bool,
    /// Management (default) or data.
    pub category: EventCategory,
    /// An API call (default), or something that the service did by itself.
    pub event_type: EventType,
    /// `recipientAccountId`: whose resources these are.
    pub recipient_account_id: String,
    /// What the call was about; `ResourceType` and `ResourceName` of a lookup.
    /// The first 25 are kept.
    pub resources: Vec<AuditResource>,
    /// The connection's TLS, where it had any.
    pub tls_details: Option<TlsDetails>,
    /// Names of members of the request and the response whose values are
    /// secret, besides those that always are. Case does not matter.
    pub secret_parameters: Vec<String>,
}

impl AuditEvent {
    /// A successful management call that changed something, by nobody known;
    /// set what differs.
    pub fn new(time: Timestamp, source: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            time,
            source: source.into(),
            name: name.into(),
            id: EventId::random(),
            region: String::new(),
            source_ip_address: String::new(),
            user_agent: None,
            user_identity: UserIdentity::default(),
            outcome: AuditOutcome::Success,
            request_parameters: None,
            response_elements: None,
            additional_event_data: None,
            request_id: None,
            read_only: false,
            category: EventCategory::Management,
            event_type: EventType::AwsApiCall,
            recipient_account_id: String::new(),
            resources: Vec::new(),
            tls_details: None,
            secret_parameters: Vec::new(),
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuditOutcome {
    /// As asked.
    #[default]
    Success,
    /// With an error of the service's shape.
    Error {
        /// `errorCode`: `AccessDenied`, `ClusterNotFoundException`.
        code: String,
        /// `errorMessage`. At most 1 KiB is kept.
        message: String,
    },
}

/// `userIdentity` (AWS `CloudTrail` user guide, "userIdentity element").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentity {
    /// What kind of caller.
    #[serde(rename = "type")]
    pub kind: UserIdentityType,
    /// Its unique id: `AIDA…`, for a role `AROA…:session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// Its ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// The account that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The access key id of the signature; never the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The friendly name, of an IAM user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The service that called in the caller's stead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoked_by: Option<String>,
    /// The session, of temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_context: Option<SessionContext>,
}

/// `userIdentity.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum UserIdentityType {
    /// The account's root.
    Root,
    /// A user with credentials of its own.
    #[serde(rename = "IAMUser")]
    IamUser,
    /// Temporary credentials of a role.
    AssumedRole,
    /// Another account.
    #[serde(rename = "AWSAccount")]
    AwsAccount,
    /// A service.
    #[serde(rename = "AWSService")]
    AwsService,
    /// Not authenticated, or not to be told.
    #[default]
    Unknown,
}

/// `userIdentity.sessionContext`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionContext {
    /// Whose session: the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_issuer: Option<SessionIssuer>,
    /// When it began, and how.
    pub attributes: SessionAttributes,
}

/// `sessionContext.sessionIssuer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionIssuer {
    /// `Role`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The role's unique id.
    pub principal_id: String,
    /// The role's ARN.
    pub arn: String,
    /// The role's account.
    pub account_id: String,
    /// The role's name.
    pub user_name: String,
}

/// `sessionContext.attributes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionAttributes {
    /// When the credentials were issued.
    #[serde(serialize_with = "seconds")]
    pub creation_date: Timestamp,
    /// Whether with a second factor. AWS writes it as a string.
    #[serde(serialize_with = "quoted")]
    pub mfa_authenticated: bool,
}

fn seconds<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::time::format(*time))
}

fn quoted<S: serde::Serializer>(flag: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *flag { "true" } else { "false" })
}

/// An entry of `resources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditResource {
    /// The resource's ARN, or its name where it has none.
    #[serde(rename = "ARN")]
    pub arn: String,
    /// Its account.
    #[serde(rename = "accountId", skip_serializing_if = "String::is_empty")]
    pub account_id: String,
    /// `AWS::ECS::Service`.
    #[serde(rename = "type")]
    pub resource_type: String,
}

/// `tlsDetails`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsDetails {
    /// `TLSv1.3`.
    pub tls_version: String,
    /// `TLS_AES_128_GCM_SHA256`.
    pub cipher_suite: String,
    /// The host name that the client asked for.
    pub client_provided_host_header: String,
}

/// `eventCategory`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum EventCategory {
    /// Of resources: create, change, describe.
    #[default]
    Management,
    /// Of what is in them.
    Data,
}

/// `eventType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum EventType {
    /// Somebody called an operation.
    #[default]
    AwsApiCall,
    /// The service did it by itself.
    AwsServiceEvent,
}

/// `eventID`: a UUID, version 4 (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// A fresh one.
    pub fn random() -> Self {
        let mut bytes: [u8; 16] = crate::random::bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_4_uuid() {
        let text = EventId::random().to_string();
        let places: Vec<usize> = text.match_indices('-').map(|(place, _)| place).collect();
        assert_eq!((text.len(), places.as_slice()), (36, &[8, 13, 18, 23][..]), "{text}");
        assert_eq!(text.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
        assert_ne!(text, EventId::random().to_string());
    }
}
