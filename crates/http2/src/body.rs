//! The content of a message that is received.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{
    Error,
    shared::{Piece, Shared},
};

/// The content of a message that is received. Reading it lets the peer send more; dropping it before its
/// end tells the peer to stop.
pub struct Body {
    /// Nothing if there is no content.
    source: Option<Source>,
    /// What `content-length` says is left.
    left: Option<u64>,
}

struct Source {
    shared: Rc<RefCell<Shared>>,
    slot: usize,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.borrow_mut().drop_reader(self.slot);
    }
}

impl Body {
    /// No content.
    pub fn empty() -> Self {
        Self { source: None, left: Some(0) }
    }

    /// Of an exchange that has a reader, which this becomes.
    pub(crate) fn new(shared: Rc<RefCell<Shared>>, slot: usize, length: Option<u64>) -> Self {
        Self { source: Some(Source { shared, slot }), left: length }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("left", &self.left).finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(source) = &this.source else { return Poll::Ready(None) };
        let read = source.shared.borrow_mut().read(source.slot, cx);
        match read {
            None => Poll::Pending,
            Some(Ok(Some(Piece::Data(data)))) => {
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Ok(Some(Piece::Trailers(trailers)))) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Ok(None)) => {
                this.source = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                this.source = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| {
            source.shared.borrow_mut().slot(source.slot).is_none_or(|slot| slot.is_read())
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::new(),
        }
    }
}
