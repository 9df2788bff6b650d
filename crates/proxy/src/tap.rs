//! Requests that are looked at while they pass.
//!
//! Nobody looks, as a rule: then a request costs one relaxed load. While somebody does, what is told is filtered,
//! limited and redacted here, before it leaves the proxy; what cannot be told in time is counted and dropped.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bowline_discovery::introspection as wire;
use bowline_model::{
    clock::Timestamp,
    tap::{PerSecond, TapFilter, is_secret, redact_query},
    wildcard::Wildcard,
};
use bowline_plumbing::wall_clock;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use tokio::sync::mpsc;

use crate::{
    metrics::{
        Direction, Flag,
        series::{Security, Series},
    },
    refusal::Refusal,
    shared::Shared,
};

/// Most taps at once.
const TAPS_MAX: usize = 8;
/// Longest time that a tap lives without being asked for again.
const LIFETIME_MAX: Duration = Duration::from_secs(60);
/// Most requests a second that one tap tells of.
const PER_SECOND_MAX: u32 = 1_000;
/// Requests that may wait to be told of, of all taps together.
pub(crate) const QUEUE_MAX: usize = 1_024;
/// Most headers of a message that are told of.
const HEADERS_MAX: usize = 128;
/// Most bytes of headers of a request, and of its response; those beyond are not told. A batch of the greatest requests
/// is well below what a message may have.
const HEADER_BYTES_MAX: usize = 12 * 1024;
/// What is told of a header's value or a path at most, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;
/// Most names of headers that are told as they are.
const SHOWN_MAX: usize = 32;

/// A request that has ended, with the tap that it is told to.
pub(crate) type Told = (u64, wire::Tapped);

/// Why there is no tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TapError {
    #[error("this proxy has {TAPS_MAX} taps already")]
    TooMany,
    #[error("the filter is too long, or a pattern of it is none")]
    Filter,
}

/// What somebody wants to see.
#[derive(Debug)]
struct Tap {
    id: u64,
    filter: TapFilter,
    query: bool,
    headers: bool,
    /// In lower case.
    shown: Vec<String>,
    limit: Mutex<PerSecond>,
    until: Mutex<Instant>,
    out: mpsc::Sender<Told>,
    dropped: AtomicU64,
}

/// All that is wanted of a proxy at this moment.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    is_any: AtomicBool,
    open: ArcSwap<Vec<Arc<Tap>>>,
}

impl Taps {
    /// Opens a tap, or lets one that is open go on.
    pub(crate) fn open(&self, order: wire::Tap, out: &mpsc::Sender<Told>) -> Result<(), TapError> {
        let lifetime = Duration::from_millis(order.lifetime_ms.into()).min(LIFETIME_MAX);
        let until = Instant::now() + lifetime;
        let present = self.open.load_full();
        if let Some(tap) = present.iter().find(|tap| tap.id == order.id) {
            *tap.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
            return Ok(());
        }
        if present.len() >= TAPS_MAX {
            return Err(TapError::TooMany);
        }
        let filter = filter(order.filter.unwrap_or_default()).ok_or(TapError::Filter)?;
        if order.shown_headers.len() > SHOWN_MAX {
            return Err(TapError::Filter);
        }
        let tap = Tap {
            id: order.id,
            filter,
            query: order.query,
            headers: order.headers,
            shown: order.shown_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            limit: Mutex::new(PerSecond::new(order.max_per_second.clamp(1, PER_SECOND_MAX))),
            until: Mutex::new(until),
            out: out.clone(),
            dropped: AtomicU64::new(0),
        };
        self.replace(present.iter().cloned().chain([Arc::new(tap)]).collect());
        Ok(())
    }

    /// Whether somebody wants to see anything.
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// Ends a tap.
    pub(crate) fn end(&self, id: u64) {
        self.retain(|tap| tap.id != id);
    }

    /// Ends all of them.
    pub(crate) fn end_all(&self) {
        self.retain(|_| false);
    }

    /// Ends those whose time is over.
    pub(crate) fn end_old(&self) {
        let now = Instant::now();
        self.retain(|tap| *tap.until.lock().unwrap_or_else(PoisonError::into_inner) > now);
    }

    /// How many requests each tap has not told of, since it was last asked.
    pub(crate) fn take_dropped(&self) -> Vec<(u64, u64)> {
        let open = self.open.load();
        open.iter()
            .map(|tap| (tap.id, tap.dropped.swap(0, Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn retain(&self, keep: impl Fn(&Tap) -> bool) {
        let present = self.open.load_full();
        if present.iter().all(|tap| keep(tap)) {
            return;
        }
        self.replace(present.iter().filter(|tap| keep(tap)).cloned().collect());
    }

    /// Only the thread of the introspection stream changes them.
    fn replace(&self, taps: Vec<Arc<Tap>>) {
        let is_any = !taps.is_empty();
        self.open.store(Arc::new(taps));
        self.is_any.store(is_any, SeqCst);
    }

    /// Keeps what is told of a request that begins, if somebody may want it.
    pub(crate) fn watch(&self, request: &http::request::Parts) -> Option<Box<Watched>> {
        if !self.is_any() {
            return None;
        }
        self.watch_for_taps(request)
    }

    #[cold]
    fn watch_for_taps(&self, request: &http::request::Parts) -> Option<Box<Watched>> {
        let head = Some((request.method.as_str(), request.uri.path()));
        let taps = self.that_take(head)?;
        let wants_headers = taps.iter().any(|tap| tap.headers);
        Some(Box::new(Watched {
            start: wall_clock::now(),
            head: Some(Head {
                method: request.method.clone(),
                uri: request.uri.clone(),
                version: request.version,
                authority: request.headers.get(header::HOST).map(|host| text(host.as_bytes())),
                headers: wants_headers.then(|| request.headers.clone()),
                response_headers: None,
            }),
            taps,
        }))
    }

    /// The same for a TCP connection that has ended.
    pub(crate) fn watch_connection(&self, start: Timestamp) -> Option<Watched> {
        if !self.is_any.load(Relaxed) {
            return None;
        }
        Some(Watched { start, head: None, taps: self.that_take(None)? })
    }

    fn that_take(&self, head: Option<(&str, &str)>) -> Option<Vec<Arc<Tap>>> {
        let open = self.open.load();
        let taps: Vec<_> = open.iter().filter(|tap| tap.filter.takes_head(head)).cloned().collect();
        (!taps.is_empty()).then_some(taps)
    }
}

fn filter(asked: wire::TapFilter) -> Option<TapFilter> {
    let status = |status: u32| u16::try_from(status).ok();
    let paths = asked.paths.iter().map(|path| Wildcard::new(path, false));
    let statuses = asked.statuses.iter().map(|range| Some((status(range.first)?, status(range.last)?)));
    let filter = TapFilter {
        paths: paths.collect::<Option<_>>()?,
        statuses: statuses.collect::<Option<_>>()?,
        methods: asked.methods,
        callers: asked.callers,
        called: asked.called,
    };
    filter.is_bounded().then_some(filter)
}

/// A request under way that somebody may want to see.
#[derive(Debug)]
pub(crate) struct Watched {
    start: Timestamp,
    /// None of a TCP connection.
    head: Option<Head>,
    taps: Vec<Arc<Tap>>,
}

#[derive(Debug)]
struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    authority: Option<String>,
    headers: Option<HeaderMap>,
    response_headers: Option<HeaderMap>,
}

/// How what was watched has ended.
#[derive(Debug)]
pub(crate) struct End<'a> {
    pub(crate) direction: Direction,
    pub(crate) series: Option<&'a Series>,
    pub(crate) status: u16,
    pub(crate) flag: Flag,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) is_grpc: bool,
    pub(crate) grpc_status: Option<&'a http::HeaderValue>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) duration: Duration,
    pub(crate) response: Option<Duration>,
    pub(crate) endpoint: Option<std::net::SocketAddr>,
    pub(crate) discovery_name: Option<&'a str>,
}

impl Watched {
    /// The response's head, as it goes back.
    pub(crate) fn answered(&mut self, headers: &HeaderMap) {
        if let Some(head) = &mut self.head
            && head.headers.is_some()
        {
            head.response_headers = Some(headers.clone());
        }
    }

    /// Tells those who want it.
    pub(crate) fn end(self, shared: &Shared, end: &End<'_>) {
        let own = shared.snapshot.load().own_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let peer = end.series.map_or("", |series| &*series.key.peer);
        let (caller, called) = match end.direction {
            Direction::Inbound => (peer, own.as_str()),
            Direction::Outbound => (own.as_str(), peer),
            Direction::Public => ("", peer),
            Direction::Egress => (own.as_str(), ""),
        };
        let now = wall_clock::now();
        for tap in self.taps.iter().filter(|tap| tap.filter.takes_end(caller, called, end.status)) {
            let takes = tap.limit.lock().unwrap_or_else(PoisonError::into_inner).takes(now);
            // Whoever reads is told how many there were besides.
            if !takes || tap.out.try_send((tap.id, self.told(tap, caller, called, end))).is_err() {
                tap.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn told(&self, tap: &Tap, caller: &str, called: &str, end: &End<'_>) -> wire::Tapped {
        let protocol = match &self.head {
            None => wire::Protocol::Tcp,
            Some(_) if end.is_grpc => wire::Protocol::Grpc,
            Some(head) if head.version == Version::HTTP_2 => wire::Protocol::Http2,
            Some(_) => wire::Protocol::Http1,
        };
        let side = match end.direction {
            Direction::Inbound => wire::Side::Inbound,
            Direction::Outbound => wire::Side::Outbound,
            Direction::Public => wire::Side::Public,
            Direction::Egress => wire::Side::Egress,
        };
        let security = match end.series.map(|series| series.key.security) {
            Some(Security::MutualTls) => wire::Security::MutualTls,
            Some(Security::Tls) => wire::Security::Tls,
            Some(Security::Plaintext) | None => wire::Security::Plaintext,
        };
        let mut told = wire::Tapped {
            start_us: self.start.as_millis().saturating_mul(1_000),
            duration_us: micros(end.duration),
            response_us: end.response.map(micros),
            side: side.into(),
            protocol: protocol.into(),
            security: security.into(),
            caller: caller.to_owned(),
            called: called.to_owned(),
            discovery_name: end.discovery_name.unwrap_or_default().to_owned(),
            status: end.status.into(),
            grpc_status: end.grpc_status.and_then(|status| status.to_str().ok()?.parse().ok()),
            flags: end.flag.as_str().to_owned(),
            refusal: end.refusal.map(Refusal::text).unwrap_or_default(),
            bytes_received: end.bytes_received,
            bytes_sent: end.bytes_sent,
            endpoint: end.endpoint.map(|address| address.to_string()).unwrap_or_default(),
            ..wire::Tapped::default()
        };
        if let Some(head) = &self.head {
            told.method = head.method.as_str().to_owned();
            told.path = tap.path(&head.uri);
            let authority = head.uri.authority().map(|authority| text(authority.as_str().as_bytes()));
            told.authority = authority.or_else(|| head.authority.clone()).unwrap_or_default();
            if tap.headers {
                told.request_headers = head.headers.as_ref().map(|all| tap.headers(all)).unwrap_or_default();
                told.response_headers =
                    head.response_headers.as_ref().map(|all| tap.headers(all)).unwrap_or_default();
            }
        }
        told
    }
}

impl Tap {
    fn path(&self, uri: &Uri) -> String {
        match uri.query().filter(|_| self.query) {
            Some(query) => text(format!("{}?{}", uri.path(), redact_query(query)).as_bytes()),
            None => text(uri.path().as_bytes()),
        }
    }

    fn headers(&self, headers: &HeaderMap) -> Vec<wire::Header> {
        let mut bytes = 0;
        let fits = |(name, value): &(&HeaderName, &HeaderValue)| {
            bytes += name.as_str().len() + value.len().min(TEXT_BYTES_MAX);
            bytes <= HEADER_BYTES_MAX
        };
        let told = headers.iter().take(HEADERS_MAX).take_while(fits).map(|(name, value)| {
            let (name, value) = (name.as_str(), String::from_utf8_lossy(value.as_bytes()));
            let redacted = !self.shown.iter().any(|shown| shown == name) && is_secret(name, &value);
            let value = if redacted { String::new() } else { text(value.as_bytes()) };
            wire::Header { name: name.to_owned(), value, redacted }
        });
        told.collect()
    }
}

/// Bytes as text, no more of them than is told.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u64) -> wire::Tap {
        wire::Tap { id, max_per_second: 1_000, lifetime_ms: 60_000, ..wire::Tap::default() }
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn end(status: u16) -> End<'static> {
        End {
            direction: Direction::Outbound,
            series: None,
            status,
            flag: Flag::None,
            refusal: None,
            is_grpc: false,
            grpc_status: None,
            bytes_received: 1,
            bytes_sent: 2,
            duration: Duration::from_millis(5),
            response: Some(Duration::from_millis(3)),
            endpoint: None,
            discovery_name: Some("b"),
        }
    }

    fn shared() -> Shared {
        Shared::new(
            Arc::default(),
            None,
            crate::application::Dialer::Direct,
            std::net::Ipv4Addr::LOCALHOST,
            1,
            None,
        )
    }

    #[test]
    fn nobody_looks_unless_asked_to_and_only_until_the_end() {
        let (taps, (out, _in)) = (Taps::default(), mpsc::channel(8));
        let parts = request("/", &[]);
        assert!(taps.watch(&parts).is_none());
        taps.open(order(1), &out).expect("opened");
        assert!(taps.watch(&parts).is_some() && taps.watch_connection(Timestamp::default()).is_some());
        taps.end(1);
        assert!(taps.watch(&parts).is_none());
        taps.open(wire::Tap { lifetime_ms: 0, ..order(2) }, &out).expect("opened");
        taps.open(order(3), &out).expect("opened");
        taps.end_old();
        assert_eq!(taps.open.load().iter().map(|tap| tap.id).collect::<Vec<_>>(), [3]);
        // Asked for again it goes on.
        taps.open(wire::Tap { lifetime_ms: 0, ..order(3) }, &out).expect("goes on");
        taps.end_old();
        assert!(taps.watch(&parts).is_none());
    }

    #[test]
    fn taps_and_filters_are_bounded() {
        let (taps, (out, _in)) = (Taps::default(), mpsc::channel(8));
        let filter = wire::TapFilter { paths: vec![String::new()], ..wire::TapFilter::default() };
        assert_eq!(taps.open(wire::Tap { filter: Some(filter), ..order(1) }, &out), Err(TapError::Filter));
        for id in 0..TAPS_MAX as u64 {
            taps.open(order(id), &out).expect("opened");
        }
        assert_eq!(taps.open(order(99), &out), Err(TapError::TooMany));
        taps.end_all();
        assert!(taps.open.load().is_empty());
    }

    #[test]
    fn what_is_told_has_no_secrets_unless_they_are_asked_for_by_name() {
        let (taps, (out, mut told)) = (Taps::default(), mpsc::channel(8));
        let plain = wire::Tap { headers: true, query: true, ..order(1) };
        taps.open(plain.clone(), &out).expect("opened");
        taps.open(wire::Tap { id: 2, shown_headers: vec!["Authorization".into()], ..plain }, &out)
            .expect("opened");
        taps.open(order(3), &out).expect("opened");
        let headers = [("authorization", "Bearer S3CRET"), ("cookie", "a=S3CRET"), ("accept", "*/*")];
        let mut watched = taps.watch(&request("/p?page=1&token=S3CRET", &headers)).expect("watched");
        let mut response = HeaderMap::new();
        response.insert(header::SET_COOKIE, http::HeaderValue::from_static("id=S3CRET"));
        watched.answered(&response);
        watched.end(&shared(), &end(200));
        let (id, redacted) = told.try_recv().expect("told");
        assert_eq!((id, redacted.path.as_str()), (1, "/p?page=1&token=REDACTED"));
        assert!(!format!("{redacted:?}").contains("S3CRET"), "{redacted:?}");
        let names: Vec<_> =
            redacted.request_headers.iter().map(|it| (it.name.as_str(), it.redacted)).collect();
        assert_eq!(names, [("authorization", true), ("cookie", true), ("accept", false)]);
        assert!(redacted.response_headers[0].redacted);
        let (id, shown) = told.try_recv().expect("told");
        assert_eq!((id, shown.request_headers[0].value.as_str()), (2, "Bearer S3CRET"));
        assert!(shown.request_headers[1].redacted, "another one is not");
        let (_, bare) = told.try_recv().expect("told");
        assert_eq!((bare.path.as_str(), bare.request_headers.len()), ("/p", 0));
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let (taps, (out, mut told)) = (Taps::default(), mpsc::channel(2));
        taps.open(wire::Tap { max_per_second: 3, ..order(1) }, &out).expect("opened");
        let filter = wire::TapFilter {
            statuses: vec![wire::StatusRange { first: 500, last: 599 }],
            ..wire::TapFilter::default()
        };
        taps.open(wire::Tap { filter: Some(filter), ..order(2) }, &out).expect("opened");
        let shared = shared();
        for _ in 0..5 {
            taps.watch(&request("/", &[])).expect("watched").end(&shared, &end(200));
        }
        // Two had room; of the others some were beyond the limit, unless a second ended meanwhile.
        assert_eq!(taps.take_dropped(), [(1, 3)]);
        assert!(taps.take_dropped().is_empty(), "told once");
        let ids: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).map(|(id, _)| id).collect();
        assert_eq!(ids, [1, 1], "the other one's filter takes none of them");
    }
}
