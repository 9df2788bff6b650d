//! Groups.

use bowline_aws::{
    logs::{
        CreateLogGroupRequest, DescribeLogGroupsRequest, DescribeLogGroupsResponse, Empty, LogGroup,
        LogGroupRequest, PutLogGroupDeletionProtectionRequest, PutRetentionPolicyRequest,
    },
    protocol::Fault,
};
use bowline_observe::logs::{GroupInfo, GroupSettings};

use super::{Refused, checks, fault, invalid, page_of, store};
use crate::api::{call::Call, constraint};

/// Groups of a page. Source: `DescribeLogGroups`.
const PAGE: i64 = 50;

pub(super) fn create(call: &Call<'_>, request: CreateLogGroupRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    let tags = request.tags.unwrap_or_default();
    checks::tags(&Default::default(), &tags, "LimitExceededException")?;
    if let Some(key) = &request.kms_key_id {
        constraint::length("kmsKeyId", key, 0..=256).map_err(invalid)?;
    }
    let settings = GroupSettings {
        tags,
        kms_key_id: request.kms_key_id,
        class: checks::class(request.log_group_class.as_deref())?,
        deletion_protected: request.deletion_protection_enabled.unwrap_or(false),
        ..GroupSettings::default()
    };
    store(call).create_group(&request.log_group_name, settings).map_err(fault)?;
    Ok(Empty {})
}

pub(super) fn delete(call: &Call<'_>, request: LogGroupRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    store(call).delete_group(&request.log_group_name).map_err(fault)?;
    Ok(Empty {})
}

pub(super) fn describe(
    call: &Call<'_>,
    request: DescribeLogGroupsRequest,
) -> Result<DescribeLogGroupsResponse, Fault> {
    let DescribeLogGroupsRequest { log_group_name_prefix: prefix, log_group_name_pattern: pattern, .. } =
        &request;
    if prefix.is_some() && pattern.is_some() {
        return Err(invalid("LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive parameters."));
    }
    if let Some(prefix) = prefix {
        checks::group_name(prefix)?;
    }
    let class = request.log_group_class.as_deref().map(|class| checks::class(Some(class))).transpose()?;
    let identifiers = request.log_group_identifiers.as_ref().map(|all| {
        all.iter().map(|identifier| checks::identified(call, identifier)).collect::<Result<Vec<_>, _>>()
    });
    let identifiers = identifiers.transpose()?;
    // There is one account.
    let is_own = request
        .account_identifiers
        .as_ref()
        .is_none_or(|accounts| accounts.is_empty() || accounts.contains(&call.scope.account_id));
    let mut groups = if is_own { store(call).groups() } else { Vec::new() };
    groups.retain(|group| {
        prefix.as_ref().is_none_or(|prefix| group.name.starts_with(prefix.as_str()))
            && pattern.as_ref().is_none_or(|pattern| group.name.contains(pattern.as_str()))
            && class.is_none_or(|class| group.settings.class == class)
            && identifiers.as_ref().is_none_or(|names| names.contains(&group.name))
    });
    let key = |group: &GroupInfo| group.name.clone();
    let page = page_of("DescribeLogGroups", groups, key, request.next_token.as_deref(), request.limit, PAGE)?;
    Ok(DescribeLogGroupsResponse {
        log_groups: page.items.into_iter().map(|group| wire(call, group)).collect(),
        next_token: page.next_token,
    })
}

fn wire(call: &Call<'_>, group: GroupInfo) -> LogGroup {
    let GroupInfo { name, created_at, settings, stored_bytes, metric_filters, .. } = group;
    let arn = call.scope.arn("logs", format_args!("log-group:{name}")).to_string();
    LogGroup {
        log_group_name: name,
        creation_time: created_at.as_millis(),
        retention_in_days: settings.retention_days,
        metric_filter_count: metric_filters,
        arn: format!("{arn}:*"),
        stored_bytes,
        kms_key_id: settings.kms_key_id,
        log_group_class: checks::class_name(settings.class).to_owned(),
        log_group_arn: arn,
        deletion_protection_enabled: settings.deletion_protected,
    }
}

pub(super) fn put_retention(call: &Call<'_>, request: PutRetentionPolicyRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    let days = checks::retention(request.retention_in_days)?;
    set(call, &request.log_group_name, |settings| settings.retention_days = Some(days))
}

pub(super) fn delete_retention(call: &Call<'_>, request: LogGroupRequest) -> Result<Empty, Fault> {
    checks::group_name(&request.log_group_name)?;
    set(call, &request.log_group_name, |settings| settings.retention_days = None)
}

pub(super) fn protect(
    call: &Call<'_>,
    request: PutLogGroupDeletionProtectionRequest,
) -> Result<Empty, Fault> {
    let name = checks::group(call, None, Some(request.log_group_identifier))?;
    set(call, &name, |settings| settings.deletion_protected = request.deletion_protection_enabled)
}

fn set(call: &Call<'_>, name: &str, change: impl FnOnce(&mut GroupSettings)) -> Result<Empty, Fault> {
    store(call)
        .change_group::<Refused>(name, |settings| {
            change(settings);
            Ok(())
        })
        .map_err(|refused| refused.0)?;
    Ok(Empty {})
}
