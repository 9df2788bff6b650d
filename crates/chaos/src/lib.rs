//! Chaos: faults are injected, and what becomes of the traffic is judged.

pub mod attack;
pub mod experiment;
pub mod experiments;
pub mod probe;
pub mod record;
pub mod runner;
pub mod scope;
pub mod system;
