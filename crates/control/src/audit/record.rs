//! An event becomes the JSON of a `CloudTrail` record: redacted and bounded.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Value, json};

use super::event::{
    AuditEvent, AuditOutcome, AuditResource, EventCategory, EventType, SessionContext, TlsDetails,
    UserIdentity,
};
use super::redact::Redactor;
use super::time;

/// `eventVersion`.
const VERSION: &str = "1.10";
/// The most bytes of `requestParameters` and of `responseElements`.
const PARAMETERS_BYTES_MAX: usize = 100 * 1024;
/// The most bytes of `additionalEventData`.
const ADDITIONAL_BYTES_MAX: usize = 28 * 1024;
/// The most bytes of `userAgent` and `errorMessage`.
const MESSAGE_BYTES_MAX: usize = 1024;
/// The most bytes of any other text; an ARN has at most 2048 characters.
const TEXT_BYTES_MAX: usize = 2048;
/// The most `resources`.
const RESOURCES_MAX: usize = 25;
/// The most bytes of a whole record, as of a `CloudTrail` event.
pub(super) const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Texts are cut to these lengths in turn until a value fits.
const CUTS: &[usize] = &[4096, 1024, 256];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_version: &'static str,
    user_identity: UserIdentity,
    event_time: String,
    event_source: String,
    event_name: String,
    aws_region: String,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    request_parameters: Value,
    response_elements: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    additional_event_data: Value,
    #[serde(rename = "requestID", skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(rename = "eventID")]
    event_id: String,
    read_only: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<AuditResource>,
    event_type: EventType,
    management_event: bool,
    recipient_account_id: String,
    event_category: EventCategory,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_details: Option<TlsDetails>,
}

/// A record as it goes into the trail: one line of JSON without its newline,
/// of at most [`RECORD_BYTES_MAX`].
pub(super) struct RecordText {
    /// `eventTime`, as written.
    pub(super) time: String,
    pub(super) json: Vec<u8>,
}

impl RecordText {
    pub(super) fn of(event: AuditEvent) -> Self {
        let mut redactor = Redactor::new(&event.secret_parameters);
        let mut prepare = |value: Option<Value>, bytes_max| {
            let mut value = value.unwrap_or_default();
            redactor.redact(&mut value);
            bounded(value, bytes_max)
        };
        let request = prepare(event.request_parameters, PARAMETERS_BYTES_MAX);
        let response = prepare(event.response_elements, PARAMETERS_BYTES_MAX);
        let additional = prepare(event.additional_event_data, ADDITIONAL_BYTES_MAX);
        let (code, message) = match event.outcome {
            AuditOutcome::Success => (None, None),
            AuditOutcome::Error { code, message } => (
                Some(cut(code, TEXT_BYTES_MAX)),
                Some(cut(redactor.redact_text(&message), MESSAGE_BYTES_MAX)),
            ),
        };
        let mut resources = event.resources;
        resources.truncate(RESOURCES_MAX);
        for resource in &mut resources {
            for text in [&mut resource.arn, &mut resource.account_id, &mut resource.resource_type] {
                cut_in_place(text, TEXT_BYTES_MAX);
            }
        }
        let mut record = Record {
            event_version: VERSION,
            user_identity: bounded_identity(event.user_identity),
            event_time: time::format(event.time),
            event_source: cut(event.source, TEXT_BYTES_MAX),
            event_name: cut(event.name, TEXT_BYTES_MAX),
            aws_region: cut(event.region, TEXT_BYTES_MAX),
            source_ip_address: cut(event.source_ip_address, TEXT_BYTES_MAX),
            user_agent: event.user_agent.map(|agent| cut(redactor.redact_text(&agent), MESSAGE_BYTES_MAX)),
            error_code: code,
            error_message: message,
            request_parameters: request,
            response_elements: response,
            additional_event_data: additional,
            request_id: event.request_id.map(|id| cut(id, TEXT_BYTES_MAX)),
            event_id: event.id.to_string(),
            read_only: event.read_only,
            resources,
            event_type: event.event_type,
            management_event: event.category == EventCategory::Management,
            recipient_account_id: cut(event.recipient_account_id, TEXT_BYTES_MAX),
            event_category: event.category,
            tls_details: event.tls_details.map(bounded_tls),
        };
        let mut json = to_json(&record);
        if json.len() > RECORD_BYTES_MAX {
            // Every part is within its own limit; together they are not. What
            // was asked tells more than what was answered.
            record.response_elements = omitted(size(&record.response_elements));
            json = to_json(&record);
        }
        if json.len() > RECORD_BYTES_MAX {
            record.request_parameters = omitted(size(&record.request_parameters));
            json = to_json(&record);
        }
        Self { time: record.event_time, json }
    }
}

fn bounded_identity(mut identity: UserIdentity) -> UserIdentity {
    let texts = [
        &mut identity.principal_id,
        &mut identity.arn,
        &mut identity.account_id,
        &mut identity.access_key_id,
        &mut identity.user_name,
        &mut identity.invoked_by,
    ];
    texts.into_iter().flatten().for_each(|text| cut_in_place(text, TEXT_BYTES_MAX));
    if let Some(SessionContext { session_issuer: Some(issuer), .. }) = &mut identity.session_context {
        for text in [
            &mut issuer.kind,
            &mut issuer.principal_id,
            &mut issuer.arn,
            &mut issuer.account_id,
            &mut issuer.user_name,
        ] {
            cut_in_place(text, TEXT_BYTES_MAX);
        }
    }
    identity
}

fn bounded_tls(mut details: TlsDetails) -> TlsDetails {
    for text in
        [&mut details.tls_version, &mut details.cipher_suite, &mut details.client_provided_host_header]
    {
        cut_in_place(text, TEXT_BYTES_MAX);
    }
    details
}

/// The value, with its long texts cut until it fits; if nothing helps, a mark
/// in its place.
fn bounded(mut value: Value, bytes_max: usize) -> Value {
    let original = size(&value);
    if original <= bytes_max {
        return value;
    }
    for &length in CUTS {
        cut_texts(&mut value, length);
        if size(&value) <= bytes_max {
            return value;
        }
    }
    omitted(original)
}

fn omitted(original: usize) -> Value {
    json!({"omitted": true, "originalSize": original, "reason": "field_too_large"})
}

fn cut_texts(value: &mut Value, bytes_max: usize) {
    match value {
        Value::String(text) => cut_in_place(text, bytes_max),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, bytes_max)),
        Value::Object(members) => members.values_mut().for_each(|member| cut_texts(member, bytes_max)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    cut_in_place(&mut text, bytes_max);
    text
}

/// Cuts a text that is longer than this as JSON, and says so within it.
fn cut_in_place(text: &mut String, bytes_max: usize) {
    const MARK_BYTES: usize = "… (cut, of 18446744073709551615 bytes)".len();
    let mut fits = 0;
    let mut bytes = 0;
    for (at, c) in text.char_indices() {
        bytes += escaped_len(c);
        if bytes > bytes_max {
            let mark = format!("… (cut, of {} bytes)", text.len());
            text.truncate(fits);
            text.push_str(&mark);
            return;
        }
        if bytes + MARK_BYTES <= bytes_max {
            fits = at + c.len_utf8();
        }
    }
}

/// Bytes of the character in JSON, at most.
fn escaped_len(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if needs_escape(c) || c.is_control() => 6,
        c => c.len_utf8(),
    }
}

fn size(value: &Value) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    write_json(&mut counter, value);
    counter.0
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(1024);
    write_json(&mut json, value);
    json
}

fn write_json(writer: impl io::Write, value: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(writer, OneSafeLine);
    value.serialize(&mut serializer).expect("keys are strings, and the writer is memory");
}

/// JSON on one line that a terminal can be shown: besides the control
/// characters of ASCII, those of Unicode are escaped.
struct OneSafeLine;

impl Formatter for OneSafeLine {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (at, c) in fragment.char_indices().filter(|&(_, c)| needs_escape(c)) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            written = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

/// What `serde_json` leaves as it is and a terminal or a pager may act on:
/// DEL, the C1 controls, separators of lines, and changes of direction.
fn needs_escape(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use bowline_model::clock::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::audit::event::{SessionAttributes, SessionIssuer, UserIdentityType};

    fn event() -> AuditEvent {
        AuditEvent::new(Timestamp::from_secs(1_795_245_143), "ecs.amazonaws.com", "CreateService")
    }

    fn parsed(event: AuditEvent) -> Value {
        let text = RecordText::of(event);
        assert!(text.json.len() <= RECORD_BYTES_MAX, "{} bytes", text.json.len());
        serde_json::from_slice(&text.json).expect("is JSON")
    }

    #[test]
    fn has_the_fields_of_cloudtrail() {
        let mut event = event();
        event.region = "eu-central-1".into();
        event.source_ip_address = "127.0.0.1".into();
        event.user_agent = Some("aws-cli/2".into());
        event.user_identity = UserIdentity {
            kind: UserIdentityType::AssumedRole,
            principal_id: Some("AROAX:ci".into()),
            arn: Some("arn:aws:sts::000000000000:assumed-role/deploy/ci".into()),
            account_id: Some("000000000000".into()),
            access_key_id: Some("ASIAX".into()),
            session_context: Some(SessionContext {
                session_issuer: Some(SessionIssuer {
                    kind: "Role".into(),
                    principal_id: "AROAX".into(),
                    arn: "arn:aws:iam::000000000000:role/deploy".into(),
                    account_id: "000000000000".into(),
                    user_name: "deploy".into(),
                }),
                attributes: SessionAttributes {
                    creation_date: Timestamp::from_secs(1_795_245_000),
                    mfa_authenticated: false,
                },
            }),
            ..UserIdentity::default()
        };
        event.outcome = AuditOutcome::Error { code: "AccessDenied".into(), message: "no".into() };
        event.request_parameters = Some(json!({"serviceName": "a"}));
        event.request_id = Some("r-1".into());
        event.recipient_account_id = "000000000000".into();
        event.resources = vec![AuditResource {
            arn: "arn:aws:ecs:eu-central-1:000000000000:service/c/a".into(),
            account_id: "000000000000".into(),
            resource_type: "AWS::ECS::Service".into(),
        }];
        let id = event.id.to_string();
        assert_eq!(
            parsed(event),
            json!({
                "eventVersion": "1.10",
                "userIdentity": {
                    "type": "AssumedRole", "principalId": "AROAX:ci",
                    "arn": "arn:aws:sts::000000000000:assumed-role/deploy/ci", "accountId": "000000000000",
                    "accessKeyId": "ASIAX",
                    "sessionContext": {
                        "sessionIssuer": {"type": "Role", "principalId": "AROAX",
                            "arn": "arn:aws:iam::000000000000:role/deploy", "accountId": "000000000000",
                            "userName": "deploy"},
                        "attributes": {"creationDate": "2026-11-21T07:10:00Z", "mfaAuthenticated": "false"},
                    },
                },
                "eventTime": "2026-11-21T07:12:23Z", "eventSource": "ecs.amazonaws.com",
                "eventName": "CreateService", "awsRegion": "eu-central-1", "sourceIPAddress": "127.0.0.1",
                "userAgent": "aws-cli/2", "errorCode": "AccessDenied", "errorMessage": "no",
                "requestParameters": {"serviceName": "a"}, "responseElements": null, "requestID": "r-1",
                "eventID": id, "readOnly": false,
                "resources": [{"ARN": "arn:aws:ecs:eu-central-1:000000000000:service/c/a",
                    "accountId": "000000000000", "type": "AWS::ECS::Service"}],
                "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "000000000000",
                "eventCategory": "Management",
            })
        );
    }

    #[test]
    fn long_texts_are_cut_with_a_mark_and_what_stays_too_long_is_omitted() {
        let mut one = event();
        one.request_parameters = Some(json!({"name": "a", "document": "é".repeat(200_000)}));
        one.user_agent = Some("\u{1}".repeat(5000));
        let record = parsed(one);
        assert_eq!(record["requestParameters"]["name"], "a");
        let document = record["requestParameters"]["document"].as_str().expect("is text");
        assert!(document.ends_with("é… (cut, of 400000 bytes)") && document.len() <= 4096, "{document}");
        let agent = &record["userAgent"];
        assert!(
            agent.to_string().len() <= 1024 + 2
                && agent.as_str().is_some_and(|text| text.contains("(cut, of 5000"))
        );

        let mut many = event();
        many.request_parameters = Some(Value::Array(vec![json!(1); 200_000]));
        assert_eq!(
            parsed(many)["requestParameters"],
            json!({"omitted": true, "originalSize": 400_001, "reason": "field_too_large"})
        );

        let full = |bytes: usize| Some(Value::Array(vec![json!("x".repeat(90)); bytes / 93]));
        let mut large = event();
        (large.request_parameters, large.response_elements) = (full(99 * 1024), full(99 * 1024));
        large.additional_event_data = full(27 * 1024);
        large.resources = vec![
            AuditResource {
                arn: "\n".repeat(9999),
                account_id: String::new(),
                resource_type: "x".repeat(9999)
            };
            99
        ];
        let record = parsed(large);
        assert_eq!(record["responseElements"]["omitted"], true);
        assert!(record["requestParameters"].is_array());
        assert_eq!(record["resources"].as_array().map(Vec::len), Some(25));
    }

    #[test]
    fn a_secret_of_the_request_is_hidden_in_the_error_message() {
        let mut event = event();
        event.request_parameters = Some(json!({"Own": "hunter2"}));
        event.secret_parameters = vec!["own".into()];
        event.outcome = AuditOutcome::Error { code: "Bad".into(), message: "hunter2 is short".into() };
        let text = RecordText::of(event);
        assert!(!String::from_utf8_lossy(&text.json).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_without_control_characters(text in any::<String>(), long in 0_usize..4000) {
            let mut event = event();
            event.name.clone_from(&text);
            event.user_agent = Some(text.repeat(1 + long / (text.len() + 1)));
            event.request_parameters = Some(json!({"a": text.clone()}));
            let written = String::from_utf8(RecordText::of(event).json).expect("is UTF-8");
            prop_assert!(!written.chars().any(|c| c.is_control() || needs_escape(c)), "{:?}", written);
            let record: Value = serde_json::from_str(&written).expect("is JSON");
            if !text.trim_start().starts_with(['{', '[', '"']) {
                prop_assert_eq!(record["requestParameters"]["a"].as_str(), Some(text.as_str()));
            }
        }
    }
}
