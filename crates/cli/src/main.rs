//! The `bowline` command.

mod build_step;
mod commands;
mod display;
mod local_api;
mod output;
mod project;
mod state_dir;
mod topology;
mod verify;
fn main() {}
