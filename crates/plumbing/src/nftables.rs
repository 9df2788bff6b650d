//! The packet filter, in nf_tables' own messages (`include/uapi/linux/netfilter/nf_tables.h` of Linux): what rules are
//! made of, for those who make them.

pub mod lossy;

use crate::netlink::{Message, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

/// Begins a transaction.
pub const BATCH_BEGIN: u16 = 0x10;
/// Ends a transaction: all of it or nothing.
pub const BATCH_END: u16 = 0x11;
/// The high byte of messages' kinds.
pub const SUBSYSTEM_NFTABLES: u16 = 10;
/// A table is made.
pub const NEW_TABLE: u16 = SUBSYSTEM_NFTABLES << 8;
/// A table goes, with all in it.
pub const DELETE_TABLE: u16 = SUBSYSTEM_NFTABLES << 8 | 2;
/// A chain is made.
pub const NEW_CHAIN: u16 = SUBSYSTEM_NFTABLES << 8 | 3;
/// A rule is made.
pub const NEW_RULE: u16 = SUBSYSTEM_NFTABLES << 8 | 6;
/// A set is made.
const NEW_SET: u16 = SUBSYSTEM_NFTABLES << 8 | 9;
/// Elements come into a set.
const NEW_SET_ELEMENT: u16 = SUBSYSTEM_NFTABLES << 8 | 12;
/// No family: of batches.
pub const FAMILY_NONE: u8 = 0;
/// IPv4.
pub const FAMILY_IPV4: u8 = 2;
/// Packets that come, before it is known whom they are for.
pub const HOOK_PREROUTING: u32 = 0;
/// Packets that come to this namespace itself.
pub const HOOK_INPUT: u32 = 1;
/// Packets of this namespace's own.
pub const HOOK_OUTPUT: u32 = 3;
/// Before connections are tracked, as `priority raw`.
pub const PRIORITY_RAW: i32 = -300;
/// Where destinations are translated, as `priority dstnat`.
pub const PRIORITY_DSTNAT: i32 = -100;
/// Where packets are filtered, as `priority filter`.
pub const PRIORITY_FILTER: i32 = 0;
/// The verdict that a packet is lost.
pub const DROP: u32 = 0;
/// The verdict that a packet passes.
pub const ACCEPT: u32 = 1;
/// The register of verdicts.
pub const REGISTER_VERDICT: u32 = 0;
/// The register that expressions load and compare.
pub const REGISTER: u32 = 1;
/// Equal.
pub const COMPARE_EQUAL: u32 = 0;
/// Anything else.
pub const COMPARE_NOT_EQUAL: u32 = 1;
/// Less, of numbers in network byte order.
pub const COMPARE_LESS: u32 = 2;

/// An element of a list of expressions.
pub const LIST_ELEMENT: u16 = 1;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_FLAG_OWNER: u32 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
/// An expression's name.
pub const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// A value.
pub const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_ID: u16 = 10;
const SET_FLAG_TIMEOUT: u32 = 0x10;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS_LIST: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const LOOKUP_SET: u16 = 1;
const LOOKUP_REGISTER: u16 = 2;
/// Known of a packet: the interface that it came in by.
pub const META_IIFNAME: u32 = 6;
/// Known of a packet: its family, as [`FAMILY_IPV4`].
pub const META_NFPROTO: u32 = 15;
/// Known of a packet: what it carries, as [`PROTOCOL_TCP`].
pub const META_L4PROTO: u32 = 16;
/// Bytes of a packet's network header.
pub const PAYLOAD_NETWORK_HEADER: u32 = 1;
/// Bytes of a packet's transport header.
pub const PAYLOAD_TRANSPORT_HEADER: u32 = 2;
/// Where the source port is in the transport header.
pub const SOURCE_PORT_OFFSET: u32 = 0;
/// Where the destination port is in the transport header.
pub const DESTINATION_PORT_OFFSET: u32 = 2;
const RANDOM: u32 = 1;
/// TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// A message with its `struct nfgenmsg`: family, version 0, resource.
pub fn message(kind: u16, flags: u16, family: u8, resource: u16) -> Message {
    let mut message = Message::new(kind, flags);
    message.bytes(&[family, 0]);
    message.bytes(&resource.to_be_bytes());
    message
}

/// [`BATCH_BEGIN`] or [`BATCH_END`].
pub fn batch(kind: u16) -> Message {
    message(kind, 0, FAMILY_NONE, SUBSYSTEM_NFTABLES)
}

/// A new table of IPv4.
pub fn table(name: &str) -> Message {
    table_with_flags(name, 0)
}

/// A new table of IPv4 that is the socket's by which it is made: nobody else can change it, and it goes with the socket.
/// Linux before 5.12 refuses it (EINVAL).
pub fn owned_table(name: &str) -> Message {
    table_with_flags(name, TABLE_FLAG_OWNER)
}

fn table_with_flags(name: &str, flags: u32) -> Message {
    let mut table = message(NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    table.text(TABLE_NAME, name);
    table.number_be(TABLE_FLAGS, flags);
    table
}

/// A new set with one element, a byte, that leaves it by itself after so many milliseconds; the only new set of its
/// transaction.
pub fn timed_set(table: &str, name: &str, element: u8, milliseconds: u64) -> [Message; 2] {
    let make = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut set = message(NEW_SET, make, FAMILY_IPV4, 0);
    set.text(SET_TABLE, table);
    set.text(SET_NAME, name);
    set.number_be(SET_FLAGS, SET_FLAG_TIMEOUT);
    // What `nft` prints the elements as; the kernel does not mind.
    set.number_be(SET_KEY_TYPE, 0);
    set.number_be(SET_KEY_LENGTH, 1);
    // Names the set within the transaction.
    set.number_be(SET_ID, 1);
    let mut elements = message(NEW_SET_ELEMENT, make, FAMILY_IPV4, 0);
    elements.text(ELEMENTS_TABLE, table);
    elements.text(ELEMENTS_SET, name);
    elements.nested(ELEMENTS_LIST, |list| {
        list.nested(LIST_ELEMENT, |one| {
            one.nested(ELEMENT_KEY, |key| key.attribute(DATA_VALUE, &[element]));
            one.attribute(ELEMENT_TIMEOUT, &milliseconds.max(1).to_be_bytes());
        });
    });
    [set, elements]
}

/// Goes on only if what the register holds is in the set.
pub fn lookup(list: &mut Message, set: &str) {
    expression(list, "lookup", |data| {
        data.text(LOOKUP_SET, set);
        data.number_be(LOOKUP_REGISTER, REGISTER);
    });
}

/// A table's end.
pub fn delete_table(name: &str) -> Message {
    let mut table = message(DELETE_TABLE, NLM_F_ACK, FAMILY_IPV4, 0);
    table.text(TABLE_NAME, name);
    table
}

/// A new chain of this kind at a hook; what no rule decides on passes.
pub fn chain(table: &str, name: &str, kind: &str, hook: u32, priority: i32) -> Message {
    let mut chain = message(NEW_CHAIN, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    chain.text(CHAIN_TABLE, table);
    chain.text(CHAIN_NAME, name);
    chain.text(CHAIN_TYPE, kind);
    chain.number_be(CHAIN_POLICY, ACCEPT);
    chain.nested(CHAIN_HOOK, |place| {
        place.number_be(HOOK_NUMBER, hook);
        place.attribute(HOOK_PRIORITY, &priority.to_be_bytes());
    });
    chain
}

/// A rule after those that a chain has; `fill` writes its expressions.
pub fn rule(table: &str, chain: &str, fill: impl FnOnce(&mut Message)) -> Message {
    let mut rule = message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, FAMILY_IPV4, 0);
    rule.text(RULE_TABLE, table);
    rule.text(RULE_CHAIN, chain);
    rule.nested(RULE_EXPRESSIONS, fill);
    rule
}

/// An expression of this name; `fill` writes its attributes.
pub fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nested(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nested(EXPRESSION_DATA, fill);
    });
}

/// Loads what is known of the packet besides its bytes.
pub fn meta(list: &mut Message, key: u32) {
    expression(list, "meta", |data| {
        data.number_be(2, key);
        data.number_be(1, REGISTER);
    });
}

/// Goes on only if the register compares so.
pub fn compare(list: &mut Message, how: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number_be(1, REGISTER);
        data.number_be(2, how);
        data.nested(3, |data| data.attribute(DATA_VALUE, value));
    });
}

/// Loads some of the packet's bytes: of [`PAYLOAD_NETWORK_HEADER`] or [`PAYLOAD_TRANSPORT_HEADER`].
pub fn payload(list: &mut Message, header: u32, offset: u32, length: usize) {
    expression(list, "payload", |data| {
        data.number_be(1, REGISTER);
        data.number_be(2, header);
        data.number_be(3, offset);
        data.number_be(4, u32::try_from(length).unwrap_or(4));
    });
}

/// Goes on only with TCP.
pub fn only_tcp(list: &mut Message) {
    meta(list, META_L4PROTO);
    compare(list, COMPARE_EQUAL, &[PROTOCOL_TCP]);
}

/// Goes on only in so many of a hundred cases, at random: `numgen random mod 100 < PERCENT`.
pub fn percent(list: &mut Message, percent: u8) {
    expression(list, "numgen", |data| {
        data.number_be(1, REGISTER);
        data.number_be(2, 100);
        data.number_be(3, RANDOM);
        data.number_be(4, 0);
    });
    // The number is one of the machine's own byte order; it is compared as one of the network's.
    expression(list, "byteorder", |data| {
        data.number_be(1, REGISTER);
        data.number_be(2, REGISTER);
        data.number_be(3, 1);
        data.number_be(4, 4);
        data.number_be(5, 4);
    });
    compare(list, COMPARE_LESS, &u32::from(percent).to_be_bytes());
}

/// Decides on the packet: [`DROP`] or [`ACCEPT`].
pub fn verdict(list: &mut Message, code: u32) {
    expression(list, "immediate", |data| {
        data.number_be(1, REGISTER_VERDICT);
        data.nested(2, |value| {
            value.nested(DATA_VERDICT, |verdict| verdict.number_be(VERDICT_CODE, code));
        });
    });
}
