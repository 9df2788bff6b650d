//! End-to-end tests of Bowline: the harness.
//!
//! The tests are in one binary, `tests/it`.
