//! Bowline's nouns and its pure decisions.
//!
//! Nothing here does I/O, knows AWS's JSON or reads the clock: time is an
//! argument, so that every decision can be tested and simulated.

pub mod alarm;
pub mod arn;
pub mod authorization;
pub mod balance;
pub mod capacity;
pub mod cidr;
pub mod clock;
pub mod diagnostics;
pub mod experiment;
pub mod fault;
pub mod identity;
pub mod limit;
pub mod load_balancer;
pub mod log;
pub mod log_driver;
pub mod log_filter;
pub mod log_query;
pub mod metric;
pub mod network;
pub mod outlier;
pub mod overload;
pub mod policy;
pub mod restart;
pub mod retry;
pub mod rollout;
pub mod sabotage;
pub mod sampling;
pub mod scaling;
pub mod service;
pub mod succession;
pub mod tap;
pub mod task;
pub mod task_definition;
pub mod trace;
pub mod trace_context;
pub mod traffic;
pub mod wildcard;
pub mod zone;
