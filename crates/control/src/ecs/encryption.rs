//! What a service says of how its ports are protected: `encryptionConfiguration`, which AWS does
//! not have, in the Service Connect configuration or in a tag that the AWS CLI lets through.

use bowline_aws::ecs::{
    EncryptionMode, ServiceConnectConfiguration, ServiceConnectEncryptionConfiguration, Tag,
};
use bowline_model::{
    arn::Arn,
    service::{Encryption, TlsMode},
};
use serde::Deserialize;

use crate::registry::Registry;

/// The key of the tag whose value is JSON with what AWS has no member for.
pub(crate) const TAG: &str = "Bowline:ServiceConnect";

/// The value of that tag.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TagValue {
    encryption_configuration: ServiceConnectEncryptionConfiguration,
}

/// What a service asks for: the configuration's own, else the tag's, else both sides prove who they
/// are with the mesh's certificates.
///
/// # Errors
/// The tag's value is no such JSON, or a certificate is not there.
pub(super) fn of_service(
    registry: &Registry,
    configuration: &ServiceConnectConfiguration,
    tags: &[Tag],
) -> Result<Encryption, String> {
    let tagged = tags.iter().find(|tag| tag.key.as_deref() == Some(TAG));
    let tagged = tagged.map(|tag| read_tag(tag.value.as_deref().unwrap_or_default())).transpose()?;
    let Some(given) = configuration.encryption_configuration.as_ref().or(tagged.as_ref()) else {
        return Ok(Encryption::default());
    };
    let known = |member: &str, arn: &Option<String>| {
        arn.as_deref().map(|arn| known_certificate(registry, member, arn)).transpose()
    };
    Ok(Encryption {
        mode: match given.mode.unwrap_or_default() {
            EncryptionMode::Tls => TlsMode::Tls,
            EncryptionMode::MutualTls => TlsMode::MutualTls,
        },
        certificate: known("certificateArn", &given.certificate_arn)?,
        client_certificate: known("clientCertificateArn", &given.client_certificate_arn)?,
    })
}

fn read_tag(value: &str) -> Result<ServiceConnectEncryptionConfiguration, String> {
    match serde_json::from_str::<TagValue>(value) {
        Ok(value) => Ok(value.encryption_configuration),
        Err(error) => Err(format!(
            "the tag {TAG} is not what it has to be, {{\"encryptionConfiguration\": {{\"mode\": \"TLS\" or \
             \"MUTUAL_TLS\", \"certificateArn\": …, \"clientCertificateArn\": …}}}}: {error}"
        )),
    }
}

fn known_certificate(registry: &Registry, member: &str, arn: &str) -> Result<Arn, String> {
    let row = registry.acm_certificates.get(arn).ok_or_else(|| {
        let arn: String = arn.chars().filter(|c| !c.is_control()).take(200).collect();
        format!("{member} names {arn}, and Certificate Manager has no such certificate: import it first")
    })?;
    match row.certificate_der.is_empty() || row.sealed_key.is_empty() {
        true => Err(format!("{member} names {arn}, which has not been issued")),
        false => Ok(row.arn.clone()),
    }
}
