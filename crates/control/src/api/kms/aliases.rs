//! Aliases.

use bowline_aws::{
    kms::{AliasListEntry, AliasRequest, DeleteAliasRequest, Empty, ListAliasesRequest, ListAliasesResponse},
    protocol::Fault,
};

use super::{check_key_id, invalid, not_found, page_of};
use crate::{
    api::{
        call::{Call, wire},
        constraint,
    },
    kms::{alias_arn, commands, find},
};

/// Aliases of a page, where nothing is said. Source: KMS API reference.
const PAGE: i64 = 50;

fn check_name(name: &str) -> Result<(), Fault> {
    constraint::length("aliasName", name, 1..=256).map_err(invalid)
}

pub(super) fn create(call: &Call<'_>, request: AliasRequest) -> Result<Empty, Fault> {
    check_name(&request.alias_name)?;
    check_key_id(&request.target_key_id)?;
    call.change(|registry| {
        commands::create_alias(registry, &request.alias_name, &request.target_key_id, call.now)
            .map_err(not_found)?;
        Ok(Empty {})
    })
}

pub(super) fn update(call: &Call<'_>, request: AliasRequest) -> Result<Empty, Fault> {
    check_name(&request.alias_name)?;
    check_key_id(&request.target_key_id)?;
    call.change(|registry| {
        commands::update_alias(registry, &request.alias_name, &request.target_key_id, call.now)
            .map_err(not_found)?;
        Ok(Empty {})
    })
}

pub(super) fn delete(call: &Call<'_>, request: DeleteAliasRequest) -> Result<Empty, Fault> {
    check_name(&request.alias_name)?;
    call.change(|registry| {
        commands::delete_alias(registry, &request.alias_name)?;
        Ok(Empty {})
    })
}

pub(super) fn list(call: &Call<'_>, request: ListAliasesRequest) -> Result<ListAliasesResponse, Fault> {
    let registry = call.registry();
    let of = match &request.key_id {
        Some(given) => Some(find(&registry, given, call.now)?.id.clone()),
        None => None,
    };
    let is_there = |id: &str| registry.kms_keys.get(id).is_some_and(|key| !key.is_gone(call.now));
    let page = page_of(
        "ListAliases",
        registry
            .kms_aliases
            .values()
            .filter(|alias| is_there(&alias.key_id) && of.as_ref().is_none_or(|of| *of == alias.key_id)),
        |alias| alias.name.clone(),
        request.marker.as_deref(),
        request.limit,
        PAGE,
    )?;
    let aliases = page.items.into_iter().map(|alias| AliasListEntry {
        alias_name: alias.name.clone(),
        alias_arn: alias_arn(&call.scope, &alias.name).to_string(),
        target_key_id: alias.key_id.clone(),
        creation_date: wire(alias.created_at),
        last_updated_date: wire(alias.updated_at),
    });
    Ok(ListAliasesResponse {
        aliases: aliases.collect(),
        truncated: page.next_token.is_some(),
        next_marker: page.next_token,
    })
}
