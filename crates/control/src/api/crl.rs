//! `GET /_bowline/crl/AUTHORITY.crl` (DER) and `.pem`: the CRLs, for anybody.
//!
//! A CRL is public by nature (RFC 5280 §5), and whoever is to check it may have no credentials: it
//! is signed, so where it comes from does not matter.

use std::sync::Arc;

use bowline_plumbing::wall_clock;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};

use crate::{control_plane::authority_named, core::Core, registry::CrlRecord};

/// Where they are.
pub(crate) const PATH: &str = "/_bowline/crl/";

/// Longest that a client or a proxy between may keep one. Seconds: a revocation is to be seen soon.
const MAX_AGE: u64 = 60;

/// Answers a request for a path under [`PATH`].
pub(super) async fn answer(core: &Arc<Core>, parts: &Parts) -> Response<Full<Bytes>> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let file = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    let named = match file.rsplit_once('.') {
        Some((name, form @ ("crl" | "pem"))) => {
            authority_named(&core.registry(), name).map(|authority| (authority, form))
        }
        _ => None,
    };
    let Some((authority, form)) = named else { return plain(StatusCode::NOT_FOUND) };
    let of_core = Arc::clone(core);
    // A new one is written to the store first.
    let made = tokio::task::spawn_blocking(move || of_core.crl(&authority)).await;
    match made {
        Ok(Ok(crl)) => found(parts, &crl, form),
        Ok(Err(error)) => {
            tracing::error!(%error, file, "a CRL could not be made");
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Err(error) => {
            tracing::error!(%error, file, "a CRL could not be made");
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn found(parts: &Parts, crl: &CrlRecord, form: &str) -> Response<Full<Bytes>> {
    let etag = format!("\"{}\"", crl.number);
    let known =
        parts.headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let (content_type, body) = match form {
        "pem" => ("application/x-pem-file", Bytes::from(crl.pem.clone())),
        // RFC 2585 §4.2.
        _ => match CertificateRevocationListDer::from_pem_slice(crl.pem.as_bytes()) {
            Ok(der) => ("application/pkix-crl", Bytes::copy_from_slice(&der)),
            Err(error) => {
                tracing::error!(%error, authority = %crl.authority, "a stored CRL cannot be read");
                return plain(StatusCode::INTERNAL_SERVER_ERROR);
            }
        },
    };
    let left = crl.next_update.since(wall_clock::now()).as_secs().min(MAX_AGE);
    let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let bare = known || parts.method == Method::HEAD;
    let mut builder = Response::builder()
        .status(status)
        .header(header::ETAG, etag)
        .header(header::CACHE_CONTROL, format!("public, max-age={left}"))
        .header(header::CONTENT_TYPE, content_type);
    if parts.method == Method::HEAD {
        builder = builder.header(header::CONTENT_LENGTH, body.len());
    }
    builder
        .body(Full::new(if bare { Bytes::new() } else { body }))
        .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
