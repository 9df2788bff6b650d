//! Runs that are kept: a file a run in the state directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bowline_chaos::report::Report;

/// So many runs are kept, the newest.
const KEPT: usize = 100;
/// Longest file of a run that is read, bytes.
const FILE_MAX: u64 = 64 << 20;

/// Where runs are kept.
fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("chaos")
}

/// Keeps a report, and gives up the oldest beyond what is kept. Where it is.
pub(crate) fn keep(state_dir: &Path, report: &Report) -> io::Result<PathBuf> {
    let directory = directory(state_dir);
    fs::create_dir_all(&directory)?;
    let name = format!("{:013}-{}.json", report.began_at.as_millis(), std::process::id());
    let path = directory.join(&name);
    // Whole or not at all: it is read by its name.
    let unfinished = directory.join(format!(".{name}"));
    fs::write(&unfinished, report.json())?;
    fs::rename(&unfinished, &path)?;
    for old in kept(state_dir)?.into_iter().rev().skip(KEPT) {
        match fs::remove_file(old) {
            // Another run that ended just now has given it up.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(path)
}

/// All that are kept, the oldest first: names begin with the time.
fn kept(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory(state_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".json") && !name.starts_with('.')
    });
    paths.sort();
    Ok(paths)
}

/// The report in a file, or with that name among those that are kept; the newest where none is named.
pub(crate) fn find(state_dir: &Path, given: Option<&Path>) -> anyhow::Result<Report> {
    let path = match given {
        Some(given) if given.is_file() => given.to_owned(),
        Some(given) => directory(state_dir).join(given).with_extension("json"),
        None => match kept(state_dir)?.pop() {
            Some(newest) => newest,
            None => bail!("no experiment has been run on {}: `bowline chaos run NAME`", state_dir.display()),
        },
    };
    let size = fs::metadata(&path).with_context(|| format!("there is no run {}", path.display()))?.len();
    if size > FILE_MAX {
        bail!("{} is too long for a run", path.display());
    }
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no report of a run", path.display()))
}

#[cfg(test)]
mod tests {
    use bowline_model::clock::Timestamp;

    use super::*;

    #[test]
    fn the_newest_runs_are_kept_and_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path();
        assert!(find(state, None).is_err(), "nothing has been run");
        for second in 0..KEPT as u64 + 5 {
            let report = Report { began_at: Timestamp::from_secs(1_000 + second), ..Report::default() };
            keep(state, &report).expect("it is kept");
        }
        let names = kept(state).expect("they are there");
        assert_eq!(names.len(), KEPT);
        let newest = find(state, None).expect("the newest");
        assert_eq!(newest.began_at, Timestamp::from_secs(1_000 + KEPT as u64 + 4));
        let oldest = find(state, Some(&names[0])).expect("one by its path");
        assert_eq!(oldest.began_at, Timestamp::from_secs(1_005));
        let name = names[0].file_stem().expect("a name");
        assert_eq!(find(state, Some(Path::new(name))).expect("one by its name"), oldest);
        std::fs::write(&names[0], "{").expect("it can be written");
        assert!(find(state, Some(&names[0])).is_err());
    }
}
