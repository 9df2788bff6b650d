//! Entries for fuzzing: what of this crate reads bytes of others and is not public otherwise.
//! No part of its interface.

use bowline_model::clock::Timestamp;
use hickory_proto::{
    op::{Query, ResponseCode},
    rr::Record,
};

use crate::{
    acm::import,
    dns::{
        message::{self, Received, Reply, Transport, UDP_PAYLOAD},
        upstream_answer::{self, Question},
    },
    kms::cipher,
    x509::{certificate::Extension, chain, csr, csr::SigningRequest, pem},
};

/// A certificate, its key and the certificates above it in PEM, as `ImportCertificate` takes them.
/// What is taken has the key's certificate first, and is valid at `now`, in seconds since 1970.
pub fn import(certificate: &[u8], key: &[u8], above: Option<&[u8]>, now: u64) {
    let now = Timestamp::from_secs(now);
    let Ok(imported) = import::check(certificate, key, above, now) else { return };
    let (from, until) = imported.validity;
    assert!(from <= now && now <= until, "not valid now");
    let read = chain::parse(&imported.certificate_der).expect("what was checked can be read");
    assert_eq!(*read.public_key().subject_public_key.data, *imported.key.public_key(), "another's key");
    assert!(imported.chain.len() <= chain::CHAIN_MAX);
}

/// A certificate signing request, as `IssueCertificate` takes it. What it asks for is the same after
/// it was written and read.
pub fn signing_request(given: &[u8]) {
    let Ok(request) = SigningRequest::parse(given) else { return };
    for extension in &request.extensions {
        assert_eq!(Extension::parse(&extension.encode()).as_ref(), Some(extension));
        let _ = csr::uris(&extension.value);
    }
    let _ = chain::name_text(&request.subject);
}

/// Certificates in PEM, the first below the others, as `ImportCertificateAuthorityCertificate` takes
/// them.
pub fn chain(text: &[u8], now: u64) {
    let Ok(mut certificates) = pem::certificates(text) else { return };
    let first = certificates.remove(0);
    let _ = chain::check(&first, &certificates, Timestamp::from_secs(now));
}

/// What `Decrypt` takes.
pub fn ciphertext(blob: &[u8]) {
    if let Ok(head) = cipher::head(blob) {
        assert_eq!(head.key_id.len(), 36);
    }
}

/// A message at the control plane's DNS server, then the same bytes as a resolver's answer.
pub fn name_server(bytes: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let reply = match message::receive(bytes, transport) {
            Received::Nothing => continue,
            Received::Rejected(_, reply) => reply,
            Received::Request(request) => {
                upstream_answer(bytes, &request.query);
                request.encode(Reply::of(ResponseCode::NXDomain))
            }
        };
        assert_eq!(reply.get(..2), bytes.get(..2), "it answers another question");
        assert!(reply.get(2).is_some_and(|flags| flags & 0x80 != 0), "a question is no answer");
        assert!(transport == Transport::Tcp || reply.len() <= usize::from(UDP_PAYLOAD));
    }
}

/// What a resolver could answer to `asked`: `bytes` with the flag of an answer.
fn upstream_answer(bytes: &[u8], asked: &Query) {
    let mut answer = bytes.to_vec();
    answer[2] |= 0x80;
    let id = u16::from_be_bytes([answer[0], answer[1]]);
    let Ok(message) = upstream_answer::matching(&answer, id, asked) else { return };
    let question = Question { name: asked.name().clone(), kind: asked.query_type() };
    if let Some(believed) = upstream_answer::believed(message, &question, |_| false) {
        let _ = believed.ttl();
        let known = |record: &Record| {
            record.name == question.name || believed.answers.iter().any(|other| other.name != question.name)
        };
        assert!(believed.answers.iter().all(known), "a record that nobody asked for is believed");
    }
}
