//! `bowline audit`: what the audit trail says, and whether it still says what it said.

use std::{
    cell::Cell,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use bowline_aws::protocol::Timestamp as WireTimestamp;
use bowline_control::{
    audit::{
        AuditAnchor, AuditError, AuditReader, LookupQuery, Tampering, Verified,
        lookup::{FoundEvent, LookupAttribute, LookupKey},
        verify::{VerifyProgress, verify_observed},
    },
    control_plane::{AUDIT_DIRECTORY, AUDIT_KEY_LABEL},
    master_key::MasterKey,
};
use bowline_model::clock::Timestamp;
use bowline_plumbing::seal::SealKey;
use serde_json::{Value, json};

use crate::{
    display::{self, Table},
    master_key_args::MasterKeyArgs,
    output::OutputFormat,
    state_dir,
};

/// How long nothing is said of progress, and between two lines of it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Records of one page of a lookup.
const PAGE: u32 = 50;

/// Arguments of `bowline audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    /// Check that no record was altered, removed or made up since it was written
    Verify(VerifyArgs),
    /// Show who called what, the latest first
    Lookup(LookupArgs),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// State directory whose trail it is. A server may be running on it.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    master_key: MasterKeyArgs,
    /// An anchor that an earlier check printed: the trail must still hold that record.
    #[arg(long, value_name = "NUMBER:SHA-256", value_parser = anchor)]
    anchor: Option<AuditAnchor>,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

#[derive(Debug, clap::Args)]
struct LookupArgs {
    /// State directory whose trail it is. A server may be running on it.
    #[arg(long, env = "BOWLINE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    master_key: MasterKeyArgs,
    /// Only records with this: EventId, EventName, ReadOnly, Username, ResourceType, ResourceName,
    /// EventSource or AccessKeyId.
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    attribute: Option<LookupAttribute>,
    /// Only records of this time or later: 2026-11-21, 2026-11-21T07:12:23Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    start: Option<Timestamp>,
    /// Only records of this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    end: Option<Timestamp>,
    /// Data events too, where they were recorded.
    #[arg(long)]
    data_events: bool,
    /// At most so many records.
    #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How to print. With json: a CloudTrail record a line.
    #[arg(short, long, default_value = "text")]
    output: OutputFormat,
}

fn anchor(text: &str) -> Result<AuditAnchor, String> {
    let wrong = || "an anchor is a record's number, a colon and 64 hex digits".to_owned();
    let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match sequence.parse() {
        Ok(sequence) if hash.len() == 64 && hash.bytes().all(digits) => {
            Ok(AuditAnchor { sequence, hash: hash.to_owned() })
        }
        _ => Err(wrong()),
    }
}

fn attribute(text: &str) -> Result<LookupAttribute, String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    let key = LookupKey::from_name(name).ok_or_else(|| {
        format!(
            "{name:?} is no attribute: one of EventId, EventName, ReadOnly, Username, ResourceType, ResourceName, \
             EventSource, AccessKeyId is needed"
        )
    })?;
    Ok(LookupAttribute { key, value: value.to_owned() })
}

fn moment(text: &str) -> Result<Timestamp, String> {
    WireTimestamp::parse_iso8601(text)
        .and_then(|at| u64::try_from(at.milliseconds()).ok())
        .map(Timestamp::from_millis)
        .ok_or_else(|| "a time is written as 2026-11-21 or 2026-11-21T07:12:23Z".to_owned())
}

/// Carries out one of the subcommands.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let outcome = match args.command {
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Lookup(args) => lookup(args),
    };
    match outcome {
        // Who reads has seen enough (`| head`).
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Records tell whole seconds.
fn second(at: Timestamp) -> String {
    at.to_string().replace(".000Z", "Z")
}

/// The trail of a state directory, and its key.
fn trail(state_dir: Option<PathBuf>, key: &MasterKeyArgs) -> anyhow::Result<(PathBuf, SealKey)> {
    let state_dir = state_dir::resolve(state_dir)?;
    let dir = state_dir.join(AUDIT_DIRECTORY);
    if !dir.exists() {
        return Err(AuditError::Absent { dir }.into());
    }
    let key = MasterKey::open_beside(&state_dir, key.source()?);
    let key = key.context("the audit trail's key cannot be had")?;
    Ok((dir, key.derive(AUDIT_KEY_LABEL)))
}

fn verify(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let (dir, key) = trail(args.state_dir, &args.master_key)?;
    let progress = Progress::default();
    let observe = |VerifyProgress { bytes, of_bytes }| {
        progress.say(|| format!("checked {} of {} MiB", bytes >> 20, of_bytes.max(bytes) >> 20));
    };
    let verified = verify_observed(&dir, key.as_bytes(), args.anchor.as_ref(), &observe);
    progress.clear();
    match verified {
        Ok(verified) => {
            print_verified(&dir, &verified, args.output)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(AuditError::Tampered { dir, tampering }) => {
            // The exit code says it too, whoever stopped reading.
            let _ = print_tampered(&dir, &tampering, args.output);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

fn print_verified(dir: &Path, verified: &Verified, format: OutputFormat) -> io::Result<()> {
    let Verified { records, first, from, to, anchor, torn_bytes } = verified;
    let AuditAnchor { sequence, hash } = anchor;
    let mut out = io::stdout().lock();
    match format {
        OutputFormat::Json => {
            let time = |at: &Option<Timestamp>| at.map(second);
            let report = json!({"intact": true, "directory": dir, "records": records, "first": first,
                "last": sequence, "from": time(from), "to": time(to), "tornBytes": torn_bytes,
                "anchor": format!("{sequence}:{hash}")});
            writeln!(out, "{report}")
        }
        OutputFormat::Text => {
            writeln!(out, "✓ the audit trail in {} is as it was written", dir.display())?;
            if let (Some(from), Some(to)) = (from, to) {
                writeln!(
                    out,
                    "{records} records, {first} to {sequence}, of {} to {}",
                    second(*from),
                    second(*to)
                )?;
            }
            if *torn_bytes > 0 {
                writeln!(
                    out,
                    "{torn_bytes} bytes at the end are half a record: of a write going on, or of a kill"
                )?;
            }
            writeln!(out, "anchor: {sequence}:{hash}")?;
            writeln!(
                out,
                "(keep the anchor elsewhere: --anchor shows later that nothing up to it was removed)"
            )
        }
    }
}

fn print_tampered(dir: &Path, tampering: &Tampering, format: OutputFormat) -> io::Result<()> {
    let Tampering { segment, line, sequence, what } = tampering;
    let mut out = io::stdout().lock();
    match format {
        OutputFormat::Json => {
            let report = json!({"intact": false, "directory": dir, "file": segment, "line": line,
                "record": sequence, "found": what.to_string()});
            writeln!(out, "{report}")
        }
        OutputFormat::Text => {
            writeln!(out, "✗ the audit trail in {} was TAMPERED WITH", dir.display())?;
            match line {
                0 => writeln!(out, "{}: {what}", dir.join(segment).display()),
                _ => {
                    writeln!(out, "{}, line {line} (record {sequence}): {what}", dir.join(segment).display())
                }
            }
        }
    }
}

fn lookup(args: LookupArgs) -> anyhow::Result<ExitCode> {
    let (dir, key) = trail(args.state_dir, &args.master_key)?;
    let reader = AuditReader::new(&dir, key.as_bytes());
    let mut query = LookupQuery {
        start: args.start,
        end: args.end,
        attribute: args.attribute,
        data_events: args.data_events,
        max_results: PAGE,
        next_token: None,
    };
    let progress = Progress::default();
    let mut left = args.limit;
    let mut table = Table::new(["TIME", "EVENT", "SOURCE", "USER", "FROM", "ENDED"]);
    let mut found = 0;
    let mut out = io::stdout().lock();
    loop {
        // The pages of a query need not be of one size.
        query.max_results = left.min(PAGE);
        let page = reader.lookup(&query)?;
        for event in page.events {
            (found, left) = (found + 1, left - 1);
            match args.output {
                OutputFormat::Json => {
                    progress.clear();
                    writeln!(out, "{}", event.cloud_trail_event)?;
                }
                OutputFormat::Text => table.row(row(&event)),
            }
        }
        query.next_token = page.next_token;
        if query.next_token.is_none() || left == 0 {
            break;
        }
        progress.say(|| format!("{found} records found"));
    }
    progress.clear();
    if args.output == OutputFormat::Text {
        write!(out, "{table}")?;
        if query.next_token.is_some() {
            writeln!(out, "… and perhaps more: --limit shows them")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(event: &FoundEvent) -> [String; 6] {
    let record: Value = serde_json::from_str(&event.cloud_trail_event).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(short);
    let user = match &event.username {
        Some(name) => short(name),
        None => match &event.access_key_id {
            Some(key) => format!("? (key {})", short(key)),
            None => text(&record["userIdentity"]["invokedBy"]).unwrap_or_else(|| "?".to_owned()),
        },
    };
    [
        second(event.event_time),
        short(&event.event_name),
        short(&event.event_source),
        user,
        text(&record["sourceIPAddress"]).unwrap_or_default(),
        text(&record["errorCode"]).unwrap_or_else(|| "ok".to_owned()),
    ]
}

/// What a caller sent must not steer the terminal, nor fill it.
fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 128;
    display::printable(&text.chars().take(CHARACTERS_MAX).collect::<String>())
}

/// A line on a terminal's standard error that is written over as it changes.
struct Progress {
    said: Cell<Instant>,
    shown: Cell<bool>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { said: Cell::new(Instant::now()), shown: Cell::new(false) }
    }
}

impl Progress {
    fn say(&self, line: impl FnOnce() -> String) {
        if self.said.get().elapsed() >= PROGRESS_INTERVAL && io::stderr().is_terminal() {
            eprint!("\r\u{1b}[K{}", line());
            self.said.set(Instant::now());
            self.shown.set(true);
        }
    }

    fn clear(&self) {
        if self.shown.replace(false) {
            eprint!("\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused_with_what_is_needed() {
        let hash = "0a".repeat(32);
        assert_eq!(anchor(&format!("42:{hash}")), Ok(AuditAnchor { sequence: 42, hash: hash.clone() }));
        for wrong in ["", "42", &hash, "x:0a", &format!("42:{}", hash.to_uppercase())] {
            assert!(anchor(wrong).is_err(), "{wrong}");
        }
        let event = LookupAttribute { key: LookupKey::EventName, value: "A=b".to_owned() };
        assert_eq!(attribute("EventName=A=b"), Ok(event));
        assert!(attribute("Event=x").is_err_and(|message| message.contains("EventSource")));
        assert!(attribute("EventName").is_err());
        assert_eq!(moment("1970-01-02"), Ok(Timestamp::from_secs(86_400)));
        assert_eq!(moment("1970-01-01T00:00:07Z"), Ok(Timestamp::from_secs(7)));
        assert!(moment("1969-12-31").is_err() && moment("yesterday").is_err());
    }

    #[test]
    fn what_is_shown_cannot_steer_a_terminal() {
        assert_eq!(short("a\u{1b}[2Jb\u{9b}c"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(short(&"x".repeat(999)).len(), 128);
    }
}
