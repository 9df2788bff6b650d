//! What a container's programs are run with: environment and directory.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use bowline_model::{
    network::{CREDENTIALS_ADDRESS, XRAY_PORT},
    task::Secret,
};

use super::Task;
use crate::{
    protocol::{MAIN_PROGRAM, Program},
    shim::credentials::Credentials,
};

/// Where programs are looked for when nothing says so.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables by which many applications take their bind address.
const BIND_VARIABLES: [&str; 3] = ["HOST", "BIND_ADDRESS", "SERVER_HOST"];

/// By what X-Ray's SDKs find the daemon. Source: X-Ray's developer guide.
const XRAY_VARIABLE: &str = "AWS_XRAY_DAEMON_ADDRESS";

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
        let credentials = self.link.as_ref().and_then(|link| link.credentials());
        for (name, value) in credentials.into_iter().flat_map(Credentials::variables) {
            environment.insert(name.to_owned(), value);
        }
        if spec.firelens.is_none() {
            environment.extend(self.router_variables());
        }
        if let Some(daemon) = self.xray_daemon() {
            environment.insert(XRAY_VARIABLE.to_owned(), Secret::new(daemon.to_string()));
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

    /// Where programs find X-Ray's daemon: in networks of their own the sidecar leads to it.
    fn xray_daemon(&self) -> Option<SocketAddr> {
        let daemon = self.spec.xray_daemon?;
        let is_isolated = self.init.is_some() && self.host_network.is_none();
        match (is_isolated, &self.link) {
            (false, _) => Some(daemon),
            (true, Some(_)) => Some((CREDENTIALS_ADDRESS, XRAY_PORT).into()),
            (true, None) => None,
        }
    }
}
