//! Which capacity provider a task is placed on.

/// A capacity provider's part in a strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityShare {
    /// The capacity provider's name.
    pub provider: String,
    /// So many tasks run on it before weights count. AWS's default: 0.
    pub base: u32,
    /// Its share of the tasks beyond every base. AWS's default: 0, none.
    pub weight: u32,
}

/// The provider for one task more, where `placed` tells how many tasks each has. A base that is
/// not reached comes first; then whichever has the fewest tasks beyond its base for its weight, the
/// earlier of two alike. `None` where nothing has a base left or a weight.
pub fn place(strategy: &[CapacityShare], placed: impl Fn(&str) -> u32) -> Option<&str> {
    if let Some(share) = strategy.iter().find(|share| placed(&share.provider) < share.base) {
        return Some(&share.provider);
    }
    let weighted = strategy.iter().filter(|share| share.weight > 0);
    // (tasks + 1) / weight, compared without fractions.
    let share = weighted.reduce(|best, other| {
        let next = |share: &CapacityShare| u64::from(placed(&share.provider).saturating_sub(share.base)) + 1;
        let other_first = next(other) * u64::from(best.weight) < next(best) * u64::from(other.weight);
        if other_first { other } else { best }
    })?;
    Some(&share.provider)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn share(provider: &str, base: u32, weight: u32) -> CapacityShare {
        CapacityShare { provider: provider.into(), base, weight }
    }

    fn place_all(strategy: &[CapacityShare], count: u32) -> BTreeMap<String, u32> {
        let mut placed = BTreeMap::new();
        for _ in 0..count {
            let provider = place(strategy, |name| placed.get(name).copied().unwrap_or(0)).map(str::to_owned);
            *placed.entry(provider.expect("a place")).or_insert(0) += 1;
        }
        placed
    }

    #[test]
    fn the_base_comes_first_and_then_the_weights() {
        let strategy = [share("a", 2, 1), share("b", 0, 4)];
        assert_eq!(place_all(&strategy, 2), BTreeMap::from([("a".into(), 2)]));
        assert_eq!(place_all(&strategy, 12), BTreeMap::from([("a".into(), 4), ("b".into(), 8)]));
        assert_eq!(place(&[share("a", 0, 0)], |_| 0), None);
        assert_eq!(place(&[], |_| 0), None);
    }

    proptest! {
        #[test]
        fn shares_are_kept_to_within_one_task(
            base in 0u32..5,
            weights in proptest::collection::vec(1u32..10, 1..4),
            count in 0u32..60,
        ) {
            let strategy: Vec<_> = weights
                .iter()
                .enumerate()
                .map(|(number, weight)| share(&number.to_string(), if number == 0 { base } else { 0 }, *weight))
                .collect();
            let placed = place_all(&strategy, count);
            prop_assert_eq!(placed.values().sum::<u32>(), count);
            let total: u32 = weights.iter().sum();
            let beyond = count.saturating_sub(base);
            for share in &strategy {
                let has = placed.get(&share.provider).copied().unwrap_or(0).saturating_sub(share.base);
                let due = f64::from(beyond) * f64::from(share.weight) / f64::from(total);
                // The highest-averages method may overshoot a share by less than one task a provider.
                prop_assert!((f64::from(has) - due).abs() < strategy.len() as f64, "{has} of {due}");
            }
        }
    }
}
