//! Chaos: faults are injected, and what becomes of the traffic is judged.
//!
//! - [`injector`]: puts faults in force and ends them.
//! - [`relay`]: the process between two sidecars that harms what passes.
//! - [`evidence`]: what a fault has done.

pub mod evidence;
pub mod injector;
pub mod relay;
