//! A byte stream that gives and takes as little as it is told to, and stalls now and then.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// How many bytes go through at a time; none is a stall.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let cut = prop_oneof![Just(0_usize), 1_usize..40, 1_000_usize..70_000];
    prop::collection::vec(cut, 1..12)
        .prop_filter("it comes to an end", |cuts| cuts.iter().any(|cut| *cut >= 1_000))
}

pub(crate) struct Choppy {
    inner: DuplexStream,
    reads: Cuts,
    writes: Cuts,
}

pub(crate) fn pair(cuts: &[usize]) -> (Choppy, Choppy) {
    let (near, far) = duplex(100_000);
    let cuts = |at| Cuts { cuts: cuts.to_vec(), at };
    let choppy = |inner, at| Choppy { inner, reads: cuts(at), writes: cuts(at + 1) };
    (choppy(near, 0), choppy(far, 2))
}

/// One direction's, each with its own place, so that neither stalls for ever.
struct Cuts {
    cuts: Vec<usize>,
    at: usize,
}

impl Cuts {
    fn next(&mut self, cx: &Context<'_>) -> Poll<usize> {
        self.at += 1;
        match self.cuts[self.at % self.cuts.len()] {
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            cut => Poll::Ready(cut),
        }
    }
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Poll::Ready(most) = self.reads.next(cx) else { return Poll::Pending };
        let mut piece = vec![0; most.min(buf.remaining())];
        let mut space = ReadBuf::new(&mut piece);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut space);
        buf.put_slice(space.filled());
        polled
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(most) = self.writes.next(cx) else { return Poll::Pending };
        Pin::new(&mut self.inner).poll_write(cx, &buf[..buf.len().min(most)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
