//! What reaches the control plane's DNS server.

use bowline_control::fuzzing;

/// A client's message; the same as a resolver's answer to it.
pub fn name_server(input: &[u8]) {
    fuzzing::name_server(input);
}
