//! Netlink, as little of it as networks of tasks need: messages are written
//! attribute by attribute, sent, and the kernel's answers checked
//! (netlink(7); `Documentation/userspace-api/netlink/intro.rst` of Linux).

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket,
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The message asks for something.
pub const NLM_F_REQUEST: u16 = 0x1;
/// The kernel says how it went, also if it went well.
pub const NLM_F_ACK: u16 = 0x4;
/// Fail if it exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Make it if it does not exist.
pub const NLM_F_CREATE: u16 = 0x400;
/// Put it after those that exist.
pub const NLM_F_APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const HEADER_BYTES: usize = 16;

/// Longest answer read. Errors repeat the request; ours are below 4 KiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The kernel answers at once, but for a lock that others may hold.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which part of the kernel a socket speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses and routes: rtnetlink(7).
    Route,
    /// The packet filter.
    Netfilter,
}

/// A socket to the network namespace that the thread was in when it was opened.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: OwnedFd,
    sequence: u32,
}

impl NetlinkSocket {
    /// Opens one.
    ///
    /// # Errors
    /// `Unsupported` or EPROTONOSUPPORT: the kernel has no such part. Else
    /// there are too many descriptors.
    pub fn open(family: Family) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(protocol))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a message, and waits until the kernel has done what it says.
    ///
    /// # Errors
    /// The kernel's, or `WouldBlock` when it does not answer within 5 s.
    pub fn call(&mut self, message: Message) -> io::Result<()> {
        self.call_all(vec![message.with_flags(NLM_F_ACK)])
    }

    /// Sends messages as one packet, and waits until the kernel has done what
    /// each of those with [`NLM_F_ACK`] says.
    ///
    /// # Errors
    /// As [`call`](Self::call): the first that the kernel reports of any of them. What it says of the others is
    /// passed over by the next call.
    pub fn call_all(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let is_awaited = messages.iter().map(|message| message.flags() & NLM_F_ACK != 0).collect();
        let mut awaited = Awaited { is_awaited, first: self.send(messages)? };
        while !awaited.is_all() {
            for answer in split(&self.receive()?) {
                awaited.take(&answer?)?;
            }
        }
        Ok(())
    }

    /// Sends a question without [`NLM_F_ACK`], and returns the payload of the
    /// one message of kind `answer` that the kernel answers with.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn ask(&mut self, message: Message, answer: u16) -> io::Result<Vec<u8>> {
        let sequence = self.send(vec![message])?;
        loop {
            let received = self.receive()?;
            for given in split(&received) {
                let given = given?;
                match given.kind {
                    _ if given.sequence != sequence => {}
                    NLMSG_ERROR => {
                        acknowledged(given.payload)?;
                        return Err(unexpected());
                    }
                    kind if kind == answer => return Ok(given.payload.to_vec()),
                    _ => return Err(unexpected()),
                }
            }
        }
    }

    /// Gives the first one's sequence number; the others have those after it.
    fn send(&mut self, messages: Vec<Message>) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut packet = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            packet.extend(message.finish(self.sequence));
        }
        sendto(self.socket.as_raw_fd(), &packet, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(first)
    }

    /// The next packet that is the kernel's.
    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; ANSWER_BYTES_MAX];
        loop {
            let (length, from) = recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut packet)?;
            // Processes can write to each other's sockets, too.
            if from.is_some_and(|from| from.pid() == 0) {
                packet.truncate(length);
                return Ok(packet);
            }
        }
    }
}

/// A socket of [`NetlinkSocket::open`] that comes from another process: it leads to the network namespace that it was
/// opened in.
impl From<OwnedFd> for NetlinkSocket {
    fn from(socket: OwnedFd) -> Self {
        Self { socket, sequence: 0 }
    }
}

impl From<NetlinkSocket> for OwnedFd {
    fn from(socket: NetlinkSocket) -> Self {
        socket.socket
    }
}

/// What is still to be answered of a packet's messages.
struct Awaited {
    /// Sequence number of the first.
    first: u32,
    /// Of each.
    is_awaited: Vec<bool>,
}

impl Awaited {
    fn is_all(&self) -> bool {
        !self.is_awaited.contains(&true)
    }

    /// The error that the answer tells, if it is one to these messages: also to one that is not awaited, for a
    /// transaction fails as its first or last message.
    fn take(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        let place = usize::try_from(answer.sequence.wrapping_sub(self.first)).ok();
        let Some(is_awaited) = place.and_then(|place| self.is_awaited.get_mut(place)) else {
            return Ok(());
        };
        if answer.kind != NLMSG_ERROR {
            return Err(unexpected());
        }
        *is_awaited = false;
        acknowledged(answer.payload)
    }
}

struct Answer<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of a packet.
fn split(packet: &[u8]) -> impl Iterator<Item = io::Result<Answer<'_>>> {
    let mut rest = packet;
    let mut failed = packet.is_empty();
    std::iter::from_fn(move || {
        if std::mem::take(&mut failed) {
            return Some(Err(unexpected()));
        }
        if rest.is_empty() {
            return None;
        }
        let Some((answer, length)) = first(rest) else {
            rest = &[];
            return Some(Err(unexpected()));
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(answer))
    })
}

fn first(packet: &[u8]) -> Option<(Answer<'_>, usize)> {
    let length = usize::try_from(u32::from_ne_bytes(packet.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(packet.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(packet.get(8..12)?.try_into().ok()?);
    Some((Answer { kind, sequence, payload: packet.get(HEADER_BYTES..length)? }, length))
}

/// Reads an NLMSG_ERROR's payload: 0, or a negative error number.
fn acknowledged(payload: &[u8]) -> io::Result<()> {
    match payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(unexpected()),
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected answer over netlink")
}

/// A message as it is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    buffer: Vec<u8>,
}

impl Message {
    /// A request of this kind; [`NLM_F_REQUEST`] is added to `flags`.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut buffer = vec![0; HEADER_BYTES];
        buffer[4..6].copy_from_slice(&kind.to_ne_bytes());
        buffer[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        Self { buffer }
    }

    fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.buffer[6], self.buffer[7]])
    }

    fn with_flags(mut self, flags: u16) -> Self {
        let flags = (self.flags() | flags).to_ne_bytes();
        self.buffer[6..8].copy_from_slice(&flags);
        self
    }

    /// What is sent, with this sequence number.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.buffer[..4].copy_from_slice(&length.to_ne_bytes());
        self.buffer[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.buffer
    }

    /// Bytes as they are: the fixed header of the message's kind.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// An attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes(value);
        self.close(start);
    }

    /// An attribute that is a text, with its final zero.
    pub fn text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    /// An attribute that is a number in network byte order.
    pub fn number_be(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    /// An attribute that holds others.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NLA_F_NESTED);
        fill(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.buffer.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        start
    }

    /// Writes the attribute's length, and pads it to four bytes.
    fn close(&mut self, start: usize) {
        let length = u16::try_from(self.buffer.len() - start).unwrap_or(u16::MAX);
        self.buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut message = Message::new(16, 0);
        message.nested(5, |message| message.text(3, "ab"));
        let bytes = message.finish(7);
        assert_eq!(bytes.len(), HEADER_BYTES + 4 + 8);
        assert_eq!(bytes[..4], 28u32.to_ne_bytes());
        assert_eq!(bytes[HEADER_BYTES..HEADER_BYTES + 2], 12u16.to_ne_bytes());
        assert_eq!(bytes[HEADER_BYTES + 4..HEADER_BYTES + 6], 7u16.to_ne_bytes());
        assert_eq!(&bytes[HEADER_BYTES + 8..], b"ab\0\0");
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        for length in 0..HEADER_BYTES {
            assert!(split(&vec![0; length]).any(|answer| answer.is_err()), "{length}");
        }
        assert!(acknowledged(&[0; 3]).is_err());
        let mut short = Message::new(NLMSG_ERROR, 0).finish(1);
        short[0] = 40;
        assert!(split(&short).any(|answer| answer.is_err()));
    }

    #[test]
    fn several_answers_of_one_packet_are_told_apart() {
        let packet: Vec<u8> = [0i32, -2]
            .iter()
            .flat_map(|code| {
                let mut message = Message::new(NLMSG_ERROR, 0);
                message.bytes(&code.to_ne_bytes());
                message.finish(1)
            })
            .collect();
        let results: Vec<_> = split(&packet)
            .map(|answer| acknowledged(answer.expect("whole").payload).map_err(|error| error.raw_os_error()))
            .collect();
        assert_eq!(results, [Ok(()), Err(Some(2))]);
    }

    #[test]
    fn the_kernel_s_refusal_is_an_error() {
        const NO_KIND: u16 = 0x7000;
        let mut socket = NetlinkSocket::open(Family::Route).expect("a socket");
        let error = socket.call(Message::new(NO_KIND, 0)).expect_err("no such kind");
        assert!(error.raw_os_error().is_some(), "{error}");
    }

    /// Every message of a packet that fails is answered: nobody takes that for the answer to another.
    #[test]
    fn what_was_said_of_a_packet_that_failed_is_no_answer_to_the_next() {
        const NO_KIND: u16 = 0x7000;
        const GET_LINK: u16 = 18;
        const NEW_LINK: u16 = 16;
        let mut socket = NetlinkSocket::open(Family::Route).expect("a socket");
        let wrong = || vec![Message::new(NO_KIND, NLM_F_ACK), Message::new(NO_KIND, NLM_F_ACK)];
        // The interface lo is the first: `struct ifinfomsg`.
        let lo = || {
            let mut question = Message::new(GET_LINK, 0);
            question.bytes(&[0; 4]);
            question.bytes(&1u32.to_ne_bytes());
            question.bytes(&[0; 8]);
            question
        };
        socket.call_all(wrong()).expect_err("no such kind");
        socket.ask(lo(), NEW_LINK).expect("what was asked for");
        let error = socket.call_all(wrong()).expect_err("no such kind");
        assert!(error.raw_os_error().is_some(), "{error}");
    }

    #[test]
    fn answers_are_told_from_those_to_others() {
        let answer = |sequence, code: i32| {
            let mut message = Message::new(NLMSG_ERROR, 0);
            message.bytes(&code.to_ne_bytes());
            message.finish(sequence)
        };
        let taken = |packet: Vec<u8>| {
            let mut awaited = Awaited { first: u32::MAX, is_awaited: vec![false, true, false] };
            let result = split(&packet).try_for_each(|answer| awaited.take(&answer.expect("whole")));
            (result.map_err(|error| error.raw_os_error()), awaited.is_all())
        };
        // Sequence numbers begin again after the greatest.
        assert_eq!(taken(answer(0, 0)), (Ok(()), true));
        assert_eq!(taken(answer(0, -17)), (Err(Some(17)), true));
        assert_eq!(taken(answer(u32::MAX - 1, -17)), (Ok(()), false), "to an earlier one");
        assert_eq!(taken(answer(2, -17)), (Ok(()), false), "to nobody");
        assert_eq!(taken(answer(u32::MAX, -1)), (Err(Some(1)), false), "the whole is refused");
    }

    proptest! {
        #[test]
        fn no_answer_panics(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            for answer in split(&packet).flatten() {
                let _ = acknowledged(answer.payload);
            }
        }
    }
}
