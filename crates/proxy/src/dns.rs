//! The task's DNS server: it knows the client aliases, and asks the control
//! plane for names of private namespaces. Other names exist only for a task
//! that may reach what they stand for: the host's resolvers are asked then. Else they do not exist (NXDOMAIN); saying "refused" would make
//! resolvers retry.

pub(crate) mod upstream;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, OpCode, Query, ResponseCode},
    rr::{DNSClass, RData, Record, RecordType, rdata::A},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use self::upstream::{IN_FLIGHT_MAX, Upstream, is_final};
use crate::shared::Shared;

/// How long an answer may be kept, in seconds: names come and go.
const TTL: u32 = 5;
/// Longest question read over UDP (RFC 1035 allows 512, EDNS more).
const UDP_BYTES_MAX: usize = 4_096;
/// Longest question read over TCP.
const TCP_BYTES_MAX: usize = 4_096;
const TCP_CONNECTIONS_MAX: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Largest answer over UDP to who does not say otherwise (RFC 1035).
const UDP_REPLY_BYTES: u16 = 512;
/// Largest answer over UDP to who says otherwise: nothing is lost on the way
/// within one machine.
const UDP_REPLY_BYTES_MAX: u16 = 4_096;
/// Zones of the task's own, of which nothing is asked elsewhere: loopback
/// (RFC 6761) and the alias network's addresses.
const OWN_ZONES: [&str; 4] = ["localhost", "18.198.in-addr.arpa", "19.198.in-addr.arpa", "127.in-addr.arpa"];

/// How the question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Udp,
    Tcp,
}

/// What is to be done with a question.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// This is the answer.
    Answered(Message),
    /// Others know; their answer goes into the message.
    Elsewhere(Elsewhere, Query, Message),
}

/// Who else knows names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// The control plane: the name is in one of these private namespaces.
    ControlPlane(SocketAddr),
    /// The host's resolvers.
    Host,
}

/// Looks at a question; `None` for what is not worth an answer. `elsewhere`
/// says who knows a name that is no alias, if anybody may be asked.
pub(crate) fn examine(
    question: &[u8],
    elsewhere: impl Fn(&str) -> Option<Elsewhere>,
    lookup: impl Fn(&str) -> Option<Ipv4Addr>,
) -> Option<Verdict> {
    // An answer to an answer could go round for ever.
    if question.get(2).is_some_and(|flags| flags & 0x80 != 0) {
        return None;
    }
    // The decoder makes room for as many questions as the header claims: at most one is read.
    let readable = question.get(4..6).is_some_and(|count| matches!(count, [0, 0 | 1]));
    let Some(request) = readable.then(|| Message::from_vec(question).ok()).flatten() else {
        // The id is all that can be answered to.
        let id = u16::from_be_bytes([*question.first()?, *question.get(1)?]);
        let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        return Some(Verdict::Answered(message));
    };
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    if let Some(theirs) = &request.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(theirs.max_payload().clamp(UDP_REPLY_BYTES, UDP_REPLY_BYTES_MAX)).set_version(0);
        response.set_edns(ours);
    }
    response.metadata.response_code = match &request.queries[..] {
        _ if request.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        [query] => {
            response.add_query(query.clone());
            let code = resolve(query, lookup, &mut response);
            let unknown = code == ResponseCode::NXDomain && !is_own(query);
            match elsewhere(&plain_name(query)).filter(|_| unknown) {
                Some(whom) => match (whom, query.query_type()) {
                    // A task has no IPv6: an address outside would only be waited for.
                    (Elsewhere::Host, RecordType::AAAA) => ResponseCode::NoError,
                    // Whole zones are nothing to a task.
                    (_, RecordType::AXFR | RecordType::IXFR) => ResponseCode::Refused,
                    _ => return Some(Verdict::Elsewhere(whom, query.clone(), response)),
                },
                None => {
                    response.metadata.authoritative = true;
                    code
                }
            }
        }
        _ => ResponseCode::FormErr,
    };
    Some(Verdict::Answered(response))
}

fn resolve(query: &Query, lookup: impl Fn(&str) -> Option<Ipv4Addr>, response: &mut Message) -> ResponseCode {
    if query.query_class() != DNSClass::IN {
        return ResponseCode::Refused;
    }
    let name = plain_name(query);
    let Some(address) = lookup(&name) else { return ResponseCode::NXDomain };
    // Other types of a name that exists: no error, no data.
    if matches!(query.query_type(), RecordType::A | RecordType::ANY) {
        response.add_answer(Record::from_rdata(query.name().clone(), TTL, RData::A(A(address))));
    }
    ResponseCode::NoError
}

/// Lower case, without the last dot.
fn plain_name(query: &Query) -> String {
    let mut name = query.name().to_ascii().to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    name
}

/// Whether the name is of a zone that nobody else knows better.
fn is_own(query: &Query) -> bool {
    let name = plain_name(query);
    OWN_ZONES
        .iter()
        .any(|zone| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// What a resolver has answered, as an answer of ours.
pub(crate) fn adopt(mut response: Message, answer: Message) -> Message {
    response.metadata.response_code = answer.metadata.response_code;
    response.answers = answer.answers;
    response.authorities = answer.authorities;
    response
}

/// The answer's bytes, cut to what its carrier carries.
pub(crate) fn encode(response: &Message, carrier: Carrier) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    let limit = match carrier {
        Carrier::Udp => response.edns.as_ref().map_or(UDP_REPLY_BYTES, Edns::max_payload),
        Carrier::Tcp => u16::MAX,
    };
    match bytes.len() <= usize::from(limit) {
        true => Some(bytes),
        // Asks for the same over TCP.
        false => response.truncate().to_vec().ok(),
    }
}

/// A message as it crosses TCP, its length first (RFC 1035, 4.2.2).
fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed)
}

/// What answers are made from.
#[derive(Debug)]
struct Server {
    shared: Arc<Shared>,
    /// Whom to ask for names outside, if the task may know them.
    upstream: Option<Upstream>,
    private: Upstream,
}

impl Server {
    fn examine(&self, question: &[u8]) -> Option<Verdict> {
        let snapshot = self.shared.snapshot.load_full();
        let elsewhere = |name: &str| match &snapshot.private_dns {
            Some(private) if private.knows(name) => Some(Elsewhere::ControlPlane(private.server)),
            _ => self.upstream.is_some().then_some(Elsewhere::Host),
        };
        examine(question, elsewhere, |name| snapshot.names.get(name).copied())
    }

    /// The answer to a question that others know.
    async fn ask(&self, whom: Elsewhere, query: &Query, mut response: Message) -> Message {
        let answer = match (whom, &self.upstream) {
            (Elsewhere::ControlPlane(server), _) => self.private.ask_of(&[server], query).await,
            (Elsewhere::Host, Some(upstream)) => upstream.ask(query).await,
            (Elsewhere::Host, None) => return response,
        };
        match answer {
            // A control plane that refuses has just lost the namespace: "refused" would make
            // resolvers ask again.
            Ok(answer) if whom == Elsewhere::Host || is_final(&answer) => adopt(response, answer),
            Ok(_) => {
                response.metadata.response_code = ResponseCode::ServFail;
                response
            }
            Err(error) => {
                tracing::debug!(%error, ?whom, "a name is not known");
                response.metadata.response_code = ResponseCode::ServFail;
                response
            }
        }
    }
}

/// Serves until it is aborted. With `upstream`, names that are no aliases are
/// asked for there.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    upstream: Option<Upstream>,
    udp: OwnedFd,
    tcp: OwnedFd,
) -> io::Result<()> {
    let udp = std::net::UdpSocket::from(udp);
    udp.set_nonblocking(true)?;
    let udp = UdpSocket::from_std(udp)?;
    let tcp = std::net::TcpListener::from(tcp);
    tcp.set_nonblocking(true)?;
    let tcp = TcpListener::from_std(tcp)?;
    let server = Arc::new(Server { shared, upstream, private: Upstream::of_control_plane() });
    tokio::join!(serve_udp(&server, Arc::new(udp)), serve_tcp(&server, tcp));
    Ok(())
}

async fn serve_udp(server: &Arc<Server>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; UDP_BYTES_MAX];
    // Ends with us: what is being asked for nobody is not asked on.
    let mut outside = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = outside.join_next() => continue,
        };
        match received {
            Ok((length, from)) => match server.examine(&buffer[..length]) {
                Some(Verdict::Answered(response)) => {
                    if let Some(reply) = encode(&response, Carrier::Udp) {
                        // A client that is gone asks again.
                        let _ = socket.send_to(&reply, from).await;
                    }
                }
                // Beyond it there would only be a failure, later.
                Some(Verdict::Elsewhere(..)) if outside.len() >= IN_FLIGHT_MAX => {
                    tracing::debug!("a name outside is not asked for: too many are");
                }
                Some(Verdict::Elsewhere(whom, query, response)) => {
                    let (server, socket) = (Arc::clone(server), Arc::clone(&socket));
                    outside.spawn(async move {
                        let response = server.ask(whom, &query, response).await;
                        if let Some(reply) = encode(&response, Carrier::Udp) {
                            let _ = socket.send_to(&reply, from).await;
                        }
                    });
                }
                None => {}
            },
            Err(error) => {
                tracing::debug!(%error, "a DNS datagram could not be read");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve_tcp(server: &Arc<Server>, socket: TcpListener) {
    let slots = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(server);
                tokio::spawn(async move {
                    let _slot = slot;
                    // Whatever ends it ends only this connection.
                    let _ = serve_stream(&server, stream).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_stream(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = usize::from(timeout(TCP_IDLE, stream.read_u16()).await??);
        if length > TCP_BYTES_MAX {
            return Ok(());
        }
        let mut question = vec![0; length];
        timeout(TCP_IDLE, stream.read_exact(&mut question)).await??;
        let response = match server.examine(&question) {
            Some(Verdict::Answered(response)) => response,
            Some(Verdict::Elsewhere(whom, query, response)) => server.ask(whom, &query, response).await,
            None => return Ok(()),
        };
        let Some(reply) = encode(&response, Carrier::Tcp) else { return Ok(()) };
        timeout(TCP_IDLE, stream.write_all(&framed(&reply)?)).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrivateDns;
    use hickory_proto::rr::{Name, rdata::TXT};
    use proptest::prelude::*;

    fn known(name: &str) -> Option<Ipv4Addr> {
        (name == "service-b-sc.ns").then_some(Ipv4Addr::new(198, 18, 1, 1))
    }

    fn answer(question: &[u8], lookup: impl Fn(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
        match examine(question, |_| None, lookup)? {
            Verdict::Answered(response) => encode(&response, Carrier::Udp),
            Verdict::Elsewhere(..) => panic!("asked outside"),
        }
    }

    fn ask(name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        question.metadata.recursion_desired = true;
        let reply = answer(&question.to_vec().expect("encodes"), known).expect("answered");
        let reply = Message::from_vec(&reply).expect("decodes");
        assert_eq!(reply.metadata.id, question.metadata.id);
        assert_eq!(reply.queries, question.queries);
        reply
    }

    #[test]
    fn an_alias_has_an_address_and_nothing_else() {
        let reply = ask("Service-B-SC.ns.", RecordType::A);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].data, RData::A(A::new(198, 18, 1, 1)));
        let reply = ask("service-b-sc.ns.", RecordType::AAAA);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
        let reply = ask("example.com.", RecordType::A);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NXDomain, 0));
    }

    fn elsewhere(name: &str) -> Option<Elsewhere> {
        let zones = ["corp.test".to_owned()].into();
        let private = PrivateDns { server: ([127, 0, 0, 1], 5353).into(), zones };
        Some(if private.knows(name) { Elsewhere::ControlPlane(private.server) } else { Elsewhere::Host })
    }

    fn examined(name: &str, kind: RecordType) -> Verdict {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        examine(&question.to_vec().expect("encodes"), elsewhere, known).expect("worth an answer")
    }

    #[test]
    fn only_names_that_are_not_the_task_s_own_are_asked_outside() {
        for (name, kind) in [
            ("example.com.", RecordType::A),
            ("example.com.", RecordType::MX),
            ("1.2.0.192.in-addr.arpa.", RecordType::PTR),
            ("notlocalhost.", RecordType::A),
            ("xcorp.test.", RecordType::A),
        ] {
            assert!(matches!(examined(name, kind), Verdict::Elsewhere(Elsewhere::Host, ..)), "{name} {kind}");
        }
        for (name, kind) in [("corp.test.", RecordType::SOA), ("Db.CORP.test.", RecordType::AAAA)] {
            let control_plane = Elsewhere::ControlPlane(([127, 0, 0, 1], 5353).into());
            let verdict = examined(name, kind);
            assert!(
                matches!(verdict, Verdict::Elsewhere(whom, ..) if whom == control_plane),
                "{name} {kind}"
            );
        }
        for (name, kind, code) in [
            ("db.corp.test.", RecordType::AXFR, ResponseCode::Refused),
            ("SERVICE-B-SC.ns.", RecordType::A, ResponseCode::NoError),
            ("service-b-sc.ns.", RecordType::MX, ResponseCode::NoError),
            ("example.com.", RecordType::AAAA, ResponseCode::NoError),
            ("example.com.", RecordType::AXFR, ResponseCode::Refused),
            ("localhost.", RecordType::A, ResponseCode::NXDomain),
            ("x.localhost.", RecordType::A, ResponseCode::NXDomain),
            ("1.1.18.198.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
        ] {
            let Verdict::Answered(response) = examined(name, kind) else { panic!("{name} is asked outside") };
            assert_eq!(response.metadata.response_code, code, "{name} {kind}");
        }
    }

    #[test]
    fn an_answer_too_long_for_a_datagram_is_asked_for_over_tcp() {
        let Verdict::Elsewhere(_, query, response) = examined("example.com.", RecordType::TXT) else {
            panic!("an alias?")
        };
        let mut answer = Message::response(1, OpCode::Query);
        for _ in 0..10 {
            let text = RData::TXT(TXT::new(vec!["x".repeat(200)]));
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, text));
        }
        let mut response = adopt(response, answer);
        let read = |bytes: Option<Vec<u8>>| Message::from_vec(&bytes.expect("encodes")).expect("decodes");
        let short = read(encode(&response, Carrier::Udp));
        assert_eq!((short.metadata.truncation, short.answers.len()), (true, 0));
        let whole = read(encode(&response, Carrier::Tcp));
        assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 10));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_REPLY_BYTES_MAX);
        response.set_edns(edns);
        assert_eq!(read(encode(&response, Carrier::Udp)).answers.len(), 10);
    }

    #[test]
    fn claimed_questions_are_not_made_room_for() {
        let claim = [0, 7, 1, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        let Some(Verdict::Answered(reply)) = examine(&claim, |_| None, |_| None) else {
            panic!("it is answered")
        };
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
        let answer = [0, 7, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert!(examine(&answer, |_| None, |_| None).is_none(), "an answer is not answered");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(reply) = answer(&bytes, known) {
                prop_assert!(Message::from_vec(&reply).is_ok());
            }
        }
    }
}
