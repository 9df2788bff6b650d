//! Chaos: faults are injected, and what becomes of the traffic is judged.
//!
//! - [`injector`]: puts faults in force and ends them, within the process that runs the mesh.
//! - [`relay`]: the process between two sidecars that harms what passes.
//! - [`evidence`]: what a fault has done.
//! - [`system`]: a running mesh, as a client sees it that makes experiments.
//! - [`experiment`]: what an experiment is; [`experiments`]: those that there are; [`scope`]: of whom they are made.
//! - [`probe`]: requests from within a caller's task.
//! - [`revival`]: the process that kills the control plane and starts it again.
//! - [`runner`]: measures, injects, restores and judges; [`record`] and [`report`]: what that came to.
//! - [`attack`]: attackers that are played from the host.
//! - [`order`]: random choices that can be made again.

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
pub mod revival;
pub mod runner;
pub mod scope;
pub mod system;
