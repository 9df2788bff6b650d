//! Pages of a list, with opaque tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// A token that this operation did not give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidToken;

/// One page, and the token of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_token: Option<String>,
}

/// The page of `items` after the one that gave `token` out. Items are ordered by `key`, which no
/// two share, so that what is added or removed between two pages neither repeats nor hides others.
pub(crate) fn page<T>(
    operation: &str,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    size: usize,
) -> Result<Page<T>, InvalidToken> {
    let after = token.map(|token| decode(operation, token)).transpose()?;
    let mut items: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(after) = after {
        items.retain(|(key, _)| *key > after);
    }
    let more = items.len() > size;
    items.truncate(size);
    let next_token = items.last().filter(|_| more).map(|(key, _)| encode(operation, key));
    Ok(Page { items: items.into_iter().map(|(_, item)| item).collect(), next_token })
}

/// A key that is ordered the other way round.
pub(crate) fn reversed(key: &str) -> String {
    let inverted = key.bytes().map(|byte| format!("{:02x}", !byte));
    // The end is after every digit: of two keys of which one begins the other, the longer is first.
    inverted.chain(["~".to_owned()]).collect()
}

pub(super) fn encode(operation: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{operation}\n{key}"))
}

pub(super) fn decode(operation: &str, token: &str) -> Result<String, InvalidToken> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidToken)?;
    let text = String::from_utf8(bytes).map_err(|_| InvalidToken)?;
    match text.split_once('\n') {
        Some((of, key)) if of == operation => Ok(key.to_owned()),
        _ => Err(InvalidToken),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_together_are_the_list(count in 0usize..40, size in 1usize..12) {
            let all: Vec<String> = (0..count).map(|number| format!("{number:03}")).collect();
            let mut seen = Vec::new();
            let mut token = None;
            loop {
                let page = page("List", all.clone(), Clone::clone, token.as_deref(), size).expect("its own token");
                prop_assert!(page.items.len() <= size);
                seen.extend(page.items);
                token = page.next_token;
                if token.is_none() {
                    break;
                }
            }
            prop_assert_eq!(seen, all);
        }
    }

    proptest! {
        #[test]
        fn reversed_keys_are_ordered_the_other_way_round(a in "[a-z ]{0,4}", b in "[a-z ]{0,4}") {
            prop_assert_eq!(a.cmp(&b), reversed(&b).cmp(&reversed(&a)));
        }
    }

    #[test]
    fn anothers_token_is_refused() {
        let first = page("ListA", ["a", "b"], |item| (*item).to_owned(), None, 1).expect("no token");
        assert_eq!(
            page("ListB", ["a"], |item| (*item).to_owned(), first.next_token.as_deref(), 1),
            Err(InvalidToken)
        );
        assert_eq!(page("ListA", ["a"], |item| (*item).to_owned(), Some("?"), 1), Err(InvalidToken));
    }
}
