//! How messages become bytes: protobuf, as gRPC has it, in buffers that are as large as what is in them.
//!
//! A proxy's streams are open for as long as it lives and silent for most of that. With tonic's own codec each of them
//! begins with 16 KiB, however little is in its messages.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Bytes that a stream's buffers begin with.
const BUFFER_BYTES: usize = 64;
/// Messages that wait at the same time are sent together up to so many bytes: tonic's own default.
const TOGETHER_BYTES: usize = 32 * 1024;
/// Whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What the services here are spoken by: sends `T`, receives `U`.
#[derive(Clone, Copy, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Side<T>;
    type Decoder = Side<U>;

    fn encoder(&mut self) -> Side<T> {
        Side(PhantomData)
    }

    fn decoder(&mut self) -> Side<U> {
        Side(PhantomData)
    }
}

/// One direction of it.
#[derive(Clone, Copy, Debug)]
pub struct Side<T>(PhantomData<T>);

impl<T: Message> Encoder for Side<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // At once, and not by doubling.
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

impl<T: Message + Default> Decoder for Side<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        // Tonic's own status for what is no message of the type.
        T::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

/// A message as it is on a call: uncompressed, with its length before it (gRPC over HTTP/2, "Length-Prefixed-Message").
///
/// # Panics
/// It has 4 GiB or more.
pub fn framed(message: &impl Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut framed = Vec::with_capacity(PREFIX_BYTES + length);
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(length).expect("below 4 GiB").to_be_bytes());
    message.encode_raw(&mut framed);
    framed
}

/// The message that some bytes of a call begin with, and how many of them it has; `None` where there is not all of it yet.
///
/// # Errors
/// It is compressed, is longer than `max` bytes, or is none of its type.
pub fn unframed<M: Message + Default>(bytes: &[u8], max: usize) -> Result<Option<(M, usize)>, Status> {
    let Some(([compressed, length @ ..], rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    if *compressed != 0 {
        return Err(Status::internal("a compressed message, though no compression was agreed on"));
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > max {
        return Err(Status::out_of_range(format!("a message of {length} bytes, where {max} are the most")));
    }
    let Some(message) = rest.get(..length) else { return Ok(None) };
    let message = M::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Some((message, PREFIX_BYTES + length)))
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}
