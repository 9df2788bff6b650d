//! What is published to a proxy, for people.

use bowline_model::task::TaskId;
use bowline_stream::directory::Directory;

use super::ControlPlane;
use crate::routes::{self, RouteView};

impl ControlPlane {
    /// Where the routes of a task's proxy lead; empty where it has none, or there is no such task.
    pub fn routes(&self, task: &TaskId) -> Vec<RouteView> {
        let set = self.core.resources(task);
        set.map(|set| routes::of(&set, &self.core.registry())).unwrap_or_default()
    }
}
