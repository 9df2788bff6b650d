//! Which metrics there are: each with its unit is a series, and has a number.

use std::collections::{BTreeMap, HashMap};

use bowline_model::{
    clock::Timestamp,
    metric::{DIMENSIONS_MAX, MetricId, Unit},
};

use super::{
    MetricFilter,
    codec::{Bytes, put_frame, put_text, put_whole},
};

/// How long a series must have been silent, in seconds, before another may take its place.
const SILENT: u64 = 3 * 3600;

/// Of how many series one is given up when there is no room for another.
const GIVEN_UP_SHARE: usize = 16;

/// Most bytes of a dimension's value. Source: `Dimension`.
const TEXT_BYTES_MAX: usize = 4 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) metric: MetricId,
    pub(super) unit: Unit,
    /// The second of its latest value.
    pub(super) latest: u64,
}

/// The series, each with its number. Numbers are not used again.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    by_id: HashMap<u32, Series>,
    /// A metric has one unit, but for those whose source changed its mind.
    by_metric: BTreeMap<MetricId, Vec<(Unit, u32)>>,
    next_id: u32,
    /// When it was last found that none could be given up.
    full_at: Option<u64>,
}

impl SeriesTable {
    /// An empty one that gives out other numbers than `before` has.
    pub(super) fn after(before: &Self) -> Self {
        Self { next_id: before.next_id, ..Self::default() }
    }

    /// The number of a series, if there is such a one.
    pub(super) fn find(&self, metric: &MetricId, unit: Unit) -> Option<u32> {
        self.all_of(metric).iter().find(|(of, _)| *of == unit).map(|(_, id)| *id)
    }

    /// Every series of a metric, with its unit.
    pub(super) fn all_of(&self, metric: &MetricId) -> &[(Unit, u32)] {
        self.by_metric.get(metric).map_or(&[], Vec::as_slice)
    }

    /// Adds a series, and tells its number; `None` where there are `most` that are not silent.
    /// Appends the numbers of those that were given up for it to `given_up`.
    pub(super) fn add(
        &mut self,
        metric: MetricId,
        unit: Unit,
        most: usize,
        now: Timestamp,
        given_up: &mut Vec<u32>,
    ) -> Option<u32> {
        if self.by_id.len() >= most {
            given_up.extend(self.make_room(most, now.as_secs()));
            if self.by_id.len() >= most {
                return None;
            }
        }
        let id = self.next_id;
        // Four thousand million series: one with the last number is not told from that before it.
        self.next_id = id.saturating_add(1);
        self.put(id, metric, unit);
        Some(id)
    }

    fn put(&mut self, id: u32, metric: MetricId, unit: Unit) {
        let units = self.by_metric.entry(metric.clone()).or_default();
        // One that was given up, and came again, is told of twice: the later number counts.
        for (_, before) in units.extract_if(.., |(of, _)| *of == unit) {
            self.by_id.remove(&before);
        }
        units.push((unit, id));
        self.by_id.insert(id, Series { metric, unit, latest: 0 });
        self.next_id = self.next_id.max(id.saturating_add(1));
    }

    /// Gives up some of those that have been silent the longest.
    fn make_room(&mut self, most: usize, now: u64) -> Vec<u32> {
        // Looking through all of them is for once a second, not for each value that finds no room.
        if self.full_at == Some(now) {
            return Vec::new();
        }
        let silent = self.by_id.iter().filter(|(_, series)| series.latest.saturating_add(SILENT) < now);
        let mut silent: Vec<(u64, u32)> = silent.map(|(id, series)| (series.latest, *id)).collect();
        if silent.is_empty() {
            self.full_at = Some(now);
        }
        silent.sort_unstable();
        silent.truncate((most / GIVEN_UP_SHARE).max(1));
        let given_up: Vec<u32> = silent.into_iter().map(|(_, id)| id).collect();
        given_up.iter().for_each(|id| self.forget(*id));
        given_up
    }

    fn forget(&mut self, id: u32) {
        let Some(series) = self.by_id.remove(&id) else { return };
        if let Some(units) = self.by_metric.get_mut(&series.metric) {
            units.retain(|(_, of)| *of != id);
            if units.is_empty() {
                self.by_metric.remove(&series.metric);
            }
        }
    }

    /// Forgets those that have had no value since the second `horizon`, and tells how many.
    pub(super) fn forget_before(&mut self, horizon: u64) -> usize {
        let old = self.by_id.iter().filter(|(_, series)| series.latest < horizon);
        let old: Vec<u32> = old.map(|(id, _)| *id).collect();
        old.iter().for_each(|id| self.forget(*id));
        old.len()
    }

    /// A series has a value of that second.
    pub(super) fn saw(&mut self, id: u32, second: u64) {
        if let Some(series) = self.by_id.get_mut(&id) {
            series.latest = series.latest.max(second);
        }
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The numbers of all.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_id.keys().copied()
    }

    /// The metrics that a filter takes, in the order of their ids.
    pub(super) fn list(&self, filter: &MetricFilter) -> Vec<MetricId> {
        let since = filter.since.map(Timestamp::as_secs);
        let is_since = |units: &[(Unit, u32)]| {
            let latest =
                units.iter().filter_map(|(_, id)| self.by_id.get(id)).map(|series| series.latest).max();
            since.is_none_or(|since| latest.is_some_and(|latest| latest >= since))
        };
        let taken = self.by_metric.iter().filter(|(metric, units)| filter.takes(metric) && is_since(units));
        taken.map(|(metric, _)| metric.clone()).collect()
    }

    /// Takes a series up that was kept.
    pub(super) fn restore(&mut self, payload: &[u8]) -> Option<()> {
        let (id, metric, unit) = read(payload)?;
        self.put(id, metric, unit);
        Some(())
    }

    /// Appends the frame that tells of a series.
    pub(super) fn put_definition(&self, out: &mut Vec<u8>, id: u32) {
        if let Some(series) = self.by_id.get(&id) {
            let mut payload = Vec::new();
            write(&mut payload, id, series);
            put_frame(out, &payload);
        }
    }

    /// Frames of all.
    pub(super) fn definitions(&self) -> Vec<u8> {
        let mut ids: Vec<u32> = self.ids().collect();
        ids.sort_unstable();
        let mut out = Vec::new();
        ids.into_iter().for_each(|id| self.put_definition(&mut out, id));
        out
    }
}

fn write(out: &mut Vec<u8>, id: u32, series: &Series) {
    put_whole(out, u64::from(id));
    put_text(out, series.unit.as_str());
    put_text(out, &series.metric.namespace);
    put_text(out, &series.metric.name);
    put_whole(out, series.metric.dimensions.len() as u64);
    for (name, value) in &series.metric.dimensions {
        put_text(out, name);
        put_text(out, value);
    }
}

fn read(payload: &[u8]) -> Option<(u32, MetricId, Unit)> {
    let mut bytes = Bytes(payload);
    let id = u32::try_from(bytes.whole()?).ok()?;
    let unit = bytes.text()?.parse().ok()?;
    let (namespace, name) = (bytes.text()?.to_owned(), bytes.text()?.to_owned());
    let count = usize::try_from(bytes.whole()?).ok()?;
    let mut dimensions = BTreeMap::new();
    for _ in 0..count {
        dimensions.insert(bytes.text()?.to_owned(), bytes.text()?.to_owned());
    }
    Some((id, MetricId { namespace, name, dimensions }, unit))
}

/// Whether a metric's id is of bounded size.
pub(super) fn fits(metric: &MetricId) -> bool {
    let mut texts = vec![&metric.namespace, &metric.name];
    metric.dimensions.iter().for_each(|(name, value)| texts.extend([name, value]));
    metric.dimensions.len() <= DIMENSIONS_MAX && texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str) -> MetricId {
        MetricId::new("Test", name, [("Cluster", "c"), ("Service", "s")])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn series_are_found_again_as_they_were_kept() {
        let mut table = SeriesTable::default();
        let mut given_up = Vec::new();
        let ids: Vec<_> = [("a", Unit::Count), ("a", Unit::Bytes), ("b", Unit::BytesPerSecond)]
            .map(|(name, unit)| {
                table.add(metric(name), unit, 10, at(0), &mut given_up).expect("there is room")
            })
            .into();
        let kept = table.definitions();
        let mut again = SeriesTable::default();
        for payload in super::super::codec::frames(&kept) {
            again.restore(payload).expect("is a series");
        }
        assert_eq!(again.all_of(&metric("a")), [(Unit::Count, ids[0]), (Unit::Bytes, ids[1])]);
        assert_eq!(again.find(&metric("b"), Unit::BytesPerSecond), Some(ids[2]));
        assert_eq!(again.add(metric("c"), Unit::None, 10, at(0), &mut given_up), Some(3));
    }

    #[test]
    fn the_silent_make_room_and_the_others_do_not() {
        let mut table = SeriesTable::default();
        let mut given_up = Vec::new();
        let day = 24 * 3600;
        for number in 0..3 {
            let id = table.add(metric(&number.to_string()), Unit::None, 3, at(day), &mut given_up);
            table.saw(id.expect("there is room"), day + number);
        }
        assert_eq!(table.add(metric("new"), Unit::None, 3, at(day + SILENT), &mut given_up), None);
        assert!(given_up.is_empty());
        let later = at(day + SILENT + 2);
        assert_eq!(table.add(metric("new"), Unit::None, 3, later, &mut given_up), Some(3));
        assert_eq!(given_up, [0], "the one that was silent the longest");
        assert!(!table.contains(0) && table.find(&metric("0"), Unit::None).is_none());
        table.saw(3, later.as_secs());
        assert_eq!(table.forget_before(later.as_secs()), 2);
        assert_eq!(table.list(&MetricFilter::default()), [metric("new")]);
    }
}
