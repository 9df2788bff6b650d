//! The values that a task's containers are given when it starts: as its execution role, so a role
//! gets what its policies, and the secret's, allow.

use std::sync::Arc;

use bowline_model::clock::Timestamp;
use bowline_plumbing::wall_clock;

use crate::{
    api::role_call::RoleCall,
    core::Core,
    registry::{Registry, RegistryError, TaskOwner, TaskRecord},
    secrets::{Vault, commands, day_of, reference::SecretReference},
    stack::secrets::{self, SecretValues},
    task_spec,
};

/// Why a task cannot be started, in AWS's words.
const UNABLE: &str = "ResourceInitializationError: unable to pull secrets or registry auth: ";

/// The values by everything that the task's containers say in `valueFrom`. A task that runs already
/// is given what there is: it has its values, and must not end because they are another's by now.
///
/// # Errors
/// A secret is not there, or not for this task's execution role; the text is the task's
/// `stoppedReason`.
pub(crate) fn of_task(
    core: &Core,
    registry: &Registry,
    task: &TaskRecord,
) -> Result<Arc<SecretValues>, String> {
    let parameters = core.secrets();
    let definition = task.owner.task_definition();
    let definition = definition.and_then(|arn| registry.task_definitions.get(arn.as_str()));
    let service = match &task.owner {
        TaskOwner::Service { service, .. } => registry.services.get(service.as_str()),
        TaskOwner::Standalone(_) | TaskOwner::Gateway { .. } => None,
    };
    let of_proxy = service
        .iter()
        .filter_map(|service| service.connect.as_ref()?.log.as_ref())
        .flat_map(|log| log.secret_options.values())
        .map(String::as_str);
    let wanted: Vec<&str> = definition
        .iter()
        .flat_map(|definition| task_spec::wanted_secrets(definition))
        .map(|(_, value_from)| value_from)
        .chain(of_proxy)
        .filter(|value_from| {
            SecretReference::is_meant(value_from) || secrets::resolve(&parameters, value_from).is_none()
        })
        .collect();
    if wanted.is_empty() {
        return Ok(parameters);
    }
    let starting = task.report.is_none();
    let mut values = SecretValues::clone(&parameters);
    let now = wall_clock::now();
    let session = match starting {
        true => execution_role(core, registry, task, now)?,
        false => None,
    };
    for value_from in wanted {
        match take(core, registry, session.as_ref(), value_from, starting.then_some(now)) {
            Ok(value) => {
                values.insert(value_from.to_owned(), value);
            }
            Err(reason) if starting => {
                return Err(format!(
                    "{UNABLE}execution resource retrieval failed: unable to retrieve secret from asm: service call has \
                     been retried 1 time(s): failed to fetch secret {value_from} from secrets manager: {reason}"
                ));
            }
            Err(reason) => {
                tracing::debug!(task = %task.id, secret = value_from, reason, "a running task's secret is gone");
            }
        }
    }
    Ok(Arc::new(values))
}

fn unable_to_assume(role: &str) -> String {
    format!(
        "{UNABLE}ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the \
         role being passed has the proper trust relationship and permissions and that your IAM user has permissions \
         to pass this role."
    )
}

/// A session of the task definition's execution role; `None` where it names none and the root user
/// registered it, who may read every secret.
fn execution_role(
    core: &Core,
    registry: &Registry,
    task: &TaskRecord,
    now: Timestamp,
) -> Result<Option<RoleCall>, String> {
    let definition = task.owner.task_definition();
    let record = definition.and_then(|arn| registry.task_definition_records.get(arn.as_str()));
    let Some(given) = record.and_then(|record| record.request.execution_role_arn.as_deref()) else {
        // Whoever may register definitions could otherwise read every secret. AWS refuses all such.
        let root = registry.settings().scope.root_arn();
        if core.authorizer().is_enforced() && record.is_none_or(|record| record.registered_by != root) {
            return Err(format!(
                "{UNABLE}the task definition has no executionRoleArn, and was not registered by the root user: \
                 secrets are read as the execution role"
            ));
        }
        return Ok(None);
    };
    let name = given.rsplit('/').next().unwrap_or(given);
    let role =
        registry.iam_roles.get(name).filter(|role| !given.starts_with("arn:") || role.arn.as_str() == given);
    match role {
        Some(role) => {
            let account = &registry.settings().scope.account_id;
            let keys = [("aws:SourceArn", task.arn.as_str()), ("aws:SourceAccount", account.as_str())];
            core.authorizer()
                .authorize_service("ecs-tasks.amazonaws.com", role, account, now, &keys)
                .map_err(|_| unable_to_assume(given))?;
            Ok(Some(RoleCall::new(registry, role, task.id.as_str(), now)))
        }
        None if core.authorizer().is_enforced() => Err(unable_to_assume(given)),
        None => Ok(None),
    }
}

/// One value. `first_read` is the time of a task's start, when reading is recorded.
fn take(
    core: &Core,
    registry: &Registry,
    role: Option<&RoleCall>,
    value_from: &str,
    first_read: Option<Timestamp>,
) -> Result<bowline_model::task::Secret, String> {
    let now = wall_clock::now();
    let reference = SecretReference::parse(value_from);
    if let Some(role) = role {
        let (version, stage) = (reference.version.as_deref(), reference.stage.as_deref());
        role.get_secret_value(core, registry, &reference.secret, version, stage)
            .map_err(|fault| format!("{}: {}", fault.code, fault.message))?;
    }
    let found =
        reference.find(registry, now).map_err(|error| format!("ResourceNotFoundException: {error}"))?;
    let vault = Vault::new(core.authorities().master_key());
    let (value, version) = reference.value(registry, vault, found).map_err(|error| error.to_string())?;
    let read_today =
        found.versions.get(&version).is_some_and(|version| version.accessed_on == Some(day_of(now)));
    if first_read.is_some() && !read_today {
        let touched = core.change::<_, RegistryError>(|registry| {
            commands::touch(registry, &found.name, &version, now);
            Ok(())
        });
        if let Err(error) = touched {
            tracing::warn!(%error, "it could not be noted that a secret was read");
        }
    }
    Ok(value)
}
