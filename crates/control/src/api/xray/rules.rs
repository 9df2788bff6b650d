//! Sampling rules.

use bowline_aws::{
    protocol::Fault,
    xray::{
        CreateSamplingRuleRequest, DeleteSamplingRuleRequest, GetSamplingRulesResponse, PageRequest,
        SamplingRuleRecord, SamplingRuleResponse, UpdateSamplingRuleRequest,
    },
};

use super::no_token;
use crate::{
    api::call::{Call, wire},
    xray::sampling::{self, SamplingRuleRow},
};

fn told(row: SamplingRuleRow) -> SamplingRuleRecord {
    SamplingRuleRecord {
        sampling_rule: row.rule,
        created_at: wire(row.created_at),
        modified_at: wire(row.modified_at),
    }
}

fn answer(row: SamplingRuleRow) -> SamplingRuleResponse {
    SamplingRuleResponse { sampling_rule_record: told(row) }
}

pub(super) fn create(
    call: &Call<'_>,
    request: CreateSamplingRuleRequest,
) -> Result<SamplingRuleResponse, Fault> {
    let tags = request.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    call.change(|registry| {
        Ok(answer(sampling::create(registry, &call.scope, request.sampling_rule, tags, call.now)?))
    })
}

pub(super) fn update(
    call: &Call<'_>,
    request: UpdateSamplingRuleRequest,
) -> Result<SamplingRuleResponse, Fault> {
    call.change(|registry| {
        Ok(answer(sampling::update(registry, &call.scope, request.sampling_rule_update, call.now)?))
    })
}

pub(super) fn delete(
    call: &Call<'_>,
    request: DeleteSamplingRuleRequest,
) -> Result<SamplingRuleResponse, Fault> {
    let name = sampling::named(request.rule_name.as_deref(), request.rule_arn.as_deref())?;
    call.change(|registry| Ok(answer(sampling::delete(registry, &call.scope, &name)?)))
}

/// All of them: there are few.
pub(super) fn get(call: &Call<'_>, request: PageRequest) -> Result<GetSamplingRulesResponse, Fault> {
    no_token(request.next_token.as_deref())?;
    let rules = sampling::all(&call.registry(), &call.scope);
    Ok(GetSamplingRulesResponse {
        sampling_rule_records: rules.into_iter().map(told).collect(),
        next_token: None,
    })
}
