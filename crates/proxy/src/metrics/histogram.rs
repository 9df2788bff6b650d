//! Durations in the buckets of [`bowline_model::metric::Distribution`], counted without a lock.
//!
//! To record is to compute an index, by leading zeros and a table, and two or three relaxed additions.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The bucket of values up to about a microsecond, as [`bowline_model::metric::Distribution`] counts buckets of
/// milliseconds.
pub(crate) const LOWEST: i32 = -160;
/// How many buckets there are: up to 2^17 ms, a bit over two minutes. What is beyond is in the last one.
pub(crate) const BUCKETS: usize = 432;
/// Buckets for each doubling.
const PER_DOUBLING: i32 = 16;
/// Milliseconds are counted as so many parts, as a power of two: about a nanosecond each.
const PARTS: i32 = 20;

/// `2^(i/16)` for i in 0..=16, times 2^62, rounded up: a mantissa (its first bit worth 2^62) is above the
/// bound if it is at least that.
const BOUNDS: [u64; 17] = [
    4_611_686_018_427_387_904,
    4_815_862_801_830_788_491,
    5_029_079_263_719_320_436,
    5_251_735_624_851_448_220,
    5_484_249_825_272_419_512,
    5_727_058_308_814_112_983,
    5_980_616_842_327_661_686,
    6_245_401_371_186_603_364,
    6_521_908_912_666_391_107,
    6_810_658_488_877_194_080,
    7_112_192_101_001_162_095,
    7_427_075_746_662_858_866,
    7_755_900_482_342_532_475,
    8_099_283_532_826_439_817,
    8_457_869_449_776_733_336,
    8_832_331_321_595_618_839,
    9_223_372_036_854_775_808,
];

/// For the five bits after a mantissa's first one: the bucket that the smallest such mantissa is in. The next
/// bound alone may lie below the others.
const GUESSES: [u8; 32] = {
    let mut guesses = [0; 32];
    let mut slot = 0;
    while slot < 32 {
        let least = (1 << 62) + ((slot as u64) << 57);
        let mut bucket = 0;
        while bucket < 15 && BOUNDS[bucket + 1] <= least {
            bucket += 1;
        }
        guesses[slot] = bucket as u8;
        slot += 1;
    }
    guesses
};

/// The bucket of a duration, from 0.
fn bucket_of(nanoseconds: u64) -> usize {
    // Over four hours are as good as four hours.
    let parts = (nanoseconds.min(1 << 43) << PARTS) / 1_000_000;
    if parts == 0 {
        return 0;
    }
    let zeros = parts.leading_zeros() as i32;
    let doublings = 63 - zeros;
    let mantissa = (parts << zeros) >> 1;
    // A power of two is the upper bound of its bucket.
    if mantissa == 1 << 62 {
        return place(doublings * PER_DOUBLING - 1);
    }
    let guess = usize::from(GUESSES[(mantissa >> 57) as usize & 31]);
    let within = guess + usize::from(mantissa >= BOUNDS[guess + 1]);
    place(doublings * PER_DOUBLING + within as i32)
}

/// Where the bucket of so many sixteenths of a doubling of parts stands.
fn place(sixteenths: i32) -> usize {
    (sixteenths - PARTS * PER_DOUBLING - LOWEST).clamp(0, BUCKETS as i32 - 1) as usize
}

/// See the module.
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    /// Since the last [`Histogram::take_bounds`], in nanoseconds.
    minimum: AtomicU64,
    maximum: AtomicU64,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("sum", &self.sum).finish_non_exhaustive()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            minimum: AtomicU64::new(u64::MAX),
            maximum: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a duration.
    pub(crate) fn record(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanoseconds)].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanoseconds, Relaxed);
        // Seldom a new extreme: mostly these are reads.
        if nanoseconds < self.minimum.load(Relaxed) {
            self.minimum.fetch_min(nanoseconds, Relaxed);
        }
        if nanoseconds > self.maximum.load(Relaxed) {
            self.maximum.fetch_max(nanoseconds, Relaxed);
        }
    }

    /// Adds what there is to `totals`.
    pub(crate) fn add_to(&self, totals: &mut Durations) {
        totals.buckets.resize(BUCKETS, 0);
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Relaxed);
        }
        totals.sum = totals.sum.wrapping_add(self.sum.load(Relaxed));
    }

    /// Least and greatest since the last call, in nanoseconds. For the one who reports.
    pub(crate) fn take_bounds(&self) -> Bounds {
        Bounds { minimum: self.minimum.swap(u64::MAX, Relaxed), maximum: self.maximum.swap(0, Relaxed) }
    }
}

/// Least and greatest duration of a time, in nanoseconds; the least is over the greatest where there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) minimum: u64,
    pub(crate) maximum: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { minimum: u64::MAX, maximum: 0 }
    }
}

impl Bounds {
    /// Of both times.
    pub(crate) fn join(self, other: Self) -> Self {
        Self { minimum: self.minimum.min(other.minimum), maximum: self.maximum.max(other.maximum) }
    }
}

/// What a histogram has at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// By place; the first one is [`LOWEST`]. Empty where there never was any.
    pub(crate) buckets: Vec<u64>,
    /// In nanoseconds; wraps after 584 years.
    pub(crate) sum: u64,
}

impl Durations {
    /// How many durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What has come since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let befores = before.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets = self.buckets.iter().zip(befores).map(|(now, before)| now.saturating_sub(before));
        Self { buckets: buckets.collect(), sum: self.sum.wrapping_sub(before.sum) }
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::metric::{Distribution, Statistic};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_what_it_should_be() {
        for (index, bound) in BOUNDS.iter().enumerate() {
            let exact = (index as f64 / 16.0).exp2() * (1_u64 << 62) as f64;
            assert!((*bound as f64 - exact).abs() <= exact * 1e-15, "{index}: {bound} for {exact}");
        }
    }

    fn index_in_the_model(milliseconds: f64) -> i32 {
        let distribution = Distribution::of(milliseconds);
        distribution.positive().next().map(|(index, _)| index).expect("it is positive")
    }

    #[test]
    fn whole_powers_are_in_the_bucket_below() {
        for (nanoseconds, power) in [(1_000_000, 0), (2_000_000, 1), (64_000_000, 6), (500_000, -1)] {
            let expected = (power * 16 - 1 - LOWEST) as usize;
            assert_eq!(bucket_of(nanoseconds), expected, "{nanoseconds} ns");
            assert_eq!(bucket_of(nanoseconds + 10), expected + 1, "just above {nanoseconds} ns");
        }
        assert_eq!((bucket_of(0), bucket_of(1), bucket_of(u64::MAX)), (0, 0, BUCKETS - 1));
    }

    /// How many durations are at most 2^`power` milliseconds.
    fn at_most(durations: &Durations, power: i32) -> u64 {
        let last = (power * PER_DOUBLING - LOWEST).clamp(0, BUCKETS as i32) as usize;
        durations.buckets.iter().take(last).sum()
    }

    #[test]
    fn what_is_at_most_a_power_is_counted_so() {
        let histogram = Histogram::default();
        for nanoseconds in [999_999, 1_000_000, 1_000_100, 3_000_000, 4_000_000, 5_000_000] {
            histogram.record(Duration::from_nanos(nanoseconds));
        }
        let mut durations = Durations::default();
        histogram.add_to(&mut durations);
        let at_most = |power| at_most(&durations, power);
        assert_eq!((durations.count(), at_most(0), at_most(2)), (6, 2, 5));
        assert_eq!((at_most(-30), at_most(30)), (0, 6));
        assert_eq!(histogram.take_bounds(), Bounds { minimum: 999_999, maximum: 5_000_000 });
        assert_eq!(histogram.take_bounds(), Bounds::default());
    }

    proptest! {
        #[test]
        fn buckets_are_the_models(nanoseconds in 1_100_u64..120_000_000_000) {
            let milliseconds = nanoseconds as f64 / 1e6;
            let (here, there) = (bucket_of(nanoseconds) as i32 + LOWEST, index_in_the_model(milliseconds));
            // Within a part of a nanosecond of a bound, either may be.
            let near_bound = {
                let exact = milliseconds.log2() * 16.0;
                (exact - exact.round()).abs() < 16.0 * 2.0 * 1e-6 / milliseconds
            };
            prop_assert!(here == there || (near_bound && (here - there).abs() == 1), "{here} {there}");
        }

        #[test]
        fn the_model_tells_percentiles_of_what_was_counted_here(
            nanoseconds in prop::collection::vec(2_000_u64..1_000_000_000, 1..100),
        ) {
            let histogram = Histogram::default();
            nanoseconds.iter().for_each(|it| histogram.record(Duration::from_nanos(*it)));
            let mut durations = Durations::default();
            histogram.add_to(&mut durations);
            let bounds = histogram.take_bounds();
            let mut distribution = Distribution::default();
            distribution.record_buckets(
                durations.buckets.iter().enumerate().map(|(place, times)| (place as i32 + LOWEST, *times)),
                0,
                durations.sum as f64 / 1e6,
                bounds.minimum as f64 / 1e6,
                bounds.maximum as f64 / 1e6,
            );
            let mut sorted = nanoseconds.clone();
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() - 1) / 2] as f64 / 1e6;
            let told = distribution.statistic(Statistic::Percentile(50.0)).expect("there are values");
            prop_assert!((told - exact).abs() <= exact * 0.0225, "{told} for {exact}");
            prop_assert_eq!(distribution.count(), nanoseconds.len() as f64);
        }
    }
}
