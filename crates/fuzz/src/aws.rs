//! What reaches the AWS endpoint before anybody has proved who they are, and templates.

use std::fmt::Debug;

use bowline_aws::{
    cfn::{Diagnostics, Inputs, Template},
    ecs::{CreateClusterRequest, CreateServiceRequest, RegisterTaskDefinitionRequest, api},
    protocol::{
        Document, Fault, OperationName, Protocol, RequestHead, SERVICES, from_document, identify, read,
        to_document, write, write_fault,
    },
    sigv4::{ErrorFamily, Moment, Payload, Presented, Received, SecretKey, SigningKeyCache},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::request::HttpRequest;

/// The secret of AWS's documentation, which the seeds are signed with.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// When the seeds were signed: 2015-08-30T12:36:00Z.
const NOW: u64 = 1_440_938_160;

/// A request in HTTP's notation: its signature is read and verified.
///
/// What verifies does so under no other secret, and no longer when its body changes.
pub fn sigv4(input: &[u8]) {
    let Some(request) = HttpRequest::parse(input) else { return };
    let headers: Vec<(&str, &[u8])> =
        request.headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let received = Received {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: &headers,
        body: request.body,
    };
    let head = RequestHead {
        method: request.method,
        path: request.path,
        query: request.query.unwrap_or_default(),
        target: request.header("x-amz-target"),
        content_type: request.header("content-type"),
        smithy_protocol: request.header("smithy-protocol"),
        headers: &headers,
        signed_for: None,
    };
    if let Ok(name) = identify(&head, request.body) {
        let _ = read(&name, &head, request.body);
    }
    let (secret, other) = (SecretKey::new(SECRET), SecretKey::new("another"));
    let presented = match Presented::parse(&received) {
        Ok(presented) => presented,
        Err(error) => {
            let (_, status) = error.code(ErrorFamily::AwsJson);
            assert!((400..500).contains(&status), "{error}: it is the caller's fault");
            return;
        }
    };
    let moment = Moment::at(NOW);
    let verified = presented.verify(&received, &secret, moment);
    let cache = SigningKeyCache::new(2);
    for _ in 0..2 {
        assert_eq!(presented.verify_cached(&received, &secret, &cache, moment), verified);
        assert!(presented.verify_cached(&received, &other, &cache, moment).is_err(), "another's secret");
    }
    if verified.is_ok() && presented.payload != Payload::Unsigned {
        let longer = [request.body, b"x"].concat();
        let altered = Received { body: &longer, ..received };
        assert!(presented.verify(&altered, &secret, moment).is_err(), "the body is not covered");
    }
}

/// A body of awsJson.
pub fn json(input: &[u8]) {
    decode(Protocol::Json11, input);
}

/// A body of RPC v2 CBOR.
pub fn cbor(input: &[u8]) {
    decode(Protocol::Cbor, input);
}

/// A form of the query protocols.
pub fn query(input: &[u8]) {
    decode(Protocol::Query, input);
    decode(Protocol::Ec2, input);
}

fn decode(protocol: Protocol, body: &[u8]) {
    let head = RequestHead {
        method: "POST",
        path: "/",
        query: "",
        target: None,
        content_type: None,
        smithy_protocol: None,
        headers: &[],
        signed_for: None,
    };
    let _ = identify(&head, body);
    let name = OperationName { service: &SERVICES[0], operation: "Operation".into(), protocol };
    let Ok(document) = read(&name, &head, body) else { return };
    answer(protocol, &document);
    both_ways::<CreateClusterRequest>(&document);
    both_ways::<CreateServiceRequest>(&document);
    both_ways::<RegisterTaskDefinitionRequest>(&document);
    one_way::<api::UpdateServiceRequest>(&document);
    one_way::<api::RunTaskRequest>(&document);
    one_way::<api::ListServiceDeploymentsRequest>(&document);
    one_way::<api::DescribeTasksRequest>(&document);
    one_way::<api::TagResourceRequest>(&document);
}

/// Whatever can be said can be said in every protocol.
fn answer(protocol: Protocol, document: &Document) {
    for service in SERVICES {
        let name = OperationName { service, operation: "Operation".into(), protocol: service.protocol };
        let response = write(&name, "id", document);
        assert!(!response.body.is_empty());
    }
    let fault = Fault::new("InvalidParameterException", "no").with("resource", document.clone());
    let _ = write_fault(protocol, "urn:x", "id", &fault);
}

fn one_way<T: DeserializeOwned>(document: &Document) {
    if let Err(violation) = from_document::<T>(document) {
        assert!(!violation.message().is_empty());
    }
}

/// What was understood says the same when it is written and read again, in JSON and in CBOR.
fn both_ways<T: DeserializeOwned + Serialize + PartialEq + Debug>(document: &Document) {
    let value: T = match from_document(document) {
        Ok(value) => value,
        Err(violation) => {
            assert!(!violation.message().is_empty());
            return;
        }
    };
    let written = to_document(&value).expect("a shape of AWS can be written");
    for protocol in [Protocol::Json11, Protocol::Cbor] {
        let name = OperationName { service: &SERVICES[0], operation: "Operation".into(), protocol };
        let bytes = write(&name, "id", &written).body;
        let head = RequestHead {
            method: "POST",
            path: "/",
            query: "",
            target: None,
            content_type: None,
            smithy_protocol: None,
            headers: &[],
            signed_for: None,
        };
        let again = read(&name, &head, &bytes).expect("what was written can be read");
        let again: T = from_document(&again).expect("what was written fits");
        // Compared as text: of numbers, what is none differs from itself.
        assert_eq!(format!("{again:?}"), format!("{value:?}"), "in {protocol:?}");
    }
}

/// A template: read, checked, and resolved.
///
/// Every fault has its place in the text; a template without faults resolves the same twice.
pub fn cloudformation(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(faults) => return located(&faults, text),
    };
    located(&template.warnings(), text);
    let _ = (template.description(), template.parameters().count(), template.resource_types());
    let parameters = template.required_parameters().map(|name| (name.to_owned(), "1".to_owned())).collect();
    let inputs = Inputs { parameters, ..Inputs::default() };
    match (template.resolve(&inputs), template.resolve(&inputs)) {
        (Ok(first), Ok(second)) => assert_eq!(format!("{first:?}"), format!("{second:?}")),
        (Err(first), Err(second)) => {
            located(&first, text);
            assert_eq!(first.to_string(), second.to_string());
        }
        _ => panic!("it resolves once"),
    }
}

fn located(faults: &Diagnostics, text: &str) {
    assert!(faults.to_string().len() < 64 * 1024 * 1024, "{} bytes of text", text.len());
    for fault in faults.iter() {
        let _ = faults.location(fault).to_string();
        assert!(fault.line() >= 1 && fault.column() >= 1, "{fault:?}");
    }
}
