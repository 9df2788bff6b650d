//! What processes send each other, and what one keeps on disk for the next.

use std::io;

use bowline_discovery::{
    identity::{IssueRequest, IssueResponse},
    prost::Message,
    resource::{Resource, ResourceType},
    xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use bowline_plumbing::{
    fd_message,
    seal::{SealError, SealKey},
    shim_link,
};
use rustix::net::{SendFlags, send};
use serde::{Serialize, de::DeserializeOwned};

/// A message of the stream: the first byte says which, the rest is protobuf.
///
/// What is read is the same after it was written and read again.
pub fn discovery(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    if let Some(kind) = ResourceType::ALL.get(usize::from(*which)) {
        let Ok(resource) = Resource::decode(*kind, bytes) else { return };
        let written = resource.encode();
        let again = Resource::decode(*kind, &written).expect("what was written can be read");
        // Bytes, not messages: a number that is none differs from itself.
        assert_eq!(again.encode(), written);
        let _ = serde_json::to_vec(&resource);
        return;
    }
    match which {
        b'q' => message::<DeltaDiscoveryRequest>(bytes),
        b'r' => message::<DeltaDiscoveryResponse>(bytes),
        b'i' => message::<IssueRequest>(bytes),
        _ => message::<IssueResponse>(bytes),
    }
}

fn message<M: Message + Default + PartialEq>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else { return };
    let again = M::decode(&message.encode_to_vec()[..]).expect("what was written can be read");
    assert!(message == again, "it reads otherwise after it was written");
}

/// A packet between a proxy and its shim.
pub fn packets(input: &[u8]) {
    packet::<shim_link::Request>(input);
    packet::<shim_link::Response>(input);
}

fn packet<M: DeserializeOwned + Serialize + PartialEq>(bytes: &[u8]) {
    let Ok((ours, theirs)) = fd_message::pair() else { return };
    // An empty packet is what the end of a connection looks like; one too long is not sent.
    if bytes.is_empty() || send(&ours, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
        return;
    }
    let message = match fd_message::receive::<M>(&theirs) {
        Ok(received) => received.expect("there is a packet").0,
        Err(error) => {
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock);
            return;
        }
    };
    fd_message::send(&ours, &message, &[]).expect("what was received can be sent");
    let again = fd_message::receive::<M>(&theirs).expect("and received").expect("again").0;
    assert!(message == again, "{}", String::from_utf8_lossy(bytes));
}

/// A sealed text as it is found on disk, under a key that did not make it; the same bytes sealed
/// by that key, whole and altered.
pub fn sealed(input: &[u8]) {
    let key = SealKey::from_bytes([7; 32]);
    assert!(key.open(b"context", input).is_err(), "nobody has this key");
    let sealed = match key.seal(b"context", input) {
        Ok(sealed) => sealed,
        Err(error) => {
            assert_eq!(error, SealError::Randomness);
            return;
        }
    };
    assert_eq!(key.open(b"context", &sealed).as_deref(), Ok(input));
    let at = usize::from(input.first().copied().unwrap_or_default()) % sealed.len();
    let mut altered = sealed.clone();
    altered[at] ^= 1;
    assert!(key.open(b"context", &altered).is_err(), "byte {at} may change unnoticed");
    assert!(key.open(b"context", &sealed[..at]).is_err(), "it may be cut");
}
