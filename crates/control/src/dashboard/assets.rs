//! The pages: files in the binary. Nothing is fetched from anywhere else, and nothing is built.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;

use crate::api::body::{self, Body};

/// A file.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        /// All of them; the page itself has no name.
        const ASSETS: &[Asset] = &[$(Asset {
            name: $name,
            content_type: content_type($name),
            text: include_str!(concat!("assets/", $name)),
        }),*];
    };
}

assets! {
    "index.html", "style.css", "icon.svg",
    "main.js", "dom.js", "store.js", "format.js", "shell.js",
    "graph.js", "layout.js", "graph-page.js", "service-page.js", "plot.js", "lists.js", "session.js",
}

const fn content_type(name: &str) -> &'static str {
    let bytes = name.as_bytes();
    match bytes[bytes.len() - 1] {
        b'l' => "text/html; charset=utf-8",
        b'g' => "image/svg+xml",
        _ if bytes[bytes.len() - 2] == b'j' => "text/javascript; charset=utf-8",
        _ => "text/css; charset=utf-8",
    }
}

/// One tag for all: they belong together, as one binary has them.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut context = digest::Context::new(&digest::SHA256);
    ASSETS.iter().for_each(|asset| context.update(asset.text.as_bytes()));
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..12]))
});

/// The file of this name, or that the client has it already; `None`: there is no such file.
pub(super) fn answer(name: &str, parts: &Parts) -> Option<Response<Body>> {
    let name = if name.is_empty() { "index.html" } else { name };
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let known = parts.headers.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == TAG.as_bytes());
    let bare = is_known || parts.method == Method::HEAD;
    let bytes = if bare { Bytes::new() } else { Bytes::from_static(asset.text.as_bytes()) };
    let mut response = body::whole(Response::new(Full::new(bytes)));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.extend(HeaderValue::try_from(TAG.as_str()).ok().map(|tag| (header::ETAG, tag)));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_small_and_need_nothing_else() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.text.len()).sum();
        assert!(bytes < 150 * 1024, "{bytes} bytes");
        for asset in ASSETS {
            // Names of namespaces are no addresses that anything is fetched from.
            let text = asset.text.replace("http://www.w3.org/", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.name);
            for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!text.contains(sink), "{} uses {sink}", asset.name);
            }
            if asset.name == "index.html" {
                assert!(!text.contains("style=") && !text.contains(" on"), "the policy forbids it");
            }
        }
    }

    #[test]
    fn a_file_is_told_what_it_is() {
        let types: Vec<_> = ASSETS[..4].iter().map(|asset| asset.content_type).collect();
        assert_eq!(
            types,
            [
                "text/html; charset=utf-8",
                "text/css; charset=utf-8",
                "image/svg+xml",
                "text/javascript; charset=utf-8"
            ]
        );
    }
}
