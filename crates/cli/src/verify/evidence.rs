//! What `bowline verify` found out about one pair of services.

use bowline_model::clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::topology::CertificateView;

/// Everything that a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Evidence {
    /// When it was taken.
    pub(crate) at: Timestamp,
    /// The version of Bowline that took it.
    pub(crate) bowline: String,
    /// The SPIFFE trust domain.
    pub(crate) trust_domain: String,
    /// How bytes were captured.
    pub(crate) method: String,
    /// A pair each.
    pub(crate) pairs: Vec<PairEvidence>,
    /// All pairs passed, and there was at least one.
    pub(crate) passed: bool,
}

/// What was found about one service calling another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairEvidence {
    /// The calling service.
    pub(crate) caller: String,
    /// The called service.
    pub(crate) callee: String,
    /// Name and port that the caller's application calls.
    pub(crate) alias: String,
    /// `HTTP`, `HTTP2`, `GRPC` or `TCP`.
    pub(crate) protocol: String,
    /// How the hop is to be protected: `MUTUAL_TLS`, `TLS` or `PLAINTEXT`.
    #[serde(default)]
    pub(crate) mode: String,
    /// What the marked request was answered (an HTTP status, or `sent`).
    pub(crate) answer: Option<String>,
    /// TLS version that the called sidecar chose, read from the wire.
    pub(crate) tls_version: Option<String>,
    /// Cipher suite that it chose, read from the wire.
    pub(crate) cipher: Option<String>,
    /// The called sidecar's certificate, as it showed it to the verifier.
    pub(crate) callee_certificate: Option<CertificateView>,
    /// The calling sidecar's certificate, as the control plane issued it.
    pub(crate) caller_certificate: Option<CertificateView>,
    /// Bytes captured between the sidecars, both directions.
    pub(crate) captured_bytes: usize,
    /// How often the mark was found in them. Must be none.
    pub(crate) mark_occurrences: usize,
    /// How the inbound port took a plaintext request.
    pub(crate) plaintext: PortAnswer,
    /// How it took a TLS client without a certificate.
    pub(crate) without_certificate: PortAnswer,
    /// What is wrong. Empty: passed.
    pub(crate) faults: Vec<String>,
}

/// How a port took a client that it should refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PortAnswer {
    /// It could not be tried.
    #[default]
    NotTried,
    /// Closed without serving it.
    Refused,
    /// Served it.
    Served,
}

impl PortAnswer {
    /// For tables.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NotTried => "not tried",
            Self::Refused => "refused",
            Self::Served => "SERVED",
        }
    }
}

impl PairEvidence {
    /// Judges what was found; fills `faults`.
    pub(crate) fn judge(&mut self) {
        let mut faults = std::mem::take(&mut self.faults);
        if self.captured_bytes == 0 && self.answer.is_some() {
            faults.push(
                "the request was answered, but nothing crossed where it should have: it took another way"
                    .into(),
            );
        }
        if self.mark_occurrences > 0 {
            faults
                .push(format!("the mark was readable {} times between the sidecars", self.mark_occurrences));
        }
        match self.tls_version.as_deref() {
            Some("TLSv1.3") => {}
            Some(other) => faults.push(format!("{other} in place of TLSv1.3")),
            None if self.captured_bytes > 0 => faults.push("what crossed was no TLS".into()),
            None => {}
        }
        if self.plaintext == PortAnswer::Served {
            faults.push("the inbound port served a plaintext request".into());
        }
        if self.without_certificate == PortAnswer::Served && self.mode != "TLS" {
            faults.push("the inbound port served a client without a certificate".into());
        }
        self.faults = faults;
    }

    /// Whether everything is as it should be.
    pub(crate) fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Counts how often `mark` stands in `bytes`, as it is or with ASCII letters
/// in the other case.
pub(crate) fn occurrences(bytes: &[u8], mark: &[u8]) -> usize {
    if mark.is_empty() || bytes.len() < mark.len() {
        return 0;
    }
    bytes.windows(mark.len()).filter(|window| window.eq_ignore_ascii_case(mark)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> PairEvidence {
        PairEvidence {
            caller: "a".into(),
            callee: "b".into(),
            alias: "b:80".into(),
            protocol: "HTTP".into(),
            mode: "MUTUAL_TLS".into(),
            answer: Some("200".into()),
            tls_version: Some("TLSv1.3".into()),
            cipher: None,
            callee_certificate: None,
            caller_certificate: None,
            captured_bytes: 4000,
            mark_occurrences: 0,
            plaintext: PortAnswer::Refused,
            without_certificate: PortAnswer::Refused,
            faults: Vec::new(),
        }
    }

    #[test]
    fn each_fault_is_found() {
        let judged = |change: fn(&mut PairEvidence)| {
            let mut pair = good();
            change(&mut pair);
            pair.judge();
            pair.passed()
        };
        assert!(judged(|_| {}));
        assert!(!judged(|pair| pair.mark_occurrences = 1));
        assert!(!judged(|pair| pair.tls_version = Some("TLSv1.2".into())));
        assert!(!judged(|pair| pair.tls_version = None));
        assert!(!judged(|pair| pair.plaintext = PortAnswer::Served));
        assert!(!judged(|pair| pair.without_certificate = PortAnswer::Served));
        assert!(!judged(|pair| pair.without_certificate = PortAnswer::Served));
        assert!(judged(|pair| {
            pair.mode = "TLS".into();
            pair.without_certificate = PortAnswer::Served;
        }));
        assert!(!judged(|pair| pair.captured_bytes = 0));
    }

    #[test]
    fn counts_marks() {
        assert_eq!(occurrences(b"xxMARKyymark", b"MARK"), 2);
        assert_eq!(occurrences(b"", b"MARK"), 0);
        assert_eq!(occurrences(b"MAR", b"MARK"), 0);
    }
}
