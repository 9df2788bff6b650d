//! Experiments hold.

use std::time::Duration;

use bowline_e2e::{
    mesh::{TestMesh, bowline, repository},
    standstill::{ATTEMPTS, STANDSTILL, watched},
};

use crate::run::{Ran, options, run};

fn assert_held(ran: &[Ran]) {
    for ran in ran {
        eprintln!("{}", ran.summary());
    }
    for ran in ran {
        assert_eq!(ran.verdict, "held", "{}: {:#?}\n{:#}", ran.name, ran.fallen(), ran.record);
    }
}

/// How many rows the page has.
fn experiments() -> usize {
    let page = std::fs::read_to_string(repository().join("docs/src/chaos.md")).expect("the page");
    page.lines().filter(|line| line.starts_with("| `")).count()
}

#[test]
fn some_of_them_hold() {
    let mesh = TestMesh::up(&options());
    let mut names: Vec<_> = ["certificate-expiry", "tls-downgrade", "key-certificate-mismatch", "hot-reload"]
        .map(String::from)
        .into();
    for attempt in 1.. {
        let arguments: Vec<_> = names.iter().map(String::as_str).collect();
        let ((_, ran), standstill) = watched(|| run(&bowline(), &mesh, &arguments));
        assert_eq!(ran.len(), names.len());
        if standstill < STANDSTILL || attempt == ATTEMPTS {
            return assert_held(&ran);
        }
        names = ran.iter().filter(|ran| ran.verdict != "held").map(|ran| ran.name.clone()).collect();
        if names.is_empty() {
            return;
        }
        eprintln!("the machine stood still for {standstill:?}; once more: {names:?}");
    }
}

#[test]
#[ignore = "takes minutes: just chaos"]
fn all_of_them_hold_within_six_minutes() {
    let mesh = TestMesh::up(&options());
    let (took, ran) = run(&bowline(), &mesh, &["--all"]);
    eprintln!("{} experiments in {:.0} s", ran.len(), took.as_secs_f64());
    assert_eq!(ran.len(), experiments());
    assert_held(&ran);
    assert!(took < Duration::from_secs(360), "{took:?}");
    assert_eq!(mesh.interrupt(), Some(0));
}
