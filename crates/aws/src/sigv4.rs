//! AWS Signature Version 4: who sent a request, and that it was not altered on the way.
//!
//! [`Presented::parse`] finds the signature in a request, in the `Authorization` header or in the
//! query of a presigned URL; whoever keeps the keys looks the secret up by
//! [`Presented::access_key_id`]; [`Presented::verify`] compares. [`sign()`] and [`presign`] are the
//! other side, over the same canonical request. Nothing here reads a clock or keeps a key.
//!
//! Source: IAM User Guide, "AWS Signature Version 4 for API requests". Not served: signing with an
//! asymmetric key (Signature Version 4A), bodies signed chunk by chunk (`STREAMING-…`), forms
//! signed by POST policy.

mod authorization;
mod canonical;
mod date;
mod error;
mod key;
mod presented;
mod sign;

use std::time::Duration;

pub use authorization::{Authorization, Credential};
pub use date::AmzDate;
pub use error::{ErrorFamily, SignatureError};
pub use key::{SecretKey, SigningKey, SigningKeyCache};
pub use presented::{Payload, Presented};
pub use sign::{Credentials, SignError, Signing, presign, sign};

/// Most headers that a signature may cover.
pub const SIGNED_HEADERS_MAX: usize = 100;
/// Longest `Authorization` header, in bytes.
pub const AUTHORIZATION_BYTES_MAX: usize = 8192;
/// Longest session token, in bytes.
pub const SECURITY_TOKEN_BYTES_MAX: usize = 16_384;
/// Longest that a presigned URL may be valid, in seconds: seven days.
pub const EXPIRES_SECONDS_MAX: u64 = 604_800;
/// How far the clocks of caller and callee may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The method, as it was sent: `GET`.
    pub method: &'a str,
    /// The path, as it was sent: still percent-encoded, without the query.
    pub path: &'a str,
    /// What follows the `?`, as it was sent.
    pub query: Option<&'a str>,
    /// The headers in the order of arrival. Names are in lower case; `host` is among them (of
    /// HTTP/2, the `:authority`).
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The whole body.
    pub body: &'a [u8],
}

/// What a key is derived for: a signature is good on one day, in one region, for one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The day, `20150830`.
    pub date: String,
    /// The region, `us-east-1`.
    pub region: String,
    /// The signing name of the service, `ecs`.
    pub service: String,
}

impl Scope {
    /// S3 and its kin have rules of their own for paths and presigned bodies.
    fn is_s3(&self) -> bool {
        matches!(self.service.as_str(), "s3" | "s3express" | "s3-outposts" | "s3-object-lambda")
    }
}

/// When a signature is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The verifier's time, in seconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    /// How far the signer's clock may be from it, either way.
    pub skew: Duration,
}

impl Moment {
    /// The second `now`, with AWS's [`CLOCK_SKEW`].
    pub fn at(now: u64) -> Self {
        Self { now, skew: CLOCK_SKEW }
    }
}
