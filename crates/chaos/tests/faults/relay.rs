//! Relays.
/// A relay, as the tests start it.
#[test]
#[ignore = "is not a test: the relays of tests are it"]
fn as_a_relay() {
    let _ = bowline_chaos::relay::main();
    std::process::exit(0);
}
