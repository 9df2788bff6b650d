//! Which requests are taken, and as what: of random fields, sound or not, ours and `h2`'s server make the
//! same, but for what ours refuses on purpose.

use bowline_http2::{
    Config, Role,
    connection::{Connection, Event},
    frame::{HEAD_LEN, Head, Kind, PREFACE},
};
use bytes::{Bytes, BytesMut};
use http::Request;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

type Fields = Vec<(&'static str, &'static str)>;

const SOUND: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/a?b=c")];

pub(crate) fn fields() -> impl Strategy<Value = Fields> {
    let any = prop::sample::select(vec![
        (":method", "CONNECT"),
        (":method", "OPTIONS"),
        (":method", "G T"),
        (":method", ""),
        (":scheme", "ftp"),
        (":scheme", ""),
        (":path", "*"),
        (":path", ""),
        (":path", "x"),
        (":path", "/a#b"),
        (":path", "/a b"),
        (":authority", ""),
        (":authority", "a.test:80"),
        (":authority", "user@a.test"),
        (":authority", "a b"),
        (":status", "200"),
        (":protocol", "websocket"),
        (":other", "x"),
        ("host", "b.test"),
        ("te", "trailers"),
        ("te", "gzip"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "x"),
        ("proxy-connection", "x"),
        ("content-length", "0"),
        ("content-length", "1"),
        ("content-length", "x"),
        ("content-length", "00"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("x-empty", ""),
        ("x-blank", " x "),
        ("x-control", "a\u{1}b"),
        ("x-line", "a\nb"),
        ("Upper", "x"),
        ("", "x"),
        ("a b", "x"),
    ]);
    // A sound request of which something is missing, and has more, in some order.
    let kept = prop::collection::vec(prop::bool::weighted(0.9), SOUND.len());
    let more = prop::collection::vec(any, 0..3);
    (kept, more, prop::bool::weighted(0.2)).prop_flat_map(|(kept, more, shuffled)| {
        let kept = SOUND.iter().zip(kept).filter(|(_, kept)| *kept).map(|(field, _)| *field);
        let mut fields: Fields = kept.chain(more).collect();
        if !shuffled {
            // Pseudo-headers first.
            fields.sort_by_key(|(name, _)| !name.starts_with(':'));
            return Just(fields).boxed();
        }
        Just(fields).prop_shuffle().boxed()
    })
}

/// What ours refuses and `h2` takes.
pub(crate) fn is_refused_on_purpose(fields: &Fields) -> bool {
    let has = |name: &str| fields.iter().any(|(other, _)| *other == name);
    let is_connect = fields.contains(&(":method", "CONNECT"));
    let is_no_path = fields.iter().any(|field| matches!(*field, (":path", "x" | "/a#b")));
    is_no_path || (is_connect && !has(":authority")) || (!is_connect && !has(":path"))
}

fn bytes(fields: &Fields) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    let mut bytes = PREFACE.to_vec();
    Head { len: 0, kind: Kind::Settings, flags: 0, stream: 0 }.write(&mut bytes);
    Head { len: block.len(), kind: Kind::Headers, flags: 5, stream: 1 }.write(&mut bytes);
    bytes.extend(block);
    bytes
}

/// What ours makes of it.
pub(crate) fn ours(fields: &Fields) -> Option<Request<()>> {
    let mut connection = Connection::new(Role::Server, Config::default());
    let mut input = BytesMut::from(&bytes(fields)[..]);
    while let Ok(Some(event)) = connection.receive(&mut input) {
        if let Event::Request { request, .. } = event {
            return Some(request);
        }
    }
    None
}

/// What `h2` makes of it.
pub(crate) async fn h2s(fields: &Fields) -> Option<Request<()>> {
    let (mut near, far) = duplex(100_000);
    near.write_all(&bytes(fields)).await.unwrap();
    let mut connection = h2::server::handshake(far).await.unwrap();
    let refused = async {
        let mut head = [0; HEAD_LEN];
        loop {
            near.read_exact(&mut head).await.unwrap();
            let head = Head::parse(&head).unwrap();
            if matches!(head.kind, Kind::Reset | Kind::GoAway) {
                return;
            }
            let mut payload = vec![0; head.len];
            near.read_exact(&mut payload).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        accepted = connection.accept() => match accepted {
            Some(Ok((request, respond))) => {
                let _: h2::server::SendResponse<Bytes> = respond;
                Some(request.map(drop))
            }
            _ => None,
        },
        () = refused => None,
    }
}
