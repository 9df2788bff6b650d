//! What is asked: who wants to do what to which resource, and all that a condition may ask for.

use std::collections::BTreeMap;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The root user of an account: it may do in its account what nothing denies.
    Root {
        /// `arn:aws:iam::111122223333:root`.
        arn: String,
        /// Twelve digits.
        account_id: String,
    },
    /// A user of IAM.
    User {
        /// `arn:aws:iam::111122223333:user/path/name`.
        arn: String,
        /// Twelve digits.
        account_id: String,
    },
    /// A session of a role.
    AssumedRole {
        /// `arn:aws:sts::111122223333:assumed-role/role/session`.
        session_arn: String,
        /// `arn:aws:iam::111122223333:role/path/role`.
        role_arn: String,
        /// Twelve digits.
        account_id: String,
    },
    /// A service of AWS, such as `ecs-tasks.amazonaws.com`.
    Service {
        /// The service's name as a principal.
        name: String,
    },
    /// Somebody whom an identity provider vouches for, before a role is assumed.
    Federated {
        /// The provider, as a policy names it: an ARN, or `accounts.google.com`.
        provider: String,
    },
    /// Nobody: the request is not signed.
    Anonymous,
}

impl Principal {
    /// The ARN that messages and logs name, of a role its session's; a service's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Root { arn, .. } | Self::User { arn, .. } => arn,
            Self::AssumedRole { session_arn, .. } => session_arn,
            Self::Service { name } => name,
            Self::Federated { provider } => provider,
            Self::Anonymous => "anonymous",
        }
    }

    /// The account, of a principal that has one.
    pub fn account_id(&self) -> Option<&str> {
        match self {
            Self::Root { account_id, .. }
            | Self::User { account_id, .. }
            | Self::AssumedRole { account_id, .. } => Some(account_id),
            Self::Service { .. } | Self::Federated { .. } | Self::Anonymous => None,
        }
    }
}

/// A request, as policies see it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    principal: Principal,
    action: String,
    action_folded: String,
    resource: String,
    resource_account: Option<String>,
    /// By key in lower case.
    keys: BTreeMap<String, Vec<String>>,
}

impl RequestContext {
    /// The request of `principal` to do `action` (`ecs:CreateService`) to `resource` (an ARN, or
    /// `*` where an action knows no resources).
    ///
    /// The condition keys that follow from the principal are set: `aws:PrincipalArn` (of a session
    /// its role's), `aws:PrincipalAccount`, `aws:PrincipalType` and, of a user, `aws:username`.
    pub fn new(principal: Principal, action: impl Into<String>, resource: impl Into<String>) -> Self {
        let (action, resource) = (action.into(), resource.into());
        let resource_account = resource.split(':').nth(4).filter(|account| !account.is_empty());
        let mut keys = BTreeMap::new();
        let mut set = |key: &str, value: &str| keys.insert(key.to_owned(), vec![value.to_owned()]);
        let kind = match &principal {
            Principal::Root { arn, .. } => {
                set("aws:principalarn", arn);
                "Account"
            }
            Principal::User { arn, .. } => {
                set("aws:principalarn", arn);
                set("aws:username", arn.rsplit('/').next().unwrap_or_default());
                "User"
            }
            Principal::AssumedRole { role_arn, .. } => {
                set("aws:principalarn", role_arn);
                "AssumedRole"
            }
            Principal::Service { .. } => "Service",
            Principal::Federated { .. } => "FederatedUser",
            Principal::Anonymous => "Anonymous",
        };
        set("aws:principaltype", kind);
        if let Some(account) = principal.account_id() {
            set("aws:principalaccount", account);
        }
        Self {
            action_folded: action.to_ascii_lowercase(),
            resource_account: resource_account.map(Into::into),
            principal,
            action,
            resource,
            keys,
        }
    }

    /// With the values of a condition key, in place of those it has. Without values the key is
    /// absent. Keys are compared without regard to case.
    pub fn with<V: Into<String>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.keys.remove(&key.to_lowercase());
        } else {
            self.keys.insert(key.to_lowercase(), values);
        }
        self
    }

    /// With the account that the resource belongs to, of a resource whose ARN does not say it.
    pub fn with_resource_account(mut self, account_id: impl Into<String>) -> Self {
        self.resource_account = Some(account_id.into());
        self
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What is to be done, as it was given.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// What it is to be done to.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Whether principal and resource are of one account. A resource of no account is everybody's.
    pub(super) fn same_account(&self) -> bool {
        match (self.principal.account_id(), &self.resource_account) {
            (Some(principal), Some(resource)) => principal == resource,
            _ => true,
        }
    }

    pub(super) fn action_folded(&self) -> &str {
        &self.action_folded
    }

    /// The values of a key in lower case; never an empty list.
    pub(super) fn values_folded(&self, key: &str) -> Option<&[String]> {
        self.keys.get(key).map(Vec::as_slice)
    }
}
