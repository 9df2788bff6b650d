//! The `Principal` element: whom a statement of a resource's policy speaks of.

use super::Principal;

/// The principals that an element names.
#[derive(Clone, Debug, Default)]
pub(super) struct PrincipalSet {
    /// `*`: everybody, signed or not.
    pub(super) everybody: bool,
    /// Ids of accounts.
    pub(super) accounts: Vec<String>,
    /// ARNs of users, roles and sessions.
    pub(super) arns: Vec<String>,
    /// Names of services.
    pub(super) services: Vec<String>,
    /// Identity providers.
    pub(super) providers: Vec<String>,
}

/// By which of its names a principal is in a set, from the weakest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NamedBy {
    /// Its account: an allowance is to the account, which passes it on by policies of its own.
    Account,
    /// `*`.
    Everybody,
    /// The role of its session.
    Role,
    /// Itself: a user, a session, the root user, a service, a provider.
    Itself,
}

impl PrincipalSet {
    /// The strongest way in which the set names `principal`.
    pub(super) fn names(&self, principal: &Principal) -> Option<NamedBy> {
        let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
        let by_name = match principal {
            Principal::Root { arn, account_id } => {
                (has(&self.arns, arn) || has(&self.accounts, account_id)).then_some(NamedBy::Itself)
            }
            Principal::User { arn, .. } => has(&self.arns, arn).then_some(NamedBy::Itself),
            Principal::AssumedRole { session_arn, role_arn, .. } => {
                if has(&self.arns, session_arn) {
                    Some(NamedBy::Itself)
                } else {
                    has(&self.arns, role_arn).then_some(NamedBy::Role)
                }
            }
            Principal::Service { name } => has(&self.services, name).then_some(NamedBy::Itself),
            Principal::Federated { provider } => has(&self.providers, provider).then_some(NamedBy::Itself),
            Principal::Anonymous => None,
        };
        let by_account = || principal.account_id().is_some_and(|account| has(&self.accounts, account));
        by_name
            .or_else(|| self.everybody.then_some(NamedBy::Everybody))
            .or_else(|| by_account().then_some(NamedBy::Account))
    }
}
