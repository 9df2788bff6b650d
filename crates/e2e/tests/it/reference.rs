//! `docs/src/cli.md` is what the commands say of themselves.

use std::{fmt::Write, process::Command, time::Duration};

use bowline_e2e::{
    command::run_limited,
    mesh::{bowline, repository},
};

const COMMANDS: [&str; 36] = [
    "",
    "up",
    "server",
    "down",
    "check",
    "status",
    "stat",
    "edges",
    "top",
    "routes",
    "events",
    "trace",
    "tap",
    "diagnostics",
    "log-level",
    "logs",
    "certs",
    "certs revoke",
    "certs allow",
    "certs crl",
    "ca",
    "ca next",
    "ca promote",
    "ca retire",
    "identity",
    "exec",
    "verify",
    "access-key create",
    "access-key list",
    "access-key delete",
    "master-key rotate",
    "policy test",
    "audit verify",
    "audit lookup",
    "proxy",
    "completions",
];

fn reference() -> String {
    let mut text = "# Commands\n\nMade by a test from what the commands say of themselves; \
                    `BOWLINE_UPDATE=1 cargo test -p bowline-e2e reference` writes it anew.\n"
        .to_owned();
    for command in COMMANDS {
        let mut help = Command::new(bowline());
        // Defaults that the environment gives would differ from machine to machine.
        help.env_remove("BOWLINE_STATE_DIR").env_remove("AWS_REGION").env("COLUMNS", "100");
        if !command.is_empty() {
            help.args(command.split(' '));
        }
        let outcome = run_limited(help.arg("--help"), Duration::from_secs(60));
        assert!(outcome.success(), "{outcome:?}");
        let title = format!("bowline {command}");
        let body: Vec<_> = outcome.stdout.lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## {}\n\n```text\n{}\n```\n", title.trim_end(), body.join("\n"));
    }
    text
}

#[test]
fn the_commands_reference_is_true() {
    let path = repository().join("docs/src/cli.md");
    let made = reference();
    if std::env::var_os("BOWLINE_UPDATE").is_some() {
        std::fs::write(&path, made).expect("the reference is written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/src/cli.md is stale: BOWLINE_UPDATE=1 cargo test -p bowline-e2e reference writes it anew"
    );
}
