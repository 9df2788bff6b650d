//! One call of the delta discovery service: gRPC's framing by hand over `bowline-http2`, so that ten thousand of them
//! leave the processor to what is measured.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, bail};
use bowline_discovery::{
    codec,
    xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use bowline_http2::{Body, Config, KeepAlive, client};
use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body::{Body as _, Frame};
use tokio::{net::TcpStream, sync::mpsc, task::spawn_local};
use tokio_rustls::client::TlsStream;

use crate::proxy::{KEEP_ALIVE, MESSAGE_BYTES_MAX};

const PATH: &str =
    "http://control-plane/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A call that was begun with.
pub(crate) struct Call {
    requests: mpsc::Sender<Bytes>,
    responses: Body,
    /// The beginning of a response.
    begun: BytesMut,
    /// The connection ends with it.
    _connection: client::SendRequest<Requests>,
}

/// What is sent on a call.
pub(crate) struct Requests(mpsc::Receiver<Bytes>);

impl Call {
    /// Opens one on a connection of its own, with its first requests.
    pub(crate) async fn open(
        stream: TlsStream<TcpStream>,
        first: Vec<DeltaDiscoveryRequest>,
    ) -> anyhow::Result<Self> {
        let keep_alive = KeepAlive { interval: KEEP_ALIVE, timeout: KEEP_ALIVE, while_idle: true };
        let config = Config { keep_alive: Some(keep_alive), ..Config::default() };
        let (connection, driver) = client::handshake(stream, config);
        // How it ends shows in the call.
        spawn_local(async { drop(driver.await) });
        // The first, and one at most for each answer to one.
        let (requests, waiting) = mpsc::channel(2 * first.len());
        for request in &first {
            requests.try_send(codec::framed(request).into())?;
        }
        let head = Request::post(PATH).header("content-type", "application/grpc").header("te", "trailers");
        let answer = connection
            .try_send_request(head.body(Requests(waiting))?)
            .await
            .map_err(|refused| refused.into_error())
            .context("the call cannot be opened")?;
        if answer.headers().contains_key("grpc-status") {
            bail!("the call is refused: {}", status_of(answer.headers()));
        }
        Ok(Self { requests, responses: answer.into_body(), begun: BytesMut::new(), _connection: connection })
    }

    /// Sends a request.
    pub(crate) fn send(&self, request: &DeltaDiscoveryRequest) -> anyhow::Result<()> {
        self.requests.try_send(codec::framed(request).into()).context("the server reads no more")
    }

    /// The next response. It may be dropped and asked again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<DeltaDiscoveryResponse> {
        loop {
            if let Some((response, length)) = codec::unframed(&self.begun, MESSAGE_BYTES_MAX)? {
                self.begun.advance(length);
                if self.begun.is_empty() {
                    self.begun = BytesMut::new();
                }
                return Ok(response);
            }
            let frame = poll_fn(|context| Pin::new(&mut self.responses).poll_frame(context)).await;
            match frame.context("the server has closed the stream")??.into_data() {
                Ok(data) if self.begun.is_empty() => self.begun = data.into(),
                Ok(data) => self.begun.extend_from_slice(&data),
                Err(frame) => {
                    bail!(
                        "the call has ended: {}",
                        status_of(frame.trailers_ref().unwrap_or(&HeaderMap::new()))
                    )
                }
            }
        }
    }
}

impl http_body::Body for Requests {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// gRPC's status, for people.
fn status_of(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    format!(
        "status {}, {}",
        text("grpc-status").unwrap_or_else(|| "unknown".into()),
        text("grpc-message").unwrap_or_default()
    )
}
