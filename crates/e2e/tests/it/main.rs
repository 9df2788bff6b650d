//! One binary for all end-to-end tests: linked once.

mod chapters;
mod examples;
mod reference;
mod structure;
mod two_services;
