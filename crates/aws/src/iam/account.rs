//! The account as a whole.

use serde::{Serialize, Serializer, ser::SerializeMap};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAccountSummaryResponse {
    pub summary_map: Summary,
}

/// A map whose keys are data: `<entry><key>…</key><value>…</value></entry>` for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary(pub Vec<(&'static str, usize)>);

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry {
            key: &'static str,
            value: usize,
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry("entry", &Entry { key, value: *value })?;
        }
        map.end()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAccountAliasesResponse {
    pub account_aliases: Vec<String>,
    pub is_truncated: bool,
}
