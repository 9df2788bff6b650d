//! The head of a request that leaves the mesh: the server's own name in it, and nothing of the
//! mesh's.

use std::net::IpAddr;

use http::{HeaderValue, Request, Uri, header, uri};
use rustls_pki_types::ServerName;

use crate::{
    config::{
        Endpoint,
        external::{ExternalSecurity, ExternalUpstream},
    },
    exchange::REQUEST_ID,
    headers::CLIENT_CERT,
};

/// Makes a head for another proxy one for this server.
///
/// The client called the name that the server has in the mesh. The server knows itself as what its
/// certificate is checked for (RFC 9110 §7.4 lets it refuse others, and shared hosts do), or, without
/// TLS, as the host name that it was registered with. One that was registered by its address alone
/// gets the client's. A request id that is this proxy's own stays in the mesh.
pub(crate) fn adapt<B>(
    request: &mut Request<B>,
    external: &ExternalUpstream,
    endpoint: &Endpoint,
    h1: bool,
    own_request_id: bool,
) {
    if own_request_id {
        request.headers_mut().remove(&REQUEST_ID);
    }
    request.headers_mut().remove(&CLIENT_CERT);
    let (name, https) = match &external.security {
        ExternalSecurity::Tls(tls) => {
            (Some(host_of(endpoint.server_name.as_ref().unwrap_or(&tls.server_name))), true)
        }
        _ => (endpoint.hostname.as_deref().map(str::to_owned), false),
    };
    let authority = name.and_then(|name| authority(&name, endpoint.address.port(), https));
    if h1 {
        if let Some(authority) = authority
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        return;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if https { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
    if authority.is_some() {
        parts.authority = authority;
    }
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

fn host_of(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(address) => match IpAddr::from(*address) {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        },
        name => name.to_str().into_owned(),
    }
}

/// The port stays away where it is the scheme's own.
fn authority(host: &str, port: u16, https: bool) -> Option<uri::Authority> {
    let text = match (port, https) {
        (443, true) | (80, false) => host.to_owned(),
        _ => format!("{host}:{port}"),
    };
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemes_own_port_is_not_said() {
        let said = |host, port, https| authority(host, port, https).map(|found| found.to_string());
        assert_eq!(said("api.example", 443, true).as_deref(), Some("api.example"));
        assert_eq!(said("api.example", 80, true).as_deref(), Some("api.example:80"));
        assert_eq!(said("api.example", 80, false).as_deref(), Some("api.example"));
        let address = ServerName::try_from("2001:db8::1").expect("an address");
        assert_eq!(said(&host_of(&address), 8443, true).as_deref(), Some("[2001:db8::1]:8443"));
    }
}
