//! Lines of logs, as the CLI asks for them and shows them.

use std::collections::BTreeMap;

use anyhow::Context;
use bowline_control::{
    control_plane::ControlPlane,
    logs::{
        self,
        queries::QueryOrder,
        sources::{self, Source, task_of_stream},
    },
};
use bowline_model::{clock::Timestamp, log_filter::FilterPattern, log_query::LogQuery};
use bowline_observe::logs::{LogStore, Reading, StoredEvent, Streams};
use serde::{Deserialize, Serialize};

use crate::display::{Table, printable_line};

/// Most lines of an answer: the latest, where there are more.
pub(crate) const LINES_MAX: usize = 5_000;

/// Most bytes of an answer.
const BYTES_MAX: usize = 3 * 1024 * 1024;

/// Which lines are asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogQuestion {
    /// Of which services; of everybody where none is named.
    pub(crate) services: Vec<String>,
    /// Of the task whose id begins so.
    pub(crate) task: Option<String>,
    /// Since then.
    pub(crate) since: Timestamp,
    /// A filter pattern of CloudWatch Logs.
    pub(crate) pattern: String,
    /// Only what came in since these numbers, by group: what an answer before told.
    pub(crate) after: Option<BTreeMap<String, u64>>,
}

/// Lines, and where those that come go on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogLines {
    /// In order of time.
    pub(crate) lines: Vec<LogLine>,
    /// To ask with, next.
    pub(crate) after: BTreeMap<String, u64>,
    /// There were more.
    pub(crate) is_cut: bool,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogLine {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// The log group.
    pub(crate) group: String,
    /// The log stream.
    pub(crate) stream: String,
    /// The container, where the stream is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    /// The task, where the stream is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<String>,
    /// What was written.
    pub(crate) message: String,
}

fn line(group: &str, event: StoredEvent) -> LogLine {
    let of = task_of_stream(&event.stream);
    LogLine {
        at: event.position.at,
        group: group.to_owned(),
        container: of.map(|(container, _)| container.to_owned()),
        task: of.map(|(_, task)| task.to_owned()),
        stream: event.stream.to_string(),
        message: event.message,
    }
}

fn found(control: &ControlPlane, services: &[String]) -> anyhow::Result<BTreeMap<String, Source>> {
    let store = control.logs();
    let groups = store.groups().into_iter().map(|group| group.name);
    let mut sources = sources::sources(&control.snapshot(), groups, services)?;
    // A service that has written nothing yet has no group.
    sources.retain(|group, _| store.describe(group).is_some());
    Ok(sources)
}

/// Whether an event is of the tasks that are asked for.
fn is_of(source: &Source, task: Option<&str>, stream: &str) -> bool {
    let of = task_of_stream(stream).map(|(_, task)| task);
    task.is_none_or(|wanted| of.is_some_and(|of| of.starts_with(wanted)))
        && source.tasks.as_ref().is_none_or(|tasks| of.is_some_and(|of| tasks.contains(of)))
}

/// Lines of a running Bowline's store. Waits for the disk.
pub(crate) fn lines(control: &ControlPlane, question: &LogQuestion) -> anyhow::Result<LogLines> {
    let pattern = FilterPattern::parse(&question.pattern)?;
    let store = control.logs();
    let sources = found(control, &question.services)?;
    let mut answer = LogLines::default();
    let bytes = BYTES_MAX / sources.len().max(1);
    for (group, source) in &sources {
        let takes = |event: &StoredEvent| {
            is_of(source, question.task.as_deref(), &event.stream) && pattern.matches(&event.message)
        };
        let last = store.describe(group).map_or(0, |group| group.last_sequence);
        match &question.after {
            Some(after) => {
                // A group that was made meanwhile is told from its beginning.
                let after = after.get(group).copied().unwrap_or(0);
                let mut events = store.tail(group, after, LINES_MAX / sources.len().max(1))?;
                // What one answer cannot carry comes with the next.
                let mut carried = 0;
                let mut fits = |event: &StoredEvent| {
                    carried += event.message.len() + 256;
                    carried <= bytes
                };
                let count = events.iter().take_while(|event| fits(event)).count();
                events.truncate(count.max(1));
                let last = events.last().map_or(after, |event| event.position.sequence);
                answer.after.insert(group.clone(), last);
                answer.lines.extend(events.into_iter().filter(takes).map(|event| line(group, event)));
            }
            None => {
                answer.after.insert(group.clone(), last);
                answer.is_cut |= history(&store, group, question, bytes, last, &takes, &mut answer.lines)?;
            }
        }
    }
    answer.lines.sort_by_key(|line| line.at);
    if answer.lines.len() > LINES_MAX && question.after.is_none() {
        answer.is_cut = true;
        answer.lines.drain(..answer.lines.len() - LINES_MAX);
    }
    Ok(answer)
}

/// The latest lines of a group up to a number; whether there are more.
fn history(
    store: &LogStore,
    group: &str,
    question: &LogQuestion,
    bytes: usize,
    last: u64,
    takes: &dyn Fn(&StoredEvent) -> bool,
    into: &mut Vec<LogLine>,
) -> anyhow::Result<bool> {
    let (mut before, mut count, mut size) = (None, 0, 0);
    loop {
        let page = store.read(
            group,
            &Reading {
                streams: Streams::All,
                from: question.since,
                until: Timestamp::from_millis(u64::MAX),
                after: None,
                before,
                is_forward: false,
                limit: LINES_MAX,
                bytes,
                takes: &|_| true,
            },
        )?;
        for event in page.events.into_iter().rev() {
            // What came in since is told to who follows.
            if event.position.sequence > last || !takes(&event) {
                continue;
            }
            count += 1;
            size += event.message.len();
            if count > LINES_MAX || size > bytes {
                return Ok(true);
            }
            into.push(line(group, event));
        }
        match page.rest {
            Some(rest) => before = Some(rest),
            None => return Ok(false),
        }
    }
}

/// Answers a query of Insights over the groups of services. Waits for the disk.
pub(crate) fn query(
    control: &ControlPlane,
    services: &[String],
    since: Timestamp,
    text: &str,
) -> anyhow::Result<Vec<Vec<(String, String)>>> {
    let registry = control.snapshot();
    let order = QueryOrder {
        text: text.to_owned(),
        query: LogQuery::parse(text).context("the query cannot be read")?,
        account_id: registry.settings().scope.account_id.clone(),
        groups: found(control, services)?.into_keys().collect(),
        from: since,
        until: Timestamp::from_millis(u64::MAX),
        limit: None,
        created_at: since,
    };
    let mut rows = logs::answer(&control.logs(), &order)?.rows;
    for row in &mut rows {
        row.retain(|(name, _)| name != "@ptr");
    }
    Ok(rows)
}

/// The table of a query's answer, `width` columns wide at most.
pub(crate) fn table(rows: &[Vec<(String, String)>], width: Option<u16>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut table = Table::of(names.clone()).within(width);
    for row in rows {
        let cell = |name: &&str| {
            let value = row.iter().find(|(known, _)| known == name);
            value.map(|(_, value)| printable_line(value)).unwrap_or_default()
        };
        table.push(names.iter().map(cell).collect());
    }
    table.to_string()
}

/// Colours of tasks: what stands out on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// A line for people: when, whose, what. With colours each task has one.
pub(crate) fn text(line: &LogLine, has_colours: bool) -> String {
    let service = line.group.rsplit('/').next().unwrap_or(&line.group);
    let who = match (&line.container, &line.task) {
        (Some(container), Some(task)) => format!("{service}/{container} {}", task.get(..8).unwrap_or(task)),
        _ => format!("{} {}", line.group, line.stream),
    };
    let who = printable_line(&who);
    let message = printable_line(&line.message);
    match has_colours {
        true => {
            let seed = line.task.as_ref().unwrap_or(&line.stream);
            let hash =
                seed.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
            let colour = COLOURS[hash % COLOURS.len()];
            format!("{}  \u{1b}[{colour}m{who}\u{1b}[0m  {message}", line.at)
        }
        false => format!("{}  {who}  {message}", line.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(message: &str) -> LogLine {
        let stream = "web/0123456789abcdef0123456789abcdef";
        LogLine {
            at: Timestamp::from_secs(1_000_000),
            group: "/bowline/shop/cart".into(),
            container: Some("web".into()),
            task: task_of_stream(stream).map(|(_, task)| task.to_owned()),
            stream: stream.into(),
            message: message.into(),
        }
    }

    #[test]
    fn a_line_says_whose_it_is_and_cannot_steer_the_terminal() {
        assert_eq!(
            text(&example("a\u{1b}[2Jb\tc"), false),
            "1970-01-12T13:46:40.000Z  cart/web 01234567  a\u{fffd}[2Jb\tc"
        );
        let coloured = text(&example("a"), true);
        assert!(coloured.contains("\u{1b}[3") && coloured.ends_with("\u{1b}[0m  a"), "{coloured:?}");
        let other = LogLine { container: None, task: None, stream: "s".into(), ..example("a") };
        assert!(text(&other, false).contains("/bowline/shop/cart s"));
    }

    #[test]
    fn tasks_are_chosen_by_the_beginning_of_their_ids() {
        let stream = "web/0123456789abcdef0123456789abcdef";
        let all = Source::default();
        assert!(is_of(&all, None, "anything") && is_of(&all, Some("0123"), stream));
        assert!(!is_of(&all, Some("1"), stream) && !is_of(&all, Some("0"), "anything"));
        let none = Source { tasks: Some(std::collections::BTreeSet::new()) };
        assert!(!is_of(&none, None, stream));
    }

    #[test]
    fn rows_that_lack_a_column_are_aligned() {
        let cell = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let rows = [vec![cell("a", "1")], vec![cell("a", "2"), cell("b", "x\u{7}")]];
        let text = table(&rows, None);
        assert_eq!(text.lines().map(str::trim).collect::<Vec<_>>(), ["a  b", "1", "2  x\u{fffd}"]);
    }
}
