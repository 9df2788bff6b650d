//! What a container's programs are run with: environment and directory.

use std::{collections::BTreeMap, path::PathBuf};

use bowline_model::{
    network::{AWS_ENDPOINT_PORT, CREDENTIALS_ADDRESS},
    task::{Secret, TaskRole},
};

use super::Task;
use crate::protocol::{MAIN_PROGRAM, Program};

/// Where programs are looked for when nothing says so.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables by which many applications take their bind address.
const BIND_VARIABLES: [&str; 3] = ["HOST", "BIND_ADDRESS", "SERVER_HOST"];

/// Variables that name the files of SDKs' settings, which programs would find in the user's home.
const NO_FILES: [&str; 2] = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"];

impl Task {
    /// A program with the container's environment and directory.
    pub(super) fn program(&self, index: usize, command: Vec<String>) -> Program {
        let spec = &self.containers.get(index).spec;
        let aliases = self.spec.proxy.as_ref().map(|proxy| proxy.aliases.as_slice()).unwrap_or_default();
        let mut environment: BTreeMap<String, Secret> = BTreeMap::new();
        for name in ["PATH", "HOME"] {
            let default = if name == "PATH" { DEFAULT_PATH } else { "/" };
            let value = std::env::var(name).unwrap_or_else(|_| default.to_owned());
            environment.insert(name.to_owned(), Secret::new(value));
        }
        if let Some(network) = &self.host_network {
            let own = network.borrow().application().to_string();
            for name in BIND_VARIABLES {
                environment.insert(name.to_owned(), Secret::new(own.clone()));
            }
        }
        for (name, path) in self.trust.iter().flat_map(|trust| trust.variables()) {
            // A path that is not UTF-8 cannot be said; the system's own file has the CA all the same.
            if let Ok(path) = path.into_os_string().into_string() {
                environment.insert(name.to_owned(), Secret::new(path));
            }
        }
        for (name, value) in self.role_variables() {
            environment.insert(name.to_owned(), Secret::new(value));
        }
        for (name, value) in &spec.environment {
            let replaced = self
                .host_network
                .as_ref()
                .and_then(|network| network.borrow_mut().replace_aliases(value, aliases));
            environment.insert(name.clone(), Secret::new(replaced.unwrap_or_else(|| value.clone())));
        }
        for (name, value) in &spec.secrets {
            environment.insert(name.clone(), value.clone());
        }
        let working_directory: PathBuf =
            spec.working_directory.clone().unwrap_or_else(|| self.directory.work());
        Program { id: MAIN_PROGRAM, command, environment, working_directory, ulimits: Vec::new() }
    }

    /// By what AWS's SDKs find the credentials of the task's role, its region and the endpoint.
    /// Nothing on host networking, where no address is the task's alone.
    fn role_variables(&self) -> Vec<(&'static str, String)> {
        let (Some(role), None) = (&self.spec.role, &self.host_network) else { return Vec::new() };
        let endpoint = format!("http://{CREDENTIALS_ADDRESS}:{AWS_ENDPOINT_PORT}");
        let mut variables = vec![
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", TaskRole::credentials_path(&self.spec.id)),
            ("AWS_REGION", role.region.clone()),
            ("AWS_DEFAULT_REGION", role.region.clone()),
            ("AWS_ENDPOINT_URL", endpoint),
        ];
        // SDKs read the user's own keys before they ask for the task's; an image has none.
        variables.extend(NO_FILES.map(|name| (name, "/dev/null".to_owned())));
        variables
    }
}
