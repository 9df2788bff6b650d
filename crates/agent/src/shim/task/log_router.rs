//! The task's log router: a container with `firelensConfiguration` is not run. Its inputs listen in the task's network, and
//! what they take waits in a spool for the agent, which does the rest.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Instant,
};

use bowline_logs::{input, route::SourceName};
use bowline_model::task::Secret;
use tokio::task::spawn_local;

use super::Task;
use crate::{
    config::{OutputSource, OutputStream},
    shim::log_router,
};

impl Task {
    /// `FLUENT_HOST` and `FLUENT_PORT`, as ECS tells containers beside a log router.
    pub(super) fn router_variables(&self) -> Vec<(String, Secret)> {
        if !self.spec.containers.iter().any(|container| container.firelens.is_some()) {
            return Vec::new();
        }
        let host = self.router_address(Ipv4Addr::LOCALHOST);
        [("FLUENT_HOST", host.to_string()), ("FLUENT_PORT", input::FORWARD_PORT.to_string())]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Secret::new(value)))
            .collect()
    }

    /// Where an input listens: where it says, but on the host's network at the task's own address.
    fn router_address(&self, wanted: Ipv4Addr) -> Ipv4Addr {
        self.host_network.as_ref().map_or(wanted, |network| network.borrow().application())
    }

    /// Opens the inputs in place of the container's program.
    pub(super) fn serve_router(&mut self, index: usize) {
        let name = self.containers.get(index).spec.name.clone();
        let image = self.containers.get(index).spec.image.clone();
        let Some(source) = self.outputs.source(&SourceName::Inputs) else {
            let reason =
                "CannotStartContainerError: the log router has no place for what it takes".to_owned();
            return self.containers.failed(index, reason);
        };
        let mut addresses = Vec::new();
        for input in self.inputs.clone() {
            let address = SocketAddrV4::new(self.router_address(input.listen), input.port);
            let init = self.init.as_deref().filter(|_| self.host_network.is_none());
            match log_router::listener(init, address) {
                Ok(listener) => {
                    addresses.push(format!("{address} ({:?})", input.kind));
                    self.listening.push(spawn_local(input::listen(listener, input, source.clone())));
                }
                Err(error) => {
                    return self.containers.failed(
                        index,
                        format!("CannotStartContainerError: the log router's input {address}: {error}"),
                    );
                }
            }
        }
        let line = format!("served by Bowline in place of {image}: takes logs on {}", addresses.join(", "));
        self.outputs.says(&OutputSource::Container(name), OutputStream::Stdout, line);
        self.containers.started(index, None, Instant::now());
    }

    /// Closes the inputs.
    pub(super) fn end_router(&mut self, index: usize) {
        for listening in self.listening.drain(..) {
            listening.abort();
        }
        self.containers.exited(index, 0, None);
    }
}
