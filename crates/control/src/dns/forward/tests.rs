use std::{collections::BTreeSet, net::Ipv4Addr};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, SOA},
    },
};
use tokio::net::TcpListener;

use super::*;
use crate::dns::zone::ZoneTable;

const REAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Long enough for a flood on a busy machine.
const PATIENT: Duration = Duration::from_secs(90);

/// Fails rather than hangs where what a test waits for does not come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("it comes soon")
}

/// An upstream server that the test plays.
struct Fake {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Fake {
    async fn new() -> Self {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = udp.local_addr().unwrap();
            if let Ok(tcp) = TcpListener::bind(address).await {
                return Self { udp, tcp, address };
            }
        }
    }

    async fn question(&self) -> (Message, SocketAddr) {
        let mut buffer = [0; 2_048];
        let (length, from) = soon(self.udp.recv_from(&mut buffer)).await.unwrap();
        (Message::from_vec(&buffer[..length]).unwrap(), from)
    }

    async fn send(&self, message: &Message, to: SocketAddr) {
        self.udp.send_to(&message.to_vec().unwrap(), to).await.unwrap();
    }

    /// Answers one question over TCP.
    async fn answer_tcp(&self, answer: impl FnOnce(&Message) -> Message) {
        let (mut stream, _) = soon(self.tcp.accept()).await.unwrap();
        let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut question).await.unwrap();
        let answer = answer(&Message::from_vec(&question).unwrap()).to_vec().unwrap();
        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    }
}

fn forwarder_with(servers: Vec<SocketAddr>, patience: Duration, checks: Checks) -> Arc<Forwarder> {
    let zones: Arc<dyn Zones> = Arc::new(ZoneTable::default());
    let mut forwarder = Forwarder::new(servers, patience, zones, Arc::default());
    Arc::get_mut(&mut forwarder.upstream).unwrap().checks = checks;
    Arc::new(forwarder)
}

fn forwarder(servers: Vec<SocketAddr>, patience: Duration) -> Arc<Forwarder> {
    forwarder_with(servers, patience, Checks::On)
}

fn query(name: &str) -> Query {
    Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
}

/// A resolution under way.
fn resolving(forwarder: &Arc<Forwarder>, name: &str) -> tokio::task::JoinHandle<Option<UpstreamAnswer>> {
    let (forwarder, query) = (Arc::clone(forwarder), query(name));
    tokio::spawn(async move { forwarder.resolve(&query).await })
}

fn reply(question: &Message, address: Ipv4Addr) -> Message {
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    let query = question.queries[0].clone();
    message.add_answer(Record::from_rdata(query.name().clone(), 300, RData::A(A(address))));
    message.add_query(query);
    message
}

fn cut(question: &Message) -> Message {
    let mut message = reply(question, FORGED);
    message.answers.clear();
    message.metadata.truncation = true;
    message
}

fn addresses(answer: Option<UpstreamAnswer>) -> Vec<Ipv4Addr> {
    let answers = answer.expect("answered").answers;
    let of = |record: &Record| match &record.data {
        RData::A(address) => address.0,
        other => panic!("{other}"),
    };
    answers.iter().map(of).collect()
}

fn count(forwarder: &Forwarder, which: impl FnOnce(&crate::dns::DnsCounters) -> u64) -> u64 {
    which(&forwarder.upstream.counters.read())
}

#[tokio::test]
async fn an_answer_is_passed_on_and_kept() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "www.Example.com.");
    let (question, from) = fake.question().await;
    assert!(question.metadata.recursion_desired);
    assert_eq!(question.edns.as_ref().unwrap().max_payload(), 1_232);
    assert_eq!(*question.queries[0].name(), Name::from_ascii("www.example.com.").unwrap());
    fake.send(&reply(&question, REAL), from).await;
    let answer = soon(asked).await.unwrap().unwrap();
    assert_eq!(answer.answers[0].to_string(), "www.example.com. 300 IN A 192.0.2.1");
    assert_eq!(addresses(forwarder.resolve(&query("WWW.example.com.")).await), [REAL]);
    assert_eq!(count(&forwarder, |counters| counters.forwarded), 1);
    assert_eq!(count(&forwarder, |counters| counters.cached), 1);
}

#[tokio::test]
async fn a_negative_answer_keeps_its_soa() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "none.example.com.");
    let (question, from) = fake.question().await;
    let mut none = reply(&question, REAL);
    none.answers.clear();
    none.metadata.response_code = ResponseCode::NXDomain;
    let apex = Name::from_ascii("example.com.").unwrap();
    let soa = SOA::new(apex.clone(), apex.clone(), 1, 1, 1, 1, 5);
    none.add_authority(Record::from_rdata(apex, 9, RData::SOA(soa)));
    fake.send(&none, from).await;
    let answer = soon(asked).await.unwrap().unwrap();
    assert_eq!((answer.code, answer.soa.is_some()), (ResponseCode::NXDomain, true));
    assert!(forwarder.resolve(&query("none.example.com.")).await.is_some());
    assert_eq!(count(&forwarder, |counters| counters.cached), 1);
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_over_tcp() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "www.example.com.");
    let (question, from) = fake.question().await;
    fake.send(&cut(&question), from).await;
    fake.answer_tcp(|question| reply(question, REAL)).await;
    assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
}

#[tokio::test]
async fn a_server_that_changes_letters_is_asked_over_tcp() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "www.many-letters-so-that-some-are-capitals.example.com.");
    let lower = |question: &Message, address| {
        let mut message = reply(question, address);
        message.queries[0].name = message.queries[0].name.to_lowercase();
        message
    };
    let (question, from) = fake.question().await;
    fake.send(&lower(&question, FORGED), from).await;
    fake.answer_tcp(|question| lower(question, REAL)).await;
    assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_is_silent_refuses_or_is_gone() {
    let [silent, refuses, gone, answers] =
        [Fake::new().await, Fake::new().await, Fake::new().await, Fake::new().await];
    let servers = vec![silent.address, refuses.address, gone.address, answers.address];
    drop(gone);
    let forwarder = forwarder(servers, Duration::from_secs(1));
    let asked = resolving(&forwarder, "www.example.com.");
    silent.question().await;
    let (question, from) = refuses.question().await;
    let mut refusal = reply(&question, FORGED);
    refusal.metadata.response_code = ResponseCode::Refused;
    refuses.send(&refusal, from).await;
    let (question, from) = answers.question().await;
    answers.send(&reply(&question, REAL), from).await;
    assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
    assert_eq!(count(&forwarder, |counters| counters.forwarded), 4);
}

#[tokio::test]
async fn without_any_answer_there_is_none_and_the_next_asker_tries_again() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], Duration::from_millis(20));
    assert_eq!(forwarder.resolve(&query("www.example.com.")).await, None);
    assert_eq!(forwarder.resolve(&query("www.example.com.")).await, None);
    assert_eq!(count(&forwarder, |counters| counters.forwarded), 4, "a single server is asked twice");
    assert!(forwarder.flights.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_question_is_asked_once_at_a_time_and_so_many_at_most() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let same: Vec<_> = (0..50).map(|_| resolving(&forwarder, "www.example.com.")).collect();
    let (question, from) = fake.question().await;
    let mut others = Vec::new();
    let mut ports = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for number in 1..IN_FLIGHT_MAX {
        others.push(resolving(&forwarder, &format!("n{number}.example.com.")));
        let (question, from) = fake.question().await;
        ports.insert(from.port());
        ids.insert(question.metadata.id);
    }
    // No two sockets have a port; 255 ids of 65,536 hardly ever meet thrice.
    assert_eq!(ports.len(), IN_FLIGHT_MAX - 1);
    assert!(ids.len() > IN_FLIGHT_MAX - 8);
    assert_eq!(forwarder.resolve(&query("one-more.example.com.")).await, None);
    assert_eq!(count(&forwarder, |counters| counters.forwarded), 256);
    fake.send(&reply(&question, REAL), from).await;
    for asked in same {
        assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
    }
    for asked in others {
        asked.abort();
    }
}

#[test]
fn the_case_of_every_letter_varies() {
    let name = Name::from_ascii("a-1.example.com.").unwrap();
    let cased: BTreeSet<String> = (0..64).map(|_| with_random_case(&name).to_ascii()).collect();
    assert!(cased.len() > 32, "12 letters have 4,096 ways");
    assert!(cased.iter().all(|cased| cased.eq_ignore_ascii_case("a-1.example.com.")));
}

/// Sends a forged answer under each id from `socket`, but for `except`.
async fn flood(socket: &UdpSocket, question: &Message, to: SocketAddr, except: Option<u16>) {
    let mut forged = reply(question, FORGED).to_vec().unwrap();
    for id in (0..=u16::MAX).filter(|id| Some(*id) != except) {
        forged[..2].copy_from_slice(&id.to_be_bytes());
        // Refusals of the earlier ones may come back.
        let _ = socket.send_to(&forged, to).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_id_from_another_port_is_not_believed() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "www.example.com.");
    let (question, from) = fake.question().await;
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    flood(&attacker, &question, from, None).await;
    assert!(!asked.is_finished());
    fake.send(&reply(&question, REAL), from).await;
    assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
    // The kernel kept all of them out.
    assert_eq!(count(&forwarder, |counters| counters.mismatched), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_id_from_the_servers_own_address_is_not_believed() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "www.example.com.");
    let (question, from) = fake.question().await;
    flood(&fake.udp, &question, from, Some(question.metadata.id)).await;
    // It gave up UDP, where guesses count, long before the end.
    fake.answer_tcp(|question| reply(question, REAL)).await;
    assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
    assert_eq!(count(&forwarder, |counters| counters.mismatched), 32);
}

#[tokio::test]
async fn the_right_id_with_another_case_name_or_type_is_not_believed() {
    let fake = Fake::new().await;
    let forwarder = forwarder(vec![fake.address], PATIENT);
    let asked = resolving(&forwarder, "www.example.com.");
    let (question, from) = fake.question().await;
    let forge = |change: fn(&mut Query)| {
        let mut forged = reply(&question, FORGED);
        change(&mut forged.queries[0]);
        forged
    };
    fake.send(&forge(|query| query.query_type = RecordType::AAAA), from).await;
    fake.send(&forge(|query| query.name = Name::from_ascii("www.example.org.").unwrap()), from).await;
    let flip = |query: &mut Query| {
        let labels: Vec<Vec<u8>> =
            query.name.iter().map(|label| label.iter().map(|byte| byte ^ 0x20).collect()).collect();
        query.name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
    };
    fake.send(&forge(flip), from).await;
    fake.answer_tcp(|question| reply(question, REAL)).await;
    assert_eq!(addresses(soon(asked).await.unwrap()), [REAL]);
    assert_eq!(count(&forwarder, |counters| counters.mismatched), 3);
}

/// The twin of the three above: with the checks off the same forgeries do
/// reach the asker, so it is the checks that keep them out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_checks_off_forged_answers_are_believed() {
    for from_the_server in [false, true] {
        let fake = Fake::new().await;
        let forwarder = forwarder_with(vec![fake.address], PATIENT, Checks::Off);
        let asked = resolving(&forwarder, "www.example.com.");
        let (question, from) = fake.question().await;
        let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = if from_the_server { &fake.udp } else { &attacker };
        flood(socket, &question, from, Some(question.metadata.id)).await;
        assert_eq!(addresses(soon(asked).await.unwrap()), [FORGED]);
    }
}
