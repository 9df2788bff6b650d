//! All of it once more as an ordinary user.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use crate::machine::program;

/// The user and group `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn everything_works_for_an_ordinary_user() {
    if !nix::unistd::Uid::effective().is_root() {
        println!("not root: the other tests are this one");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let copy = |from: &std::path::Path, name: &str| {
        let to = directory.path().join(name);
        fs::copy(from, &to).expect("copies");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("may be run");
        to
    };
    let tests = copy(&std::env::current_exe().expect("own path"), "tests");
    let program = copy(program().as_ref(), "program");
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).expect("creates");
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o777)).expect("may be used");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("may be entered");
    let output = Command::new(tests)
        .env("BOWLINE_TEST_PROGRAM", program)
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary)
        .current_dir(&temporary)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(" 0 passed"), "{text}");
}
