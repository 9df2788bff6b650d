//! Account settings, which are kept and told.

use bowline_aws::{
    ecs::api::{
        AccountSettingResponse, DeleteAccountSettingRequest, ListAccountSettingsRequest,
        ListAccountSettingsResponse, PutAccountSettingRequest, Setting,
    },
    protocol::Fault,
};

use super::{invalid, page_of};
use crate::api::call::Call;

/// AWS's settings with their defaults.
const SETTINGS: &[(&str, &str)] = &[
    ("awsvpcTrunking", "disabled"),
    ("containerInsights", "disabled"),
    ("containerInstanceLongArnFormat", "enabled"),
    ("defaultLogDriverMode", "non-blocking"),
    ("fargateEventWindows", "disabled"),
    ("fargateFIPSMode", "disabled"),
    ("fargateTaskRetirementWaitPeriod", "7"),
    ("guardDutyActivate", "off"),
    ("serviceLongArnFormat", "enabled"),
    ("tagResourceAuthorization", "off"),
    ("taskLongArnFormat", "enabled"),
];

fn known(name: &str) -> Result<&'static (&'static str, &'static str), Fault> {
    let names = || SETTINGS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    SETTINGS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        invalid(format!("Invalid account setting name {name:?}: one of {} is needed", names()))
    })
}

pub(super) fn put(
    call: &Call<'_>,
    request: PutAccountSettingRequest,
) -> Result<AccountSettingResponse, Fault> {
    known(&request.name)?;
    if request.value.is_empty() || request.value.len() > 64 {
        return Err(invalid("Invalid account setting value: 1 to 64 characters are needed"));
    }
    let setting = setting(call, &request.name, &request.value);
    call.change(|registry| {
        let mut settings = (*registry.settings()).clone();
        settings.account_settings.insert(request.name.clone(), request.value.clone());
        registry.settings.put(crate::registry::SETTINGS, settings);
        Ok(())
    })?;
    Ok(AccountSettingResponse { setting })
}

pub(super) fn delete(
    call: &Call<'_>,
    request: DeleteAccountSettingRequest,
) -> Result<AccountSettingResponse, Fault> {
    let (name, default) = known(&request.name)?;
    call.change(|registry| {
        let mut settings = (*registry.settings()).clone();
        settings.account_settings.remove(*name);
        registry.settings.put(crate::registry::SETTINGS, settings);
        Ok(())
    })?;
    Ok(AccountSettingResponse { setting: setting(call, name, default) })
}

fn setting(call: &Call<'_>, name: &str, value: &str) -> Setting {
    Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        principal_arn: call.scope.root_arn(),
        r#type: "user",
    }
}

pub(super) fn list(
    call: &Call<'_>,
    request: ListAccountSettingsRequest,
) -> Result<ListAccountSettingsResponse, Fault> {
    let given = &call.registry().settings().account_settings;
    let settings = SETTINGS
        .iter()
        .filter(|(name, _)| request.name.as_deref().is_none_or(|wanted| wanted == *name))
        .filter_map(|(name, default)| match given.get(*name) {
            Some(value) => Some(setting(call, name, value)),
            None => request.effective_settings.then(|| setting(call, name, default)),
        })
        .filter(|setting| request.value.as_deref().is_none_or(|wanted| wanted == setting.value))
        .collect();
    let page = page_of(
        "ListAccountSettings",
        settings,
        |setting| setting.name.clone(),
        request.next_token.as_deref(),
        request.max_results,
        100,
    )?;
    Ok(ListAccountSettingsResponse { settings: page.items, next_token: page.next_token })
}
