//! Defences that are switched off on purpose, to show that the experiments of `bowline chaos` find them missing.
//!
//! Only a build with the feature `sabotage` can: there `BOWLINE_SABOTAGE` names, by commas, what is off. In every other
//! build [`sabotaged`] is `false` at compile time, and nothing of this is in the binary (an end-to-end test looks).

/// What can be switched off.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "sabotage", derive(Debug))]
pub enum Defence {
    /// A peer's chain, its dates and its purpose are checked.
    Certificate,
    /// A peer proves that the certificate's key is its own.
    Possession,
    /// A peer's SPIFFE id is compared, and calls are authorized by it.
    Identity,
    /// Revoked certificates are refused.
    Revocation,
    /// Sidecars serve nothing in the clear.
    InboundTls,
    /// Sidecars speak no TLS before 1.3.
    TlsVersion,
    /// Sidecars send nothing in the clear.
    OutboundTls,
    /// A renewed certificate comes into use without a gap.
    Renewal,
    /// Safe requests are tried again, endpoints that fail are ejected.
    Retries,
    /// Endpoints that are gone are turned away from.
    Endpoints,
    /// A connection has time to be made.
    Patience,
    /// Connections between sidecars are kept.
    Pooling,
    /// Who does not finish a handshake is closed.
    HandshakeTime,
    /// Tasks that end are replaced.
    Replacement,
    /// A sidecar keeps its configuration while there is no control plane.
    Autonomy,
    /// A sidecar keeps the last good one of a resource that cannot be used.
    LastGood,
    /// Certificates are renewed well before their end.
    EarlyRenewal,
    /// A store whose disk failed is opened anew.
    StoreRecovery,
    /// Certificates begin a while before they are issued.
    Backdating,
    /// Connections between sidecars that have gone silent are found.
    Liveness,
    /// Retries are bounded by a budget.
    RetryBudget,
    /// Calls of the AWS endpoint are authorized.
    ApiAuthorization,
}

/// Whether a defence is switched off.
#[cfg(not(feature = "sabotage"))]
#[inline]
#[must_use]
pub const fn sabotaged(_: Defence) -> bool {
    false
}

/// Names of the environment variables that children inherit for this.
#[cfg(not(feature = "sabotage"))]
#[inline]
#[must_use]
pub const fn environment() -> &'static [&'static str] {
    &[]
}

#[cfg(feature = "sabotage")]
pub use switched::{VARIABLE, environment, sabotaged, unknown_words, words};

#[cfg(feature = "sabotage")]
mod switched {
    use std::sync::LazyLock;

    use super::Defence;

    /// The environment variable.
    pub const VARIABLE: &str = "BOWLINE_SABOTAGE";

    /// Every defence with the word that switches it off.
    const WORDS: [(&str, Defence); 22] = [
        ("accept-any-certificate", Defence::Certificate),
        ("accept-any-signature", Defence::Possession),
        ("accept-any-identity", Defence::Identity),
        ("ignore-revocations", Defence::Revocation),
        ("accept-plaintext", Defence::InboundTls),
        ("accept-old-tls", Defence::TlsVersion),
        ("trust-downgrade", Defence::OutboundTls),
        ("break-on-renewal", Defence::Renewal),
        ("no-retries", Defence::Retries),
        ("keep-dead-endpoints", Defence::Endpoints),
        ("no-patience", Defence::Patience),
        ("no-pooling", Defence::Pooling),
        ("no-handshake-timeout", Defence::HandshakeTime),
        ("no-replacement", Defence::Replacement),
        ("forget-when-alone", Defence::Autonomy),
        ("drop-refused", Defence::LastGood),
        ("renew-late", Defence::EarlyRenewal),
        ("no-store-recovery", Defence::StoreRecovery),
        ("no-backdating", Defence::Backdating),
        ("no-liveness", Defence::Liveness),
        ("no-retry-budget", Defence::RetryBudget),
        ("skip-authorization", Defence::ApiAuthorization),
    ];

    static SWITCHED: LazyLock<Vec<String>> = LazyLock::new(|| {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        value.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    });

    /// Whether a defence is switched off.
    #[must_use]
    pub fn sabotaged(defence: Defence) -> bool {
        let word = WORDS.iter().find(|(_, named)| *named == defence).map(|(word, _)| *word);
        word.is_some_and(|word| SWITCHED.iter().any(|switched| switched == word))
    }

    /// Names of the environment variables that children inherit for this.
    #[must_use]
    pub fn environment() -> &'static [&'static str] {
        &[VARIABLE]
    }

    /// What was asked for, as it was written.
    #[must_use]
    pub fn words() -> Vec<String> {
        SWITCHED.clone()
    }

    /// What was asked for and is no defence's word.
    #[must_use]
    pub fn unknown_words() -> Vec<String> {
        let known = |word: &&String| !WORDS.iter().any(|(known, _)| known == word);
        SWITCHED.iter().filter(known).cloned().collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_defence_has_a_word_of_its_own() {
            for (place, (word, defence)) in WORDS.iter().enumerate() {
                assert!(WORDS[..place].iter().all(|(other, of)| other != word && of != defence), "{word}");
            }
        }
    }
}
