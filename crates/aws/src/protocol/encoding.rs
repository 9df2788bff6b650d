//! Compressed bodies (`Content-Encoding`, Smithy's `requestCompression`): SDKs send larger bodies of
//! `PutMetricData` so. Signatures are over what was sent, so they are verified before this.

use std::{borrow::Cow, io::Read};

use flate2::read::MultiGzDecoder;

use super::{RECEIVED_BODY_BYTES_MAX, RequestHead, UnreadableRequest};

/// How much of a compressed body is looked through for what names the operation, before anything is known of the
/// sender: `Action` is the first parameter of every SDK's.
const START_BYTES_MAX: usize = 16 * 1024;

/// The body as it was before it was compressed. One of another encoding than gzip is left as it is: AWS knows no
/// other.
///
/// # Errors
/// It is no gzip, or longer than [`RECEIVED_BODY_BYTES_MAX`].
pub fn decoded<'a>(head: &RequestHead<'_>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, UnreadableRequest> {
    if !is_gzip(head) {
        return Ok(Cow::Borrowed(body));
    }
    let mut plain = Vec::new();
    let limit = RECEIVED_BODY_BYTES_MAX as u64 + 1;
    let read = MultiGzDecoder::new(body).take(limit).read_to_end(&mut plain);
    match read {
        Err(_) => Err(UnreadableRequest::Body("the body is no gzip".into())),
        Ok(_) if plain.len() > RECEIVED_BODY_BYTES_MAX => Err(UnreadableRequest::Body(format!(
            "the body is longer than {RECEIVED_BODY_BYTES_MAX} bytes when it is unpacked"
        ))),
        Ok(_) => Ok(Cow::Owned(plain)),
    }
}

/// The start of the body as it was before it was compressed, as far as it can be told.
pub(super) fn start<'a>(head: &RequestHead<'_>, body: &'a [u8]) -> Cow<'a, [u8]> {
    if !is_gzip(head) {
        return Cow::Borrowed(body);
    }
    let mut plain = Vec::new();
    // What there was before a fault is in it.
    let _ = MultiGzDecoder::new(body).take(START_BYTES_MAX as u64).read_to_end(&mut plain);
    Cow::Owned(plain)
}

fn is_gzip(head: &RequestHead<'_>) -> bool {
    head.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-encoding") && value.eq_ignore_ascii_case(b"gzip")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{Protocol, identify};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn head<'a>(headers: &'a [(&'a str, &'a [u8])]) -> RequestHead<'a> {
        RequestHead {
            method: "POST",
            path: "/",
            query: "",
            target: None,
            content_type: None,
            smithy_protocol: None,
            headers,
            signed_for: None,
        }
    }

    const GZIP: &[(&str, &[u8])] = &[("Content-Encoding", b"GZip")];

    #[test]
    fn what_was_compressed_is_read() {
        let form = format!("Action=PutMetricData&Version=2010-08-01&Namespace={}", "n".repeat(100_000));
        let packed = gzip(form.as_bytes());
        assert_eq!(decoded(&head(GZIP), &packed).expect("unpacks"), form.as_bytes());
        let found = identify(&head(GZIP), &packed).expect("is found in the start");
        assert_eq!((found.operation.as_str(), found.protocol), ("PutMetricData", Protocol::Query));
        assert_eq!(decoded(&head(&[]), &packed).expect("is left"), packed);
        assert!(decoded(&head(GZIP), form.as_bytes()).is_err());
    }

    #[test]
    fn a_body_that_grows_beyond_the_bound_is_refused() {
        let fits = gzip(&vec![0; RECEIVED_BODY_BYTES_MAX]);
        assert!(decoded(&head(GZIP), &fits).is_ok());
        let bomb = gzip(&vec![0; RECEIVED_BODY_BYTES_MAX + 1]);
        assert!(bomb.len() < 10_000);
        assert!(decoded(&head(GZIP), &bomb).is_err());
        assert_eq!(start(&head(GZIP), &bomb).len(), START_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decoded(&head(GZIP), &bytes), start(&head(GZIP), &bytes));
        }
    }
}
