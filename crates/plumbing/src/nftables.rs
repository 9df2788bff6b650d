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
const META_L4PROTO: u32 = 16;
const RANDOM: u32 = 1;
const PROTOCOL_TCP: u8 = 6;

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
    let mut table = message(NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    table.text(TABLE_NAME, name);
    table.number_be(TABLE_FLAGS, 0);
    table
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

/// Loads some of the packet's bytes: of the network header (1) or the transport header (2).
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
