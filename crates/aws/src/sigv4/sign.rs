//! Signing: what a caller adds to a request.

use std::{fmt, fmt::Write as _, time::Duration};

use thiserror::Error;

use super::{
    ALGORITHM, AmzDate, EXPIRES_SECONDS_MAX, Received, SIGNED_HEADERS_MAX, Scope, SecretKey, TERMINATOR,
    UNSIGNED_PAYLOAD,
    canonical::{Canonical, push_encoded, sha256_hex},
};

/// Headers that proxies add, change or drop, and the one that is the signature itself: they are
/// never signed.
const NEVER_SIGNED: &[&str] = &[
    "authorization",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];

/// What requests are signed with.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret: SecretKey,
    /// The token that temporary credentials come with.
    pub session_token: Option<String>,
}

/// Without the secret and the token.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What a signature is for.
#[derive(Clone, Debug)]
pub struct Signing<'a> {
    /// The region of the service, `us-east-1`.
    pub region: &'a str,
    /// The signing name of the service, `ecs`.
    pub service: &'a str,
    /// The time of signing.
    pub at: AmzDate,
    /// Leaves the body out of the signature. Only for what is sent over TLS.
    pub unsigned_payload: bool,
}

/// Why a request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The `host` header is absent, and it must be signed.
    #[error("the request has no host header")]
    HostAbsent,
    /// The request has a header that signing adds.
    #[error("the request has the header {name} already")]
    AlreadySigned {
        /// The header's name.
        name: String,
    },
    /// More headers than a signature may cover.
    #[error("the request has more than {SIGNED_HEADERS_MAX} headers to sign")]
    TooManyHeaders,
    /// A presigned URL is valid for 1 second to 7 days.
    #[error("a presigned URL is valid for 1 to {EXPIRES_SECONDS_MAX} seconds, not {}", .0.as_secs())]
    Expires(Duration),
}

/// Signs `request`, and returns the headers to add to it: `x-amz-date`, `authorization` and,
/// where they apply, `x-amz-security-token` and `x-amz-content-sha256`.
pub fn sign(
    request: &Received<'_>,
    credentials: &Credentials,
    signing: &Signing<'_>,
) -> Result<Vec<(&'static str, String)>, SignError> {
    let scope = signing.scope();
    let payload_hash = signing.payload_hash(request.body);
    let mut added = vec![("x-amz-date", signing.at.to_string())];
    if signing.unsigned_payload || scope.is_s3() {
        added.push(("x-amz-content-sha256", payload_hash.clone()));
    }
    if let Some(token) = &credentials.session_token {
        added.push(("x-amz-security-token", token.clone()));
    }
    let present = |name: &str| name == "authorization" || added.iter().any(|(other, _)| *other == name);
    if let Some((name, _)) = request.headers.iter().find(|(name, _)| present(name)) {
        return Err(SignError::AlreadySigned { name: (*name).to_owned() });
    }
    let mut headers = request.headers.to_vec();
    headers.extend(added.iter().map(|(name, value)| (*name, value.as_bytes())));
    let signed_headers = signed_headers(&headers)?;
    let canonical = Canonical {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: &headers,
        signed_headers: &signed_headers,
        payload_hash: &payload_hash,
        s3: scope.is_s3(),
    };
    let key = credentials.secret.signing_key(&scope);
    let signature = key.sign(&canonical.string_to_sign(signing.at, &scope));
    let credential = credential(credentials, &scope);
    let authorization =
        format!("{ALGORITHM} Credential={credential}, SignedHeaders={signed_headers}, Signature={signature}");
    added.push(("authorization", authorization));
    Ok(added)
}

/// Signs `request` into its query, and returns the whole query of the presigned URL, which is
/// valid for `expires`. Every header of the request must be sent along with it.
pub fn presign(
    request: &Received<'_>,
    credentials: &Credentials,
    signing: &Signing<'_>,
    expires: Duration,
) -> Result<String, SignError> {
    if !(1..=EXPIRES_SECONDS_MAX).contains(&expires.as_secs()) {
        return Err(SignError::Expires(expires));
    }
    let scope = signing.scope();
    let signed_headers = signed_headers(request.headers)?;
    let (at, expires) = (signing.at.to_string(), expires.as_secs().to_string());
    let credential = credential(credentials, &scope);
    let unsigned = signing.unsigned_payload || scope.is_s3();
    let parameters = [
        ("X-Amz-Algorithm", Some(ALGORITHM)),
        ("X-Amz-Credential", Some(credential.as_str())),
        ("X-Amz-Date", Some(at.as_str())),
        ("X-Amz-Expires", Some(expires.as_str())),
        ("X-Amz-SignedHeaders", Some(signed_headers.as_str())),
        ("X-Amz-Security-Token", credentials.session_token.as_deref()),
        ("X-Amz-Content-Sha256", (signing.unsigned_payload && !scope.is_s3()).then_some(UNSIGNED_PAYLOAD)),
    ];
    let mut query = request.query.unwrap_or_default().to_owned();
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        let mut encoded = Vec::with_capacity(value.len());
        push_encoded(&mut encoded, value.bytes().map(|byte| (byte, true)), |_| false, false);
        query.extend(encoded.into_iter().map(char::from));
    }
    let payload_hash = match unsigned {
        true => UNSIGNED_PAYLOAD.to_owned(),
        false => sha256_hex(request.body),
    };
    let canonical = Canonical {
        method: request.method,
        path: request.path,
        query: Some(&query),
        headers: request.headers,
        signed_headers: &signed_headers,
        payload_hash: &payload_hash,
        s3: scope.is_s3(),
    };
    let key = credentials.secret.signing_key(&scope);
    let signature = key.sign(&canonical.string_to_sign(signing.at, &scope));
    // Writing to a String does not fail.
    let _ = write!(query, "&X-Amz-Signature={signature}");
    Ok(query)
}

impl Signing<'_> {
    fn scope(&self) -> Scope {
        Scope { date: self.at.day(), region: self.region.to_owned(), service: self.service.to_owned() }
    }

    fn payload_hash(&self, body: &[u8]) -> String {
        match self.unsigned_payload {
            true => UNSIGNED_PAYLOAD.to_owned(),
            false => sha256_hex(body),
        }
    }
}

fn credential(credentials: &Credentials, scope: &Scope) -> String {
    [credentials.access_key_id.as_str(), &scope.date, &scope.region, &scope.service, TERMINATOR].join("/")
}

/// The names to sign, in order, each once, separated by `;`.
fn signed_headers(headers: &[(&str, &[u8])]) -> Result<String, SignError> {
    let mut names: Vec<&str> =
        headers.iter().map(|(name, _)| *name).filter(|name| !NEVER_SIGNED.contains(name)).collect();
    names.sort_unstable();
    names.dedup();
    if !names.contains(&"host") {
        return Err(SignError::HostAbsent);
    }
    if names.len() > SIGNED_HEADERS_MAX {
        return Err(SignError::TooManyHeaders);
    }
    Ok(names.join(";"))
}
