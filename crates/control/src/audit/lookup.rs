//! Finding records: `CloudTrail`'s `LookupEvents`.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_model::clock::Timestamp;
use serde::Deserialize;
use thiserror::Error;

use super::chain::{AuditKeys, Line};
use super::error::{AuditError, Tampering, TamperingKind};
use super::segment::{self, BackwardLines, RawLine};
use super::time;
use super::trail::{Index, IndexSegment};
use super::verify::segment_path;

/// The most results of a page, and the default.
const RESULTS_MAX: u32 = 50;
/// The most characters of an attribute's value.
const VALUE_CHARS_MAX: usize = 2000;
/// The most bytes that one call reads; what it did not reach is on the next
/// page, which may then come without results.
const SCAN_BYTES_MAX: u64 = 64 * 1024 * 1024;
const TOKEN_BYTES: usize = 16 + 8 + 8 + 16;

/// What to look for. AWS API reference, `LookupEvents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupQuery {
    /// Only records of this second or later.
    pub start: Option<Timestamp>,
    /// Only records of this second or earlier.
    pub end: Option<Timestamp>,
    /// Only records with this value of an attribute.
    pub attribute: Option<LookupAttribute>,
    /// Whether data events are looked up too; AWS finds management events only.
    /// Default no.
    pub data_events: bool,
    /// Records a page: 1 to 50. Default 50.
    pub max_results: u32,
    /// Of the page before, with the same query.
    pub next_token: Option<String>,
}

impl Default for LookupQuery {
    fn default() -> Self {
        Self {
            start: None,
            end: None,
            attribute: None,
            data_events: false,
            max_results: RESULTS_MAX,
            next_token: None,
        }
    }
}

/// An attribute and the value that it must have, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupAttribute {
    /// Which.
    pub key: LookupKey,
    /// Its value, 1 to 2,000 characters. `true` or `false` for `ReadOnly`.
    pub value: String,
}

/// `AttributeKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupKey {
    /// `eventID`.
    EventId,
    /// `eventName`.
    EventName,
    /// `readOnly`.
    ReadOnly,
    /// The user's name, a role session's name, or `root`.
    Username,
    /// `type` of one of the resources.
    ResourceType,
    /// One of the resources: its ARN, or what follows the last `/` or `:` of it.
    ResourceName,
    /// `eventSource`.
    EventSource,
    /// `userIdentity.accessKeyId`.
    AccessKeyId,
}

impl LookupKey {
    /// By AWS's word for it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "EventId" => Self::EventId,
            "EventName" => Self::EventName,
            "ReadOnly" => Self::ReadOnly,
            "Username" => Self::Username,
            "ResourceType" => Self::ResourceType,
            "ResourceName" => Self::ResourceName,
            "EventSource" => Self::EventSource,
            "AccessKeyId" => Self::AccessKeyId,
            _ => return None,
        })
    }
}

/// Records found, the one recorded last first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookupPage {
    /// At most `max_results`. May be empty although there is a next page.
    pub events: Vec<FoundEvent>,
    /// For the next page; `None` on the last.
    pub next_token: Option<String>,
}

/// A record found: `Event` of the AWS API reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEvent {
    /// `EventId`.
    pub event_id: String,
    /// `EventName`.
    pub event_name: String,
    /// `ReadOnly`; AWS writes it as a string.
    pub read_only: bool,
    /// `AccessKeyId`.
    pub access_key_id: Option<String>,
    /// `EventTime`, in whole seconds.
    pub event_time: Timestamp,
    /// `EventSource`.
    pub event_source: String,
    /// `Username`.
    pub username: Option<String>,
    /// `Resources`: type and name.
    pub resources: Vec<(String, String)>,
    /// `CloudTrailEvent`: the whole record, as JSON.
    pub cloud_trail_event: String,
}

/// Why nothing could be looked up.
#[derive(Debug, Error)]
pub enum LookupError {
    /// `InvalidMaxResultsException`.
    #[error("MaxResults is {0}, and it must be from 1 to 50")]
    InvalidMaxResults(u32),
    /// `InvalidTimeRangeException`.
    #[error("the start time is after the end time")]
    InvalidTimeRange,
    /// `InvalidLookupAttributesException`.
    #[error("an attribute's value must have 1 to 2000 characters, of ReadOnly be true or false")]
    InvalidLookupAttributes,
    /// `InvalidNextTokenException`.
    #[error("the token is not of a page of this query")]
    InvalidNextToken,
    /// The trail was tampered with, or cannot be read.
    #[error(transparent)]
    Trail(#[from] AuditError),
}

/// A query that was checked.
struct Checked<'a> {
    from: Option<String>,
    to: Option<String>,
    query: &'a LookupQuery,
    digest: [u8; 16],
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// First record of the segment; in memory, the sequence number that all
    /// that is left is below.
    segment: u64,
    /// Bytes of the segment that are left.
    bytes: u64,
}

impl<'a> Checked<'a> {
    fn new(query: &'a LookupQuery) -> Result<Self, LookupError> {
        if !(1..=RESULTS_MAX).contains(&query.max_results) {
            return Err(LookupError::InvalidMaxResults(query.max_results));
        }
        if query.start.zip(query.end).is_some_and(|(start, end)| start > end) {
            return Err(LookupError::InvalidTimeRange);
        }
        if let Some(LookupAttribute { key, value }) = &query.attribute {
            let length = value.chars().take(VALUE_CHARS_MAX + 1).count();
            let flag = matches!(value.as_str(), "true" | "false");
            if !(1..=VALUE_CHARS_MAX).contains(&length) || *key == LookupKey::ReadOnly && !flag {
                return Err(LookupError::InvalidLookupAttributes);
            }
        }
        let (from, to) = (query.start.map(time::format), query.end.map(time::format));
        // All but the token and the size of the page, as CloudTrail demands.
        let text = format!("{from:?} {to:?} {:?} {}", query.attribute, query.data_events);
        let mut short = [0; 16];
        short.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
        Ok(Self { from, to, query, digest: short })
    }

    fn position(&self, key: &hmac::Key) -> Result<Option<Position>, LookupError> {
        let Some(token) = &self.query.next_token else { return Ok(None) };
        self.open_token(key, token).map(Some).ok_or(LookupError::InvalidNextToken)
    }

    fn open_token(&self, key: &hmac::Key, token: &str) -> Option<Position> {
        // Longer ones are not ours, and are not decoded.
        let bytes = URL_SAFE_NO_PAD.decode(token.get(..token.len().min(2 * TOKEN_BYTES))?).ok()?;
        let bytes: &[u8; TOKEN_BYTES] = bytes.as_slice().try_into().ok()?;
        let (body, mac) = bytes.split_at(TOKEN_BYTES - 16);
        if hmac::sign(key, body).as_ref()[..16] != *mac || body[..16] != self.digest {
            return None;
        }
        let number = |from: usize| body[from..from + 8].try_into().map(u64::from_be_bytes).ok();
        Some(Position { segment: number(16)?, bytes: number(24)? })
    }

    fn token(&self, key: &hmac::Key, position: Position) -> String {
        let mut bytes = self.digest.to_vec();
        bytes.extend_from_slice(&position.segment.to_be_bytes());
        bytes.extend_from_slice(&position.bytes.to_be_bytes());
        let mac = hmac::sign(key, &bytes);
        bytes.extend_from_slice(&mac.as_ref()[..16]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn may_hold(&self, times: Option<&(String, String)>) -> bool {
        let Some((earliest, latest)) = times else { return true };
        self.from.as_ref().is_none_or(|from| latest >= from)
            && self.to.as_ref().is_none_or(|to| earliest <= to)
    }

    fn is_match(&self, record: &RecordView) -> bool {
        self.from.as_ref().is_none_or(|from| record.event_time >= *from)
            && self.to.as_ref().is_none_or(|to| record.event_time <= *to)
            && (self.query.data_events || record.event_category != "Data")
            && self.query.attribute.as_ref().is_none_or(|attribute| record.has(attribute))
    }

    /// The record, if it is one of those looked for.
    fn find(&self, json: &[u8]) -> Option<FoundEvent> {
        let record: RecordView = serde_json::from_slice(json).ok()?;
        if !self.is_match(&record) {
            return None;
        }
        record.into_found(String::from_utf8(json.to_vec()).ok()?)
    }
}

/// What a lookup needs of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordView {
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: String,
    event_time: String,
    event_source: String,
    read_only: bool,
    event_category: String,
    user_identity: IdentityView,
    #[serde(default)]
    resources: Vec<ResourceView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityView {
    #[serde(rename = "type")]
    kind: String,
    arn: Option<String>,
    access_key_id: Option<String>,
    user_name: Option<String>,
}

#[derive(Deserialize)]
struct ResourceView {
    #[serde(rename = "ARN")]
    arn: String,
    #[serde(rename = "type")]
    resource_type: String,
}

impl IdentityView {
    fn username(&self) -> Option<&str> {
        match (self.user_name.as_deref(), self.kind.as_str()) {
            (Some(name), _) => Some(name),
            (None, "Root") => Some("root"),
            (None, "AssumedRole") => self.arn.as_deref().and_then(|arn| arn.rsplit('/').next()),
            _ => None,
        }
    }
}

impl RecordView {
    fn has(&self, LookupAttribute { key, value }: &LookupAttribute) -> bool {
        match key {
            LookupKey::EventId => self.event_id == *value,
            LookupKey::EventName => self.event_name == *value,
            LookupKey::ReadOnly => self.read_only == (value == "true"),
            LookupKey::Username => self.user_identity.username() == Some(value),
            LookupKey::ResourceType => self.resources.iter().any(|resource| resource.resource_type == *value),
            LookupKey::ResourceName => self.resources.iter().any(|resource| {
                resource.arn == *value || resource.arn.rsplit(['/', ':']).next() == Some(value)
            }),
            LookupKey::EventSource => self.event_source == *value,
            LookupKey::AccessKeyId => self.user_identity.access_key_id.as_ref() == Some(value),
        }
    }

    fn into_found(self, json: String) -> Option<FoundEvent> {
        Some(FoundEvent {
            username: self.user_identity.username().map(str::to_owned),
            event_id: self.event_id,
            event_name: self.event_name,
            read_only: self.read_only,
            access_key_id: self.user_identity.access_key_id,
            event_time: time::parse(&self.event_time)?,
            event_source: self.event_source,
            resources: self.resources.into_iter().map(|one| (one.resource_type, one.arn)).collect(),
            cloud_trail_event: json,
        })
    }
}

/// Looks through the files of a trail.
pub(super) fn in_files(
    dir: &Path,
    keys: &AuditKeys,
    index: &Index,
    query: &LookupQuery,
) -> Result<LookupPage, LookupError> {
    in_files_within(dir, keys, index, query, SCAN_BYTES_MAX)
}

fn in_files_within(
    dir: &Path,
    keys: &AuditKeys,
    index: &Index,
    query: &LookupQuery,
    mut budget: u64,
) -> Result<LookupPage, LookupError> {
    let checked = Checked::new(query)?;
    let position = checked.position(&keys.token)?;
    let mut page = LookupPage::default();
    for segment in index.segments.iter().rev() {
        let end = match position {
            Some(position) if segment.first > position.segment => continue,
            Some(position) if segment.first == position.segment => position.bytes,
            _ => segment.bytes,
        };
        if end > segment.bytes {
            return Err(LookupError::InvalidNextToken);
        }
        if !checked.may_hold(segment.times.as_ref()) {
            continue;
        }
        let path = segment_path(dir, segment.first);
        let file = match File::open(&path) {
            Ok(file) => file,
            // It expired meanwhile, and so did all before it.
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(source) => return Err(AuditError::io("open", &path)(source).into()),
        };
        let mut lines = BackwardLines::new(file, &path, end);
        let mut left = end;
        while left > 0 {
            if page.events.len() == query.max_results as usize || budget == 0 {
                let position = Position { segment: segment.first, bytes: left };
                page.next_token = Some(checked.token(&keys.token, position));
                return Ok(page);
            }
            let Some(RawLine::Whole(line)) = lines.next_line()? else {
                return Err(altered(dir, segment));
            };
            left = lines.position();
            budget = budget.saturating_sub(line.len() as u64 + 1);
            // Before anybody believes it.
            let line = Line::open(&keys.line, &line).ok_or_else(|| altered(dir, segment))?;
            page.events.extend(checked.find(line.record));
        }
    }
    Ok(page)
}

fn altered(dir: &Path, segment: &IndexSegment) -> LookupError {
    let tampering = Tampering {
        segment: segment::file_name(segment.first),
        line: 0,
        sequence: segment.first,
        what: TamperingKind::LineAltered,
    };
    AuditError::Tampered { dir: dir.to_owned(), tampering }.into()
}

/// Looks through records in memory, given last first.
pub(super) fn in_memory<'r>(
    key: &hmac::Key,
    records: impl Iterator<Item = (u64, &'r [u8])>,
    query: &LookupQuery,
) -> Result<LookupPage, LookupError> {
    let checked = Checked::new(query)?;
    let below = checked.position(key)?.map_or(u64::MAX, |position| position.segment);
    let mut page = LookupPage::default();
    let mut last = 0;
    for (sequence, json) in records.filter(|(sequence, _)| *sequence < below) {
        if page.events.len() == query.max_results as usize {
            page.next_token = Some(checked.token(key, Position { segment: last, bytes: 0 }));
            break;
        }
        page.events.extend(checked.find(json));
        last = sequence;
    }
    Ok(page)
}

#[cfg(test)]
mod tests;
