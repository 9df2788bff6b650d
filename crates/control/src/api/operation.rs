//! The table of operations.

use bowline_aws::protocol::{Document, Fault, ServiceProtocol, Violation, from_document, to_document};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    acm, acm_pca, application_autoscaling, call::Call, cloudformation, cloudtrail, cloudwatch, ecs, fis, iam,
    kms, logs, secretsmanager, servicediscovery, sts, xray,
};

/// Whether an operation changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only tells.
    Read,
    /// It only tells, and is called so often that the audit trail takes it only when told to
    /// (CloudTrail's data events).
    Data,
    /// It changes something.
    Write,
    /// It changes something, and is called so often that the audit trail takes it only when told to.
    DataWrite,
}

impl Access {
    /// Whether it only tells.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Data)
    }

    /// Whether the audit trail takes it only when told to.
    pub fn is_data(self) -> bool {
        matches!(self, Self::Data | Self::DataWrite)
    }
}

/// What an operation does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What it does on AWS.
    Effective,
    /// It keeps what it is given, and tells it; nothing here acts on it.
    Recorded,
    /// It is checked as AWS checks it, and then refused: what it does on AWS cannot be done here.
    Refused,
}

/// An operation that is served.
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// Whether it changes anything.
    pub access: Access,
    /// What it does here.
    pub effect: Effect,
    /// Whether it waits for the disk: to write, or to read there.
    pub(crate) waits: bool,
    pub(crate) call: fn(&Call<'_>, &Document) -> Result<Document, Outcome>,
}

/// Why an operation has no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The request does not fit the operation's shape.
    Violation(Violation),
    /// The operation refuses.
    Fault(Fault),
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The operations of a service, in the order of their names.
pub fn of_service(service: &str) -> &'static [Operation] {
    match service {
        "acm" => acm::OPERATIONS,
        "acm-pca" => acm_pca::OPERATIONS,
        "application-autoscaling" => application_autoscaling::OPERATIONS,
        "cloudformation" => cloudformation::OPERATIONS,
        "cloudtrail" => cloudtrail::OPERATIONS,
        "cloudwatch" => cloudwatch::OPERATIONS,
        "ecs" => ecs::OPERATIONS,
        "fis" => fis::OPERATIONS,
        "kms" => kms::OPERATIONS,
        "logs" => logs::OPERATIONS,
        "secretsmanager" => secretsmanager::OPERATIONS,
        "servicediscovery" => servicediscovery::OPERATIONS,
        "iam" => iam::OPERATIONS,
        "sts" => sts::OPERATIONS,
        "xray" => xray::OPERATIONS,
        _ => &[],
    }
}

/// The operation of a service with this name.
pub fn find(service: &ServiceProtocol, name: &str) -> Option<&'static Operation> {
    of_service(service.name).iter().find(|operation| operation.name == name)
}

/// Converts in, calls, converts out.
pub(crate) fn run<I: DeserializeOwned, O: Serialize>(
    call: &Call<'_>,
    request: &Document,
    handler: fn(&Call<'_>, I) -> Result<O, Fault>,
) -> Result<Document, Outcome> {
    let request = from_document(request).map_err(Outcome::Violation)?;
    let response = handler(call, request)?;
    to_document(&response).map_err(|error| {
        tracing::error!(%error, "a response could not be written");
        Outcome::Fault(Fault::new("InternalFailure", "the response could not be written").with_status(500))
    })
}

/// A row of the table: `operation!(Write, Effective, "CreateCluster", handler)`. What only tells,
/// and reads files for it, ends with `, waits`.
macro_rules! operation {
    ($access:ident, $effect:ident, $name:literal, $handler:path) => {
        $crate::api::operation::operation!(
            $access,
            $effect,
            $name,
            $handler,
            matches!($crate::api::operation::Access::$access, $crate::api::operation::Access::Write)
        )
    };
    ($access:ident, $effect:ident, $name:literal, $handler:path, waits) => {
        $crate::api::operation::operation!($access, $effect, $name, $handler, true)
    };
    ($access:ident, $effect:ident, $name:literal, $handler:path, $waits:expr) => {
        $crate::api::operation::Operation {
            name: $name,
            access: $crate::api::operation::Access::$access,
            effect: $crate::api::operation::Effect::$effect,
            waits: $waits,
            call: |call, request| $crate::api::operation::run(call, request, $handler),
        }
    };
}
pub(crate) use operation;
