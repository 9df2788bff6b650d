//! `*` and `?` patterns, as an ALB's rules have them.

use serde::{Deserialize, Serialize};

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;

/// A compiled pattern: `*` stands for any number of characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wildcard {
    pattern: Vec<u8>,
    ignore_case: bool,
}

impl Wildcard {
    /// `None` when the pattern is longer than 1,024 bytes or empty.
    pub fn new(pattern: &str, ignore_case: bool) -> Option<Self> {
        let bytes =
            if ignore_case { pattern.to_ascii_lowercase().into_bytes() } else { pattern.as_bytes().to_vec() };
        (!bytes.is_empty() && bytes.len() <= PATTERN_BYTES_MAX)
            .then_some(Self { pattern: bytes, ignore_case })
    }

    /// Whether the whole of `text` fits. Time is O(pattern · text).
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (&self.pattern[..], text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Where to resume when a literal does not fit: the last star and how
        // much it has swallowed.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            let byte = if self.ignore_case { text[t].to_ascii_lowercase() } else { text[t] };
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p + 1, t));
                    p += 1;
                }
                Some(&expected) if expected == b'?' || expected == byte => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((after_star, swallowed)) = star else { return false };
                    p = after_star;
                    t = swallowed + 1;
                    star = Some((after_star, t));
                }
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

impl std::fmt::Display for Wildcard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.pattern))
    }
}

/// As text, a pattern that minds the case.
impl Serialize for Wildcard {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wildcard {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text, false).ok_or_else(|| serde::de::Error::custom("a pattern has 1 to 1,024 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Wildcard::new(pattern, false).expect("a pattern").matches(text)
    }

    #[test]
    fn reads_as_an_alb_does() {
        assert!(matches("/service-a*", "/service-a/status"));
        assert!(matches("/service-a*", "/service-a"));
        assert!(!matches("/service-a", "/service-a/status"));
        assert!(matches("/img/?.png", "/img/a.png"));
        assert!(!matches("/img/?.png", "/img/.png"));
        assert!(matches("*a*b*", "xaxbx"));
        assert!(!matches("*a*b", "xaxbx"));
        assert!(Wildcard::new("*.Example.com", true).expect("a pattern").matches("API.example.COM"));
        assert!(!matches("/A", "/a"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_definition(pattern in "[ab*?]{1,8}", text in "[ab]{0,8}") {
            fn obvious(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.first(), text.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => obvious(&pattern[1..], text)
                        || (!text.is_empty() && obvious(pattern, &text[1..])),
                    (Some(b'?'), Some(_)) => obvious(&pattern[1..], &text[1..]),
                    (Some(p), Some(t)) if p == t => obvious(&pattern[1..], &text[1..]),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), obvious(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
