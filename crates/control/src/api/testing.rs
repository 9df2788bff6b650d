//! For tests: the endpoint without a socket, and signed requests to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_aws::{
    protocol::{Response, SERVICES, ServiceProtocol, rest::Route},
    sigv4::{AmzDate, Credentials as SigningCredentials, Received, SecretKey, Signing, sign},
};
use bowline_model::arn::Scope;
use bowline_observe::{
    logs::{LogLimits, LogStore},
    metrics::{MetricLimits, MetricStore},
    traces::{TraceLimits, TraceStore},
};
use bowline_plumbing::wall_clock;
use bytes::Bytes;

use super::{
    authentication::Authentication,
    authorization::{AuthorizationMode, Authorizer},
    connection::Peer,
    limits::Limits,
    server::{Api, respond},
};
use crate::{
    audit::AuditLog,
    authorities::Authorities,
    core::{Core, Kept},
    credentials::Credentials,
    master_key::MasterKey,
    otlp::{Otlp, OtlpConfig},
    publish::PublishOptions,
    registry::{Registry, RegistryError, RegistryWriter, SETTINGS, Settings},
    store::EmbeddedStore,
};

/// What requests are signed with: id, secret, token.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl Keys {
    pub(crate) fn root() -> Self {
        Self { id: "test".into(), secret: "test".into(), token: None }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// `x-amzn-errortype`: where restJson1 has an error's code.
    error_type: Option<String>,
}

impl Answer {
    /// The text of the first XML element of this name.
    pub(crate) fn element(&self, name: &str) -> String {
        let (start, end) = (format!("<{name}>"), format!("</{name}>"));
        let from =
            self.body.find(&start).unwrap_or_else(|| panic!("no {name} in {}", self.body)) + start.len();
        let to = self.body[from..].find(&end).unwrap_or_else(|| panic!("{name} has no end")) + from;
        self.body[from..to].to_owned()
    }

    /// The error's code; empty for a success.
    pub(crate) fn code(&self) -> String {
        if self.status == 200 {
            return String::new();
        }
        if let Some(code) = &self.error_type {
            return code.clone();
        }
        match serde_json::from_str::<serde_json::Value>(&self.body) {
            Ok(json) => json["__type"].as_str().unwrap_or_default().to_owned(),
            Err(_) => self.element("Code"),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }

    #[track_caller]
    pub(crate) fn refused(self, code: &str, status: u16) -> Self {
        assert_eq!((self.code().as_str(), self.status), (code, status), "{}", self.body);
        self
    }
}

/// A control plane without loops and servers, and the directory of its key.
pub(crate) fn core_in_memory(mode: AuthorizationMode) -> (Arc<Core>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::in_memory().expect("memory");
    let writer = RegistryWriter::load(Arc::new(store)).expect("an empty store");
    writer
        .change::<_, RegistryError>(|registry| {
            let settings = Settings { scope: Scope::default(), ..Settings::default() };
            registry.settings.put(SETTINGS, settings);
            Ok(())
        })
        .expect("writes");
    let key = Arc::new(MasterKey::load_or_create(dir.path(), false).expect("a key"));
    let authorities = Authorities::open(&writer, Arc::clone(&key), wall_clock::now()).expect("authorities");
    let metrics =
        MetricStore::open(&dir.path().join("metrics"), MetricLimits::default(), Arc::new(wall_clock::now))
            .expect("metrics");
    let metrics = Arc::new(metrics);
    let logs = LogStore::open(
        &dir.path().join("logs"),
        LogLimits::default(),
        Arc::new(wall_clock::now),
        Some(Arc::clone(&metrics) as _),
    );
    let logs = Arc::new(logs.expect("logs"));
    let traces =
        TraceStore::open(&dir.path().join("traces"), TraceLimits::default(), Arc::new(wall_clock::now))
            .expect("traces");
    let audit = Arc::new(AuditLog::in_memory(1_000));
    let core = Arc::new(Core::new(
        writer,
        authorities,
        Kept {
            audit,
            metrics,
            logs,
            traces: Arc::new(traces),
            otlp: Arc::new(Otlp::new(OtlpConfig::default())),
        },
        Credentials::new(key),
        Authorizer::new(mode),
        Duration::from_secs(3600),
        PublishOptions::default(),
    ));
    (core, dir)
}

fn api_of(core: Arc<Core>, local: bool) -> Api {
    Api {
        core,
        authentication: Authentication::new(local),
        resettable: false,
        audit_data_events: false,
        limits: Limits::new(local, Instant::now()),
        dashboard: None,
    }
}

pub(crate) struct TestApi {
    pub(crate) api: Arc<Api>,
    tls: bool,
    pub(crate) dir: tempfile::TempDir,
}

impl TestApi {
    pub(crate) fn new(mode: AuthorizationMode) -> Self {
        let (core, dir) = core_in_memory(mode);
        Self { api: Arc::new(api_of(core, true)), tls: false, dir }
    }

    /// One of a control plane that runs.
    pub(crate) fn of(core: Arc<Core>, dir: tempfile::TempDir) -> Self {
        Self { api: Arc::new(api_of(core, true)), tls: false, dir }
    }

    /// One that others than this machine can reach, and reach by TLS.
    pub(crate) fn open_to_others(mode: AuthorizationMode) -> Self {
        let (core, dir) = core_in_memory(mode);
        Self { api: Arc::new(api_of(core, false)), tls: true, dir }
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.api.core.registry()
    }

    /// A call of a query service with these parameters.
    pub(crate) async fn query(
        &self,
        keys: &Keys,
        service: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Answer {
        let mut form = format!("Action={action}&Version={}", protocol_of(service).version);
        for (name, value) in parameters {
            form.push_str(&format!("&{name}={}", crate::iam::document::percent_encoded(value)));
        }
        self.send(Some(keys), service, action, form, wall_clock::now().as_secs()).await
    }

    /// A call of a JSON service.
    pub(crate) async fn json(
        &self,
        keys: &Keys,
        service: &str,
        action: &str,
        body: serde_json::Value,
    ) -> Answer {
        self.send(Some(keys), service, action, body.to_string(), wall_clock::now().as_secs()).await
    }

    /// A request as it is, signed at `at` if there are keys.
    pub(crate) async fn send(
        &self,
        keys: Option<&Keys>,
        service: &str,
        action: &str,
        body: String,
        at: u64,
    ) -> Answer {
        let protocol = protocol_of(service);
        let route = protocol.rest.map(|rest| rest.route(action).expect("an operation that is served"));
        // Without a signature the host tells which service of restJson1 is meant.
        let host = match route {
            Some(_) => format!("{}.us-east-1.amazonaws.com", protocol.endpoint_prefix),
            None => "127.0.0.1".to_owned(),
        };
        let (method, path) = route.map_or(("POST", "/".to_owned()), |route| target(route, &body));
        let mut headers = vec![("host", host)];
        match protocol.target_prefix {
            Some(prefix) => {
                headers.push(("content-type", "application/x-amz-json-1.1".to_owned()));
                headers.push(("x-amz-target", format!("{prefix}.{action}")));
            }
            None if route.is_some() => headers.push(("content-type", "application/json".to_owned())),
            None => headers.push(("content-type", "application/x-www-form-urlencoded".to_owned())),
        }
        if let Some(keys) = keys {
            let present: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let received =
                Received { method, path: &path, query: None, headers: &present, body: body.as_bytes() };
            let credentials = SigningCredentials {
                access_key_id: keys.id.clone(),
                secret: SecretKey::new(keys.secret.as_str()),
                session_token: keys.token.clone(),
            };
            let at = AmzDate::from_secs(at);
            let service = protocol.endpoint_prefix;
            let signing = Signing { region: "us-east-1", service, at, unsigned_payload: false };
            headers.extend(sign(&received, &credentials, &signing).expect("it can be signed"));
        }
        let mut request = http::Request::builder().method(method).uri(&*path);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let peer = Peer { address: "127.0.0.1:50000".parse().expect("an address"), tls: self.tls };
        let Response { status, body, headers } =
            respond(&self.api, peer, &parts, Ok(Bytes::from(body)), "id").await;
        let error_type = headers.into_iter().find(|(name, _)| name == "x-amzn-errortype");
        let error_type = error_type.map(|(_, code)| code);
        Answer { status, body: String::from_utf8(body).expect("text"), error_type }
    }

    /// A new user with these inline policies, and a key of its own.
    pub(crate) async fn user(&self, name: &str, policies: &[&str]) -> Keys {
        let root = Keys::root();
        self.query(&root, "iam", "CreateUser", &[("UserName", name)]).await.ok();
        for (number, document) in policies.iter().enumerate() {
            let policy = format!("p{number}");
            let parameters = [("UserName", name), ("PolicyName", &policy), ("PolicyDocument", document)];
            self.query(&root, "iam", "PutUserPolicy", &parameters).await.ok();
        }
        let made = self.query(&root, "iam", "CreateAccessKey", &[("UserName", name)]).await.ok();
        Keys { id: made.element("AccessKeyId"), secret: made.element("SecretAccessKey"), token: None }
    }
}

/// The keys of an answer of STS.
pub(crate) fn temporary(answer: &Answer) -> Keys {
    Keys {
        id: answer.element("AccessKeyId"),
        secret: answer.element("SecretAccessKey"),
        token: Some(answer.element("SessionToken")),
    }
}

/// The method and the path of an operation of restJson1. Members in labels are taken from `body`, and
/// are `x` where they are not there; those of queries are not written.
fn target(route: &Route, body: &str) -> (&'static str, String) {
    let members: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let mut path = String::new();
    for segment in route.uri.split('/').skip(1) {
        let label = segment.strip_prefix('{').and_then(|label| label.strip_suffix('}'));
        let value = label.map(|label| members[label].as_str().unwrap_or("x"));
        path = format!("{path}/{}", value.map_or(segment.to_owned(), crate::iam::document::percent_encoded));
    }
    (route.method, path)
}

fn protocol_of(service: &str) -> &'static ServiceProtocol {
    SERVICES.iter().find(|known| known.name == service).expect("a service that is served")
}
