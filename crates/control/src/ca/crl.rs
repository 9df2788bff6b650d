//! Certificate revocation lists (RFC 5280 §5): full ones, signed by the authority itself.

use std::time::Duration;

use bowline_model::clock::Timestamp;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use x509_parser::{
    certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _,
    revocation_list::CertificateRevocationList,
};

use super::{Authority, CaError};
use crate::revocation::{RevocationReason, RevokedSerial};

impl Authority {
    /// Signs a CRL of `revoked`, and reads and verifies it before it is handed out. PEM.
    ///
    /// Profile: version 2, the authority key identifier of what the authority signs, a CRL number,
    /// `nextUpdate`; a reason code in each entry that has a reason.
    ///
    /// # Errors
    /// [`CaError::OutsideValidity`] where the authority has expired; [`CaError::Crl`] where a
    /// serial number is none, or what was signed is not what was asked for.
    pub fn sign_crl(
        &self,
        revoked: &[RevokedSerial],
        number: u64,
        now: Timestamp,
        next_update: Timestamp,
    ) -> Result<String, CaError> {
        let (not_before, not_after) = (self.not_before(), self.not_after());
        if !self.validity().contains(now) {
            return Err(CaError::OutsideValidity { not_before, not_after, now });
        }
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |moment: Timestamp| epoch + Duration::from_secs(moment.as_secs());
        let revoked_certs = revoked
            .iter()
            .map(|entry| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from(serial_octets(&entry.serial)?),
                    revocation_time: at(entry.revoked_at),
                    reason_code: reason_code(entry.reason),
                    invalidity_date: None,
                })
            })
            .collect::<Result<Vec<_>, CaError>>()?;
        let params = CertificateRevocationListParams {
            this_update: at(now),
            next_update: at(next_update),
            crl_number: SerialNumber::from(number.to_be_bytes().to_vec()),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: self.key_identifier()?,
        };
        let signed = params.signed_by(self.issuer())?;
        self.check_crl(signed.der(), revoked.len())?;
        Ok(signed.pem()?)
    }

    /// The subject key identifier in the authority's certificate, which the CRL must repeat
    /// (RFC 5280 §5.2.1): whoever made the certificate chose how it is derived.
    fn key_identifier(&self) -> Result<KeyIdMethod, CaError> {
        let refuse = |reason| CaError::AuthorityCertificate { reason };
        let (_, parsed) = X509Certificate::from_der(self.certificate_der())
            .map_err(|_| refuse("is not an X.509 certificate"))?;
        let found = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(found.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified))
    }

    fn check_crl(&self, der: &[u8], count: usize) -> Result<(), CaError> {
        let (rest, parsed) = CertificateRevocationList::from_der(der)
            .map_err(|_| CaError::Crl { reason: "it cannot be read" })?;
        let (_, own) = X509Certificate::from_der(self.certificate_der())
            .map_err(|_| CaError::AuthorityCertificate { reason: "is not an X.509 certificate" })?;
        let wrong = if !rest.is_empty() {
            "it has bytes after its end"
        } else if parsed.iter_revoked_certificates().count() != count {
            "it lists another number of certificates"
        } else if parsed.issuer() != own.subject() {
            "it names another issuer"
        } else if parsed.verify_signature(own.public_key()).is_err() {
            "it does not verify"
        } else {
            return Ok(());
        };
        Err(CaError::Crl { reason: wrong })
    }
}

/// The octets of a serial number in hexadecimal, at most 20 (RFC 5280 §4.1.2.2).
fn serial_octets(serial: &str) -> Result<Vec<u8>, CaError> {
    let refuse = || CaError::Crl { reason: "a serial number is not hexadecimal of 1 to 20 octets" };
    if !(1..=40).contains(&serial.len()) || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    let even = if serial.len().is_multiple_of(2) { serial.to_owned() } else { format!("0{serial}") };
    (0..even.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&even[at..at + 2], 16).map_err(|_| refuse()))
        .collect()
}

fn reason_code(reason: RevocationReason) -> Option<rcgen::RevocationReason> {
    use rcgen::RevocationReason as R;
    match reason {
        // RFC 5280 §5.3.1: the extension is left out rather than say "unspecified".
        RevocationReason::Unspecified => None,
        RevocationReason::KeyCompromise => Some(R::KeyCompromise),
        RevocationReason::CertificateAuthorityCompromise => Some(R::CaCompromise),
        RevocationReason::AffiliationChanged => Some(R::AffiliationChanged),
        RevocationReason::Superseded => Some(R::Superseded),
        RevocationReason::CessationOfOperation => Some(R::CessationOfOperation),
        RevocationReason::PrivilegeWithdrawn => Some(R::PrivilegeWithdrawn),
        RevocationReason::AttributeAuthorityCompromise => Some(R::AaCompromise),
    }
}

#[cfg(test)]
mod tests;
