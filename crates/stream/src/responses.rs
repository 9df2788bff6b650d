//! The stream of responses that a discovery call answers with: gRPC's framing by hand.
//!
//! Tonic keeps a buffer for each call that is as large as the most it had to send at once: of ten thousand proxies nearly
//! 500 MiB. Here nothing is left of a response when it is sent.

use std::task::{Context, Poll, ready};

use bowline_discovery::{codec, xds::DeltaDiscoveryResponse};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::Status;

/// gRPC over HTTP/2, "Content-Type".
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The sender's side of a call. When it is dropped the call has ended well.
#[derive(Clone, Debug)]
pub(crate) struct Sender(mpsc::Sender<Result<Bytes, Status>>);

/// What is sent on a call.
#[derive(Debug)]
pub(crate) struct Responses {
    waiting: mpsc::Receiver<Result<Bytes, Status>>,
    ended: bool,
}

/// The peer has ended the call.
#[derive(Debug)]
pub(crate) struct Gone;

/// A call on which so many responses may wait to be sent.
pub(crate) fn responses(waiting_max: usize) -> (Sender, Responses) {
    let (sender, waiting) = mpsc::channel(waiting_max);
    (Sender(sender), Responses { waiting, ended: false })
}

impl Sender {
    /// Sends one as soon as there is room.
    pub(crate) async fn send(&self, response: &DeltaDiscoveryResponse) -> Result<(), Gone> {
        self.0.send(Ok(codec::framed(response).into())).await.map_err(|_| Gone)
    }

    /// Ends the call with an error, unless so many responses wait that there is no room: a peer that does not read is
    /// not waited for.
    pub(crate) fn fail(&self, status: Status) {
        let _ = self.0.try_send(Err(status));
    }

    /// Returns when the peer has ended the call.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Responses {
    /// With the head that goes before them.
    pub(crate) fn into_http(self) -> http::Response<Self> {
        let mut response = http::Response::new(self);
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }

    /// The next one's frame; trailers with a status are the last.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match ready!(self.waiting.poll_recv(context)) {
            Some(Ok(response)) => return Poll::Ready(Some(Frame::data(response))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // What is no header's value is left out, and the call ends with the error that says so.
        if let Err(unfit) = status.add_header(&mut trailers) {
            let _ = unfit.add_header(&mut trailers);
        }
        Poll::Ready(Some(Frame::trailers(trailers)))
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.ended
    }
}
