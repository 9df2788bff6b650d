//! Refused identities: whose, and why. The cause is the same word in the body that the calling
//! application gets, in the log and in the counters.

use http::HeaderName;
use rustls::AlertDescription;

use crate::metrics::{HandshakeFailure, causes};

/// Between two proxies: the answer is the other proxy's own, and says which cause it has. Never
/// passed on to an application, and never believed from one.
pub(crate) static REFUSAL: HeaderName = HeaderName::from_static("x-bowline-refusal");

causes! {
    /// Which side of a call was refused.
    RefusedParty {
        /// The caller, by the server.
        Caller => "caller",
        /// The server, by the caller.
        Server => "server",
    }
}

causes! {
    /// Why an identity was refused.
    RefusalCause {
        /// Its certificate is over, or not yet valid.
        Expired => "expired",
        /// Its certificate has been revoked.
        Revoked => "revoked",
        /// Its certificate's chain ends in no root that is believed.
        UnknownCa => "unknown_ca",
        /// Its certificate or one of its chain is not as it has to be.
        InvalidChain => "invalid_chain",
        /// Its certificate has not exactly one SPIFFE id, or one that is not expected.
        WrongIdentity => "wrong_identity",
        /// It has shown no certificate.
        NoCertificate => "no_certificate",
        /// It is who it says, and may not make this call.
        NotAuthorized => "not_authorized",
    }
}

impl RefusedParty {
    fn other(self) -> Self {
        match self {
            Self::Caller => Self::Server,
            Self::Server => Self::Caller,
        }
    }
}

impl RefusalCause {
    /// The cause of that name.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str().as_bytes() == name)
    }

    /// For people, after "because".
    fn explained(self) -> &'static str {
        match self {
            Self::Expired => "its certificate has expired or is not yet valid",
            Self::Revoked => "its certificate has been revoked",
            Self::UnknownCa => "its certificate comes from a CA that is not believed",
            Self::InvalidChain => "its certificate or its chain is not valid",
            Self::WrongIdentity => "its certificate does not name an expected identity",
            Self::NoCertificate => "it has shown no certificate",
            Self::NotAuthorized => "the authorization policy does not allow this call",
        }
    }

    fn of_handshake(failure: HandshakeFailure) -> Option<Self> {
        Some(match failure {
            HandshakeFailure::Expired => Self::Expired,
            HandshakeFailure::Revoked => Self::Revoked,
            HandshakeFailure::UnknownCa => Self::UnknownCa,
            HandshakeFailure::BadCertificate => Self::InvalidChain,
            HandshakeFailure::WrongIdentity => Self::WrongIdentity,
            HandshakeFailure::NoClientCertificate => Self::NoCertificate,
            _ => return None,
        })
    }

    /// What the other side's alert says of our certificate (RFC 8446 §6.2).
    fn of_alert(alert: AlertDescription) -> Option<Self> {
        Some(match alert {
            AlertDescription::CertificateExpired => Self::Expired,
            AlertDescription::CertificateRevoked => Self::Revoked,
            AlertDescription::UnknownCA => Self::UnknownCa,
            AlertDescription::AccessDenied => Self::WrongIdentity,
            AlertDescription::CertificateRequired => Self::NoCertificate,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError => Self::InvalidChain,
            _ => return None,
        })
    }
}

/// A refused identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) party: RefusedParty,
    pub(crate) cause: RefusalCause,
}

impl Refusal {
    pub(crate) const fn of_caller(cause: RefusalCause) -> Self {
        Self { party: RefusedParty::Caller, cause }
    }

    /// What a failed handshake says of identities; `own` is which side this proxy is.
    pub(crate) fn of_tls(
        error: &rustls::Error,
        failure: HandshakeFailure,
        own: RefusedParty,
    ) -> Option<Self> {
        match error {
            rustls::Error::AlertReceived(alert) => {
                RefusalCause::of_alert(*alert).map(|cause| Self { party: own, cause })
            }
            _ => RefusalCause::of_handshake(failure).map(|cause| Self { party: own.other(), cause }),
        }
    }

    /// One line for people, about a call to `service`.
    pub(crate) fn message(self, service: &str) -> String {
        let why = self.cause.explained();
        match self.party {
            RefusedParty::Caller => format!("{service} refuses this caller: {why}"),
            RefusedParty::Server => format!("{service} is not trusted: {why}"),
        }
    }

    /// The body that the calling application gets.
    pub(crate) fn body(self, service: &str, detail: Option<&str>) -> serde_json::Value {
        let mut body = serde_json::json!({
            "message": self.message(service),
            "refused": self.party.as_str(),
            "cause": self.cause.as_str(),
            "service": service,
        });
        if let Some(detail) = detail {
            body["detail"] = detail.into();
        }
        body
    }

    /// As the access log writes it.
    pub(crate) fn text(self) -> String {
        format!("{}:{}", self.party.as_str(), self.cause.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_of_our_certificate_and_a_verdict_of_theirs() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
        let refusal = Refusal::of_tls(&alert, HandshakeFailure::RefusedByPeer, RefusedParty::Caller);
        assert_eq!(refusal.map(Refusal::text).as_deref(), Some("caller:revoked"));
        let verdict = rustls::Error::from(rustls::CertificateError::Expired);
        let refusal = Refusal::of_tls(&verdict, HandshakeFailure::Expired, RefusedParty::Caller);
        assert_eq!(refusal.map(Refusal::text).as_deref(), Some("server:expired"));
        let other = rustls::Error::AlertReceived(AlertDescription::InternalError);
        assert_eq!(Refusal::of_tls(&other, HandshakeFailure::RefusedByPeer, RefusedParty::Caller), None);
    }

    #[test]
    fn every_cause_is_found_by_its_name() {
        for cause in RefusalCause::ALL {
            assert_eq!(RefusalCause::named(cause.as_str().as_bytes()), Some(*cause));
        }
        assert_eq!(RefusalCause::named(b"other"), None);
    }
}
