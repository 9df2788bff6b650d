//! Amazon ECS, in the case of its JSON API (`taskDefinition`, not `TaskDefinition`).
//!
//! One struct serves both ways in: the template reader turns CloudFormation's property names into
//! the API's, so that `aws ecs create-service` and `AWS::ECS::Service` meet in the same value.

pub mod api;
mod cluster;
mod container;
mod deployment;
mod service;
mod service_connect;
mod task_definition;

pub use cluster::*;
pub use container::*;
pub use deployment::*;
pub use service::*;
pub use service_connect::*;
pub use task_definition::*;
