//! The packet filter rules of a task that may reach beyond its aliases, in
//! nf_tables' own messages (`include/uapi/linux/netfilter/nf_tables.h`). As
//! `nft` would print them, ALIASES being the device and PORT the port:
//!
//! ```text
//! table ip bowline {
//!     chain tracked {
//!         type filter hook prerouting priority raw; policy accept;
//!         iifname "ALIASES" meta l4proto tcp ip daddr != 0.0.0.0/8 … accept
//!         notrack
//!     }
//!     chain answers {
//!         type filter hook output priority raw; policy accept;
//!         th sport != PORT notrack
//!     }
//!     chain egress {
//!         type nat hook prerouting priority dstnat; policy accept;
//!         iifname "ALIASES" meta l4proto tcp ip daddr != 0.0.0.0/8 … redirect to :PORT
//!     }
//! }
//! ```
//!
//! What the last rule leaves alone is refused as it is without the rule. The
//! others keep the kernel's connection table, which is limited and whose
//! entries outlive their connections by minutes, for what is redirected: the
//! aliases' connections do not fill it.

use std::{io, net::Ipv4Addr};

use bowline_plumbing::{
    netlink::{Family, Message, NetlinkSocket},
    nftables::{
        ACCEPT, BATCH_BEGIN, BATCH_END, COMPARE_EQUAL, COMPARE_NOT_EQUAL, DATA_VALUE, EXPRESSION_NAME,
        HOOK_OUTPUT, HOOK_PREROUTING, LIST_ELEMENT, META_IIFNAME, PAYLOAD_NETWORK_HEADER,
        PAYLOAD_TRANSPORT_HEADER, PRIORITY_DSTNAT, PRIORITY_RAW, REGISTER, SOURCE_PORT_OFFSET, batch, chain,
        compare, expression, meta, only_tcp, payload, rule, table, verdict,
    },
};

const TABLE: &str = "bowline";
const CHAIN_TRACKED: &str = "tracked";
const CHAIN_ANSWERS: &str = "answers";
const CHAIN_EGRESS: &str = "egress";

/// Of the destination's address, in a header of IPv4.
const DESTINATION_OFFSET: u32 = 16;
const INTERFACE_NAME_BYTES: usize = 16;
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
    vec![
        batch(BATCH_BEGIN),
        table(TABLE),
        chain(TABLE, CHAIN_TRACKED, "filter", HOOK_PREROUTING, PRIORITY_RAW),
        chain(TABLE, CHAIN_ANSWERS, "filter", HOOK_OUTPUT, PRIORITY_RAW),
        chain(TABLE, CHAIN_EGRESS, "nat", HOOK_PREROUTING, PRIORITY_DSTNAT),
        rule(TABLE, CHAIN_TRACKED, |list| {
            egress(list, device, except);
            verdict(list, ACCEPT);
        }),
        rule(TABLE, CHAIN_TRACKED, do_not_track),
        rule(TABLE, CHAIN_ANSWERS, |list| {
            payload(list, PAYLOAD_TRANSPORT_HEADER, SOURCE_PORT_OFFSET, 2);
            compare(list, COMPARE_NOT_EQUAL, &port.to_be_bytes());
            do_not_track(list);
        }),
        rule(TABLE, CHAIN_EGRESS, |list| {
            egress(list, device, except);
            redirect(list, port);
        }),
        batch(BATCH_END),
    ]
}

/// Goes on only with TCP that comes in over `device` for an address in none of `except`.
fn egress(list: &mut Message, device: &str, except: &[(Ipv4Addr, u8)]) {
    let mut name = [0; INTERFACE_NAME_BYTES];
    for (place, byte) in name.iter_mut().zip(device.bytes().take(INTERFACE_NAME_BYTES - 1)) {
        *place = byte;
    }
    meta(list, META_IIFNAME);
    compare(list, COMPARE_EQUAL, &name);
    only_tcp(list);
    for (network, prefix) in except {
        destination_outside(list, *network, *prefix);
    }
}

fn redirect(list: &mut Message, port: u16) {
    expression(list, "immediate", |data| {
        data.number_be(1, REGISTER);
        data.nested(2, |value| value.attribute(DATA_VALUE, &port.to_be_bytes()));
    });
    expression(list, "redir", |data| {
        data.number_be(1, REGISTER);
        data.number_be(3, REDIRECT_TO_PORT);
    });
}

fn do_not_track(list: &mut Message) {
    list.nested(LIST_ELEMENT, |element| element.text(EXPRESSION_NAME, "notrack"));
}

/// Goes on only if the destination is not in the network. As `nft` does it: of
/// a prefix of whole bytes only these are loaded, else a mask is applied.
fn destination_outside(list: &mut Message, network: Ipv4Addr, prefix: u8) {
    let prefix = prefix.clamp(1, 32);
    let mask = u32::MAX << (32 - u32::from(prefix));
    let network = Ipv4Addr::from(u32::from(network) & mask).octets();
    let loaded = if prefix.is_multiple_of(8) { usize::from(prefix / 8) } else { network.len() };
    payload(list, PAYLOAD_NETWORK_HEADER, DESTINATION_OFFSET, loaded);
    if !prefix.is_multiple_of(8) {
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

    /// The end of `… accept`.
    const ACCEPT_OF_NFT: &str = "
        30 00 01 80 0e 00 01 00 69 6d 6d 65 64 69 61 74 65 00 00 00 1c 00 02 80 08 00 01 00 00 00 00 00 \
          10 00 02 80 0c 00 02 80 08 00 01 00 00 00 00 01";
    const ACCEPT_BYTES: usize = 48;

    /// `notrack` in the chain `tracked`.
    const NOTRACK_RULE_OF_NFT: &str = "
        0c 00 01 00 62 6f 77 6c 69 6e 65 00 0c 00 02 00 74 72 61 63 6b 65 64 00
        14 00 04 80 10 00 01 80 0c 00 01 00 6e 6f 74 72 61 63 6b 00";

    /// `th sport != 15001 notrack` in the chain `answers`.
    const ANSWERS_RULE_OF_NFT: &str = "
        0c 00 01 00 62 6f 77 6c 69 6e 65 00 0c 00 02 00 61 6e 73 77 65 72 73 00 74 00 04 80
        34 00 01 80 0c 00 01 00 70 61 79 6c 6f 61 64 00 24 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 02 \
          08 00 03 00 00 00 00 00 08 00 04 00 00 00 00 02
        2c 00 01 80 08 00 01 00 63 6d 70 00 20 00 02 80 08 00 01 00 00 00 00 01 08 00 02 00 00 00 00 01 0c 00 03 80 \
          06 00 01 00 3a 99 00 00
        10 00 01 80 0c 00 01 00 6e 6f 74 72 61 63 6b 00";

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
        let messages = messages("aliases", &[ALIAS_NETWORK, (Ipv4Addr::LOCALHOST, 8)], 15_001);
        let [begin, .., chain, tracked, not_tracked, answers, rule, _] =
            &messages.into_iter().map(|message| message.finish(3)).collect::<Vec<_>>()[..]
        else {
            panic!("other messages")
        };
        assert_eq!(rule[..2], 560u16.to_ne_bytes());
        assert_eq!(rule[4..6], 0x0a06u16.to_ne_bytes());
        assert_eq!(rule[16], 2, "IPv4");
        assert_eq!(rule[HEADERS..], bytes(RULE_OF_NFT));
        assert_eq!(chain[HEADERS..], bytes(CHAIN_OF_NFT));
        assert_eq!(tracked.len(), 528);
        assert_eq!(tracked[tracked.len() - ACCEPT_BYTES..], bytes(ACCEPT_OF_NFT));
        assert_eq!(not_tracked[HEADERS..], bytes(NOTRACK_RULE_OF_NFT));
        assert_eq!(answers[HEADERS..], bytes(ANSWERS_RULE_OF_NFT));
        assert_eq!(begin[..6], [20, 0, 0, 0, 0x10, 0]);
        assert_eq!(begin[16..], [0, 0, 0, 10]);
    }
}
