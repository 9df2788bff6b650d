//! Chaos: faults are injected, and what becomes of the traffic is judged.
