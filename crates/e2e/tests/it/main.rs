//! One binary for all end-to-end tests: linked once.

mod structure;
