//! One call of an operation, as its handler sees it.

use std::sync::Arc;

use bowline_aws::protocol::{Fault, Timestamp as WireTimestamp};
use bowline_model::{arn::Scope, clock::Timestamp};

use crate::{
    core::Core,
    ecs::service::Change,
    registry::{Registry, RegistryError},
};

/// Who calls, as far as handlers need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The ARN: a user's, an assumed role's or the account's root.
    pub(crate) arn: String,
    /// The access key that signed.
    pub(crate) access_key_id: String,
}

/// A call of an operation.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) caller: &'a Caller,
    /// Account and region of what is made.
    pub(crate) scope: Scope,
    pub(crate) now: Timestamp,
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
        Self::new("ServerException", "These errors are usually caused by a server issue.").with_status(500)
    }
}

/// A moment as the wire has it.
pub(crate) fn wire(at: Timestamp) -> WireTimestamp {
    WireTimestamp::from_milliseconds(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}
