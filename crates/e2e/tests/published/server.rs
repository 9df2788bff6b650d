//! Applications, and clients of them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{client::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How an application answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) delay: Duration,
}

/// A task's application.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU32>,
    answer: watch::Sender<Answer>,
}

impl Backend {
    /// Answers 200, and its task's id in the header `task`.
    pub(crate) async fn start(task: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("an address");
        let (answer, answers) = watch::channel(Answer { status: 200, delay: Duration::ZERO });
        let requests = Arc::<AtomicU32>::default();
        let (task, counted): (Arc<str>, _) = (task.into(), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (answers, task, counted) = (answers.clone(), Arc::clone(&task), Arc::clone(&counted));
                tokio::spawn(async move {
                    let service = service_fn(move |_request| {
                        counted.fetch_add(1, SeqCst);
                        let (answer, task) = (*answers.borrow(), Arc::clone(&task));
                        async move {
                            tokio::time::sleep(answer.delay).await;
                            let response = Response::builder().status(answer.status).header("task", &*task);
                            Ok::<_, Infallible>(
                                response.body(Full::new(Bytes::from("ok"))).expect("a response"),
                            )
                        }
                    });
                    // Who hangs up has what it came for.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, requests, answer }
    }

    /// Requests so far.
    pub(crate) fn count(&self) -> u32 {
        self.requests.load(SeqCst)
    }

    pub(crate) fn answers(&self, status: u16, delay: Duration) {
        self.answer.send_replace(Answer { status, delay });
    }
}

/// A client with one connection.
#[derive(Clone)]
pub(crate) struct Client(http2::SendRequest<Empty<Bytes>>);

/// A response.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The id of the task that answered.
    pub(crate) task: String,
}

impl Client {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        let mut request = Request::get(format!("http://cart{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).expect("a request");
        let response = self.0.clone().send_request(request).await.expect("a response");
        let (head, body) = response.into_parts();
        body.collect().await.expect("a body");
        let task = head.headers.get("task").and_then(|task| task.to_str().ok()).unwrap_or_default();
        Got { status: head.status.as_u16(), task: task.to_owned(), headers: head.headers }
    }
}

/// So many requests over ten connections, all of which must succeed.
pub(crate) async fn load(address: SocketAddr, path: &'static str, count: u32) {
    let mut callers = Vec::new();
    for _ in 0..10 {
        let client = Client::of(address).await;
        callers.push(tokio::spawn(async move {
            for _ in 0..count / 10 {
                assert_eq!(client.get(path, &[]).await.status, 200);
            }
        }));
    }
    for caller in callers {
        caller.await.expect("all were answered");
    }
}
