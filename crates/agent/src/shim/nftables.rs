//! The one packet filter rule of a task that may reach beyond its aliases, in
//! nf_tables' own messages (`include/uapi/linux/netfilter/nf_tables.h`). As
//! `nft` would print it, ALIASES being the device and PORT the port:
//!
//! ```text
//! table ip bowline {
//!     chain egress {
//!         type nat hook prerouting priority dstnat; policy accept;
//!         iifname "ALIASES" meta l4proto tcp ip daddr != 0.0.0.0/8 … redirect to :PORT
//!     }
//! }
//! ```
//!
//! What the rule leaves alone is refused as it is without the rule.

use std::{io, net::Ipv4Addr};

use bowline_plumbing::netlink::{
    Family, Message, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket,
};

const TABLE: &str = "bowline";
const CHAIN: &str = "egress";

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM_NFTABLES: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM_NFTABLES << 8;
const NEW_CHAIN: u16 = SUBSYSTEM_NFTABLES << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM_NFTABLES << 8 | 6;
const FAMILY_NONE: u8 = 0;
const FAMILY_IPV4: u8 = 2;

const LIST_ELEMENT: u16 = 1;
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
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;

const HOOK_PREROUTING: u32 = 0;
/// Where destinations are translated, as `priority dstnat` (-100).
const PRIORITY_DSTNAT: i32 = -100;
const POLICY_ACCEPT: u32 = 1;
const REGISTER: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_L4PROTO: u32 = 16;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_NOT_EQUAL: u32 = 1;
const PAYLOAD_NETWORK_HEADER: u32 = 1;
const DESTINATION_OFFSET: u32 = 16;
const INTERFACE_NAME_BYTES: usize = 16;
const PROTOCOL_TCP: u8 = 6;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`: the port is given.
const REDIRECT_TO_PORT: u32 = 2;

/// In the thread's network namespace, redirects new TCP connections that come
/// in over `device` for an address in none of `except` to `port` of the
/// device's own address.
///
/// # Errors
/// The kernel has no nf_tables, or does not let this user namespace use it.
pub(crate) fn redirect_tcp(device: &str, except: &[(Ipv4Addr, u8)], port: u16) -> io::Result<()> {
    NetlinkSocket::open(Family::Netfilter)?.call_all(messages(device, except, port))
}

/// One transaction: all of it or nothing.
fn messages(device: &str, except: &[(Ipv4Addr, u8)], port: u16) -> Vec<Message> {
    vec![batch(BATCH_BEGIN), table(), chain(), rule(device, except, port), batch(BATCH_END)]
}

/// A message with its `struct nfgenmsg`: family, version 0, resource.
fn message(kind: u16, flags: u16, family: u8, resource: u16) -> Message {
    let mut message = Message::new(kind, flags);
    message.bytes(&[family, 0]);
    message.bytes(&resource.to_be_bytes());
    message
}

fn batch(kind: u16) -> Message {
    message(kind, 0, FAMILY_NONE, SUBSYSTEM_NFTABLES)
}

fn table() -> Message {
    let mut table = message(NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    table.text(TABLE_NAME, TABLE);
    table.number_be(TABLE_FLAGS, 0);
    table
}

fn chain() -> Message {
    let mut chain = message(NEW_CHAIN, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    chain.text(CHAIN_TABLE, TABLE);
    chain.text(CHAIN_NAME, CHAIN);
    chain.text(CHAIN_TYPE, "nat");
    chain.number_be(CHAIN_POLICY, POLICY_ACCEPT);
    chain.nested(CHAIN_HOOK, |hook| {
        hook.number_be(HOOK_NUMBER, HOOK_PREROUTING);
        hook.attribute(HOOK_PRIORITY, &PRIORITY_DSTNAT.to_be_bytes());
    });
    chain
}

fn rule(device: &str, except: &[(Ipv4Addr, u8)], port: u16) -> Message {
    let mut rule = message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, FAMILY_IPV4, 0);
    rule.text(RULE_TABLE, TABLE);
    rule.text(RULE_CHAIN, CHAIN);
    rule.nested(RULE_EXPRESSIONS, |expressions| {
        let mut name = [0; INTERFACE_NAME_BYTES];
        for (place, byte) in name.iter_mut().zip(device.bytes().take(INTERFACE_NAME_BYTES - 1)) {
            *place = byte;
        }
        meta(expressions, META_IIFNAME);
        compare(expressions, COMPARE_EQUAL, &name);
        meta(expressions, META_L4PROTO);
        compare(expressions, COMPARE_EQUAL, &[PROTOCOL_TCP]);
        for (network, prefix) in except {
            destination_outside(expressions, *network, *prefix);
        }
        expression(expressions, "immediate", |data| {
            data.number_be(1, REGISTER);
            data.nested(2, |value| value.attribute(DATA_VALUE, &port.to_be_bytes()));
        });
        expression(expressions, "redir", |data| {
            data.number_be(1, REGISTER);
            data.number_be(3, REDIRECT_TO_PORT);
        });
    });
    rule
}

fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nested(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nested(EXPRESSION_DATA, fill);
    });
}

/// Loads what is known of the packet besides its bytes.
fn meta(list: &mut Message, key: u32) {
    expression(list, "meta", |data| {
        data.number_be(2, key);
        data.number_be(1, REGISTER);
    });
}

/// Goes on only if the register compares so.
fn compare(list: &mut Message, how: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number_be(1, REGISTER);
        data.number_be(2, how);
        data.nested(3, |data| data.attribute(DATA_VALUE, value));
    });
}

/// Goes on only if the destination is not in the network. As `nft` does it: of
/// a prefix of whole bytes only these are loaded, else a mask is applied.
fn destination_outside(list: &mut Message, network: Ipv4Addr, prefix: u8) {
    let prefix = prefix.clamp(1, 32);
    let mask = u32::MAX << (32 - u32::from(prefix));
    let network = Ipv4Addr::from(u32::from(network) & mask).octets();
    let loaded = if prefix % 8 == 0 { usize::from(prefix / 8) } else { network.len() };
    expression(list, "payload", |data| {
        data.number_be(1, REGISTER);
        data.number_be(2, PAYLOAD_NETWORK_HEADER);
        data.number_be(3, DESTINATION_OFFSET);
        data.number_be(4, u32::try_from(loaded).unwrap_or(4));
    });
    if prefix % 8 != 0 {
        expression(list, "bitwise", |data| {
            data.number_be(1, REGISTER);
            data.number_be(2, REGISTER);
            data.number_be(3, 4);
            data.nested(4, |value| value.attribute(DATA_VALUE, &mask.to_be_bytes()));
            data.nested(5, |value| value.attribute(DATA_VALUE, &[0; 4]));
        });
    }
    compare(list, COMPARE_NOT_EQUAL, &network[..loaded]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::network::ALIAS_NETWORK;

    /// What nft 1.0 sends as the third message for `iifname "aliases" meta l4proto tcp ip daddr !=
    /// 198.18.0.0/15 ip daddr != 127.0.0.0/8 redirect to :15001`, an expression a line (taken with strace).
    const RULE_OF_NFT: &str = "
        0c 00 01 00 62 6f 77 6c 69 6e 65 00 0b 00 02 00 65 67 72 65 73 73 00 00 04 02 04 80
        24 00 01 80 09 00 01 00 6d 65 74 61 00 00 00 00 14 00 02 80 08 00 02 00 00 00 00 06 08 00 01 00 00 00 00 01
        38 00 01 80 08 00 01 00 63 6d 70 00 2c 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 00 18 00 03 80 \
          14 00 01 00 61 6c 69 61 73 65 73 00 00 00 00 00 00 00 00 00
        24 00 01 80 09 00 01 00 6d 65 74 61 00 00 00 00 14 00 02 80 08 00 02 00 00 00 00 10 08 00 01 00 00 00 00 01
        2c 00 01 80 08 00 01 00 63 6d 70 00 20 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 00 0c 00 03 80 \
          05 00 01 00 06 00 00 00
        34 00 01 80 0c 00 01 00 70 61 79 6c 6f 61 64 00 24 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 01 \
          08 00 03 00 00 00 00 10 08 00 04 00 00 00 00 04
        44 00 01 80 0c 00 01 00 62 69 74 77 69 73 65 00 34 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 01 \
          08 00 03 00 00 00 00 04 0c 00 04 80 08 00 01 00 ff fe 00 00 0c 00 05 80 08 00 01 00 00 00 00 00
        2c 00 01 80 08 00 01 00 63 6d 70 00 20 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 01 0c 00 03 80 \
          08 00 01 00 c6 12 00 00
        34 00 01 80 0c 00 01 00 70 61 79 6c 6f 61 64 00 24 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 01 \
          08 00 03 00 00 00 00 10 08 00 04 00 00 00 00 01
        2c 00 01 80 08 00 01 00 63 6d 70 00 20 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 01 0c 00 03 80 \
          05 00 01 00 7f 00 00 00
        2c 00 01 80 0e 00 01 00 69 6d 6d 65 64 69 61 74 65 00 00 00 18 00 02 80 08 00 01 00 00 00 00 01 0c 00 02 80 \
          06 00 01 00 3a 99 00 00
        24 00 01 80 0a 00 01 00 72 65 64 69 72 00 00 00 14 00 02 80 08 00 01 00 00 00 00 01 08 00 03 00 00 00 00 02";

    const CHAIN_OF_NFT: &str = "
        0c 00 01 00 62 6f 77 6c 69 6e 65 00 0b 00 03 00 65 67 72 65 73 73 00 00 08 00 07 00 6e 61 74 00
        08 00 05 00 00 00 00 01 14 00 04 80 08 00 01 00 00 00 00 00 08 00 02 00 ff ff ff 9c";

    /// `struct nlmsghdr` and `struct nfgenmsg`.
    const HEADERS: usize = 20;

    fn bytes(text: &str) -> Vec<u8> {
        text.split_whitespace()
            .filter(|word| *word != "\\")
            .map(|word| u8::from_str_radix(word, 16).expect("hex"))
            .collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_messages_are_those_of_nft() {
        let rule = rule("aliases", &[ALIAS_NETWORK, (Ipv4Addr::LOCALHOST, 8)], 15_001).finish(3);
        assert_eq!(rule[..2], 560u16.to_ne_bytes());
        assert_eq!(rule[4..6], 0x0a06u16.to_ne_bytes());
        assert_eq!(rule[16], 2, "IPv4");
        assert_eq!(rule[HEADERS..], bytes(RULE_OF_NFT));
        assert_eq!(chain().finish(2)[HEADERS..], bytes(CHAIN_OF_NFT));
        let begin = batch(BATCH_BEGIN).finish(0);
        assert_eq!(begin[..6], [20, 0, 0, 0, 0x10, 0]);
        assert_eq!(begin[16..], [0, 0, 0, 10]);
    }
}
