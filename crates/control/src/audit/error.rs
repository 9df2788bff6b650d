//! What can be wrong with a trail.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a trail cannot be opened, written or vouched for.
#[derive(Debug, Error)]
pub enum AuditError {
    /// It is not as it was written.
    #[error("the audit trail in {} was tampered with", .dir.display())]
    Tampered {
        /// The trail's directory.
        dir: PathBuf,
        /// What was found.
        #[source]
        tampering: Tampering,
    },
    /// There is no trail at all: neither a HEAD nor a segment. Whether there
    /// ever was one, the directory cannot tell.
    #[error("there is no audit trail in {}", .dir.display())]
    Absent {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// An option is out of its range.
    #[error("the audit trail's {option} is {value}, and it must be {allowed}")]
    Option {
        /// Which.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A file that is written to was removed, replaced or cut by somebody.
    #[error("the audit trail's file {} was removed, replaced or cut while it was in use", .file.display())]
    Replaced {
        /// The file.
        file: PathBuf,
    },
    /// The file system failed.
    #[error("cannot {action} {}", .file.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// Of which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that writes ended before this was on disk.
    #[error("the audit trail's writer has ended")]
    Ended,
    /// The disk did not take what was recorded; it is tried again.
    #[error("the audit trail cannot be written: {reason}")]
    Failing {
        /// The last attempt's error.
        reason: String,
    },
}

impl AuditError {
    pub(super) fn io<'a>(
        action: &'static str,
        file: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<'a> {
        move |source| Self::Io { action, file: file.to_owned(), source }
    }

    /// The error and its causes, in one line.
    pub(super) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Where a trail is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{segment}, line {line}, at record {sequence}: {what}")]
pub struct Tampering {
    /// Name of the file.
    pub segment: String,
    /// The line in it, from 1; 0 where it is about the whole file.
    pub line: u64,
    /// Sequence number of the record that should be there.
    pub sequence: u64,
    /// What was found.
    pub what: TamperingKind,
}

/// What somebody did to a trail, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TamperingKind {
    /// The line's authentication code does not fit its bytes.
    LineAltered,
    /// The line is another record's: some were removed, swapped or repeated.
    LineMisplaced {
        /// The sequence number that it has.
        found: u64,
    },
    /// The line is genuine, but not the successor of the one before: from
    /// another trail with the same key.
    ChainBroken,
    /// Lines that were there before are gone from the end.
    EndCut {
        /// The last record that must be there.
        last: u64,
    },
    /// A segment's file is gone.
    SegmentMissing,
    /// A segment's file that was never part of the trail.
    SegmentUnknown,
    /// There are segments, and no HEAD.
    HeadMissing,
    /// HEAD is not authentic: altered, or of another key.
    HeadAltered,
    /// HEAD is genuine and older than the lines: an earlier copy was put back.
    HeadOutdated {
        /// The last record that HEAD knows.
        last: u64,
    },
    /// A trail that is consistent, and lacks a record it once had: all of it
    /// was put back to an earlier state.
    RolledBack {
        /// The record that it must have.
        last: u64,
    },
}

impl fmt::Display for TamperingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineAltered => f.write_str("the line was altered"),
            Self::LineMisplaced { found } => {
                write!(f, "record {found} stands there: lines were removed, swapped or repeated")
            }
            Self::ChainBroken => f.write_str("the line does not follow the one before it"),
            Self::EndCut { last } => write!(f, "the end was cut off: records up to {last} were there"),
            Self::SegmentMissing => f.write_str("the file is gone"),
            Self::SegmentUnknown => f.write_str("the file is not part of the trail"),
            Self::HeadMissing => f.write_str("HEAD is gone"),
            Self::HeadAltered => f.write_str("HEAD was altered, or is of another key"),
            Self::HeadOutdated { last } => {
                write!(f, "HEAD is an earlier copy: it knows of records up to {last} only")
            }
            Self::RolledBack { last } => {
                write!(f, "the trail was put back to an earlier state: it had records up to {last}")
            }
        }
    }
}
