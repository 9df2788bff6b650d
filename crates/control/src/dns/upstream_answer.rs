//! What of an upstream server's message is believed: the records that answer
//! the question, and nothing that happens to come along.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};

/// Most CNAMEs in an answer.
const CNAMES_MAX: usize = 16;

/// What is asked of an upstream server. Equal whatever the case of its letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
}

/// What was believed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UpstreamAnswer {
    /// NOERROR or NXDOMAIN.
    pub(crate) code: ResponseCode,
    /// The chain of CNAMEs from the question's name, and the records at its end.
    pub(crate) answers: Vec<Record>,
    /// For how long "there is none" holds.
    pub(crate) soa: Option<Record>,
}

/// How a message fails to be the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Another id, another question, or no reply at all.
    Foreign,
    /// All is right but the case of the name's letters. A server that does not
    /// repeat them is told from a guess by asking it over TCP.
    Case,
}

/// The message, where it is the reply to exactly `asked` under `id`.
pub(crate) fn matching(bytes: &[u8], id: u16, asked: &Query) -> Result<Message, Mismatch> {
    // One question, looked at before the rest is decoded: see message.rs.
    if bytes.get(..2) != Some(&id.to_be_bytes()[..]) || bytes.get(4..6) != Some(&[0, 1][..]) {
        return Err(Mismatch::Foreign);
    }
    let message = Message::from_vec(bytes).map_err(|_| Mismatch::Foreign)?;
    let [query] = &message.queries[..] else { return Err(Mismatch::Foreign) };
    if message.metadata.message_type != MessageType::Response
        || message.metadata.op_code != OpCode::Query
        || query.query_type() != asked.query_type()
        || query.query_class() != asked.query_class()
        || query.name() != asked.name()
    {
        return Err(Mismatch::Foreign);
    }
    if query.name().eq_case(asked.name()) { Ok(message) } else { Err(Mismatch::Case) }
}

/// What `message` says about `question`; `None` where it is a refusal, a
/// failure or a referral. `ours` tells the names that only we answer for.
pub(crate) fn believed(
    message: Message,
    question: &Question,
    ours: impl Fn(&Name) -> bool,
) -> Option<UpstreamAnswer> {
    let mut code = message.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let mut answers: Vec<Record> = Vec::new();
    let mut owner = question.name.clone();
    for _ in 0..=CNAMES_MAX {
        // The upstream server does not get to say what our names mean.
        if ours(&owner) {
            break;
        }
        let at_owner = || {
            message.answers.iter().filter(|record| record.dns_class == DNSClass::IN && record.name == owner)
        };
        answers.extend(
            at_owner()
                .filter(|record| question.kind == RecordType::ANY || record.record_type() == question.kind)
                .cloned(),
        );
        if matches!(question.kind, RecordType::ANY | RecordType::CNAME) {
            break;
        }
        let Some((alias, target)) = at_owner().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record, target.0.clone())),
            _ => None,
        }) else {
            break;
        };
        if answers.iter().any(|known| known.name == alias.name) {
            // It goes round, or has data beside it.
            break;
        }
        answers.push(alias.clone());
        owner = target;
    }
    let ended = answers.last().is_some_and(|record| record.record_type() == question.kind)
        || question.kind == RecordType::ANY && !answers.is_empty();
    let mut soa = message
        .authorities
        .iter()
        .find(|record| {
            !ended
                && !ours(&owner)
                && record.record_type() == RecordType::SOA
                && record.dns_class == DNSClass::IN
                && record.name.zone_of(&owner)
        })
        .cloned();
    if ours(&owner) {
        // Whether that one exists is not the upstream server's to say either.
        code = ResponseCode::NoError;
    }
    let referral = answers.is_empty()
        && soa.is_none()
        && message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
    answers.iter_mut().chain(soa.as_mut()).for_each(lower_names);
    (!referral).then_some(UpstreamAnswer { code, answers, soa })
}

/// The upstream server's names share letters with the question, whose case was
/// drawn at random and is nobody else's business.
fn lower_names(record: &mut Record) {
    record.name = record.name.to_lowercase();
    if let RData::CNAME(target) = &mut record.data {
        target.0 = target.0.to_lowercase();
    }
}

impl UpstreamAnswer {
    /// For how long it may be kept, in seconds; `None` where it does not say.
    pub(crate) fn ttl(&self) -> Option<u32> {
        let negative = self.soa.as_ref().map(|record| match &record.data {
            RData::SOA(soa) => record.ttl.min(soa.minimum),
            _ => 0,
        });
        // A chain that ends in nothing holds only as long as the nothing does.
        if negative.is_none() && (self.code == ResponseCode::NXDomain || self.ends_in_cname()) {
            return None;
        }
        // The highest bit is no part of a TTL (RFC 2181 section 8).
        let lowest = |ttl: u32| if ttl > i32::MAX as u32 { 0 } else { ttl };
        self.answers.iter().map(|record| record.ttl).chain(negative).map(lowest).min()
    }

    fn ends_in_cname(&self) -> bool {
        self.answers.last().is_some_and(|record| record.record_type() == RecordType::CNAME)
    }

    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.answers.len() + usize::from(self.soa.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(owner: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A::new(192, 0, 2, 1)))
    }

    fn alias(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 30, RData::CNAME(CNAME(name(target))))
    }

    fn soa(owner: &str) -> Record {
        let data = SOA::new(name(owner), name("x."), 1, 1, 1, 1, 20);
        Record::from_rdata(name(owner), 40, RData::SOA(data))
    }

    fn asked() -> Query {
        Query::query(name("wWw.eXample.com."), RecordType::A)
    }

    fn reply(change: impl FnOnce(&mut Message)) -> Message {
        let mut message = Message::response(9, OpCode::Query);
        message.add_query(asked());
        change(&mut message);
        message
    }

    fn believe(change: impl FnOnce(&mut Message)) -> Option<UpstreamAnswer> {
        let question = Question { name: name("www.example.com."), kind: RecordType::A };
        believed(reply(change), &question, |name| name.to_ascii().ends_with("ns."))
    }

    fn owners(answer: Option<UpstreamAnswer>) -> Vec<String> {
        answer.unwrap().answers.iter().map(|record| record.name.to_ascii()).collect()
    }

    #[test]
    fn only_the_reply_to_exactly_this_question_matches() {
        let check = |id, change: fn(&mut Message)| {
            matching(&reply(change).to_vec().unwrap(), id, &asked()).map(|_| ()).err()
        };
        let foreign = Some(Mismatch::Foreign);
        assert_eq!(check(9, |_| {}), None);
        assert_eq!(check(8, |_| {}), foreign);
        assert_eq!(check(9, |m| m.metadata.message_type = MessageType::Query), foreign);
        assert_eq!(check(9, |m| m.metadata.op_code = OpCode::Status), foreign);
        assert_eq!(check(9, |m| m.queries.clear()), foreign);
        assert_eq!(check(9, |m| m.queries.push(asked())), foreign);
        assert_eq!(check(9, |m| m.queries[0].query_type = RecordType::AAAA), foreign);
        assert_eq!(check(9, |m| m.queries[0].query_class = DNSClass::CH), foreign);
        assert_eq!(check(9, |m| m.queries[0].name = name("www.example.org.")), foreign);
        assert_eq!(check(9, |m| m.queries[0].name = name("www.example.com.")), Some(Mismatch::Case));
    }

    #[test]
    fn records_of_other_names_are_dropped() {
        let answer = believe(|m| {
            m.answers = vec![
                address("bank.example."),
                address("b.example.com."),
                alias("www.example.com.", "b.example.com."),
                alias("other.example.com.", "evil.example."),
            ];
            m.additionals = vec![address("bank.example.")];
            m.authorities = vec![soa("com.")];
        });
        assert_eq!(answer.as_ref().unwrap().soa, None, "the answer is not negative");
        assert_eq!(answer.as_ref().unwrap().ttl(), Some(30));
        assert_eq!(owners(answer), ["www.example.com.", "b.example.com."]);
        let nothing = believe(|m| m.answers = vec![address("bank.example.")]);
        assert_eq!(nothing.as_ref().unwrap().ttl(), None);
        assert!(owners(nothing).is_empty());
    }

    #[test]
    fn upstream_does_not_speak_for_our_names() {
        let answer = believe(|m| {
            m.metadata.response_code = ResponseCode::NXDomain;
            m.answers = vec![alias("www.example.com.", "api.ns."), address("api.ns.")];
            m.authorities = vec![soa(".")];
        });
        assert_eq!(answer.as_ref().unwrap().code, ResponseCode::NoError);
        assert_eq!(answer.as_ref().unwrap().ttl(), None);
        assert_eq!(owners(answer), ["www.example.com."]);
    }

    #[test]
    fn chains_that_go_round_end() {
        let answer = believe(|m| {
            m.answers =
                vec![alias("www.example.com.", "b."), alias("b.", "www.example.com."), alias("b.", "c.")];
        });
        assert_eq!(owners(answer), ["www.example.com.", "b."]);
    }

    #[test]
    fn negative_answers_keep_the_soa_of_a_zone_above() {
        let answer = believe(|m| {
            m.metadata.response_code = ResponseCode::NXDomain;
            m.authorities = vec![soa("example.org."), soa("example.com.")];
        })
        .unwrap();
        assert_eq!(answer.soa.as_ref().unwrap().name, name("example.com."));
        assert_eq!(answer.ttl(), Some(20));
        let without = believe(|m| m.metadata.response_code = ResponseCode::NXDomain).unwrap();
        assert_eq!(without.ttl(), None);
    }

    #[test]
    fn refusals_and_referrals_are_no_answers() {
        for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
            assert_eq!(believe(|m| m.metadata.response_code = code), None);
        }
        let ns = Record::from_rdata(name("com."), 1, RData::NS(NS(name("a.gtld.example."))));
        assert_eq!(believe(|m| m.authorities = vec![ns]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), body: bool) {
            let mut bytes = bytes;
            if body {
                // Past the first checks, into the records.
                let mut start = reply(|_| {}).to_vec().unwrap();
                start[6..8].copy_from_slice(&[0, 2]);
                start.append(&mut bytes);
                bytes = start;
            }
            if let Ok(message) = matching(&bytes, 9, &asked()) {
                let question = Question { name: asked().name().clone(), kind: RecordType::A };
                if let Some(answer) = believed(message, &question, |_| false) {
                    prop_assert!(answer.answers.iter().all(|record| record.dns_class == DNSClass::IN));
                }
            }
        }
    }
}
