//! The AWS endpoint: per operation authenticate, authorize, convert in, one call, convert out,
//! record in the audit trail.
//!
//! - [`server::ApiServer`] takes HTTP.
//! - [`operation`] is the table of everything that is served; `docs/aws-coverage.md` comes from it.
//! - [`ecs`] and its siblings hold a handler an operation.

pub(crate) mod authentication;
mod call;
pub(crate) mod cloudformation;
mod constraint;
pub(crate) mod ecs;
pub mod operation;
mod pages;
pub mod server;
pub(crate) mod servicediscovery;

pub use authentication::DEFAULT_ACCESS_KEY;

#[cfg(test)]
mod tests;
