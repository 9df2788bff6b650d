//! Runs experiments and reads what they came to.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bowline_e2e::{
    command::run_limited,
    mesh::{MeshOptions, TestMesh},
};
use serde_json::Value;

/// Longest that a run of all of them may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);

/// What an experiment came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its name.
    pub(crate) name: String,
    /// `held`, `fell`, …
    pub(crate) verdict: String,
    /// What was looked at: whether it was as it had to be, what that was, and what was seen.
    pub(crate) findings: Vec<(bool, String, String)>,
    /// The whole record.
    pub(crate) record: Value,
}

impl Ran {
    /// What it fell by.
    pub(crate) fn fallen(&self) -> Vec<String> {
        let fallen = self.findings.iter().filter(|(held, ..)| !held);
        fallen.map(|(_, what, seen)| format!("{what} (seen: {seen})")).collect()
    }

    /// One line, for the page's column.
    pub(crate) fn summary(&self) -> String {
        let judgement = &self.record["judgement"];
        // Times are milliseconds.
        let millis =
            |time: &Value| time.as_f64().map_or_else(|| "-".to_owned(), |time| format!("{time:.0} ms"));
        format!(
            "{}: {} (detected {}, recovered {}, lost {}, p99 {} → {}) during {}",
            self.name,
            self.verdict,
            millis(&judgement["timeToDetect"]),
            millis(&judgement["timeToRecover"]),
            judgement["lost"],
            millis(&judgement["before"]["latencies"]["p99"]),
            millis(&judgement["during"]["latencies"]["p99"]),
            judgement["during"]["outcomes"],
        )
    }
}

/// Runs experiments with this `bowline` on a mesh: how long that took, and what each came to.
pub(crate) fn run(program: &Path, mesh: &TestMesh, arguments: &[&str]) -> (Duration, Vec<Ran>) {
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.args(["chaos", "run", "-o", "json", "--state-dir"]).arg(mesh.state_dir()).args(arguments);
    let outcome = run_limited(&mut command, LIMIT);
    let took = begin.elapsed();
    let report: Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {outcome:?}\n{}", mesh.log()));
    let records = report["records"].as_array().expect("records");
    let ran = records.iter().map(read).collect();
    (took, ran)
}

fn read(record: &Value) -> Ran {
    let findings = [&record["judgement"]["findings"], &record["findings"]];
    let findings = findings.into_iter().filter_map(Value::as_array).flatten().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        (finding["held"] == true, text("what"), text("seen"))
    });
    Ran {
        name: record["name"].as_str().expect("a name").to_owned(),
        verdict: record["verdict"].as_str().expect("a verdict").to_owned(),
        findings: findings.collect(),
        record: record.clone(),
    }
}

/// The mesh that experiments are run on: two services of two tasks each that call one another.
pub(crate) fn options() -> MeshOptions {
    MeshOptions::example("two-services")
}
