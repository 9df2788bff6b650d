//! Load balancers, as gateways serve them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{arn::Arn, task_definition::AppProtocol};

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// The ARN.
    pub arn: Arn,
    /// The name, unique in the account.
    pub name: String,
    /// `NAME.elb.localhost`
    pub dns_name: String,
}

/// A set of targets with their health check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// The ARN.
    pub arn: Arn,
    /// The name.
    pub name: String,
    /// What the targets speak (`Protocol` and `ProtocolVersion`).
    pub protocol: AppProtocol,
    /// The health check; `None` where it is off.
    pub health_check: Option<TargetHealthCheck>,
}

/// A target group's health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealthCheck {
    /// HTTP path; empty checks only that a connection can be made.
    pub path: String,
    /// AWS's default: 30 s.
    pub interval: Duration,
    /// AWS's default: 5 s.
    pub timeout: Duration,
    /// AWS's default: 5.
    pub healthy_threshold: u32,
    /// AWS's default: 2.
    pub unhealthy_threshold: u32,
    /// Accepted status codes; AWS's default: `200`.
    pub matcher: String,
}

/// A port of a load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayListener {
    /// The ARN.
    pub arn: Arn,
    /// The load balancer.
    pub load_balancer: Arn,
    /// The port that the template asks for.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: GatewayProtocol,
    /// The certificates that the template names, by ARN.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// What happens where no rule matches.
    pub default_action: GatewayAction,
}

/// What is spoken on a load balancer's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GatewayProtocol {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https {
        /// The `SslPolicy` forbids TLS 1.2.
        tls13_only: bool,
    },
    /// TCP.
    Tcp,
}

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayRule {
    /// The ARN.
    pub arn: Arn,
    /// The listener.
    pub listener: Arn,
    /// Lower numbers are asked first.
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<GatewayCondition>,
    /// What happens then.
    pub action: GatewayAction,
}

/// A condition of a rule: any of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GatewayCondition {
    /// `host-header`
    Hosts(Vec<String>),
    /// `path-pattern`
    Paths(Vec<String>),
    /// `http-request-method`
    Methods(Vec<String>),
    /// `http-header`, one exact value.
    Header {
        /// The header's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `query-string`, one key and value.
    Query {
        /// The parameter's name.
        name: String,
        /// Its value.
        value: String,
    },
}

/// What a listener or a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GatewayAction {
    /// To target groups, by weight.
    Forward(Vec<(Arn, u32)>),
    /// As in an ALB, with `#{…}` placeholders.
    Redirect {
        /// `HTTP`, `HTTPS` or `#{protocol}`.
        protocol: String,
        /// Host or `#{host}`.
        host: String,
        /// Port or `#{port}`.
        port: String,
        /// Path or `/#{path}`.
        path: String,
        /// Query or `#{query}`.
        query: String,
        /// 301 or 302.
        status: u16,
    },
    /// An answer of the gateway's own.
    FixedResponse {
        /// The status.
        status: u16,
        /// Its content type.
        content_type: String,
        /// Its body.
        body: String,
    },
}
