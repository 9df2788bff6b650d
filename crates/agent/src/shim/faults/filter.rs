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
use bowline_plumbing::{
    netlink::{Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket},
    nftables::{
        BATCH_BEGIN, BATCH_END, COMPARE_EQUAL, DROP, FAMILY_IPV4, HOOK_INPUT, HOOK_PREROUTING, NEW_TABLE,
        REGISTER, SUBSYSTEM_NFTABLES, batch, chain, compare, delete_table, expression, message, meta,
        payload, percent, rule, verdict,
    },
};

const NEW_SET: u16 = SUBSYSTEM_NFTABLES << 8 | 9;
const NEW_SET_ELEMENT: u16 = SUBSYSTEM_NFTABLES << 8 | 12;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_FLAG_OWNER: u32 = 2;
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
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const KEY_VALUE: u16 = 1;
const LOOKUP_SET: u16 = 1;
const LOOKUP_REGISTER: u16 = 2;

/// Before connections are tracked and destinations translated.
const PRIORITY: i32 = -350;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const DESTINATION_PORT_OFFSET: u32 = 2;
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
    let mut messages = vec![batch(BATCH_BEGIN), table(&name, guards.owner)];
    if guards.timeout {
        messages.extend(armed_set(&name, milliseconds));
    }
    messages.push(chain(&name, CHAIN, "filter", hook, PRIORITY));
    messages.push(rule(&name, CHAIN, |list| {
        if guards.timeout {
            while_armed(list);
        }
        matches(list, drops);
        verdict(list, DROP);
    }));
    messages.push(batch(BATCH_END));
    messages
}

fn deletion(id: &FaultId) -> Vec<Message> {
    vec![batch(BATCH_BEGIN), delete_table(&table_name(id)), batch(BATCH_END)]
}

fn table(name: &str, is_owned: bool) -> Message {
    let mut table = message(NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, FAMILY_IPV4, 0);
    table.text(TABLE_NAME, name);
    table.number_be(TABLE_FLAGS, if is_owned { TABLE_FLAG_OWNER } else { 0 });
    table
}

/// A set whose only element, the protocol of all packets that come here, expires.
fn armed_set(table: &str, milliseconds: u64) -> [Message; 2] {
    let make = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut set = message(NEW_SET, make, FAMILY_IPV4, 0);
    set.text(SET_TABLE, table);
    set.text(SET_NAME, SET);
    set.number_be(SET_FLAGS, SET_FLAG_TIMEOUT);
    // What `nft` prints the elements as; the kernel does not mind.
    set.number_be(SET_KEY_TYPE, 0);
    set.number_be(SET_KEY_LENGTH, 1);
    // Names the set within the transaction.
    set.number_be(SET_ID, 1);
    let mut element = message(NEW_SET_ELEMENT, make, FAMILY_IPV4, 0);
    element.text(ELEMENTS_TABLE, table);
    element.text(ELEMENTS_SET, SET);
    element.nested(ELEMENTS_LIST, |list| {
        list.nested(ELEMENT, |element| {
            element.nested(ELEMENT_KEY, |key| key.attribute(KEY_VALUE, &[FAMILY_IPV4]));
            element.attribute(ELEMENT_TIMEOUT, &milliseconds.max(1).to_be_bytes());
        });
    });
    [set, element]
}

/// Goes on only as long as the set has its element.
fn while_armed(list: &mut Message) {
    meta(list, META_NFPROTO);
    expression(list, "lookup", |data| {
        data.text(LOOKUP_SET, SET);
        data.number_be(LOOKUP_REGISTER, REGISTER);
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
        Drops::Share { percent: of_hundred } => percent(list, of_hundred),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel may refuse is left out, and only that.
    #[test]
    fn each_guard_can_be_done_without() {
        let drops = Drops::Share { percent: 20 };
        let bytes = |guards| {
            let messages = addition(&FaultId::new(1), HOOK_INPUT, drops, 30_000, guards).into_iter();
            messages.map(|message| message.finish(1)).collect::<Vec<_>>()
        };
        let [all, unowned, plain] = GUARDS.map(bytes);
        assert_eq!((all.len(), unowned.len(), plain.len()), (7, 7, 5));
        let differing = all.iter().zip(&unowned).filter(|(one, other)| one != other).count();
        assert_eq!(differing, 1, "the table's flags");
        assert_eq!((&unowned[1], &unowned[4]), (&plain[1], &plain[2]), "table and chain");
        let name = b"bowline-fault-flt-0000000000000001\0";
        assert!(plain[1].windows(name.len()).any(|window| window == name));
        let timeout = 30_000_u64.to_be_bytes();
        assert!(all[3].windows(timeout.len()).any(|window| window == timeout));
    }
}
