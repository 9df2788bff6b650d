//! Queries read and replies written: what every message has in common, EDNS
//! (RFC 6891) and the client's size.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record, RecordType},
};

/// What we take over UDP, in bytes: fits any path (<https://www.dnsflagday.net/2020/>).
pub(crate) const UDP_PAYLOAD: u16 = 1_232;
/// What a client without EDNS takes over UDP, in bytes (RFC 1035 section 4.2.1).
const UDP_PAYLOAD_PLAIN: u16 = 512;
/// Length of a message's header, in bytes.
const HEADER_BYTES: usize = 12;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A question that may be answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) query: Query,
    /// Whether the client wants names outside our zones resolved for it.
    pub(crate) recursion_desired: bool,
    /// What every reply to it has.
    envelope: Envelope,
}

/// What a reply repeats of the query.
#[derive(Clone, Debug)]
struct Envelope {
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    checking_disabled: bool,
    query: Option<Query>,
    edns: Option<ClientEdns>,
    transport: Transport,
}

#[derive(Clone, Copy, Debug)]
struct ClientEdns {
    payload: u16,
    dnssec_ok: bool,
}

/// What a message turned out to be.
#[derive(Debug)]
pub(crate) enum Received {
    /// Not worth a reply: too short, or itself a reply, to which a reply could
    /// go round for ever.
    Nothing,
    /// Cannot be answered; this is the whole reply.
    Rejected(ResponseCode, Vec<u8>),
    /// A question of class IN.
    Request(Request),
}

/// The contents of a reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) code: ResponseCode,
    /// Whether we are the authority for the name.
    pub(crate) authoritative: bool,
    /// Whether this client's names outside our zones are resolved.
    pub(crate) recursion_available: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

impl Reply {
    pub(crate) fn of(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

/// Reads what a client sent.
pub(crate) fn receive(bytes: &[u8], transport: Transport) -> Received {
    let Some(&[id_high, id_low, flags, _, questions_high, questions_low, ..]) = bytes.get(..HEADER_BYTES)
    else {
        return Received::Nothing;
    };
    if flags & 0x80 != 0 {
        return Received::Nothing;
    }
    let mut envelope = Envelope {
        id: u16::from_be_bytes([id_high, id_low]),
        op_code: OpCode::from_u8((flags >> 3) & 0x0f),
        recursion_desired: flags & 0x01 != 0,
        checking_disabled: false,
        query: None,
        edns: None,
        transport,
    };
    if envelope.op_code != OpCode::Query {
        return envelope.reject(ResponseCode::NotImp);
    }
    // Looked at before the rest is decoded, because decoding makes room for as
    // many questions as the header promises.
    if u16::from_be_bytes([questions_high, questions_low]) != 1 {
        return envelope.reject(ResponseCode::FormErr);
    }
    let Ok(message) = Message::from_vec(bytes) else { return envelope.reject(ResponseCode::FormErr) };
    envelope.checking_disabled = message.metadata.checking_disabled;
    envelope.edns = message
        .edns
        .as_ref()
        .map(|edns| ClientEdns { payload: edns.max_payload(), dnssec_ok: edns.flags().dnssec_ok });
    let [query] = &message.queries[..] else { return envelope.reject(ResponseCode::FormErr) };
    envelope.query = Some(query.clone());
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return envelope.reject(ResponseCode::BADVERS);
    }
    match (query.query_class(), query.query_type()) {
        // OPT and TSIG are no data; type 0 is reserved.
        (_, RecordType::OPT | RecordType::TSIG | RecordType::ZERO) => envelope.reject(ResponseCode::FormErr),
        // Zones are not handed out whole.
        (DNSClass::IN, RecordType::AXFR | RecordType::IXFR) => envelope.reject(ResponseCode::Refused),
        (DNSClass::IN, _) => Received::Request(Request {
            query: query.clone(),
            recursion_desired: envelope.recursion_desired,
            envelope,
        }),
        _ => envelope.reject(ResponseCode::Refused),
    }
}

impl Request {
    /// The reply in bytes, cut to what the client takes.
    pub(crate) fn encode(&self, reply: Reply) -> Vec<u8> {
        self.envelope.encode(reply)
    }
}

impl Envelope {
    fn reject(&self, code: ResponseCode) -> Received {
        Received::Rejected(code, self.encode(Reply::of(code)))
    }

    /// Largest reply, in bytes.
    fn size(&self) -> usize {
        match (self.transport, self.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => usize::from(UDP_PAYLOAD_PLAIN),
            (Transport::Udp, Some(edns)) => usize::from(edns.payload.clamp(UDP_PAYLOAD_PLAIN, UDP_PAYLOAD)),
        }
    }

    fn encode(&self, reply: Reply) -> Vec<u8> {
        let mut message = Message::new(self.id, MessageType::Response, self.op_code);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.recursion_available = reply.recursion_available;
        message.metadata.authoritative = reply.authoritative;
        message.metadata.response_code = reply.code;
        message.queries.extend(self.query.clone());
        message.answers = reply.answers;
        message.authorities = reply.authorities;
        message.additionals = reply.additionals;
        if let Some(client) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(client.dnssec_ok);
            message.set_edns(edns);
        }
        if let Some(bytes) = self.fitting(&message) {
            return bytes;
        }
        // What is only helpful goes first, and its absence is no truncation
        // (RFC 2181 section 9).
        message.additionals.clear();
        if let Some(bytes) = self.fitting(&message) {
            return bytes;
        }
        let cut = message.truncate();
        self.fitting(&cut).unwrap_or_else(|| {
            let code = ResponseCode::ServFail;
            // Not even the question can be encoded: the header is the reply.
            Message::error_msg(self.id, self.op_code, code).to_vec().unwrap_or_default()
        })
    }

    fn fitting(&self, message: &Message) -> Option<Vec<u8>> {
        message.to_vec().ok().filter(|bytes| bytes.len() <= self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::{Name, RData, rdata::TXT};
    use proptest::prelude::*;

    fn question(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 0x1234;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii("Api.ns.").unwrap(), RecordType::A));
        change(&mut message);
        message.to_vec().unwrap()
    }

    fn edns(payload: u16, version: u8) -> Edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload).set_version(version).set_dnssec_ok(true);
        edns
    }

    fn rejected(bytes: &[u8]) -> Message {
        match receive(bytes, Transport::Udp) {
            Received::Rejected(code, bytes) => {
                let message = Message::from_vec(&bytes).unwrap();
                // As numbers: BADVERS and TSIG's BADSIG are both 16.
                assert_eq!(u16::from(message.metadata.response_code), u16::from(code));
                assert_eq!(message.metadata.id, 0x1234);
                assert_eq!(message.metadata.message_type, MessageType::Response);
                message
            }
            other => panic!("not rejected: {other:?}"),
        }
    }

    fn request(bytes: &[u8], transport: Transport) -> Request {
        match receive(bytes, transport) {
            Received::Request(request) => request,
            other => panic!("no request: {other:?}"),
        }
    }

    fn code(bytes: &[u8]) -> ResponseCode {
        rejected(bytes).metadata.response_code
    }

    #[test]
    fn what_cannot_be_answered_is_rejected_by_name() {
        assert_eq!(code(&question(|m| m.metadata.op_code = OpCode::Notify)), ResponseCode::NotImp);
        assert_eq!(code(&question(|m| m.metadata.op_code = OpCode::Update)), ResponseCode::NotImp);
        assert_eq!(code(&question(|m| m.queries.clear())), ResponseCode::FormErr);
        assert_eq!(code(&question(|m| m.queries.push(m.queries[0].clone()))), ResponseCode::FormErr);
        for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY] {
            let bytes = question(|m| {
                m.queries[0].set_query_class(class);
            });
            assert_eq!(code(&bytes), ResponseCode::Refused);
        }
        for (kind, expected) in [
            (RecordType::AXFR, ResponseCode::Refused),
            (RecordType::IXFR, ResponseCode::Refused),
            (RecordType::OPT, ResponseCode::FormErr),
        ] {
            let bytes = question(|m| {
                m.queries[0].set_query_type(kind);
            });
            assert_eq!(code(&bytes), expected);
        }
        let cut = question(|_| {});
        assert_eq!(code(&cut[..cut.len() - 1]), ResponseCode::FormErr);
        // A header that promises 65,535 questions gets no room for them.
        let mut greedy = cut;
        greedy[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(code(&greedy), ResponseCode::FormErr);
    }

    #[test]
    fn a_reply_and_a_fragment_get_nothing() {
        let reply = question(|m| m.metadata.message_type = MessageType::Response);
        assert!(matches!(receive(&reply, Transport::Udp), Received::Nothing));
        assert!(matches!(receive(&reply[..11], Transport::Udp), Received::Nothing));
        assert!(matches!(receive(&[], Transport::Udp), Received::Nothing));
    }

    #[test]
    fn edns_is_echoed_and_a_later_version_refused() {
        let plain = request(&question(|_| {}), Transport::Udp).encode(Reply::default());
        assert!(Message::from_vec(&plain).unwrap().edns.is_none());
        let bytes = question(|m| {
            m.set_edns(edns(4_096, 0));
        });
        let reply = request(&bytes, Transport::Udp).encode(Reply::default());
        let echoed = Message::from_vec(&reply).unwrap().edns.unwrap();
        assert_eq!((echoed.max_payload(), echoed.version(), echoed.flags().dnssec_ok), (1_232, 0, true));
        let later = rejected(&question(|m| {
            m.set_edns(edns(4_096, 1));
        }));
        assert_eq!(u16::from(later.metadata.response_code), u16::from(ResponseCode::BADVERS));
        assert_eq!(later.edns.unwrap().version(), 0);
    }

    #[test]
    fn a_reply_is_cut_to_what_the_client_takes() {
        let texts = |count: usize| -> Vec<Record> {
            let text = RData::TXT(TXT::new(vec!["x".repeat(100)]));
            vec![Record::from_rdata(Name::from_ascii("api.ns.").unwrap(), 1, text); count]
        };
        let sent = |payload: Option<u16>, transport, reply: Reply| {
            let bytes = question(|m| {
                m.edns = payload.map(|payload| edns(payload, 0));
            });
            let bytes = request(&bytes, transport).encode(reply);
            let message = Message::from_vec(&bytes).unwrap();
            (bytes.len(), message.metadata.truncation, message.answers.len(), message.additionals.len())
        };
        let answers = |count| Reply { answers: texts(count), ..Reply::default() };
        let (length, cut, count, _) = sent(None, Transport::Udp, answers(4));
        assert!((length, cut, count) <= (512, false, 4) && count == 4, "{length}");
        let (length, cut, count, _) = sent(None, Transport::Udp, answers(5));
        assert!(length <= 512 && cut && count == 0);
        assert!(!sent(Some(1_232), Transport::Udp, answers(5)).1);
        // Neither below 512 nor above what we say ourselves.
        assert!(!sent(Some(100), Transport::Udp, answers(4)).1);
        assert!(sent(Some(65_535), Transport::Udp, answers(12)).1);
        assert!(!sent(None, Transport::Tcp, answers(500)).1);
        assert!(sent(None, Transport::Tcp, answers(600)).1);
        // Additional records are left out before anything is called cut.
        let both = Reply { additionals: texts(3), ..answers(4) };
        let (_, cut, count, extra) = sent(None, Transport::Udp, both);
        assert_eq!((cut, count, extra), (false, 4, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            match receive(&bytes, Transport::Udp) {
                Received::Nothing => {}
                Received::Rejected(_, reply) => prop_assert!(Message::from_vec(&reply).is_ok()),
                Received::Request(request) => {
                    prop_assert!(Message::from_vec(&request.encode(Reply::default())).is_ok());
                }
            }
        }

        #[test]
        fn damaged_queries_are_survived(
            at in prop::collection::vec((0_usize..60, any::<u8>()), 1..6),
            length in 12_usize..60,
        ) {
            let mut bytes = question(|m| { m.set_edns(edns(1_232, 0)); });
            for (at, value) in at {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length);
            if let Received::Request(request) = receive(&bytes, Transport::Udp) {
                let reply = Message::from_vec(&request.encode(Reply::of(ResponseCode::NXDomain))).unwrap();
                prop_assert_eq!(reply.queries, vec![request.query]);
            }
        }
    }
}
