use std::collections::BTreeMap;

use bowline_model::log_driver::{AwsFireLens, HttpOutput, Output};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::{http::HttpSink, *};

fn output(options: &[(&str, &str)]) -> HttpOutput {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options = options.chain([("Name".to_owned(), "http".to_owned())]).collect();
    let route = AwsFireLens { options }.route(&BTreeMap::new()).expect("it is right");
    match route.output.expect("an output").output {
        Output::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

fn entry(tag: &str, log: &str) -> Entry {
    let Value::Object(record) = json!({ "log": log }) else { unreachable!("it is one") };
    Entry { at: Timestamp::from_millis(1_763_696_868_250), tag: tag.to_owned(), record }
}

/// Reads one request and takes it; gives its text.
async fn take(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let mut text = String::new();
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).await.expect("it reads");
        text.push_str(std::str::from_utf8(&chunk[..length]).expect("text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.to_ascii_lowercase();
        let wanted =
            wanted.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if wanted == Some(body.len()) {
            break;
        }
    }
    stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.expect("it writes");
    text
}

/// What a receiver is sent.
async fn sent(options: &[(&str, &str)], entries: &[Entry]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let mut sink = HttpSink::new(output(&[options, &[("Port", &port)]].concat())).expect("a sink");
    let receiving = async { take(listener.accept().await.expect("a connection").0).await };
    let (delivered, text) = tokio::join!(sink.deliver(entries), receiving);
    delivered.expect("it is taken");
    text
}

#[tokio::test]
async fn a_request_is_as_the_options_say() {
    let text = sent(&[], &[entry("a", "x"), entry("a", "y")]).await;
    assert!(
        text.starts_with("POST / HTTP/1.1\r\n") && text.contains("content-type: application/json\r\n"),
        "{text}"
    );
    assert!(
        text.ends_with(r#"[{"date":1763696868.25,"log":"x"},{"date":1763696868.25,"log":"y"}]"#),
        "{text}"
    );
    let options = [
        ("URI", "/ingest?x=1"),
        ("http_method", "put"),
        ("Format", "json_lines"),
        ("json_date_key", "@timestamp"),
        ("json_date_format", "iso8601"),
        ("Header", "X-Key secret value"),
        ("header_tag", "X-Tag"),
        ("http_User", "u"),
        ("http_Passwd", "p"),
    ];
    let text = sent(&options, &[entry("a", "x"), entry("a", "y")]).await;
    assert!(text.starts_with("PUT /ingest?x=1 HTTP/1.1\r\n"), "{text}");
    for header in [
        "x-key: secret value\r\n",
        "x-tag: a\r\n",
        "authorization: Basic dTpw\r\n",
        "content-type: application/x-ndjson\r\n",
    ] {
        assert!(text.contains(header), "{header}: {text}");
    }
    let line = r#"{"@timestamp":"2025-11-21T03:47:48.250Z","log":"x"}"#;
    assert!(text.contains(&format!("\r\n\r\n{line}\n{{")) && text.ends_with("\"y\"}\n"), "{text}");
    let text = sent(&[("json_date_key", "false"), ("Format", "json_stream")], &[entry("a", "x")]).await;
    assert!(text.ends_with("\r\n\r\n{\"log\":\"x\"}"), "{text}");
}

#[tokio::test]
async fn a_receiver_shows_a_certificate_that_is_believed() {
    let key = rcgen::generate_simple_self_signed(vec!["logs.test".into()]).expect("a certificate");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, key.cert.pem()).expect("it writes");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key"),
        )
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let file = file.to_str().expect("UTF-8");
    let named = [("tls.vhost", "logs.test"), ("tls.ca_file", file)];
    for (options, taken) in [
        (&named[..], true),
        (&named[1..], false),
        (&[("tls.verify", "off")][..], true),
        (&[("tls.vhost", "logs.test")][..], false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let options = [options, &[("Port", port.as_str()), ("tls", "on")]].concat();
        let mut sink = HttpSink::new(output(&options)).expect("a sink");
        let receiving = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            if let Ok(stream) = acceptor.accept(stream).await {
                take(stream).await;
            }
        };
        let entries = [entry("a", "x")];
        let (delivered, ()) = tokio::join!(sink.deliver(&entries), receiving);
        assert_eq!(delivered.is_ok(), taken, "{options:?}: {delivered:?}");
    }
}
