use bowline_model::clock::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpListener;

use super::{
    msgpack::{DecodeError, Scanner, Value, decode, write_json},
    *,
};

fn object(value: Json) -> Map<String, Json> {
    let Json::Object(object) = value else { panic!("it is none") };
    object
}

fn packed(value: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    write_json(&mut out, value);
    out
}

#[test]
fn all_modes_are_read() {
    let event = |second: u64| Event {
        tag: "app".into(),
        at: Some(Timestamp::from_secs(second)),
        record: object(json!({"log": "x"})),
    };
    // Message mode, with a chunk to acknowledge.
    let (incoming, _) = read_message(&packed(&json!(["app", 7, {"log": "x"}, {"chunk": "c"}]))).expect("one");
    assert_eq!((incoming.events, incoming.chunk.as_deref()), (vec![event(7)], Some("c")));
    // Forward mode; the second entry as Fluent Bit 2.1 writes it.
    let (incoming, _) =
        read_message(&packed(&json!(["app", [[7, {"log": "x"}], [[8, {}], {"log": "x"}]]]))).expect("one");
    assert_eq!(incoming.events, [event(7), event(8)]);
    // Packed, and packed and compressed.
    let entries = [packed(&json!([7, {"log": "x"}])), packed(&json!([8, {"log": "x"}]))].concat();
    for gzip in [false, true] {
        let mut message = Vec::new();
        msgpack::write_array(&mut message, 3);
        msgpack::write_text(&mut message, "app");
        if gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &entries).expect("it compresses");
            msgpack::write_bytes(&mut message, &encoder.finish().expect("it compresses"));
            message.extend(packed(&json!({"compressed": "gzip"})));
        } else {
            msgpack::write_bytes(&mut message, &entries);
            message.extend(packed(&json!({})));
        }
        let (incoming, length) = read_message(&message).expect("one");
        assert_eq!((incoming.events, length), (vec![event(7), event(8)], message.len()));
    }
}

#[test]
fn what_would_be_too_much_is_refused() {
    // An array of four thousand million elements: nothing is reserved for it.
    assert!(matches!(decode(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Incomplete(_))));
    assert!(matches!(read_message(&[0xc6, 0xff, 0xff, 0xff, 0xff]), Err(MessageError::Length(_))));
    assert_eq!(decode(&[0x91; 64]), Err(DecodeError::Depth));
    // A bomb: 32 MiB of zeros in a few kilobytes.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![0; 2 * MESSAGE_BYTES_MAX]).expect("it compresses");
    let mut message = Vec::new();
    msgpack::write_array(&mut message, 3);
    msgpack::write_text(&mut message, "app");
    msgpack::write_bytes(&mut message, &encoder.finish().expect("it compresses"));
    message.extend(packed(&json!({"compressed": "gzip"})));
    assert_eq!(read_message(&message), Err(MessageError::Length(MESSAGE_BYTES_MAX)));
}

#[tokio::test]
async fn a_client_is_told_what_the_server_has() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for gzip in [false, true] {
        let mut client = ForwardClient::new("127.0.0.1", port, None, true, false, gzip).expect("a client");
        let record = object(json!({"log": "a line", "n": [1, -1, 1.5, null, true]}));
        let at = Timestamp::from_millis(1_234_567);
        let events = [(at, &record), (at, &record)];
        let received = std::sync::Mutex::new(Vec::new());
        let serving = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let take = |events: Vec<Event>| {
                received.lock().expect("it is held by nobody").extend(events);
                std::future::ready(Ok(()))
            };
            serve(stream, take).await.expect("it serves");
        };
        let sending = async {
            client.send("tag", &events).await.expect("it is taken");
            client.send("tag", &events[..1]).await.expect("it is taken");
            drop(client);
        };
        tokio::join!(serving, sending);
        let received = received.into_inner().expect("it is held by nobody");
        assert_eq!(received.len(), 3);
        assert_eq!(received[0], Event { tag: "tag".into(), at: Some(at), record: record.clone() });
    }
}

#[tokio::test]
async fn a_server_that_closes_has_taken_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut client = ForwardClient::new("127.0.0.1", port, None, true, false, false).expect("a client");
    let record = object(json!({}));
    let events = [(Timestamp::from_secs(1), &record)];
    let closing = async { drop(listener.accept().await.expect("a connection")) };
    let (sent, ()) = tokio::join!(client.send("tag", &events), closing);
    assert!(sent.is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_message(&bytes);
        let whole = decode(&bytes);
        // The scanner agrees with the decoder, whichever way the bytes come.
        let mut scanner = Scanner::default();
        let mut found = None;
        for end in 0..=bytes.len() {
            match scanner.advance(&bytes[..end]) {
                Ok(Some(length)) => { found = Some(length); break; }
                Ok(None) => {}
                Err(_) => break,
            }
        }
        if let Ok((_, length)) = whole {
            prop_assert_eq!(found, Some(length));
        }
    }

    #[test]
    fn what_is_written_is_read(number in any::<i64>(), text in ".{0,300}", count in 0usize..40) {
        let value = json!({"n": number, "t": text, "a": vec![number; count], "o": {"x": null}});
        let (read, _) = decode(&packed(&value)).expect("it is one");
        prop_assert_eq!(read.into_json(), value);
    }

    #[test]
    fn integers_of_all_widths(number in any::<i64>()) {
        let bytes = [&[0xd3][..], &number.to_be_bytes()].concat();
        prop_assert_eq!(decode(&bytes), Ok((Value::Signed(number), 9)));
        let bytes = [&[0xd0][..], &(number as i8).to_be_bytes()].concat();
        prop_assert_eq!(decode(&bytes), Ok((Value::Signed((number as i8).into()), 2)));
    }
}
