//! What was measured, as it is told.

use std::{
    io::Write as _,
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::{
    OutputFormat,
    server::Server,
    world::{World, percentile},
};

/// What a step has cost the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    wall: Duration,
    cpu: Duration,
    memory_mib: u64,
}

/// Reads the server's clocks.
pub(crate) struct Meter {
    at: Instant,
    cpu: Duration,
}

impl Meter {
    pub(crate) fn start(server: &Server) -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), cpu: server.cpu()? })
    }

    /// Since the last time.
    pub(crate) fn lap(&mut self, server: &Server) -> anyhow::Result<Cost> {
        let (at, cpu) = (Instant::now(), server.cpu()?);
        let cost =
            Cost { wall: at - self.at, cpu: cpu.saturating_sub(self.cpu), memory_mib: server.memory()?.0 };
        (self.at, self.cpu) = (at, cpu);
        Ok(cost)
    }
}

/// The figures of one run, in order.
pub(crate) struct Report {
    figures: Map<String, Value>,
    output: OutputFormat,
}

impl Report {
    pub(crate) fn new(proxies: usize, label: &str, output: OutputFormat) -> Self {
        let mut figures = Map::new();
        figures.insert("label".into(), label.into());
        figures.insert("proxies".into(), proxies.into());
        figures.insert("load before".into(), load().into());
        let report = Self { figures, output };
        report.tell(&format!("{proxies} proxies, load {}", load()));
        report
    }

    /// What is known so far goes where it is in nobody's way.
    fn tell(&self, line: &str) {
        match self.output {
            OutputFormat::Text => println!("{line}"),
            OutputFormat::Json => eprintln!("{line}"),
        }
    }

    pub(crate) fn figure(&mut self, name: &str, value: f64) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.tell(&format!("  {name}: {rounded}"));
        self.figures.insert(name.to_owned(), json!(rounded));
    }

    /// A step, and what it cost for each of `parts` things.
    pub(crate) fn note(&mut self, step: &str, cost: Cost, parts: Option<usize>) {
        self.figure(&format!("{step}: took, s"), cost.wall.as_secs_f64());
        self.figure(&format!("{step}: CPU, s"), cost.cpu.as_secs_f64());
        self.figure(&format!("{step}: cores"), cost.cpu.as_secs_f64() / cost.wall.as_secs_f64());
        #[allow(clippy::cast_precision_loss)]
        if let Some(parts) = parts {
            self.figure(&format!("{step}: CPU of each, ms"), cost.cpu.as_secs_f64() * 1000.0 / parts as f64);
        }
        #[allow(clippy::cast_precision_loss)]
        self.figure(&format!("{step}: RSS, MiB"), cost.memory_mib as f64);
    }

    /// How long changes took: until all had each, and until each had it.
    pub(crate) fn applied(&mut self, changes: usize, last: &mut [Duration], each: &mut [Duration]) {
        #[allow(clippy::cast_precision_loss)]
        self.figure("applied in all: changes", changes as f64);
        self.figure("applied in all: p50, ms", percentile(last, 50));
        self.figure("applied in all: p99, ms", percentile(last, 99));
        self.figure("applied in all: longest, ms", percentile(last, 100));
        self.figure("applied in each: p50, ms", percentile(each, 50));
        self.figure("applied in each: p99, ms", percentile(each, 99));
    }

    /// What was sent so far.
    pub(crate) fn pushed(&mut self, world: &World) {
        #[allow(clippy::cast_precision_loss)]
        self.figure("answered responses", world.responses.load(Ordering::Relaxed) as f64);
        #[allow(clippy::cast_precision_loss)]
        self.figure("resources in them", world.resources.load(Ordering::Relaxed) as f64);
    }

    pub(crate) fn finish(mut self, server: &Server, results: Option<&Path>) -> anyhow::Result<()> {
        #[allow(clippy::cast_precision_loss)]
        self.figure("RSS at most, MiB", server.memory()?.1 as f64);
        self.figures.insert("load after".into(), load().into());
        self.tell(&format!("  load {}", load()));
        if self.output == OutputFormat::Json {
            println!("{}", Value::Object(self.figures.clone()));
        }
        if let Some(path) = results {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{}", Value::Object(self.figures))?;
        }
        Ok(())
    }
}

/// The machine's load over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
