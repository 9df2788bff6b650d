//! What a proxy tells of a request, checked before it is believed.

use bowline_discovery::introspection as wire;
use bowline_model::{
    clock::Timestamp,
    tap::{TapHeader, TapProtocol, TapSecurity, TapSide, Tapped},
};

/// Longest text of a request, in bytes: a path with its query, or a header.
const TEXT_BYTES_MAX: usize = 8_192;
/// Most headers of a message.
const HEADERS_MAX: usize = 128;

/// `None` where it is not as proxies tell it.
pub(super) fn tapped(told: wire::Tapped) -> Option<Tapped> {
    let side = match told.side() {
        wire::Side::Inbound => TapSide::Inbound,
        wire::Side::Outbound => TapSide::Outbound,
        wire::Side::Public => TapSide::Public,
        wire::Side::Egress => TapSide::Egress,
        wire::Side::Unspecified => return None,
    };
    let protocol = match told.protocol() {
        wire::Protocol::Http1 => TapProtocol::Http1,
        wire::Protocol::Http2 => TapProtocol::Http2,
        wire::Protocol::Grpc => TapProtocol::Grpc,
        wire::Protocol::Tcp => TapProtocol::Tcp,
        wire::Protocol::Unspecified => return None,
    };
    let security = match told.security() {
        wire::Security::Plaintext => TapSecurity::Plaintext,
        wire::Security::Tls => TapSecurity::Tls,
        wire::Security::MutualTls => TapSecurity::MutualTls,
        wire::Security::Unspecified => return None,
    };
    let texts = [
        &told.caller,
        &told.called,
        &told.discovery_name,
        &told.method,
        &told.path,
        &told.authority,
        &told.flags,
        &told.refusal,
    ];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return None;
    }
    let endpoint = match told.endpoint.as_str() {
        "" => None,
        address => Some(address.parse().ok()?),
    };
    Some(Tapped {
        start: Timestamp::from_millis(told.start_us / 1_000),
        duration_us: told.duration_us,
        response_us: told.response_us,
        side,
        protocol,
        security,
        status: u16::try_from(told.status).ok()?,
        grpc_status: told.grpc_status,
        bytes_received: told.bytes_received,
        bytes_sent: told.bytes_sent,
        endpoint,
        request_headers: headers(told.request_headers)?,
        response_headers: headers(told.response_headers)?,
        caller: told.caller,
        called: told.called,
        discovery_name: told.discovery_name,
        method: told.method,
        path: told.path,
        authority: told.authority,
        flags: told.flags,
        refusal: told.refusal,
    })
}

fn headers(told: Vec<wire::Header>) -> Option<Vec<TapHeader>> {
    let fits = |header: &wire::Header| header.name.len().max(header.value.len()) <= TEXT_BYTES_MAX;
    if told.len() > HEADERS_MAX || !told.iter().all(fits) {
        return None;
    }
    let header =
        |told: wire::Header| TapHeader { name: told.name, value: (!told.redacted).then_some(told.value) };
    Some(told.into_iter().map(header).collect())
}
