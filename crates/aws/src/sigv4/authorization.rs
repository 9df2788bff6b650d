//! The parts of a signature: the `Authorization` header and what it has in common with a
//! presigned URL.

use super::{ALGORITHM, AUTHORIZATION_BYTES_MAX, SIGNED_HEADERS_MAX, Scope, SignatureError, TERMINATOR};

/// Longest access key id (AWS's own are 20 characters).
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
/// Longest region or service name.
const SCOPE_PART_BYTES_MAX: usize = 64;

/// A well-formed `Authorization` header of Signature Version 4. Nothing is verified yet.
///
/// `AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/iam/aws4_request,
/// SignedHeaders=host;x-amz-date, Signature=5d67…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Whose key, and what for.
    pub credential: Credential,
    /// The names of the signed headers: in lower case, in order, each once, separated by `;`.
    pub signed_headers: String,
    /// The signature; compared, not understood.
    pub signature: String,
}

/// What `Credential` says: `AKID/20150830/us-east-1/iam/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The access key id.
    pub access_key_id: String,
    /// What the key was derived for.
    pub scope: Scope,
}

impl Authorization {
    /// Reads the header's value, of at most [`AUTHORIZATION_BYTES_MAX`] bytes.
    pub fn parse(value: &[u8]) -> Result<Self, SignatureError> {
        const PART: &str = "Authorization";
        let malformed = |reason| SignatureError::Malformed { part: PART, reason };
        if value.len() > AUTHORIZATION_BYTES_MAX {
            return Err(malformed("it is longer than 8,192 bytes"));
        }
        let text = std::str::from_utf8(value).map_err(|_| malformed("it is not UTF-8"))?.trim();
        let (algorithm, parameters) = text.split_once(' ').unwrap_or((text, ""));
        check_algorithm(PART, algorithm)?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',').map(str::trim).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or_else(|| malformed("a parameter is not a key=value pair (missing equal-sign)"))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed("its parameters are Credential, SignedHeaders and Signature")),
            };
            if slot.replace(value).is_some() {
                return Err(malformed("a parameter is given twice"));
            }
        }
        let missing = |parameter| SignatureError::Missing { presigned: false, parameter };
        Ok(Self {
            credential: Credential::parse(credential.ok_or_else(|| missing("'Credential'"))?)?,
            signed_headers: parse_signed_headers(signed_headers.ok_or_else(|| missing("'SignedHeaders'"))?)?,
            signature: signature.ok_or_else(|| missing("'Signature'"))?.to_owned(),
        })
    }
}

impl Credential {
    pub(super) fn parse(text: &str) -> Result<Self, SignatureError> {
        let malformed = |reason| SignatureError::Malformed { part: "Credential", reason };
        let shape = || malformed("it must be ACCESS-KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request");
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or_else(shape);
        let (access_key_id, date, region, service, terminator) =
            (next()?, next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(shape());
        }
        if terminator != TERMINATOR {
            return Err(malformed("it must be scoped with a valid terminator: 'aws4_request'"));
        }
        if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed("its date must be YYYYMMDD"));
        }
        let named = |part: &str, max| {
            (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !named(access_key_id, ACCESS_KEY_ID_BYTES_MAX) {
            return Err(malformed("the access key id must be 1 to 128 visible ASCII characters"));
        }
        if !named(region, SCOPE_PART_BYTES_MAX) || !named(service, SCOPE_PART_BYTES_MAX) {
            return Err(malformed("region and service must be 1 to 64 visible ASCII characters"));
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            scope: Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() },
        })
    }
}

/// Checks that a signature is of the one algorithm that is served.
pub(super) fn check_algorithm(part: &'static str, algorithm: &str) -> Result<(), SignatureError> {
    if algorithm == ALGORITHM {
        return Ok(());
    }
    Err(SignatureError::Malformed {
        part,
        reason: "unsupported AWS 'algorithm'; it must be AWS4-HMAC-SHA256",
    })
}

/// Checks a list of signed headers.
pub(super) fn parse_signed_headers(text: &str) -> Result<String, SignatureError> {
    let malformed = |reason| SignatureError::Malformed { part: "SignedHeaders", reason };
    let mut previous = "";
    for (index, name) in text.split(';').enumerate() {
        if index == SIGNED_HEADERS_MAX {
            return Err(malformed("more than 100 headers are named"));
        }
        let is_name = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && byte != b':';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(malformed("it must be names of headers in lower case, separated by semicolons"));
        }
        if name <= previous {
            return Err(malformed("its names must be in order, each once"));
        }
        previous = name;
    }
    if !is_signed(text, "host") {
        return Err(SignatureError::HostNotSigned);
    }
    Ok(text.to_owned())
}

/// Whether `name` is among the names of a list of signed headers.
pub(super) fn is_signed(signed_headers: &str, name: &str) -> bool {
    signed_headers.split(';').any(|signed| signed == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/iam/aws4_request, \
                        SignedHeaders=host;x-amz-date, Signature=5d67";

    #[test]
    fn reads_a_header() {
        let read = Authorization::parse(GOOD.as_bytes()).expect("parses");
        assert_eq!(read.credential.access_key_id, "AKID");
        assert_eq!(
            read.credential.scope,
            Scope { date: "20150830".into(), region: "us-east-1".into(), service: "iam".into() }
        );
        assert_eq!((read.signed_headers.as_str(), read.signature.as_str()), ("host;x-amz-date", "5d67"));
        // Some clients write no space after the comma.
        assert_eq!(Authorization::parse(GOOD.replace(", ", ",").as_bytes()), Ok(read));
    }

    #[test]
    fn refuses_what_is_not_its_form() {
        for (from, to, message) in [
            ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", "unsupported AWS 'algorithm'"),
            ("AWS4-HMAC-SHA256 ", "Bearer ", "unsupported AWS 'algorithm'"),
            (", Signature=5d67", "", "must include 'Signature'"),
            ("SignedHeaders=host;x-amz-date, ", "", "must include 'SignedHeaders'"),
            ("Credential=AKID/20150830/us-east-1/iam/aws4_request, ", "", "must include 'Credential'"),
            ("Credential=", "Credential= ", "visible ASCII"),
            ("AKID/", "/", "visible ASCII"),
            ("us-east-1", "", "visible ASCII"),
            ("Signature=", "Signature", "missing equal-sign"),
            ("Signature=", "Signature=5d67, Signature=", "given twice"),
            ("Signature=", "Other=1, Signature=", "its parameters are"),
            ("aws4_request", "aws5_request", "valid terminator"),
            ("/aws4_request", "", "it must be ACCESS-KEY-ID"),
            ("/aws4_request", "/aws4_request/x", "it must be ACCESS-KEY-ID"),
            ("20150830", "2015083", "YYYYMMDD"),
            ("20150830", "2015083x", "YYYYMMDD"),
            ("host;x-amz-date", "x-amz-date", "'Host' or ':authority'"),
            ("host;x-amz-date", "x-amz-date;host", "in order"),
            ("host;x-amz-date", "host;host", "in order"),
            ("host;x-amz-date", "Host", "in lower case"),
            ("host;x-amz-date", "host;", "in lower case"),
            ("host;x-amz-date", "", "in lower case"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let text = GOOD.replace(from, to);
            let error = Authorization::parse(text.as_bytes()).expect_err(&text);
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
        let many: Vec<String> = (0..SIGNED_HEADERS_MAX).map(|i| format!("a{i:03}")).collect();
        let text = GOOD.replace("host;", &format!("{};host;", many.join(";")));
        assert!(
            Authorization::parse(text.as_bytes()).expect_err("101").to_string().contains("more than 100")
        );
        assert!(Authorization::parse(&[b'A'; 8193]).expect_err("long").to_string().contains("8,192"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Authorization::parse(&bytes);
        }

        #[test]
        fn any_damage_is_read_or_refused(at in 0..GOOD.len(), byte in any::<u8>(), cut in 0..GOOD.len()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Authorization::parse(&bytes);
            let _ = Authorization::parse(&bytes[..cut]);
        }
    }
}
