//! Chaos: faults are injected, and what becomes of the traffic is judged.

pub mod attack;
pub mod evidence;
pub mod experiment;
pub mod experiments;
pub mod injector;
pub mod order;
pub mod probe;
pub mod record;
pub mod relay;
pub mod report;
pub mod runner;
pub mod scope;
pub mod system;
