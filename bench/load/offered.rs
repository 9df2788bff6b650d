//! HTTP/1.1 at a rate that does not ask whether it can be served: what clients with a deadline get of it.
//!
//! `offered ADDRESS PATH RATE DEADLINE_MS SECONDS WARM_UP` prints one line of JSON. The harness compiles it with
//! `rustc`; it has no dependencies.
//!
//! A request is due every `1 / RATE` seconds, whatever has become of those before it; a client has one request
//! at a time, and there are as many clients as could be waiting at once. A client that has no 200 within the
//! deadline gives up and closes its connection. What is due in the first `WARM_UP` seconds is sent but not
//! counted.

use std::{
    env,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    start: Instant,
    step: Duration,
    deadline: Duration,
    /// Requests in all, and how many of them are not counted.
    count: u64,
    warm_up: u64,
    next: AtomicU64,
}

/// What became of requests.
#[derive(Default)]
struct Seen {
    in_time: u64,
    refused: u64,
    too_late: u64,
    latencies: Vec<u64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("offered: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, path, numbers @ ..] = arguments.as_slice() else { return Err("too few arguments".into()) };
    let numbers: Vec<f64> = numbers.iter().filter_map(|text| text.parse().ok()).collect();
    let &[rate, deadline_ms, seconds, warm_up] = numbers.as_slice() else {
        return Err("usage: offered ADDRESS PATH RATE DEADLINE_MS SECONDS WARM_UP".into());
    };
    let resolved = address.to_socket_addrs().map_err(|error| format!("{address:?}: {error}"))?;
    let address = resolved.into_iter().next().ok_or(format!("{address:?} has no address"))?;
    let deadline = Duration::from_secs_f64(deadline_ms / 1e3);
    let clients = (rate * deadline.as_secs_f64() * 1.1) as u64 + 16;
    let plan = Arc::new(Plan {
        address,
        request: format!("GET {path} HTTP/1.1\r\nHost: bench.internal\r\nUser-Agent: offered\r\n\r\n").into_bytes(),
        start: Instant::now() + Duration::from_millis(500),
        step: Duration::from_secs_f64(1.0 / rate),
        deadline,
        count: (rate * (seconds + warm_up)) as u64,
        warm_up: (rate * warm_up) as u64,
        next: AtomicU64::new(0),
    });
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let plan = Arc::clone(&plan);
            thread::Builder::new().stack_size(64 * 1024).spawn(move || drive(&plan))
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a thread: {error}"))?;
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| "a client's thread panicked")?;
        all.in_time += seen.in_time;
        all.refused += seen.refused;
        all.too_late += seen.too_late;
        all.latencies.extend(seen.latencies);
    }
    all.latencies.sort_unstable();
    let quantile = |share: f64| {
        let rank = (share * all.latencies.len() as f64).ceil() as usize;
        all.latencies.get(rank.max(1) - 1).copied().unwrap_or(0)
    };
    Ok(format!(
        r#"{{"offered":{rate},"seconds":{seconds},"in_time":{},"refused":{},"too_late":{},"p50":{},"p99":{}}}"#,
        all.in_time,
        all.refused,
        all.too_late,
        quantile(0.5),
        quantile(0.99),
    ))
}

/// One client: takes what is due next for as long as there is anything.
fn drive(plan: &Plan) -> Seen {
    let (mut seen, mut connection) = (Seen::default(), None);
    loop {
        let turn = plan.next.fetch_add(1, Relaxed);
        if turn >= plan.count {
            return seen;
        }
        let due = plan.start + plan.step * turn as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = exchange(&mut connection, plan, due + plan.deadline);
        if !matches!(answer, Ok(200)) {
            connection = None;
        }
        if turn < plan.warm_up {
            continue;
        }
        match answer {
            Ok(200) => {
                seen.in_time += 1;
                seen.latencies.push(due.elapsed().as_micros() as u64);
            }
            Ok(_) => seen.refused += 1,
            Err(_) => seen.too_late += 1,
        }
    }
}

/// One request and its answer's status.
fn exchange(connection: &mut Option<TcpStream>, plan: &Plan, end: Instant) -> io::Result<u16> {
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&plan.address, left()?)?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        }
    };
    stream.write_all(&plan.request)?;
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        let text = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return head.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData.into());
        }
    }
}
