//! Elastic Load Balancing v2, in the case of CloudFormation and of the API (both PascalCase).

mod action;
mod load_balancer;
mod rule;
mod target_group;

pub use action::*;
pub use load_balancer::*;
pub use rule::*;
pub use target_group::*;
