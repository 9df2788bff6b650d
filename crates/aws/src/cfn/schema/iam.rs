//! AWS IAM.

use super::shape::{INT, JSON, STR, TAG, list, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::records;

pub(super) static ROLE: ResourceType = resource(
    "AWS::IAM::Role",
    &[
        required("AssumeRolePolicyDocument", JSON),
        optional(
            "Description",
            STR.pattern(r"^[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*$").len(0, 1000),
        ),
        optional(
            "ManagedPolicyArns",
            list(&STR.pattern(r"arn:(aws[a-zA-Z-]*)?:iam::(\d{12}|aws):policy/[a-zA-Z_0-9+=,.@\-_/]+")),
        ),
        optional("MaxSessionDuration", INT.range(3600.0, 43200.0)),
        optional("Path", STR.pattern(r"^(\u002F)|(\u002F[\u0021-\u007E]+\u002F)$").len(1, 512)),
        optional("PermissionsBoundary", STR.len(20, 2048)),
        optional("Policies", list(&JSON)),
        optional("RoleName", STR.pattern(r"^[\w+=,.@-]+$").len(1, 64)),
        optional("Tags", list(&TAG).items(0, 50)),
    ],
)
.attributes(&["Arn", "RoleId"])
.identified_by(records::role);

pub(super) static USER: ResourceType = resource(
    "AWS::IAM::User",
    &[
        optional("Groups", list(&STR)),
        optional("LoginProfile", JSON),
        optional(
            "ManagedPolicyArns",
            list(&STR.pattern(r"arn:(aws[a-zA-Z-]*)?:iam::(\d{12}|aws):policy/[a-zA-Z_0-9+=,.@\-_/]+")),
        ),
        optional("Path", STR.pattern(r"^(\u002F)|(\u002F[\u0021-\u007E]+\u002F)$").len(1, 512)),
        optional("PermissionsBoundary", STR.len(20, 2048)),
        optional("Policies", list(&JSON)),
        optional("Tags", list(&TAG).items(0, 50)),
        optional("UserName", STR.pattern(r"^[\w+=,.@-]+$").len(1, 64)),
    ],
)
.attributes(&["Arn"])
.identified_by(records::user);

pub(super) static POLICY: ResourceType = resource(
    "AWS::IAM::Policy",
    &[
        optional("Groups", list(&STR)),
        required("PolicyDocument", JSON),
        required("PolicyName", STR.pattern(r"^[\w+=,.@-]+$").len(1, 128)),
        optional("Roles", list(&STR)),
        optional("Users", list(&STR)),
    ],
)
.attributes(&["Id"])
.identified_by(records::policy);

pub(super) static MANAGED_POLICY: ResourceType = resource(
    "AWS::IAM::ManagedPolicy",
    &[
        optional("Description", STR.len(0, 1000)),
        optional("Groups", list(&STR)),
        optional("ManagedPolicyName", STR),
        optional("Path", STR.pattern(r"^((/[A-Za-z0-9\.,\+@=_-]+)*)/$").len(1, 512)),
        required("PolicyDocument", JSON),
        optional("Roles", list(&STR)),
        optional("Users", list(&STR)),
    ],
)
.attributes(&["PolicyArn", "PolicyId"])
.identified_by(records::managed_policy);

pub(super) static INSTANCE_PROFILE: ResourceType = resource(
    "AWS::IAM::InstanceProfile",
    &[
        optional("InstanceProfileName", STR.pattern(r"^([\w+=,.@-]+)?$").len(0, 128)),
        optional("Path", STR.pattern(r"^(\u002F)|(\u002F[\u0021-\u007E]+\u002F)$").len(1, 512)),
        required("Roles", list(&STR.pattern(r"[a-zA-Z0-9+=,.@\-_]+")).items(0, 1)),
    ],
)
.attributes(&["Arn"])
.identified_by(records::instance_profile);
