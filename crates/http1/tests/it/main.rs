//! The client as servers see it, and against hyper's.

#![allow(clippy::unwrap_used)]

mod connection;
mod kit;
mod oracle;
mod uploads;
mod wire;
