//! The content of an answer.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Connection, Error,
    connection::{Writing, poll_read},
    framing::{Framing, Piece},
};

/// The content of an answer. To drop it before its end ends the connection.
pub struct Body<S>(Content<S>);

enum Content<S> {
    /// It came with the head.
    Whole(Bytes),
    Streamed {
        source: Source<S>,
        framing: Framing,
    },
    Ended,
    /// It broke off.
    Failed,
}

/// Where content comes from; without an end it ends the connection.
struct Source<S>(Connection<S>);

impl<S> Drop for Source<S> {
    fn drop(&mut self) {
        let mut state = self.0.0.borrow_mut();
        if state.is_reading {
            state.close();
        }
    }
}

impl<S> Body<S> {
    /// All of an answer's content; its connection has been read to the end.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Content::Ended } else { Content::Whole(bytes) })
    }

    pub(crate) fn streamed(connection: Connection<S>, framing: Framing) -> Self {
        Self(Content::Streamed { source: Source(connection), framing })
    }
}

impl<S> fmt::Debug for Body<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing = match &self.0 {
            Content::Streamed { framing, .. } => Some(framing),
            Content::Whole(_) | Content::Ended | Content::Failed => None,
        };
        f.debug_struct("Body").field("framing", &framing).finish_non_exhaustive()
    }
}

/// The next piece; `None` at the end.
fn poll_piece<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &Connection<S>,
    framing: &mut Framing,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Piece>, Error>> {
    let state = &mut *connection.0.borrow_mut();
    let piece = loop {
        if let Some(piece) = framing.take(&mut state.input)? {
            break Some(piece);
        }
        if framing.is_complete() {
            break None;
        }
        let read = poll_read(state, cx, |input, count| {
            if count == 0 {
                framing.end()?;
            }
            framing.take(input).map_err(Error::from)
        });
        match read {
            Poll::Ready(Ok(Ok(Some(piece)))) => break Some(piece),
            // It is complete, or there was nothing but framing.
            Poll::Ready(Ok(Ok(None))) => {}
            Poll::Ready(Ok(Err(error))) => return Poll::Ready(Err(error)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Io(error))),
            Poll::Pending => {
                if let Writing::Apart(_) = state.writing {
                    state.reader = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
        }
    };
    if framing.is_complete() {
        state.read_to_end();
    }
    Poll::Ready(Ok(piece))
}

impl<S: AsyncRead + AsyncWrite + Unpin> http_body::Body for Body<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let content = &mut self.0;
        let (source, framing) = match content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *content = Content::Ended;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Content::Streamed { source, framing } => (source, framing),
            Content::Ended | Content::Failed => return Poll::Ready(None),
        };
        let Poll::Ready(result) = poll_piece(&source.0, framing, cx) else { return Poll::Pending };
        if result.is_err() {
            *content = Content::Failed;
        } else if framing.is_complete() {
            *content = Content::Ended;
        }
        Poll::Ready(match result {
            Ok(Some(Piece::Data(data))) => Some(Ok(Frame::data(data))),
            Ok(Some(Piece::Trailers(trailers))) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed { framing: Framing::Length(left), .. } => SizeHint::with_exact(*left),
            Content::Streamed { .. } | Content::Failed => SizeHint::new(),
            Content::Ended => SizeHint::with_exact(0),
        }
    }
}
