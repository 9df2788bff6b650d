//! ECS Exec. The API opens a session of AWS Systems Manager, over a WebSocket that the Session
//! Manager plugin speaks; that is not here. What is asked is checked as ECS checks it, and then
//! refused with the way that there is.

use bowline_aws::{ecs::api::ExecuteCommandRequest, protocol::Fault};
use bowline_model::task::TaskStatus;
use serde::Serialize;

use super::{arn_in_cluster, find_cluster, invalid, tasks};
use crate::api::call::Call;

/// There is never a response.
#[derive(Serialize)]
pub(super) enum NoSession {}

pub(super) fn execute(call: &Call<'_>, request: ExecuteCommandRequest) -> Result<NoSession, Fault> {
    if request.command.is_empty() {
        return Err(invalid("Command cannot be empty."));
    }
    if !request.interactive {
        return Err(invalid("Interactive is the only mode supported currently."));
    }
    let registry = call.registry();
    let cluster = find_cluster(&registry, request.cluster.as_deref())?;
    let arn = arn_in_cluster("task", &request.task, &cluster)
        .ok_or_else(|| invalid("Invalid task: its id or ARN is needed"))?;
    let task = registry
        .tasks
        .get(arn.resource_name())
        .filter(|task| tasks::is_in(task, &cluster))
        .ok_or_else(|| invalid("The referenced task was not found."))?;
    if task.status() != TaskStatus::Running || !tasks::executes_commands(&registry, task) {
        return Err(invalid(
            "The execute command failed because execute command was not enabled when the task was run or the execute \
             command agent isn't running. Wait and try again or run a new task with execute command enabled and try \
             again.",
        ));
    }
    let definition = task.owner.task_definition().and_then(|arn| registry.task_definitions.get(arn.as_str()));
    let containers = definition.map(|definition| &definition.containers[..]).unwrap_or_default();
    let container = match &request.container {
        Some(given) if containers.iter().any(|container| container.name == *given) => given,
        Some(_) => return Err(invalid("The specified container could not be found in the task.")),
        None => match containers {
            [only] => &only.name,
            _ => return Err(invalid("A container name is needed for a task of more than one container.")),
        },
    };
    Err(Fault::new(
        "TargetNotConnectedException",
        format!(
            "The execute command failed due to an internal error: there is no Session Manager here. On this machine, \
             run: bowline exec {} --container {container} -- {}",
            task.id, request.command
        ),
    ))
}
