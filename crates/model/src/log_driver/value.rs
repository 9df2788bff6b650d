//! Values of Fluent Bit's options.

/// A switch: `on`, `true`, `yes`, or their contraries.
pub fn is_on(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}
