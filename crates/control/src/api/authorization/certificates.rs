//! What the operations of AWS Private CA and of Certificate Manager demand.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys" for AWS Private
//! Certificate Authority and for AWS Certificate Manager.

use super::demand::{Asked, Demand};

/// What an operation of Certificate Manager demands. Of a request, that its private authority may be
/// used too: AWS asks for that on the caller's behalf.
pub(super) fn of_certificate_manager(asked: &Asked<'_>) -> Vec<Demand> {
    let arn = asked.text("CertificateArn").unwrap_or("*");
    let mut demands = vec![Demand::new(format!("acm:{}", asked.operation), arn)];
    if let ("RequestCertificate", Some(authority)) = (asked.operation, asked.text("CertificateAuthorityArn"))
    {
        demands[0].keys.push(("acm:CertificateAuthority".to_owned(), vec![authority.to_owned()]));
        let private = asked.registry.authorities.get(authority).and_then(|row| row.private.as_deref());
        demands.push(Demand {
            resource_policy: private.and_then(|private| private.policy.clone()),
            ..Demand::new("acm-pca:IssueCertificate", authority)
        });
    }
    demands
}

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
