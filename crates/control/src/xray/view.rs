//! A whole trace: its segments, and who called whom.

use std::collections::{BTreeMap, HashMap, HashSet};

use bowline_observe::traces::Trace;

use super::{render, segment::Segment};

/// A trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceView {
    /// By their beginning.
    pub(crate) segments: Vec<Segment>,
    /// In the order of their callers.
    pub(crate) edges: Vec<Edge>,
}

/// A call from one service to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    /// The caller's segment.
    pub(crate) from: usize,
    /// The called one's; `None` where it told nothing.
    pub(crate) to: Option<usize>,
    /// The call as the caller saw it, where it told of it: this subsegment of its segment.
    pub(crate) call: Option<String>,
    /// What was called, where it told nothing itself.
    pub(crate) remote: String,
}

impl TraceView {
    /// Of what is kept of a trace.
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut segments: BTreeMap<String, Segment> = BTreeMap::new();
        let mut subsegments = Vec::new();
        let documents = trace.documents.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok());
        for document in documents {
            let document: Segment = document;
            if document.kind.is_some() {
                subsegments.push(document);
                continue;
            }
            // A segment is sent again when it ends; what comes late of one that has ended changes nothing.
            match segments.get(&document.id) {
                Some(known) if is_done(known) && !is_done(&document) => {}
                _ => {
                    segments.insert(document.id.clone(), document);
                }
            }
        }
        let mut segments: Vec<Segment> = segments.into_values().collect();
        attach(&mut segments, subsegments);
        segments.extend(render::segments(&trace.spans));
        segments.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
        let edges = edges(&segments);
        Self { segments, edges }
    }

    /// Those that none of the others called.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (usize, &Segment)> {
        let called: HashSet<usize> = self.edges.iter().filter_map(|edge| edge.to).collect();
        self.segments.iter().enumerate().filter(move |(at, _)| !called.contains(at))
    }

    /// Where the trace begins.
    pub(crate) fn entry(&self) -> Option<&Segment> {
        self.roots().next().or_else(|| self.segments.iter().enumerate().next()).map(|(_, segment)| segment)
    }

    /// When it began and ended, in seconds since 1970.
    pub(crate) fn span(&self) -> (f64, f64) {
        let start = self.segments.iter().map(|segment| segment.start_time).fold(f64::INFINITY, f64::min);
        let end = self.segments.iter().map(Segment::end).fold(0.0, f64::max);
        if start.is_finite() { (start, end.max(start)) } else { (0.0, 0.0) }
    }

    /// How long it took, in seconds.
    pub(crate) fn duration(&self) -> f64 {
        let (start, end) = self.span();
        end - start
    }

    /// The call of an edge, as the caller saw it.
    pub(crate) fn call_of(&self, edge: &Edge) -> Option<&Segment> {
        let call = edge.call.as_deref()?;
        self.segments[edge.from].walk().find(|part| part.id == call)
    }

    /// The name of the called side of an edge.
    pub(crate) fn called<'a>(&'a self, edge: &'a Edge) -> &'a str {
        edge.to.map_or(&edge.remote, |to| &self.segments[to].name)
    }
}

fn is_done(segment: &Segment) -> bool {
    !segment.in_progress
}

/// How deep subsegments are put below one another. What is deeper is a segment by itself: a document as deep as it likes
/// must not be.
const DEPTH_MAX: usize = 64;

/// Puts subsegments that came on their own under their parents, in whichever order they came. One whose parent did not
/// come is a segment by itself.
fn attach(segments: &mut Vec<Segment>, waiting: Vec<Segment>) {
    let mut by_parent: HashMap<String, Vec<Segment>> = HashMap::new();
    for subsegment in waiting {
        by_parent.entry(subsegment.parent_id.clone().unwrap_or_default()).or_default().push(subsegment);
    }
    for segment in &mut *segments {
        attach_below(segment, &mut by_parent, 0);
    }
    let mut left: Vec<Segment> = by_parent.into_values().flatten().collect();
    left.sort_by(|one, other| one.start_time.total_cmp(&other.start_time));
    segments.append(&mut left);
}

fn attach_below(segment: &mut Segment, by_parent: &mut HashMap<String, Vec<Segment>>, depth: usize) {
    if depth >= DEPTH_MAX {
        return;
    }
    for subsegment in by_parent.remove(&segment.id).unwrap_or_default() {
        match segment.subsegments.iter_mut().find(|known| known.id == subsegment.id) {
            Some(known) if is_done(known) => {}
            Some(known) => *known = subsegment,
            None => segment.subsegments.push(subsegment),
        }
    }
    for subsegment in &mut segment.subsegments {
        attach_below(subsegment, by_parent, depth + 1);
    }
}

fn edges(segments: &[Segment]) -> Vec<Edge> {
    let mut owners = HashMap::new();
    for (at, segment) in segments.iter().enumerate() {
        for part in segment.walk() {
            owners.entry(part.id.as_str()).or_insert((at, part));
        }
    }
    let mut edges = Vec::new();
    let mut answered = HashSet::new();
    for (at, segment) in segments.iter().enumerate() {
        let Some((from, part)) = segment.parent_id.as_deref().and_then(|parent| owners.get(parent)) else {
            continue;
        };
        if *from == at {
            continue;
        }
        let is_call = part.id != segments[*from].id;
        if is_call {
            answered.insert(part.id.as_str());
        }
        // What an application tells beside its own proxy is no call of another service.
        edges.push(Edge {
            from: *from,
            to: Some(at),
            call: is_call.then(|| part.id.clone()),
            remote: String::new(),
        });
    }
    for (from, segment) in segments.iter().enumerate() {
        for part in segment.walk().filter(|part| part.is_remote() && !answered.contains(part.id.as_str())) {
            edges.push(Edge { from, to: None, call: Some(part.id.clone()), remote: part.name.clone() });
        }
    }
    edges.sort_by_key(|edge| edge.from);
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: usize) -> Segment {
        let parent_id = number.checked_sub(1).map(|parent| format!("{parent:016x}"));
        Segment { id: format!("{number:016x}"), parent_id, ..Segment::default() }
    }

    /// Each is the next one's parent: as deep as there are of them, were there no limit. Whoever recurses into that, as
    /// serde does, has no stack left.
    #[test]
    fn a_chain_of_any_length_is_put_below_one_another_so_deep_and_nothing_of_it_is_lost() {
        const PARTS: usize = 50_000;
        let mut segments = vec![part(0)];
        attach(&mut segments, (1..PARTS).rev().map(part).collect());
        let depth = |mut segment: &Segment| {
            let mut depth = 0;
            while let Some(below) = segment.subsegments.first() {
                (segment, depth) = (below, depth + 1);
            }
            depth
        };
        assert_eq!(depth(&segments[0]), DEPTH_MAX);
        assert_eq!(segments.iter().map(|segment| segment.walk().count()).sum::<usize>(), PARTS);
        serde_json::to_string(&segments).expect("it can be written");
    }
}
