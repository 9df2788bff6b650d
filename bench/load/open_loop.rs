//! HTTP/1.1 at a fixed rate, open loop: requests are due by the clock, not by the last answer.
//!
//! `open-loop ADDRESS PATH RATE CONNECTIONS SECONDS` prints one line of JSON. `bench/run` compiles it with
//! `rustc`; it has no dependencies.
//!
//! Connection *i* of *n* has a request due every `n / RATE` seconds, the connections evenly shifted. A request
//! that is due while the answer before it is outstanding waits, and that wait counts as its latency (no
//! coordinated omission). One that was due while its connection was idle is timed from the moment it is sent:
//! what the kernel adds to this program's own wake-up is not the proxies' doing. It is reported as `late`.

use std::{
    env,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const TIMEOUT: Duration = Duration::from_secs(10);

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    interval: Duration,
    end: Instant,
}

/// What one connection saw; nanoseconds.
#[derive(Default)]
struct Seen {
    latencies: Vec<u64>,
    late: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("open-loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, rate, connections, seconds] = arguments.as_slice() else {
        return Err("usage: open-loop ADDRESS PATH RATE CONNECTIONS SECONDS".into());
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| *n > 0.0).ok_or(format!("{text:?} is no number"));
    let resolved = address.to_socket_addrs().map_err(|error| format!("{address:?}: {error}"))?;
    let address: SocketAddr = resolved.into_iter().next().ok_or(format!("{address:?} has no address"))?;
    let (rate, seconds) = (number(rate)?, number(seconds)?);
    let connections = number(connections)? as u32;

    let step = Duration::from_secs_f64(1.0 / rate);
    // Time for all connections to be made, and used once, before the first request is due.
    let start = Instant::now() + Duration::from_millis(500);
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench.internal\r\nUser-Agent: open-loop\r\n\r\n").into_bytes();
    let threads: Vec<_> = (0..connections)
        .map(|index| {
            let plan = Plan {
                address,
                request: request.clone(),
                interval: step * connections,
                end: start + Duration::from_secs_f64(seconds),
            };
            let first = start + step * index;
            thread::Builder::new().stack_size(128 * 1024).spawn(move || drive(&plan, first))
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a thread: {error}"))?;

    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a connection's thread panicked")?;
        all.latencies.extend(seen.latencies);
        all.late.extend(seen.late);
        all.errors += seen.errors;
        all.first_error = all.first_error.or(seen.first_error);
    }
    if all.latencies.is_empty() {
        return Err(format!("no request was answered; {}", all.first_error.unwrap_or_default()));
    }
    all.latencies.sort_unstable();
    all.late.sort_unstable();
    let micros = |values: &[u64], share: f64| quantile(values, share) as f64 / 1_000.0;
    Ok(format!(
        r#"{{"requests":{},"errors":{},"seconds":{:.3},"p50":{:.1},"p90":{:.1},"p99":{:.1},"p999":{:.1},"max":{:.1},"late_p50":{:.1},"late_p99":{:.1}}}"#,
        all.latencies.len(),
        all.errors,
        seconds,
        micros(&all.latencies, 0.5),
        micros(&all.latencies, 0.9),
        micros(&all.latencies, 0.99),
        micros(&all.latencies, 0.999),
        micros(&all.latencies, 1.0),
        micros(&all.late, 0.5),
        micros(&all.late, 0.99),
    ))
}

/// Nearest rank of sorted values; 0 of none.
fn quantile(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

fn drive(plan: &Plan, first: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    let mut buffer = vec![0; 64 * 1024];
    let mut due = first;
    // Not counted: what a proxy does for a first request is another case.
    if let Err(error) = exchange(&mut connection, plan, &mut buffer) {
        connection = None;
        seen.errors += 1;
        seen.first_error.get_or_insert(error.to_string());
    }
    // When the answer before this request came; it was waited for if that is after `due`.
    let mut free_since = Instant::now();
    while due < plan.end {
        let now = Instant::now();
        if now < due {
            thread::sleep(due - now);
        }
        let sent = Instant::now();
        let begin = if free_since > due { due } else { sent };
        if free_since <= due {
            seen.late.push((sent - due).as_nanos() as u64);
        }
        match exchange(&mut connection, plan, &mut buffer) {
            Ok(()) => seen.latencies.push((Instant::now() - begin).as_nanos() as u64),
            Err(error) => {
                connection = None;
                seen.errors += 1;
                seen.first_error.get_or_insert(error.to_string());
            }
        }
        free_since = Instant::now();
        due += plan.interval;
    }
    seen
}

/// One request and its whole answer, which must be a 200 with a Content-Length.
fn exchange(connection: &mut Option<TcpStream>, plan: &Plan, buffer: &mut [u8]) -> io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&plan.address, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            connection.insert(stream)
        }
    };
    stream.write_all(&plan.request)?;
    let mut filled = 0;
    let (head, length) = loop {
        if filled == buffer.len() {
            return Err(io::Error::other("a head of over 64 KiB"));
        }
        filled += receive(stream, &mut buffer[filled..])?;
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break (end + 4, content_length(&buffer[..end])?);
        }
    };
    let mut missing = (head + length).checked_sub(filled).ok_or_else(|| io::Error::other("more than the answer"))?;
    while missing > 0 {
        let most = missing.min(buffer.len());
        missing -= receive(stream, &mut buffer[..most])?;
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(status.to_owned()));
    }
    lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| io::Error::other("an answer without a content-length"))
}
