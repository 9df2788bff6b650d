//! Patterns of paths, and the escapes of paths and queries.

use std::{borrow::Cow, cmp::Ordering};

/// Most segments of a path that is looked at.
const SEGMENTS_MAX: usize = 256;

/// Most parameters of a query.
const PARAMETERS_MAX: usize = 1_000;

/// A pattern, read where it is needed: it is short and takes no memory of its own.
#[derive(Clone, Copy)]
pub(super) struct Pattern {
    path: &'static str,
    query: &'static str,
}

/// A segment of a pattern. In the order of how much it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Label(&'static str),
    Greedy(&'static str),
}

impl Segment {
    fn new(text: &'static str) -> Self {
        let Some(label) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return Self::Literal(text);
        };
        match label.strip_suffix('+') {
            Some(label) => Self::Greedy(label),
            None => Self::Label(label),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Literal(_) => 2,
            Self::Label(_) => 1,
            Self::Greedy(_) => 0,
        }
    }
}

impl Pattern {
    pub(super) fn new(uri: &'static str) -> Self {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        Self { path, query }
    }

    fn segments(&self) -> impl Iterator<Item = Segment> {
        let path: &'static str = self.path;
        segments(path).map(Segment::new)
    }

    /// The literals of the query; no value means any.
    fn literals(&self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        let query: &'static str = self.query;
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        })
    }

    /// The names of the labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = &'static str> {
        self.segments().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Label(name) | Segment::Greedy(name) => Some(name),
        })
    }

    /// Whether it is a pattern at all.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err(format!("{:?} does not begin with a slash", self.path));
        }
        let mut greedy = false;
        // A slash at the end is a segment of its own that is empty (`/tags/{id}/` of EFS).
        let last = self.segments().count().saturating_sub(1);
        for (at, segment) in self.segments().enumerate() {
            match segment {
                Segment::Literal("") if at == last => {}
                Segment::Literal(text) if text.is_empty() || text.contains(['{', '}', '%']) => {
                    return Err(format!("{:?} has the segment {text:?}", self.path));
                }
                Segment::Label(name) | Segment::Greedy(name) if greedy || name.is_empty() => {
                    return Err(format!(
                        "{:?} has a label after a greedy one, or one without a name",
                        self.path
                    ));
                }
                Segment::Greedy(_) => greedy = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a path, still with its escapes, and a query fit.
    pub(super) fn matches(&self, path: &str, query: &str) -> bool {
        self.values(path).is_some()
            && self.literals().all(|(name, value)| {
                // What is no escape is no name of a literal.
                parameters(query).any(|parameter| match parameter {
                    Ok((found, given)) => found == name && value.is_none_or(|value| given == value),
                    Err(_) => false,
                })
            })
    }

    /// What stands for the labels, still with its escapes; `None` where the path does not fit.
    /// No label is empty.
    pub(super) fn values<'a>(&self, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
        if !path.starts_with('/') {
            return None;
        }
        let given: Vec<(usize, &str)> = offsets(path).take(SEGMENTS_MAX + 1).collect();
        let wanted: Vec<Segment> = self.segments().collect();
        if given.len() > SEGMENTS_MAX {
            return None;
        }
        // A greedy label takes all segments that the others leave.
        let spare = match wanted.iter().any(|segment| matches!(segment, Segment::Greedy(_))) {
            true => given.len().checked_sub(wanted.len())?,
            false if given.len() == wanted.len() => 0,
            false => return None,
        };
        let mut values = Vec::new();
        let mut at = 0;
        for segment in wanted {
            let (start, text) = *given.get(at)?;
            match segment {
                Segment::Literal(literal) => {
                    if unescape(text, Plus::Itself).ok()? != literal {
                        return None;
                    }
                }
                Segment::Label(name) => values.push((name, text)),
                Segment::Greedy(name) => {
                    at += spare;
                    let (last, text) = *given.get(at)?;
                    values.push((name, path.get(start..last + text.len())?));
                }
            }
            at += 1;
        }
        values.iter().all(|(_, value)| !value.is_empty()).then_some(values)
    }

    /// Whether it is more specific than another that matches the same path.
    pub(super) fn specificity(&self, other: &Self) -> Ordering {
        let ranks = |pattern: &Self| pattern.segments().map(Segment::rank).collect::<Vec<_>>();
        // Of two that begin alike the longer is the greater.
        ranks(self).cmp(&ranks(other)).then_with(|| {
            let literals = |pattern: &Self| {
                let valued = pattern.literals().filter(|(_, value)| value.is_some()).count();
                (pattern.literals().count(), valued)
            };
            literals(self).cmp(&literals(other))
        })
    }

    /// Whether both match the same, so that neither is the more specific.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let shape = |pattern: &Self| {
            pattern
                .segments()
                .map(|segment| match segment {
                    Segment::Literal(text) => (2, text),
                    Segment::Label(_) => (1, ""),
                    Segment::Greedy(_) => (0, ""),
                })
                .collect::<Vec<_>>()
        };
        let literals = |pattern: &Self| {
            let mut literals: Vec<_> = pattern.literals().collect();
            literals.sort_unstable();
            literals
        };
        shape(self) == shape(other) && literals(self) == literals(other)
    }
}

/// The segments of a path that begins with a slash; `/` has none.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    offsets(path).map(|(_, text)| text)
}

/// The same, each with where it begins.
fn offsets(path: &str) -> impl Iterator<Item = (usize, &str)> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let mut next = path.len() - rest.len();
    let some = if rest.is_empty() { None } else { Some(rest.split('/')) };
    some.into_iter().flatten().map(move |text| {
        let start = next;
        next += text.len() + 1;
        (start, text)
    })
}

/// What of an address is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A `%` that begins no escape.
    Escape,
    /// What the escapes stand for is no UTF-8.
    Utf8,
    /// There are more parameters than are read.
    Parameters,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Escape => f.write_str("a percent sign is not followed by two hexadecimal digits"),
            Self::Utf8 => f.write_str("what is percent-encoded is not UTF-8"),
            Self::Parameters => write!(f, "there are more than {PARAMETERS_MAX} parameters"),
        }
    }
}

/// What `+` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    /// In paths.
    Itself,
    /// In queries, as forms have it: clients write a plus sign as `%2B`.
    Space,
}

/// Takes the escapes out (RFC 3986 §2.1). Unlike a browser it refuses what is malformed: a name
/// that was read otherwise than it was meant is another's.
pub(super) fn unescape(text: &str, plus: Plus) -> Result<Cow<'_, str>, Malformed> {
    let special = |byte: u8| byte == b'%' || (byte == b'+' && plus == Plus::Space);
    if !text.bytes().any(special) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(Malformed::Escape) };
                // Two hexadecimal digits fit into a byte.
                (high * 16 + low) as u8
            }
            b'+' if plus == Plus::Space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| Malformed::Utf8)
}

/// The parameters of a query without their escapes. One without `=` has an empty value.
pub(super) fn parameters(
    query: &str,
) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), Malformed>> {
    query.split('&').filter(|pair| !pair.is_empty()).enumerate().take(PARAMETERS_MAX + 1).map(
        |(count, pair)| {
            if count == PARAMETERS_MAX {
                return Err(Malformed::Parameters);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(name, Plus::Space)?, unescape(value, Plus::Space)?))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(uri: &'static str, path: &'static str) -> Option<Vec<(&'static str, &'static str)>> {
        Pattern::new(uri).values(path)
    }

    #[test]
    fn labels_take_one_segment_and_greedy_ones_several() {
        assert_eq!(values("/", "/"), Some(vec![]));
        assert_eq!(values("/a/{x}", "/a/b%2Fc"), Some(vec![("x", "b%2Fc")]));
        assert_eq!(values("/a/{x}/b", "/a/1/b"), Some(vec![("x", "1")]));
        assert_eq!(values("/a/{x}/", "/a/1/"), Some(vec![("x", "1")]));
        assert_eq!(values("/a/{x}/", "/a/1"), None);
        assert_eq!(Pattern::new("/a/{x}/").check(), Ok(()));
        assert_eq!(values("/{x}/{y+}", "/1/2/3/4"), Some(vec![("x", "1"), ("y", "2/3/4")]));
        assert_eq!(values("/{y+}/end", "/1/2//end"), Some(vec![("y", "1/2/")]));
        assert_eq!(values("/%61", "/a"), None, "a pattern has no escapes");
        assert_eq!(values("/abc", "/%61bc"), Some(vec![]), "a path may have needless ones");
        for (uri, path) in [
            ("/a/{x}", "/a/"),
            ("/a/{x}", "/a"),
            ("/a/{x}", "/a/1/"),
            ("/a", "/a/"),
            ("/a", "a"),
            ("/a", ""),
            ("/{y+}", "/"),
            ("/a/{y+}", "/a/"),
            ("/{y+}/end", "/end"),
            ("/{x}/b", "/1/%"),
        ] {
            assert_eq!(values(uri, path), None, "{uri} {path}");
        }
        let long = "/a".repeat(SEGMENTS_MAX + 1);
        assert!(Pattern::new("/{y+}").values(&long).is_none());
    }

    #[test]
    fn literals_of_the_query_have_to_be_there() {
        let matches = |uri, query| Pattern::new(uri).matches("/a", query);
        assert!(
            matches("/a?untag", "untag")
                && matches("/a?untag", "x=1&untag=")
                && matches("/a?untag", "%75ntag=1")
        );
        assert!(matches("/a?op=stop", "op=go&op=stop"));
        assert!(
            !matches("/a?op=stop", "op=go") && !matches("/a?untag", "") && !matches("/a?untag", "%untag")
        );
    }

    #[test]
    fn escapes_are_exact() {
        assert_eq!(unescape("a%2Fb+%c3%BC", Plus::Itself).as_deref(), Ok("a/b+ü"));
        assert_eq!(unescape("a+b%2B", Plus::Space).as_deref(), Ok("a b+"));
        for malformed in ["%", "%2", "%zz", "a%+1", "%ü"] {
            assert_eq!(unescape(malformed, Plus::Itself), Err(Malformed::Escape), "{malformed}");
        }
        assert_eq!(unescape("%ff", Plus::Itself), Err(Malformed::Utf8));
        let many = "a&".repeat(PARAMETERS_MAX + 5);
        assert_eq!(parameters(&many).filter_map(Result::err).collect::<Vec<_>>(), [Malformed::Parameters]);
    }
}
