//! Sends a message's content as it comes.

use std::{
    cell::RefCell,
    error::Error as StdError,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body;

use crate::{Error, Reason, config::ReasonOf, connection::Key, shared::Shared};

/// Any error.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The reason that a stream is reset for when its body fails.
fn reason_of(error: &(dyn StdError + 'static), find: ReasonOf) -> Reason {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(reason) = find(this) {
            return reason;
        }
        cause = this.source();
    }
    Reason::INTERNAL_ERROR
}

/// Sends what `body` has until it has nothing, or there is no room. Ready once nothing more is to be sent;
/// then with the reason that the stream is to be reset for, if there is one.
pub(crate) fn poll_pump<B>(
    shared: &RefCell<Shared>,
    slot: usize,
    key: Key,
    body: &mut B,
    cx: &mut Context<'_>,
) -> Poll<Option<Reason>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    loop {
        {
            let mut shared = shared.borrow_mut();
            match shared.connection.room(key) {
                Err(_) => return Poll::Ready(None),
                Ok(0) => {
                    wait(&mut shared, slot, cx);
                    return Poll::Pending;
                }
                Ok(_) => {}
            }
        }
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
            // It may be reset meanwhile.
            wait(&mut shared.borrow_mut(), slot, cx);
            return Poll::Pending;
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let error: Arc<dyn StdError + Send + Sync> = error.into().into();
                let mut shared = shared.borrow_mut();
                let reason = reason_of(&*error, shared.connection.config().reason_of);
                if let Some(slot) = shared.slot(slot) {
                    let key = slot.key;
                    slot.fail(Error::Body(error));
                    slot.key = key;
                }
                return Poll::Ready(Some(reason));
            }
            None => {
                // A stream that is gone needs no end.
                let _ = shared.borrow_mut().connection.send_data(key, Bytes::new(), true);
                return Poll::Ready(None);
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let end = body.is_end_stream();
                let sent = shared.borrow_mut().connection.send_data(key, data, end);
                if end || sent.is_err() {
                    return Poll::Ready(None);
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let _ = shared.borrow_mut().connection.send_trailers(key, trailers);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

fn wait(shared: &mut Shared, slot: usize, cx: &Context<'_>) {
    if let Some(slot) = shared.slot(slot) {
        slot.register_writer(cx);
    }
}
