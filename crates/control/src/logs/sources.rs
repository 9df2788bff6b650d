//! Whose logs are where: the groups that services' containers write to, and how streams name their tasks.

use std::collections::{BTreeMap, BTreeSet};

use bowline_aws::ecs::LogConfiguration;
use bowline_model::service::Service;
use bowline_observe::logs::OWN_PREFIX;
use thiserror::Error;

use crate::registry::Registry;

/// Which events of a group are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The tasks whose they are; `None`: all, for nobody else writes there.
    pub tasks: Option<BTreeSet<String>>,
}

/// There is no such service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no service {0}")]
pub struct NoService(String);

/// The container and the task of a stream: `CONTAINER/TASK`, with a prefix before it where one was set. A stream of
/// another kind has none.
pub fn task_of_stream(stream: &str) -> Option<(&str, &str)> {
    let (before, task) = stream.rsplit_once('/')?;
    let container = before.rsplit('/').next().unwrap_or(before);
    let is_task = task.len() == 32 && task.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_task.then_some((container, task))
}

/// The group that a configuration of a container's log names; `None` where it goes elsewhere.
fn group_of(configuration: Option<&LogConfiguration>, default: &str) -> Option<String> {
    match configuration {
        None => Some(default.to_owned()),
        Some(given) if given.log_driver == "awslogs" => {
            Some(given.options.get("awslogs-group").cloned().unwrap_or_else(|| default.to_owned()))
        }
        Some(_) => None,
    }
}

/// The groups that a service's containers and sidecars write to.
fn groups_of(registry: &Registry, service: &Service) -> BTreeSet<String> {
    let default = format!("{OWN_PREFIX}{}/{}", service.cluster, service.name);
    let mut groups = BTreeSet::from([default.clone()]);
    if let Some(definition) = registry.task_definition_records.get(service.task_definition.as_str()) {
        let containers = &definition.request.container_definitions;
        groups.extend(
            containers
                .iter()
                .filter_map(|container| group_of(container.log_configuration.as_ref(), &default)),
        );
    }
    let record = registry.service_records.get(service.arn.as_str());
    let connect = record.and_then(|record| record.request.service_connect_configuration.as_ref());
    if let Some(connect) = connect {
        groups.extend(group_of(connect.log_configuration.as_ref(), &default));
    }
    groups
}

fn is_named(service: &Service, name: &str) -> bool {
    service.name == name
        || service.arn.as_str() == name
        || name.split_once('/').is_some_and(|(cluster, of)| service.cluster == cluster && service.name == of)
}

/// Where the logs of services are, by group: of all services, and of whoever else writes logs, where none is named.
///
/// # Errors
/// A service that is named is not there.
pub fn sources(
    registry: &Registry,
    all_groups: impl IntoIterator<Item = String>,
    names: &[String],
) -> Result<BTreeMap<String, Source>, NoService> {
    if names.is_empty() {
        return Ok(all_groups.into_iter().map(|group| (group, Source::default())).collect());
    }
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    let is_asked = |service: &Service| names.iter().any(|name| is_named(service, name));
    for name in names {
        if !registry.services.values().any(|service| is_named(service, name)) {
            return Err(NoService(name.clone()));
        }
    }
    let others: BTreeSet<String> = registry
        .services
        .values()
        .filter(|service| !is_asked(service))
        .flat_map(|service| groups_of(registry, service))
        .collect();
    for service in registry.services.values().filter(|service| is_asked(service)) {
        for group in groups_of(registry, service) {
            let is_shared = others.contains(&group);
            let source =
                sources.entry(group).or_insert_with(|| Source { tasks: is_shared.then(BTreeSet::new) });
            if let Some(tasks) = &mut source.tasks {
                let its = registry
                    .known_tasks()
                    .filter(|task| registry.service_of(task).is_some_and(|it| it.arn == service.arn));
                tasks.extend(its.map(|task| task.id.as_str().to_owned()));
            }
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_name_their_tasks() {
        let task = "0123456789abcdef0123456789abcdef";
        assert_eq!(task_of_stream(&format!("web/{task}")), Some(("web", task)));
        assert_eq!(task_of_stream(&format!("prefix/a/web/{task}")), Some(("web", task)));
        assert_eq!(task_of_stream("web/1"), None);
        assert_eq!(task_of_stream("web"), None);
    }

    #[test]
    fn a_group_is_that_of_the_options() {
        let with = |driver: &str, options: &[(&str, &str)]| LogConfiguration {
            log_driver: driver.to_owned(),
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            secret_options: Vec::new(),
        };
        assert_eq!(group_of(None, "/d").as_deref(), Some("/d"));
        assert_eq!(group_of(Some(&with("awslogs", &[("awslogs-group", "/g")])), "/d").as_deref(), Some("/g"));
        assert_eq!(group_of(Some(&with("awsfirelens", &[])), "/d"), None);
    }
}
