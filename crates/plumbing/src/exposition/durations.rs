//! Durations by size: how they are counted here, and as which buckets Prometheus is told of them.

/// Bounds of the classic histograms' buckets, as powers of two of milliseconds: 0.25 ms to 65.5 s. They are bounds
/// of the buckets that durations are counted in, so that the counts are exact.
pub const POWERS: std::ops::RangeInclusive<i32> = -2..=16;

/// Buckets for each doubling, here and in the native histograms.
const PER_DOUBLING: i32 = 1 << SCHEMA;
/// The native histograms' `schema`: so many times is each doubling halved (on a logarithmic scale).
pub(super) const SCHEMA: i32 = 4;
/// How much lower the number of a native bucket is: `ceil(1/2 - 16 log2(1000))`. A bucket `i` of milliseconds holds
/// `(2^(i/16), 2^((i+1)/16)]`, a native one `j` of seconds holds `(2^((j-1)/16), 2^(j/16)]`. A thousand is no power
/// of two, so that no bounds are the same: a bucket is told as the one that has its geometric middle, whose bounds
/// are 0.45 of a bucket (2.0 %) higher. All of them are moved alike, and wholly: were they shared out, a bucket
/// could count less than before, which Prometheus reads as a restart.
const MOVED_BY: i32 = 158;
/// The last native bucket with a finite bound.
const HIGHEST: i32 = 1024 * PER_DOUBLING;
/// The native bucket that ends at [`ZERO_THRESHOLD`].
const NEXT_TO_ZERO: i32 = -128 * PER_DOUBLING;
/// What is at most so many seconds is in the native histograms' bucket of zero: 2^-128, as Prometheus' own clients
/// have it. That it is positive tells a native histogram from a classic one.
pub(super) const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);
/// So many empty buckets in a row cost less than another span would.
const EMPTY_MAX: i32 = 2;

/// Durations, counted in the buckets of [`bowline_model::metric::Distribution`] of milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurationBuckets {
    zeros: u64,
    /// Ascending, none of them empty.
    buckets: Vec<(i32, u64)>,
    seconds: f64,
}

/// The buckets of a native histogram of positive numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NativeBuckets {
    /// How many are in the bucket of zero.
    pub(super) zeros: u64,
    /// Runs of buckets: how far after the last one's end (the first: after bucket 0), and how many.
    pub(super) spans: Vec<(i32, u32)>,
    /// What each bucket has more than the one before it.
    pub(super) deltas: Vec<i64>,
}

impl DurationBuckets {
    /// So many that took no time, so many in each bucket (by index, ascending), and the sum of all in seconds.
    pub fn new(zeros: u64, buckets: impl IntoIterator<Item = (i32, u64)>, seconds: f64) -> Self {
        let buckets: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        debug_assert!(buckets.is_sorted_by(|one, other| one.0 < other.0), "{buckets:?}");
        Self { zeros, buckets, seconds }
    }

    /// How many durations.
    pub fn count(&self) -> u64 {
        self.zeros + self.buckets.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// All of them together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// For each of [`POWERS`], in seconds, how many are at most that.
    pub(super) fn classic(&self) -> Vec<(f64, u64)> {
        let mut below = self.buckets.iter().peekable();
        let mut count = self.zeros;
        POWERS
            .map(|power| {
                while let Some((_, more)) = below.next_if(|(index, _)| *index < power * PER_DOUBLING) {
                    count += more;
                }
                (f64::from(power).exp2() / 1e3, count)
            })
            .collect()
    }

    /// As a native histogram has them.
    pub(super) fn native(&self) -> NativeBuckets {
        let mut native = NativeBuckets { zeros: self.zeros, ..NativeBuckets::default() };
        let (mut last, mut last_count) = (None, 0);
        for (index, count) in self.moved() {
            if index <= NEXT_TO_ZERO {
                native.zeros += count;
                continue;
            }
            // Offsets are counted from bucket 0 at first, then from behind a span.
            let gap = index - last.map_or(0, |last| last + 1);
            match native.spans.last_mut() {
                Some((_, length)) if gap <= EMPTY_MAX => {
                    for _ in 0..gap {
                        native.deltas.push(-last_count);
                        last_count = 0;
                    }
                    // Positive, for the indices ascend.
                    *length += gap.unsigned_abs() + 1;
                }
                _ => native.spans.push((gap, 1)),
            }
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            native.deltas.push(count - last_count);
            (last, last_count) = (Some(index), count);
        }
        native
    }

    /// The native buckets and their counts, ascending; what is beyond the last one is in it.
    fn moved(&self) -> Vec<(i32, u64)> {
        let mut moved: Vec<(i32, u64)> = Vec::with_capacity(self.buckets.len());
        for (index, count) in &self.buckets {
            let index = index.saturating_sub(MOVED_BY).min(HIGHEST);
            match moved.last_mut() {
                Some((last, sum)) if *last == index => *sum += count,
                _ => moved.push((index, *count)),
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::metric::Distribution;
    use proptest::prelude::*;

    use super::*;

    /// The native buckets as who reads spans and deltas understands them.
    fn read(native: &NativeBuckets) -> Vec<(i32, i64)> {
        let (mut index, mut count, mut deltas) = (0, 0, native.deltas.iter());
        let mut read = Vec::new();
        for (offset, length) in &native.spans {
            index += offset;
            for _ in 0..*length {
                count += deltas.next().expect("a delta for each");
                read.push((index, count));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None, "{native:?}");
        read
    }

    /// Bounds of a native bucket, in seconds.
    fn bounds(index: i32) -> (f64, f64) {
        let bound = |index: i32| (f64::from(index) / f64::from(PER_DOUBLING)).exp2();
        (bound(index - 1), bound(index))
    }

    fn of_milliseconds(values: &[f64]) -> DurationBuckets {
        let mut distribution = Distribution::default();
        values.iter().for_each(|value| distribution.record(*value, 1.0));
        let buckets = distribution.positive().map(|(index, times)| (index, times as u64));
        DurationBuckets::new(distribution.zeros() as u64, buckets, distribution.sum() / 1e3)
    }

    #[test]
    fn buckets_are_moved_by_what_a_thousand_asks_for() {
        let moved = 0.5 - f64::from(PER_DOUBLING) * 1_000_f64.log2();
        assert_eq!(moved.ceil(), f64::from(-MOVED_BY));
        assert_eq!(SCHEMA, bowline_model::metric::SCALE);
        assert_eq!(ZERO_THRESHOLD, (-128_f64).exp2());
    }

    #[test]
    fn small_gaps_are_filled_and_great_ones_begin_a_span() {
        let native = DurationBuckets::new(2, [(158, 3), (161, 1), (162, 4), (166, 4)], 1.0).native();
        let spans = vec![(0, 5), (3, 1)];
        assert_eq!(native, NativeBuckets { zeros: 2, spans, deltas: vec![3, -3, 0, 1, 3, 0] });
        assert_eq!(read(&native), [(0, 3), (1, 0), (2, 0), (3, 1), (4, 4), (8, 4)]);
    }

    #[test]
    fn indices_that_no_duration_has_are_in_the_outermost_buckets() {
        let buckets = [(i32::MIN, 1), (-1_890, 2), (-1_889, 4), (i32::MAX - 1, 8), (i32::MAX, 16)];
        let native = DurationBuckets::new(0, buckets, 1.0).native();
        assert_eq!((native.zeros, read(&native)), (3, vec![(NEXT_TO_ZERO + 1, 4), (HIGHEST, 24)]));
        assert_eq!(DurationBuckets::default().native(), NativeBuckets::default());
    }

    proptest! {
        #[test]
        fn every_value_is_counted_within_half_a_bucket_of_its_own(
            values in prop::collection::vec(prop_oneof![1 => Just(0.0), 20 => 1e-4..1e6_f64], 1..80),
        ) {
            let native = of_milliseconds(&values).native();
            let told = read(&native);
            let count: i64 = told.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(count + native.zeros as i64, values.len() as i64);

            // The nth smallest value is within its bucket, or half a bucket beside it.
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let half = (0.5 / f64::from(PER_DOUBLING)).exp2();
            let mut sorted = sorted.into_iter().skip(native.zeros as usize);
            for (index, count) in told {
                let (above, to) = bounds(index);
                for value in sorted.by_ref().take(count as usize) {
                    let seconds = value / 1e3;
                    prop_assert!(seconds > above / half && seconds <= to * half, "{seconds} in {above}..{to}");
                }
            }
        }

        #[test]
        fn classic_buckets_are_exact(values in prop::collection::vec(0.0..1e6_f64, 0..80)) {
            for (bound, count) in of_milliseconds(&values).classic() {
                let exact = values.iter().filter(|value| **value <= bound * 1e3).count();
                prop_assert_eq!(count, exact as u64, "{}", bound);
            }
        }

        /// Prometheus takes a bucket that counts less than before for a restart.
        #[test]
        fn no_bucket_ever_counts_less(
            values in prop::collection::vec(0.0..1e5_f64, 1..60), split in 0..60_usize,
        ) {
            let before = of_milliseconds(&values[..split.min(values.len())]).native();
            let after = of_milliseconds(&values).native();
            let now: std::collections::BTreeMap<_, _> = read(&after).into_iter().collect();
            for (index, count) in read(&before) {
                let now = now.get(&index).copied().unwrap_or(0);
                prop_assert!(now >= count, "{index}: {count}, then {now}");
            }
        }
    }
}
