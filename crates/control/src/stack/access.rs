//! IAM's resources of a template: users, roles and policies.
//!
//! What each holds is recorded one by one, so that a policy that leaves the template leaves the
//! role, and one that was attached by other means stays.

use std::collections::BTreeMap;

use bowline_aws::cfn::StackResource;
use bowline_model::{
    arn::Arn,
    policy::{
        MANAGED_POLICY_CHARACTERS_MAX, PolicyKind, ROLE_INLINE_POLICY_CHARACTERS_MAX,
        TRUST_POLICY_CHARACTERS_MAX,
    },
};
use serde_json::Value;

use super::Applying;
use crate::{
    iam::{
        self, Grants, Holder, InstanceProfileRecord, KeyOwner, PolicyRecord, PolicyVersionRecord, RoleRecord,
        SESSION_SECONDS_DEFAULT, UserRecord, VERSIONS_MAX, document,
    },
    registry::Registry,
};

const ROLES: &str = "iam-roles";
const USERS: &str = "iam-users";
const POLICIES: &str = "iam-policies";
const PROFILES: &str = "iam-instance-profiles";
/// Inline policies of roles and users: `role/NAME/POLICY`.
const INLINE: &str = "iam-inline";
/// Attached policies of roles and users: `role/NAME/ARN`.
const ATTACHED: &str = "iam-attached";

/// Removes what a stack made. Whether the table is one of IAM's.
pub(super) fn remove(registry: &mut Registry, table: &str, key: &str) -> bool {
    match table {
        ROLES => registry.iam_roles.remove(key),
        USERS => {
            registry.access_keys.retain(|_, row| row.owner != KeyOwner::User(key.to_owned()));
            registry.iam_users.remove(key);
        }
        POLICIES => registry.iam_policies.remove(key),
        PROFILES => registry.iam_instance_profiles.remove(key),
        INLINE => change_grants(registry, key, |grants, policy| {
            grants.inline.remove(policy);
        }),
        ATTACHED => change_grants(registry, key, |grants, policy| {
            grants.attached.remove(policy);
        }),
        _ => return false,
    }
    true
}

/// Changes what the holder of `kind/name/policy` may do.
fn change_grants(registry: &mut Registry, key: &str, change: impl FnOnce(&mut Grants, &str)) {
    let mut parts = key.splitn(3, '/');
    let (kind, name, policy) = (parts.next(), parts.next(), parts.next());
    if let (Some(kind), Some(name), Some(policy)) = (kind, name, policy) {
        match kind {
            "role" => registry.iam_roles.update(name, |role| change(&mut role.grants, policy)),
            _ => registry.iam_users.update(name, |user| change(&mut user.grants, policy)),
        }
    }
}

fn text(body: &Value, property: &str) -> Option<String> {
    body.get(property)?.as_str().map(str::to_owned)
}

fn texts(body: &Value, property: &str) -> Vec<String> {
    let items = body.get(property).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A policy document, which stands as JSON in a template.
fn policy_document(body: &Value, property: &str) -> String {
    match body.get(property) {
        Some(Value::String(text)) => text.clone(),
        Some(document) => document.to_string(),
        None => String::new(),
    }
}

fn tags(body: &Value) -> BTreeMap<String, String> {
    let items = body.get("Tags").and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|tag| Some((text(tag, "Key")?, text(tag, "Value").unwrap_or_default()))).collect()
}

fn path(body: &Value) -> String {
    text(body, "Path").unwrap_or_else(|| "/".to_owned())
}

impl Applying<'_> {
    /// Takes up a resource of IAM.
    pub(super) fn access(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        match resource.resource_type.as_str() {
            "AWS::IAM::Role" => self.role(registry, resource, body),
            "AWS::IAM::User" => self.user(registry, resource, body),
            "AWS::IAM::ManagedPolicy" => self.managed_policy(registry, resource, body),
            "AWS::IAM::Policy" => {
                let name = text(body, "PolicyName").unwrap_or_default();
                for role in texts(body, "Roles") {
                    self.inline::<RoleRecord>(registry, resource, &role, &name, body);
                }
                for user in texts(body, "Users") {
                    self.inline::<UserRecord>(registry, resource, &user, &name, body);
                }
            }
            "AWS::IAM::InstanceProfile" => self.instance_profile(registry, resource, body),
            _ => {}
        }
    }

    /// Refuses a name that something has which is not of this stack.
    pub(super) fn is_free(
        &mut self,
        registry: &Registry,
        resource: &StackResource,
        (table, key): (&str, &str),
        present: bool,
    ) -> bool {
        let entry = (table.to_owned(), key.to_owned());
        let own = registry.stacks.get(&self.stack.name).is_some_and(|stack| stack.resources.contains(&entry));
        if present && !own {
            self.fault(resource, format!("{key} exists already, and is not of this stack"));
            return false;
        }
        true
    }

    fn check(&mut self, resource: &StackResource, kind: PolicyKind, document: &str, most: usize) -> bool {
        match document::check(kind, document, most) {
            Ok(()) => true,
            Err(error) => {
                self.fault(resource, format!("the policy document is not valid: {error}"));
                false
            }
        }
    }

    fn role(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let Some(arn) = self.arn(resource) else { return };
        let name = arn.resource_name().to_owned();
        let present = registry.iam_roles.get(&name).cloned();
        let trust_policy = policy_document(body, "AssumeRolePolicyDocument");
        if !self.is_free(registry, resource, (ROLES, &name), present.is_some())
            || !self.check(resource, PolicyKind::Trust, &trust_policy, TRUST_POLICY_CHARACTERS_MAX)
        {
            return;
        }
        self.made(ROLES, &name);
        let seconds = body.get("MaxSessionDuration").and_then(Value::as_u64);
        let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        let grants = self.grants(registry, resource, body, present.as_ref().map(|role| &role.grants));
        let role = RoleRecord {
            id: id(resource, "RoleId", "AROA", present.as_ref().map(|role| &*role.id)),
            name: name.clone(),
            path: path(body),
            arn,
            created_at: present.as_ref().map_or(self.now, |role| role.created_at),
            description: text(body, "Description"),
            trust_policy,
            max_session_seconds: seconds.unwrap_or(SESSION_SECONDS_DEFAULT),
            grants,
            tags: tags(body),
        };
        registry.iam_roles.put(name.clone(), role);
        self.policies_of::<RoleRecord>(registry, resource, &name, body);
    }

    fn user(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let Some(arn) = self.arn(resource) else { return };
        let name = arn.resource_name().to_owned();
        let present = registry.iam_users.get(&name).cloned();
        if !self.is_free(registry, resource, (USERS, &name), present.is_some()) {
            return;
        }
        self.made(USERS, &name);
        let grants = self.grants(registry, resource, body, present.as_ref().map(|user| &user.grants));
        let user = UserRecord {
            id: id(resource, "UserId", "AIDA", present.as_ref().map(|user| &*user.id)),
            name: name.clone(),
            path: path(body),
            arn,
            created_at: present.as_ref().map_or(self.now, |user| user.created_at),
            grants,
            tags: tags(body),
        };
        registry.iam_users.put(name.clone(), user);
        self.policies_of::<UserRecord>(registry, resource, &name, body);
    }

    /// What was attached by other means, with the template's boundary.
    fn grants(
        &mut self,
        registry: &Registry,
        resource: &StackResource,
        body: &Value,
        present: Option<&Grants>,
    ) -> Grants {
        let boundary = text(body, "PermissionsBoundary");
        if let Some(arn) = &boundary
            && iam::managed_document(registry, arn).is_none()
        {
            self.fault(resource, format!("there is no policy {arn} to be its permissions boundary"));
        }
        Grants { boundary, ..present.cloned().unwrap_or_default() }
    }

    /// `Policies` and `ManagedPolicyArns`.
    fn policies_of<H: Holder>(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        holder: &str,
        body: &Value,
    ) {
        for policy in body.get("Policies").and_then(Value::as_array).into_iter().flatten() {
            let name = text(policy, "PolicyName").unwrap_or_default();
            self.inline::<H>(registry, resource, holder, &name, policy);
        }
        for arn in texts(body, "ManagedPolicyArns") {
            self.attached::<H>(registry, resource, holder, arn);
        }
    }

    fn inline<H: Holder>(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        holder: &str,
        policy: &str,
        body: &Value,
    ) {
        let document = policy_document(body, "PolicyDocument");
        if policy.is_empty() {
            self.fault(resource, "an inline policy needs a PolicyName");
        } else if self.check(resource, PolicyKind::Identity, &document, ROLE_INLINE_POLICY_CHARACTERS_MAX) {
            if H::find(registry, holder).is_none() {
                self.fault(resource, format!("there is no {} {holder}", H::KIND));
                return;
            }
            self.made(INLINE, &format!("{}/{holder}/{policy}", H::KIND));
            H::update(registry, holder, |row| {
                row.grants_mut().inline.insert(policy.to_owned(), document);
            });
        }
    }

    fn attached<H: Holder>(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        holder: &str,
        arn: String,
    ) {
        if iam::managed_document(registry, &arn).is_none() {
            // AWS manages more than a thousand.
            self.note(
                resource,
                format!("there is no policy {arn} here: it is not attached, and allows nothing"),
            );
            return;
        }
        if H::find(registry, holder).is_none() {
            self.fault(resource, format!("there is no {} {holder}", H::KIND));
            return;
        }
        self.made(ATTACHED, &format!("{}/{holder}/{arn}", H::KIND));
        H::update(registry, holder, |row| {
            row.grants_mut().attached.insert(arn);
        });
    }

    fn managed_policy(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let Ok(arn) = resource.physical_id.parse::<Arn>() else {
            self.fault(resource, "it has no ARN");
            return;
        };
        let key = arn.to_string();
        let present = registry.iam_policies.get(&key).cloned();
        let document = policy_document(body, "PolicyDocument");
        if !self.is_free(registry, resource, (POLICIES, &key), present.is_some())
            || !self.check(resource, PolicyKind::Identity, &document, MANAGED_POLICY_CHARACTERS_MAX)
        {
            return;
        }
        self.made(POLICIES, &key);
        let now = self.now;
        let mut policy = present.map_or_else(
            || PolicyRecord {
                id: id(resource, "PolicyId", "ANPA", None),
                name: arn.resource_name().to_owned(),
                path: path(body),
                arn,
                description: None,
                created_at: now,
                updated_at: now,
                default_version: 0,
                versions: BTreeMap::new(),
                last_version: 0,
                tags: BTreeMap::new(),
            },
            |policy| PolicyRecord::clone(&policy),
        );
        policy.description = text(body, "Description");
        let in_force = policy.versions.get(&policy.default_version);
        if in_force.is_none_or(|version| version.document != document) {
            policy.last_version += 1;
            policy.default_version = policy.last_version;
            policy.updated_at = now;
            policy.versions.insert(policy.last_version, PolicyVersionRecord { document, created_at: now });
            if policy.versions.len() > VERSIONS_MAX {
                policy.versions.pop_first();
            }
        }
        registry.iam_policies.put(key.clone(), policy);
        for role in texts(body, "Roles") {
            self.attached::<RoleRecord>(registry, resource, &role, key.clone());
        }
        for user in texts(body, "Users") {
            self.attached::<UserRecord>(registry, resource, &user, key.clone());
        }
    }

    fn instance_profile(&mut self, registry: &mut Registry, resource: &StackResource, body: &Value) {
        let Some(arn) = self.arn(resource) else { return };
        let name = arn.resource_name().to_owned();
        let present = registry.iam_instance_profiles.get(&name).cloned();
        if !self.is_free(registry, resource, (PROFILES, &name), present.is_some()) {
            return;
        }
        self.made(PROFILES, &name);
        let profile = InstanceProfileRecord {
            id: present.as_ref().map_or_else(|| iam::unique_id("AIPA"), |profile| profile.id.clone()),
            name: name.clone(),
            path: path(body),
            arn,
            created_at: present.as_ref().map_or(self.now, |profile| profile.created_at),
            role: texts(body, "Roles").into_iter().next(),
            tags: BTreeMap::new(),
        };
        registry.iam_instance_profiles.put(name, profile);
    }
}

/// The id that the row has, or that `Fn::GetAtt` told.
fn id(resource: &StackResource, attribute: &str, prefix: &str, present: Option<&str>) -> String {
    match present.or_else(|| resource.attribute(attribute)) {
        Some(id) => id.to_owned(),
        None => iam::unique_id(prefix),
    }
}
