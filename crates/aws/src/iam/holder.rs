//! What users and roles have alike: inline and attached policies, a boundary, tags.

use serde::{Deserialize, Serialize};

use super::Tag;

/// The requests that differ only in the name of the member that says whose.
macro_rules! requests {
    ($holder:ident: $one:ident, $list:ident, $inline:ident, $put:ident, $attach:ident, $boundary:ident, $tag:ident, $untag:ident) => {
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $one {
            pub $holder: String,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $list {
            pub $holder: String,
            pub path_prefix: Option<String>,
            pub marker: Option<String>,
            pub max_items: Option<i64>,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $inline {
            pub $holder: String,
            pub policy_name: String,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $put {
            pub $holder: String,
            pub policy_name: String,
            pub policy_document: String,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $attach {
            pub $holder: String,
            pub policy_arn: String,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $boundary {
            pub $holder: String,
            pub permissions_boundary: String,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $tag {
            pub $holder: String,
            pub tags: Vec<Tag>,
        }

        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $untag {
            pub $holder: String,
            pub tag_keys: Vec<String>,
        }
    };
}

requests!(user_name: UserRequest, ListOfUserRequest, UserPolicyRequest, PutUserPolicyRequest, AttachUserPolicyRequest,
    PutUserPermissionsBoundaryRequest, TagUserRequest, UntagUserRequest);
requests!(role_name: RoleRequest, ListOfRoleRequest, RolePolicyRequest, PutRolePolicyRequest, AttachRolePolicyRequest,
    PutRolePermissionsBoundaryRequest, TagRoleRequest, UntagRoleRequest);

/// The response of `GetUserPolicy` and `GetRolePolicy`: one of the two names is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InlinePolicyResponse {
    pub user_name: Option<String>,
    pub role_name: Option<String>,
    pub policy_name: String,
    /// Percent-encoded, as AWS answers it.
    pub policy_document: String,
}

/// The response of `ListUserPolicies` and `ListRolePolicies`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListInlinePoliciesResponse {
    pub policy_names: Vec<String>,
    pub is_truncated: bool,
    pub marker: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedPolicy {
    pub policy_name: String,
    pub policy_arn: String,
}

/// The response of `ListAttachedUserPolicies` and `ListAttachedRolePolicies`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAttachedPoliciesResponse {
    pub attached_policies: Vec<AttachedPolicy>,
    pub is_truncated: bool,
    pub marker: Option<String>,
}
