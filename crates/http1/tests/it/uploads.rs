//! Requests that are still being sent when their answer begins, and large ones.

use std::rc::Rc;

use bowline_http1::Error;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Step, Steps, connect, get, next_data, post, read, read_head, rest, run};

fn pieces(count: usize, size: usize) -> impl Iterator<Item = Step> {
    let piece = Bytes::from(vec![b'x'; size]);
    (0..count).flat_map(move |_| [Step::Data(piece.clone()), Step::Later])
}

#[test]
fn the_rest_of_a_request_is_sent_though_nobody_reads_the_answer() {
    run(async {
        // More than fits into the stream: it has to be read before more is sent.
        let (connection, mut far) = connect();
        let request = post(Steps::new(pieces(100, 50_000), true));
        let (response, ()) = tokio::join!(connection.try_send_request(request), async {
            read_head(&mut far).await;
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
        });
        let mut body = response.unwrap().into_body();
        let mut sent = vec![0; 100 * 50_000];
        far.read_exact(&mut sent).await.unwrap();
        assert!(sent.iter().all(|byte| *byte == b'x'));
        assert_eq!(next_data(&mut body).await.unwrap(), "ab");
        far.write_all(b"cd").await.unwrap();
        assert_eq!(next_data(&mut body).await.unwrap(), "cd");
        assert!(connection.is_ready(), "both are complete");
    });
}

#[test]
fn a_connection_whose_answer_is_complete_first_sends_on_and_is_not_used_again() {
    run(async {
        let (connection, mut far) = connect();
        let request = post(Steps::new(pieces(100, 50_000), true));
        let (response, ()) = tokio::join!(connection.try_send_request(request), async {
            read_head(&mut far).await;
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        });
        assert_eq!(read(response.unwrap()).await.unwrap().body, "ok");
        assert!(!connection.is_idle());
        drop(connection);
        assert_eq!(rest(&mut far).await.len(), 100 * 50_000, "then it is closed");
    });
}

#[test]
fn an_answer_that_is_dropped_takes_the_rest_of_its_request_with_it() {
    run(async {
        let (connection, mut far) = connect();
        let counted = Rc::new(());
        let body = Counted(
            Steps::new([Step::Data(Bytes::from_static(b"a")), Step::Never], false),
            Rc::clone(&counted),
        );
        let (response, ()) =
            tokio::join!(connection.try_send_request(post(Steps::default()).map(|_| body)), async {
                read_head(&mut far).await;
                far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.unwrap();
            });
        assert_eq!(Rc::strong_count(&counted), 2);
        drop(response.unwrap());
        rest(&mut far).await;
        while Rc::strong_count(&counted) > 1 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn an_answer_ends_when_the_rest_of_its_request_fails() {
    run(async {
        let (connection, mut far) = connect();
        let body = Steps::new(pieces(500, 10).chain([Step::Fails]), false);
        let (response, ()) = tokio::join!(connection.try_send_request(post(body)), async {
            read_head(&mut far).await;
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.unwrap();
        });
        assert!(read(response.unwrap()).await.is_err());
        assert!(!rest(&mut far).await.ends_with(b"0\r\n\r\n"), "it is not ended as if it were whole");
        assert!(!connection.is_idle());
    });
}

#[test]
fn an_answer_is_read_though_its_server_takes_no_more_of_the_request() {
    run(async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connection = bowline_http1::Connection::new(near);
        let (mut reading, mut writing) = tokio::io::split(far);
        let request = post(Steps::new(pieces(100, 50_000), true));
        let (response, ()) = tokio::join!(connection.try_send_request(request), async {
            let mut some = [0; 1_000];
            reading.read_exact(&mut some).await.unwrap();
            let answer = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
            writing.write_all(answer).await.unwrap();
        });
        let answer = read(response.unwrap()).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (413, &b"no"[..]));
        assert!(!connection.is_idle());
    });
}

#[test]
fn large_bodies_go_both_ways_whole() {
    run(async {
        let (connection, far) = connect();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 5) as u8).collect();
        let steps = sent.chunks(70_001).map(|piece| Step::Data(Bytes::copy_from_slice(piece)));
        let request = post(Steps::new(steps.collect::<Vec<_>>(), true));
        let (mut reading, mut writing) = tokio::io::split(far);
        let echo = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(reading.read_u8().await.unwrap());
            }
            assert!(head.windows(23).any(|line| line == b"content-length: 3000000"), "one that is known");
            writing.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            let (mut left, mut buffer) = (3_000_000, vec![0; 33_333]);
            while left > 0 {
                let count = reading.read(&mut buffer).await.unwrap();
                writing.write_all(format!("{count:x}\r\n").as_bytes()).await.unwrap();
                writing.write_all(&buffer[..count]).await.unwrap();
                writing.write_all(b"\r\n").await.unwrap();
                left -= count;
            }
            writing.write_all(b"0\r\n\r\n").await.unwrap();
        };
        let (got, ()) =
            tokio::join!(async { read(connection.try_send_request(request).await.unwrap()).await }, echo);
        assert!(got.unwrap().body == sent);
        assert!(connection.is_ready() && connection.buffered() == 0);
    });
}

#[test]
fn a_head_and_a_body_that_is_there_go_out_at_once() {
    run(async {
        let (connection, mut far) = connect();
        let steps = [Step::Data(Bytes::from_static(b"ab")), Step::Data(Bytes::from_static(b"c"))];
        let sending = connection.try_send_request(post(Steps::new(steps, false)));
        let (response, ()) = tokio::join!(sending, async {
            let mut first = vec![0; 1_000];
            let count = far.read(&mut first).await.unwrap();
            let expected = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
            assert_eq!(String::from_utf8_lossy(&first[..count]), expected);
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        });
        assert!(response.unwrap().body().is_end_stream());
    });
}

#[test]
fn a_second_request_waits_for_nobody() {
    run(async {
        let (connection, mut far) = connect();
        let first = connection.try_send_request(get("/"));
        let second = async {
            read_head(&mut far).await;
            connection.try_send_request(get("/")).await
        };
        tokio::select! {
            _ = first => unreachable!("nobody answers"),
            second = second => {
                let mut error = second.unwrap_err();
                assert!(error.take_message().is_some() && matches!(error.into_error(), Error::Closed));
            }
        }
    });
}

/// A body of which somebody knows whether it is there still.
struct Counted(Steps, #[expect(dead_code, reason = "it counts")] Rc<()>);

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[test]
fn an_empty_frame_is_no_end() {
    run(async {
        let (connection, mut far) = connect();
        let steps = [Step::Data(Bytes::new()), Step::Later, Step::Data(Bytes::from_static(b"a"))];
        let (response, ()) =
            tokio::join!(connection.try_send_request(post(Steps::new(steps, false))), async {
                let head = read_head(&mut far).await;
                assert!(head.ends_with("chunked\r\n\r\n"));
                let mut body = [0; 11];
                far.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"1\r\na\r\n0\r\n\r\n");
                far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
            });
        assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "x");
    });
}
