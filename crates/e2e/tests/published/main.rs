//! What the control plane publishes, in proxies that carry traffic by it: templates become tasks,
//! tasks are sidecars and servers in this process, and nothing of a policy is written by hand.

mod gateway;
mod golden;
mod mesh;
mod server;
mod template;
mod weights;
mod zones;
