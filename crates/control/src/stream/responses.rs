//! The stream of responses that a discovery call answers with: gRPC's framing by hand.
//!
//! Tonic keeps a buffer for each call that is as large as the most it had to send at once: of ten thousand proxies nearly
//! 500 MiB. Here nothing is left of a response when it is sent.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_discovery::{codec, xds::DeltaDiscoveryResponse};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tonic::Status;

/// gRPC over HTTP/2, "Content-Type".
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The sender's side of a call. When it is dropped the call has ended well.
#[derive(Clone, Debug)]
pub(super) struct Sender(mpsc::Sender<Result<Bytes, Status>>);

/// What is sent on a call.
#[derive(Debug)]
pub(super) struct Responses {
    waiting: mpsc::Receiver<Result<Bytes, Status>>,
    ended: bool,
}

/// The peer has ended the call.
#[derive(Debug)]
pub(super) struct Gone;

/// A call on which so many responses may wait to be sent.
pub(super) fn responses(waiting_max: usize) -> (Sender, Responses) {
    let (sender, waiting) = mpsc::channel(waiting_max);
    (Sender(sender), Responses { waiting, ended: false })
}

impl Sender {
    /// Sends one as soon as there is room.
    pub(super) async fn send(&self, response: &DeltaDiscoveryResponse) -> Result<(), Gone> {
        self.0.send(Ok(codec::framed(response).into())).await.map_err(|_| Gone)
    }

    /// Ends the call with an error, unless so many responses wait that there is no room: a peer that does not read is
    /// not waited for.
    pub(super) fn fail(&self, status: Status) {
        let _ = self.0.try_send(Err(status));
    }

    /// Returns when the peer has ended the call.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Responses {
    /// With the head that goes before them.
    pub(super) fn into_http(self) -> http::Response<tonic::body::Body> {
        let mut response = http::Response::new(tonic::body::Body::new(self));
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }
}

impl Body for Responses {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match ready!(self.waiting.poll_recv(context)) {
            Some(Ok(response)) => return Poll::Ready(Some(Ok(Frame::data(response)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // What is no header's value is left out, and the call ends with the error that says so.
        if let Err(unfit) = status.add_header(&mut trailers) {
            let _ = unfit.add_header(&mut trailers);
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
