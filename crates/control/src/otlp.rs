//! Spans and metrics, sent on by OpenTelemetry's protocol (OTLP).
//!
//! - `config` is where they go: OpenTelemetry's own environment variables, and `--otlp-endpoint`.
//! - `spans` and `metrics` make messages of what proxies tell; `json` writes these as JSON.
//! - `transport` sends one message, by gRPC or HTTP.
//! - `export` is the two loops: they batch, try again, and drop what there is no room for, counted. Nothing waits for
//!   them.
//!
//! Source: OpenTelemetry Protocol 1.x and its exporter specification; semantic conventions for HTTP, RPC and AWS ECS.

mod config;
mod export;
mod json;
mod metrics;
mod spans;
#[cfg(test)]
mod tests;
mod transport;

pub use config::{Header, OtlpConfig, OtlpConfigError, OtlpProtocol, OtlpTarget};
pub(crate) use export::Otlp;
pub use export::OtlpCounts;

use bowline_discovery::opentelemetry::proto::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use bowline_model::arn::Scope;

/// Whose a message's content is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    /// The ECS cluster; empty of a load balancer.
    cluster: String,
    /// The service, a standalone task's group, or the load balancer.
    service: String,
    /// The task's id.
    task: String,
    is_gateway: bool,
}

/// What this program is called among instrumentations.
fn instrumentation() -> InstrumentationScope {
    InstrumentationScope { name: "bowline".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// Source: semantic conventions, "Service", "AWS ECS".
fn resource(owner: &Owner, scope: &Scope) -> Resource {
    let mut attributes = vec![
        text("service.name", &*owner.service),
        text("service.instance.id", &*owner.task),
        text("bowline.role", if owner.is_gateway { "gateway" } else { "sidecar" }),
    ];
    if !owner.cluster.is_empty() {
        let (cluster, task) = (&owner.cluster, &owner.task);
        attributes.push(text("service.namespace", &**cluster));
        attributes.push(text(
            "aws.ecs.cluster.arn",
            scope.arn("ecs", format_args!("cluster/{cluster}")).to_string(),
        ));
        attributes.push(text(
            "aws.ecs.task.arn",
            scope.arn("ecs", format_args!("task/{cluster}/{task}")).to_string(),
        ));
        attributes.push(text("aws.ecs.task.id", &**task));
    }
    Resource { attributes, dropped_attributes_count: 0 }
}
