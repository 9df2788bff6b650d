//! Instructions of the hot paths, which are repeatable where time is not.
//!
//! `instructions check` counts each path under valgrind and compares with `bench/instructions/baseline.json`: 3 % more
//! fails. `instructions check --accept` makes what was counted the baseline. `instructions run PATH TIMES` is what is
//! counted; `instructions list` says what there is. Paths can be named after `check`.

mod baseline;
mod count;
mod paths;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use bowline_plumbing::sys::allocator::Allocator;

use crate::{
    baseline::{Baseline, Verdict},
    paths::{HotPath, PATHS},
};

/// As `bowline` has.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Where the baseline is, from the repository's root.
const BASELINE: &str = "bench/instructions/baseline.json";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", name, times] => {
            (find(name)?.run)(times.parse().context("TIMES is a number")?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["list"] => {
            for path in PATHS {
                println!("{:<28} {}", path.name, path.what);
            }
            Ok(ExitCode::SUCCESS)
        }
        ["check", "--accept", ref names @ ..] => check(names, true),
        ["check", ref names @ ..] => check(names, false),
        _ => bail!("instructions check [--accept] [PATH]… | run PATH TIMES | list"),
    }
}

fn find(name: &str) -> anyhow::Result<&'static HotPath> {
    PATHS.iter().find(|path| path.name == name).with_context(|| format!("no path is called {name:?}"))
}

/// How often a path is counted again that seems to take more than it did.
const RECOUNTS: usize = 4;

fn check(names: &[&str], accept: bool) -> anyhow::Result<ExitCode> {
    let chosen: Vec<&HotPath> = match names {
        [] => PATHS.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<anyhow::Result<_>>()?,
    };
    let file = baseline_file()?;
    let mut baseline = Baseline::read(&file)?;
    let mut counted = BTreeMap::new();
    for path in chosen {
        let mut count = count::per_turn(path)?;
        // Where threads meet as they happen to, a machine that is busy with others makes it more; what the path needs is
        // the least.
        for _ in 0..RECOUNTS {
            if accept || !matches!(baseline.judge(path.name, count), Verdict::Worse { .. }) {
                break;
            }
            count = count.min(count::per_turn(path)?);
        }
        println!("{}", baseline.line(path.name, count));
        counted.insert(path.name, count);
    }
    if accept {
        baseline.accept(&counted, names.is_empty());
        baseline.write(&file)?;
        println!("{} has these now", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let verdicts: Vec<Verdict> = counted.iter().map(|(name, count)| baseline.judge(name, *count)).collect();
    for verdict in &verdicts {
        if let Some(advice) = verdict.advice() {
            println!("{advice}");
        }
    }
    Ok(match verdicts.iter().any(Verdict::is_worse) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Of the repository that one stands in, or that this was built from.
fn baseline_file() -> anyhow::Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join(BASELINE).exists());
    Ok(root.unwrap_or(&built_from).join(BASELINE))
}
