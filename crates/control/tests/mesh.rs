//! A whole control plane, and proxies that follow its stream over TLS.

#[path = "support/agent.rs"]
mod agent;
#[path = "mesh/faults.rs"]
mod faults;
#[path = "mesh/harm.rs"]
mod harm;
#[path = "mesh/introspection.rs"]
mod introspection;
#[path = "mesh/proxy.rs"]
mod proxy;
#[path = "mesh/revocation.rs"]
mod revocation;
#[path = "mesh/succession.rs"]
mod succession;
#[path = "mesh/telemetry.rs"]
mod telemetry;
#[path = "mesh/template.rs"]
mod template;

use std::{path::Path, sync::Arc, time::Duration};

use bowline_aws::cfn::{Inputs, Template};
use bowline_control::{
    control_plane::{CertificateStatus, ControlConfig, ControlPlane, is_settled},
    registry::{TaskOwner, TaskRecord},
    stack::{ApplyError, StackFault, record::StackTemplate},
};
use bowline_model::task::{TaskId, TokenIssuer};
use proxy::{Credentials, Place, Proxy};
use tonic::Code;

/// Nothing here takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

struct Mesh {
    control: ControlPlane,
    tokens: Arc<dyn TokenIssuer>,
    place: Place,
    agent: tokio::task::JoinHandle<()>,
}

impl Mesh {
    /// Two services of `tasks` tasks each and a gateway, all running.
    async fn start(state: &Path, tasks: usize) -> Self {
        Self::start_template(state, example(), tasks).await
    }

    /// As [`Mesh::start`], from another template than the example's.
    async fn start_template(state: &Path, text: String, tasks: usize) -> Self {
        let control = ControlPlane::start(ControlConfig::new(state)).await.expect("starts");
        let port = control.agent_port();
        let tokens = Arc::clone(&port.tokens);
        let agent = agent::fake_agent(port);
        let text = text.replace("DesiredCount: 2", &format!("DesiredCount: {tasks}"));
        apply(&control, text).unwrap_or_else(|error| panic!("{error}"));
        let mut generation = control.generation();
        let settled = async {
            while !(is_settled(&control.snapshot()) && control.snapshot().tasks.len() > 2 * tasks) {
                generation.changed().await.expect("the control plane runs");
            }
        };
        tokio::time::timeout(LIMIT, settled).await.expect("all tasks run in time");
        let place = Place {
            address: control.snapshot().settings().discovery_address.expect("it listens"),
            roots_pem: roots(&control),
        };
        Self { control, tokens, place, agent }
    }

    /// The tasks of a service, the oldest first.
    fn tasks_of(&self, service: &str) -> Vec<TaskId> {
        let registry = self.control.snapshot();
        let service = registry.services.values().find(|one| one.name == service).expect("the service");
        registry.tasks_of_service(&service.arn).into_iter().map(|task| task.id.clone()).collect()
    }

    /// The task of the one gateway.
    fn gateway_task(&self) -> TaskId {
        let registry = self.control.snapshot();
        let of_gateway = |task: &&TaskRecord| matches!(task.owner, TaskOwner::Gateway { .. });
        let task = registry.tasks.values().map(|task| &**task).find(of_gateway);
        task.expect("the example has a gateway").id.clone()
    }

    async fn proxy(&self, task: &TaskId) -> Proxy {
        let token = self.tokens.issue(task).expect("a token");
        let credentials = self.place.first(&token).await.expect("a certificate");
        Proxy::start(&self.place, task.clone(), credentials).await
    }

    async fn by_token(&self, task: &TaskId) -> Result<Credentials, Code> {
        let token = self.tokens.issue(task).expect("a token");
        self.place.first(&token).await.map_err(|status| status.code())
    }

    fn serial_of(&self, task: &TaskId) -> String {
        self.control.certificate_of(task).expect("a certificate").serial
    }

    fn status_of(&self, serial: &str) -> CertificateStatus {
        let views = self.control.certificates();
        views.iter().find(|view| view.record.serial == serial).expect("it is listed").status
    }

    async fn stop(self) {
        self.agent.abort();
        let _ = self.agent.await;
        drop(self.tokens);
        self.control.shutdown().await;
    }
}

/// The TLS demo's template.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/two-services/template.yaml");
    std::fs::read_to_string(path).expect("the example is there")
}

/// Makes the stack `test` what a template says; what people are told of it.
fn apply(control: &ControlPlane, text: String) -> Result<Vec<StackFault>, ApplyError> {
    let template = Template::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
    let inputs = Inputs { stack_name: "test".into(), revision: control.revisions(), ..Inputs::default() };
    let stack = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
    let made_from =
        StackTemplate { files: vec![("template".to_owned(), text)], parameters: Default::default() };
    control.apply_stack(&stack, &made_from)
}

fn roots(control: &ControlPlane) -> String {
    let registry = control.snapshot();
    let own = registry.authorities.values().find(|record| record.arn.resource_name() == "bowline-mesh");
    pem(&own.expect("the mesh's authority").certificate_der)
}

/// A certificate in PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}
