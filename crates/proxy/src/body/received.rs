//! A body as it comes from a peer, whatever speaks HTTP with it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use crate::pool::OpenStream;

/// A message's body on its way in.
#[derive(Debug)]
pub(crate) enum Received {
    /// Of a connection that hyper runs.
    Hyper(Incoming),
    /// Of a connection between proxies.
    Mesh(bowline_http2::Body),
    /// Of an application, or of a server outside the mesh.
    Http1(bowline_http1::Body<OpenStream>),
}

impl From<bowline_http2::Body> for Received {
    fn from(body: bowline_http2::Body) -> Self {
        Self::Mesh(body)
    }
}

impl From<bowline_http1::Body<OpenStream>> for Received {
    fn from(body: bowline_http1::Body<OpenStream>) -> Self {
        Self::Http1(body)
    }
}

impl From<Incoming> for Received {
    fn from(body: Incoming) -> Self {
        Self::Hyper(body)
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Hyper(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Self::Mesh(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Mesh(body) => body.is_end_stream(),
            Self::Http1(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Mesh(body) => body.size_hint(),
            Self::Http1(body) => body.size_hint(),
        }
    }
}
