//! The AWS side of Bowline: the shapes that AWS's APIs and CloudFormation speak, and the reader
//! of CloudFormation templates.
//!
//! This crate knows names, types and constraints. It decides nothing: what a service or a
//! certificate authority *means* is for the crates that depend on this one. It depends on no
//! other crate of Bowline.
//!
//! - [`cfn`] reads templates: [`cfn::Template::parse`], then [`cfn::Template::resolve`].
//! - [`iam`] and [`sts`] hold the shapes of access management.
//! - [`ecs`], [`servicediscovery`], [`acmpca`], [`elbv2`], [`acm`], [`cloudtrail`], [`cloudwatch`], [`secretsmanager`],
//!   [`fis`], [`xray`] hold the typed shapes.
//! - [`protocol`] is the wire: AWS's protocols between bytes and typed values.
//! - [`sigv4`] verifies and makes the signatures of requests.
//! - [`bowline`] holds what AWS has no resource type for.

pub mod acm;
pub mod acmpca;
pub mod application_autoscaling;
pub mod bowline;
mod calendar;
pub mod cfn;
pub mod cloudformation;
pub mod cloudtrail;
pub mod cloudwatch;
pub mod ecs;
pub mod elbv2;
pub mod fis;
pub mod iam;
pub mod kms;
pub mod logs;
pub mod protocol;
pub mod secretsmanager;
pub mod servicediscovery;
pub mod sigv4;
pub mod sts;
pub mod xray;
