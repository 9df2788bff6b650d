//! The AWS endpoint: per operation authenticate, authorize, convert in, one call, convert out,
//! record in the audit trail.
//!
//! - `connection` takes connections, and `server` HTTP.
//! - [`operation`] is the table of everything that is served; `docs/aws-coverage.md` comes from it.
//! - `recording` is one call's record in the audit trail.
//! - [`authorization`] asks IAM's policies.
//! - [`ecs`] and its siblings hold a handler an operation.

mod acm;
mod acm_pca;
mod application_autoscaling;
pub(crate) mod authentication;
pub(crate) mod authorization;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod cloudformation;
mod cloudtrail;
pub(crate) mod cloudwatch;
pub(crate) mod connection;
pub(crate) mod constraint;
mod crl;
pub(crate) mod ecs;
mod fis;
mod iam;
mod kms;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod metrics;
pub mod operation;
mod pages;
pub(crate) mod recording;
pub(crate) mod role_call;
mod secretsmanager;
pub mod server;
pub(crate) mod service_call;
pub(crate) mod servicediscovery;
mod sts;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tls;
pub(crate) mod xray;

pub use authentication::DEFAULT_ACCESS_KEY;
pub use authorization::AuthorizationMode;
pub(crate) use crl::PATH as CRL_PATH;
pub(crate) use logs::pointer as logs_pointer;
pub use tls::{EndpointCertificate, EndpointTlsError};

#[cfg(test)]
mod tests;
