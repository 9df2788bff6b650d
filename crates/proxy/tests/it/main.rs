//! Real proxies over loopback: two of them, a test CA, real applications.

mod backend;
mod balancing;
mod control_plane;
mod deadlines;
mod external;
mod harness;
mod http;
mod imported;
mod kept;
mod metrics;
mod modes;
mod refusals;
mod resilience;
mod revocation;
mod shaping;
mod smuggling;
mod tcp;
mod tls;
mod traffic;

/// As `bowline` has: what workers keep is kept here, too.
#[global_allocator]
static ALLOCATOR: bowline_plumbing::sys::allocator::Allocator = bowline_plumbing::sys::allocator::Allocator;
