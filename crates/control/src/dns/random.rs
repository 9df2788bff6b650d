//! Random choices of the DNS server, all from AWS-LC: an answer's id and
//! letters must not be guessable, so no fast generator stands beside it.

pub(crate) use crate::random::bytes;

/// A random message id.
pub(crate) fn id() -> u16 {
    u16::from_be_bytes(bytes())
}

/// A number below `limit`, every one equally likely; 0 where `limit` is 0.
pub(crate) fn below(limit: usize) -> usize {
    let Some(limit) = u64::try_from(limit).ok().filter(|limit| *limit > 0) else { return 0 };
    // The last, incomplete span of `limit` numbers would favour the low ones.
    let fair = u64::MAX - u64::MAX % limit;
    loop {
        let number = u64::from_be_bytes(bytes());
        if number < fair {
            return usize::try_from(number % limit).expect("it is below a usize");
        }
    }
}

/// Brings `count` random items to the front, in random order, and drops the
/// rest.
pub(crate) fn sample<T>(items: &mut Vec<T>, count: usize) {
    let count = count.min(items.len());
    for at in 0..count {
        let other = at + below(items.len() - at);
        items.swap(at, other);
    }
    items.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn samples_are_within_and_differ() {
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let mut items = vec![1, 2, 3];
            sample(&mut items, 2);
            assert_eq!(items.len(), 2);
            assert_ne!(items[0], items[1]);
            seen.insert(items);
        }
        // All six ordered pairs; each misses 400 draws with (5/6)^400.
        assert_eq!(seen.len(), 6);
        assert_eq!((below(0), below(1)), (0, 0));
    }
}
