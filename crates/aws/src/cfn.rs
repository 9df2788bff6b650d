//! CloudFormation templates: reading, checking, resolving.
//!
//! ```text
//! text ── tree (positions) ── Template ──resolve(Inputs)──▶ Stack (typed, in creation order)
//!                 │                │                 │
//!                 └── every fault at once: Diagnostics (line, column, path, what is allowed)
//! ```
//!
//! [`Template::parse`] finds what is wrong whatever the parameters are; [`Template::resolve`]
//! evaluates conditions and intrinsic functions and checks the values that result. Physical ids
//! and attributes are pure functions of account, region, stack and properties (module
//! `physical`), so every `Ref` and `Fn::GetAtt` has its value before anything is created.
//!
//! ```
//! use bowline_aws::cfn::{Inputs, ResourceBody, Template};
//!
//! let text = "
//! Resources:
//!   Mesh:
//!     Type: AWS::ECS::Cluster
//!     Properties:
//!       ClusterName: !Sub '${AWS::StackName}-mesh'
//! ";
//! let template = Template::parse(text)?;
//! let stack = template.resolve(&Inputs { stack_name: "demo".into(), ..Inputs::default() })?;
//! let ResourceBody::EcsCluster(cluster) = &stack.resources[0].body else { panic!() };
//! assert_eq!(cluster.cluster_name.as_deref(), Some("demo-mesh"));
//! # Ok::<(), bowline_aws::cfn::Diagnostics>(())
//! ```

mod diagnostic;
mod evaluate;
mod intrinsic;
mod parameter;
mod physical;
mod resolve;
mod rules;
mod schema;
mod stack;
mod suggest;
mod template;
mod tree;
mod verify;

pub use diagnostic::{Diagnostic, Diagnostics, Location, Severity};
pub use parameter::ParameterDeclaration;
pub use stack::{Inputs, Output, ResourceBody, Revision, Stack, StackResource};
pub use template::Template;

/// The largest template read, in bytes. CloudFormation's own limit for a template in S3 is 1 MB.
pub const TEMPLATE_BYTES_MAX: usize = 1024 * 1024;

/// The most resources in a template, CloudFormation's own limit.
pub const RESOURCES_MAX: usize = 500;
