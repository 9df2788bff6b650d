//! Each experiment falls where the defence that it checks is switched off, in a build that can.

use std::path::PathBuf;

use bowline_e2e::mesh::TestMesh;

use crate::run::{options, run};

/// What is switched off, and what falls by it.
const TWINS: &[(&str, &[&str])] = &[
    ("accept-any-certificate", &["certificate-expiry", "dns-spoofing", "untrusted-ca", "invalid-chain"]),
    ("accept-any-signature", &["key-certificate-mismatch"]),
    ("accept-any-identity", &["invalid-client-certificate", "backend-certificate-mismatch"]),
    ("ignore-revocations", &["certificate-revocation", "secret-compromise"]),
    ("accept-plaintext", &["tls-downgrade"]),
    ("accept-old-tls", &["tls-downgrade"]),
    ("trust-downgrade", &["tls-downgrade"]),
    ("break-on-renewal", &["certificate-rotation", "hot-reload"]),
    ("no-retries,keep-dead-endpoints", &["backend-unavailable"]),
    ("no-retries,no-patience", &["dropped-packets"]),
    ("no-pooling", &["high-latency", "high-tls-load"]),
    ("no-handshake-timeout", &["layer7-flood"]),
    ("skip-authorization", &["secret-compromise"]),
    ("no-backdating", &["clock-skew"]),
    ("accept-any-certificate", &["clock-skew"]),
    ("no-liveness", &["one-way-partition"]),
    ("no-retry-budget", &["retry-storm"]),
    // Each leaves tasks missing: a mesh of its own.
    ("no-replacement", &["task-restart-on-certificate-failure"]),
    ("no-replacement", &["cluster-failure"]),
    ("renew-late", &["ca-unreachable"]),
    ("drop-refused", &["garbage-on-stream"]),
    // What is made by these is left broken, too.
    ("no-store-recovery", &["disk-full"]),
    ("forget-when-alone", &["control-plane-killed"]),
];

/// The build with the feature `sabotage`.
fn sabotaged_bowline() -> PathBuf {
    let path = std::env::var_os("BOWLINE_SABOTAGED_BIN")
        .expect("BOWLINE_SABOTAGED_BIN names a build with `sabotage`");
    PathBuf::from(path)
}

#[test]
#[ignore = "needs a build with the feature sabotage: just chaos"]
fn every_experiment_falls_without_what_it_checks() {
    let program = sabotaged_bowline();
    let only = std::env::var("BOWLINE_ONLY").ok();
    let mut wrong = Vec::new();
    for (words, names) in TWINS {
        let is_wanted = only.as_ref().is_none_or(|only| names.iter().any(|name| only.contains(name)));
        if !is_wanted {
            continue;
        }
        let mut options = options();
        options.program = Some(program.clone());
        options.through = vec!["env".to_owned(), format!("BOWLINE_SABOTAGE={words}")];
        let mesh = TestMesh::up(&options);
        let (_, ran) = run(&program, &mesh, names);
        for ran in &ran {
            eprintln!("{words}: {}\n    {}", ran.summary(), ran.fallen().join("\n    "));
            if ran.verdict != "fell" {
                wrong.push(format!("{words}: {}: {}", ran.name, ran.verdict));
            }
        }
        assert_eq!(ran.len(), names.len());
    }
    assert!(wrong.is_empty(), "these did not fall: {wrong:#?}");
}

#[test]
fn every_experiment_has_a_twin() {
    let page =
        std::fs::read_to_string(bowline_e2e::mesh::repository().join("docs/src/chaos.md")).expect("the page");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for row in &rows {
        let name = row.split('`').nth(1).expect("a name");
        assert!(TWINS.iter().any(|(_, names)| names.contains(&name)), "{name} has no twin that falls");
    }
    for (words, names) in TWINS {
        for name in *names {
            let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}`"))).expect("a row");
            assert!(words.split(',').all(|word| row.contains(&format!("`{word}`"))), "{name}: {words}");
        }
    }
}
