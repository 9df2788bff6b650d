//! Services A and B of the TLS demo.
fn main() {}
