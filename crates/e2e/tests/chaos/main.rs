//! Chaos experiments against a mesh that runs: that they hold, and that each falls when what it checks is switched off.
//!
//! `just chaos` runs all of it. Without `--include-ignored` three experiments are run, and it is looked whether a build
//! that is released can switch anything off.

mod absent;
mod held;
mod run;
mod sabotaged;
