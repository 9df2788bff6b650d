//! The answers of our own zones: what an authoritative server says
//! (RFC 1034 section 4.3.2) to a question whose name is in one of them.

use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{
        self, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, HINFO, NS, SOA, SRV},
    },
};

use super::{
    message::Reply,
    zone::{self, Name, Zone, Zones},
};

/// Most CNAMEs followed for one answer; as many as resolvers follow.
const CNAMES_MAX: usize = 8;
/// How long the answer to ANY may be kept, in seconds (RFC 8482 section 4.2).
const ANY_TTL: u32 = 3_600;
/// SOA's refresh, retry and expire, in seconds, as Route 53 sets them. Nobody
/// transfers these zones, so nobody uses them.
const REFRESH: i32 = 7_200;
const RETRY: i32 = 900;
const EXPIRE: i32 = 1_209_600;

/// Answers `query`; `None` where its name is in none of our zones.
pub(crate) fn authoritative(zones: &dyn Zones, query: &Query) -> Option<Reply> {
    let kind = query.query_type();
    let mut owner = query.name().clone();
    let mut name = zone::from_wire(&owner);
    let mut zone = zones.zone_of(&name)?;
    let mut reply = Reply { authoritative: true, ..Reply::default() };
    for _ in 0..=CNAMES_MAX {
        let at_apex = name == zone.apex.as_str();
        let Some(records) = zones.lookup(&name).or_else(|| at_apex.then(Default::default)) else {
            reply.code = ResponseCode::NXDomain;
            reply.authorities.push(soa(&zone));
            return Some(reply);
        };
        // An apex has SOA and NS, so it can have no CNAME (RFC 1034 section 3.6.2).
        let alias = records.cname.as_ref().filter(|_| !at_apex);
        let target = alias.and_then(|set| Some((set.ttl, set.choose().first()?.to_wire())));
        let Some((ttl, target)) = target else {
            add_records(zones, &owner, &records, kind, &mut reply);
            if at_apex {
                add_apex_records(&zone, &owner, kind, &mut reply);
            }
            if kind == RecordType::ANY && reply.answers.is_empty() && !is_empty(&records) {
                let minimal = HINFO::new("RFC8482".into(), String::new());
                reply.answers.push(Record::from_rdata(owner.clone(), ANY_TTL, RData::HINFO(minimal)));
            }
            // With a CNAME before it the answer is not empty, yet the SOA still
            // says that there is no more (RFC 2308 section 2.2).
            if !reply.answers.iter().any(|record| record.name == owner) {
                reply.authorities.push(soa(&zone));
            }
            return Some(reply);
        };
        reply.answers.push(Record::from_rdata(owner, ttl, RData::CNAME(CNAME(target.clone()))));
        if matches!(kind, RecordType::CNAME | RecordType::ANY) {
            return Some(reply);
        }
        // Outside our zones the client goes on by itself.
        name = zone::from_wire(&target);
        let Some(next) = zones.zone_of(&name) else { return Some(reply) };
        (owner, zone) = (target, next);
    }
    tracing::debug!(name = %query.name(), "its CNAMEs go round, or are too many");
    Some(Reply::of(ResponseCode::ServFail))
}

fn is_empty(records: &Name) -> bool {
    *records == Name::default()
}

fn add_records(zones: &dyn Zones, owner: &rr::Name, records: &Name, kind: RecordType, reply: &mut Reply) {
    match kind {
        RecordType::A | RecordType::AAAA => {
            reply.answers.extend(addresses(owner, records).filter(|record| record.record_type() == kind));
        }
        RecordType::SRV => {
            let Some(set) = &records.srv else { return };
            for srv in set.choose() {
                let target = srv.target.to_wire();
                if !reply.additionals.iter().any(|record| record.name == target) {
                    let found =
                        zones.zone_of(srv.target.as_str()).and_then(|_| zones.lookup(srv.target.as_str()));
                    reply.additionals.extend(found.iter().flat_map(|records| addresses(&target, records)));
                }
                let data = SRV::new(srv.priority, srv.weight, srv.port, target);
                reply.answers.push(Record::from_rdata(owner.clone(), set.ttl, RData::SRV(data)));
            }
        }
        _ => {}
    }
}

/// The chosen A and AAAA records of a name.
fn addresses(owner: &rr::Name, records: &Name) -> impl Iterator<Item = Record> {
    let four = records
        .a
        .iter()
        .flat_map(|set| set.choose().into_iter().map(|address| (set.ttl, RData::A(A(*address)))));
    let six = records
        .aaaa
        .iter()
        .flat_map(|set| set.choose().into_iter().map(|address| (set.ttl, RData::AAAA(AAAA(*address)))));
    four.chain(six).map(|(ttl, data)| Record::from_rdata(owner.clone(), ttl, data))
}

fn add_apex_records(zone: &Zone, owner: &rr::Name, kind: RecordType, reply: &mut Reply) {
    match kind {
        // One of the sets is enough for ANY (RFC 8482 section 4.1).
        RecordType::SOA | RecordType::ANY => {
            let mut record = soa(zone);
            record.name = owner.clone();
            reply.answers.push(record);
        }
        RecordType::NS => {
            let data = RData::NS(NS(zone.apex.to_wire()));
            reply.answers.push(Record::from_rdata(owner.clone(), zone.negative_ttl, data));
        }
        _ => {}
    }
}

/// The zone's SOA. The zone is served here alone and has no mailbox, so its
/// apex stands for the server and `nobody.invalid` for the mailbox, as in the
/// local zones of RFC 6303 section 3.
fn soa(zone: &Zone) -> Record {
    let apex = zone.apex.to_wire();
    let mailbox = rr::Name::from_labels(["nobody", "invalid"]).expect("it is a name");
    let data = SOA::new(apex.clone(), mailbox, zone.serial, REFRESH, RETRY, EXPIRE, zone.negative_ttl);
    Record::from_rdata(apex, zone.negative_ttl, RData::SOA(data))
}

#[cfg(test)]
mod tests;
