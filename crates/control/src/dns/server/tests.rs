use hickory_proto::{
    op::{Message, MessageType, Query},
    rr::{Name, RecordType},
};
use proptest::prelude::*;

use super::*;
use crate::dns::zone::{Instance, Name as Records, RecordSet, RoutingPolicy, Zone, ZoneTable};

fn zones() -> Arc<ZoneTable> {
    let zone = Zone { apex: "ns".parse().unwrap(), serial: 1, negative_ttl: 15 };
    let instances = vec![Instance { value: [10, 0, 0, 1].into(), healthy: true }];
    let a = Some(RecordSet { ttl: 60, routing: RoutingPolicy::Multivalue, instances });
    Arc::new(ZoneTable::new([zone], [("api.ns".parse().unwrap(), Records { a, ..Records::default() })]))
}

fn config() -> DnsConfig {
    DnsConfig::new(([127, 0, 0, 1], 0).into())
}

fn start(config: DnsConfig) -> DnsServer {
    DnsServer::start(config, zones()).unwrap()
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

async fn client(server: &DnsServer) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.local_addr()).await.unwrap();
    socket
}

async fn reply(socket: &UdpSocket) -> Message {
    let mut buffer = [0; 2_048];
    let length = timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn ask_udp(server: &DnsServer, name: &str) -> Message {
    let socket = client(server).await;
    socket.send(&question(name)).await.unwrap();
    reply(&socket).await
}

async fn ask_tcp(stream: &mut TcpStream, name: &str) -> io::Result<Message> {
    let question = question(name);
    stream.write_u16(u16::try_from(question.len()).unwrap()).await?;
    stream.write_all(&question).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(Message::from_vec(&reply).unwrap())
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn service(config: DnsConfig, servers: Vec<SocketAddr>) -> Service {
    let (zones, counters): (Arc<dyn Zones>, _) = (zones(), Arc::<Counters>::default());
    let patience = Duration::from_secs(1);
    let forwarder = Forwarder::new(servers, patience, Arc::clone(&zones), Arc::clone(&counters));
    Service {
        zones,
        forwarder: Some(forwarder),
        allow: config.allow,
        zones_for_allowed_only: config.zones_for_allowed_only,
        limiter: RateLimiter::new(config.rate, config.burst, Instant::now()),
        counters,
        tcp_idle: config.tcp_idle,
        addresses: config.listen,
    }
}

#[tokio::test]
async fn zones_are_answered_and_all_else_refused() {
    let server = start(config());
    let answer = ask_udp(&server, "api.ns.").await;
    assert_eq!((code(&answer), answer.answers.len()), (ResponseCode::NoError, 1));
    assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
    assert_eq!(code(&ask_udp(&server, "none.ns.").await), ResponseCode::NXDomain);
    assert_eq!(code(&ask_udp(&server, "example.com.").await), ResponseCode::Refused);
    let counters = server.counters();
    assert_eq!((counters.queries, counters.dropped), (3, 0));
    assert_eq!(counters.by_code, [(0, 1), (3, 1), (5, 1)].into());
}

#[tokio::test]
async fn a_connection_takes_several_queries_and_closes_when_idle() {
    let server = start(DnsConfig { tcp_idle: Duration::from_millis(300), ..config() });
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask_tcp(&mut stream, "api.ns.").await.unwrap().answers.len(), 1);
    }
    // Half a query is no activity.
    stream.write_all(&[0, 40, 1]).await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok() && rest.is_empty());
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(&[0xff, 0xff, 0, 0]).await.unwrap();
    let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok() && rest.is_empty(), "too long a query");
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_no_more() {
    let server = start(config());
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS_PER_CLIENT_MAX {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        ask_tcp(&mut stream, "api.ns.").await.unwrap();
        streams.push(stream);
    }
    let mut extra = TcpStream::connect(server.local_addr()).await.unwrap();
    assert!(ask_tcp(&mut extra, "api.ns.").await.is_err());
    drop(streams);
    // The server notices in its own time.
    loop {
        let mut again = TcpStream::connect(server.local_addr()).await.unwrap();
        if ask_tcp(&mut again, "api.ns.").await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_over_the_rate_is_dropped() {
    let server = start(DnsConfig { rate: 1, burst: 3, ..config() });
    let socket = client(&server).await;
    for _ in 0..20 {
        socket.send(&question("api.ns.")).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(code(&reply(&socket).await), ResponseCode::NoError);
    }
    while server.counters().queries < 20 {
        tokio::task::yield_now().await;
    }
    let counters = server.counters();
    // A slow machine may grant a further token.
    assert!((15..=17).contains(&counters.dropped), "{counters:?}");
    assert_eq!(counters.dropped + counters.by_code[&0], 20);
}

#[tokio::test]
async fn forwarding_is_for_the_allowed_who_desire_it() {
    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    let server = start(DnsConfig { upstream: Upstream::Forward(vec![address]), ..config() });
    let socket = client(&server).await;
    socket.send(&question("Www.Example.com.")).await.unwrap();
    let mut buffer = [0; 2_048];
    let (length, from) = upstream.recv_from(&mut buffer).await.unwrap();
    let mut message = Message::from_vec(&buffer[..length]).unwrap();
    message.metadata.message_type = MessageType::Response;
    let record = "192.0.2.1".parse().map(hickory_proto::rr::rdata::A).unwrap();
    let owner = message.queries[0].name().clone();
    message.add_answer(hickory_proto::rr::Record::from_rdata(owner, 5, hickory_proto::rr::RData::A(record)));
    upstream.send_to(&message.to_vec().unwrap(), from).await.unwrap();
    let answer = reply(&socket).await;
    assert_eq!(answer.answers[0].to_string(), "Www.Example.com. 5 IN A 192.0.2.1");
    assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);

    // Kept or not, who does not desire recursion is told nothing.
    let mut bytes = question("www.example.com.");
    bytes[2] &= !1;
    socket.send(&bytes).await.unwrap();
    assert_eq!(code(&reply(&socket).await), ResponseCode::Refused);

    // Nor is who is not allowed, except our own names.
    let stranger: SocketAddr = "192.0.2.7:4000".parse().unwrap();
    for (only, name, expected) in [
        (false, "www.example.com.", ResponseCode::Refused),
        (false, "api.ns.", ResponseCode::NoError),
        (true, "api.ns.", ResponseCode::Refused),
    ] {
        let service = service(DnsConfig { zones_for_allowed_only: only, ..config() }, vec![address]);
        let Decision::Reply(bytes) = service.decide(&question(name), stranger, Transport::Udp) else {
            panic!("not replied");
        };
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(code(&message), expected, "{name}");
        assert!(!message.metadata.recursion_available);
    }
}

#[tokio::test]
async fn failure_upstream_is_servfail() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = start(DnsConfig { upstream: Upstream::Forward(vec![gone]), ..config() });
    assert_eq!(code(&ask_udp(&server, "example.com.").await), ResponseCode::ServFail);
}

#[tokio::test]
async fn nothing_that_could_go_round_is_answered() {
    let service = service(config(), vec![([127, 0, 0, 1], 1).into()]);
    let drops = |bytes: &[u8], from: SocketAddr, transport| {
        matches!(service.decide(bytes, from, transport), Decision::Drop)
    };
    let ask = question("api.ns.");
    for port in LOOP_PORTS {
        assert!(drops(&ask, ([127, 0, 0, 1], port).into(), Transport::Udp));
    }
    let from: SocketAddr = ([127, 0, 0, 1], 4_000).into();
    assert!(!drops(&ask, from, Transport::Udp));
    let mut answer = ask.clone();
    answer[2] |= 0x80;
    assert!(drops(&answer, from, Transport::Udp) && drops(&answer, from, Transport::Tcp));
    assert_eq!(service.counters.read().dropped, LOOP_PORTS.len() as u64 + 2);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_and_stopping_frees_the_port() {
    let refused = |config| {
        DnsServer::start(config, zones())
            .err()
            .is_some_and(|error| error.kind() == io::ErrorKind::InvalidInput)
    };
    assert!(refused(DnsConfig { listen: Vec::new(), ..config() }));
    assert!(refused(DnsConfig { upstream: Upstream::Forward(Vec::new()), ..config() }));
    let server = start(config());
    let address = server.local_addr();
    let taken = DnsServer::start(DnsConfig::new(address), zones()).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    server.stop().await;
    let itself = DnsConfig { upstream: Upstream::Forward(vec![address]), ..DnsConfig::new(address) };
    assert!(refused(itself));
    assert_eq!(start(DnsConfig::new(address)).local_addresses(), [address]);
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_every_reply_parses(
        head in prop::option::of(Just(question("api.ns."))),
        tail in prop::collection::vec(any::<u8>(), 0..200),
        cut in 0_usize..300,
        tcp: bool,
    ) {
        let mut bytes = head.unwrap_or_default();
        bytes.extend(tail);
        bytes.truncate(cut);
        let service = service(config(), vec![([127, 0, 0, 1], 1).into()]);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        if let Decision::Reply(reply) = service.decide(&bytes, ([127, 0, 0, 1], 4_000).into(), transport) {
            let reply = Message::from_vec(&reply);
            prop_assert!(reply.is_ok_and(|reply| reply.metadata.message_type == MessageType::Response));
        }
    }
}
