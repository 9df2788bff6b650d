//! Buffers that a thread's connections share, for each needs them only while it has its turn.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is read at a time, in bytes.
const READ: usize = 64 * 1024;
/// What is shorter is copied: a slice would keep all of the buffer that it is of.
pub(crate) const COPIED_MAX: usize = 16 * 1024;
/// Most of a buffer for writing that a thread keeps.
const OUTPUT_KEPT_MAX: usize = 64 * 1024;

thread_local! {
    static INPUT: Cell<BytesMut> = Cell::new(BytesMut::new());
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads what there is into the thread's buffer, behind what `kept` has, and hands it to `take`. What that leaves is
/// kept. `take` gets how much was read, 0 at the end of the stream.
pub(crate) fn poll_read<S, T>(
    io: &mut S,
    kept: &mut BytesMut,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut BytesMut, usize) -> T,
) -> Poll<io::Result<T>>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = INPUT.take();
    buffer.clear();
    if kept.len() >= COPIED_MAX {
        INPUT.set(std::mem::replace(&mut buffer, std::mem::take(kept)));
    } else if !kept.is_empty() {
        buffer.extend_from_slice(kept);
        *kept = BytesMut::new();
    }
    if buffer.capacity() - buffer.len() < READ / 2 {
        buffer.reserve(READ);
    }
    let read = pin!(io.read_buf(&mut buffer)).poll(cx);
    let result = read.map_ok(|count| take(&mut buffer, count));
    match buffer.len() {
        0 => INPUT.set(buffer),
        1..COPIED_MAX => {
            *kept = BytesMut::from(&buffer[..]);
            INPUT.set(buffer);
        }
        _ => *kept = buffer,
    }
    result
}

/// The first so many bytes.
pub(crate) fn take(buffer: &mut BytesMut, count: usize) -> Bytes {
    if count < COPIED_MAX && buffer.capacity() > COPIED_MAX {
        let bytes = Bytes::copy_from_slice(&buffer[..count]);
        buffer.advance(count);
        return bytes;
    }
    buffer.split_to(count).freeze()
}

/// A buffer to put together in what is written.
pub(crate) fn borrow_output() -> Vec<u8> {
    OUTPUT.take()
}

/// Gives it back when it is written.
pub(crate) fn give_output_back(mut buffer: Vec<u8>) {
    if (1..=OUTPUT_KEPT_MAX).contains(&buffer.capacity()) {
        buffer.clear();
        OUTPUT.set(buffer);
    }
}

/// Whether nothing is to be read from a stream of which nothing is expected: not even its end.
pub(crate) fn is_silent<S: AsyncRead + Unpin>(io: &mut S, cx: &mut Context<'_>) -> bool {
    let mut byte = [0];
    Pin::new(io).poll_read(cx, &mut tokio::io::ReadBuf::new(&mut byte)).is_pending()
}
