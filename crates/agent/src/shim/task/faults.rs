//! What happens to the task on purpose.

use bowline_model::{
    clock::Timestamp,
    fault::{FaultId, TaskHarm},
};
use bowline_plumbing::wall_clock;
use tokio::task::spawn_local;

use super::Task;
use crate::{
    protocol::FromShim,
    shim::{containers::Phase, faults::Target},
};

impl Task {
    pub(super) fn begin_fault(&self, client: u64, order: u64, id: FaultId, harm: TaskHarm, until: Timestamp) {
        let sender = self.clients.sender(client);
        let faults = self.faults.clone();
        let lasting = until.since(wall_clock::now());
        let network = self.init.clone().filter(|_| self.host_network.is_none());
        let target = self.stress_target();
        spawn_local(async move {
            let result = faults.begin(id, harm, lasting, network, target).await;
            if let Some(sender) = sender {
                let _ = sender.send(FromShim::FaultDone { order, result }).await;
            }
        });
    }

    pub(super) fn end_fault(&self, client: u64, order: u64, id: FaultId) {
        let sender = self.clients.sender(client);
        let faults = self.faults.clone();
        spawn_local(async move {
            let result = faults.end(&id).await;
            if let Some(sender) = sender {
                let _ = sender.send(FromShim::FaultDone { order, result }).await;
            }
        });
    }

    /// The first container that has a program of its own, if it runs.
    fn stress_target(&self) -> Option<Target> {
        let index = (0..self.spec.containers.len()).find(|index| !self.containers.get(*index).is_served())?;
        let container = self.containers.get(index);
        let link = self.links.get(&index).filter(|_| container.phase == Phase::Running)?.clone();
        let limit = container.spec.limits.memory_mib.or(self.spec.limits.memory_mib);
        Some(Target {
            link,
            program: self.program(index, Vec::new()),
            memory_limit: limit.map(|mib| u64::from(mib) * 1024 * 1024),
            memory_room: self.control_groups.memory_room(index),
        })
    }
}
