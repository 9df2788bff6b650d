//! A namespace that loses some of what comes to it. As `nft` would print it:
//!
//! ```text
//! table ip bowline-loss {
//!     counter lost {}
//!     chain arrivals {
//!         type filter hook input priority filter; policy accept;
//!         numgen random mod 100 < PERCENT counter name "lost" drop
//!     }
//! }
//! ```
//!
//! It is lost where it arrives: a sender is told of what its own filter drops, and nothing tells of a lost packet.

use std::io;

use super::{
    BATCH_BEGIN, BATCH_END, DROP, FAMILY_IPV4, HOOK_INPUT, PRIORITY_FILTER, SUBSYSTEM_NFTABLES, batch, chain,
    delete_table, expression, message, percent, rule, table, verdict,
};
use crate::netlink::{Family, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket};

const TABLE: &str = "bowline-loss";
const CHAIN: &str = "arrivals";
const COUNTER: &str = "lost";

const NEW_OBJECT: u16 = SUBSYSTEM_NFTABLES << 8 | 18;
const GET_OBJECT: u16 = SUBSYSTEM_NFTABLES << 8 | 19;
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const OBJECT_COUNTER: u32 = 1;
const COUNTER_PACKETS: u16 = 2;
/// `struct nfgenmsg`.
const HEADER_BYTES: usize = 4;

/// In the thread's network namespace, loses so many of a hundred packets that come.
///
/// # Errors
/// The kernel has no nf_tables or no `numgen`, does not let this user namespace use them, or it is done already.
pub fn begin(of_hundred: u8) -> io::Result<()> {
    NetlinkSocket::open(Family::Netfilter)?.call_all(messages(of_hundred))
}

/// Ends it.
///
/// # Errors
/// It was not begun.
pub fn end() -> io::Result<()> {
    NetlinkSocket::open(Family::Netfilter)?.call_all(vec![
        batch(BATCH_BEGIN),
        delete_table(TABLE),
        batch(BATCH_END),
    ])
}

/// How many packets were lost so.
///
/// # Errors
/// It was not begun, or is over.
pub fn dropped() -> io::Result<u64> {
    let mut question = message(GET_OBJECT, 0, FAMILY_IPV4, 0);
    question.text(OBJECT_TABLE, TABLE);
    question.text(OBJECT_NAME, COUNTER);
    question.number_be(OBJECT_TYPE, OBJECT_COUNTER);
    let answer = NetlinkSocket::open(Family::Netfilter)?.ask(question, NEW_OBJECT)?;
    packets(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an unexpected counter"))
}

fn messages(of_hundred: u8) -> Vec<Message> {
    vec![
        batch(BATCH_BEGIN),
        table(TABLE),
        chain(TABLE, CHAIN, "filter", HOOK_INPUT, PRIORITY_FILTER),
        counter(),
        rule(TABLE, CHAIN, |list| {
            percent(list, of_hundred);
            expression(list, "objref", |data| {
                data.number_be(1, OBJECT_COUNTER);
                data.text(2, COUNTER);
            });
            verdict(list, DROP);
        }),
        batch(BATCH_END),
    ]
}

fn counter() -> Message {
    let mut counter = message(NEW_OBJECT, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    counter.text(OBJECT_TABLE, TABLE);
    counter.text(OBJECT_NAME, COUNTER);
    counter.number_be(OBJECT_TYPE, OBJECT_COUNTER);
    counter.nested(OBJECT_DATA, |_| {});
    counter
}

/// The packets of a counter's answer.
fn packets(answer: &[u8]) -> Option<u64> {
    let data = attribute(answer.get(HEADER_BYTES..)?, OBJECT_DATA)?;
    Some(u64::from_be_bytes(attribute(data, COUNTER_PACKETS)?.try_into().ok()?))
}

/// The first attribute of a kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    const FLAGS: u16 = 0xc000;
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & !FLAGS;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_packets_of_a_counter_are_read() {
        let mut message = Message::new(0, 0);
        message.text(OBJECT_TABLE, TABLE);
        message.nested(OBJECT_DATA, |data| {
            data.attribute(1, &1500u64.to_be_bytes());
            data.attribute(COUNTER_PACKETS, &3u64.to_be_bytes());
        });
        let mut answer = vec![0; HEADER_BYTES];
        answer.extend(&message.finish(1)[16..]);
        assert_eq!(packets(&answer), Some(3));
        assert_eq!(packets(&answer[..answer.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in prop::collection::vec(any::<u8>(), 0..80)) {
            packets(&answer);
        }
    }
}
