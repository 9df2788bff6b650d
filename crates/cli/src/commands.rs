//! One file a subcommand.

pub(crate) mod access_key;
pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod certs;
pub(crate) mod completions;
pub(crate) mod down;
pub(crate) mod edges;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod identity;
pub(crate) mod logs;
pub(crate) mod master_key;
pub(crate) mod policy;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod shim;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod verify;
