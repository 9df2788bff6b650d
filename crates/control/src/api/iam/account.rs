//! The account as a whole.

use bowline_aws::{
    iam::{GetAccountSummaryResponse, ListAccountAliasesResponse, ListRequest, Summary},
    protocol::Fault,
};

use crate::{
    api::call::Call,
    iam::{KeyOwner, VERSIONS_MAX},
};

/// AWS's keys, those of groups, MFA and server certificates being 0 here.
pub(super) fn summary(call: &Call<'_>, _: ListRequest) -> Result<GetAccountSummaryResponse, Fault> {
    let registry = call.registry();
    let root_keys = registry.access_keys.values().filter(|key| key.owner == KeyOwner::Root).count();
    let versions: usize = registry.iam_policies.values().map(|policy| policy.versions.len()).sum();
    Ok(GetAccountSummaryResponse {
        summary_map: Summary(vec![
            ("AccessKeysPerUserQuota", 2),
            ("AccountAccessKeysPresent", root_keys.min(1)),
            ("AccountMFAEnabled", 0),
            ("AssumeRolePolicySizeQuota", bowline_model::policy::TRUST_POLICY_CHARACTERS_MAX),
            ("AttachedPoliciesPerRoleQuota", 10),
            ("AttachedPoliciesPerUserQuota", 10),
            ("Groups", 0),
            ("InstanceProfiles", registry.iam_instance_profiles.len()),
            ("InstanceProfilesQuota", 1_000),
            ("MFADevices", 0),
            ("Policies", registry.iam_policies.len()),
            ("PoliciesQuota", 1_500),
            ("PolicySizeQuota", bowline_model::policy::MANAGED_POLICY_CHARACTERS_MAX),
            ("PolicyVersionsInUse", versions),
            ("RolePolicySizeQuota", bowline_model::policy::ROLE_INLINE_POLICY_CHARACTERS_MAX),
            ("Roles", registry.iam_roles.len()),
            ("RolesQuota", 1_000),
            ("ServerCertificates", 0),
            ("UserPolicySizeQuota", 2_048),
            ("Users", registry.iam_users.len()),
            ("UsersQuota", 5_000),
            ("VersionsPerPolicyQuota", VERSIONS_MAX),
        ]),
    })
}

/// An account here has no alias.
pub(super) fn aliases(_: &Call<'_>, _: ListRequest) -> Result<ListAccountAliasesResponse, Fault> {
    Ok(ListAccountAliasesResponse { account_aliases: Vec::new(), is_truncated: false })
}
