//! Connections that this proxy has opened to other proxies, by who is at the other end: what a
//! revocation ends on the calling side. ([`crate::connections`] is the called side.)
//!
//! The end is made in the byte stream itself: whatever runs on it (a multiplexed connection with
//! streams in flight, a WebSocket, a TCP relay, a kept connection that nobody uses) sees an error
//! at once, and lets go of it.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::verify::PeerIdentity;

/// What reading and writing end with on a hop that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the other proxy's certificate has been revoked")]
pub(crate) struct HopCut;

#[derive(Debug)]
struct Entry {
    peer: PeerIdentity,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// Everything that is open, of all workers.
#[derive(Debug, Default)]
pub(crate) struct Hops {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    entries: HashMap<u64, Arc<Entry>>,
    next: u64,
}

impl Hops {
    /// Keeps a hop for as long as what is returned lives.
    pub(crate) fn hold<S>(self: &Arc<Self>, peer: PeerIdentity, stream: S) -> Hop<S> {
        let entry = Entry {
            peer,
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        };
        let entry = Arc::new(entry);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.entries.insert(number, Arc::clone(&entry));
        drop(open);
        Hop { stream, held: Some(Held { entry, home: Arc::clone(self), number }) }
    }

    /// Cuts the hops to those that `is_refused` tells. How many that were.
    pub(crate) fn cut_where(&self, is_refused: impl Fn(&PeerIdentity) -> bool) -> usize {
        let refused: Vec<_> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = open.entries.values().filter(|entry| is_refused(&entry.peer));
            refused.cloned().collect()
        };
        let cut = |entry: &&Arc<Entry>| !entry.cut.swap(true, Ordering::AcqRel);
        let cut: Vec<_> = refused.iter().filter(cut).collect();
        for entry in &cut {
            entry.reader.wake();
            entry.writer.wake();
        }
        cut.len()
    }
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    home: Arc<Hops>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.home.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entries.remove(&self.number);
    }
}

impl Held {
    /// An error once the hop is cut. The waker first: a cut between the two is not missed.
    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        match self.entry.cut.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, HopCut)),
            false => Ok(()),
        }
    }
}

/// A stream that can be cut from outside.
#[derive(Debug)]
pub(crate) struct Hop<S> {
    stream: S,
    held: Option<Held>,
}

impl<S> Hop<S> {
    /// One whose other end has no identity of the mesh: nobody cuts it.
    pub(crate) fn free(stream: S) -> Self {
        Self { stream, held: None }
    }

    fn check_read(&self, cx: &Context<'_>) -> io::Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| held.check(&held.entry.reader, cx))
    }

    fn check_write(&self, cx: &Context<'_>) -> io::Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| held.check(&held.entry.writer, cx))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hop<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_read(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hop<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_write(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_write(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_write(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever ends it by himself may say so, cut or not.
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn peer(serial: &str) -> PeerIdentity {
        let id = "spiffe://d/ns/n/cluster/c/svc/s".parse().expect("an id");
        PeerIdentity { id, serial: serial.to_owned(), imported: false }
    }

    #[tokio::test]
    async fn a_cut_wakes_who_reads_and_spares_the_others() {
        let hops = Arc::new(Hops::default());
        let ((near, _far), (other, mut other_far)) = (duplex(64), duplex(64));
        let (mut bad, mut good) = (hops.hold(peer("bad"), near), hops.hold(peer("900d"), other));
        let mut byte = [0];
        let (read, cut) =
            tokio::join!(bad.read(&mut byte), async { hops.cut_where(|peer| peer.serial == "bad") });
        let error = read.expect_err("it is cut");
        assert_eq!(cut, 1);
        assert_eq!(error.get_ref().and_then(|cause| cause.downcast_ref::<HopCut>()), Some(&HopCut));
        assert!(bad.write(b"x").await.is_err());
        assert_eq!(hops.cut_where(|peer| peer.serial == "bad"), 0, "once is enough");
        good.write_all(b"x").await.expect("not cut");
        other_far.read_exact(&mut byte).await.expect("it came");
        drop((bad, good));
        assert!(hops.open.lock().expect("nobody panicked").entries.is_empty());
    }

    #[tokio::test]
    async fn a_cut_wakes_who_writes() {
        let hops = Arc::new(Hops::default());
        let (near, _far) = duplex(1);
        let mut hop = hops.hold(peer("bad"), near);
        let (written, _) = tokio::join!(hop.write_all(b"more than fits"), async { hops.cut_where(|_| true) });
        assert!(written.is_err());
    }
}
