//! What a task gets where it can have no network of its own: loopback
//! addresses of the host, 127.X.Y.0/24 to a task.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

use bowline_model::task::{Alias, TaskId};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

/// The first network is left to the host's own use.
const NETWORKS: u32 = 0xffff - 0x00ff;

/// Tasks that may live side by side before a free network is hard to find.
const ATTEMPTS_MAX: u32 = 4096;

/// A task's addresses on the host's loopback.
#[derive(Debug)]
pub(crate) struct HostNetwork {
    base: u32,
    aliases: HashMap<Ipv4Addr, Ipv4Addr>,
    /// Nobody else takes the same network while this socket is open.
    _claim: Option<OwnedFd>,
}

impl HostNetwork {
    /// Takes a network that no other task of this machine has.
    pub(crate) fn claim(task: &TaskId, aliases: &[Alias]) -> io::Result<Self> {
        let seed = u32::from_str_radix(&task.as_str()[..8], 16).unwrap_or_default();
        for attempt in 0..ATTEMPTS_MAX {
            let number = 0x0100 + seed.wrapping_add(attempt) % NETWORKS;
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            let name = format!("bowline-host-network-{number}");
            match bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?) {
                Ok(()) => return Ok(Self::new(number, aliases, Some(socket))),
                Err(rustix::io::Errno::ADDRINUSE) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("no loopback network is free for the task"))
    }

    fn new(number: u32, aliases: &[Alias], claim: Option<OwnedFd>) -> Self {
        let base = (127 << 24) | (number << 8);
        let mut network = Self { base, aliases: HashMap::new(), _claim: claim };
        for alias in aliases {
            network.alias(alias.address);
        }
        network
    }

    /// Where the application should listen.
    pub(crate) fn application(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | 1)
    }

    /// Where the sidecar listens for the alias of this virtual address;
    /// `None` when the network is full.
    pub(crate) fn alias(&mut self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        if let Some(known) = self.aliases.get(&address) {
            return Some(*known);
        }
        let host = u8::try_from(self.aliases.len() + 2).ok().filter(|host| *host < 255)?;
        let own = Ipv4Addr::from(self.base | u32::from(host));
        self.aliases.insert(address, own);
        Some(own)
    }

    /// Where to listen for what was asked for at `address`.
    pub(crate) fn map(&mut self, address: SocketAddrV4) -> Option<SocketAddrV4> {
        Some(SocketAddrV4::new(self.alias(*address.ip())?, address.port()))
    }

    /// Puts the sidecar's addresses in place of the aliases' `name:port` in
    /// `text`, and gives the result if there was any.
    pub(crate) fn replace_aliases(&mut self, text: &str, aliases: &[Alias]) -> Option<String> {
        let mut replacements: BTreeMap<String, String> = BTreeMap::new();
        for alias in aliases {
            let Some(own) = self.alias(alias.address) else { continue };
            for name in &alias.names {
                replacements.insert(format!("{name}:{}", alias.port), format!("{own}:{}", alias.port));
            }
        }
        let mut result = text.to_owned();
        for (from, to) in replacements {
            result = replace_whole(&result, &from, &to);
        }
        (result != text).then_some(result)
    }
}

/// Replaces `from` where it is neither part of a longer name nor of a longer port.
fn replace_whole(text: &str, from: &str, to: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find(from) {
        let end = position + from.len();
        let before = rest[..position].chars().next_back().or_else(|| result.chars().next_back());
        let part_of_name = before.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        let part_of_port = rest[end..].starts_with(|c: char| c.is_ascii_digit());
        result.push_str(&rest[..position]);
        result.push_str(if part_of_name || part_of_port { from } else { to });
        rest = &rest[end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_names_with_whole_ports_only() {
        let alias = Alias {
            names: vec!["b".to_owned(), "b.ns".to_owned()],
            address: Ipv4Addr::new(198, 18, 1, 1),
            port: 80,
        };
        let mut network = HostNetwork::new(0x0102, &[], None);
        assert_eq!(network.application(), Ipv4Addr::new(127, 1, 2, 1));
        let mut replaced = |text: &str| network.replace_aliases(text, std::slice::from_ref(&alias));
        assert_eq!(replaced("http://b:80/x b.ns:80").as_deref(), Some("http://127.1.2.2:80/x 127.1.2.2:80"));
        assert_eq!(replaced("http://b:8080 ab:80 b"), None);
    }

    #[test]
    fn no_two_tasks_have_one_network() {
        let id: TaskId = "0123456789abcdef0123456789abcdef".parse().expect("an id");
        let one = HostNetwork::claim(&id, &[]).expect("free");
        let two = HostNetwork::claim(&id, &[]).expect("free");
        assert_ne!(one.application(), two.application());
    }
}
