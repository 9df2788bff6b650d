//! What is read and written, without a connection: for tests and fuzzing.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;

use crate::{
    Error, Fault,
    framing::Piece,
    request::{Coding, write_head},
    response::{Parsed, parse},
};

/// How a request's body is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// Nothing of it is.
    Nothing,
    /// With a `content-length`.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// A request's head as it is written, and how its body is to follow.
pub fn encode<B: Body>(request: &Request<()>, body: &B) -> Result<(Vec<u8>, Framed), Error> {
    let mut out = Vec::new();
    let framed = match write_head(request, body, &mut out)?.coding {
        None => Framed::Nothing,
        Some(Coding::Length(length)) => Framed::Length(length),
        Some(Coding::Chunked(_)) => Framed::Chunked,
    };
    Ok((out, framed))
}

/// An answer, its body and trailers read.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub response: Response<()>,
    /// All of its body.
    pub body: Vec<u8>,
    /// Its trailers, if there are any.
    pub trailers: Option<HeaderMap>,
    /// Whether another request could follow on its connection.
    pub is_kept: bool,
}

/// Reads an answer to a request of that method from pieces of a stream that ends behind them.
pub fn decode<'a>(method: &Method, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Answer, Error> {
    let (mut pieces, mut input) = (pieces.into_iter(), BytesMut::new());
    let mut head = loop {
        match parse(&input, method, &mut HeaderMap::new())? {
            Parsed::Head(head) => break head,
            Parsed::Informational(len) => drop(input.split_to(len)),
            Parsed::Partial => input.extend_from_slice(pieces.next().ok_or(Error::Incomplete)?),
        }
    };
    drop(input.split_to(head.len));
    let (mut body, mut trailers) = (Vec::new(), None);
    loop {
        match head.framing.take(&mut input)? {
            Some(Piece::Data(data)) => body.extend_from_slice(&data),
            Some(Piece::Trailers(map)) => trailers = Some(map),
            None if head.framing.is_complete() => break,
            None => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => head.framing.end()?,
            },
        }
    }
    let is_kept = head.is_kept && input.is_empty() && pieces.all(<[u8]>::is_empty);
    if let Some(whole) = head.whole {
        assert_eq!(whole, Bytes::copy_from_slice(&body), "what came with the head is what is read behind it");
    }
    Ok(Answer { response: head.response, body, trailers, is_kept })
}

/// What is wrong with an answer, as far as it was read.
pub fn fault(error: &Error) -> Option<Fault> {
    match error {
        Error::Malformed(fault) => Some(*fault),
        _ => None,
    }
}
