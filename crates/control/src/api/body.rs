//! What the endpoint answers with: bytes that are there, or such as come while they are sent.

use std::convert::Infallible;

use bytes::Bytes;
use futures::Stream;
use http::Response;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Marks an answer, among its extensions, whose body comes for as long as it is read: until it ends the request is
/// under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting;

/// An answer whose body is there.
pub(crate) fn whole(response: Response<Full<Bytes>>) -> Response<Body> {
    response.map(BodyExt::boxed_unsync)
}

/// A body that comes piece by piece.
pub(crate) fn lasting(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures::StreamExt;
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}
