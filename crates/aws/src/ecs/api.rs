//! Requests and responses of ECS's API that templates have no part in. A member that is never
//! filled here is left out.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

mod account;
mod capacity;
mod cluster;
mod container_instance;
mod protection;
mod service;
mod tags;
mod task;
mod task_definition;

pub use account::*;
pub use capacity::*;
pub use cluster::*;
pub use container_instance::*;
pub use protection::*;
pub use service::*;
pub use tags::*;
pub use task::*;
pub use task_definition::*;

use serde::Serialize;

use crate::ecs::KeyValuePair;

/// Something asked for that could not be told or done, beside others that could.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Failure {
    pub arn: Option<String>,
    pub reason: Option<String>,
    pub detail: Option<String>,
}

/// What is attached to a task: its network interface, its Service Connect proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Attachment {
    pub id: String,
    pub r#type: String,
    pub status: String,
    pub details: Vec<KeyValuePair>,
}
