//! Which operation of which service a request is for, in which protocol, and how it is answered.

use std::borrow::Cow;

use thiserror::Error;

use super::{
    Document, Fault, cbor, encoding, json, query,
    rest::{self, NoRoute, Rest, Route},
    xml,
    xml::Dialect,
};

/// Longest body of a request: CloudFormation's templates are the largest thing that is sent (1 MB
/// from S3, 51,200 bytes inline), and doubly encoded.
pub const RECEIVED_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How requests and responses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// awsJson 1.0.
    Json10,
    /// awsJson 1.1.
    Json11,
    /// Form in, XML out.
    Query,
    /// EC2's variant of query.
    Ec2,
    /// Smithy RPC v2 CBOR.
    Cbor,
    /// restJson1: method and path name the operation.
    RestJson,
}

impl Protocol {
    /// The content type of its responses.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Json11 => "application/x-amz-json-1.1",
            Self::Query | Self::Ec2 => "text/xml",
            Self::Cbor => "application/cbor",
            Self::RestJson => "application/json",
        }
    }

    /// Whether it is one of the JSON protocols or their binary successor: their errors have other
    /// codes than the XML protocols'.
    pub fn is_json_like(self) -> bool {
        matches!(self, Self::Json10 | Self::Json11 | Self::Cbor | Self::RestJson)
    }

    /// The status of errors that every service has, where the protocol says it by the status
    /// (restJson1: 403, 404, 429) and not by the code alone, under 400.
    pub fn common_status(self, status: u16) -> u16 {
        if self == Self::RestJson { status } else { 400 }
    }
}

/// What tells a service's requests from others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceProtocol {
    /// Its name in IAM's actions and in ARNs: `ecs`.
    pub name: &'static str,
    /// Its name in SigV4's scope, in `eventSource`, before `.amazonaws.com`, and in host names. Of `CloudWatch` it
    /// is another than the name: `monitoring`.
    pub endpoint_prefix: &'static str,
    /// What precedes the operation in `X-Amz-Target`; `None` for query services and those of
    /// restJson1.
    pub target_prefix: Option<&'static str>,
    /// `Version` of query services' requests.
    pub version: &'static str,
    /// The namespace of XML answers; empty for services that have none. A service of another protocol that has
    /// one is of the query protocol too (Smithy's `awsQueryCompatible`).
    pub xml_namespace: &'static str,
    /// Its own protocol.
    pub protocol: Protocol,
    /// The code of its validation errors.
    pub validation_code: &'static str,
    /// Its operations and their bindings, for a service of restJson1: there are no others of it.
    pub rest: Option<&'static Rest>,
}

impl ServiceProtocol {
    /// In which of the query protocols it can be asked, if in any.
    fn query_protocol(&self) -> Option<Protocol> {
        match self.protocol {
            Protocol::Query | Protocol::Ec2 => Some(self.protocol),
            _ => (!self.xml_namespace.is_empty()).then_some(Protocol::Query),
        }
    }

    /// Whether it was of the query protocol before it was of its own: clients then know errors by the codes that
    /// they have in query.
    fn is_query_compatible(&self) -> bool {
        !self.xml_namespace.is_empty() && self.protocol.is_json_like()
    }
}

/// The services that are served. Source: botocore's `service-2.json` of each.
pub const SERVICES: &[ServiceProtocol] = &[
    ServiceProtocol {
        name: "ecs",
        endpoint_prefix: "ecs",
        target_prefix: Some("AmazonEC2ContainerServiceV20141113"),
        version: "2014-11-13",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "InvalidParameterException",
        rest: None,
    },
    ServiceProtocol {
        name: "servicediscovery",
        endpoint_prefix: "servicediscovery",
        target_prefix: Some("Route53AutoNaming_v20170314"),
        version: "2017-03-14",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "InvalidInput",
        rest: None,
    },
    ServiceProtocol {
        name: "secretsmanager",
        endpoint_prefix: "secretsmanager",
        target_prefix: Some("secretsmanager"),
        version: "2017-10-17",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "InvalidParameterException",
        rest: None,
    },
    ServiceProtocol {
        name: "kms",
        endpoint_prefix: "kms",
        target_prefix: Some("TrentService"),
        version: "2014-11-01",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "ValidationException",
        rest: None,
    },
    ServiceProtocol {
        name: "fis",
        endpoint_prefix: "fis",
        target_prefix: None,
        version: "2020-12-01",
        xml_namespace: "",
        protocol: Protocol::RestJson,
        validation_code: "ValidationException",
        rest: Some(&crate::fis::REST),
    },
    ServiceProtocol {
        name: "acm-pca",
        endpoint_prefix: "acm-pca",
        target_prefix: Some("ACMPrivateCA"),
        version: "2017-08-22",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "ValidationException",
        rest: None,
    },
    ServiceProtocol {
        name: "acm",
        endpoint_prefix: "acm",
        target_prefix: Some("CertificateManager"),
        version: "2015-12-08",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "ValidationException",
        rest: None,
    },
    ServiceProtocol {
        name: "cloudtrail",
        endpoint_prefix: "cloudtrail",
        target_prefix: Some("com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101"),
        version: "2013-11-01",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "InvalidParameterCombinationException",
        rest: None,
    },
    ServiceProtocol {
        name: "cloudwatch",
        endpoint_prefix: "monitoring",
        target_prefix: Some("GraniteServiceVersion20100801"),
        version: "2010-08-01",
        xml_namespace: "http://monitoring.amazonaws.com/doc/2010-08-01/",
        protocol: Protocol::Json10,
        validation_code: "ValidationError",
        rest: None,
    },
    ServiceProtocol {
        name: "xray",
        endpoint_prefix: "xray",
        target_prefix: None,
        version: "2016-04-12",
        xml_namespace: "",
        protocol: Protocol::RestJson,
        validation_code: "InvalidRequestException",
        rest: Some(&crate::xray::REST),
    },
    ServiceProtocol {
        name: "logs",
        endpoint_prefix: "logs",
        target_prefix: Some("Logs_20140328"),
        version: "2014-03-28",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "InvalidParameterException",
        rest: None,
    },
    ServiceProtocol {
        name: "application-autoscaling",
        endpoint_prefix: "application-autoscaling",
        target_prefix: Some("AnyScaleFrontendService"),
        version: "2016-02-06",
        xml_namespace: "",
        protocol: Protocol::Json11,
        validation_code: "ValidationException",
        rest: None,
    },
    ServiceProtocol {
        name: "cloudformation",
        endpoint_prefix: "cloudformation",
        target_prefix: None,
        version: "2010-05-15",
        xml_namespace: "http://cloudformation.amazonaws.com/doc/2010-05-15/",
        protocol: Protocol::Query,
        validation_code: "ValidationError",
        rest: None,
    },
    ServiceProtocol {
        name: "iam",
        endpoint_prefix: "iam",
        target_prefix: None,
        version: "2010-05-08",
        xml_namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
        protocol: Protocol::Query,
        validation_code: "ValidationError",
        rest: None,
    },
    ServiceProtocol {
        name: "sts",
        endpoint_prefix: "sts",
        target_prefix: None,
        version: "2011-06-15",
        xml_namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
        protocol: Protocol::Query,
        validation_code: "ValidationError",
        rest: None,
    },
];

/// What of an HTTP request decides the operation.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: &'a str,
    /// `X-Amz-Target`.
    pub target: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Smithy-Protocol`.
    pub smithy_protocol: Option<&'a str>,
    /// All headers: restJson1 has members in them, and its service in `host`.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The service that the signature is for, where there is one.
    pub signed_for: Option<&'a str>,
}

/// An operation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationName {
    /// The service.
    pub service: &'static ServiceProtocol,
    /// The operation, as it was asked for: nothing is known of it yet.
    pub operation: String,
    /// How it was asked, and is to be answered.
    pub protocol: Protocol,
}

impl OperationName {
    /// Where its members are, in restJson1.
    fn route(&self) -> Option<&'static Route> {
        self.service.rest?.route(&self.operation)
    }
}

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnreadableRequest {
    /// It is for no service that is served.
    #[error("{0}")]
    UnknownService(String),
    /// It is for none of the operations of a service of restJson1.
    #[error("{message}")]
    NoRoute {
        /// Why not.
        no_route: NoRoute,
        /// The service.
        service: &'static ServiceProtocol,
        /// For people.
        message: String,
    },
    /// Its body, or what else carries its members, is not of the protocol.
    #[error("{0}")]
    Body(String),
}

/// Longest name of an operation.
const OPERATION_BYTES_MAX: usize = 128;

/// Finds the service, the operation and the protocol.
///
/// # Errors
/// It is for no service that is served.
pub fn identify(head: &RequestHead<'_>, body: &[u8]) -> Result<OperationName, UnreadableRequest> {
    identify_among(SERVICES, head, body)
}

/// The same among other services than those that are served, for tests.
///
/// # Errors
/// It is for none of these services, or for no operation of the service where that is known.
pub fn identify_among(
    services: &'static [ServiceProtocol],
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<OperationName, UnreadableRequest> {
    if let Some((service, operation)) = rpc_path(head.path)
        && head.smithy_protocol == Some("rpc-v2-cbor")
    {
        let known = services.iter().find(|known| {
            known.target_prefix.map(|prefix| prefix.rsplit('.').next().unwrap_or(prefix)) == Some(service)
        });
        let service = known.ok_or_else(|| unknown(format!("there is no service {service:?} here")))?;
        return Ok(OperationName { service, operation: name(operation)?, protocol: Protocol::Cbor });
    }
    if let Some(target) = head.target {
        let (prefix, operation) = target
            .rsplit_once('.')
            .ok_or_else(|| unknown(format!("X-Amz-Target {target:?} names no operation")))?;
        let service = services.iter().find(|service| service.target_prefix == Some(prefix));
        let service = service.ok_or_else(|| unknown(format!("there is no service {prefix:?} here")))?;
        let protocol = match head.content_type {
            Some(given) if given.trim().starts_with("application/x-amz-json-1.0") => Protocol::Json10,
            _ => Protocol::Json11,
        };
        return Ok(OperationName { service, operation: name(operation)?, protocol });
    }
    if let Some(found) = rest_route(services, head) {
        return found;
    }
    // Nothing is known of the sender yet: only what names the operation is looked for, and nothing
    // is built of the rest.
    let start = encoding::start(head, body);
    let form = if head.method == "GET" { head.query.as_bytes() } else { &start };
    let [action, version] = query::values(form, ["Action", "Version"])
        .map_err(|error| UnreadableRequest::Body(error.to_owned()))?;
    let Some(operation) = action.as_deref() else {
        return Err(unknown("the request names no operation: X-Amz-Target or Action is needed".into()));
    };
    let of_query =
        || services.iter().filter_map(|service| service.query_protocol().map(|protocol| (service, protocol)));
    let service = head
        .signed_for
        .and_then(|signed| of_query().find(|(service, _)| service.endpoint_prefix == signed))
        .or_else(|| of_query().find(|(service, _)| version.as_deref() == Some(service.version)));
    let (service, protocol) =
        service.ok_or_else(|| unknown(format!("there is no service with the action {operation:?} here")))?;
    Ok(OperationName { service, operation: name(operation)?, protocol })
}

/// The operation of restJson1 that a request is for; `None` where it is for no service of that
/// protocol. The service is that of the signature, or, without one, that whose endpoint the host is
/// called after. Services may share a signature's name (both of API Gateway's do), but no path.
fn rest_route(
    services: &'static [ServiceProtocol],
    head: &RequestHead<'_>,
) -> Option<Result<OperationName, UnreadableRequest>> {
    let host = head.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, host)| *host);
    let is_at = |host: &[u8], prefix: &str| {
        host.split_at_checked(prefix.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(prefix.as_bytes()) && rest.starts_with(b".")
        })
    };
    let mut missed = None::<(NoRoute, &ServiceProtocol)>;
    for service in services {
        let meant = match (head.signed_for, host) {
            (Some(signed), _) => signed == service.endpoint_prefix,
            (None, Some(host)) => is_at(host, service.endpoint_prefix),
            (None, None) => false,
        };
        let Some(rest) = service.rest.filter(|_| meant) else { continue };
        match rest.find(head.method, head.path, head.query) {
            Ok(route) => {
                let operation = route.operation.to_owned();
                return Some(Ok(OperationName { service, operation, protocol: Protocol::RestJson }));
            }
            // That the path is known says more than that it is not.
            Err(no_route) if missed.as_ref().is_none_or(|(before, _)| before.allowed.is_empty()) => {
                missed = Some((no_route, service));
            }
            Err(_) => {}
        }
    }
    missed.map(|(no_route, service)| {
        let path: String = head.path.chars().take(200).collect();
        let method: String = head.method.chars().take(20).collect();
        let message = format!("there is no operation {method} {path:?} of {} here", service.name);
        Err(UnreadableRequest::NoRoute { no_route, service, message })
    })
}

fn unknown(message: String) -> UnreadableRequest {
    UnreadableRequest::UnknownService(message.chars().take(300).collect())
}

fn name(operation: &str) -> Result<String, UnreadableRequest> {
    let well_formed = !operation.is_empty()
        && operation.len() <= OPERATION_BYTES_MAX
        && operation.bytes().all(|byte| byte.is_ascii_alphanumeric());
    well_formed
        .then(|| operation.to_owned())
        .ok_or_else(|| unknown(format!("{operation:?} is no name of an operation")))
}

/// `/service/NAME/operation/NAME`.
fn rpc_path(path: &str) -> Option<(&str, &str)> {
    let rest = &path[path.rfind("/service/")? + "/service/".len()..];
    rest.split_once("/operation/")
}

/// Reads a request's parameters.
///
/// # Errors
/// The body, or what else carries the request's members, is not of the protocol.
pub fn read(
    operation: &OperationName,
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<Document, UnreadableRequest> {
    match operation.protocol {
        Protocol::Json10 | Protocol::Json11 => json::parse(body)
            .map_err(|error| UnreadableRequest::Body(format!("the body is no JSON: {error}"))),
        Protocol::Cbor => cbor::parse(body)
            .map_err(|error| UnreadableRequest::Body(format!("the body is no CBOR: {error}"))),
        Protocol::Query | Protocol::Ec2 => {
            let form = if head.method == "GET" { head.query.as_bytes() } else { body };
            query::parse(form).map_err(|error| UnreadableRequest::Body(error.to_owned()))
        }
        Protocol::RestJson => match operation.route() {
            Some(route) => rest::read(route, head, body).map_err(UnreadableRequest::Body),
            None => Err(unknown(format!("there is no operation {:?} here", operation.operation))),
        },
    }
}

/// A response as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides `x-amzn-requestid`.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Writes the answer of an operation that succeeded.
pub fn write(operation: &OperationName, request_id: &str, document: &Document) -> Response {
    let body = match operation.protocol {
        Protocol::Json10 | Protocol::Json11 => json::write(document),
        Protocol::Cbor => cbor::write(document),
        Protocol::RestJson => match operation.route() {
            Some(route) => return rest::write(route, document),
            None => json::write(document),
        },
        Protocol::Query => {
            let name = &operation.operation;
            let mut out =
                format!("<{name}Response xmlns=\"{}\"><{name}Result>", operation.service.xml_namespace);
            xml::content(&mut out, document, Dialect::Query);
            out.push_str(&format!("</{name}Result><ResponseMetadata><RequestId>"));
            xml::escape(&mut out, request_id);
            out.push_str(&format!("</RequestId></ResponseMetadata></{name}Response>"));
            out.into_bytes()
        }
        Protocol::Ec2 => {
            let name = &operation.operation;
            let mut out =
                format!("<{name}Response xmlns=\"{}\"><requestId>", operation.service.xml_namespace);
            xml::escape(&mut out, request_id);
            out.push_str("</requestId>");
            xml::content(&mut out, document, Dialect::Ec2);
            out.push_str(&format!("</{name}Response>"));
            out.into_bytes()
        }
    };
    Response { status: 200, headers: headers(operation.protocol), body }
}

fn headers(protocol: Protocol) -> Vec<(Cow<'static, str>, String)> {
    let mut headers = vec![(Cow::Borrowed("content-type"), protocol.content_type().to_owned())];
    if protocol == Protocol::Cbor {
        headers.push((Cow::Borrowed("smithy-protocol"), "rpc-v2-cbor".to_owned()));
    }
    headers
}

/// Writes the error of an operation, in the form of its service.
pub fn write_fault_of(operation: &OperationName, request_id: &str, fault: &Fault) -> Response {
    match (operation.protocol, operation.service.rest) {
        (Protocol::RestJson, Some(rest)) => rest::write_fault(rest, fault),
        (protocol, _) => {
            let mut response = write_fault(protocol, operation.service.xml_namespace, request_id, fault);
            if protocol.is_json_like() && operation.service.is_query_compatible() {
                let code = fault.query_code.as_deref().unwrap_or(&fault.code);
                let query_error = format!("{code};{}", fault.blame().as_str());
                response.headers.push((Cow::Borrowed("x-amzn-query-error"), query_error));
            }
            response
        }
    }
}

/// Writes the answer to a request that cannot be read; `protocol` is that of one for no service
/// that is known.
pub fn write_unreadable(protocol: Protocol, request_id: &str, error: &UnreadableRequest) -> Response {
    let fault = |code| Fault::new(code, error.to_string());
    match (error, protocol) {
        (UnreadableRequest::NoRoute { no_route, service, .. }, _) => {
            let fault = fault("UnknownOperationException").with_status(no_route.status());
            let mut response = rest::write_fault(service.rest.unwrap_or(&Rest::EMPTY), &fault);
            if !no_route.allowed.is_empty() {
                // RFC 9110 §15.5.6 asks for it.
                response.headers.push((Cow::Borrowed("allow"), no_route.allowed.join(", ")));
            }
            response
        }
        (UnreadableRequest::Body(_), _) => {
            write_fault(protocol, "", request_id, &fault("SerializationException"))
        }
        (UnreadableRequest::UnknownService(_), Protocol::Query | Protocol::Ec2) => {
            write_fault(protocol, "", request_id, &fault("InvalidAction"))
        }
        (UnreadableRequest::UnknownService(_), _) => {
            write_fault(protocol, "", request_id, &fault("UnknownOperationException"))
        }
    }
}

/// Writes an error in the protocol's own form.
pub fn write_fault(protocol: Protocol, xml_namespace: &str, request_id: &str, fault: &Fault) -> Response {
    let mut headers = headers(protocol);
    headers.extend(fault.retry_after.map(|seconds| (Cow::Borrowed("retry-after"), seconds.to_string())));
    let body = match protocol {
        Protocol::RestJson => return rest::write_fault(&Rest::EMPTY, fault),
        Protocol::Json10 | Protocol::Json11 | Protocol::Cbor => {
            let mut members = vec![
                ("__type".to_owned(), Document::Text(fault.code.clone())),
                ("message".to_owned(), Document::Text(fault.message.clone())),
            ];
            members.extend(fault.members.iter().cloned());
            let document = Document::Map(members);
            if protocol == Protocol::Cbor {
                cbor::write(&document)
            } else {
                headers.push((Cow::Borrowed("x-amzn-errortype"), fault.code.clone()));
                json::write(&document)
            }
        }
        Protocol::Query | Protocol::Ec2 => {
            let code = fault.query_code.as_deref().unwrap_or(&fault.code);
            let blame = fault.blame().as_str();
            let mut error = String::new();
            if protocol == Protocol::Query {
                error.push_str(&format!("<Type>{blame}</Type>"));
            }
            error.push_str("<Code>");
            xml::escape(&mut error, code);
            error.push_str("</Code><Message>");
            xml::escape(&mut error, &fault.message);
            error.push_str("</Message>");
            for (name, value) in &fault.members {
                xml::element(&mut error, name, value, Dialect::Query);
            }
            let mut id = String::new();
            xml::escape(&mut id, request_id);
            match protocol {
                Protocol::Ec2 => format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>{error}</Error></Errors>\
                     <RequestID>{id}</RequestID></Response>"
                ),
                _ => format!(
                    "<ErrorResponse xmlns=\"{xml_namespace}\"><Error>{error}</Error><RequestId>{id}</RequestId>\
                     </ErrorResponse>"
                ),
            }
            .into_bytes()
        }
    };
    Response { status: fault.status, headers, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>() -> RequestHead<'a> {
        RequestHead {
            method: "POST",
            path: "/",
            query: "",
            target: None,
            content_type: None,
            smithy_protocol: None,
            headers: &[],
            signed_for: None,
        }
    }

    #[test]
    fn finds_json_query_and_cbor_operations() {
        let target = Some("AmazonEC2ContainerServiceV20141113.ListClusters");
        let found = identify(&RequestHead { target, ..head() }, b"{}").expect("known");
        assert_eq!(
            (found.service.name, found.operation.as_str(), found.protocol),
            ("ecs", "ListClusters", Protocol::Json11)
        );

        let body = b"Action=GetCallerIdentity&Version=2011-06-15";
        let found = identify(&head(), body).expect("known");
        assert_eq!((found.service.name, found.protocol), ("sts", Protocol::Query));
        let signed = RequestHead { signed_for: Some("iam"), ..head() };
        assert_eq!(identify(&signed, b"Action=ListRoles").expect("by the signature").service.name, "iam");

        let rpc = RequestHead {
            path: "/service/AmazonEC2ContainerServiceV20141113/operation/ListClusters",
            smithy_protocol: Some("rpc-v2-cbor"),
            ..head()
        };
        assert_eq!(identify(&rpc, b"").expect("known").protocol, Protocol::Cbor);
    }

    #[test]
    fn a_service_that_was_of_query_is_of_it_still() {
        let path = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
        let cbor = RequestHead { path, smithy_protocol: Some("rpc-v2-cbor"), ..head() };
        let target = Some("GraniteServiceVersion20100801.ListMetrics");
        let json = RequestHead { target, content_type: Some("application/x-amz-json-1.0"), ..head() };
        let query = b"Action=ListMetrics&Version=2010-08-01";
        let signed = RequestHead { signed_for: Some("monitoring"), ..head() };
        for (head, body, protocol) in [
            (&cbor, &b""[..], Protocol::Cbor),
            (&json, b"{}", Protocol::Json10),
            (&head(), query, Protocol::Query),
            (&signed, b"Action=ListMetrics", Protocol::Query),
        ] {
            let found = identify(head, body).expect("known");
            let told = (found.service.name, found.operation.as_str(), found.protocol);
            assert_eq!(told, ("cloudwatch", "ListMetrics", protocol));
            let mut fault = Fault::new("InvalidParameterValueException", "No.");
            fault.query_code = Some("InvalidParameterValue".into());
            let answer = write_fault_of(&found, "id", &fault);
            let header = answer.headers.iter().find(|(name, _)| name == "x-amzn-query-error");
            let code = header.map(|(_, code)| code.as_str());
            let as_query = protocol == Protocol::Query;
            assert_eq!(code, (!as_query).then_some("InvalidParameterValue;Sender"));
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(text.contains("<Code>InvalidParameterValue</Code>"), as_query, "{text}");
        }
        let ecs = RequestHead { target: Some("AmazonEC2ContainerServiceV20141113.X"), ..head() };
        let answer = write_fault_of(&identify(&ecs, b"").expect("known"), "id", &Fault::new("A", "B"));
        assert!(answer.headers.iter().all(|(name, _)| name != "x-amzn-query-error"));
    }

    #[test]
    fn refuses_what_is_not_served() {
        let target = |target| identify(&RequestHead { target: Some(target), ..head() }, b"");
        assert!(target("DynamoDB_20120810.ListTables").is_err());
        assert!(target("AmazonEC2ContainerServiceV20141113.<script>").is_err());
        assert!(target("nothing").is_err());
        assert!(identify(&head(), b"").is_err());
    }

    #[test]
    fn writes_faults_in_each_form() {
        let fault = Fault::new("ClusterNotFoundException", "Cluster not found.");
        let json = write_fault(Protocol::Json11, "", "id", &fault);
        assert_eq!(json.body, br#"{"__type":"ClusterNotFoundException","message":"Cluster not found."}"#);
        let query = write_fault(Protocol::Query, "urn:x", "id", &fault);
        let body = String::from_utf8(query.body).expect("text");
        assert!(body.contains("<Type>Sender</Type><Code>ClusterNotFoundException</Code>"), "{body}");
    }
}
