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
    netlink::{Message, NetlinkSocket},
    nftables::{
        BATCH_BEGIN, BATCH_END, COMPARE_EQUAL, DESTINATION_PORT_OFFSET, DROP, FAMILY_IPV4, HOOK_INPUT,
        HOOK_PREROUTING, META_L4PROTO, META_NFPROTO, PAYLOAD_TRANSPORT_HEADER, PRIORITY_RAW, PROTOCOL_TCP,
        PROTOCOL_UDP, batch, chain, compare, delete_table, lookup, meta, owned_table, payload, percent, rule,
        table, timed_set, verdict,
    },
};

/// Before connections are tracked and destinations translated, and before whatever else looks at packets there.
const PRIORITY: i32 = PRIORITY_RAW - 50;
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
    let table = if guards.owner { owned_table(&name) } else { table(&name) };
    let mut messages = vec![batch(BATCH_BEGIN), table];
    if guards.timeout {
        // Its element is the protocol of all packets that come here.
        messages.extend(timed_set(&name, SET, FAMILY_IPV4, milliseconds));
    }
    messages.push(chain(&name, CHAIN, "filter", hook, PRIORITY));
    messages.push(rule(&name, CHAIN, |list| {
        if guards.timeout {
            meta(list, META_NFPROTO);
            lookup(list, SET);
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
