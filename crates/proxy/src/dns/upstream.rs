//! Servers that are asked for names that are not the task's own: the host's
//! resolvers, and the control plane for names of private namespaces.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

/// Where the host says whom it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most resolvers used: as many as the C library's (resolv.conf(5)).
const SERVERS_MAX: usize = 3;
/// Most of the file that is read.
const RESOLV_CONF_BYTES_MAX: usize = 64 * 1024;
const PORT: u16 = 53;
/// Time for one resolver to answer over UDP, and again over TCP.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the control plane to answer: it has the names in memory.
const PRIVATE_TIMEOUT: Duration = Duration::from_secs(1);
/// Questions asked at once; more are not, and clients ask again.
pub(super) const IN_FLIGHT_MAX: usize = 256;
/// Largest answer asked for over UDP: crosses any network whole (the DNS flag
/// day's number).
const UDP_BYTES_MAX: u16 = 1_232;
/// Datagrams that may come which are no answer: somebody guesses.
const STRANGERS_MAX: usize = 32;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum UpstreamError {
    /// Too many questions are being asked.
    #[error("{IN_FLIGHT_MAX} questions are being asked already")]
    Overflow,
    /// The question cannot be put into a packet.
    #[error("the question cannot be written")]
    Question,
    /// No resolver has answered; what the last one did.
    #[error("no resolver answers: {0}")]
    Io(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Upstream {
    servers: Vec<SocketAddr>,
    in_flight: Semaphore,
    patience: Duration,
}

impl Upstream {
    /// The resolvers that the host uses now.
    pub(crate) fn of_host() -> Self {
        let text = fs::read(RESOLV_CONF).unwrap_or_default();
        let text = &text[..text.len().min(RESOLV_CONF_BYTES_MAX)];
        Self::new(servers(&String::from_utf8_lossy(text)))
    }

    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, in_flight: Semaphore::new(IN_FLIGHT_MAX), patience: SERVER_TIMEOUT }
    }

    /// For the control plane, which is where the configuration says.
    pub(crate) fn of_control_plane() -> Self {
        Self { patience: PRIVATE_TIMEOUT, ..Self::new(Vec::new()) }
    }

    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks one resolver after the other until one knows, also that there is
    /// no such name.
    pub(crate) async fn ask(&self, query: &Query) -> Result<Message, UpstreamError> {
        self.ask_of(&self.servers, query).await
    }

    /// The same, of other servers.
    pub(crate) async fn ask_of(
        &self,
        servers: &[SocketAddr],
        query: &Query,
    ) -> Result<Message, UpstreamError> {
        let _slot = self.in_flight.try_acquire().map_err(|_| UpstreamError::Overflow)?;
        let mut last = Err(UpstreamError::Io(io::ErrorKind::NotConnected.into()));
        for server in servers {
            let question = Question::new(query)?;
            last = match question.ask(*server, self.patience).await {
                Ok(answer) if is_final(&answer) => return Ok(answer),
                Ok(answer) => Ok(answer),
                Err(error) => {
                    tracing::debug!(%server, %error, "a resolver does not answer");
                    Err(error.into())
                }
            };
        }
        last
    }
}

/// Whether another resolver could not know better.
pub(super) fn is_final(answer: &Message) -> bool {
    matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// The resolvers of a resolv.conf(5); without any, the one of this machine.
fn servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let named: Vec<SocketAddr> = resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok())?
        })
        .map(|address| {
            // "0.0.0.0" is this machine to the C library.
            let address = match address {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
                other => other,
            };
            SocketAddr::new(address, PORT)
        })
        .take(SERVERS_MAX)
        .collect();
    if named.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))] } else { named }
}

/// A question as it is asked: with an id of its own that nobody can guess.
/// None of the task's own bytes are passed on.
pub(crate) struct Question<'a> {
    query: &'a Query,
    pub(crate) id: u16,
    bytes: Vec<u8>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(query: &'a Query) -> Result<Self, UpstreamError> {
        let mut id = [0; 2];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| UpstreamError::Question)?;
        let id = u16::from_ne_bytes(id);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES_MAX).set_version(0);
        message.set_edns(edns);
        let bytes = message.to_vec().map_err(|_| UpstreamError::Question)?;
        Ok(Self { query, id, bytes })
    }

    async fn ask(&self, server: SocketAddr, patience: Duration) -> io::Result<Message> {
        let answer = timeout(patience, self.ask_udp(server)).await??;
        if answer.metadata.truncation {
            return timeout(patience, self.ask_tcp(server)).await?;
        }
        Ok(answer)
    }

    async fn ask_udp(&self, server: SocketAddr) -> io::Result<Message> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // A socket for each question: the kernel chooses a port at random, and
        // takes datagrams of the server's address and port only.
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        for _ in 0..STRANGERS_MAX {
            let length = socket.recv(&mut buffer).await?;
            if let Some(answer) = self.answer(&buffer[..length]) {
                return Ok(answer);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "answers to other questions"))
    }

    async fn ask_tcp(&self, server: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&super::framed(&self.bytes)?).await?;
        let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut buffer).await?;
        self.answer(&buffer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
    }

    /// Reads an answer to this very question.
    pub(crate) fn answer(&self, bytes: &[u8]) -> Option<Message> {
        // Most forgeries end here, before anything is read.
        if bytes.get(..2) != Some(&self.id.to_be_bytes()) {
            return None;
        }
        let answer = Message::from_vec(bytes).ok()?;
        let is_answer = answer.metadata.message_type == MessageType::Response
            && answer.metadata.op_code == OpCode::Query
            && answer.queries == [self.query.clone()];
        is_answer.then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::A};
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    fn query() -> Query {
        Query::query(Name::from_ascii("example.com.").expect("a name"), RecordType::A)
    }

    fn reply(question: &[u8]) -> Message {
        let question = Message::from_vec(question).expect("a question");
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        reply.add_query(question.queries[0].clone());
        let name = question.queries[0].name().clone();
        reply.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1))));
        reply
    }

    /// A resolver that sends what `answers` makes of each question, in order.
    async fn resolver(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; 2_000];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                for answer in answers(&buffer[..length]) {
                    socket.send_to(&answer, from).await.expect("sent");
                }
            }
        });
        address
    }

    #[test]
    fn reads_the_host_s_resolvers() {
        let text = "# nameserver 192.0.2.9\nsearch a b\nnameserver 192.0.2.1\n nameserver  ::1 x\n\
             nameserver nonsense\nnameserver 0.0.0.0\nnameserver 192.0.2.4\n";
        let expected: Vec<SocketAddr> = ["192.0.2.1:53", "[::1]:53", "127.0.0.1:53"]
            .map(|address| address.parse().expect("an address"))
            .to_vec();
        assert_eq!(servers(text), expected);
        assert_eq!(servers(""), [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }

    #[tokio::test]
    async fn takes_the_answer_to_its_question_and_no_forged_one() {
        let server = resolver(|question| {
            let mut wrong_id = reply(question);
            wrong_id.metadata.id ^= 1;
            let mut wrong_name = reply(question);
            wrong_name.queries[0].set_name(Name::from_ascii("example.net.").expect("a name"));
            let mut right = reply(question);
            right.answers[0].ttl = 7;
            [wrong_id, wrong_name, right].map(|message| message.to_vec().expect("encodes")).to_vec()
        })
        .await;
        let answer = Upstream::new(vec![server]).ask(&query()).await.expect("answered");
        assert_eq!(answer.answers[0].ttl, 7);
    }

    #[tokio::test]
    async fn asks_the_next_when_one_fails_or_is_silent() {
        let failing = resolver(|question| {
            let mut failure = reply(question);
            failure.metadata.response_code = ResponseCode::ServFail;
            vec![failure.to_vec().expect("encodes")]
        })
        .await;
        // Nobody is there: the host says so at once.
        let gone = UdpSocket::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
        let right = resolver(|question| vec![reply(question).to_vec().expect("encodes")]).await;
        let answer = Upstream::new(vec![failing, gone, right]).ask(&query()).await.expect("answered");
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        let answer = Upstream::new(vec![failing]).ask(&query()).await.expect("answered");
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        let silent = resolver(|_| Vec::new()).await;
        let mut upstream = Upstream::new(vec![silent]);
        upstream.patience = Duration::from_millis(20);
        assert!(matches!(upstream.ask(&query()).await, Err(UpstreamError::Io(_))));
    }

    #[tokio::test]
    async fn a_truncated_answer_is_asked_for_again_over_tcp() {
        let (server, listener) = loop {
            let server =
                resolver(|question| vec![reply(question).truncate().to_vec().expect("encodes")]).await;
            // Somebody else may have the port by TCP.
            if let Ok(listener) = TcpListener::bind(server).await {
                break (server, listener);
            }
        };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut question = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
            stream.read_exact(&mut question).await.expect("a question");
            let answer = super::super::framed(&reply(&question).to_vec().expect("encodes")).expect("short");
            stream.write_all(&answer).await.expect("written");
        });
        let answer = Upstream::new(vec![server]).ask(&query()).await.expect("answered");
        assert_eq!((answer.metadata.truncation, answer.answers.len()), (false, 1));
    }

    #[tokio::test]
    async fn more_questions_than_may_be_asked_fail_at_once() {
        let upstream = Upstream::new(Vec::new());
        let _all = upstream.in_flight.try_acquire_many(IN_FLIGHT_MAX as u32).expect("free");
        assert!(matches!(upstream.ask(&query()).await, Err(UpstreamError::Overflow)));
    }

    proptest! {
        #[test]
        fn no_answer_panics(mut bytes in prop::collection::vec(any::<u8>(), 2..300)) {
            let query = query();
            let question = Question::new(&query).expect("a question");
            bytes[..2].copy_from_slice(&question.id.to_be_bytes());
            let _ = question.answer(&bytes);
        }
    }
}
