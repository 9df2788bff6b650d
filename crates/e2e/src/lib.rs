//! End-to-end tests of Bowline: the harness. The tests are in one binary,
//! `tests/it`.

pub mod command;
pub mod experiments;
pub mod leftovers;
pub mod load;
pub mod local_api;
pub mod mesh;
pub mod server;
pub mod standstill;
