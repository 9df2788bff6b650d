//! The `bowline` command.

mod commands;
mod display;
mod local_api;
mod output;
mod state_dir;
mod topology;
mod verify;
fn main() {}
