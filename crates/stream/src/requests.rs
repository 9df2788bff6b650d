//! The stream of requests of a discovery call.

use std::{future::poll_fn, pin::Pin};

use bowline_discovery::{codec, xds::DeltaDiscoveryRequest};
use bowline_http2::Body;
use bytes::{Buf as _, BytesMut};
use tonic::Status;

use crate::MESSAGE_BYTES_MAX;

/// What a peer sends on a call, message by message.
#[derive(Debug)]
pub(crate) struct Requests {
    body: Body,
    /// The beginning of a message.
    begun: BytesMut,
}

impl Requests {
    /// Those of a call.
    pub(crate) fn new(body: Body) -> Self {
        Self { body, begun: BytesMut::new() }
    }

    /// The next one; `None` when the peer has ended the call. It may be dropped and asked again.
    pub(crate) async fn next(&mut self) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        loop {
            if let Some(request) = take_first(&mut self.begun)? {
                return Ok(Some(request));
            }
            let frame =
                poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut self.body), context)).await;
            match frame {
                Some(Ok(frame)) => {
                    // There is nothing to be said in trailers.
                    if let Ok(data) = frame.into_data() {
                        self.begun.extend_from_slice(&data);
                    }
                }
                None if self.begun.is_empty() => return Ok(None),
                None => return Err(Status::internal("the call ended within a message")),
                // It was reset, or the connection is gone.
                Some(Err(_)) => return Ok(None),
            }
        }
    }
}

/// The message that some bytes begin with, if all of it is there.
fn take_first(begun: &mut BytesMut) -> Result<Option<DeltaDiscoveryRequest>, Status> {
    let Some((request, length)) = codec::unframed(begun, MESSAGE_BYTES_MAX)? else { return Ok(None) };
    begun.advance(length);
    if begun.is_empty() {
        // Until the next one nothing is kept for it.
        *begun = BytesMut::new();
    }
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;

    fn request(name: &str) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest { type_url: name.to_owned(), ..DeltaDiscoveryRequest::default() }
    }

    proptest! {
        #[test]
        fn messages_are_read_however_they_are_cut(
            names in prop::collection::vec("[a-z]{0,40}", 0..8),
            cuts in prop::collection::vec(1..60_usize, 1..20),
        ) {
            let sent: Vec<_> = names.iter().map(|name| request(name)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(codec::framed).collect();
            let (mut begun, mut received, mut left) = (BytesMut::new(), Vec::new(), &bytes[..]);
            let mut cuts = cuts.into_iter().cycle();
            while !left.is_empty() {
                let (piece, rest) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
                begun.extend_from_slice(piece);
                left = rest;
                while let Some(request) = take_first(&mut begun).expect("they are whole") {
                    received.push(request);
                }
            }
            prop_assert_eq!(received, sent);
            prop_assert!(begun.is_empty());
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut begun = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take_first(&mut begun) {}
            prop_assert!(begun.len() <= bytes.len());
        }
    }

    #[test]
    fn what_is_compressed_or_too_long_is_refused_before_it_is_there() {
        let refused = |bytes: &[u8]| take_first(&mut BytesMut::from(bytes)).expect_err("no").code();
        assert_eq!(refused(&[1, 0, 0, 0, 9]), Code::Internal);
        let long = u32::try_from(MESSAGE_BYTES_MAX + 1).expect("4 MiB").to_be_bytes();
        assert_eq!(refused(&[&[0][..], &long].concat()), Code::OutOfRange);
        assert_eq!(refused(&[0, 0, 0, 0, 1, 0xff]), Code::Internal);
    }
}
