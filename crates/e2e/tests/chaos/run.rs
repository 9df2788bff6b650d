//! Runs experiments and reads what they came to.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bowline_e2e::{
    command::run_limited,
    experiments::{Ran, of_report},
    mesh::{MeshOptions, TestMesh},
};
use serde_json::Value;

/// Longest that a run of all of them may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);

/// Runs experiments with this `bowline` on a mesh: how long that took, and what each came to.
pub(crate) fn run(program: &Path, mesh: &TestMesh, arguments: &[&str]) -> (Duration, Vec<Ran>) {
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.args(["chaos", "run", "-o", "json", "--state-dir"]).arg(mesh.state_dir()).args(arguments);
    let outcome = run_limited(&mut command, LIMIT);
    let took = begin.elapsed();
    let report: Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {outcome:?}\n{}", mesh.log()));
    (took, of_report(&report))
}

/// The mesh that experiments are run on: two services of two tasks each that call one another.
pub(crate) fn options() -> MeshOptions {
    MeshOptions::example("two-services")
}
