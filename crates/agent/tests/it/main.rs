//! Tasks in real namespaces, and on the host's network.

mod containers;
mod control_groups;
mod faults;
mod host_network;
mod lifetime;
mod machine;
mod network;
mod trust;
mod unprivileged;
