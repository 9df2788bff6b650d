//! Our client and our server, and what each does when the other goes away, takes its time or has enough.

#![allow(clippy::unwrap_used)]

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bowline_http2::{
    Body, Config, Error, KeepAlive, Reason,
    client::{self, SendRequest},
    server::{self, Reset, Shutdown},
};
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    task::{JoinHandle, LocalSet, spawn_local, yield_now},
};

/// Time for what goes on to come to rest.
const A_MOMENT: Duration = Duration::from_millis(40);

type Sent = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Infallible>>>;

fn full(content: &'static str) -> Sent {
    Box::pin(Full::new(Bytes::from_static(content.as_bytes())))
}

/// Content without end.
fn endless() -> Sent {
    let frames = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[7; 10_000]))));
    Box::pin(StreamBody::new(frames))
}

fn get(path: &str) -> Request<Sent> {
    Request::builder().uri(format!("https://a.test{path}")).body(full("")).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Counts how often it is written to.
struct Counting(DuplexStream, Rc<Cell<usize>>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.set(self.1.get() + 1);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Ends {
    sender: SendRequest<Sent>,
    client: JoinHandle<Result<(), Error>>,
    server: JoinHandle<Result<(), Error>>,
    shutdown: Shutdown,
    server_writes: Rc<Cell<usize>>,
}

async fn ends<H, F>(client: Config, server: Config, handle: H) -> Ends
where
    H: Fn(Request<Body>) -> F + 'static,
    F: Future<Output = Result<Response<Sent>, Reset>> + 'static,
{
    let (near, far) = duplex(1 << 20);
    let server_writes = Rc::new(Cell::new(0));
    let (sender, driver) = client::handshake(near, client);
    let (serving, shutdown) = server::serve(Counting(far, Rc::clone(&server_writes)), server, handle);
    let (client, server) = (spawn_local(driver), spawn_local(serving));
    while !sender.is_settled() {
        yield_now().await;
    }
    Ends { sender, client, server, shutdown, server_writes }
}

/// Answers with the request's path.
async fn echo_path(request: Request<Body>) -> Result<Response<Sent>, Reset> {
    let path = request.uri().path().to_owned();
    Ok(Response::new(Box::pin(Full::new(Bytes::from(path)))))
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[test]
fn what_comes_together_is_answered_by_one_write() {
    run(async {
        let ends = ends(Config::default(), Config::default(), echo_path).await;
        for _ in 0..5 {
            yield_now().await;
        }
        ends.server_writes.set(0);
        let asked: Vec<_> =
            (0..50).map(|number| ends.sender.try_send_request(get(&format!("/{number}")))).collect();
        for (number, asked) in asked.into_iter().enumerate() {
            assert_eq!(text(asked.await.unwrap()).await, format!("/{number}"));
        }
        assert_eq!(ends.server_writes.get(), 1);
    });
}

#[test]
fn a_request_that_never_left_comes_back() {
    run(async {
        let ends = ends(Config::default(), Config { streams_max: 1, ..Config::default() }, |_| async {
            std::future::pending::<()>().await;
            unreachable!()
        })
        .await;
        let begun = ends.sender.try_send_request(get("/begun"));
        let waiting = ends.sender.try_send_request(get("/waiting"));
        yield_now().await;
        yield_now().await;
        ends.server.abort();
        let mut error = begun.await.unwrap_err();
        assert!(error.take_message().is_none() && !error.error().is_unprocessed(), "{error:?}");
        let mut error = waiting.await.unwrap_err();
        assert_eq!(error.take_message().unwrap().uri().path(), "/waiting");
        assert!(ends.client.await.unwrap().is_err());
        // Nor does one that is made now.
        assert!(ends.sender.is_closed());
        assert!(ends.sender.try_send_request(get("/late")).await.unwrap_err().take_message().is_some());
        assert_eq!(ends.sender.in_flight(), 0);
    });
}

#[test]
fn no_more_requests_wait_than_may() {
    run(async {
        let config = Config { waiting_max: 2, ..Config::default() };
        let ends = ends(config, Config { streams_max: 1, ..Config::default() }, |_| async {
            std::future::pending::<()>().await;
            unreachable!()
        })
        .await;
        let _begun = ends.sender.try_send_request(get("/"));
        yield_now().await;
        let first = ends.sender.try_send_request(get("/"));
        let _second = ends.sender.try_send_request(get("/"));
        let mut error = ends.sender.try_send_request(get("/")).await.unwrap_err();
        assert!(matches!(error.error(), Error::Full) && error.take_message().is_some());
        drop(first);
        let third = ends.sender.try_send_request(get("/"));
        assert_eq!(ends.sender.in_flight(), 3);
        drop(third);
    });
}

/// Tells of its end.
struct Tells(Rc<RefCell<Vec<&'static str>>>, &'static str);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn who_goes_away_cancels() {
    run(async {
        let told = Rc::new(RefCell::new(Vec::new()));
        let ends = {
            let told = Rc::clone(&told);
            ends(Config::default(), Config::default(), move |request| {
                let told = Rc::clone(&told);
                async move {
                    if request.uri().path() == "/endless" {
                        return Ok(Response::new(endless()));
                    }
                    let _tells = Tells(told, "handler");
                    std::future::pending::<()>().await;
                    unreachable!()
                }
            })
            .await
        };
        let asked = ends.sender.try_send_request(get("/"));
        tokio::time::sleep(A_MOMENT).await;
        drop(asked);
        tokio::time::sleep(A_MOMENT).await;
        assert_eq!(*told.borrow(), ["handler"]);
        // A body that is dropped ends its stream, and leaves the others their window.
        for _ in 0..20 {
            let mut response = ends.sender.try_send_request(get("/endless")).await.unwrap();
            assert!(response.body_mut().frame().await.is_some());
            drop(response);
            tokio::time::sleep(A_MOMENT).await;
        }
        assert_eq!(ends.sender.in_flight(), 0);
        assert!(!ends.client.is_finished() && !ends.server.is_finished());
    });
}

#[test]
fn an_early_answer_stops_the_request() {
    run(async {
        let ends = ends(Config::default(), Config::default(), |_| async {
            Ok(Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(full("no")).unwrap())
        })
        .await;
        let request = Request::post("https://a.test/").body(endless()).unwrap();
        let response = ends.sender.try_send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response).await, "no");
        tokio::time::sleep(A_MOMENT).await;
        assert_eq!(ends.sender.in_flight(), 0);
    });
}

/// An answer that is longer than the window arrives whole, though nobody reads the request, which goes on.
#[test]
fn a_long_early_answer_is_sent_whole() {
    const LENGTH: usize = 1_000_000;
    run(async {
        let config = Config { stream_window: 70_000, connection_window: 70_000, ..Config::default() };
        let ends = ends(config.clone(), config, |request| async move {
            let keeps_it = request.uri().path() == "/kept";
            let content = http_body_util::Full::new(Bytes::from(vec![7; LENGTH]));
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("told"),
                http::HeaderValue::from_static("at the end"),
            )]);
            if keeps_it {
                // Until after the answer was handed over.
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(A_MOMENT).await;
                    drop(request);
                });
            }
            let trailers = std::future::ready(Some(Ok::<_, Infallible>(trailers)));
            Ok(Response::new(Box::pin(content.with_trailers(trailers)) as Sent))
        })
        .await;
        for path in ["https://a.test/", "https://a.test/kept"] {
            let request = Request::post(path).body(endless()).unwrap();
            let response = ends.sender.try_send_request(request).await.unwrap();
            tokio::time::sleep(2 * A_MOMENT).await;
            let answer = response.into_body().collect().await.expect("it is not broken off");
            assert_eq!(
                answer.trailers().map(|trailers| trailers["told"].as_bytes()),
                Some(&b"at the end"[..])
            );
            assert_eq!(answer.to_bytes().len(), LENGTH);
            tokio::time::sleep(A_MOMENT).await;
            assert_eq!(ends.sender.in_flight(), 0, "the request has ended, too");
        }
    });
}

#[test]
fn who_does_not_read_stops_who_writes() {
    run(async {
        let config = Config { stream_window: 100_000, ..Config::default() };
        let made = Rc::new(Cell::new(0));
        let ends = {
            let made = Rc::clone(&made);
            ends(config.clone(), config, move |_| {
                let made = Rc::clone(&made);
                let frames = stream::repeat_with(move || {
                    made.set(made.get() + 10_000);
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; 10_000])))
                });
                std::future::ready(Ok(Response::new(Box::pin(StreamBody::new(frames)) as Sent)))
            })
            .await
        };
        let mut response = ends.sender.try_send_request(get("/")).await.unwrap();
        tokio::time::sleep(A_MOMENT).await;
        let before = made.get();
        assert!((100_000..200_000).contains(&before), "{before}");
        for _ in 0..20 {
            response.body_mut().frame().await.unwrap().unwrap();
        }
        tokio::time::sleep(A_MOMENT).await;
        assert!(made.get() > before);
    });
}

#[test]
fn heads_of_what_has_no_content() {
    run(async {
        let ends = ends(Config::default(), Config::default(), |request| async move {
            let status = if request.method() == "HEAD" { StatusCode::OK } else { StatusCode::NO_CONTENT };
            Ok(Response::builder().status(status).body(full("content")).unwrap())
        })
        .await;
        let head = Request::head("https://a.test/").body(full("")).unwrap();
        let response = ends.sender.try_send_request(head).await.unwrap();
        assert_eq!(response.headers()["content-length"], "7");
        assert_eq!(text(response).await, "");
        let response = ends.sender.try_send_request(get("/")).await.unwrap();
        assert_eq!((response.status(), response.headers().len()), (StatusCode::NO_CONTENT, 0));
        assert_eq!(text(response).await, "");
    });
}

#[test]
fn a_graceful_end_finishes_what_is_under_way() {
    run(async {
        let ends = ends(Config::default(), Config::default(), |request| async move {
            tokio::time::sleep(A_MOMENT * 8).await;
            echo_path(request).await
        })
        .await;
        let asked = ends.sender.try_send_request(get("/slow"));
        tokio::time::sleep(A_MOMENT).await;
        ends.shutdown.begin();
        tokio::time::sleep(A_MOMENT).await;
        assert!(ends.sender.is_closed());
        let mut error = ends.sender.try_send_request(get("/late")).await.unwrap_err();
        assert!(error.take_message().is_some());
        assert_eq!(text(asked.await.unwrap()).await, "/slow");
        assert!(ends.server.await.unwrap().is_ok());
        assert!(ends.client.await.unwrap().is_ok());
    });
}

#[test]
fn without_senders_the_connection_ends() {
    run(async {
        let ends = ends(Config::default(), Config::default(), echo_path).await;
        let asked = ends.sender.try_send_request(get("/last"));
        drop(ends.sender);
        assert_eq!(text(asked.await.unwrap()).await, "/last");
        assert!(ends.client.await.unwrap().is_ok());
        assert!(ends.server.await.unwrap().is_ok());
    });
}

#[test]
fn a_reset_is_seen_with_its_reason() {
    run(async {
        let ends =
            ends(Config::default(), Config::default(), |_| async { Err(Reset(Reason::REFUSED_STREAM)) })
                .await;
        let error = ends.sender.try_send_request(get("/")).await.unwrap_err();
        assert!(matches!(error.error(), Error::Reset(Reason::REFUSED_STREAM)));
        assert!(error.error().is_unprocessed());
    });
}

#[test]
fn a_peer_that_gives_no_sign_of_life_is_given_up() {
    let terms = KeepAlive { interval: A_MOMENT, timeout: A_MOMENT * 2, while_idle: false };
    let config = Config { keep_alive: Some(terms), ..Config::default() };
    run(async {
        let (near, far) = duplex(1 << 20);
        let (sender, driver) = client::handshake::<_, Sent>(near, config.clone());
        let driver = spawn_local(driver);
        // Nobody asks while nothing is under way.
        tokio::time::sleep(A_MOMENT * 6).await;
        assert!(!driver.is_finished());
        let error = sender.try_send_request(get("/")).await.unwrap_err();
        assert!(matches!(error.error(), Error::KeepAliveTimedOut), "{error:?}");
        drop(far);
    });
    run(async {
        // One that lives is not.
        let ends = ends(config, Config::default(), |request| async move {
            tokio::time::sleep(A_MOMENT * 15).await;
            echo_path(request).await
        })
        .await;
        assert_eq!(text(ends.sender.try_send_request(get("/slow")).await.unwrap()).await, "/slow");
    });
}

#[test]
fn signs_of_life_wake_nobody_while_nothing_is_under_way() {
    let terms = KeepAlive { interval: A_MOMENT, timeout: A_MOMENT * 2, while_idle: false };
    let config = Config { keep_alive: Some(terms), ..Config::default() };
    run(async {
        let (near, far) = duplex(1 << 20);
        let (sender, driver) = client::handshake::<_, Sent>(near, config);
        let (serving, _shutdown) = server::serve(far, Config::default(), echo_path);
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let mut driver = Box::pin(driver);
        spawn_local(std::future::poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            driver.as_mut().poll(cx).map(drop)
        }));
        spawn_local(serving);
        for _ in 0..3 {
            assert_eq!(text(sender.try_send_request(get("/")).await.unwrap()).await, "/");
            // Something was heard in the first interval, nothing in the second.
            tokio::time::sleep(A_MOMENT * 4).await;
            turns.set(0);
            tokio::time::sleep(A_MOMENT * 8).await;
            assert_eq!(turns.get(), 0);
        }
    });
}

#[test]
fn an_idle_connection_is_small() {
    run(async {
        let size = std::mem::size_of::<bowline_http2::connection::Connection>();
        assert!(size < 1_024, "{size}");
        let (near, _far) = duplex(64);
        let (_sender, driver) = client::handshake::<_, Sent>(near, Config::default());
        let (near, _far) = duplex(64);
        let (serving, _shutdown) = server::serve(near, Config::default(), echo_path);
        let sizes = (size_of_val(&driver), size_of_val(&serving));
        assert!(sizes.0 < 1_024 && sizes.1 < 1_024, "{sizes:?}");
    });
}

/// A stream that ends so when it is read; counts what is done to it afterwards.
struct Ended(Option<io::ErrorKind>, Rc<Cell<usize>>);

impl AsyncRead for Ended {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.map_or(Ok(()), |kind| Err(kind.into())))
    }
}

impl AsyncWrite for Ended {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.set(self.1.get() + 1);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.set(self.1.get() + 1);
        Poll::Ready(Ok(()))
    }
}

#[test]
fn nothing_is_said_to_who_is_gone() {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, UnexpectedEof};
    run(async {
        for (kind, is_gone) in [
            (Some(ConnectionReset), true),
            (Some(BrokenPipe), true),
            (Some(UnexpectedEof), true),
            // What is read cannot be understood: TLS says so by an alert.
            (Some(InvalidData), false),
            (None, false),
        ] {
            let done = Rc::new(Cell::new(0));
            let (serving, _) = server::serve(Ended(kind, Rc::clone(&done)), Config::default(), echo_path);
            assert_eq!(serving.await.is_err(), kind.is_some());
            assert_eq!(done.get() == 0, is_gone, "{kind:?}");
            let (_sender, driver) =
                client::handshake::<_, Sent>(Ended(kind, Rc::clone(&done)), Config::default());
            done.set(0);
            assert!(driver.await.is_err());
            assert_eq!(done.get() == 0, is_gone, "{kind:?}");
        }
    });
}
