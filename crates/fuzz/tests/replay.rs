//! Every input that was kept is run again: seeds, what fuzzing found worth keeping, and what once
//! broke something.

use std::{fs, path::Path};

use bowline_fuzz::TARGETS;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
/// Of all corpora together.
const FILES_MAX: usize = 300;
const BYTES_MAX: u64 = 512 * 1024;

#[test]
fn every_corpus_is_replayed() {
    let (mut files, mut bytes) = (0, 0);
    for (name, target) in TARGETS {
        let folder = Path::new(CORPUS).join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        inputs.sort();
        assert!(inputs.len() >= 2, "{name} has no seeds");
        for path in inputs {
            let input = fs::read(&path).expect("an input can be read");
            (files, bytes) = (files + 1, bytes + input.len() as u64);
            if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
                eprintln!("{name} broke on {}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(
        files <= FILES_MAX && bytes <= BYTES_MAX,
        "{files} inputs of {bytes} bytes: minimise them with cargo fuzz cmin"
    );
}

/// What cargo-fuzz builds, what is replayed and what has a corpus are the same.
#[test]
fn every_target_is_fuzzed_and_has_its_corpus() {
    let names = |folder: &str, suffix: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(folder);
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter_map(|name| name.strip_suffix(suffix).map(str::to_owned))
            .collect();
        names.sort();
        names
    };
    let targets: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, names("fuzz_targets", ".rs"));
    assert_eq!(targets, names("corpus", ""));
    let manifest = fs::read_to_string(Path::new(CORPUS).join("../Cargo.toml")).expect("a manifest");
    let built: Vec<_> =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
    for name in &targets {
        assert!(built.contains(&format!("{name}.rs\"").as_str()), "{name} is not built");
    }
    assert_eq!(built.len(), targets.len());
}
