//! Packets that are dropped in a task's networks, by a table of nf_tables for each fault. As `nft` would print one:
//!
//! ```text
//! table ip bowline-fault-flt-0123456789abcdef {
//!     flags owner
//!     set armed { typeof meta nfproto; flags timeout; elements = { ipv4 timeout 30s } }
//!     chain harm {
//!         type filter hook input priority -350; policy accept;
//!         meta nfproto @armed meta l4proto tcp th dport 8080 drop
//!         meta nfproto @armed numgen random mod 100 < 20 drop
//!     }
//! }
//! ```
//!
//! When the set's only element has expired nothing matches any longer, whatever has become of us: the kernel is the
//! dead man's switch. The table is its socket's (`flags owner`), and goes with it.
//!
//! What comes to the application is dropped where it enters its network, what goes to the aliases where it leaves it,
//! as on a wire: dropped on its way out, a sender would be told at once (`EPERM`).

use std::io;

use bowline_model::fault::FaultId;
use bowline_plumbing::netlink::{Message, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket};

use crate::shim::nftables::{batch, compare, expression, message, meta, payload};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_SET_ELEMENT: u16 = SUBSYSTEM | 12;
const FAMILY_IPV4: u8 = 2;

const TABLE_FLAG_OWNER: u32 = 2;
const SET_FLAG_TIMEOUT: u32 = 0x10;
const HOOK_PREROUTING: u32 = 0;
const HOOK_INPUT: u32 = 1;
/// Before connections are tracked and destinations translated.
const PRIORITY: i32 = -350;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
const REGISTER_VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_LESS: u32 = 2;
const PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const DESTINATION_PORT_OFFSET: u32 = 2;
const RANDOM: u32 = 1;
const TO_NETWORK_ORDER: u32 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

const CHAIN: &str = "harm";
const SET: &str = "armed";

/// Which packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drops {
    /// Those to a port.
    Port { port: u16, tcp: bool, ingress: bool },
    /// So many of a hundred, at random, in each direction.
    Share { percent: u8 },
}

/// The packet filters of a task's networks.
#[derive(Debug)]
pub(super) struct PacketFilters {
    /// The application's.
    pub(super) application: NetlinkSocket,
    /// Where the aliases are.
    pub(super) aliases: NetlinkSocket,
}

/// What the kernel is asked for beside the rule.
#[derive(Clone, Copy, Debug)]
struct Guards {
    owner: bool,
    timeout: bool,
}

/// Older kernels have fewer: owners came with 5.12.
const GUARDS: [Guards; 3] = [
    Guards { owner: true, timeout: true },
    Guards { owner: false, timeout: true },
    Guards { owner: false, timeout: false },
];

impl PacketFilters {
    /// Drops packets from now on, for so many milliseconds where the kernel can count them. True: it does.
    pub(super) fn begin(&mut self, id: &FaultId, drops: Drops, milliseconds: u64) -> io::Result<bool> {
        let mut counts = true;
        let result = self.of(drops).into_iter().try_for_each(|(socket, hook)| {
            counts &= add(socket, id, hook, drops, milliseconds)?;
            Ok(())
        });
        if result.is_err() {
            let _ = self.end(id, drops);
        }
        result.map(|()| counts)
    }

    /// Drops no more. That it is done already is no error.
    pub(super) fn end(&mut self, id: &FaultId, drops: Drops) -> io::Result<()> {
        let mut result = Ok(());
        for (socket, _) in self.of(drops) {
            match socket.call_all(deletion(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => {}
            }
        }
        result
    }

    fn of(&mut self, drops: Drops) -> Vec<(&mut NetlinkSocket, u32)> {
        let (inward, outward) = match drops {
            Drops::Port { ingress, .. } => (ingress, !ingress),
            Drops::Share { .. } => (true, true),
        };
        let inward = inward.then_some((&mut self.application, HOOK_INPUT));
        let outward = outward.then_some((&mut self.aliases, HOOK_PREROUTING));
        inward.into_iter().chain(outward).collect()
    }
}

fn add(
    socket: &mut NetlinkSocket,
    id: &FaultId,
    hook: u32,
    drops: Drops,
    milliseconds: u64,
) -> io::Result<bool> {
    let mut failure = None;
    for guards in GUARDS {
        match socket.call_all(addition(id, hook, drops, milliseconds, guards)) {
            Ok(()) => return Ok(guards.timeout),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("no rule fits")))
}

fn table_name(id: &FaultId) -> String {
    format!("bowline-fault-{id}")
}

/// One transaction: all of it or nothing.
fn addition(id: &FaultId, hook: u32, drops: Drops, milliseconds: u64, guards: Guards) -> Vec<Message> {
    let name = table_name(id);
    let make = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut table = message(NEW_TABLE, make, FAMILY_IPV4, 0);
    table.text(1, &name);
    table.number_be(2, if guards.owner { TABLE_FLAG_OWNER } else { 0 });

    let mut chain = message(NEW_CHAIN, make, FAMILY_IPV4, 0);
    chain.text(1, &name);
    chain.text(3, CHAIN);
    chain.text(7, "filter");
    chain.number_be(5, ACCEPT);
    chain.nested(4, |place| {
        place.number_be(1, hook);
        place.attribute(2, &PRIORITY.to_be_bytes());
    });

    let mut rule = message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, FAMILY_IPV4, 0);
    rule.text(1, &name);
    rule.text(2, CHAIN);
    rule.nested(4, |list| {
        if guards.timeout {
            while_armed(list);
        }
        matches(list, drops);
        drop_packet(list);
    });

    let mut messages = vec![batch(BATCH_BEGIN), table];
    if guards.timeout {
        messages.extend(armed_set(&name, milliseconds));
    }
    messages.extend([chain, rule, batch(BATCH_END)]);
    messages
}

fn deletion(id: &FaultId) -> Vec<Message> {
    let mut table = message(DELETE_TABLE, NLM_F_ACK, FAMILY_IPV4, 0);
    table.text(1, &table_name(id));
    vec![batch(BATCH_BEGIN), table, batch(BATCH_END)]
}

/// A set whose only element, the protocol of all packets that come here, expires.
fn armed_set(table: &str, milliseconds: u64) -> [Message; 2] {
    let make = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut set = message(NEW_SET, make, FAMILY_IPV4, 0);
    set.text(1, table);
    set.text(2, SET);
    set.number_be(3, SET_FLAG_TIMEOUT);
    // What `nft` prints the elements as; the kernel does not mind.
    set.number_be(4, 0);
    set.number_be(5, 1);
    // Names the set within the transaction.
    set.number_be(10, 1);
    let mut element = message(NEW_SET_ELEMENT, make, FAMILY_IPV4, 0);
    element.text(1, table);
    element.text(2, SET);
    element.nested(3, |list| {
        list.nested(1, |element| {
            element.nested(1, |key| key.attribute(1, &[FAMILY_IPV4]));
            element.attribute(4, &milliseconds.max(1).to_be_bytes());
        });
    });
    [set, element]
}

/// Goes on only as long as the set has its element.
fn while_armed(list: &mut Message) {
    meta(list, META_NFPROTO);
    expression(list, "lookup", |data| {
        data.text(1, SET);
        data.number_be(2, REGISTER);
    });
}

fn matches(list: &mut Message, drops: Drops) {
    match drops {
        Drops::Port { port, tcp, .. } => {
            meta(list, META_L4PROTO);
            compare(list, COMPARE_EQUAL, &[if tcp { PROTOCOL_TCP } else { PROTOCOL_UDP }]);
            payload(list, PAYLOAD_TRANSPORT_HEADER, DESTINATION_PORT_OFFSET, 2);
            compare(list, COMPARE_EQUAL, &port.to_be_bytes());
        }
        Drops::Share { percent } => {
            expression(list, "numgen", |data| {
                data.number_be(1, REGISTER);
                data.number_be(2, 100);
                data.number_be(3, RANDOM);
                data.number_be(4, 0);
            });
            // Order is compared byte by byte.
            expression(list, "byteorder", |data| {
                data.number_be(1, REGISTER);
                data.number_be(2, REGISTER);
                data.number_be(3, TO_NETWORK_ORDER);
                data.number_be(4, 4);
                data.number_be(5, 4);
            });
            compare(list, COMPARE_LESS, &u32::from(percent).to_be_bytes());
        }
    }
}

fn drop_packet(list: &mut Message) {
    expression(list, "immediate", |data| {
        data.number_be(1, REGISTER_VERDICT);
        data.nested(2, |value| value.nested(2, |verdict| verdict.number_be(1, DROP)));
    });
}
