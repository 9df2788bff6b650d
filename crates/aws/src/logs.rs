//! Amazon CloudWatch Logs: the shapes of its API.
//!
//! Source of names, shapes and limits: AWS's CloudWatch Logs API reference, 2014-03-28.

// The fields are AWS's own, documented in its API reference under the same names;
// repeating that text here would only let it go stale.
#![allow(missing_docs)]

use serde::Serialize;

mod events;
mod groups;
mod metric_filters;
mod queries;
mod streams;

pub use events::*;
pub use groups::*;
pub use metric_filters::*;
pub use queries::*;
pub use streams::*;

/// An answer without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Empty {}
