//! Metrics, kept.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::{
    clock::Timestamp,
    metric::{Datum, Distribution, MetricId, MetricReader, MetricWriter, Statistic},
};

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The metrics cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum MetricStoreError {
    /// Their directory or a file in it cannot be used.
    #[error("the metrics in {} cannot be kept", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Which metrics are asked for; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricFilter {
    /// Those of this namespace.
    pub namespace: Option<String>,
    /// Those of this name.
    pub name: Option<String>,
    /// Those that have these dimensions, among others; with this value where one is given.
    pub dimensions: Vec<(String, Option<String>)>,
    /// Those that have a value since then.
    pub since: Option<Timestamp>,
}

impl MetricFilter {
    fn takes(&self, metric: &MetricId) -> bool {
        let is =
            |wanted: &Option<String>, there: &str| wanted.as_deref().is_none_or(|wanted| wanted == there);
        is(&self.namespace, &metric.namespace)
            && is(&self.name, &metric.name)
            && self
                .dimensions
                .iter()
                .all(|(name, value)| metric.dimensions.get(name).is_some_and(|there| is(value, there)))
    }
}

/// Keeps metrics.
pub struct MetricStore {
    series: Mutex<BTreeMap<MetricId, BTreeMap<Timestamp, Distribution>>>,
}

impl MetricStore {
    /// Opens what is kept in `directory`, which is made where it is not there.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(directory: &Path, _clock: Clock) -> Result<Self, MetricStoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| MetricStoreError::Io { path: directory.to_owned(), source })?;
        Ok(Self { series: Mutex::default() })
    }

    /// The metrics that a filter takes, in the order of their ids.
    pub fn list(&self, filter: &MetricFilter) -> Vec<MetricId> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let is_since = |values: &BTreeMap<Timestamp, Distribution>| {
            filter.since.is_none_or(|since| values.range(since..).next().is_some())
        };
        let taken = series.iter().filter(|(metric, values)| filter.takes(metric) && is_since(values));
        taken.map(|(metric, _)| metric.clone()).collect()
    }
}

impl MetricReader for MetricStore {
    fn values(
        &self,
        metric: &MetricId,
        statistic: Statistic,
        period: Duration,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, f64)> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut periods: BTreeMap<Timestamp, Distribution> = BTreeMap::new();
        for (at, values) in series.get(metric).into_iter().flatten() {
            let begins = Timestamp::from_millis(at.as_millis() / period * period);
            if begins >= from && begins < until {
                periods.entry(begins).or_default().merge(values);
            }
        }
        periods.iter().filter_map(|(at, values)| Some((*at, values.statistic(statistic)?))).collect()
    }
}

impl MetricWriter for MetricStore {
    fn put(&self, data: Vec<Datum>) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for datum in data {
            series.entry(datum.metric).or_default().entry(datum.at).or_default().merge(&datum.values);
        }
    }
}
