//! Why a request got no response, as far as the next try depends on it.

use std::error::Error as StdError;

use http::Request;
use hyper::client::conn::TrySendError;
use thiserror::Error;

use crate::body::RequestBody;

/// How far a request got that was not answered.
#[derive(Debug, Error)]
pub(crate) enum SendError {
    /// It never left, and is here: the connection was closing.
    #[error("the connection was closing")]
    NeverSent(Box<Request<RequestBody>>),
    /// The request's own body broke off.
    #[error("the request's body broke off")]
    Body,
    /// The server says that it has not begun with it, or it never got that far.
    #[error("the server has not begun with it")]
    NotBegun,
    /// The server reset its stream, for another reason than that it has not begun.
    #[error("the server reset the stream: {0}")]
    Reset(h2::Reason),
    /// The connection or the stream broke; the server may have begun.
    #[error("the connection broke")]
    Broken,
}

impl From<TrySendError<Request<RequestBody>>> for SendError {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(request) => Self::NeverSent(Box::new(request)),
            None => Self::from(&error.into_error()),
        }
    }
}

/// What a connection of HTTP/1.1 says of how far a request got.
impl From<bowline_http1::TrySendError<Request<RequestBody>>> for SendError {
    fn from(mut error: bowline_http1::TrySendError<Request<RequestBody>>) -> Self {
        let request = error.take_message();
        match (error.into_error(), request) {
            (bowline_http1::Error::Body(_), _) => Self::Body,
            (_, Some(request)) => Self::NeverSent(Box::new(request)),
            (_, None) => Self::Broken,
        }
    }
}

/// What the connection between proxies says of how far a request got.
impl From<bowline_http2::TrySendError<Request<RequestBody>>> for SendError {
    fn from(mut error: bowline_http2::TrySendError<Request<RequestBody>>) -> Self {
        use bowline_http2::Error;

        if let Some(request) = error.take_message() {
            return Self::NeverSent(Box::new(request));
        }
        match error.into_error() {
            Error::Body(_) => Self::Body,
            error if error.is_unprocessed() => Self::NotBegun,
            Error::Reset(reason) => Self::Reset(h2::Reason::from(reason.code())),
            _ => Self::Broken,
        }
    }
}

/// What hyper's error says of how far a request got that was sent.
impl From<&hyper::Error> for SendError {
    fn from(error: &hyper::Error) -> Self {
        if error.is_user() || error.is_body_write_aborted() {
            return Self::Body;
        }
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(this) = cause {
            if let Some(h2) = this.downcast_ref::<h2::Error>() {
                return Self::of_stream(h2);
            }
            cause = this.source();
        }
        if error.is_canceled() { Self::NotBegun } else { Self::Broken }
    }
}

impl SendError {
    fn of_stream(error: &h2::Error) -> Self {
        match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Self::NotBegun,
            Some(h2::Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => Self::NotBegun,
            Some(reason) if error.is_remote() => Self::Reset(reason),
            _ => Self::Broken,
        }
    }
}
