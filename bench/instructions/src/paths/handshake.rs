//! The handshake of two sidecars, in memory: what is sent by one is read by the other.
//!
//! Nearly all of it is cryptography, both sides', of which valgrind hides what processors have had since 2015: there
//! X25519, P-256 and SHA-256 take fewer instructions. That each side knows the other's chain already is as in use.

use anyhow::Context;
use bowline_proxy::measured::Handshakes;

use super::whole::Ca;

pub(crate) fn mutual(times: u64) -> anyhow::Result<()> {
    let ca = Ca::new()?;
    let ([caller, caller_key], [called, called_key]) = (ca.issue("a")?, ca.issue("b")?);
    let mut handshakes = Handshakes::new(&ca.root_pem, [&caller, &caller_key], [&called, &called_key])?;
    for _ in 0..times {
        handshakes.make().context("one side refuses the other")?;
    }
    Ok(())
}
