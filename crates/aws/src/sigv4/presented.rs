//! What a request presents as its signature, and whether that is genuine.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use super::{
    AmzDate, Authorization, EXPIRES_SECONDS_MAX, Moment, Received, SECURITY_TOKEN_BYTES_MAX, Scope,
    SecretKey, SignatureError, SigningKeyCache, UNSIGNED_PAYLOAD,
    authorization::{Credential, check_algorithm, is_signed, parse_signed_headers},
    canonical::{Canonical, decoded, sha256_hex},
};

/// The signature that a request carries, well formed and not yet verified: enough to look the
/// secret up with, and nothing to be believed before [`Presented::verify`] said so.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    /// Whose key the request says it is signed with.
    pub access_key_id: String,
    /// The token of temporary credentials. It is part of what is signed; whether it belongs to the
    /// access key is for whoever looks the key up.
    pub session_token: Option<String>,
    /// What the key was derived for.
    pub scope: Scope,
    /// When the request says it was signed.
    pub signed_at: AmzDate,
    /// For how long a presigned URL is valid, 1 second to 7 days; `None` for a signed header.
    pub expires: Option<Duration>,
    /// What of the body is signed.
    pub payload: Payload,
    signed_headers: String,
    signature: String,
}

/// What a signature says about the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The signature covers the body itself.
    Body,
    /// The signature covers this hash, from `x-amz-content-sha256`, which must be the body's.
    Declared(String),
    /// `UNSIGNED-PAYLOAD`: the body is not covered.
    Unsigned,
}

/// The headers that a signature speaks through, each at most once.
#[derive(Default)]
struct Found<'a> {
    authorization: Option<&'a [u8]>,
    amz_date: Option<&'a [u8]>,
    date: Option<&'a [u8]>,
    security_token: Option<&'a [u8]>,
    content_sha256: Option<&'a [u8]>,
}

/// The parameters of a presigned URL, each at most once.
#[derive(Default)]
struct Parameters<'a> {
    algorithm: Option<Cow<'a, str>>,
    credential: Option<Cow<'a, str>>,
    date: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    signed_headers: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
    security_token: Option<Cow<'a, str>>,
    content_sha256: Option<Cow<'a, str>>,
}

impl Presented {
    /// Finds the signature of a request, in its `Authorization` header or in its query.
    ///
    /// Refused, beside what is malformed: both at once, a header or parameter of the signature
    /// given twice, `host` or any `x-amz-*` header unsigned, a signed header that is not there,
    /// a scope of another day than the request.
    pub fn parse(received: &Received<'_>) -> Result<Self, SignatureError> {
        let found = Found::of(received)?;
        let parameters = Parameters::of(received.query.unwrap_or_default())?;
        let is_presigned = parameters.algorithm.is_some()
            || parameters.credential.is_some()
            || parameters.signature.is_some();
        let presented = match (found.authorization, is_presigned) {
            (None, false) => return Err(SignatureError::MissingAuthenticationToken),
            (Some(_), true) => {
                return Err(SignatureError::Malformed {
                    part: "Authorization",
                    reason: "a request is signed in its header or in its query, not in both",
                });
            }
            (Some(authorization), false) => Self::from_header(authorization, &found)?,
            (None, true) => Self::from_query(parameters, &found)?,
        };
        presented.check_headers(received)?;
        if presented.scope.date != presented.signed_at.day() {
            return Err(SignatureError::ScopeDate {
                scope: presented.scope.date,
                signed_at: presented.signed_at,
            });
        }
        Ok(presented)
    }

    fn from_header(authorization: &[u8], found: &Found<'_>) -> Result<Self, SignatureError> {
        let Authorization { credential, signed_headers, signature } = Authorization::parse(authorization)?;
        let signed_at = match (found.amz_date, found.date) {
            (Some(date), _) => AmzDate::parse_iso(date).ok_or(SignatureError::Malformed {
                part: "X-Amz-Date",
                reason: "it must be YYYYMMDD'T'HHMMSS'Z'",
            })?,
            (None, Some(date)) => AmzDate::parse_http(date).ok_or(SignatureError::Malformed {
                part: "Date",
                reason: "it must be a date of RFC 9110 in GMT",
            })?,
            (None, None) => {
                let parameter = "a 'X-Amz-Date' or a 'Date' header beside it";
                return Err(SignatureError::Missing { presigned: false, parameter });
            }
        };
        let session_token = found.security_token.map(session_token).transpose()?;
        let payload = found.content_sha256.map_or(Ok(Payload::Body), Payload::parse)?;
        Ok(Self {
            access_key_id: credential.access_key_id,
            session_token,
            scope: credential.scope,
            signed_at,
            expires: None,
            payload,
            signed_headers,
            signature,
        })
    }

    fn from_query(parameters: Parameters<'_>, found: &Found<'_>) -> Result<Self, SignatureError> {
        let missing = |parameter| move || SignatureError::Missing { presigned: true, parameter };
        let malformed = |part, reason| SignatureError::Malformed { part, reason };
        let algorithm = parameters.algorithm.ok_or_else(missing("'X-Amz-Algorithm'"))?;
        check_algorithm("X-Amz-Algorithm", &algorithm)?;
        let credential = parameters.credential.ok_or_else(missing("'X-Amz-Credential'"))?;
        let Credential { access_key_id, scope } = Credential::parse(&credential)?;
        let signature = parameters.signature.ok_or_else(missing("'X-Amz-Signature'"))?;
        let signed_headers = parameters.signed_headers.ok_or_else(missing("'X-Amz-SignedHeaders'"))?;
        let date = parameters.date.ok_or_else(missing("'X-Amz-Date'"))?;
        let signed_at = AmzDate::parse_iso(date.as_bytes())
            .ok_or_else(|| malformed("X-Amz-Date", "it must be YYYYMMDD'T'HHMMSS'Z'"))?;
        let expires = parameters.expires.ok_or_else(missing("'X-Amz-Expires'"))?;
        let expires = Some(expires)
            .filter(|text| {
                !text.is_empty() && text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit())
            })
            .and_then(|text| text.parse().ok())
            .filter(|seconds| (1..=EXPIRES_SECONDS_MAX).contains(seconds))
            .ok_or_else(|| malformed("X-Amz-Expires", "it must be 1 to 604800 seconds"))?;
        let one = |part, query: Option<Cow<'_, str>>, header: Option<&[u8]>| match (query, header) {
            (Some(_), Some(_)) => Err(malformed(part, "it is given in the query and as a header")),
            (Some(query), None) => Ok(Some(query.into_owned().into_bytes())),
            (None, header) => Ok(header.map(<[u8]>::to_vec)),
        };
        let token = one("X-Amz-Security-Token", parameters.security_token, found.security_token)?;
        let payload = match one("X-Amz-Content-Sha256", parameters.content_sha256, found.content_sha256)? {
            Some(declared) => Payload::parse(&declared)?,
            // Who presigns for S3 does not know the body.
            None if scope.is_s3() => Payload::Unsigned,
            None => Payload::Body,
        };
        Ok(Self {
            access_key_id,
            session_token: token.as_deref().map(session_token).transpose()?,
            scope,
            signed_at,
            expires: Some(Duration::from_secs(expires)),
            payload,
            signed_headers: parse_signed_headers(&signed_headers)?,
            signature: signature.into_owned(),
        })
    }

    /// Every header that must be signed is, and every header said to be signed is there.
    fn check_headers(&self, received: &Received<'_>) -> Result<(), SignatureError> {
        for (name, _) in received.headers {
            // The SDKs leave these two out when they presign.
            let left_out =
                self.expires.is_some() && matches!(*name, "x-amz-user-agent" | "x-amz-checksum-mode");
            if name.starts_with("x-amz-") && !left_out && !is_signed(&self.signed_headers, name) {
                return Err(SignatureError::HeaderNotSigned { name: (*name).to_owned() });
            }
        }
        for name in self.signed_headers.split(';') {
            if !received.headers.iter().any(|(other, _)| *other == name) {
                return Err(SignatureError::SignedHeaderAbsent { name: name.to_owned() });
            }
        }
        Ok(())
    }

    /// Whether the signature is in the query.
    pub fn presigned(&self) -> bool {
        self.expires.is_some()
    }

    /// Refuses a signature for another service than `service` (its signing name, such as
    /// `servicediscovery`).
    pub fn require_service(&self, service: &str) -> Result<(), SignatureError> {
        if self.scope.service == service {
            return Ok(());
        }
        Err(SignatureError::ScopeService { service: service.to_owned() })
    }

    /// Verifies that `received`, of which this was parsed, was signed with `secret`, recently, and
    /// was not altered since.
    pub fn verify(
        &self,
        received: &Received<'_>,
        secret: &SecretKey,
        moment: Moment,
    ) -> Result<(), SignatureError> {
        self.check_time(moment)?;
        self.check_signature(received, &secret.signing_key(&self.scope))
    }

    /// [`Presented::verify`], with a derived key out of `cache` where it has one.
    pub fn verify_cached(
        &self,
        received: &Received<'_>,
        secret: &SecretKey,
        cache: &SigningKeyCache,
        moment: Moment,
    ) -> Result<(), SignatureError> {
        self.check_time(moment)?;
        let Scope { date, region, service } = &self.scope;
        let credential = [self.access_key_id.as_str(), date, region, service].join("/");
        if let Some(key) = cache.get(&credential, secret) {
            return self.check_signature(received, &key);
        }
        let key = Arc::new(secret.signing_key(&self.scope));
        self.check_signature(received, &key)?;
        cache.put(&credential, date, secret, key);
        Ok(())
    }

    fn check_time(&self, Moment { now, skew }: Moment) -> Result<(), SignatureError> {
        let (signed_at, signed, skew_secs) = (self.signed_at, self.signed_at.as_secs(), skew.as_secs());
        if signed > now.saturating_add(skew_secs) {
            return Err(SignatureError::SignatureNotYetCurrent {
                signed_at,
                now: AmzDate::from_secs(now),
                skew,
            });
        }
        match self.expires {
            Some(expires) if now >= signed.saturating_add(expires.as_secs()) => {
                Err(SignatureError::RequestExpired { signed_at, expires })
            }
            None if signed.saturating_add(skew_secs) < now => {
                Err(SignatureError::SignatureExpired { signed_at, now: AmzDate::from_secs(now), skew })
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        received: &Received<'_>,
        key: &super::SigningKey,
    ) -> Result<(), SignatureError> {
        let payload_hash = match &self.payload {
            Payload::Body => Cow::Owned(sha256_hex(received.body)),
            Payload::Declared(hash) => Cow::Borrowed(hash.as_str()),
            Payload::Unsigned => Cow::Borrowed(UNSIGNED_PAYLOAD),
        };
        let canonical = Canonical {
            method: received.method,
            path: received.path,
            query: received.query,
            headers: received.headers,
            signed_headers: &self.signed_headers,
            payload_hash: &payload_hash,
            s3: self.scope.is_s3(),
        };
        if !key.verifies(&canonical.string_to_sign(self.signed_at, &self.scope), &self.signature) {
            return Err(SignatureError::SignatureMismatch);
        }
        match &self.payload {
            Payload::Declared(hash) if *hash != sha256_hex(received.body) => {
                Err(SignatureError::PayloadMismatch)
            }
            _ => Ok(()),
        }
    }
}

/// Without the session token and the signature.
impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("access_key_id", &self.access_key_id)
            .field("session_token", &self.session_token.as_ref().map(|_| "redacted"))
            .field("scope", &self.scope)
            .field("signed_at", &self.signed_at)
            .field("expires", &self.expires)
            .field("payload", &self.payload)
            .field("signed_headers", &self.signed_headers)
            .finish_non_exhaustive()
    }
}

impl Payload {
    fn parse(value: &[u8]) -> Result<Self, SignatureError> {
        if value == UNSIGNED_PAYLOAD.as_bytes() {
            return Ok(Self::Unsigned);
        }
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match std::str::from_utf8(value) {
            Ok(hash) if hash.len() == 64 && value.iter().all(is_digit) => Ok(Self::Declared(hash.to_owned())),
            // The STREAMING-… words sign each chunk of the body; no service here streams.
            _ => Err(SignatureError::Malformed {
                part: "X-Amz-Content-Sha256",
                reason: "it must be the SHA-256 of the body in lower-case hexadecimal, or UNSIGNED-PAYLOAD",
            }),
        }
    }
}

impl<'a> Found<'a> {
    fn of(received: &Received<'a>) -> Result<Self, SignatureError> {
        let mut found = Self::default();
        for (name, value) in received.headers {
            let (slot, part) = match *name {
                "authorization" => (&mut found.authorization, "Authorization"),
                "x-amz-date" => (&mut found.amz_date, "X-Amz-Date"),
                "date" => (&mut found.date, "Date"),
                "x-amz-security-token" => (&mut found.security_token, "X-Amz-Security-Token"),
                "x-amz-content-sha256" => (&mut found.content_sha256, "X-Amz-Content-Sha256"),
                _ => continue,
            };
            if slot.replace(*value).is_some() {
                return Err(SignatureError::Malformed { part, reason: "it is given twice" });
            }
        }
        Ok(found)
    }
}

impl<'a> Parameters<'a> {
    fn of(query: &'a str) -> Result<Self, SignatureError> {
        let mut parameters = Self::default();
        // Whoever encodes the names of the signature's own parameters is no SDK; what they send is
        // a query like any other.
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let (slot, part) = match name {
                "X-Amz-Algorithm" => (&mut parameters.algorithm, "X-Amz-Algorithm"),
                "X-Amz-Credential" => (&mut parameters.credential, "X-Amz-Credential"),
                "X-Amz-Date" => (&mut parameters.date, "X-Amz-Date"),
                "X-Amz-Expires" => (&mut parameters.expires, "X-Amz-Expires"),
                "X-Amz-SignedHeaders" => (&mut parameters.signed_headers, "X-Amz-SignedHeaders"),
                "X-Amz-Signature" => (&mut parameters.signature, "X-Amz-Signature"),
                "X-Amz-Security-Token" => (&mut parameters.security_token, "X-Amz-Security-Token"),
                "X-Amz-Content-Sha256" => (&mut parameters.content_sha256, "X-Amz-Content-Sha256"),
                _ => continue,
            };
            let malformed = |reason| SignatureError::Malformed { part, reason };
            if value.len() > 3 * SECURITY_TOKEN_BYTES_MAX {
                return Err(malformed("it is too long"));
            }
            let value = match value.contains(['%', '+']) {
                false => Cow::Borrowed(value),
                true => {
                    let space =
                        |(byte, encoded): (u8, bool)| if byte == b'+' && !encoded { b' ' } else { byte };
                    let bytes = decoded(value.as_bytes()).map(space).collect();
                    Cow::Owned(String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?)
                }
            };
            if slot.replace(value).is_some() {
                return Err(malformed("it is given twice"));
            }
        }
        Ok(parameters)
    }
}

fn session_token(value: &[u8]) -> Result<String, SignatureError> {
    match std::str::from_utf8(value) {
        Ok(token) if (1..=SECURITY_TOKEN_BYTES_MAX).contains(&token.len()) => Ok(token.to_owned()),
        _ => Err(SignatureError::Malformed {
            part: "X-Amz-Security-Token",
            reason: "it must be 1 to 16,384 bytes of text",
        }),
    }
}
