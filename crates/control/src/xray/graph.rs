//! Which services there are in some traces, and who calls whom.

use std::collections::BTreeMap;

use bowline_aws::{
    protocol::Timestamp as WireTimestamp,
    xray::{Alias, Edge, ErrorStatistics, FaultStatistics, HistogramEntry, Service, Statistics},
};

use super::{segment::Segment, view::TraceView};

/// Most services of a graph. Source of the bound: ours; what is beyond it is left out.
const SERVICES_MAX: usize = 10_000;

/// What a service is known by: its name and its type.
type Key = (String, Option<String>);

/// A graph that traces are added to.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<Key, Node>,
    edges: BTreeMap<(Key, Key), Measured>,
}

#[derive(Debug, Default)]
struct Node {
    is_root: bool,
    measured: Measured,
}

/// Calls, counted.
#[derive(Debug, Default)]
struct Measured {
    statistics: Statistics,
    /// How many of each duration, in seconds of two significant digits.
    durations: BTreeMap<(i32, u32), i64>,
    /// When the first began and the last ended, in seconds since 1970.
    span: Option<(f64, f64)>,
}

impl Measured {
    fn add(&mut self, part: &Segment) {
        let statistics = &mut self.statistics;
        statistics.total_count += 1;
        statistics.total_response_time += part.duration();
        let ErrorStatistics { throttle_count, other_count, total_count } = &mut statistics.error_statistics;
        let FaultStatistics { other_count: faults, total_count: all_faults } =
            &mut statistics.fault_statistics;
        if part.fault {
            *faults += 1;
            *all_faults += 1;
        } else if part.throttle {
            *throttle_count += 1;
            *total_count += 1;
        } else if part.error {
            *other_count += 1;
            *total_count += 1;
        } else {
            statistics.ok_count += 1;
        }
        *self.durations.entry(rounded(part.duration())).or_default() += 1;
        let (start, end) = self.span.unwrap_or((part.start_time, part.end()));
        self.span = Some((start.min(part.start_time), end.max(part.end())));
    }

    fn histogram(&self) -> Vec<HistogramEntry> {
        let entry = |((power, digits), count): (&(i32, u32), &i64)| HistogramEntry {
            value: f64::from(*digits) * 10_f64.powi(*power),
            count: *count,
        };
        self.durations.iter().map(entry).collect()
    }

    fn times(&self) -> (WireTimestamp, WireTimestamp) {
        let (start, end) = self.span.unwrap_or_default();
        (WireTimestamp::from_seconds(start), WireTimestamp::from_seconds(end))
    }
}

/// A duration in two significant digits: power of ten, and digits from 10 to 99.
fn rounded(seconds: f64) -> (i32, u32) {
    if seconds < 1e-6 {
        return (0, 0);
    }
    let power = seconds.log10().floor() as i32 - 1;
    let digits = (seconds / 10_f64.powi(power)).round() as u32;
    if digits >= 100 { (power + 1, 10) } else { (power, digits) }
}

impl Graph {
    /// Adds a trace.
    pub(crate) fn add(&mut self, trace: &TraceView) {
        for segment in &trace.segments {
            self.node(key(segment)).measured.add(segment);
        }
        for (_, root) in trace.roots() {
            self.node(key(root)).is_root = true;
            // Whoever made the first call: a node of its own, which X-Ray calls by the name of what it called.
            let client = (root.name.clone(), Some("client".to_owned()));
            self.node(client.clone());
            self.edge(client, key(root)).add(root);
        }
        for edge in &trace.edges {
            let caller = &trace.segments[edge.from];
            let (to, told) = match edge.to {
                Some(at) => (key(&trace.segments[at]), Some(&trace.segments[at])),
                None => ((edge.remote.clone(), Some("remote".to_owned())), trace.call_of(edge)),
            };
            // A service's own parts, its proxy's and its application's, are one node.
            let Some(told) = told.filter(|_| to.0 != caller.name) else { continue };
            if edge.to.is_none() {
                self.node(to.clone()).measured.add(told);
            }
            let call = trace.call_of(edge).unwrap_or(told);
            self.edge(key(caller), to).add(call);
        }
    }

    fn node(&mut self, key: Key) -> &mut Node {
        self.nodes.entry(key).or_default()
    }

    fn edge(&mut self, from: Key, to: Key) -> &mut Measured {
        self.edges.entry((from, to)).or_default()
    }

    /// The services, each with its edges.
    pub(crate) fn services(&self, account: &str) -> Vec<Service> {
        let numbers: BTreeMap<&Key, i64> = self.nodes.keys().take(SERVICES_MAX).zip(0..).collect();
        let service = |(key, node): (&Key, &Node)| {
            // Keys are in order: those of one caller stand together.
            let edges: Vec<Edge> = self
                .edges
                .range((key.clone(), (String::new(), None))..)
                .take_while(|((from, _), _)| from == key)
                .filter_map(|((_, to), measured)| Some(edge(*numbers.get(to)?, measured)))
                .collect();
            let (start_time, end_time) = match node.measured.span {
                Some(_) => node.measured.times(),
                // A client is known by its calls alone.
                None => edges
                    .first()
                    .map_or_else(|| node.measured.times(), |edge| (edge.start_time, edge.end_time)),
            };
            let is_client = key.1.as_deref() == Some("client");
            Service {
                reference_id: numbers[key],
                name: key.0.clone(),
                names: vec![key.0.clone()],
                root: node.is_root.then_some(true),
                account_id: Some(account.to_owned()),
                r#type: key.1.clone(),
                state: if is_client { "unknown" } else { "active" },
                start_time,
                end_time,
                edges,
                summary_statistics: (!is_client).then_some(node.measured.statistics),
                duration_histogram: node.measured.histogram(),
                response_time_histogram: node.measured.histogram(),
            }
        };
        self.nodes.iter().take(SERVICES_MAX).map(service).collect()
    }
}

fn key(segment: &Segment) -> Key {
    (segment.name.clone(), segment.origin.clone())
}

fn edge(reference_id: i64, measured: &Measured) -> Edge {
    let (start_time, end_time) = measured.times();
    Edge {
        reference_id,
        start_time,
        end_time,
        summary_statistics: measured.statistics,
        response_time_histogram: measured.histogram(),
        aliases: Vec::<Alias>::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_two_digits() {
        assert_eq!(rounded(0.0), (0, 0));
        assert_eq!(rounded(0.1234), (-2, 12));
        assert_eq!(rounded(0.999), (-1, 10));
        assert_eq!(rounded(12.0), (0, 12));
    }

    proptest! {
        #[test]
        fn a_rounded_duration_is_near(seconds in 1e-5f64..1e6) {
            let (power, digits) = rounded(seconds);
            let told = f64::from(digits) * 10_f64.powi(power);
            prop_assert!((told / seconds - 1.0).abs() < 0.051, "{seconds} {told}");
        }
    }
}
