//! The notation of requests of the query protocol, and of EC2's: a form whose names are paths,
//! `Tags.member.1.Key=a` (query) or `Tag.1.Key=a` (EC2, and flattened lists).

use std::collections::BTreeMap;

use super::Document;

/// Most parameters in one request.
const PARAMETERS_MAX: usize = 10_000;

/// Most structures, lists and values of one request together: what a form is turned into takes more
/// room than the form.
const NODES_MAX: usize = 20_000;

/// Deepest path.
const DEPTH_MAX: usize = 32;

/// What of a form cannot be read.
pub(crate) const TOO_MUCH: &str = "the request has too many or too deeply nested parameters";

#[derive(Default)]
struct Tree {
    value: Option<String>,
    children: Vec<(String, Tree)>,
    index: BTreeMap<String, usize>,
}

impl Tree {
    fn child(&mut self, name: &str, made: &mut usize) -> &mut Self {
        let at = match self.index.get(name) {
            Some(at) => *at,
            None => {
                *made += 1;
                self.children.push((name.to_owned(), Self::default()));
                self.index.insert(name.to_owned(), self.children.len() - 1);
                self.children.len() - 1
            }
        };
        &mut self.children[at].1
    }

    fn into_document(mut self) -> Document {
        if self.children.is_empty() {
            return Document::Untyped(self.value.unwrap_or_default());
        }
        // `member` and `entry` only wrap what is numbered.
        if let [(name, _)] = &self.children[..]
            && matches!(name.as_str(), "member" | "entry")
            && let Some((_, inner)) = self.children.pop()
        {
            return match inner.into_document() {
                // A structure may have a member that is called so.
                single @ Document::Untyped(_) => Document::Map(vec![("member".into(), single)]),
                list => list,
            };
        }
        let number = |name: &str| -> Option<u32> { (!name.starts_with('0')).then(|| name.parse().ok())? };
        if self.children.iter().all(|(name, _)| number(name).is_some()) {
            let mut items: Vec<_> =
                self.children.into_iter().map(|(name, tree)| (number(&name), tree)).collect();
            items.sort_by_key(|(number, _)| *number);
            return Document::List(items.into_iter().map(|(_, tree)| tree.into_document()).collect());
        }
        Document::Map(self.children.into_iter().map(|(name, tree)| (name, tree.into_document())).collect())
    }
}

/// Reads a form (`application/x-www-form-urlencoded`).
pub(crate) fn parse(form: &[u8]) -> Result<Document, &'static str> {
    let (mut tree, mut made) = (Tree::default(), 0);
    for (count, pair) in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
        if count >= PARAMETERS_MAX {
            return Err(TOO_MUCH);
        }
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let name = decode(&pair[..at]);
        let value = decode(pair.get(at + 1..).unwrap_or_default());
        let mut node = &mut tree;
        for (depth, segment) in name.split('.').enumerate() {
            if depth >= DEPTH_MAX {
                return Err(TOO_MUCH);
            }
            node = node.child(segment, &mut made);
            if made > NODES_MAX {
                return Err(TOO_MUCH);
            }
        }
        node.value = Some(value);
    }
    Ok(match tree.children.is_empty() {
        true => Document::empty(),
        false => Document::Map(
            tree.children.into_iter().map(|(name, tree)| (name, tree.into_document())).collect(),
        ),
    })
}

/// The last value of each of these names in a form, without reading the others.
pub(crate) fn values<const N: usize>(
    form: &[u8],
    names: [&str; N],
) -> Result<[Option<String>; N], &'static str> {
    let mut found = [const { None }; N];
    for (count, pair) in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
        if count >= PARAMETERS_MAX {
            return Err(TOO_MUCH);
        }
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
        // A name that is longer than this, each byte escaped, is none of them.
        if name.len() <= 3 * names.iter().map(|name| name.len()).max().unwrap_or(0) {
            let name = decode(name);
            if let Some(slot) = names.iter().position(|wanted| *wanted == name) {
                found[slot] = Some(decode(value));
            }
        }
    }
    Ok(found)
}

/// Percent-decoding with `+` for a space; what is no UTF-8 becomes U+FFFD, and a `%` that begins
/// no escape stands for itself.
fn decode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit into a byte.
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => {
                out.push(b' ');
                rest = tail;
            }
            (byte, ..) => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn untyped(text: &str) -> Document {
        Document::Untyped(text.into())
    }

    #[test]
    fn paths_become_structures_and_lists() {
        let form = "Action=CreateStack&StackName=a+b%2Fc&Tags.member.2.Key=y&Tags.member.1.Key=x&Tags.member.1.Value=1\
                    &Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1&Empty=";
        let document = parse(form.as_bytes()).expect("reads");
        assert_eq!(document.get("StackName"), Some(&untyped("a b/c")));
        let Some(Document::List(tags)) = document.get("Tags") else { panic!("{document:?}") };
        assert_eq!(tags[0].get("Key"), Some(&untyped("x")));
        assert_eq!(tags[1].get("Key"), Some(&untyped("y")));
        let Some(Document::List(filters)) = document.get("Filter") else { panic!("{document:?}") };
        assert_eq!(filters[0].get("Value"), Some(&Document::List(vec![untyped("vpc-1")])));
        assert_eq!(document.get("Empty"), Some(&untyped("")));
    }

    #[test]
    fn a_form_is_bounded() {
        assert!(parse("a=1&".repeat(PARAMETERS_MAX + 1).as_bytes()).is_err());
        assert!(parse(format!("{}=1", "a.".repeat(DEPTH_MAX + 1)).as_bytes()).is_err());
        let deep: String =
            (0..1_000).map(|number| format!("p{number}{}=1&", ".a".repeat(DEPTH_MAX - 1))).collect();
        assert_eq!(parse(deep.as_bytes()), Err(TOO_MUCH), "many deep ones are too many together");
        assert_eq!(values("a=1&".repeat(PARAMETERS_MAX + 1).as_bytes(), ["b"]), Err(TOO_MUCH));
    }

    #[test]
    fn single_values_are_found_as_the_whole_form_has_them() {
        let form = b"x=1&Action=First&%41ction=Create%2FStack&Version=2&Actions=no&Versio=no";
        let [action, version] = values(form, ["Action", "Version"]).expect("reads");
        assert_eq!((action.as_deref(), version.as_deref()), (Some("Create/Stack"), Some("2")));
        assert_eq!(parse(form).expect("reads").get("Action"), Some(&untyped("Create/Stack")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse(&bytes), values(&bytes, ["Action"]));
        }
    }
}
