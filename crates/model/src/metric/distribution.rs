//! A distribution of values that takes bounded room, whatever is recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Statistic;

/// Buckets for each doubling, as a power of two: 16. It is the `scale` of OTLP's exponential histograms and the
/// `schema` of Prometheus' native ones.
pub const SCALE: i32 = 4;

/// Most buckets of one sign; values beyond are counted in the last one.
const BUCKETS_MAX: usize = 1024;

/// Count, sum, least, greatest, and how often values of which size occur: an exponential histogram, whose bucket
/// `i` holds `(2^(i/16), 2^((i+1)/16)]`. A percentile is told within 2.2 % of the value.
///
/// Two can be merged, in any order and grouping, and tell what one would that was given all values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
    /// Values that are zero.
    zeros: f64,
    positive: BTreeMap<i32, f64>,
    negative: BTreeMap<i32, f64>,
}

impl Distribution {
    /// Of one value.
    pub fn of(value: f64) -> Self {
        let mut distribution = Self::default();
        distribution.record(value, 1.0);
        distribution
    }

    /// What is known of values that were counted elsewhere: only what can be, so percentiles are told as if all
    /// were about their mean. `None` where the four cannot be true together.
    pub fn of_statistics(count: f64, sum: f64, minimum: f64, maximum: f64) -> Option<Self> {
        let are_numbers = [count, sum, minimum, maximum].iter().all(|number| number.is_finite());
        if !are_numbers || count <= 0.0 || minimum > maximum {
            return None;
        }
        let mut distribution = Self::default();
        distribution.record((sum / count).clamp(minimum, maximum), count);
        Some(Self { sum, minimum, maximum, ..distribution })
    }

    /// Puts `value` in, `times` over. What is no number, or a weight that is not positive, is left out.
    pub fn record(&mut self, value: f64, times: f64) {
        if !value.is_finite() || !times.is_finite() || times <= 0.0 {
            return;
        }
        self.take_bounds(value, value);
        self.count += times;
        self.add_to_sum(value * times);
        if value == 0.0 {
            self.zeros += times;
        } else {
            let buckets = if value > 0.0 { &mut self.positive } else { &mut self.negative };
            add(buckets, bucket_of(value.abs()), times);
        }
    }

    /// Puts in what was counted in buckets of this very shape elsewhere: how many there were in each, by index,
    /// of positive values, and how many zeros; with their sum, least and greatest.
    pub fn record_buckets(
        &mut self,
        buckets: impl IntoIterator<Item = (i32, u64)>,
        zeros: u64,
        sum: f64,
        minimum: f64,
        maximum: f64,
    ) {
        let mut count = zeros as f64;
        for (index, times) in buckets {
            if times > 0 {
                count += times as f64;
                add(&mut self.positive, index, times as f64);
            }
        }
        if count > 0.0 && [sum, minimum, maximum].iter().all(|number| number.is_finite()) {
            self.take_bounds(minimum, maximum);
        }
        self.zeros += zeros as f64;
        self.count += count;
        self.add_to_sum(if sum.is_finite() { sum } else { 0.0 });
    }

    /// Puts in all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        self.take_bounds(other.minimum, other.maximum);
        self.count += other.count;
        self.add_to_sum(other.sum);
        self.zeros += other.zeros;
        for (index, times) in &other.positive {
            add(&mut self.positive, *index, *times);
        }
        for (index, times) in &other.negative {
            add(&mut self.negative, *index, *times);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// How many values.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// All values together.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// What a statistic says; `None` where there are no values.
    pub fn statistic(&self, statistic: Statistic) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        Some(match statistic {
            Statistic::SampleCount => self.count,
            Statistic::Average => self.sum / self.count,
            Statistic::Sum => self.sum,
            Statistic::Minimum => self.minimum,
            Statistic::Maximum => self.maximum,
            Statistic::Percentile(percent) => self.percentile(percent),
        })
    }

    /// Buckets of positive values with how many are in them, by index, smallest first.
    pub fn positive(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        self.positive.iter().map(|(index, times)| (*index, *times))
    }

    /// Buckets of negative values with how many are in them, by the index of their absolute value, nearest to zero
    /// first.
    pub fn negative(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        self.negative.iter().map(|(index, times)| (*index, *times))
    }

    /// How many values are zero.
    pub fn zeros(&self) -> f64 {
        self.zeros
    }

    /// What was taken apart: [`Distribution::positive`], [`Distribution::negative`], [`Distribution::zeros`], the
    /// sum, the least and the greatest value. `None` where these cannot be true together; without any values it is
    /// the empty one.
    pub fn of_parts(
        positive: impl IntoIterator<Item = (i32, f64)>,
        negative: impl IntoIterator<Item = (i32, f64)>,
        zeros: f64,
        [sum, minimum, maximum]: [f64; 3],
    ) -> Option<Self> {
        let is_weight = |times: f64| times.is_finite() && times > 0.0;
        let mut distribution = Self { zeros, count: zeros, sum, minimum, maximum, ..Self::default() };
        let numbers = [zeros, sum, minimum, maximum];
        if numbers.iter().any(|number| !number.is_finite()) || zeros < 0.0 || minimum > maximum {
            return None;
        }
        for (index, times) in positive {
            distribution.count += times;
            is_weight(times).then(|| add(&mut distribution.positive, index, times))?;
        }
        for (index, times) in negative {
            distribution.count += times;
            is_weight(times).then(|| add(&mut distribution.negative, index, times))?;
        }
        match distribution.is_empty() {
            true => Some(Self::default()),
            false => distribution.count.is_finite().then_some(distribution),
        }
    }

    /// A sum stays at the greatest there is: it is kept, and read again, as a number.
    fn add_to_sum(&mut self, more: f64) {
        self.sum = (self.sum + more).clamp(f64::MIN, f64::MAX);
    }

    fn take_bounds(&mut self, minimum: f64, maximum: f64) {
        if self.is_empty() {
            (self.minimum, self.maximum) = (minimum, maximum);
        } else {
            (self.minimum, self.maximum) = (self.minimum.min(minimum), self.maximum.max(maximum));
        }
    }

    /// The value at the nearest rank, as the middle of its bucket, and never outside of what there was.
    fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.count).max(f64::MIN_POSITIVE);
        let negative = self.negative.iter().rev().map(|(index, times)| (-middle(*index), *times));
        let zeros = std::iter::once((0.0, self.zeros));
        let positive = self.positive.iter().map(|(index, times)| (middle(*index), *times));
        let mut below = 0.0;
        for (value, times) in negative.chain(zeros).chain(positive) {
            below += times;
            // A sum of fractions may fall short of the rank by a rounding.
            if times > 0.0 && below >= rank * (1.0 - 1e-12) {
                return value.clamp(self.minimum, self.maximum);
            }
        }
        self.maximum
    }
}

/// Adds to a bucket; where there is no room for another one, to the nearest below or above.
fn add(buckets: &mut BTreeMap<i32, f64>, index: i32, times: f64) {
    if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&index) {
        let nearest = buckets.range_mut(..index).next_back().map(|(_, there)| there);
        match nearest {
            Some(there) => *there += times,
            None => {
                if let Some((_, there)) = buckets.iter_mut().next() {
                    *there += times;
                }
            }
        }
        return;
    }
    *buckets.entry(index).or_default() += times;
}

/// The bucket of a positive number.
fn bucket_of(value: f64) -> i32 {
    let exact = value.log2() * f64::from(1 << SCALE);
    // The upper bound is in the bucket, the lower one is not.
    (exact.ceil() as i32).saturating_sub(1)
}

/// The geometric middle of a bucket.
fn middle(index: i32) -> f64 {
    ((f64::from(index) + 0.5) / f64::from(1 << SCALE)).exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::default();
        values.iter().for_each(|value| distribution.record(*value, 1.0));
        distribution
    }

    #[test]
    fn an_upper_bound_is_in_its_bucket() {
        assert_eq!((bucket_of(1.0), bucket_of(2.0), bucket_of(2.000_001)), (-1, 15, 16));
    }

    #[test]
    fn nothing_tells_nothing_and_what_is_no_number_is_left_out() {
        let mut distribution = Distribution::default();
        distribution.record(f64::NAN, 1.0);
        distribution.record(1.0, 0.0);
        distribution.record(f64::INFINITY, 1.0);
        assert_eq!(distribution.statistic(Statistic::Average), None);
        assert_eq!(Distribution::of_statistics(2.0, 3.0, 5.0, 1.0), None);
    }

    #[test]
    fn room_is_bounded_whatever_is_recorded() {
        let values: Vec<f64> = (-1000..1000).map(|exponent| f64::from(exponent).exp2()).collect();
        let distribution = of(&values);
        assert_eq!(distribution.positive.len(), BUCKETS_MAX);
        assert_eq!(distribution.count(), 2000.0);
        assert_eq!(distribution.positive().map(|(_, times)| times).sum::<f64>(), 2000.0);
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_the_error_of_a_bucket(
            mut values in prop::collection::vec(-1e9..1e9f64, 1..200),
            percent in 0.1..100.0f64,
        ) {
            let told = of(&values).statistic(Statistic::Percentile(percent)).expect("there are values");
            values.sort_by(f64::total_cmp);
            let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            prop_assert!((told - exact).abs() <= exact.abs() * 0.0222, "{told} for {exact}");
        }

        #[test]
        fn what_is_taken_apart_can_be_put_together(values in prop::collection::vec(-1e6..1e6f64, 1..50)) {
            let whole = of(&values);
            let least_and_greatest = [whole.sum, whole.minimum, whole.maximum];
            let again = Distribution::of_parts(whole.positive(), whole.negative(), whole.zeros(), least_and_greatest);
            prop_assert_eq!(again, Some(whole));
        }

        #[test]
        fn merging_tells_what_one_with_all_values_would(
            one in prop::collection::vec(-1e6..1e6f64, 0..50),
            other in prop::collection::vec(-1e6..1e6f64, 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            let all = of(&[one, other].concat());
            prop_assert_eq!(&merged.positive, &all.positive);
            prop_assert_eq!(&merged.negative, &all.negative);
            prop_assert_eq!((merged.count, merged.minimum, merged.maximum), (all.count, all.minimum, all.maximum));
            prop_assert!((merged.sum - all.sum).abs() <= 1e-6 * (1.0 + all.sum.abs()));
        }
    }
}
