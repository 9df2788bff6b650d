//! Wildcards: `*` any characters, `?` one, `${key}` the value of a condition key.

use super::RequestContext;

/// A compiled text with wildcards and policy variables.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Any,
    One,
    /// A condition key in lower case, and the text if it has no value.
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A [`Piece`] whose variable has its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Literal(&'a str),
    Any,
    One,
}

/// What of a text is special.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    /// `*` and `?`.
    pub(super) wildcards: bool,
    /// `${key}`, `${key, 'default'}`, `${*}`, `${?}`, `${$}`: of version 2012-10-17 on.
    pub(super) variables: bool,
}

impl Pattern {
    /// Compiles `text`; the error says what is wrong with a variable.
    pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let special = match character {
                '*' if syntax.wildcards => Some((Piece::Any, &rest[1..])),
                '?' if syntax.wildcards => Some((Piece::One, &rest[1..])),
                '$' if syntax.variables && rest.starts_with("${") => {
                    let (inside, after) =
                        rest[2..].split_once('}').ok_or("a policy variable, ${…}, is not closed")?;
                    match inside {
                        "*" | "?" | "$" => {
                            literal.push_str(inside);
                            rest = after;
                            continue;
                        }
                        inside => Some((Piece::variable(inside)?, after)),
                    }
                }
                _ => None,
            };
            match special {
                Some((piece, after)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    // Two in a row say no more than one.
                    if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                        pieces.push(piece);
                    }
                    rest = after;
                }
                None => {
                    literal.push(character);
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// Whether the pattern covers all of `text`; `None` if a variable has no value.
    pub(super) fn matches(&self, text: &str, request: &RequestContext) -> Option<bool> {
        match self.pieces.as_slice() {
            [Piece::Any] => return Some(true),
            [Piece::Literal(literal)] => return Some(literal == text),
            [Piece::Literal(literal), Piece::Any] => return Some(text.starts_with(literal.as_str())),
            _ => {}
        }
        let parts: Option<Vec<Part<'_>>> = self.pieces.iter().map(|piece| piece.resolve(request)).collect();
        Some(covers(&parts?, text))
    }

    /// The text that a pattern without wildcards stands for; `None` if a variable has no value.
    pub(super) fn literal(&self, request: &RequestContext) -> Option<String> {
        self.pieces
            .iter()
            .map(|piece| match piece.resolve(request)? {
                Part::Literal(text) => Some(text),
                Part::Any => Some("*"),
                Part::One => Some("?"),
            })
            .collect()
    }
}

impl Piece {
    fn variable(inside: &str) -> Result<Self, String> {
        let (key, default) = match inside.split_once(',') {
            None => (inside, None),
            Some((key, default)) => {
                let quoted = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
                let text = quoted.ok_or("the default of a policy variable must stand in single quotes")?;
                (key, Some(text.to_owned()))
            }
        };
        let key = key.trim();
        let is_key = |c: char| c.is_alphanumeric() || ":/-_.+=@ ".contains(c);
        if !key.contains(':') || !key.chars().all(is_key) {
            return Err(format!("${{{inside}}} is no policy variable; one is ${{vendor:key}}"));
        }
        Ok(Self::Variable { key: key.to_lowercase(), default })
    }

    fn resolve<'a>(&'a self, request: &'a RequestContext) -> Option<Part<'a>> {
        Some(match self {
            Self::Literal(text) => Part::Literal(text),
            Self::Any => Part::Any,
            Self::One => Part::One,
            // A key of several values stands for none of them.
            Self::Variable { key, default } => match request.values_folded(key) {
                Some([value]) => Part::Literal(value),
                Some([]) | None => Part::Literal(default.as_deref()?),
                Some(_) => return None,
            },
        })
    }
}

/// Whether `parts` cover all of `text`. What stands between two stars is looked for from left to
/// right and never given back, so that the effort is at most that of pattern times text, and
/// without `?` that of one search over the text.
fn covers(parts: &[Part<'_>], text: &str) -> bool {
    let Some(first_star) = parts.iter().position(|part| *part == Part::Any) else {
        return strip_prefix(parts, text) == Some("");
    };
    let Some(mut rest) = strip_prefix(&parts[..first_star], text) else { return false };
    let mut chunks = parts[first_star + 1..].split(|part| *part == Part::Any).peekable();
    while let Some(chunk) = chunks.next() {
        if chunks.peek().is_none() {
            return ends_with(chunk, rest);
        }
        match strip_through(chunk, rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

fn strip_prefix<'t>(parts: &[Part<'_>], text: &'t str) -> Option<&'t str> {
    parts.iter().try_fold(text, |text, part| match part {
        Part::Literal(literal) => text.strip_prefix(literal),
        Part::One | Part::Any => {
            let mut characters = text.chars();
            characters.next().map(|_| characters.as_str())
        }
    })
}

fn ends_with(parts: &[Part<'_>], text: &str) -> bool {
    let before = parts.iter().rev().try_fold(text, |text, part| match part {
        Part::Literal(literal) => text.strip_suffix(literal),
        Part::One | Part::Any => {
            let mut characters = text.chars();
            characters.next_back().map(|_| characters.as_str())
        }
    });
    before.is_some()
}

/// What follows the leftmost place where `parts` stand in `text`.
fn strip_through<'t>(parts: &[Part<'_>], text: &'t str) -> Option<&'t str> {
    let Some(first) = parts.first() else { return Some(text) };
    let mut rest = text;
    loop {
        if let Part::Literal(literal) = first {
            rest = &rest[rest.find(literal)?..];
        }
        if let Some(after) = strip_prefix(parts, rest) {
            return Some(after);
        }
        let mut characters = rest.chars();
        characters.next()?;
        rest = characters.as_str();
    }
}

/// A pattern of an ARN: each of the six parts by itself, so that no star reaches over a colon but
/// in the last.
#[derive(Clone, Debug)]
pub(super) enum ArnPattern {
    /// `*`: also what is no ARN.
    Everything,
    /// The parts after `arn`.
    Parts(Box<[Pattern; 5]>),
}

impl ArnPattern {
    /// Compiles `*` or an ARN, in which parts that are left out at the end are `*`.
    pub(super) fn parse(text: &str, variables: bool) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let Some(after_prefix) = text.strip_prefix("arn:") else {
            return Err(format!("{text:?} must be in ARN format or \"*\""));
        };
        let pattern = Pattern::parse(after_prefix, Syntax { wildcards: true, variables })?;
        let mut parts = vec![Vec::new()];
        for piece in pattern.pieces {
            let Piece::Literal(mut literal) = piece else {
                push(&mut parts, piece);
                continue;
            };
            while parts.len() < 5
                && let Some((before, after)) = literal.split_once(':')
            {
                if !before.is_empty() {
                    push(&mut parts, Piece::Literal(before.to_owned()));
                }
                parts.push(Vec::new());
                literal = after.to_owned();
            }
            if !literal.is_empty() {
                push(&mut parts, Piece::Literal(literal));
            }
        }
        let mut parts = parts.into_iter();
        Ok(Self::Parts(Box::new(std::array::from_fn(|_| Pattern {
            pieces: parts.next().unwrap_or_else(|| vec![Piece::Any]),
        }))))
    }

    /// Whether the pattern covers `arn`; `None` if a variable has no value.
    pub(super) fn matches(&self, arn: &str, request: &RequestContext) -> Option<bool> {
        let Self::Parts(patterns) = self else { return Some(true) };
        let mut parts = arn.splitn(6, ':');
        if parts.next() != Some("arn") {
            return Some(false);
        }
        let mut unknown = false;
        for pattern in patterns.iter() {
            let Some(part) = parts.next() else { return Some(false) };
            match pattern.matches(part, request) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => unknown = true,
            }
        }
        (!unknown).then_some(true)
    }
}

fn push(parts: &mut [Vec<Piece>], piece: Piece) {
    if let Some(last) = parts.last_mut() {
        last.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Principal;
    use proptest::prelude::*;

    fn request() -> RequestContext {
        RequestContext::new(Principal::Anonymous, "a:B", "*")
            .with("aws:username", ["bob"])
            .with("a:star", ["*"])
            .with("a:many", ["x", "y"])
            .with("a:colon", ["x:y"])
    }

    fn matches(pattern: &str, text: &str) -> Option<bool> {
        let syntax = Syntax { wildcards: true, variables: true };
        Pattern::parse(pattern, syntax).expect("parses").matches(text, &request())
    }

    #[test]
    fn wildcards_and_variables() {
        for (pattern, text, expected) in [
            ("", "", Some(true)),
            ("", "a", Some(false)),
            ("*", "", Some(true)),
            ("?", "ü", Some(true)),
            ("?", "", Some(false)),
            ("a*b*c", "a--b--c", Some(true)),
            ("a*b*c", "a--b--", Some(false)),
            ("a*ab", "aab", Some(true)),
            ("a*ab", "ab", Some(false)),
            ("*a?c*", "xxabxabc", Some(true)),
            ("${aws:username}", "bob", Some(true)),
            ("x/${AWS:UserName}/*", "x/bob/y", Some(true)),
            ("${a:none}", "", None),
            ("${a:none, 'd e'}", "d e", Some(true)),
            ("${a:many}", "x", None),
            ("${a:many, 'x'}", "x", None),
            // A value is no pattern.
            ("${a:star}", "*", Some(true)),
            ("${a:star}", "abc", Some(false)),
            ("${*}${?}${$}", "*?$", Some(true)),
            ("${*}", "a", Some(false)),
            ("$a{}", "$a{}", Some(true)),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        for wrong in ["${a:b", "${}", "${nokey}", "${a:b, c}", "${a:b${a:c}}"] {
            let syntax = Syntax { wildcards: true, variables: true };
            assert!(Pattern::parse(wrong, syntax).is_err(), "{wrong}");
            assert!(Pattern::parse(wrong, Syntax { variables: false, ..syntax }).is_ok(), "{wrong}");
        }
    }

    #[test]
    fn arns_are_matched_part_by_part() {
        let arn = "arn:aws:ecs:us-east-1:111122223333:service/demo/a:1";
        for (pattern, expected) in [
            ("*", true),
            ("arn:aws:ecs:us-east-1:111122223333:service/demo/a:1", true),
            ("arn:aws:ecs:us-east-1:111122223333:service/demo/*", true),
            ("arn:aws:ecs:*:*:service/*", true),
            ("arn:*:ecs:us-*-?:*:*", true),
            ("arn:aws:ecs:us-east-1:111122223333:service/other/*", false),
            ("arn:aws:ecs", true),
            ("arn:aws:sqs", false),
            ("arn:aws:ec*", true),
            // A star of one part does not reach into the next.
            ("arn:aws:*:service/demo/a:1", false),
            ("arn:aws:ecs::111122223333:*", false),
            ("arn:AWS:ecs:*:*:*", false),
        ] {
            let compiled = ArnPattern::parse(pattern, true).expect("parses");
            assert_eq!(compiled.matches(arn, &request()), Some(expected), "{pattern}");
        }
        let compiled = ArnPattern::parse("arn:aws:ecs:*:*:*", true).expect("parses");
        assert_eq!(compiled.matches("*", &request()), Some(false));
        assert_eq!(compiled.matches("arn:aws:ecs", &request()), Some(false));
        // The colon of a variable's key, or of its value, separates nothing.
        let compiled =
            ArnPattern::parse("arn:aws:iam::1:user/${aws:username}/${a:colon}", true).expect("parses");
        assert_eq!(compiled.matches("arn:aws:iam::1:user/bob/x:y", &request()), Some(true));
        let compiled = ArnPattern::parse("arn:aws:iam:${a:colon}:1:*", true).expect("parses");
        assert_eq!(compiled.matches("arn:aws:iam:x:y:1:*", &request()), Some(false));
        assert!(ArnPattern::parse("bucket/*", true).is_err());
    }

    #[test]
    fn hostile_patterns_end() {
        let pattern = "*a".repeat(3000) + "b";
        assert_eq!(matches(&pattern, &"a".repeat(2000)), Some(false));
        let pattern = "*?a?".repeat(1500) + "b";
        assert_eq!(matches(&pattern, &"a".repeat(2000)), Some(false));
    }

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_naive_matcher_does(pattern in "[abü*?]{0,10}", text in "[abü]{0,12}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), Some(naive(&p, &t)));
        }

        #[test]
        fn any_text_is_compiled_or_refused(text in "\\PC{0,40}", tail in "[${}:*,' a]{0,20}") {
            let _ = Pattern::parse(&text, Syntax { wildcards: true, variables: true });
            let _ = Pattern::parse(&tail, Syntax { wildcards: true, variables: true });
            let _ = ArnPattern::parse(&format!("arn:{text}{tail}"), true);
        }
    }
}
