//! Bodies, servers, and a thread to run them on.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_http1::{Body, Connection, Error};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::LocalSet,
};

/// What a body does when it is asked for more.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// It has nothing yet.
    Later,
    /// It never will.
    Never,
    Fails,
}

/// A request's body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    steps: VecDeque<Step>,
    /// Whether it says how long it is.
    is_sized: bool,
}

impl Steps {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>, is_sized: bool) -> Self {
        Self { steps: steps.into_iter().collect(), is_sized }
    }

    pub(crate) fn data(bytes: &'static [u8]) -> Self {
        Self::new([Step::Data(Bytes::from_static(bytes))], true)
    }
}

impl http_body::Body for Steps {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Fails) => Poll::Ready(Some(Err(std::io::ErrorKind::Other.into()))),
            Some(Step::Later) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Never) => {
                self.steps.push_front(Step::Never);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.is_sized {
            return SizeHint::new();
        }
        let length = |step: &Step| if let Step::Data(data) = step { data.len() as u64 } else { 0 };
        SizeHint::with_exact(self.steps.iter().map(length).sum())
    }
}

pub(crate) fn get(path: &str) -> Request<Steps> {
    Request::builder().uri(path).header("host", "a.test").body(Steps::default()).unwrap()
}

pub(crate) fn post(body: Steps) -> Request<Steps> {
    Request::builder().method(Method::POST).uri("/").header("host", "a.test").body(body).unwrap()
}

/// An answer that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

pub(crate) async fn read<B>(response: Response<B>) -> Result<Read, B::Error>
where
    B: http_body::Body<Data = Bytes>,
{
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok(Read { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes(), trailers })
}

/// Runs it where tasks can be spawned, and not for ever.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time") };
    LocalSet::new().block_on(&runtime, limited)
}

/// A connection and its other end.
pub(crate) fn connect() -> (Connection<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (Connection::new(near), far)
}

/// Reads a head without a body.
pub(crate) async fn read_head(far: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).unwrap()
}

/// Sends a request and answers it with these bytes.
pub(crate) async fn exchange(
    connection: &Connection<DuplexStream>,
    far: &mut DuplexStream,
    answer: &[u8],
) -> Result<Response<Body<DuplexStream>>, Error> {
    let sending = connection.try_send_request(get("/"));
    let answering = async {
        read_head(far).await;
        far.write_all(answer).await.unwrap();
    };
    tokio::join!(sending, answering).0.map_err(bowline_http1::TrySendError::into_error)
}

/// All that the other end gets until the connection ends.
pub(crate) async fn rest(far: &mut DuplexStream) -> Vec<u8> {
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    rest
}

pub(crate) async fn next_data(body: &mut Body<DuplexStream>) -> Result<Bytes, Error> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.expect("a frame")?;
    Ok(frame.into_data().expect("data"))
}
