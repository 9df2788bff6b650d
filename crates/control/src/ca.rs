//! The certificate authority: it signs, and nothing else.
//!
//! Who may have which name is decided by the caller, and keys are sealed and
//! kept by the caller. What is signed is checked before it leaves: a mistake
//! here must end as an error, not as a certificate somebody trusts.

mod authority;
mod crl;
mod csr;
mod issued;
mod key;
mod leaf;
mod summary;
mod validity;

use bowline_model::{clock::Timestamp, identity::InvalidSpiffeId};
use thiserror::Error;

pub(crate) use self::authority::certificate_pem;
pub use self::{
    authority::{Authority, RootParams},
    csr::{CSR_BYTES_MAX, CheckedCsr, CsrError},
    key::KeyAlgorithm,
    leaf::{DNS_NAMES_MAX, IssuedLeaf, LeafRequest, Usage},
    summary::{CertificateSummary, summaries},
};

/// Why a certificate was not made, or an authority not loaded.
#[derive(Debug, Error)]
pub enum CaError {
    /// A field of the subject is not what X.520 allows. The caller's.
    #[error("the subject's {field} {reason}")]
    Subject {
        /// The field, in words.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Neither a SPIFFE id nor a DNS name was asked for. The caller's.
    #[error("a certificate needs a SPIFFE id or a DNS name")]
    NoName,
    /// Not a DNS name that a certificate can carry. The caller's.
    #[error("{name:?} is no DNS name for a certificate")]
    DnsName {
        /// The name, at most its first 100 characters.
        name: String,
    },
    /// More than [`DNS_NAMES_MAX`] names. The caller's.
    #[error("{count} DNS names; a certificate has at most {DNS_NAMES_MAX}")]
    TooManyDnsNames {
        /// How many were asked for.
        count: usize,
    },
    /// An id that SPIFFE's rules refuse, as one of a malformed trust domain. The caller's.
    #[error(transparent)]
    SpiffeId(#[from] InvalidSpiffeId),
    /// A lifetime under one second, or past the year 9999. The caller's.
    #[error("a validity from {from} of {seconds} seconds cannot be written")]
    Validity {
        /// When it would begin.
        from: Timestamp,
        /// How long it was to be.
        seconds: u64,
    },
    /// The authority's own certificate is not valid now: rotate it, or set the clock.
    #[error("the authority is valid from {not_before} to {not_after}, and it is {now}")]
    OutsideValidity {
        /// When the authority's certificate begins.
        not_before: Timestamp,
        /// When it ends.
        not_after: Timestamp,
        /// The time given.
        now: Timestamp,
    },
    /// The stored certificate is not one to sign with.
    #[error("the authority's certificate {reason}")]
    AuthorityCertificate {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stored key is none, or of another algorithm than the certificate's.
    #[error("the authority's key was refused")]
    AuthorityKey,
    /// The stored key is not the certificate's.
    #[error("the authority's key is not the one its certificate names")]
    KeyMismatch,
    /// The cryptographic library failed to make a key, a signature or a random number.
    #[error("the cryptographic library failed to make {what}")]
    Crypto {
        /// What it was to make.
        what: &'static str,
    },
    /// A CRL was not made, or just signed and refused. A defect, or a serial number that is none.
    #[error("no certificate revocation list: {reason}")]
    Crl {
        /// What is wrong.
        reason: &'static str,
    },
    /// The certificate could not be encoded.
    #[error("the certificate could not be encoded")]
    Encode(#[from] rcgen::Error),
    /// A certificate just signed is not what was asked for; it was thrown away. A defect.
    #[error("a certificate just signed is refused: {reason}")]
    Issued {
        /// Which check failed.
        reason: &'static str,
    },
    /// A name is outside what the authority, or one above it, may sign. The caller's.
    #[error("a name is outside the name constraints of the authority, or of one above it")]
    NameConstraints,
    /// A certificate just signed does not verify against its authority; it was thrown away.
    #[error("a certificate just signed does not verify")]
    IssuedUnverifiable(#[source] webpki::Error),
}
