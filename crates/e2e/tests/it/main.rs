//! One binary for all end-to-end tests: linked once.

mod agree;
mod authorization;
mod aws_api;
mod ca;
mod cdk;
mod certs;
mod chaos_run;
mod chapters;
mod deployments;
mod dns;
mod egress;
mod examples;
mod exec;
mod external;
mod inspect;
mod logs;
mod metrics;
mod modes;
mod prometheus;
mod reference;
mod stat;
mod structure;
mod task_role;
mod tracing;
mod traffic;
mod two_services;
