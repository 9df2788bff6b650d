//! Names that ECS gives, and that a task's records carry.

use crate::task::TaskId;

/// What the Service Connect proxy's container is called in streams and records (ECS appends a random suffix).
pub const CONTAINER_OF_PROXY: &str = "ecs-service-connect";

/// A container's runtime id, as Fargate makes it: the task's id, `-`, and ten digits. The same for the same
/// container whenever it is asked.
pub fn container_id(task: &TaskId, container: &str) -> String {
    // FNV-1a: it need only differ between the containers of a task.
    let hash = container.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{task}-{:010}", hash % 10_000_000_000)
}
