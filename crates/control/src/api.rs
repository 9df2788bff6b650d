//! The AWS endpoint: per operation authenticate, authorize, convert in, one call, convert out,
//! record in the audit trail.
//!
//! - [`server::ApiServer`] takes HTTP.
//! - [`operation`] is the table of everything that is served; `docs/aws-coverage.md` comes from it.
//! - `recording` is one call's record in the audit trail.
//! - [`ecs`] and its siblings hold a handler an operation.

pub(crate) mod authentication;
mod call;
pub(crate) mod cloudformation;
mod cloudtrail;
mod constraint;
pub(crate) mod ecs;
pub mod operation;
mod pages;
mod recording;
pub mod server;
pub(crate) mod servicediscovery;

pub use authentication::DEFAULT_ACCESS_KEY;

#[cfg(test)]
mod tests;
