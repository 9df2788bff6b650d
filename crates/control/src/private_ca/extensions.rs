//! Extensions as AWS Private CA's API says them, in DER.

use std::net::IpAddr;

use bowline_aws::acmpca::{
    AccessDescription, CsrExtensions, ExtendedKeyUsage, Extensions, GeneralName, KeyUsage, PolicyInformation,
};

use super::PrivateCaError;
use crate::x509::{
    certificate::{Extension, KeyUsageBits, address_name, extended_key_usage, id, key_usage},
    der::{self, tag},
    name,
};

/// Most entries of each list. Source: `Extensions` of the API reference.
const ENTRIES_MAX: usize = 150;

fn refuse(message: impl Into<String>) -> PrivateCaError {
    PrivateCaError::Args(message.into())
}

/// What `ApiPassthrough.Extensions` asks for.
pub(crate) fn of_api(given: &Extensions) -> Result<Vec<Extension>, PrivateCaError> {
    let lists = [
        given.certificate_policies.len(),
        given.custom_extensions.len(),
        given.extended_key_usage.len(),
        given.subject_alternative_names.len(),
    ];
    if lists.iter().any(|length| *length > ENTRIES_MAX) {
        return Err(refuse(format!(
            "ApiPassthrough.Extensions: a list has more than {ENTRIES_MAX} entries."
        )));
    }
    let mut all = Vec::new();
    if !given.certificate_policies.is_empty() {
        let policies: Result<Vec<_>, _> = given.certificate_policies.iter().map(policy).collect();
        all.push(Extension::new("2.5.29.32", false, der::sequence(policies?)));
    }
    if !given.extended_key_usage.is_empty() {
        let purposes: Result<Vec<_>, _> = given.extended_key_usage.iter().map(purpose).collect();
        all.push(extended_key_usage(&purposes?));
    }
    if let Some(usage) = &given.key_usage {
        all.push(key_usage(&usage_bits(usage)));
    }
    if !given.subject_alternative_names.is_empty() {
        let names: Result<Vec<_>, _> = given.subject_alternative_names.iter().map(general_name).collect();
        all.push(Extension::new(id::ALTERNATIVE_NAMES, false, der::sequence(names?)));
    }
    for custom in &given.custom_extensions {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let oid = der::oid(&custom.object_identifier)
            .ok_or_else(|| refuse("CustomExtensions: an ObjectIdentifier is none."))?;
        let value = STANDARD
            .decode(&custom.value)
            .ok()
            .filter(|value| (1..=4_096).contains(&value.len()))
            .ok_or_else(|| refuse("CustomExtensions: a Value is not base64 of 1-4096 bytes."))?;
        all.push(Extension { oid, critical: custom.critical.unwrap_or(false), value });
    }
    Ok(all)
}

/// What `CsrExtensions` asks for in an authority's own request.
pub(crate) fn of_csr(given: &CsrExtensions) -> Result<Vec<Extension>, PrivateCaError> {
    let mut all = Vec::new();
    if let Some(usage) = &given.key_usage {
        all.push(key_usage(&usage_bits(usage)));
    }
    if !given.subject_information_access.is_empty() {
        let access: Result<Vec<_>, _> = given.subject_information_access.iter().map(access).collect();
        all.push(Extension::new("1.3.6.1.5.5.7.1.11", false, der::sequence(access?)));
    }
    Ok(all)
}

fn usage_bits(usage: &KeyUsage) -> KeyUsageBits {
    [
        usage.digital_signature,
        usage.non_repudiation,
        usage.key_encipherment,
        usage.data_encipherment,
        usage.key_agreement,
        usage.key_cert_sign,
        usage.crl_sign,
        usage.encipher_only,
        usage.decipher_only,
    ]
    .map(|bit| bit.unwrap_or(false))
}

fn purpose(usage: &ExtendedKeyUsage) -> Result<Vec<u8>, PrivateCaError> {
    let dotted = match (&usage.extended_key_usage_type, &usage.extended_key_usage_object_identifier) {
        (Some(name), None) => match name.as_str() {
            "SERVER_AUTH" => "1.3.6.1.5.5.7.3.1",
            "CLIENT_AUTH" => "1.3.6.1.5.5.7.3.2",
            "CODE_SIGNING" => "1.3.6.1.5.5.7.3.3",
            "EMAIL_PROTECTION" => "1.3.6.1.5.5.7.3.4",
            "TIME_STAMPING" => "1.3.6.1.5.5.7.3.8",
            "OCSP_SIGNING" => "1.3.6.1.5.5.7.3.9",
            "SMART_CARD_LOGIN" => "1.3.6.1.4.1.311.20.2.2",
            "DOCUMENT_SIGNING" => "1.3.6.1.4.1.311.10.3.12",
            "CERTIFICATE_TRANSPARENCY" => "1.3.6.1.4.1.11129.2.4.4",
            _ => return Err(refuse("ExtendedKeyUsage: there is no such ExtendedKeyUsageType.")),
        },
        (None, Some(oid)) => oid,
        _ => return Err(refuse("ExtendedKeyUsage: give a type or an object identifier.")),
    };
    der::oid(dotted).ok_or_else(|| refuse("ExtendedKeyUsage: an ObjectIdentifier is none."))
}

fn ia5(kind: u8, text: &str, what: &str) -> Result<Vec<u8>, PrivateCaError> {
    match !text.is_empty() && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(der::value(kind, text.as_bytes())),
        false => Err(refuse(format!("{what} must have 1-256 characters of ASCII, without spaces."))),
    }
}

/// RFC 5280 §4.2.1.6.
fn general_name(given: &GeneralName) -> Result<Vec<u8>, PrivateCaError> {
    if given.other_name.is_some() || given.edi_party_name.is_some() {
        return Err(refuse("OtherName and EdiPartyName are not here."));
    }
    let mut names = Vec::new();
    if let Some(name) = &given.rfc822_name {
        names.push(ia5(tag::context(1), name, "Rfc822Name")?);
    }
    if let Some(name) = &given.dns_name {
        names.push(ia5(tag::context(2), name, "DnsName")?);
    }
    if let Some(subject) = &given.directory_name {
        let name = name::encode(subject).map_err(|error| refuse(error.to_string()))?;
        names.push(der::value(tag::constructed(4), &name));
    }
    if let Some(uri) = &given.uniform_resource_identifier {
        names.push(ia5(tag::context(6), uri, "UniformResourceIdentifier")?);
    }
    if let Some(address) = &given.ip_address {
        let address: IpAddr = address.parse().map_err(|_| refuse("IpAddress is no address."))?;
        names.push(address_name(address));
    }
    if let Some(dotted) = &given.registered_id {
        let oid = der::oid(dotted).ok_or_else(|| refuse("RegisteredId is no object identifier."))?;
        let content = der::only(&oid, tag::OID).map(|oid| oid.content.to_vec()).unwrap_or_default();
        names.push(der::value(tag::context(8), &content));
    }
    match names.pop() {
        Some(name) if names.is_empty() => Ok(name),
        _ => Err(refuse("A GeneralName must have exactly one name.")),
    }
}

/// RFC 5280 §4.2.1.4.
fn policy(given: &PolicyInformation) -> Result<Vec<u8>, PrivateCaError> {
    let oid = der::oid(&given.cert_policy_id)
        .ok_or_else(|| refuse("CertificatePolicies: a CertPolicyId is no object identifier."))?;
    let qualifiers: Result<Vec<_>, _> = given
        .policy_qualifiers
        .iter()
        .map(|qualifier| {
            if qualifier.policy_qualifier_id != "CPS" {
                return Err(refuse("PolicyQualifierId must be CPS."));
            }
            let uri = ia5(tag::IA5_STRING, &qualifier.qualifier.cps_uri, "CpsUri")?;
            Ok(der::sequence([der::known_oid("1.3.6.1.5.5.7.2.1"), uri]))
        })
        .collect();
    let qualifiers = qualifiers?;
    Ok(match qualifiers.is_empty() {
        true => der::sequence([oid]),
        false => der::sequence([oid, der::sequence(qualifiers)]),
    })
}

/// RFC 5280 §4.2.2.2.
fn access(given: &AccessDescription) -> Result<Vec<u8>, PrivateCaError> {
    let method = &given.access_method;
    let dotted = match (method.access_method_type.as_deref(), method.custom_object_identifier.as_deref()) {
        (Some("CA_REPOSITORY"), None) => "1.3.6.1.5.5.7.48.5",
        (Some("RESOURCE_PKI_MANIFEST"), None) => "1.3.6.1.5.5.7.48.10",
        (Some("RESOURCE_PKI_NOTIFY"), None) => "1.3.6.1.5.5.7.48.13",
        (None, Some(oid)) => oid,
        _ => return Err(refuse("AccessMethod: give a type or an object identifier.")),
    };
    let oid = der::oid(dotted).ok_or_else(|| refuse("AccessMethod is no object identifier."))?;
    Ok(der::sequence([oid, general_name(&given.access_location)?]))
}
