//! What experiments came to, as `bowline chaos run -o json` tells it.

use serde_json::Value;

/// What an experiment came to.
#[derive(Debug)]
pub struct Ran {
    /// Its name.
    pub name: String,
    /// `held`, `fell`, …
    pub verdict: String,
    /// What was looked at: whether it was as it had to be, what that was, and what was seen.
    pub findings: Vec<(bool, String, String)>,
    /// The whole record.
    pub record: Value,
}

impl Ran {
    /// What it fell by.
    pub fn fallen(&self) -> Vec<String> {
        let fallen = self.findings.iter().filter(|(held, ..)| !held);
        fallen.map(|(_, what, seen)| format!("{what} (seen: {seen})")).collect()
    }

    /// One line, for the page's column.
    pub fn summary(&self) -> String {
        let judgement = &self.record["judgement"];
        // Times are milliseconds.
        let millis =
            |time: &Value| time.as_f64().map_or_else(|| "-".to_owned(), |time| format!("{time:.0} ms"));
        format!(
            "{}: {} (detected {}, recovered {}, lost {}, p99 {} → {}) during {}",
            self.name,
            self.verdict,
            millis(&judgement["timeToDetect"]),
            millis(&judgement["timeToRecover"]),
            judgement["lost"],
            millis(&judgement["before"]["latencies"]["p99"]),
            millis(&judgement["during"]["latencies"]["p99"]),
            judgement["during"]["outcomes"],
        )
    }
}

/// Reads the records of a report.
///
/// # Panics
/// It has none, or one is without a name or a verdict.
pub fn of_report(report: &Value) -> Vec<Ran> {
    report["records"].as_array().expect("records").iter().map(read).collect()
}

fn read(record: &Value) -> Ran {
    let findings = [&record["judgement"]["findings"], &record["findings"]];
    let findings = findings.into_iter().filter_map(Value::as_array).flatten().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        (finding["held"] == true, text("what"), text("seen"))
    });
    Ran {
        name: record["name"].as_str().expect("a name").to_owned(),
        verdict: record["verdict"].as_str().expect("a verdict").to_owned(),
        findings: findings.collect(),
        record: record.clone(),
    }
}
