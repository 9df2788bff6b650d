//! What is released cannot switch anything off.

use std::process::Command;

use bowline_e2e::mesh::{bowline, repository};

/// What `model::sabotage` is spelt with.
fn words() -> Vec<String> {
    let source =
        std::fs::read_to_string(repository().join("crates/model/src/sabotage.rs")).expect("the source");
    let words = source.lines().filter_map(|line| {
        let (word, _) = line.trim().strip_prefix("(\"")?.split_once("\", Defence::")?;
        Some(word.to_owned())
    });
    words.chain(["BOWLINE_SABOTAGE".to_owned(), "SABOTAGE".to_owned()]).collect()
}

/// Which of the words are in a program.
fn found_in(program: &std::path::Path) -> Vec<String> {
    let bytes = std::fs::read(program).expect("the program");
    let (mut found, words) = (Vec::new(), words());
    let mut begins = [false; 256];
    words.iter().for_each(|word| begins[usize::from(word.as_bytes()[0])] = true);
    // In one pass: the program is large.
    for (place, _) in bytes.iter().enumerate().filter(|(_, byte)| begins[usize::from(**byte)]) {
        let here = words.iter().filter(|word| bytes[place..].starts_with(word.as_bytes()));
        found.extend(here.cloned());
    }
    words.into_iter().filter(|word| found.contains(word)).collect()
}

#[test]
fn no_switch_of_a_defence_is_in_a_build_without_the_feature() {
    assert!(words().len() > 10, "{:?}", words());
    assert_eq!(found_in(&bowline()), Vec::<String>::new());
    let version = Command::new(bowline()).arg("--version").output().expect("it runs");
    assert!(!String::from_utf8_lossy(&version.stdout).contains("SABOTAGE"));
    assert!(version.stderr.is_empty());
}

#[test]
#[ignore = "needs a build with the feature sabotage: just chaos"]
fn a_build_with_the_feature_says_so() {
    let program = std::env::var_os("BOWLINE_SABOTAGED_BIN").expect("a build with `sabotage`");
    let program = std::path::PathBuf::from(program);
    assert_eq!(found_in(&program), words(), "what is looked for is there where it can be");
    let version = Command::new(&program).arg("--version").output().expect("it runs");
    assert!(String::from_utf8_lossy(&version.stdout).contains("SABOTAGE"));
    assert!(String::from_utf8_lossy(&version.stderr).contains("SABOTAGE"));
    let wrong = Command::new(&program).env("BOWLINE_SABOTAGE", "no-such-defence").arg("--version").output();
    let wrong = wrong.expect("it runs");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no-such-defence"));
    let check = Command::new(&program).args(["check", "--pre"]).output().expect("it runs");
    assert!(!check.status.success());
    assert!(String::from_utf8_lossy(&check.stdout).contains("SABOTAGE"));
}
