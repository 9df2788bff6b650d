//! IAM's resources as rows of the registry: users, roles, managed policies, access keys.
//!
//! Documents are kept as they were given; they were read once when they came in, so that every
//! row's documents can be read again.

pub mod aws_managed;
pub mod document;

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{
    arn::{Arn, Scope},
    clock::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{random, registry::Registry};

/// Most versions of a managed policy.
pub const VERSIONS_MAX: usize = 5;

/// Most access keys of a user, and of the root user.
pub const ACCESS_KEYS_MAX: usize = 2;

/// Longest session of a role where nothing else was asked for, in seconds.
pub const SESSION_SECONDS_DEFAULT: u32 = 3600;

/// What a user or a role may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Inline policies: name → document.
    pub inline: BTreeMap<String, String>,
    /// ARNs of attached managed policies.
    pub attached: BTreeSet<String>,
    /// ARN of the permissions boundary: the most that the others can allow.
    pub boundary: Option<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// `AIDA…`: no user made later has it, even under the same name.
    pub id: String,
    /// The name.
    pub name: String,
    /// `/` or `/division/team/`.
    pub path: String,
    /// The ARN.
    pub arn: Arn,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it may do.
    pub grants: Grants,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleRecord {
    /// `AROA…`: no role made later has it, even under the same name.
    pub id: String,
    /// The name.
    pub name: String,
    /// `/` or `/division/team/`.
    pub path: String,
    /// The ARN.
    pub arn: Arn,
    /// When it was made.
    pub created_at: Timestamp,
    /// For people.
    pub description: Option<String>,
    /// Who may assume it: a policy document.
    pub trust_policy: String,
    /// Longest session, in seconds: 3600 to 43200.
    pub max_session_seconds: u32,
    /// What it may do.
    pub grants: Grants,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A managed policy of the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// `ANPA…`.
    pub id: String,
    /// The name.
    pub name: String,
    /// `/` or `/division/team/`.
    pub path: String,
    /// The ARN.
    pub arn: Arn,
    /// For people.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its versions changed last.
    pub updated_at: Timestamp,
    /// Number of the version that is in force.
    pub default_version: u32,
    /// Its versions by number, at most [`VERSIONS_MAX`].
    pub versions: BTreeMap<u32, PolicyVersionRecord>,
    /// Highest number that a version has had.
    pub last_version: u32,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A version of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersionRecord {
    /// The document.
    pub document: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An instance profile: kept and told, nothing here runs with one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceProfileRecord {
    /// `AIPA…`.
    pub id: String,
    /// The name.
    pub name: String,
    /// `/` or `/division/team/`.
    pub path: String,
    /// The ARN.
    pub arn: Arn,
    /// When it was made.
    pub created_at: Timestamp,
    /// The name of its role, if it has one.
    pub role: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    /// `AKIA` and 16 more.
    pub id: String,
    /// Whose it is.
    pub owner: KeyOwner,
    /// The secret, sealed under the master key and the key's id.
    pub sealed_secret: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it can be used.
    pub active: bool,
}

/// Whose an access key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyOwner {
    /// The account's root user.
    Root,
    /// The user of this name.
    User(String),
}

impl KeyOwner {
    /// The name as AWS tells it; root has none.
    pub fn user_name(&self) -> &str {
        match self {
            Self::Root => "",
            Self::User(name) => name,
        }
    }
}

/// A user or a role: what both can be done to.
pub trait Holder: Clone + PartialEq {
    /// AWS's word for it: `user` or `role`.
    const KIND: &'static str;
    /// Most characters of all its inline policies together, white space aside.
    const INLINE_CHARACTERS_MAX: usize;

    /// The one of this name.
    fn find<'a>(registry: &'a Registry, name: &str) -> Option<&'a Self>;
    /// Changes the one of this name, if it is there.
    fn update(registry: &mut Registry, name: &str, change: impl FnOnce(&mut Self));
    /// Its path.
    fn path(&self) -> &str;
    /// What it may do.
    fn grants(&self) -> &Grants;
    /// What it may do, to be changed.
    fn grants_mut(&mut self) -> &mut Grants;
    /// Its tags.
    fn tags(&self) -> &BTreeMap<String, String>;
    /// Its tags, to be changed.
    fn tags_mut(&mut self) -> &mut BTreeMap<String, String>;
}

macro_rules! holder {
    ($record:ident, $table:ident, $kind:literal, $max:expr) => {
        impl Holder for $record {
            const KIND: &'static str = $kind;
            const INLINE_CHARACTERS_MAX: usize = $max;

            fn find<'a>(registry: &'a Registry, name: &str) -> Option<&'a Self> {
                registry.$table.get(name).map(|row| &**row)
            }
            fn update(registry: &mut Registry, name: &str, change: impl FnOnce(&mut Self)) {
                registry.$table.update(name, change);
            }
            fn path(&self) -> &str {
                &self.path
            }
            fn grants(&self) -> &Grants {
                &self.grants
            }
            fn grants_mut(&mut self) -> &mut Grants {
                &mut self.grants
            }
            fn tags(&self) -> &BTreeMap<String, String> {
                &self.tags
            }
            fn tags_mut(&mut self) -> &mut BTreeMap<String, String> {
                &mut self.tags
            }
        }
    };
}

holder!(UserRecord, iam_users, "user", 2048);
holder!(RoleRecord, iam_roles, "role", bowline_model::policy::ROLE_INLINE_POLICY_CHARACTERS_MAX);

/// The ARN of one of IAM's resources, which is in no region: `kind` and path and name.
pub fn arn(scope: &Scope, kind: &str, path: &str, name: &str) -> Arn {
    let text = format!("arn:{}:iam::{}:{kind}{path}{name}", scope.partition, scope.account_id);
    text.parse().expect("parts of a checked name and path make an ARN")
}

/// A new id with one of IAM's prefixes: `AIDA` of users, `AROA` of roles.
pub fn unique_id(prefix: &str) -> String {
    format!("{prefix}{}", random::base32(17))
}

/// How often a managed policy is attached, and how often it is a boundary.
pub fn uses(registry: &Registry, policy_arn: &str) -> (usize, usize) {
    let users = registry.iam_users.values().map(|user| &user.grants);
    let roles = registry.iam_roles.values().map(|role| &role.grants);
    users.chain(roles).fold((0, 0), |(attached, boundaries), grants| {
        (
            attached + usize::from(grants.attached.contains(policy_arn)),
            boundaries + usize::from(grants.boundary.as_deref() == Some(policy_arn)),
        )
    })
}

/// The document in force of a managed policy, the account's or AWS's.
pub fn managed_document<'a>(registry: &'a Registry, policy_arn: &str) -> Option<&'a str> {
    match registry.iam_policies.get(policy_arn) {
        Some(policy) => policy.versions.get(&policy.default_version).map(|version| &*version.document),
        None => aws_managed::find(policy_arn).map(|policy| policy.document),
    }
}
