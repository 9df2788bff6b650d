//! Operations, called as the server calls them, on a control plane that lives in memory.

use std::sync::Arc;

use bowline_aws::protocol::{self, Fault, OperationName, Protocol, RequestHead, SERVICES};
use bowline_model::{arn::Scope, clock::Timestamp};
use bowline_plumbing::wall_clock;
use serde_json::Value;

use super::{
    authorization::{AuthorizationMode, Origin},
    call::{Call, Caller},
    operation::{self, Outcome},
    server,
    testing::core_in_memory,
};
use crate::{
    core::Core,
    registry::{Registry, RegistryError},
};

mod at_rest;
mod certificates;
mod cloudwatch;
mod fis;
mod imported;
mod logs;
mod modes;
mod published;
mod secretsmanager;
mod servicediscovery;
mod tasks;
mod xray;

/// A control plane in memory, and who calls it.
struct Endpoint {
    core: Arc<Core>,
    caller: Caller,
    _directory: tempfile::TempDir,
}

/// A call from this machine.
fn origin() -> Origin {
    Origin {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        secure: false,
        region: "us-east-1".into(),
        user_agent: None,
        now: wall_clock::now(),
    }
}

impl Endpoint {
    fn new() -> Self {
        let (core, directory) = core_in_memory(AuthorizationMode::Enforce);
        Self { core, caller: Caller::root(&Scope::default(), "test"), _directory: directory }
    }

    /// One call, in JSON.
    fn call(&self, service: &str, name: &str, request: &Value) -> Result<Value, Fault> {
        let service = SERVICES.iter().find(|known| known.name == service).expect("a service that is served");
        let operation = operation::find(service, name).unwrap_or_else(|| panic!("{name} is not served"));
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
        let body = serde_json::to_vec(request).unwrap();
        let name = OperationName { service, operation: name.to_owned(), protocol: Protocol::Json11 };
        let document = protocol::read(&name, &head, &body).unwrap();
        let scope = self.core.registry().settings().scope.clone();
        let origin = origin();
        let call = Call { core: &self.core, caller: &self.caller, scope, now: origin.now, origin: &origin };
        match (operation.call)(&call, &document) {
            Ok(document) => Ok((&document).into()),
            Err(Outcome::Fault(fault)) => Err(fault),
            Err(Outcome::Violation(violation)) => Err(server::violated(&name, &violation)),
        }
    }

    /// A call that is carried out.
    fn ok(&self, service: &str, name: &str, request: Value) -> Value {
        self.call(service, name, &request).unwrap_or_else(|fault| panic!("{name} {request}: {fault:?}"))
    }

    /// A call that is refused.
    fn fault(&self, service: &str, name: &str, request: Value) -> Fault {
        match self.call(service, name, &request) {
            Ok(response) => panic!("{name} {request}: {response}"),
            Err(fault) => fault,
        }
    }

    /// Changes the registry by another way than the API.
    fn change(&self, change: impl FnOnce(&mut Registry)) {
        self.core
            .change::<_, RegistryError>(|registry| {
                change(registry);
                Ok(())
            })
            .unwrap();
    }

    /// Lets the reconciler finish what a stack's change has begun.
    fn finish_stack(&self) {
        let mut histories = crate::reconcile::Histories::default();
        for _ in 0..2 {
            self.core.reconcile(&mut histories, false).unwrap();
        }
    }

    fn now(&self) -> Timestamp {
        wall_clock::now()
    }
}
