//! ECS's resources on the registry: what `aws ecs …` and a template ask for alike becomes the rows
//! that reconcilers and the publisher work with, and the records that `Describe…` tells.

pub mod capacity;
pub mod definition;
pub(crate) mod encryption;
pub mod instance;
pub mod plan;
pub mod record;
pub mod rollback;
pub mod service;
