//! The RFC's examples, and encoder against decoder.

use http::{HeaderName, HeaderValue, Method, StatusCode, header, uri::Scheme};
use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn text(field: &Field) -> String {
    match field {
        Field::Method(method) => format!(":method: {method}"),
        Field::Scheme(scheme) => format!(":scheme: {scheme}"),
        Field::Authority(authority) => format!(":authority: {authority}"),
        Field::Path(path) => format!(":path: {path}"),
        Field::Status(status) => format!(":status: {}", status.as_str()),
        Field::Protocol(protocol) => format!(":protocol: {}", String::from_utf8_lossy(protocol)),
        Field::Header(name, value) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
        Field::Malformed(malformed) => format!("malformed: {malformed}"),
    }
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, usize::MAX, &mut |field| fields.push(text(&field)))?;
    Ok(fields)
}

/// A decoder whose table has some size, as a peer that was told so by us.
fn decoder_of(size: usize) -> Decoder {
    let mut decoder = Decoder::new(size);
    let mut update = Vec::new();
    integer::encode(size, 5, 0x20, &mut update);
    decoder.decode(&update, 0, &mut |_| ()).unwrap();
    decoder
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

fn check(mut decoder: Decoder, blocks: [&str; 3], expected: [&[&str]; 3]) {
    for (block, fields) in blocks.into_iter().zip(expected) {
        assert_eq!(read(&mut decoder, &bytes(block)).unwrap(), fields);
    }
}

/// RFC 7541, appendix C.2.
#[test]
fn single_fields_of_the_rfc() {
    for (block, field) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header"),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret"),
        ("82", ":method: GET"),
    ] {
        assert_eq!(read(&mut Decoder::new(4_096), &bytes(block)).unwrap(), [field]);
    }
}

/// Appendix C.3 and C.4.
#[test]
fn requests_of_the_rfc() {
    check(
        Decoder::new(4_096),
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        REQUESTS,
    );
    check(
        Decoder::new(4_096),
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
        REQUESTS,
    );
}

/// Appendix C.5 and C.6: a table of 256 bytes, so entries are evicted.
#[test]
fn responses_of_the_rfc() {
    check(
        decoder_of(256),
        [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
             6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
             54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
             5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
             3d31",
        ],
        RESPONSES,
    );
    check(
        decoder_of(256),
        [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
             2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
             77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
             9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ],
        RESPONSES,
    );
}

#[test]
fn what_cannot_be_read_ends_the_connection() {
    for (block, error) in [
        ("80", DecodeError::Index),
        ("be", DecodeError::Index),
        ("7f 00 0161", DecodeError::Index),
        ("ff ffff ffff ff", DecodeError::Integer),
        ("40", DecodeError::Truncated),
        ("4003 6162", DecodeError::Truncated),
        ("4001 61", DecodeError::Truncated),
        ("4001 6105 6162", DecodeError::Truncated),
        ("4001 6181 00", DecodeError::Huffman),
        ("4001 6184 ffff ffff", DecodeError::Huffman),
        // A table larger than was offered; a change after a field.
        ("3fe2 1f", DecodeError::TableSize),
        ("8220", DecodeError::TableSize),
    ] {
        assert_eq!(read(&mut Decoder::new(4_096), &bytes(block)), Err(error), "{block}");
    }
    assert_eq!(read(&mut Decoder::new(4_096), &bytes("3fe1 1f82")).unwrap(), [":method: GET"]);
}

/// They are an error of their message alone, and the tables stay in step.
#[test]
fn malformed_fields_are_told_and_still_have_their_entries() {
    let mut decoder = Decoder::new(4_096);
    let malformed = |fields: Vec<String>| fields.iter().all(|field| field.starts_with("malformed"));
    for block in [
        "4001 4101 61",   // A: a
        "4000 0161",      // no name
        "4003 3a61 6200", // :ab:
        "4001 6101 0a",   // a: \n
        "4203 4720 54",   // :method: G T
        "4803 3939 78",   // :status: 99x
        "4801 32",        // :status: 2
        "4400",           // :path:
        "4401 61",        // :path: a
        "4403 2f23 61",   // :path: /#a
        "4101 20",        // :authority: a space
        "4601 20",        // :scheme: a space
        "81",             // :authority: of the static table, empty
    ] {
        assert!(malformed(read(&mut decoder, &bytes(block)).unwrap()), "{block}");
    }
    // Twelve are in the table; the fourth has a sound name, the first has none.
    assert_eq!(read(&mut decoder, &bytes("0f37 0162")).unwrap(), ["a: b"]);
    assert!(malformed(read(&mut decoder, &bytes("0f3a 0162")).unwrap()));
    assert_eq!(read(&mut decoder, &bytes("ca")), Err(DecodeError::Index));
}

/// Names of entries with malformed values can be referred to, and sizes count what cannot be a name, too.
#[test]
fn a_malformed_entry_has_its_name_and_its_size() {
    let mut decoder = decoder_of(100);
    // a: \n, then its name with another value, not indexed.
    let fields = read(&mut decoder, &bytes("4001 6101 0a 0f2f 0162")).unwrap();
    assert_eq!(fields[1], "a: b");
    // An invalid name of 30 bytes: 63 with its value of one and overhead; `a: \n` has 34, which is still room.
    let invalid = format!("401e {} 0162", "41".repeat(30));
    assert_eq!(read(&mut decoder, &bytes(&invalid)).unwrap().len(), 1);
    assert_eq!(read(&mut decoder, &bytes("be bf")).unwrap().len(), 2);
    // A reference to it by name counts the thirty again: with 63 + 63, one is evicted.
    assert_eq!(read(&mut decoder, &bytes("7e 0162 be")).unwrap().len(), 2);
    assert_eq!(read(&mut decoder, &bytes("bf")), Err(DecodeError::Index));
}

#[test]
fn a_list_that_is_too_large_is_not_given_out_but_kept_in_step() {
    let mut decoder = Decoder::new(4_096);
    let mut fields = Vec::new();
    // a: b (34), c: d (34), :method: GET (42)
    let decoded = decoder
        .decode(&bytes("4001 6101 62 4001 6301 64 82"), 67, &mut |field| fields.push(text(&field)))
        .unwrap();
    assert_eq!(fields, ["a: b"]);
    assert_eq!(decoded, Decoded { size: 34 + 34 + 42, too_large: true });
    assert_eq!(read(&mut decoder, &bytes("be bf")).unwrap(), ["c: d", "a: b"]);
    let decoded = decoder.decode(&bytes("be bf"), 68, &mut |_| ()).unwrap();
    assert_eq!(decoded, Decoded { size: 68, too_large: false });
}

#[test]
fn what_must_not_be_indexed_is_marked_and_sent_on_so() {
    let mut decoder = Decoder::new(4_096);
    let mut found = None;
    decoder
        .decode(&bytes("1008 7061 7373 776f 7264 0673 6563 7265 74"), 4_096, &mut |field| found = Some(field))
        .unwrap();
    let Some(Field::Header(name, value)) = found else { panic!("no header") };
    assert!(value.is_sensitive());
    let mut encoder = Encoder::new();
    for _ in 0..2 {
        let mut out = Vec::new();
        encoder.header(&name, &value, &mut out);
        assert_eq!(out, bytes("1008 7061 7373 776f 7264 0673 6563 7265 74"));
    }
}

fn request(encoder: &mut Encoder, headers: &[(HeaderName, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.method(&Method::GET, &mut out);
    encoder.scheme(&Scheme::HTTPS, &mut out);
    encoder.authority("service-b-sc:8202", &mut out);
    encoder.path("/v1/things?of=mine", &mut out);
    for (name, value) in headers {
        encoder.header(name, &HeaderValue::from_str(value).unwrap(), &mut out);
    }
    out
}

#[test]
fn a_request_that_comes_again_is_a_byte_a_field() {
    let mut encoder = Encoder::new();
    let headers = [
        (header::USER_AGENT, "curl/8.0"),
        (header::ACCEPT, "*/*"),
        (header::ACCEPT_ENCODING, "gzip, deflate"),
        (HeaderName::from_static("x-forwarded-proto"), "https"),
    ];
    assert!(request(&mut encoder, &headers).len() > 60);
    assert_eq!(request(&mut encoder, &headers).len(), 8);
}

#[test]
fn credentials_have_no_entry() {
    let mut encoder = Encoder::new();
    let headers = [
        (header::AUTHORIZATION, "Bearer abcdefgh"),
        (header::COOKIE, "session=abcdefgh"),
        (header::SET_COOKIE, "session=abcdefgh"),
        (header::PROXY_AUTHORIZATION, "Basic abcdefgh"),
    ];
    request(&mut encoder, &[]);
    let first = request(&mut encoder, &headers).len();
    for _ in 0..5 {
        let block = request(&mut encoder, &headers);
        assert_eq!(block.len(), first);
        assert!(block.windows(8).any(|bytes| bytes == b"abcdefgh"));
    }
    // The other: with a value that is none, it has its entry.
    let mut encoder = Encoder::new();
    request(&mut encoder, &[(header::LOCATION, "Bearer abcdefgh")]);
    assert_eq!(request(&mut encoder, &[(header::LOCATION, "Bearer abcdefgh")]).len(), 5);
}

#[test]
fn values_that_change_each_time_do_not_push_out_what_comes_again() {
    let mut encoder = Encoder::new();
    let id = HeaderName::from_static("x-request-id");
    let mut lengths = Vec::new();
    for number in 0..10_000 {
        let value = format!("{number:036}");
        lengths
            .push(request(&mut encoder, &[(id.clone(), &value), (header::ACCEPT, "application/json")]).len());
    }
    // Method, scheme, authority, path, accept are five; and the id: an index for its name, a length, 36 bytes.
    let mean = lengths[100..].iter().sum::<usize>() as f64 / (lengths.len() - 100) as f64;
    assert!(mean < 44.2, "{mean}");
    // Every now and then one is tried again, and in time its like have pushed out the others: once in a while.
    let rebuilt = lengths[100..].iter().filter(|length| **length > 44).count();
    assert!(rebuilt < 100, "{rebuilt}");
}

#[test]
fn a_value_that_ceases_to_change_is_found_to() {
    let mut encoder = Encoder::new();
    for number in 0..1_000 {
        request(&mut encoder, &[(header::DATE, &format!("{number}"))]);
    }
    let settled = (0..64).find(|_| request(&mut encoder, &[(header::DATE, "now")]).len() == 5);
    assert!(settled.is_some());
}

#[test]
fn the_table_is_no_larger_than_the_peer_offers() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4_096);
    let headers = [(header::USER_AGENT, "curl/8.0"), (header::ACCEPT, "*/*")];
    for offered in [4_096, 100, 0, 4_096, 1 << 20, 50] {
        encoder.set_table_size(offered);
        for _ in 0..3 {
            let block = request(&mut encoder, &headers);
            assert_eq!(read(&mut decoder, &block).unwrap().len(), 6);
        }
    }
    // Less, and more again, between two blocks: both are told.
    let mut encoder = Encoder::new();
    request(&mut encoder, &headers);
    encoder.set_table_size(0);
    encoder.set_table_size(1_000_000);
    let mut out = Vec::new();
    encoder.begin(&mut out);
    assert_eq!(out, bytes("20 3fe1 1f"));
    // Of nothing that changes, nothing is told.
    out.clear();
    encoder.set_table_size(1_000_000);
    encoder.begin(&mut out);
    assert_eq!(out, []);
}

/// What may be sent, from a few names and values so that they meet again.
fn fields() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let name = prop_oneof![
        "[a-z][a-z0-9-]{0,3}",
        Just("content-type".to_owned()),
        Just("cookie".to_owned()),
        Just("x-request-id".to_owned()),
    ];
    let value = prop_oneof!["[a-c]{0,2}", "[ -~]{0,80}", Just("application/grpc".to_owned())];
    let field = (name, value, prop::bool::weighted(0.1)).prop_map(|(name, value, sensitive)| {
        let mut value = HeaderValue::from_str(&value).unwrap();
        value.set_sensitive(sensitive);
        (HeaderName::from_lowercase(name.as_bytes()).unwrap(), value)
    });
    prop::collection::vec(field, 0..20)
}

#[derive(Clone, Debug)]
struct Message {
    offered: Option<usize>,
    method: String,
    path: String,
    status: u16,
    fields: Vec<(HeaderName, HeaderValue)>,
}

fn message() -> impl Strategy<Value = Message> {
    let offered = prop::option::weighted(0.2, prop_oneof![0_usize..200, 200_usize..5_000]);
    (offered, "GET|PUT|[A-Z]{1,20}", "/[a-z]{0,3}(\\?[a-z]{0,9})?", 100_u16..1_000, fields())
        .prop_map(|(offered, method, path, status, fields)| Message { offered, method, path, status, fields })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        messages in prop::collection::vec(message(), 1..20),
        table_max in 0_usize..6_000,
        huffman: bool,
    ) {
        let mut encoder = Encoder::with_table_max(table_max);
        encoder.set_huffman(huffman);
        let mut decoder = Decoder::new(8_192);
        for message in messages {
            if let Some(offered) = message.offered {
                encoder.set_table_size(offered);
            }
            let mut out = Vec::new();
            encoder.begin(&mut out);
            encoder.method(&Method::from_bytes(message.method.as_bytes()).unwrap(), &mut out);
            encoder.scheme(&Scheme::HTTP, &mut out);
            encoder.path(&message.path, &mut out);
            encoder.status(StatusCode::from_u16(message.status).unwrap(), &mut out);
            for (name, value) in &message.fields {
                encoder.header(name, value, &mut out);
            }
            let mut found = Vec::new();
            decoder.decode(&out, usize::MAX, &mut |field| found.push(field)).unwrap();
            prop_assert_eq!(text(&found[0]), format!(":method: {}", message.method));
            prop_assert_eq!(text(&found[1]), ":scheme: http");
            prop_assert_eq!(text(&found[2]), format!(":path: {}", message.path));
            prop_assert_eq!(text(&found[3]), format!(":status: {}", message.status));
            prop_assert_eq!(found.len(), message.fields.len() + 4);
            for (field, (name, value)) in found[4..].iter().zip(&message.fields) {
                let Field::Header(found_name, found_value) = field else { panic!("{field:?}") };
                prop_assert_eq!((found_name, found_value), (name, value));
                let secret = ["cookie", "set-cookie", "authorization"].contains(&name.as_str());
                prop_assert_eq!(
                    found_value.is_sensitive(),
                    // An empty value is in the static table.
                    (value.is_sensitive() || secret) && !(secret && value.is_empty() && !value.is_sensitive())
                );
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(blocks in prop::collection::vec(any::<Vec<u8>>(), 1..4)) {
        let mut decoder = Decoder::new(4_096);
        for block in blocks {
            let mut size = 0;
            let decoded = decoder.decode(&block, 10_000, &mut |field| size += text(&field).len());
            // `text` has a name and value more, and words for what is malformed.
            let most = 10_000 / 32 * 64 + 10_000;
            prop_assert!(size <= most);
            if decoded.is_err() {
                break;
            }
        }
    }
}
