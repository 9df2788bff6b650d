//! An HTTP/1.1 origin: 200 and a kilobyte to every GET, keep-alive, a thread a connection.
//!
//! `origin PORT`. The harness compiles it with `rustc`; it has no dependencies.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    thread,
};

const BODY: [u8; 1024] = [b'x'; 1024];

fn main() -> ExitCode {
    let port = env::args().nth(1).and_then(|text| text.parse::<u16>().ok());
    let Some(port) = port else {
        eprintln!("usage: origin PORT");
        return ExitCode::FAILURE;
    };
    match listen(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("origin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A connection that breaks is its client's affair.
        thread::Builder::new().stack_size(128 * 1024).spawn(move || serve(stream).ok())?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", BODY.len());
    let answer = [head.as_bytes(), &BODY].concat();
    let (mut buffer, mut filled) = ([0; 16 * 1024], 0);
    loop {
        while let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            stream.write_all(&answer)?;
            buffer.copy_within(end + 4..filled, 0);
            filled -= end + 4;
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
    }
}
