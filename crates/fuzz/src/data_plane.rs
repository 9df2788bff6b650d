//! What reaches a proxy: from its task, from other proxies, from the control plane.

use bowline_discovery::resource::{Resource, ResourceType};
use bowline_proxy::fuzzing;

use crate::request::HttpRequest;

/// A datagram at the task's DNS server; the same as a resolver's answer to it.
pub fn dns(input: &[u8]) {
    fuzzing::dns_question(input);
    fuzzing::dns_answer(input);
}

/// A certificate in DER, as a peer presents it.
pub fn peer_certificate(input: &[u8]) {
    fuzzing::peer_certificate(input);
}

/// Resources of the stream, each a byte for its type, two for its length and its bytes.
pub fn proxy_config(input: &[u8]) {
    let mut resources = Vec::new();
    let mut rest = input;
    while let [kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (bytes, following) = after.split_at(length);
        rest = following;
        let kind = ResourceType::ALL[usize::from(*kind) % ResourceType::ALL.len()];
        if let Ok(resource) = Resource::decode(kind, bytes) {
            resources.push(resource);
        }
    }
    fuzzing::resources(resources);
}

/// A file of `bowline proxy --config`.
pub fn proxy_file(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        fuzzing::config_file(text);
    }
}

/// A request in HTTP's notation, on its way through a sidecar.
pub fn proxy_request(input: &[u8]) {
    let Some(request) = HttpRequest::parse(input) else { return };
    let target = match request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    };
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), *value));
    fuzzing::request(request.method, &target, headers);
}

/// What a client writes on an HTTP/1.1 connection; the first byte says how it is cut.
pub fn http_framing(input: &[u8]) {
    if let [size, bytes @ ..] = input {
        fuzzing::http_framing(bytes, usize::from(*size));
    }
}
