//! What the operations of AWS Private CA and of Certificate Manager demand.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys" for AWS Private
//! Certificate Authority and for AWS Certificate Manager.

use super::demand::{Asked, Demand};

/// What an operation of AWS Private CA demands.
pub(super) fn of_private_ca(asked: &Asked<'_>) -> Vec<Demand> {
    let arn = asked.text("CertificateAuthorityArn").or_else(|| asked.text("ResourceArn"));
    let mut demand = Demand::new(format!("acm-pca:{}", asked.operation), arn.unwrap_or("*"));
    if asked.operation == "IssueCertificate" {
        let usual = "arn:aws:acm-pca:::template/EndEntityCertificate/V1";
        demand = demand.with("acm-pca:TemplateArn", asked.text("TemplateArn").unwrap_or(usual));
    }
    let private = arn.and_then(|arn| asked.registry.authorities.get(arn)?.private.as_deref());
    demand.resource_policy = private.and_then(|private| private.policy.clone());
    vec![demand]
}
