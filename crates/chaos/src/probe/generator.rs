//! `bowline chaos-probe`: the load itself, within a task.

use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, Read, Write},
    rc::Rc,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use bowline_model::experiment::Outcome;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::Notify, task::LocalSet, time};

use super::{Connections, LASTING_MAX, Line, Order, RATE_MAX, SampleLine, clock};

/// Longest order, bytes.
const ORDER_MAX: u64 = 64 * 1024;
/// Most lines that wait for who reads.
const LINES_MAX: usize = 65_536;
/// Most requests at a time; those that are due meanwhile count as unanswered (`overrun`).
const IN_FLIGHT_MAX: usize = 4_096;
/// Longest body of an answer that is looked at.
const BODY_MAX: usize = 64 * 1024;

/// Reads the order from standard input, carries it out, and returns when it is over: at its deadline, or when standard
/// input is closed. The process is to end then.
///
/// # Errors
/// The order cannot be read, or the runtime cannot be made.
pub fn run() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().take(ORDER_MAX).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line).map_err(io::Error::other)?;
    if order.load.rate == 0 || order.load.rate > RATE_MAX || order.lasting > LASTING_MAX {
        return Err(io::Error::other(format!("a rate of 1 to {RATE_MAX} a second, for an hour at most")));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, lines) = sync_channel::<Line>(LINES_MAX);
    let writer = std::thread::spawn(move || {
        let mut out = io::stdout().lock();
        while let Ok(line) = lines.recv() {
            // All that is there already goes out at once.
            let mut text = Vec::new();
            for line in std::iter::once(line).chain(lines.try_iter().take(1_024)) {
                let _ = serde_json::to_writer(&mut text, &line);
                text.push(b'\n');
            }
            if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    });
    let closed = std::sync::Arc::new(Notify::new());
    let notifier = std::sync::Arc::clone(&closed);
    // It is not joined: it ends with the process.
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1)) {}
        notifier.notify_one();
    });
    let lasting = order.lasting;
    let generator = Rc::new(Generator::new(order, sender));
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            () = generator.send_all() => {}
            () = closed.notified() => generator.settle().await,
            // What is on its way is told of, as far as it is known soon.
            () = time::sleep(lasting) => generator.settle().await,
        }
    });
    generator.end();
    drop(generator);
    runtime.shutdown_background();
    // Where nobody reads, there is nothing to wait for.
    let _ = writer.join();
    Ok(())
}

struct Generator {
    order: Order,
    lines: RefCell<Option<SyncSender<Line>>>,
    dropped: Cell<u64>,
    in_flight: Cell<usize>,
    answered: Notify,
    idle: RefCell<Vec<http1::SendRequest<Empty<Bytes>>>>,
    shared: RefCell<Option<http2::SendRequest<Empty<Bytes>>>>,
}

impl Generator {
    fn new(order: Order, lines: SyncSender<Line>) -> Self {
        Self {
            order,
            lines: RefCell::new(Some(lines)),
            dropped: Cell::new(0),
            in_flight: Cell::new(0),
            answered: Notify::new(),
            idle: RefCell::default(),
            shared: RefCell::default(),
        }
    }

    async fn send_all(self: &Rc<Self>) {
        let origin = (clock(), time::Instant::now());
        let pause = Duration::from_secs(1) / self.order.load.rate;
        for number in 0.. {
            let after = pause.saturating_mul(number);
            time::sleep_until(origin.1 + after).await;
            let due = origin.0 + after;
            if self.in_flight.get() >= IN_FLIGHT_MAX {
                self.tell(due, Outcome::Unanswered("overrun".to_owned()));
                continue;
            }
            self.in_flight.set(self.in_flight.get() + 1);
            let own = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let outcome = match time::timeout(own.order.load.timeout, own.send()).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(why)) => Outcome::Unanswered(why.to_owned()),
                    Err(_) => Outcome::Unanswered("timeout".to_owned()),
                };
                own.tell(due, outcome);
                own.in_flight.set(own.in_flight.get() - 1);
                own.answered.notify_one();
            });
        }
    }

    /// Waits for what is on its way, no longer than a request may take.
    async fn settle(&self) {
        let settled = async {
            while self.in_flight.get() > 0 {
                self.answered.notified().await;
            }
        };
        let _ = time::timeout(self.order.load.timeout, settled).await;
    }

    fn tell(&self, due: Duration, outcome: Outcome) {
        let line = Line::Sample(SampleLine::new(due, clock().saturating_sub(due), outcome));
        if let Some(lines) = &*self.lines.borrow() {
            match lines.try_send(line) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => self.dropped.set(self.dropped.get() + 1),
            }
        }
    }

    fn end(&self) {
        if let Some(lines) = self.lines.borrow_mut().take() {
            // The writer makes room, or is gone.
            let _ = lines.send(Line::Ended { dropped: self.dropped.get() });
        }
    }

    async fn send(&self) -> Result<Outcome, &'static str> {
        let order = &self.order;
        let authority = format!("{}:{}", order.host, order.port);
        let uri = match order.http2 {
            true => format!("http://{authority}{}", order.path),
            false => order.path.clone(),
        };
        let mut request = Request::get(uri).header(header::USER_AGENT, "bowline-chaos-probe");
        if !order.http2 {
            let host = HeaderValue::from_str(&authority).map_err(|_| "request")?;
            request = request.header(header::HOST, host);
        }
        let request = request.body(Empty::new()).map_err(|_| "request")?;
        let keeps = order.load.connections == Connections::Kept;
        if order.http2 {
            let kept = self.shared.borrow().clone().filter(|it| keeps && !it.is_closed());
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect_http2().await?,
            };
            if keeps {
                *self.shared.borrow_mut() = Some(sender.clone());
            }
            sender.ready().await.map_err(|_| "closed")?;
            return outcome_of(sender.send_request(request).await.map_err(|_| "closed")?).await;
        }
        let kept = || loop {
            let sender = self.idle.borrow_mut().pop().filter(|_| keeps)?;
            if sender.is_ready() {
                return Some(sender);
            }
        };
        let mut sender = match kept() {
            Some(sender) => sender,
            None => self.connect_http1().await?,
        };
        sender.ready().await.map_err(|_| "closed")?;
        let response = sender.send_request(request).await.map_err(|_| "closed")?;
        let outcome = outcome_of(response).await?;
        if keeps && sender.ready().await.is_ok() {
            self.idle.borrow_mut().push(sender);
        }
        Ok(outcome)
    }

    async fn connect(&self) -> Result<TcpStream, &'static str> {
        let addresses = tokio::net::lookup_host((self.order.host.as_str(), self.order.port)).await;
        let addresses: Vec<_> = addresses.map_err(|_| "resolve")?.collect();
        let stream = TcpStream::connect(&*addresses).await.map_err(|_| "connect")?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<Empty<Bytes>>, &'static str> {
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = http1::handshake(io).await.map_err(|_| "closed")?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn connect_http2(&self) -> Result<http2::SendRequest<Empty<Bytes>>, &'static str> {
        let io = TokioIo::new(self.connect().await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(|_| "closed")?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

/// What an answer says. A sidecar's refusal names who was refused and why in its body.
async fn outcome_of(response: http::Response<hyper::body::Incoming>) -> Result<Outcome, &'static str> {
    let (head, body) = response.into_parts();
    let is_json = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    let may_refuse = is_json && !head.status.is_success();
    let status = head.status.as_u16();
    if !may_refuse {
        // Read to its end, so that the connection can be used again; nothing of it is kept.
        let mut body = body;
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| "closed")?;
        }
        return Ok(Outcome::answered(status));
    }
    let bytes = Limited::new(body, BODY_MAX).collect().await.map_err(|_| "closed")?.to_bytes();
    let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let cause = told.get("refused").and_then(|_| told.get("cause")?.as_str());
    Ok(Outcome::Answered { status, cause: cause.map(|cause| cause.chars().take(64).collect()) })
}

#[cfg(test)]
mod tests {
    use http::Response;
    use http_body_util::Full;
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::server::conn::auto;
    use tokio::net::TcpListener;

    use super::*;
    use crate::probe::Load;

    /// Answers as a sidecar that refuses, by either protocol.
    async fn refuse(listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|_: Request<Incoming>| async {
                let body = r#"{"message": "no", "refused": "caller", "cause": "expired"}"#;
                Response::builder()
                    .status(403)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::new(Bytes::from(body)))
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    #[test]
    fn requests_of_either_protocol_on_kept_and_new_connections_tell_why_they_are_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let server = tokio::spawn(refuse(listener));
            for (http2, connections) in [
                (false, Connections::Kept),
                (false, Connections::New),
                (true, Connections::Kept),
                (true, Connections::New),
            ] {
                let load = Load { connections, ..Load::default() };
                let (host, path) = ("127.0.0.1".to_owned(), "/".to_owned());
                let order = Order { host, port, path, http2, load, lasting: Duration::from_secs(5) };
                let (sender, _lines) = sync_channel(1);
                let generator = Generator::new(order, sender);
                // Several at once, and then again.
                for _ in 0..2 {
                    let (one, other) = tokio::join!(generator.send(), generator.send());
                    let refused = Ok(Outcome::refused(403, "expired"));
                    assert_eq!((one, other), (refused.clone(), refused), "{http2} {connections:?}");
                }
                let kept = generator.idle.borrow().len() + usize::from(generator.shared.borrow().is_some());
                assert_eq!(kept > 0, connections == Connections::Kept, "{http2}");
            }
            server.abort();
        });
    }
}
