//! Why a request is not authentic, in AWS's words.

use std::time::Duration;

use thiserror::Error;

use super::AmzDate;

/// Why the signature of a request is refused. The texts are AWS's, and name nothing of the secret,
/// of the signature that was expected or of the canonical request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Neither an `Authorization` header nor the parameters of a presigned URL.
    #[error("Request is missing Authentication Token")]
    MissingAuthenticationToken,

    /// Something that a signature consists of is absent.
    #[error("{} must include {parameter}.", if *presigned { "AWS query-string parameters" } else { "Authorization header" })]
    Missing {
        /// Whether it was looked for in the query.
        presigned: bool,
        /// What is absent, quoted: `'Credential'`.
        parameter: &'static str,
    },

    /// Something is present and not of its form.
    #[error("{part} is not valid: {reason}.")]
    Malformed {
        /// Which part of the request: `Authorization`, `X-Amz-Expires`, ….
        part: &'static str,
        /// What is wrong with it, and what is allowed.
        reason: &'static str,
    },

    /// `host` is not among the signed headers.
    #[error("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")]
    HostNotSigned,

    /// A header whose name begins with `x-amz-` is not among the signed headers.
    #[error("There were headers present in the request which were not signed: {name}.")]
    HeaderNotSigned {
        /// The header's name.
        name: String,
    },

    /// A header is said to be signed and the request does not have it.
    #[error("The signed header {name} is not part of the request.")]
    SignedHeaderAbsent {
        /// The header's name.
        name: String,
    },

    /// The day of the credential scope is not that of the request.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
         '{scope}' != '{}', from '{signed_at}'.",
        signed_at.day()
    )]
    ScopeDate {
        /// The day of the scope, as it was sent.
        scope: String,
        /// The time of the request.
        signed_at: AmzDate,
    },

    /// The credential scope names another service than the one that was called.
    #[error("Credential should be scoped to correct service: '{service}'.")]
    ScopeService {
        /// The service that was called, as its signing name.
        service: String,
    },

    /// The signature is older than the clocks may differ.
    #[error(
        "Signature expired: {signed_at} is now earlier than {} ({now} - {}.)",
        AmzDate::from_secs(now.as_secs().saturating_sub(skew.as_secs())),
        duration_text(*skew)
    )]
    SignatureExpired {
        /// The time of the request.
        signed_at: AmzDate,
        /// The verifier's time.
        now: AmzDate,
        /// How far the clocks may differ.
        skew: Duration,
    },

    /// The signature is of a time further ahead than the clocks may differ.
    #[error(
        "Signature not yet current: {signed_at} is still later than {} ({now} + {}.)",
        AmzDate::from_secs(now.as_secs().saturating_add(skew.as_secs())),
        duration_text(*skew)
    )]
    SignatureNotYetCurrent {
        /// The time of the request.
        signed_at: AmzDate,
        /// The verifier's time.
        now: AmzDate,
        /// How far the clocks may differ.
        skew: Duration,
    },

    /// A presigned URL is used after its time.
    #[error("Request has expired. It was signed at {signed_at} for {} seconds.", expires.as_secs())]
    RequestExpired {
        /// The time of signing.
        signed_at: AmzDate,
        /// For how long the URL was to be valid.
        expires: Duration,
    },

    /// The body is not the one whose hash `x-amz-content-sha256` declares.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    PayloadMismatch,

    /// The signature is not that of the request under the key.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS \
         Secret Access Key and signing method. Consult the service documentation for details."
    )]
    SignatureMismatch,

    /// Nobody has the access key id, or the session token does not belong to it. Raised by whoever
    /// looks the key up.
    #[error("The security token included in the request is invalid.")]
    InvalidClientToken,

    /// The temporary credentials are over. Raised by whoever looks the key up.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
}

/// The families of AWS protocols, which name one failure differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorFamily {
    /// `awsJson1_0` and `awsJson1_1`: ECS, Cloud Map, ACM, CloudWatch.
    AwsJson,
    /// `restJson1`: the HTTP method and path name the operation.
    RestJson,
    /// `awsQuery` and `restXml`: CloudFormation, ELBv2, IAM, STS.
    Query,
}

impl SignatureError {
    /// AWS's error code and HTTP status. Source: "Common error types" of the IAM API reference
    /// for [`ErrorFamily::Query`]; the JSON protocols append `Exception`, and `awsJson` answers
    /// 400 to what the others answer 403.
    pub fn code(&self, family: ErrorFamily) -> (&'static str, u16) {
        let (query, query_status, json, json_status) = match self {
            Self::MissingAuthenticationToken => {
                ("MissingAuthenticationToken", 403, "MissingAuthenticationTokenException", 403)
            }
            Self::Missing { .. } | Self::Malformed { .. } | Self::HostNotSigned => {
                ("IncompleteSignature", 400, "IncompleteSignatureException", 403)
            }
            Self::HeaderNotSigned { .. }
            | Self::SignedHeaderAbsent { .. }
            | Self::ScopeDate { .. }
            | Self::ScopeService { .. }
            | Self::SignatureExpired { .. }
            | Self::SignatureNotYetCurrent { .. }
            | Self::PayloadMismatch
            | Self::SignatureMismatch => ("SignatureDoesNotMatch", 403, "InvalidSignatureException", 403),
            Self::InvalidClientToken => ("InvalidClientTokenId", 403, "UnrecognizedClientException", 403),
            Self::ExpiredToken => ("ExpiredToken", 403, "ExpiredTokenException", 403),
            Self::RequestExpired { .. } => ("RequestExpired", 400, "RequestExpired", 400),
        };
        match family {
            ErrorFamily::Query => (query, query_status),
            ErrorFamily::RestJson => (json, json_status),
            ErrorFamily::AwsJson => (json, 400),
        }
    }
}

fn duration_text(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} sec"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_as_aws_does() {
        let at = |text: &str| AmzDate::parse_iso(text.as_bytes()).expect("a date");
        let late = SignatureError::SignatureExpired {
            signed_at: at("20170111T204052Z"),
            now: at("20170111T230949Z"),
            skew: Duration::from_secs(900),
        };
        assert_eq!(
            late.to_string(),
            "Signature expired: 20170111T204052Z is now earlier than 20170111T225449Z (20170111T230949Z - 15 min.)"
        );
        assert_eq!(late.code(ErrorFamily::AwsJson), ("InvalidSignatureException", 400));
        assert_eq!(late.code(ErrorFamily::Query), ("SignatureDoesNotMatch", 403));
        let early = SignatureError::SignatureNotYetCurrent {
            signed_at: at("20230804T000000Z"),
            now: at("20230803T171733Z"),
            skew: Duration::from_secs(300),
        };
        assert_eq!(
            early.to_string(),
            "Signature not yet current: 20230804T000000Z is still later than 20230803T172233Z (20230803T171733Z + 5 min.)"
        );
        let absent = SignatureError::Missing { presigned: false, parameter: "'Credential'" };
        assert_eq!(absent.to_string(), "Authorization header must include 'Credential'.");
        assert_eq!(absent.code(ErrorFamily::Query), ("IncompleteSignature", 400));
        let scope = SignatureError::ScopeDate { scope: "20110909".into(), signed_at: at("20110908T233600Z") };
        assert_eq!(
            scope.to_string(),
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '20110909' != '20110908', from '20110908T233600Z'."
        );
        assert_eq!(
            SignatureError::InvalidClientToken.code(ErrorFamily::AwsJson),
            ("UnrecognizedClientException", 400)
        );
        assert_eq!(SignatureError::ExpiredToken.code(ErrorFamily::Query), ("ExpiredToken", 403));
    }
}
