//! Reads more than is asked for: TLS asks for 4 KiB at a time, and a record may have sixteen.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at a time, in bytes.
const AHEAD: usize = 64 * 1024;

/// Most buffers that a worker keeps for its connections, which have one only between a read and the
/// moment when all of it was taken.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_spare() -> Box<[u8]> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; AHEAD].into_boxed_slice())
}

fn give_back(buffer: Box<[u8]>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    });
}

/// A stream that is read in large pieces and taken in small ones.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    inner: S,
    ahead: Option<Ahead>,
}

/// What has been read and not been taken: never empty.
#[derive(Debug)]
struct Ahead {
    buffer: Box<[u8]>,
    taken: usize,
    filled: usize,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, ahead: None }
    }
}

impl<S> Drop for ReadAhead<S> {
    fn drop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            give_back(ahead.buffer);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut ahead = match this.ahead.take() {
            Some(ahead) => ahead,
            None => {
                let mut buffer = take_spare();
                let mut space = ReadBuf::new(&mut buffer);
                let result = Pin::new(&mut this.inner).poll_read(cx, &mut space);
                let filled = space.filled().len();
                if !matches!(result, Poll::Ready(Ok(()))) || filled == 0 {
                    give_back(buffer);
                    return result;
                }
                Ahead { buffer, taken: 0, filled }
            }
        };
        let count = buf.remaining().min(ahead.filled - ahead.taken);
        buf.put_slice(&ahead.buffer[ahead.taken..ahead.taken + count]);
        ahead.taken += count;
        if ahead.taken == ahead.filled {
            give_back(ahead.buffer);
        } else {
            this.ahead = Some(ahead);
        }
        Poll::Ready(Ok(()))
    }
}

writes_through!(ReadAhead);

#[cfg(test)]
mod tests {
    use std::task::ready;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Counts how often it is read.
    struct Counting<S>(S, usize);

    impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
            self.1 += 1;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_reads_take_what_one_large_one_has_read() {
        let (near, mut far) = duplex(AHEAD);
        let sent: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
        far.write_all(&sent).await.expect("written");
        drop(far);
        let mut reader = ReadAhead::new(Counting(near, 0));
        let (mut got, mut piece) = (Vec::new(), [0; 4_096]);
        loop {
            match reader.read(&mut piece).await.expect("read") {
                0 => break,
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        assert_eq!(got, sent);
        assert_eq!(reader.inner.1, 2, "all of it, and the end");
    }

    #[tokio::test]
    async fn buffers_are_given_back_and_no_more_are_kept_than_so_many() {
        let mut readers = Vec::new();
        for _ in 0..SPARE_MAX * 2 {
            let (near, mut far) = duplex(64);
            far.write_all(b"xy").await.expect("written");
            let mut reader = ReadAhead::new(near);
            reader.read_u8().await.expect("one of two");
            readers.push(reader);
        }
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
        drop(readers);
        assert_eq!(SPARE.with_borrow(Vec::len), SPARE_MAX);
    }
}
