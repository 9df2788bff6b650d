//! How soon ejection settles: ten servers of which three answer 500 and one hangs, behind one proxy.
//!
//! `cargo run --release -p bowline-proxy --example settle -- [REQUESTS_PER_SECOND] [SECONDS]`
//! sends as many requests as it is told, whether they are answered or not, and prints each second's.
//! It ends with 1 if after 5 s fewer than 99.9 % succeed, or more than half are ejected.

use std::{
    convert::Infallible,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bowline_proxy::{ProxyOptions, start_from_file};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http2, server::conn::http2 as server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

/// AWS's defaults, but for what the task asks: 250 ms for a try, and errors of the server's again.
const RETRY: &str = r#"{"maxRetries": 3, "perTryTimeoutMs": 250,
    "retryOn": ["5xx", "reset", "connect-failure", "refused-stream"]}"#;

#[derive(Clone, Copy)]
enum Behaviour {
    Good,
    Fails,
    Hangs,
}

#[derive(Default)]
struct Second {
    good: AtomicU64,
    bad: AtomicU64,
    slowest_micros: AtomicU64,
}

async fn backend(behaviour: Behaviour) -> std::io::Result<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = service_fn(move |_: Request<Incoming>| async move {
                let status = match behaviour {
                    Behaviour::Good => 200,
                    Behaviour::Fails => 500,
                    Behaviour::Hangs => std::future::pending().await,
                };
                let mut response = Response::new(Full::new(Bytes::from_static(b"answer")));
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
                Ok::<_, Infallible>(response)
            });
            let connection =
                server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

fn configuration(backends: &[SocketAddr]) -> Result<String, serde_json::Error> {
    let retry: serde_json::Value = serde_json::from_str(RETRY)?;
    let endpoints: Vec<_> = backends
        .iter()
        .map(|address| json!({"address": address.ip().to_string(), "port": address.port(), "taskId": address.to_string()}))
        .collect();
    Ok(json!({"node": "settle", "resources": [
        {"listener": {
            "name": "out", "protocol": "HTTP2", "route": "out",
            "bind": {"outbound": {"address": "127.0.0.1", "port": 0, "hostnames": ["service"]}},
        }},
        {"route": {"name": "out", "rules": [{"action": {"forward": {
            "clusters": [{"cluster": "service", "weight": 1}], "requestTimeoutMs": 15_000, "retry": retry,
        }}}]}},
        {"cluster": {
            "name": "service", "protocol": "HTTP2", "kind": {"mesh": {"tls": "PLAINTEXT"}},
            "outlierDetection": {"consecutiveFailures": 5, "maxEjectionPercent": 50},
        }},
        {"endpoints": {"name": "service", "endpoints": endpoints}},
    ]})
    .to_string())
}

async fn ask(
    mut sender: http2::SendRequest<Empty<Bytes>>,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::get("http://service/").body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let good = response.status().is_success();
    response.into_body().collect().await?;
    Ok(good)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let rate = arguments.next().transpose()?.unwrap_or(1_000).max(1);
    let seconds = arguments.next().transpose()?.unwrap_or(20).max(6);
    let mut backends = Vec::new();
    for place in 0..10 {
        let behaviour = match place {
            0 | 3 | 6 => Behaviour::Fails,
            8 => Behaviour::Hangs,
            _ => Behaviour::Good,
        };
        backends.push(backend(behaviour).await?);
    }
    let path = std::env::temp_dir().join(format!("bowline-settle-{}.json", std::process::id()));
    std::fs::write(&path, configuration(&backends)?)?;
    let proxy = start_from_file(&path, &ProxyOptions::default());
    std::fs::remove_file(&path)?;
    let proxy = proxy?;
    let address = proxy.address("out").ok_or("the listener is not open")?;
    let mut senders = Vec::new();
    for _ in 0..8 {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        senders.push(sender);
    }
    let seen: Arc<Vec<Second>> = Arc::new((0..seconds).map(|_| Second::default()).collect());
    let begin = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..rate * seconds {
        let due = begin + Duration::from_nanos(number * 1_000_000_000 / rate);
        tokio::time::sleep_until(due.into()).await;
        let sender = senders[(number % senders.len() as u64) as usize].clone();
        let (seen, second) = (Arc::clone(&seen), (number / rate) as usize);
        requests.spawn(async move {
            let good = ask(sender).await.unwrap_or(false);
            let counter = if good { &seen[second].good } else { &seen[second].bad };
            counter.fetch_add(1, Relaxed);
            // From when it was due: who is late counts as slow.
            let took = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen[second].slowest_micros.fetch_max(took, Relaxed);
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
    let metrics = proxy.metrics();
    println!("second  succeeded  failed  slowest");
    for (second, seen) in seen.iter().enumerate() {
        let slowest = Duration::from_micros(seen.slowest_micros.load(Relaxed));
        println!(
            "{second:>6}  {:>9}  {:>6}  {slowest:>9.1?}",
            seen.good.load(Relaxed),
            seen.bad.load(Relaxed)
        );
    }
    let sum =
        |of: fn(&Second) -> &AtomicU64| seen[5..].iter().map(|seen| of(seen).load(Relaxed)).sum::<u64>();
    let (good, bad) = (sum(|seen| &seen.good), sum(|seen| &seen.bad));
    let share = good as f64 * 100.0 / (good + bad).max(1) as f64;
    let (ejections, retries) = (metrics.ejections("service"), metrics.retries("service"));
    println!("after 5 s {share:.3} % of {} succeeded", good + bad);
    println!(
        "{ejections} ejections, {retries} retries, {} denied by the budget",
        metrics.retries_denied("service")
    );
    tokio::task::spawn_blocking(move || proxy.stop()).await?;
    Ok(if share >= 99.9 && ejections <= 5 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
