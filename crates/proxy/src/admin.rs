//! The admin interface: `/metrics`, `/ready`, `/config_dump`. It only reads.

use std::{convert::Infallible, io, os::unix::fs::PermissionsExt, time::Duration};

use bowline_plumbing::exposition::Format;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use crate::{
    options::{AdminAddress, ProxyError},
    run::Control,
};

/// Most admin connections at once; more wait.
const CONNECTIONS_MAX: usize = 64;

/// A bound admin socket.
#[derive(Debug)]
pub(crate) enum AdminSocket {
    Off,
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds the admin socket. Must be called within a runtime.
pub(crate) fn bind(address: Option<&AdminAddress>) -> Result<AdminSocket, ProxyError> {
    let failed = |source: io::Error| ProxyError::Open { what: "the admin socket", source };
    match address {
        None => Ok(AdminSocket::Off),
        Some(AdminAddress::Tcp(address)) => {
            let socket = std::net::TcpListener::bind(address).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            TcpListener::from_std(socket).map(AdminSocket::Tcp).map_err(failed)
        }
        Some(AdminAddress::Unix(path)) => {
            // Left by a proxy that was killed.
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(failed(error));
            }
            let socket = UnixListener::bind(path).map_err(failed)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
            Ok(AdminSocket::Unix(socket))
        }
    }
}

/// Serves until it is aborted.
pub(crate) async fn serve(socket: AdminSocket, control: Control) {
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = std::sync::Arc::clone(&slots).acquire_owned().await else { return };
        let (control, pause) = (control.clone(), Duration::from_millis(50));
        match &socket {
            AdminSocket::Off => return std::future::pending().await,
            AdminSocket::Tcp(socket) => match socket.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve_one(stream, control, slot))),
                Err(_) => tokio::time::sleep(pause).await,
            },
            AdminSocket::Unix(socket) => match socket.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve_one(stream, control, slot))),
                Err(_) => tokio::time::sleep(pause).await,
            },
        }
    }
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    control: Control,
    _slot: tokio::sync::OwnedSemaphorePermit,
) {
    let service = service_fn(move |request| {
        let response = answer(&control, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "an admin connection ended");
    }
}

fn answer(control: &Control, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, content_type, body): (_, _, Bytes) = match request.uri().path() {
        "/metrics" => {
            let metrics = std::sync::Arc::clone(&control.lock().shared.metrics);
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::accepted(accept);
            (StatusCode::OK, format.content_type(), metrics.render_as(format).into())
        }
        "/ready" => {
            let data_plane = control.lock();
            let waiting = data_plane.store.identity(crate::config::store::MESH_IDENTITY).is_none();
            match waiting {
                true => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "no certificate yet\n".into()),
                false => (StatusCode::OK, "text/plain", "LIVE\n".into()),
            }
        }
        "/config_dump" => {
            let data_plane = control.lock();
            let resources: Vec<_> = data_plane
                .store
                .all()
                .map(|held| json!({"version": held.version, "resource": held.resource}))
                .collect();
            let listeners: Vec<_> = data_plane
                .addresses()
                .into_iter()
                .map(|(name, address)| json!({"name": name, "address": address}))
                .collect();
            let generation = data_plane.shared.snapshot.load().generation;
            let dump = json!({"generation": generation, "listeners": listeners, "resources": resources});
            (StatusCode::OK, "application/json", dump.to_string().into())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "/metrics, /ready, /config_dump\n".into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
