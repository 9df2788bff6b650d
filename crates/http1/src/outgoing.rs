//! A request on its way out: its head, and its body as it comes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use crate::{
    buffers,
    error::{BoxError, Error, LengthError},
    request::{Coding, write_chunk_size, write_end, write_head},
};

/// A piece of a body that is shorter goes out by the same write as what stands before it.
const COPIED_MAX: usize = 8 * 1024;
/// So much is put together before it is written.
const FRONT_MAX: usize = 32 * 1024;

/// What is to be written: `front` has been put together here, `data` is a piece of a body as it came.
#[derive(Debug, Default)]
struct Output {
    front: Vec<u8>,
    /// How much of that has been written.
    written: usize,
    data: Bytes,
    back: &'static [u8],
}

impl Output {
    fn has_room(&self) -> bool {
        self.data.is_empty() && self.back.is_empty() && self.front.len() < FRONT_MAX
    }

    /// Writes all of it. How much that is, is added to `written`.
    fn poll_write<S>(&mut self, io: &mut S, cx: &mut Context<'_>, written: &mut u64) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        loop {
            let front = &self.front[self.written..];
            let count = if !self.has_more_than_front() {
                if front.is_empty() {
                    buffers::give_output_back(std::mem::take(&mut self.front));
                    self.written = 0;
                    return Poll::Ready(Ok(()));
                }
                ready!(Pin::new(&mut *io).poll_write(cx, front))?
            } else {
                let parts = [IoSlice::new(front), IoSlice::new(&self.data), IoSlice::new(self.back)];
                // A stream that takes but one part takes the first, which may not be empty.
                let from = match (front.is_empty(), self.data.is_empty()) {
                    (false, _) => 0,
                    (true, false) => 1,
                    (true, true) => 2,
                };
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &parts[from..]))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count as u64;
            self.advance(count);
        }
    }

    fn is_empty(&self) -> bool {
        self.front.is_empty() && !self.has_more_than_front()
    }

    fn has_more_than_front(&self) -> bool {
        !self.data.is_empty() || !self.back.is_empty()
    }

    fn advance(&mut self, count: usize) {
        let of_front = count.min(self.front.len() - self.written);
        self.written += of_front;
        let of_data = (count - of_front).min(self.data.len());
        self.data.advance(of_data);
        self.back = &self.back[(count - of_front - of_data).min(self.back.len())..];
    }
}

/// A request of which not everything has been written.
#[derive(Debug)]
pub(crate) struct Outgoing<B> {
    body: B,
    /// `None`: nothing more of the body is sent.
    coding: Option<Coding>,
    output: Output,
    is_unflushed: bool,
    /// Bytes that have left.
    pub(crate) written: u64,
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Puts the head together. Whether another request may follow; on an error there is nothing to send but the body.
    pub(crate) fn new(request: &Request<()>, body: B) -> (Self, Result<bool, Error>) {
        let mut front = buffers::borrow_output();
        front.clear();
        let (coding, result) = match write_head(request, &body, &mut front) {
            Ok(said) => (said.coding, Ok(!said.closes)),
            Err(error) => (None, Err(error.into())),
        };
        let output = Output { front, ..Output::default() };
        (Self { body, coding, output, is_unflushed: true, written: 0 }, result)
    }

    pub(crate) fn into_body(self) -> B {
        self.body
    }

    /// Writes what there is. Ready once all of the request has left.
    pub(crate) fn poll<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), Error>>
    where
        S: AsyncWrite + Unpin,
    {
        loop {
            let has_more = self.gather(cx)?;
            if !self.output.is_empty() {
                self.is_unflushed = true;
                ready!(self.output.poll_write(io, cx, &mut self.written)).map_err(Error::Io)?;
            }
            if has_more.is_ready() && self.coding.is_some() {
                continue;
            }
            if self.is_unflushed {
                ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(Error::Io)?;
                self.is_unflushed = false;
            }
            return has_more.map(Ok);
        }
    }

    /// Puts together what there is of the body, as far as there is room. Not ready where it has nothing yet.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        while self.coding.is_some() && self.output.has_room() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Ok(Poll::Pending);
            };
            match frame {
                None => self.end(None)?,
                Some(Err(error)) => return Err(Error::Body(error.into())),
                Some(Ok(frame)) => self.put(frame)?,
            }
        }
        Ok(Poll::Ready(()))
    }

    fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Error> {
        match frame.into_data() {
            Ok(data) => {
                if !data.is_empty() {
                    self.put_data(data)?;
                }
                if self.body.is_end_stream() { self.end(None) } else { Ok(()) }
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => self.end(Some(&trailers)),
                // HTTP has no third kind.
                Err(_) => Ok(()),
            },
        }
    }

    fn put_data(&mut self, data: Bytes) -> Result<(), Error> {
        let output = &mut self.output;
        if output.front.capacity() == 0 {
            output.front = buffers::borrow_output();
            output.front.clear();
        }
        let is_chunked = match &mut self.coding {
            Some(Coding::Length(left)) => {
                *left = left.checked_sub(data.len() as u64).ok_or(LengthError::Long)?;
                false
            }
            Some(Coding::Chunked(_)) => {
                write_chunk_size(data.len(), &mut output.front);
                true
            }
            None => return Ok(()),
        };
        if data.len() <= COPIED_MAX {
            output.front.extend_from_slice(&data);
            if is_chunked {
                output.front.extend_from_slice(b"\r\n");
            }
        } else {
            output.data = data;
            output.back = if is_chunked { b"\r\n" } else { b"" };
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Error> {
        let output = &mut self.output;
        match self.coding.take() {
            Some(Coding::Length(1..)) => return Err(LengthError::Short.into()),
            Some(Coding::Length(0)) | None => {}
            Some(Coding::Chunked(_)) if output.has_more_than_front() => output.back = b"\r\n0\r\n\r\n",
            Some(Coding::Chunked(announced)) => {
                if output.front.capacity() == 0 {
                    output.front = buffers::borrow_output();
                    output.front.clear();
                }
                write_end(&announced, trailers.unwrap_or(&HeaderMap::new()), &mut output.front);
            }
        }
        Ok(())
    }
}
