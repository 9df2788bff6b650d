//! AWS Cloud Map on the registry: namespaces, services, instances. The API's operations and
//! templates make them by the same commands.
//!
//! What ECS brings is not stored here: a discovery name of a Service Connect service is a Cloud Map
//! service, and a task that serves is an instance, for as long as the registry says so
//! ([`managed`], [`index`]).

use thiserror::Error;

pub(crate) mod external;
pub(crate) mod index;
pub(crate) mod instances;
pub(crate) mod managed;
pub(crate) mod namespaces;
pub(crate) mod operations;
pub(crate) mod services;

/// Why Cloud Map refuses. Nothing was changed, or the changed registry is to be thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloudMapError {
    /// Values that cannot be.
    #[error("{0}")]
    InvalidInput(String),
    /// The name is another namespace's.
    #[error("there is a namespace {name:?} already: {id}")]
    NamespaceAlreadyExists {
        /// The name.
        name: String,
        /// The id of the one that has it.
        id: String,
        /// The `CreatorRequestId` that it was made with.
        creator_request_id: Option<String>,
    },
    /// There is no such namespace.
    #[error("there is no namespace {0:?}")]
    NamespaceNotFound(String),
    /// The namespace still holds services.
    #[error("the namespace {id} still contains {services} service(s)")]
    NamespaceInUse {
        /// The namespace's id.
        id: String,
        /// How many services are in it.
        services: usize,
    },
    /// The name is another service's of the namespace.
    #[error("there is a service {name:?} in the namespace already: {id}")]
    ServiceAlreadyExists {
        /// The name.
        name: String,
        /// The id of the one that has it.
        id: String,
        /// Its ARN.
        arn: String,
        /// The `CreatorRequestId` that it was made with.
        creator_request_id: Option<String>,
    },
    /// There is no such service.
    #[error("there is no service {0:?}")]
    ServiceNotFound(String),
    /// The service still holds instances.
    #[error("the service {id} still contains {instances} instance(s)")]
    ServiceInUse {
        /// The service's id.
        id: String,
        /// How many instances are in it.
        instances: usize,
    },
    /// The service follows from ECS: it is changed there.
    #[error("the service {id} is managed by Amazon ECS: change the ECS service {owner} instead")]
    Managed {
        /// The Cloud Map service's id.
        id: String,
        /// The ECS service's ARN.
        owner: String,
    },
    /// Callers could not be led to the instance as its service says.
    #[error("the service {service} cannot have instances: {reason}")]
    UnusableSettings {
        /// The service's id.
        service: String,
        /// What is wrong with its settings.
        reason: String,
    },
    /// There is no such instance.
    #[error("there is no instance {instance:?} in the service {service}")]
    InstanceNotFound {
        /// The service's id.
        service: String,
        /// The instance's id.
        instance: String,
    },
    /// The instance's health is not for callers to say.
    #[error("the service {service} of the instance {instance:?} has no custom health check")]
    CustomHealthNotFound {
        /// The service's id.
        service: String,
        /// The instance's id.
        instance: String,
    },
    /// The request's id belongs to another request.
    #[error("the request id belongs to another request, whose operation is {operation}")]
    DuplicateRequest {
        /// The operation of the other request.
        operation: String,
    },
}

/// The id that `given` stands for: an id itself, or an ARN that ends with one.
pub(crate) fn id_of(given: &str) -> &str {
    match given.starts_with("arn:") {
        true => given.rsplit('/').next().unwrap_or(given),
        false => given,
    }
}
