//! Which part of a mesh an experiment is about.

use std::time::Duration;

use bowline_model::fault::ALL;
use serde::{Deserialize, Serialize};

use crate::system::{Alias, Mesh, Service, Task};

/// What experiments are confined to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// The service that calls. Default: the first of which an experiment can be made.
    pub caller: Option<String>,
    /// The service that is called.
    pub called: Option<String>,
    /// Of a million new connections, for faults that can be of a share of them. Default: all.
    pub per_million: u32,
    /// Requests per second in place of the experiment's.
    pub rate: Option<u32>,
    /// How long the fault lasts, in place of the experiment's time.
    pub lasting: Option<Duration>,
    /// Where the probe asks, in place of the path that is found.
    pub path: Option<String>,
}

impl Default for Scope {
    fn default() -> Self {
        Self { caller: None, called: None, per_million: ALL, rate: None, lasting: None, path: None }
    }
}

/// Who calls whom, and by which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The service that calls.
    pub caller: Service,
    /// The service that is called.
    pub called: Service,
    /// The name by which.
    pub alias: Alias,
    /// A path that the called application answers, as far as that is known; else `/`.
    pub path: String,
}

impl Edge {
    /// The caller's task from which requests are made.
    #[must_use]
    pub fn calling_task(&self) -> Option<&Task> {
        self.caller.healthy().next()
    }

    /// `service-a → service-b`
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} → {}", self.caller.name, self.called.name)
    }

    /// That the hop is by mutual TLS.
    ///
    /// # Errors
    /// It is not.
    pub fn require_mutual_tls(&self) -> Result<(), String> {
        match self.alias.mode.as_str() {
            "MUTUAL_TLS" => Ok(()),
            mode => Err(format!("the hop is not by mutual TLS but {mode}")),
        }
    }

    /// That so many healthy tasks are called.
    ///
    /// # Errors
    /// There are fewer.
    pub fn require_called_tasks(&self, least: usize) -> Result<(), String> {
        match self.called.healthy().count() {
            count if count >= least => Ok(()),
            count => Err(format!("{} has {count} healthy tasks, and {least} are needed", self.called.name)),
        }
    }
}

impl Scope {
    /// Every edge that is within the scope and that a probe can be sent along, in the mesh's order.
    #[must_use]
    pub fn edges(&self, mesh: &Mesh) -> Vec<Edge> {
        let is_wanted = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|it| it == name);
        let callers = mesh.services.iter().filter(|service| is_wanted(&self.caller, &service.name));
        let edges = callers.flat_map(|caller| {
            let aliases = caller.aliases.iter().filter(|alias| {
                alias.service != caller.name
                    && alias.protocol != "TCP"
                    && !alias.names.is_empty()
                    && is_wanted(&self.called, &alias.service)
            });
            aliases.filter_map(|alias| {
                let called = mesh.service(&alias.service)?.clone();
                let known = mesh.paths.iter().find(|(_, service)| *service == called.name);
                let path = self.path.clone().or_else(|| known.map(|(path, _)| path.clone()));
                let path = path.unwrap_or_else(|| "/".to_owned());
                Some(Edge { caller: caller.clone(), called, alias: alias.clone(), path })
            })
        });
        edges.collect()
    }

    /// The first edge of which `applies` says that an experiment can be made.
    ///
    /// # Errors
    /// Says why of none.
    pub fn choose(&self, mesh: &Mesh, applies: impl Fn(&Edge) -> Result<(), String>) -> Result<Edge, String> {
        for name in self.caller.iter().chain(&self.called) {
            if mesh.service(name).is_none() {
                let names: Vec<_> = mesh.services.iter().map(|service| service.name.as_str()).collect();
                return Err(format!("there is no service {name:?}; services: {}", names.join(", ")));
            }
        }
        let mut reasons = Vec::new();
        for edge in self.edges(mesh) {
            if edge.calling_task().is_none() {
                reasons.push(format!("{}: {} has no healthy task", edge.text(), edge.caller.name));
                continue;
            }
            match applies(&edge) {
                Ok(()) => return Ok(edge),
                Err(reason) => reasons.push(format!("{}: {reason}", edge.text())),
            }
        }
        match reasons.is_empty() {
            true => Err("no service within the scope calls another by HTTP".to_owned()),
            false => Err(reasons.join("; ")),
        }
    }
}
