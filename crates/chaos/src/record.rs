//! What is kept of a run.

use std::time::Duration;

use bowline_model::{
    clock::Timestamp,
    experiment::{Expectation, Finding, Judgement, Marks, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::experiment::Experiment;

/// An experiment that was run, or that it was tried to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The experiment's name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What was believed.
    pub hypothesis: String,
    /// How the fault was made.
    pub how: String,
    /// What had to become of the traffic.
    pub expected: String,
    /// The template that was brought up for it; none where it was run on what ran already.
    #[serde(default)]
    pub template: Option<String>,
    /// The service that called; none where it came to no call.
    pub caller: Option<String>,
    /// The service that was called.
    pub called: Option<String>,
    /// Requests per second.
    pub rate: Option<u32>,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took.
    #[serde(with = "bowline_model::experiment::millis")]
    pub took: Duration,
    /// What it came to.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was expected of requests.
    pub expectation: Option<Expectation>,
    /// When what was done.
    pub marks: Option<Marks>,
    /// What became of the requests.
    pub judgement: Option<Judgement>,
    /// What was looked at beside.
    pub findings: Vec<Finding>,
}

impl Record {
    /// The record of a run that begins.
    #[must_use]
    pub fn begin(experiment: &dyn Experiment, began_at: Timestamp) -> Self {
        Self {
            name: experiment.name().to_owned(),
            title: experiment.title().to_owned(),
            hypothesis: experiment.hypothesis().to_owned(),
            how: experiment.how().to_owned(),
            expected: experiment.expected().to_owned(),
            template: None,
            caller: None,
            called: None,
            rate: None,
            began_at,
            took: Duration::ZERO,
            verdict: Verdict::Aborted,
            expectation: None,
            marks: None,
            judgement: None,
            findings: Vec::new(),
        }
    }

    /// Everything that was looked at.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.judgement.iter().flat_map(|judgement| &judgement.findings).chain(&self.findings)
    }

    /// Why the verdict is what it is, in a line; nothing where the hypothesis held.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Held => None,
            Verdict::Fell => {
                let fallen = self.all_findings().filter(|finding| !finding.held);
                let texts: Vec<_> = fallen.map(|it| format!("{} ({})", it.what, it.seen)).collect();
                Some(texts.join("; "))
            }
            Verdict::Aborted => Some("it was broken off, and the fault ended".to_owned()),
            verdict => verdict.reason().map(str::to_owned),
        }
    }
}
