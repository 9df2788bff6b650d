//! What clients tell of their sampling, and which share of the rules is theirs.

use bowline_aws::{
    protocol::Fault,
    xray::{
        GetSamplingStatisticSummariesResponse, GetSamplingTargetsRequest, GetSamplingTargetsResponse,
        PageRequest, SamplingStatisticSummary, SamplingTargetDocument, UnprocessedStatistics,
    },
};

use super::{invalid, no_token};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    xray::sampling::{self, Counted, INTERVAL},
};

/// Most documents of a request. Source: its shape.
const DOCUMENTS_MAX: usize = 25;

pub(super) fn get(
    call: &Call<'_>,
    request: GetSamplingTargetsRequest,
) -> Result<GetSamplingTargetsResponse, Fault> {
    let documents = request.sampling_statistics_documents;
    constraint::items("samplingStatisticsDocuments", documents.len(), 0..=DOCUMENTS_MAX).map_err(invalid)?;
    let rules = sampling::all(&call.registry(), &call.scope);
    let last = rules.iter().map(|row| row.modified_at).max().unwrap_or(call.now);
    let (mut targets, mut unprocessed_statistics) = (Vec::new(), Vec::new());
    for document in documents {
        constraint::length("clientID", &document.client_id, 24..=24).map_err(invalid)?;
        for (member, count) in [
            ("requestCount", document.request_count),
            ("sampledCount", document.sampled_count),
            ("borrowCount", document.borrow_count.unwrap_or(0)),
        ] {
            constraint::range(member, count, 0..=i64::from(u32::MAX)).map_err(invalid)?;
        }
        let Some(row) = rules.iter().find(|row| row.name() == document.rule_name) else {
            unprocessed_statistics.push(UnprocessedStatistics {
                rule_name: document.rule_name,
                error_code: "404".to_owned(),
                message: "Sampling rule does not exist.".to_owned(),
            });
            continue;
        };
        let counted = Counted {
            requests: document.request_count,
            borrowed: document.borrow_count.unwrap_or(0),
            sampled: document.sampled_count,
        };
        let quota = call.core.sampling().report(&row.rule, &document.client_id, counted, call.now);
        targets.push(SamplingTargetDocument {
            rule_name: document.rule_name,
            fixed_rate: row.rule.fixed_rate,
            reservoir_quota: quota,
            // One report may be late.
            reservoir_quota_ttl: wire(call.now + 2 * INTERVAL),
            interval: INTERVAL.as_secs() as i64,
        });
    }
    Ok(GetSamplingTargetsResponse {
        sampling_target_documents: targets,
        last_rule_modification: wire(last),
        unprocessed_statistics,
    })
}

pub(super) fn summaries(
    call: &Call<'_>,
    request: PageRequest,
) -> Result<GetSamplingStatisticSummariesResponse, Fault> {
    no_token(request.next_token.as_deref())?;
    let told = call.core.sampling().told().into_iter();
    let summary = |(at, rule_name, counted): (_, String, Counted)| SamplingStatisticSummary {
        rule_name,
        timestamp: wire(at),
        request_count: counted.requests,
        borrow_count: counted.borrowed,
        sampled_count: counted.sampled,
    };
    Ok(GetSamplingStatisticSummariesResponse {
        sampling_statistic_summaries: told.map(summary).collect(),
        next_token: None,
    })
}
