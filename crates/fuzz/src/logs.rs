//! What a task's applications send to its log router, and the file that configures it.

use bowline_logs::{
    fluent_bit::FluentBit,
    forward::{
        msgpack::{Scanner, decode, write_json},
        read_message,
    },
};

/// A message of Fluentd's forward protocol.
///
/// The scanner, which is fed as bytes come, ends where the decoder does; what is read can be written and read again.
pub fn forward(input: &[u8]) {
    let _ = read_message(input);
    let Ok((value, length)) = decode(input) else { return };
    let mut scanner = Scanner::default();
    for end in (0..length).step_by(7) {
        assert_eq!(scanner.advance(&input[..end]), Ok(None));
    }
    assert_eq!(scanner.advance(input), Ok(Some(length)));
    let json = value.into_json();
    let mut written = Vec::new();
    write_json(&mut written, &json);
    let (again, _) = decode(&written).expect("it was written");
    assert_eq!(again.into_json(), json);
}

/// A `fluent-bit.conf`. A fault names a line of the file.
pub fn fluent_bit(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let variable = |name: &str| (name != "NOBODY").then(|| "7".to_owned());
    if let Err(error) = FluentBit::parse("fluent-bit.conf", text, &variable) {
        assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error}");
    }
}
