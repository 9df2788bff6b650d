//! The control plane: registry, store, certificate authorities, reconcilers,
//! and publishing.
//!
//! - [`control_plane::ControlPlane`] is the whole of it.
//! - [`registry`]: everything known, as one immutable value with one writer.
//! - [`store`]: where it is kept.
//! - [`api`]: the AWS endpoint.
//! - [`stack`]: a template becomes rows of the registry.
//! - [`ecs`]: ECS's resources on the registry.
//! - `cloud_map`: Cloud Map's.
//! - [`fis`]: FIS's experiments and their templates.
//! - [`authorization`]: which service may call which.
//! - [`iam`]: users, roles, policies and access keys; `credentials` opens the keys.
//! - `task_role`: the role of a task, and credentials of it.
//! - [`reconcile`]: services become tasks.
//! - [`publish`]: the registry becomes what each proxy should have.
//! - [`telemetry`]: what proxies tell of what they counted.
//! - [`otlp`]: spans and metrics, sent on by OpenTelemetry's protocol.
//! - [`traces`]: traces as people look at them.
//! - [`audit`]: who called what, in files that show whether they were changed.
//! - [`dns`]: answers for names of Cloud Map's private namespaces.
//! - `dashboard`: pages for people who look.
//! - [`alarms`]: CloudWatch's alarms, judged and acted on.
//! - [`xray`]: X-Ray over what is kept of traces, and its sampling rules.
//! - [`scaling`]: Application Auto Scaling of services.
//! - [`acm`]: Certificate Manager's certificates.
//! - [`private_ca`]: AWS Private CA's authorities and what they issue.
//! - [`revocation`]: certificates that are refused, and who gets no more.
//! - [`ca`] signs; `authorities` knows who; [`tokens`] admit the first time.

pub mod acm;
pub mod alarms;
pub mod api;
pub mod audit;
mod authorities;
pub mod authorization;
pub mod ca;
mod cloud_map;
pub mod control_plane;
mod core;
mod credentials;
mod dashboard;
pub mod dns;
pub mod ecs;
pub mod fis;
#[doc(hidden)]
pub mod fuzzing;
pub mod iam;
pub mod kms;
pub mod logs;
pub mod master_key;
pub mod otlp;
pub mod private_ca;
pub mod publish;
mod random;
pub mod reconcile;
pub mod record_launcher;
pub mod registry;
pub mod revocation;
pub mod routes;
pub mod scaling;
pub mod secrets;
pub mod stack;
pub mod state_lock;
pub mod store;
mod task_role;
pub mod task_spec;
pub mod telemetry;
pub mod tokens;
pub mod traces;
pub mod view;
mod x509;
pub mod xray;
pub mod zone;
