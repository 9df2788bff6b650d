//! A packet capture of what crosses between two sidecars, by the kernel
//! ([packet(7)](https://man7.org/linux/man-pages/man7/packet.7.html)).

use std::{
    io::{self, Read},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::segment::Segment;

/// `ETH_P_ALL`: what comes in and what goes out.
const EVERY_PROTOCOL: u16 = 0x0003;

/// Longest packet: loopback carries up to 64 KiB in one.
const PACKET_BYTES_MAX: usize = 128 * 1024;

/// What the kernel may hold for us while we are not scheduled.
const KERNEL_BUFFER_BYTES: usize = 8 << 20;

/// Most bytes of packets kept; what comes later is counted as lost.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// How soon a capture that was told to end does so.
const POLL: Duration = Duration::from_millis(20);

/// Captures the TCP packets from and to one port until [`Capture::end`].
#[derive(Debug)]
pub(crate) struct Capture {
    ended: Arc<AtomicBool>,
    reader: JoinHandle<io::Result<Packets>>,
}

/// Captured IP packets, in order.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// From the IP header on.
    pub(crate) packets: Vec<Vec<u8>>,
    /// Packets of the port that found no room.
    pub(crate) lost: usize,
}

impl Capture {
    /// Begins. Needs `CAP_NET_RAW`; without it [`io::ErrorKind::PermissionDenied`].
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES)?;
        socket.set_read_timeout(Some(POLL))?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let reader = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || read_until_ended(socket, port, &told))?;
        Ok(Self { ended, reader })
    }

    /// Ends it and takes what was captured, up to the last packet sent before this call.
    pub(crate) fn end(self) -> io::Result<Packets> {
        self.ended.store(true, Ordering::Release);
        self.reader.join().unwrap_or_else(|_| Err(io::Error::other("the capture's thread panicked")))
    }
}

fn read_until_ended(mut socket: Socket, port: u16, ended: &AtomicBool) -> io::Result<Packets> {
    let mut captured = Packets::default();
    let mut kept = 0;
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        // Read before the socket is found empty: what was sent before the end is in it by then.
        let last_round = ended.load(Ordering::Acquire);
        match socket.read(&mut buffer) {
            Ok(length) => {
                let packet = &buffer[..length];
                if !Segment::parse(packet).is_some_and(|segment| segment.touches(port)) {
                    continue;
                }
                if kept + length > KEPT_BYTES_MAX {
                    captured.lost += 1;
                    continue;
                }
                kept += length;
                captured.packets.push(packet.to_owned());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if last_round {
                    return Ok(captured);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `address` in another notation, by which it is reached all the same: a proxy that is told this one has no
/// connection to it yet, so the next request makes one, handshake and all.
pub(crate) fn other_notation(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(address) => (address.ip().to_ipv6_mapped(), address.port()).into(),
        SocketAddr::V6(address) => address.into(),
    }
}

/// Magic number of a pcap file with microseconds, and `LINKTYPE_RAW`
/// ([the format](https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcap.html)).
const PCAP_MAGIC: u32 = 0xA1B2_C3D4;
const LINKTYPE_RAW: u32 = 101;

/// The packets as a pcap file, for Wireshark and its like. The time of a packet is its place in the order.
pub(crate) fn pcap<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut file = Vec::new();
    let header = [PCAP_MAGIC, 0x0004_0002, 0, 0, u32::MAX >> 8, LINKTYPE_RAW];
    header.iter().for_each(|field| file.extend_from_slice(&field.to_le_bytes()));
    for (place, packet) in (0u32..).zip(packets) {
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let record = [place / 1_000_000, place % 1_000_000, length, length];
        record.iter().for_each(|field| file.extend_from_slice(&field.to_le_bytes()));
        file.extend_from_slice(packet);
    }
    file
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::verify::segment::streams;

    #[test]
    fn sees_both_directions_of_a_connection_by_its_other_name() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        let capture = match Capture::start(address.port()) {
            Ok(capture) => capture,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return, // not for everyone
            Err(error) => panic!("{error}"),
        };
        let mut client = TcpStream::connect(other_notation(address)).expect("connects");
        let (mut server, _) = listener.accept().expect("accepts");
        let long = vec![b'x'; 200_000];
        let writer = std::thread::spawn(move || {
            client.write_all(&long).expect("writes");
            client.shutdown(std::net::Shutdown::Write).expect("shuts");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).expect("reads");
        });
        let mut asked = Vec::new();
        server.read_to_end(&mut asked).expect("reads");
        server.write_all(b"answer").expect("writes");
        drop(server);
        writer.join().expect("the client ends");
        let captured = capture.end().expect("captures");
        let streams = streams(&captured.packets, address.port());
        assert_eq!(streams.len(), 1);
        assert!(streams[0].whole);
        assert_eq!(streams[0].bytes.from_client.len(), 200_000);
        assert_eq!(streams[0].bytes.from_server, b"answer");
    }

    #[test]
    fn a_pcap_file_has_its_header_and_the_packets() {
        let file = pcap([&[1u8, 2, 3][..]].into_iter());
        assert_eq!(file.len(), 24 + 16 + 3);
        assert_eq!(&file[..4], &[0xD4, 0xC3, 0xB2, 0xA1]);
        assert_eq!(&file[20..24], &[101, 0, 0, 0]);
    }
}
