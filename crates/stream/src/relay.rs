//! What a request holds, for a service on another thread than its connection's.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bowline_http2::{Body, Error};
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

/// Pieces that wait to be read. What is not read is not taken from the peer, either, beyond its window.
const WAITING_MAX: usize = 1;

/// The content, as it comes.
struct Relayed(mpsc::Receiver<Result<Frame<Bytes>, Error>>);

/// A body that any thread may read, of one that this thread's connection has.
pub(crate) fn sendable(mut body: Body) -> tonic::body::Body {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    tokio::task::spawn_local(async move {
        loop {
            // Nobody may want the rest.
            let frame = tokio::select! {
                frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)) => frame,
                () = sender.closed() => return,
            };
            let Some(frame) = frame else { return };
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    tonic::body::Body::new(Relayed(receiver))
}

impl http_body::Body for Relayed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(context)
    }
}
