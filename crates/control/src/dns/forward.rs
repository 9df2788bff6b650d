//! Questions about others' names, put to upstream servers.
//!
//! Whoever can send datagrams to this machine can try to answer in an upstream
//! server's place (RFC 5452). To be believed a datagram has to come from the
//! server's address and port to the random port of a socket that asks one
//! question only, and repeat a random id, the question, and the random case of
//! the letters in its name. Few wrong tries are suffered before the question
//! moves to TCP, and a question is never asked twice at a time, so that guesses
//! do not add up.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    cache::Cache,
    counters::Counters,
    message::UDP_PAYLOAD,
    random,
    upstream_answer::{Mismatch, Question, UpstreamAnswer, believed, matching},
    zone::{self, Zones},
};

/// Most questions on their way upstream at once; further ones fail.
const IN_FLIGHT_MAX: usize = 256;
/// Wrong datagrams suffered on a socket: only who knows its port and forges the
/// server's address can send any.
const MISMATCHES_MAX: usize = 32;
/// Room for a datagram, in bytes: more than is asked for, so that a longer one
/// is not taken for a whole one.
const DATAGRAM_BYTES: usize = 4_096;
/// Longest that an answer may be kept by its asker, in seconds.
const TTL_MAX: u32 = 3_600;

type Flight = Shared<BoxFuture<'static, Option<Arc<UpstreamAnswer>>>>;
type Flights = Mutex<HashMap<Question, Flight>>;

/// Asks upstream servers, in their order, each question once at a time.
pub(crate) struct Forwarder {
    upstream: Arc<Upstreams>,
    flights: Arc<Flights>,
}

struct Upstreams {
    servers: Vec<SocketAddr>,
    patience: Duration,
    zones: Arc<dyn Zones>,
    counters: Arc<Counters>,
    cache: Cache,
    checks: Checks,
}

/// Whether answers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checks {
    On,
    /// What the tests of forged answers compare with.
    #[cfg(test)]
    Off,
}

/// A server gave no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("it did not answer in time")]
    Timeout,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its answer cannot be used: {0}")]
    Answer(&'static str),
    #[error("a question cannot be written: {0}")]
    Question(#[from] hickory_proto::ProtoError),
}

/// What came of asking over UDP.
enum Datagram {
    Answer(Message),
    /// Too long for UDP, or somebody is guessing.
    UseTcp,
}

impl Forwarder {
    /// Asks `servers`, each of which has `patience` to answer.
    pub(crate) fn new(
        servers: Vec<SocketAddr>,
        patience: Duration,
        zones: Arc<dyn Zones>,
        counters: Arc<Counters>,
    ) -> Self {
        let cache = Cache::new(Instant::now());
        let upstream = Upstreams { servers, patience, zones, counters, cache, checks: Checks::On };
        Self { upstream: Arc::new(upstream), flights: Arc::default() }
    }

    /// The answer, with what is left of its time; `None` where no server gave
    /// one.
    pub(crate) async fn resolve(&self, question: &Query) -> Option<UpstreamAnswer> {
        let question = Question { name: question.name().to_lowercase(), kind: question.query_type() };
        if let Some((answer, age)) = self.upstream.cache.get(&question, Instant::now()) {
            self.upstream.counters.count(|counters| &counters.cached);
            return Some(aged(&answer, age));
        }
        let answer = self.flight(question)?.await?;
        Some(aged(&answer, 0))
    }

    /// The asking of `question` that is under way, or a new one.
    fn flight(&self, question: Question) -> Option<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&question) {
            return Some(flight.clone());
        }
        if flights.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let (upstream, asked) = (Arc::clone(&self.upstream), question.clone());
        // The table holds the flight: were it the other way round as well,
        // neither would ever be freed.
        let table = Arc::downgrade(&self.flights);
        let flight = async move {
            let answer = upstream.ask(&asked).await.map(Arc::new);
            if let Some(answer) = &answer {
                upstream.cache.put(&asked, answer, Instant::now());
            }
            if let Some(table) = table.upgrade() {
                table.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked);
            }
            answer
        };
        let flight = flight.boxed().shared();
        flights.insert(question, flight.clone());
        Some(flight)
    }
}

fn aged(answer: &UpstreamAnswer, age: u32) -> UpstreamAnswer {
    let mut answer = answer.clone();
    for record in answer.answers.iter_mut().chain(&mut answer.soa) {
        record.ttl = record.ttl.min(TTL_MAX).saturating_sub(age);
    }
    answer
}

impl Upstreams {
    async fn ask(&self, question: &Question) -> Option<UpstreamAnswer> {
        // A single server has a second chance: datagrams get lost.
        let again = self.servers.first().filter(|_| self.servers.len() == 1);
        for server in self.servers.iter().chain(again) {
            self.counters.count(|counters| &counters.forwarded);
            match self.ask_server(*server, question).await {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::debug!(%server, %error, "an upstream DNS server gave no answer"),
            }
        }
        None
    }

    async fn ask_server(&self, server: SocketAddr, question: &Question) -> Result<UpstreamAnswer, AskError> {
        let query = Query::query(with_random_case(&question.name), question.kind);
        let received = timeout(self.patience, self.ask_udp(server, &query));
        let message = match received.await.map_err(|_| AskError::Timeout)?? {
            Datagram::Answer(message) => message,
            Datagram::UseTcp => {
                let received = timeout(self.patience, self.ask_tcp(server, &query));
                received.await.map_err(|_| AskError::Timeout)??
            }
        };
        believed(message, question, |name| self.zones.zone_of(&zone::from_wire(name)).is_some())
            .ok_or(AskError::Answer("it is a refusal, a failure or a referral"))
    }

    async fn ask_udp(&self, server: SocketAddr, query: &Query) -> Result<Datagram, AskError> {
        let id = random::id();
        let socket = self.socket(server)?;
        socket.send_to(&encode(id, query)?, server).await?;
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..MISMATCHES_MAX {
            let length = socket.recv(&mut buffer).await?;
            let bytes = buffer.get(..length).unwrap_or_default();
            match self.check(bytes, id, query) {
                Ok(message) if message.metadata.truncation => return Ok(Datagram::UseTcp),
                Ok(message) => return Ok(Datagram::Answer(message)),
                Err(mismatch) => {
                    self.counters.count(|counters| &counters.mismatched);
                    if mismatch == Mismatch::Case {
                        return Ok(Datagram::UseTcp);
                    }
                }
            }
        }
        tracing::warn!(%server, "somebody forges answers of an upstream DNS server; asking over TCP");
        Ok(Datagram::UseTcp)
    }

    fn check(&self, bytes: &[u8], id: u16, query: &Query) -> Result<Message, Mismatch> {
        match self.checks {
            Checks::On => matching(bytes, id, query),
            #[cfg(test)]
            Checks::Off => Message::from_vec(bytes).map_err(|_| Mismatch::Foreign),
        }
    }

    /// A socket for one question. The kernel draws its port when it is
    /// connected; from then on only datagrams of `server` arrive, and there is
    /// no moment before.
    fn socket(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        match self.checks {
            Checks::On => socket.connect(&server.into())?,
            #[cfg(test)]
            Checks::Off => socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?,
        }
        UdpSocket::from_std(socket.into())
    }

    async fn ask_tcp(&self, server: SocketAddr, query: &Query) -> Result<Message, AskError> {
        let id = random::id();
        let question = encode(id, query)?;
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        match self.check(&answer, id, query) {
            Ok(message) => Ok(message),
            Err(Mismatch::Case) => {
                // The handshake has shown who answers; the case need not.
                let query =
                    Message::from_vec(&answer).ok().and_then(|message| message.queries.first().cloned());
                let query = query.ok_or(AskError::Answer("it has no question"))?;
                matching(&answer, id, &query).map_err(|_| AskError::Answer("it does not match"))
            }
            Err(Mismatch::Foreign) => Err(AskError::Answer("it answers something else")),
        }
    }
}

fn encode(id: u16, query: &Query) -> Result<Vec<u8>, hickory_proto::ProtoError> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    message.set_edns(edns);
    message.to_vec()
}

/// The name with the case of each letter drawn at random: up to one more bit to
/// guess for each (draft-vixie-dnsext-dns0x20).
fn with_random_case(name: &rr::Name) -> rr::Name {
    // A bit for each octet of the longest name.
    let bits: [u8; 32] = random::bytes();
    let mut bits = bits.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    let labels: Vec<Vec<u8>> = name
        .iter()
        .map(|label| {
            let flipped = label.iter().map(|byte| match bits.next() {
                Some(true) if byte.is_ascii_alphabetic() => byte ^ 0x20,
                _ => *byte,
            });
            flipped.collect()
        })
        .collect();
    rr::Name::from_labels(labels.iter().map(Vec::as_slice)).expect("it has the lengths of a name")
}

#[cfg(test)]
mod tests;
