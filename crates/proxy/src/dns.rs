//! The task's DNS server: it knows the client aliases, and nothing else.
//!
//! A task has no way to other networks, so a name that is no alias does not
//! exist there (NXDOMAIN); saying "refused" would make resolvers retry.

use std::{io, net::Ipv4Addr, os::fd::OwnedFd, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, RData, Record, RecordType, rdata::A},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use crate::shared::Shared;

/// How long an answer may be kept, in seconds: names come and go.
const TTL: u32 = 5;
/// Longest question read over UDP (RFC 1035 allows 512, EDNS more).
const UDP_BYTES_MAX: usize = 4_096;
/// Longest question read over TCP.
const TCP_BYTES_MAX: usize = 4_096;
const TCP_CONNECTIONS_MAX: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(10);

/// The answer to a question; `None` for what is not worth one.
pub(crate) fn answer(question: &[u8], lookup: impl Fn(&str) -> Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let Ok(request) = Message::from_vec(question) else {
        // The id is all that can be answered to.
        let id = u16::from_be_bytes([*question.first()?, *question.get(1)?]);
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    // An answer to an answer could go round for ever.
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.metadata.response_code = match &request.queries[..] {
        _ if request.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        [query] => {
            response.add_query(query.clone());
            resolve(query, lookup, &mut response)
        }
        _ => ResponseCode::FormErr,
    };
    response.to_vec().ok()
}

fn resolve(query: &Query, lookup: impl Fn(&str) -> Option<Ipv4Addr>, response: &mut Message) -> ResponseCode {
    if query.query_class() != DNSClass::IN {
        return ResponseCode::Refused;
    }
    let name = query.name().to_ascii().to_ascii_lowercase();
    let Some(address) = lookup(name.trim_end_matches('.')) else { return ResponseCode::NXDomain };
    // Other types of a name that exists: no error, no data.
    if matches!(query.query_type(), RecordType::A | RecordType::ANY) {
        response.add_answer(Record::from_rdata(query.name().clone(), TTL, RData::A(A(address))));
    }
    ResponseCode::NoError
}

fn lookup(shared: &Shared) -> impl Fn(&str) -> Option<Ipv4Addr> {
    let snapshot = shared.snapshot.load_full();
    move |name| snapshot.names.get(name).copied()
}

/// Serves until it is aborted.
pub(crate) async fn serve(shared: Arc<Shared>, udp: OwnedFd, tcp: OwnedFd) -> io::Result<()> {
    let udp = std::net::UdpSocket::from(udp);
    udp.set_nonblocking(true)?;
    let udp = UdpSocket::from_std(udp)?;
    let tcp = std::net::TcpListener::from(tcp);
    tcp.set_nonblocking(true)?;
    let tcp = TcpListener::from_std(tcp)?;
    tokio::join!(serve_udp(&shared, udp), serve_tcp(&shared, tcp));
    Ok(())
}

async fn serve_udp(shared: &Shared, socket: UdpSocket) {
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                if let Some(reply) = answer(&buffer[..length], lookup(shared)) {
                    // A client that is gone asks again.
                    let _ = socket.send_to(&reply, from).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a DNS datagram could not be read");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve_tcp(shared: &Arc<Shared>, socket: TcpListener) {
    let slots = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    let _slot = slot;
                    // Whatever ends it ends only this connection.
                    let _ = serve_stream(&shared, stream).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_stream(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = usize::from(timeout(TCP_IDLE, stream.read_u16()).await??);
        if length > TCP_BYTES_MAX {
            return Ok(());
        }
        let mut question = vec![0; length];
        timeout(TCP_IDLE, stream.read_exact(&mut question)).await??;
        let Some(reply) = answer(&question, lookup(shared)) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&reply).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    fn known(name: &str) -> Option<Ipv4Addr> {
        (name == "service-b-sc.ns").then_some(Ipv4Addr::new(198, 18, 1, 1))
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

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(reply) = answer(&bytes, known) {
                prop_assert!(Message::from_vec(&reply).is_ok());
            }
        }
    }
}
