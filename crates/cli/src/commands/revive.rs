//! `bowline revive` (hidden): kills the `bowline up` or `bowline server` that started it, for an experiment, and becomes it.

use std::{ffi::OsString, process::ExitCode};

use anyhow::Context;
use bowline_chaos::revival::{self, Program};
use bowline_model::clock::Timestamp;

use crate::master_key_args;

/// Arguments of `bowline revive`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Process id of who started it.
    #[arg(long)]
    parent: u32,
    /// When it is started again, milliseconds since 1970.
    #[arg(long)]
    until: u64,
    /// Its arguments.
    #[arg(last = true, required = true)]
    arguments: Vec<OsString>,
}

/// Does not return, but where something fails.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let program = Program {
        path: std::env::current_exe().context("this program's path cannot be read")?,
        arguments: args.arguments,
        environment: master_key_args::environment(),
    };
    let revived = revival::run(args.parent, Timestamp::from_millis(args.until), program);
    match revived.context("the control plane is not started again")? {}
}
