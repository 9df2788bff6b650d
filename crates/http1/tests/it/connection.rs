//! One exchange after the other on a connection.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bowline_http1::{Connection, Error, Fault};
use http::{Method, Request};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::kit::{Step, Steps, connect, exchange, get, next_data, post, read, read_head, rest, run};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_connection_serves_one_request_after_the_other_and_rests_without_buffers() {
    run(async {
        let (connection, mut far) = connect();
        for _ in 0..3 {
            assert!(connection.is_ready());
            let response = exchange(&connection, &mut far, OK).await.unwrap();
            assert!(!response.body().is_end_stream());
            assert_eq!(read(response).await.unwrap().body, "ok");
            assert!(connection.is_idle());
            assert_eq!(connection.buffered(), 0, "who rests has nothing to keep");
        }
        let large = vec![b'x'; 300_000];
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n".to_vec();
        answer.extend_from_slice(&large);
        let response = exchange(&connection, &mut far, &answer).await.unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(300_000));
        assert_eq!(read(response).await.unwrap().body, large);
        assert_eq!((connection.is_ready(), connection.buffered()), (true, 0));
    });
}

#[test]
fn a_request_comes_back_from_a_connection_that_had_ended() {
    run(async {
        let (connection, far) = connect();
        drop(far);
        assert!(connection.is_idle() && !connection.is_ready() && !connection.is_idle());
        let mut error = connection.try_send_request(post(Steps::data(b"once"))).await.unwrap_err();
        let request = error.take_message().expect("nothing of it has left");
        assert_eq!(request.body().size_hint().exact(), Some(4));
        assert!(matches!(error.into_error(), Error::Closed));

        // Nobody looked before.
        let (connection, far) = connect();
        drop(far);
        let mut error = connection.try_send_request(get("/")).await.unwrap_err();
        assert!(error.take_message().is_some());
    });
}

/// A stream on which nothing can be written, though it has not ended.
struct Mute;

impl AsyncRead for Mute {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Mute {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_request_comes_back_whose_first_byte_could_not_be_written() {
    run(async {
        let connection = Connection::new(Mute);
        let mut error = connection.try_send_request(post(Steps::data(b"once"))).await.unwrap_err();
        assert_eq!(error.take_message().expect("nothing of it has left").method(), Method::POST);
        assert!(matches!(error.into_error(), Error::Io(_)));
        assert!(!connection.is_idle());
    });
}

#[test]
fn what_a_server_says_unasked_ends_its_connection() {
    run(async {
        let (connection, mut far) = connect();
        far.write_all(OK).await.unwrap();
        let mut error = connection.try_send_request(get("/")).await.unwrap_err();
        assert!(error.take_message().is_some());
        assert_eq!(rest(&mut far).await, b"", "nothing is written to it");

        let (connection, mut far) = connect();
        let response = exchange(&connection, &mut far, &[OK, OK].concat()).await.unwrap();
        assert_eq!(read(response).await.unwrap().body, "ok");
        assert!(!connection.is_idle(), "the second answer is nobody's");

        let (connection, mut far) = connect();
        let response = exchange(&connection, &mut far, OK).await.unwrap();
        assert_eq!(read(response).await.unwrap().body, "ok");
        far.write_all(b"x").await.unwrap();
        assert!(connection.is_idle() && !connection.is_ready());
    });
}

#[test]
fn a_request_that_has_left_does_not_come_back() {
    run(async {
        let (connection, mut far) = connect();
        let sending = connection.try_send_request(get("/"));
        let (result, ()) = tokio::join!(sending, async {
            read_head(&mut far).await;
            drop(far);
        });
        let mut error = result.unwrap_err();
        assert!(error.take_message().is_none());
        assert!(matches!(error.into_error(), Error::Incomplete));
        assert!(!connection.is_idle());
    });
}

#[test]
fn answers_that_end_a_connection() {
    let cases: &[(&str, bool)] = &[
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: Close\r\n\r\n", false),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: a, close\r\nconnection: keep-alive\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false),
    ];
    for (answer, is_kept) in cases {
        run(async {
            let (connection, mut far) = connect();
            let response = exchange(&connection, &mut far, answer.as_bytes()).await.unwrap();
            assert_eq!(read(response).await.unwrap().body, "", "{answer:?}");
            assert_eq!(connection.is_idle(), *is_kept, "{answer:?}");
        });
    }
}

#[test]
fn a_request_that_says_so_is_the_last() {
    run(async {
        let (connection, mut far) = connect();
        let mut request = get("/");
        request.headers_mut().insert("connection", "te, Close".parse().unwrap());
        let (response, ()) = tokio::join!(connection.try_send_request(request), async {
            read_head(&mut far).await;
            far.write_all(OK).await.unwrap();
        });
        assert_eq!(read(response.unwrap()).await.unwrap().body, "ok");
        assert!(!connection.is_idle());
    });
}

#[test]
fn bodies_of_all_sizes_are_whole_however_they_come() {
    let sizes = [4_000, 16_000, 16_384, 16_385, 17_000, 33_000, 65_000, 65_536, 66_000, 200_000];
    for (size, cut) in sizes.into_iter().flat_map(|size| [1_000, 20_000, usize::MAX].map(|cut| (size, cut))) {
        run(async {
            let (connection, mut far) = connect();
            let content: Vec<u8> = (0..size).map(|at| (at / 3) as u8).collect();
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
            answer.extend_from_slice(&content);
            let answering = async {
                read_head(&mut far).await;
                for piece in answer.chunks(cut) {
                    far.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let asking = async { read(connection.try_send_request(get("/")).await.unwrap()).await.unwrap() };
            let (read, ()) = tokio::join!(asking, answering);
            assert!(read.body == content, "{size} by {cut}");
            assert!(connection.is_ready() && connection.buffered() == 0);
        });
    }
}

#[test]
fn an_answer_to_head_has_no_content() {
    run(async {
        let (connection, mut far) = connect();
        let request = Request::builder().method(Method::HEAD).uri("/").body(Steps::default()).unwrap();
        let (response, ()) = tokio::join!(connection.try_send_request(request), async {
            read_head(&mut far).await;
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.unwrap();
        });
        let response = response.unwrap();
        assert_eq!(response.headers()["content-length"], "5");
        assert!(response.body().is_end_stream() && connection.is_ready());
    });
}

#[test]
fn informational_answers_are_passed_over_but_not_for_ever() {
    run(async {
        let (connection, mut far) = connect();
        let hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        let response = exchange(&connection, &mut far, &[hints, OK].concat()).await.unwrap();
        assert!(!response.headers().contains_key("link"));
        assert_eq!(read(response).await.unwrap().body, "ok");
        let error = exchange(&connection, &mut far, &hints.repeat(9)).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(Fault::Informational)), "{error:?}");

        let (connection, mut far) = connect();
        let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let error = exchange(&connection, &mut far, switch).await.unwrap_err();
        assert!(matches!(error, Error::Malformed(Fault::Switch)), "{error:?}");
    });
}

#[test]
fn trailers_follow_chunks() {
    run(async {
        let (connection, mut far) = connect();
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 3\r\n\r\n";
        let response = exchange(&connection, &mut far, answer).await.unwrap();
        let read = read(response).await.unwrap();
        assert_eq!((&read.body[..], &read.trailers.unwrap()["x-sum"]), (&b"abc"[..], &"3".parse().unwrap()));
        assert!(connection.is_ready() && connection.buffered() == 0);
    });
}

#[test]
fn the_last_chunk_says_that_it_is() {
    run(async {
        let (connection, mut far) = connect();
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let mut body = exchange(&connection, &mut far, answer).await.unwrap().into_body();
        assert_eq!(next_data(&mut body).await.unwrap(), "ab");
        assert!(body.is_end_stream() && connection.is_idle());
    });
}

#[test]
fn a_body_that_breaks_off_does_not_end_well() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n",
    ];
    for answer in answers {
        run(async {
            let (connection, mut far) = connect();
            let response = exchange(&connection, &mut far, answer.as_bytes()).await.unwrap();
            drop(far);
            let mut body = response.into_body();
            let error = loop {
                match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.expect("an end that is none") {
                    Ok(_) => assert!(!body.is_end_stream(), "{answer:?}"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::Incomplete), "{answer:?}");
            assert!(!body.is_end_stream() && !connection.is_idle());
        });
    }
    run(async {
        let (connection, mut far) = connect();
        let response = exchange(&connection, &mut far, b"HTTP/1.1 200 OK\r\n\r\nall of").await.unwrap();
        far.write_all(b" it").await.unwrap();
        drop(far);
        assert_eq!(read(response).await.unwrap().body, "all of it");
        assert!(!connection.is_idle());
    });
}

#[test]
fn what_is_dropped_ends_its_connection() {
    run(async {
        // While its answer is waited for.
        let (connection, mut far) = connect();
        let waiting = connection.try_send_request(get("/"));
        tokio::select! {
            _ = waiting => unreachable!("nobody answers"),
            _ = read_head(&mut far) => {}
        }
        assert_eq!(rest(&mut far).await, b"", "it is closed");
        assert!(!connection.is_idle());

        // While its body is being read.
        let (connection, mut far) = connect();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc";
        let response = exchange(&connection, &mut far, answer).await.unwrap();
        drop(response);
        assert_eq!(rest(&mut far).await, b"", "it is closed");
        assert!(!connection.is_idle());

        // Before it was begun with, nothing has happened.
        let (connection, _far) = connect();
        drop(connection.try_send_request(get("/")));
        assert!(connection.is_ready());
    });
}

#[test]
fn a_body_that_fails_or_has_another_length_is_the_requests_own_fault() {
    let cases = [
        (Steps::new([Step::Fails], false), None),
        (Steps::data(b"longer"), Some("5")),
        (Steps::data(b"short"), Some("6")),
        (Steps::default(), Some("1")),
    ];
    for (body, length) in cases {
        run(async {
            let (connection, mut far) = connect();
            let mut request = post(body);
            if let Some(length) = length {
                request.headers_mut().insert("content-length", length.parse().unwrap());
            }
            let error = connection.try_send_request(request).await.unwrap_err().into_error();
            assert!(matches!(error, Error::Body(_)), "{error:?}");
            drop(connection);
            assert!(!rest(&mut far).await.ends_with(b"0\r\n\r\n"), "it is not ended as if it were whole");
        });
    }
}
