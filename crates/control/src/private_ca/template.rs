//! Certificate templates: what of a certificate is fixed, and what the request may say.
//!
//! Source: AWS Private CA user guide, "Understand certificate templates". Not here: the blank
//! templates' variants with critical basic constraints differ in nothing else.

use bowline_aws::acmpca::CertificateAuthorityType;

use crate::x509::{
    certificate::{
        AUTHORITY_USAGE, CLIENT_AUTH, END_ENTITY_USAGE, Extension, SERVER_AUTH, SIGNING_USAGE,
        basic_constraints, extended_key_usage, id, key_usage,
    },
    der,
};

const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";

/// What a template makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A certificate that signs nothing but what its holder says.
    EndEntity,
    /// A root's own.
    Root { path_length: Option<u8> },
    /// An authority's below this one.
    Subordinate { path_length: u8 },
}

/// A template, as its ARN names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) subject: Subject,
    /// Purposes of an end entity's key.
    purposes: &'static [&'static str],
    usage: Usage,
    /// `basicConstraints` of an end entity is critical.
    critical: bool,
    /// What the API call may add.
    pub(crate) api_passthrough: bool,
    /// What the request's own extensions may add.
    pub(crate) csr_passthrough: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    /// Blank: what is passed through.
    Open,
    EndEntity,
    Signing,
    Authority,
}

impl Template {
    /// The template of `arn:aws:acm-pca:::template/NAME/V1`; `None` where there is none.
    pub(crate) fn parse(arn: &str) -> Option<Self> {
        let (partition, name) = arn.strip_prefix("arn:")?.split_once(":acm-pca:::template/")?;
        let name = name.strip_suffix("/V1").filter(|_| partition.starts_with("aws"))?;
        let (base, api_passthrough, csr_passthrough) = [
            ("_APICSRPassthrough", true, true),
            ("_APIPassthrough", true, false),
            ("_CSRPassthrough", false, true),
        ]
        .into_iter()
        .find_map(|(suffix, api, csr)| Some((name.strip_suffix(suffix)?, api, csr)))
        .unwrap_or((name, false, false));
        let (subject, purposes, usage): (_, &'static [&'static str], _) = match base {
            "EndEntityCertificate" => (Subject::EndEntity, &[SERVER_AUTH, CLIENT_AUTH], Usage::EndEntity),
            "EndEntityServerAuthCertificate" => (Subject::EndEntity, &[SERVER_AUTH], Usage::EndEntity),
            "EndEntityClientAuthCertificate" => (Subject::EndEntity, &[CLIENT_AUTH], Usage::EndEntity),
            "CodeSigningCertificate" => (Subject::EndEntity, &[CODE_SIGNING], Usage::Signing),
            "OCSPSigningCertificate" => (Subject::EndEntity, &[OCSP_SIGNING], Usage::Signing),
            "BlankEndEntityCertificate" | "BlankEndEntityCertificate_CriticalBasicConstraints" => {
                (Subject::EndEntity, &[], Usage::Open)
            }
            "RootCACertificate" => (Subject::Root { path_length: None }, &[], Usage::Authority),
            "BlankRootCACertificate" => (Subject::Root { path_length: None }, &[], Usage::Open),
            _ => {
                let path_length = |prefix| {
                    let digit = base.strip_prefix(prefix)?.parse().ok()?;
                    (0..=3).contains(&digit).then_some(digit)
                };
                if let Some(path_length) = path_length("SubordinateCACertificate_PathLen") {
                    (Subject::Subordinate { path_length }, &[], Usage::Authority)
                } else if let Some(path_length) = path_length("BlankSubordinateCACertificate_PathLen") {
                    (Subject::Subordinate { path_length }, &[], Usage::Open)
                } else {
                    let path_length = Some(path_length("BlankRootCACertificate_PathLen")?);
                    (Subject::Root { path_length }, &[], Usage::Open)
                }
            }
        };
        let is_root = matches!(subject, Subject::Root { .. });
        let exists = match usage {
            // Nothing would be in it.
            Usage::Open => api_passthrough || csr_passthrough,
            _ => true,
        };
        (exists && !(is_root && csr_passthrough)).then_some(Self {
            subject,
            purposes,
            usage,
            critical: base.ends_with("_CriticalBasicConstraints"),
            api_passthrough,
            csr_passthrough,
        })
    }

    /// What a request without a template is for.
    pub(crate) fn default() -> Self {
        Self {
            subject: Subject::EndEntity,
            purposes: &[SERVER_AUTH, CLIENT_AUTH],
            usage: Usage::EndEntity,
            critical: false,
            api_passthrough: false,
            csr_passthrough: false,
        }
    }

    /// Whether authorities of this type may issue by it.
    pub(crate) fn fits(&self, authority: CertificateAuthorityType) -> bool {
        !matches!(self.subject, Subject::Root { .. }) || authority == CertificateAuthorityType::Root
    }

    /// The extensions of a certificate: the template's own before the API call's before the
    /// request's. The names are always the request's, where nobody else says them.
    pub(crate) fn compose(&self, api: Vec<Extension>, csr: Vec<Extension>) -> Vec<Extension> {
        let mut all = vec![match self.subject {
            Subject::EndEntity => Extension { critical: self.critical, ..basic_constraints(false, None) },
            Subject::Root { path_length } => basic_constraints(true, path_length),
            Subject::Subordinate { path_length } => basic_constraints(true, Some(path_length)),
        }];
        match self.usage {
            Usage::Open => {}
            Usage::EndEntity => all.push(key_usage(&END_ENTITY_USAGE)),
            Usage::Signing => all.push(key_usage(&SIGNING_USAGE)),
            Usage::Authority => all.push(key_usage(&AUTHORITY_USAGE)),
        }
        if !self.purposes.is_empty() {
            let purposes: Vec<_> = self.purposes.iter().map(|purpose| der::known_oid(purpose)).collect();
            let critical = self.usage == Usage::Signing;
            all.push(Extension { critical, ..extended_key_usage(&purposes) });
        }
        let end_entity = self.subject == Subject::EndEntity;
        let api = api.into_iter().filter(|_| self.api_passthrough);
        let csr = csr
            .into_iter()
            .filter(|found| self.csr_passthrough || end_entity && found.is(id::ALTERNATIVE_NAMES));
        for extension in api.chain(csr) {
            // The key identifiers are the signer's to say.
            let signers = [id::SUBJECT_KEY, id::AUTHORITY_KEY];
            let taken = all.iter().any(|present| present.oid == extension.oid)
                || signers.into_iter().any(|signers| extension.is(signers));
            if !taken {
                all.push(extension);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::certificate::dns_names;

    fn template(name: &str) -> Option<Template> {
        Template::parse(&format!("arn:aws:acm-pca:::template/{name}/V1"))
    }

    #[test]
    fn every_template_of_aws_is_known_and_no_other() {
        let with = |base: &str, kinds: &[&str]| -> Vec<String> {
            kinds.iter().map(|kind| format!("{base}{kind}")).collect()
        };
        let through = ["_APIPassthrough", "_APICSRPassthrough", "_CSRPassthrough"];
        let all = ["", "_APIPassthrough", "_APICSRPassthrough", "_CSRPassthrough"];
        let mut names = Vec::new();
        for base in [
            "EndEntityCertificate",
            "EndEntityClientAuthCertificate",
            "EndEntityServerAuthCertificate",
            "CodeSigningCertificate",
            "OCSPSigningCertificate",
            "SubordinateCACertificate_PathLen0",
            "SubordinateCACertificate_PathLen3",
        ] {
            names.extend(with(base, &all));
        }
        names.extend(with("BlankEndEntityCertificate", &through));
        names.extend(with("BlankEndEntityCertificate_CriticalBasicConstraints", &through));
        names.extend(with("BlankSubordinateCACertificate_PathLen1", &through));
        names.extend(with("RootCACertificate", &["", "_APIPassthrough"]));
        names.extend(with("BlankRootCACertificate_PathLen2", &["_APIPassthrough"]));
        for name in names {
            assert!(template(&name).is_some(), "{name}");
        }
        for wrong in [
            "",
            "Other",
            "BlankEndEntityCertificate",
            "SubordinateCACertificate_PathLen4",
            "SubordinateCACertificate_PathLen",
            "RootCACertificate_CSRPassthrough",
        ] {
            assert_eq!(template(wrong), None, "{wrong}");
        }
        assert_eq!(Template::parse("arn:aws:acm-pca:::template/EndEntityCertificate/V2"), None);
        assert_eq!(template("EndEntityCertificate"), Some(Template::default()));
    }

    #[test]
    fn what_is_passed_through_never_takes_the_templates_place() {
        let wanted = vec![
            basic_constraints(true, None),
            key_usage(&AUTHORITY_USAGE),
            dns_names(["a.example"]),
            Extension::new("1.2.3.4", false, vec![5, 0]),
        ];
        let plain = template("EndEntityCertificate").unwrap().compose(Vec::new(), wanted.clone());
        assert!(plain.contains(&wanted[2]) && !plain.contains(&wanted[3]));
        let open = template("EndEntityCertificate_CSRPassthrough").unwrap();
        let made = open.compose(vec![Extension::new("1.2.3.5", false, vec![5, 0])], wanted.clone());
        assert_eq!(made.len(), 5, "{made:?}");
        assert!(made.contains(&wanted[3]) && !made.contains(&wanted[0]) && !made.contains(&wanted[1]));
        let blank = template("BlankEndEntityCertificate_CSRPassthrough").unwrap();
        let made = blank.compose(Vec::new(), wanted.clone());
        assert!(made.contains(&wanted[1]) && !made.contains(&wanted[0]));
    }
}
