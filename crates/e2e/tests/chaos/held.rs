//! Experiments hold.

use std::time::Duration;

use bowline_e2e::{
    experiments::Ran,
    mesh::{TestMesh, bowline, repository},
    standstill::until_good,
};

use crate::run::{options, run};

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
    let names = ["certificate-expiry", "tls-downgrade", "key-certificate-mismatch", "hot-reload"];
    let all_hold = |ran: &Vec<Ran>| ran.iter().all(|ran| ran.verdict == "held");
    let ran = until_good(|| run(&bowline(), &mesh, &names).1, all_hold);
    assert_eq!(ran.len(), names.len());
    assert_held(&ran);
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
