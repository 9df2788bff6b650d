//! An HTTP/1.1 origin with a capacity: `SLOTS` requests at a time, `MILLIS` each, the others wait in line.
//!
//! `limited PORT SLOTS MILLIS`. As most servers it does the work of a request whose client has gone. The harness
//! compiles it with `rustc`; it has no dependencies.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// What the harness knows the origin by: a kilobyte.
const BODY: &str = "0123456789abcdef";

/// First come, first served: ticket `t` may begin once `t < done + slots`.
struct Line {
    slots: u64,
    time: Duration,
    tickets: Mutex<(u64, u64)>,
    moved: Condvar,
}

impl Line {
    fn work(&self) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let own = tickets.0;
        tickets.0 += 1;
        while own >= tickets.1 + self.slots {
            tickets = self.moved.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        drop(tickets);
        thread::sleep(self.time);
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
        self.moved.notify_all();
    }
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let &[port, slots, millis] = numbers.as_slice() else {
        eprintln!("usage: limited PORT SLOTS MILLIS");
        return ExitCode::FAILURE;
    };
    let time = Duration::from_millis(millis);
    let line = Line { slots, time, tickets: Mutex::new((0, 0)), moved: Condvar::new() };
    match listen(port as u16, Arc::new(line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limited: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(port: u16, line: Arc<Line>) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let (stream, line) = (stream?, Arc::clone(&line));
        // A connection that breaks is its client's affair.
        thread::Builder::new().stack_size(64 * 1024).spawn(move || serve(stream, &line).ok())?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream, line: &Line) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let body = BODY.repeat(64);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut buffer, mut filled) = ([0; 8 * 1024], 0);
    loop {
        while let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            line.work();
            stream.write_all(answer.as_bytes())?;
            buffer.copy_within(end + 4..filled, 0);
            filled -= end + 4;
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
    }
}
