//! One binary for all end-to-end tests: linked once.

mod chapters;
mod egress;
mod examples;
mod reference;
mod structure;
mod two_services;
