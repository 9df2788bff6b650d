//! Says loudly that this is no build to use: its defences can be switched off.

use bowline_model::sabotage::{VARIABLE, unknown_words, words};

use crate::check::{Check, Group};

/// Warns on standard error; ends the process where a word is no defence's, for what is not switched off would be
/// believed to have been.
pub(crate) fn warn() {
    let unknown = unknown_words();
    if !unknown.is_empty() {
        eprintln!("bowline: SABOTAGE: {VARIABLE} has {}, which no defence is called", unknown.join(", "));
        std::process::exit(2);
    }
    match words() {
        words if words.is_empty() => eprintln!("bowline: SABOTAGE build: defences can be switched off"),
        words => eprintln!("bowline: SABOTAGE: switched off: {}", words.join(", ")),
    }
}

/// What `bowline check` says of it.
pub(crate) fn judged() -> Group {
    let what = "SABOTAGE: this build's defences can be switched off";
    let hint = "use a release of Bowline, which cannot be built so";
    Group { title: "build", checks: vec![Check::failure("build-sabotage", what, hint, "chaos.md")] }
}
