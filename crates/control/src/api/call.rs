//! One call of an operation, as its handler sees it.

use std::sync::Arc;

use bowline_aws::protocol::{Fault, Timestamp as WireTimestamp};
use bowline_model::{arn::Scope, clock::Timestamp};
use bowline_plumbing::disk;

use crate::{
    core::Core,
    credentials::Session,
    ecs::service::Change,
    iam::{RoleRecord, UserRecord},
    registry::{Registry, RegistryError},
};

use super::authorization::Origin;

/// Who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The ARN: a user's, an assumed role's session's or the account's root.
    pub(crate) arn: String,
    /// The access key that signed.
    pub(crate) access_key_id: String,
    /// The account.
    pub(crate) account_id: String,
    /// `aws:userid`: a user's id, a role's id with the session's name, the account of its root.
    pub(crate) user_id: String,
    /// Which kind of caller it is.
    pub(crate) principal: CallerPrincipal,
    /// The session, of temporary credentials; without its secret.
    pub(crate) session: Option<Arc<Session>>,
}

/// Which kind of caller it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallerPrincipal {
    /// The account's root user, who may do everything.
    Root,
    /// The user of this name.
    User(String),
    /// A session of the role of this name.
    AssumedRole {
        /// The role's name.
        role: String,
        /// `RoleSessionName`.
        session_name: String,
    },
}

impl Caller {
    /// The account's root user, with an access key of its own.
    pub(crate) fn root(scope: &Scope, access_key_id: &str) -> Self {
        Self {
            arn: scope.root_arn(),
            access_key_id: access_key_id.to_owned(),
            account_id: scope.account_id.clone(),
            user_id: scope.account_id.clone(),
            principal: CallerPrincipal::Root,
            session: None,
        }
    }

    /// A user, with an access key of its own.
    pub(crate) fn user(scope: &Scope, user: &UserRecord, access_key_id: &str) -> Self {
        Self {
            arn: user.arn.to_string(),
            access_key_id: access_key_id.to_owned(),
            account_id: scope.account_id.clone(),
            user_id: user.id.clone(),
            principal: CallerPrincipal::User(user.name.clone()),
            session: None,
        }
    }

    /// A session of a role.
    pub(crate) fn assumed_role(
        scope: &Scope,
        role: &RoleRecord,
        session_name: &str,
        access_key_id: &str,
    ) -> Self {
        let Scope { partition, account_id, .. } = scope;
        Self {
            arn: format!("arn:{partition}:sts::{account_id}:assumed-role/{}/{session_name}", role.name),
            access_key_id: access_key_id.to_owned(),
            account_id: account_id.clone(),
            user_id: format!("{}:{session_name}", role.id),
            principal: CallerPrincipal::AssumedRole {
                role: role.name.clone(),
                session_name: session_name.to_owned(),
            },
            session: None,
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("arn", &self.arn)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A call of an operation.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) caller: &'a Caller,
    /// Account and region of what is made.
    pub(crate) scope: Scope,
    pub(crate) now: Timestamp,
    /// Where the call comes from, for conditions of policies.
    pub(crate) origin: &'a Origin,
}

impl Call<'_> {
    /// Everything at this moment.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.core.registry()
    }

    /// Changes the registry: all of it or, on an error, nothing.
    pub(crate) fn change<R>(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.core.change(change)
    }

    /// Who changes a service, and when.
    pub(crate) fn service_change(&self, force: bool) -> Change {
        Change { now: self.now, by: self.caller.arn.clone(), force }
    }
}

impl From<RegistryError> for Fault {
    /// The store failed: nothing that the caller did wrong.
    fn from(error: RegistryError) -> Self {
        tracing::error!(%error, "a call could not be carried out");
        let message = match disk::is_full(&error) {
            true => "Nothing was changed: the disk of the control plane has no space left.",
            false => "These errors are usually caused by a server issue.",
        };
        Self::new("ServerException", message).with_status(500)
    }
}

/// A moment as the wire has it.
pub(crate) fn wire(at: Timestamp) -> WireTimestamp {
    WireTimestamp::from_milliseconds(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}
