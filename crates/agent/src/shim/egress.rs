//! What a task tries to reach beyond its aliases: refused by its networks, and
//! logged here, one line for each destination and port.

use std::{collections::HashSet, io, net::Ipv4Addr, os::fd::OwnedFd};

use bowline_model::{
    network::{CREDENTIALS_ADDRESS, is_never_egress},
    task::Egress,
};
use bowline_plumbing::sys::watch_fd;
use tokio::io::{Interest, unix::AsyncFd};

use super::{init_process::InitProcess, outputs::Outputs};
use crate::protocol::ToInit;

/// Destinations logged for one task; then one line says that there are more.
const DESTINATIONS_MAX: usize = 256;

/// The socket that sees the attempts.
pub(crate) fn tap(init: &InitProcess) -> io::Result<AsyncFd<OwnedFd>> {
    let (_, fds) = init.call(&ToInit::EgressTap, &[])?;
    let socket = fds.into_iter().next().ok_or_else(|| io::Error::other("the task's init gave no socket"))?;
    watch_fd(socket, Interest::READABLE)
}

/// Logs attempts that `egress` denies until the limit is reached. Where the task has a role, or X-Ray's daemon,
/// `credentials`, what is at their address is no attempt.
pub(crate) async fn watch(tap: AsyncFd<OwnedFd>, egress: Egress, credentials: bool, outputs: &Outputs) {
    let mut seen = HashSet::new();
    let mut packet = [0u8; 64];
    loop {
        let length = tap
            .async_io(Interest::READABLE, |socket| {
                let (length, _) = rustix::net::recv(socket, &mut packet, rustix::net::RecvFlags::empty())?;
                Ok(length)
            })
            .await;
        let Ok(length) = length else { return };
        let Some(destination) = destination(&packet[..length]) else { continue };
        let own = credentials && destination.1 == CREDENTIALS_ADDRESS;
        if own || is_redirected(egress, destination) || !seen.insert(destination) {
            continue;
        }
        let (protocol, address, port) = destination;
        if seen.len() > DESTINATIONS_MAX {
            outputs.launcher(format!(
                "egress to more than {DESTINATIONS_MAX} destinations denied; no more are logged"
            ));
            return;
        }
        outputs.launcher(format!("egress to {address}:{port} ({}) denied", protocol.name()));
    }
}

/// Whether the sidecar gets it, and logs it.
fn is_redirected(egress: Egress, (protocol, address, _): (Protocol, Ipv4Addr, u16)) -> bool {
    egress == Egress::Allow && protocol == Protocol::Tcp && !is_never_egress(address)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where an IPv4 packet goes, unless that is within the task.
fn destination(packet: &[u8]) -> Option<(Protocol, Ipv4Addr, u16)> {
    let first = *packet.first()?;
    if first >> 4 != 4 {
        return None;
    }
    let protocol = match packet.get(9)? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?);
    let header = usize::from(first & 0xf) * 4;
    let port = u16::from_be_bytes(packet.get(header + 2..header + 4)?.try_into().ok()?);
    let within = matches!(address.octets(), [198, 18 | 19, ..]) || address.is_loopback();
    (!within).then_some((protocol, address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_destination_and_leaves_the_task_s_own() {
        let mut packet = [0u8; 40];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
        packet[22..24].copy_from_slice(&443u16.to_be_bytes());
        assert_eq!(destination(&packet), Some((Protocol::Tcp, Ipv4Addr::new(192, 0, 2, 1), 443)));
        packet[16..20].copy_from_slice(&[198, 19, 2, 1]);
        assert_eq!(destination(&packet), None);
    }

    #[test]
    fn what_the_sidecar_gets_is_not_denied() {
        let far = Ipv4Addr::new(192, 0, 2, 1);
        assert!(is_redirected(Egress::Allow, (Protocol::Tcp, far, 443)));
        assert!(!is_redirected(Egress::Allow, (Protocol::Udp, far, 443)));
        assert!(!is_redirected(Egress::Allow, (Protocol::Tcp, Ipv4Addr::new(169, 254, 169, 254), 80)));
        assert!(!is_redirected(Egress::Deny, (Protocol::Tcp, far, 443)));
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = destination(&packet);
        }
    }
}
