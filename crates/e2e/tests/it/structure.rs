//! The directions between crates, as ARCHITECTURE.md states them.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// What each crate may use of Bowline's own crates; `e2e` and the examples may
/// use anything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bowline-model", &[]),
    ("bowline-aws", &[]),
    ("bowline-discovery", &["bowline-model"]),
    ("bowline-http1", &[]),
    ("bowline-http2", &[]),
    ("bowline-plumbing", &["bowline-model"]),
    ("bowline-observe", &["bowline-model", "bowline-plumbing"]),
    (
        "bowline-control",
        &[
            "bowline-aws",
            "bowline-discovery",
            "bowline-model",
            "bowline-observe",
            "bowline-plumbing",
            "bowline-stream",
        ],
    ),
    ("bowline-stream", &["bowline-discovery", "bowline-http2", "bowline-model", "bowline-plumbing"]),
    (
        "bowline-proxy",
        &["bowline-discovery", "bowline-http1", "bowline-http2", "bowline-model", "bowline-plumbing"],
    ),
    ("bowline-logs", &["bowline-model", "bowline-plumbing"]),
    ("bowline-chaos", &["bowline-model", "bowline-plumbing"]),
    ("bowline-agent", &["bowline-logs", "bowline-model", "bowline-plumbing"]),
    (
        "bowline-fuzz",
        &[
            "bowline-aws",
            "bowline-control",
            "bowline-discovery",
            "bowline-http1",
            "bowline-http2",
            "bowline-logs",
            "bowline-model",
            "bowline-plumbing",
            "bowline-proxy",
        ],
    ),
    (
        "bowline",
        &[
            "bowline-agent",
            "bowline-aws",
            "bowline-chaos",
            "bowline-control",
            "bowline-discovery",
            "bowline-model",
            "bowline-observe",
            "bowline-plumbing",
            "bowline-proxy",
            "bowline-stream",
        ],
    ),
];

/// What `model` must never get: it is pure.
const IMPURE: &[&str] = &["tokio", "hyper", "rustls", "redb", "nix", "rustix", "socket2"];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("name").to_owned();
    packages
        .iter()
        .map(|package| {
            let normal = package["dependencies"].as_array().expect("dependencies").iter();
            let normal = normal.filter(|dependency| dependency["kind"].is_null()).map(name);
            (name(package), normal.collect())
        })
        .collect()
}

#[test]
fn crates_depend_one_way() {
    let dependencies = dependencies();
    for (name, allowed) in ALLOWED {
        let used = dependencies.get(*name).unwrap_or_else(|| panic!("there is no crate {name}"));
        for own in used.iter().filter(|used| used.starts_with("bowline")) {
            assert!(allowed.contains(&own.as_str()), "{name} must not depend on {own}");
        }
    }
}

#[test]
fn the_model_is_pure() {
    let dependencies = dependencies();
    for used in &dependencies["bowline-model"] {
        assert!(!IMPURE.contains(&used.as_str()), "bowline-model must not depend on {used}");
    }
}

/// What must not be linked: a second TLS stack or crypto provider, the GPL.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls", "rustables"];

#[test]
fn there_is_one_tls_stack() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal,build",
            "--target",
            "all",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let linked: std::collections::BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(linked.contains("rustls") && linked.contains("aws-lc-rs"), "the tree is not what it seems");
    for banned in BANNED {
        assert!(!linked.contains(banned), "{banned} is linked");
    }
}

/// Half-done work is not committed.
#[test]
fn nothing_is_left_to_do() {
    let root = bowline_e2e::mesh::repository();
    let mut folders = vec![root.join("crates"), root.join("examples")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be read").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "structure.rs" {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "the sources were not found");
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        for marker in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore]"] {
            assert!(!text.contains(marker), "{} has {marker}", path.display());
        }
    }
}
