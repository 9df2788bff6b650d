//! What is asked and answered.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use proptest::prelude::*;

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) fields: Vec<(u8, String)>,
    pub(crate) chunks: Vec<usize>,
    pub(crate) has_trailers: bool,
    /// It stops for a moment before each chunk.
    pub(crate) pauses: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    /// The server resets the stream once it has read the request.
    Reset,
    /// The client goes away once it has the response's head.
    Dropped,
    /// The client does not even wait for that.
    Cancelled,
}

#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Message,
    pub(crate) response: Message,
    pub(crate) ending: Ending,
}

fn message() -> impl Strategy<Value = Message> {
    let len = prop_oneof![Just(0_usize), 1_usize..3_000, 10_000_usize..120_000];
    let fields = prop::collection::vec((0_u8..20, "[ -~]{0,60}"), 0..8);
    (fields, prop::collection::vec(len, 0..4), any::<bool>(), any::<bool>())
        .prop_map(|(fields, chunks, has_trailers, pauses)| Message { fields, chunks, has_trailers, pauses })
}

pub(crate) fn exchanges() -> impl Strategy<Value = Vec<Exchange>> {
    let ending = prop_oneof![
        6 => Just(Ending::Well),
        1 => Just(Ending::Reset),
        1 => Just(Ending::Dropped),
        1 => Just(Ending::Cancelled),
    ];
    let exchange = (message(), message(), ending).prop_map(|(request, response, ending)| Exchange {
        request,
        response,
        ending,
    });
    prop::collection::vec(exchange, 1..12)
}

impl Message {
    /// All of its content.
    pub(crate) fn content(&self, seed: usize) -> Vec<u8> {
        (0..self.chunks.iter().sum::<usize>()).map(|at| (at * 7 + seed) as u8).collect()
    }

    fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            let name = http::HeaderName::try_from(format!("x-field-{name}")).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
    }

    pub(crate) fn check(&self, headers: &HeaderMap) {
        let mut expected = HeaderMap::new();
        self.set(&mut expected);
        for name in expected.keys() {
            let (got, sent) = (headers.get_all(name), expected.get_all(name));
            assert!(got.iter().eq(sent.iter()), "{name}");
        }
    }

    pub(crate) fn trailers(&self) -> Option<HeaderMap> {
        let trailer = (http::HeaderName::from_static("x-trailer"), HeaderValue::from(self.chunks.len()));
        self.has_trailers.then(|| HeaderMap::from_iter([trailer]))
    }

    pub(crate) fn request(&self, number: usize) -> Request<()> {
        let mut request =
            Request::builder().method("POST").uri(format!("https://a.test/{number}")).body(()).unwrap();
        self.set(request.headers_mut());
        request
    }

    pub(crate) fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        self.set(response.headers_mut());
        response
    }

    pub(crate) fn body(&self, seed: usize) -> Scripted {
        let content = Bytes::from(self.content(seed));
        let mut at = 0;
        let chunks = self.chunks.iter().map(|len| {
            at += len;
            Frame::data(content.slice(at - len..at))
        });
        let frames = chunks.chain(self.trailers().map(Frame::trailers)).collect();
        Scripted { frames, pauses: self.pauses, has_paused: false }
    }

    /// Whether this is what came.
    pub(crate) fn check_content(&self, seed: usize, content: &[u8], trailers: Option<&HeaderMap>) {
        assert!(content == self.content(seed), "{} bytes of {}", content.len(), self.content(seed).len());
        assert_eq!(trailers, self.trailers().as_ref());
    }
}

/// A body that says what it was told to.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) frames: VecDeque<Frame<Bytes>>,
    pauses: bool,
    has_paused: bool,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pauses && !std::mem::replace(&mut self.has_paused, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_paused = false;
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }
}
