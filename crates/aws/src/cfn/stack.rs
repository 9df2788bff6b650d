//! What a template becomes: resources with their ids, in the order in which to create them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::diagnostic::{Diagnostics, Location};
use crate::{acm, acmpca, bowline, ecs, elbv2, servicediscovery};

/// What a template is resolved with.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The stack's name; part of every generated name. Default `bowline`.
    pub stack_name: String,
    /// `AWS::Region`. Default `us-east-1`.
    pub region: String,
    /// `AWS::AccountId`, 12 digits. Default `000000000000`.
    pub account_id: String,
    /// Values for the template's parameters; one that is not named here takes its default.
    pub parameters: BTreeMap<String, String>,
    /// What other stacks export, for `Fn::ImportValue`. Default empty.
    pub exports: BTreeMap<String, String>,
    /// `AWS::NotificationARNs`. Default empty.
    pub notification_arns: Vec<String>,
    /// What `Fn::GetAZs` yields. Empty, the default, means the region's name with `a`, `b`, `c`.
    pub availability_zones: Vec<String>,
    /// Which revision a task definition gets. Default: always 1.
    pub revision: Revision,
}

impl Default for Inputs {
    fn default() -> Self {
        Inputs {
            stack_name: "bowline".to_owned(),
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            parameters: BTreeMap::new(),
            exports: BTreeMap::new(),
            notification_arns: Vec::new(),
            availability_zones: Vec::new(),
            revision: Revision::default(),
        }
    }
}

/// Answers which revision of its family a task definition is: an existing one where it is
/// unchanged, the next where it is new. It must answer the same for the same definition during
/// one [`super::Template::resolve`].
#[derive(Clone)]
pub struct Revision(Arc<RevisionOf>);

type RevisionOf = dyn Fn(&ecs::RegisterTaskDefinitionRequest) -> u32 + Send + Sync;

impl Revision {
    /// Asks `revision` for each task definition; its `family` is always set.
    pub fn new(
        revision: impl Fn(&ecs::RegisterTaskDefinitionRequest) -> u32 + Send + Sync + 'static,
    ) -> Self {
        Revision(Arc::new(revision))
    }

    pub(super) fn of(&self, definition: &ecs::RegisterTaskDefinitionRequest) -> u32 {
        (self.0)(definition)
    }
}

impl Default for Revision {
    fn default() -> Self {
        Revision::new(|_| 1)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revision(..)")
    }
}

/// A resolved template.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    /// `AWS::StackId`, the stack's ARN.
    pub id: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`.
    pub account_id: String,
    /// The template's description.
    pub description: Option<String>,
    /// The resources whose condition holds, each after everything it depends on.
    pub resources: Vec<StackResource>,
    /// The outputs whose condition holds, in the template's order.
    pub outputs: Vec<Output>,
    /// Warnings and notes; never an error.
    pub warnings: Diagnostics,
}

impl Stack {
    /// The resource of that logical id.
    #[must_use]
    pub fn resource(&self, logical_id: &str) -> Option<&StackResource> {
        self.resources.iter().find(|resource| resource.logical_id == logical_id)
    }

    /// The resource that `Ref` or an ARN attribute names, if it is of this stack.
    #[must_use]
    pub fn by_physical_id(&self, physical_id: &str) -> Option<&StackResource> {
        self.resources.iter().find(|resource| resource.physical_id == physical_id)
    }
}

/// One resource, with every value known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackResource {
    /// Its name in the template.
    pub logical_id: String,
    /// What `Ref` yields: a name, an id or an ARN, as AWS documents for the type.
    pub physical_id: String,
    /// `AWS::ECS::Service` and the like.
    pub resource_type: String,
    /// Its properties.
    pub body: ResourceBody,
    /// The logical ids it refers to or names in `DependsOn`, without duplicates, all of them in
    /// the stack and before this one.
    pub depends_on: Vec<String>,
    /// Where its logical id stands in the template.
    pub position: Location,
    /// Its own tags (`Tags`), without the `aws:cloudformation:` ones.
    pub tags: BTreeMap<String, String>,
    /// What `Fn::GetAtt` yields.
    pub attributes: BTreeMap<String, Value>,
    /// `DeletionPolicy`, CloudFormation's default being `Delete`.
    pub deletion_policy: Option<String>,
    /// `Metadata`, with intrinsic functions left as they stand.
    pub metadata: Option<Value>,
}

impl StackResource {
    /// The attribute that is a string, such as `Arn`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }
}

/// The properties of a resource, typed where Bowline acts on them. Names that the template leaves
/// to CloudFormation (`ClusterName`, `ServiceName`, `Family`, …) are filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "properties")]
#[non_exhaustive]
pub enum ResourceBody {
    /// `AWS::ECS::Cluster`
    EcsCluster(Box<ecs::CreateClusterRequest>),
    /// `AWS::ECS::TaskDefinition`
    EcsTaskDefinition(Box<ecs::RegisterTaskDefinitionRequest>),
    /// `AWS::ECS::Service`
    EcsService(Box<ecs::CreateServiceRequest>),
    /// `AWS::ServiceDiscovery::PrivateDnsNamespace`
    PrivateDnsNamespace(Box<servicediscovery::PrivateDnsNamespace>),
    /// `AWS::ServiceDiscovery::HttpNamespace`
    HttpNamespace(Box<servicediscovery::HttpNamespace>),
    /// `AWS::ServiceDiscovery::Service`
    DiscoveryService(Box<servicediscovery::Service>),
    /// `AWS::ACMPCA::CertificateAuthority`
    CertificateAuthority(Box<acmpca::CertificateAuthority>),
    /// `AWS::ACMPCA::Certificate`
    PrivateCertificate(Box<acmpca::Certificate>),
    /// `AWS::ACMPCA::CertificateAuthorityActivation`
    CertificateAuthorityActivation(Box<acmpca::CertificateAuthorityActivation>),
    /// `AWS::ElasticLoadBalancingV2::LoadBalancer`
    LoadBalancer(Box<elbv2::LoadBalancer>),
    /// `AWS::ElasticLoadBalancingV2::TargetGroup`
    TargetGroup(Box<elbv2::TargetGroup>),
    /// `AWS::ElasticLoadBalancingV2::Listener`
    Listener(Box<elbv2::Listener>),
    /// `AWS::ElasticLoadBalancingV2::ListenerRule`
    ListenerRule(Box<elbv2::ListenerRule>),
    /// `AWS::ElasticLoadBalancingV2::ListenerCertificate`
    ListenerCertificate(Box<elbv2::ListenerCertificate>),
    /// `AWS::CertificateManager::Certificate`
    AcmCertificate(Box<acm::Certificate>),
    /// `Bowline::ServiceConnect::LocalCommand`
    LocalCommand(Box<bowline::LocalCommand>),
    /// `Bowline::ServiceConnect::AuthorizationPolicy`
    AuthorizationPolicy(Box<bowline::AuthorizationPolicy>),
    /// `Bowline::ServiceConnect::TrafficPolicy`
    TrafficPolicy(Box<bowline::traffic::TrafficPolicy>),
    /// A type that is kept, not acted on: its properties under CloudFormation's names.
    Record(Value),
}

/// One output of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name in the template.
    pub name: String,
    /// Its value.
    pub value: String,
    /// `Description`.
    pub description: Option<String>,
    /// `Export.Name`.
    pub export_name: Option<String>,
}
