//! What came in since the last block was cut: in memory.

use std::collections::{BTreeMap, HashMap};

use bowline_model::metric::Distribution;

use super::tier::{SECONDS, TIERS};

/// The values of each period, by the second that it begins at.
pub(super) type Periods = BTreeMap<u64, Distribution>;

/// Values of every tier, by series.
#[derive(Debug, Default)]
pub(super) struct Head {
    series: HashMap<u32, [Periods; TIERS]>,
    /// How many periods there are.
    points: usize,
}

impl Head {
    /// Takes values of a second into each tier from `finest` on, as far as `horizons` says that it is kept.
    pub(super) fn add(
        &mut self,
        id: u32,
        second: u64,
        finest: usize,
        horizons: &[u64; TIERS],
        values: &Distribution,
    ) {
        let tiers = self.series.entry(id).or_default();
        for (tier, periods) in tiers.iter_mut().enumerate().skip(finest) {
            let begins = second - second % SECONDS[tier];
            if begins < horizons[tier] {
                continue;
            }
            let points = &mut self.points;
            let period = periods.entry(begins).or_insert_with(|| {
                *points += 1;
                Distribution::default()
            });
            period.merge(values);
        }
    }

    /// Forgets series.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(tiers) = self.series.remove(&id) {
            self.points -= tiers.iter().map(BTreeMap::len).sum::<usize>();
        }
    }

    pub(super) fn points(&self) -> usize {
        self.points
    }

    /// The values of a tier.
    pub(super) fn periods(&self, id: u32, tier: usize) -> Option<&Periods> {
        self.series.get(&id).map(|tiers| &tiers[tier])
    }

    /// Every series that a tier has values of, in the order of their ids.
    pub(super) fn tier(&self, tier: usize) -> Vec<(u32, &Periods)> {
        let filled = self.series.iter().filter(|(_, tiers)| !tiers[tier].is_empty());
        let mut all: Vec<_> = filled.map(|(id, tiers)| (*id, &tiers[tier])).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}
