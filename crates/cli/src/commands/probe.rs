//! `bowline probe` (hidden): one marked request from within a task, started
//! there by the task's shim on behalf of `bowline verify`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

/// A probe is over after so long, whatever happens.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `bowline probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the alias.
    host: String,
    /// Port of the alias.
    port: u16,
    /// What to send: found in plaintext anywhere, it proves a leak.
    #[arg(long)]
    mark: String,
    /// Send the bare mark over TCP in place of an HTTP request.
    #[arg(long)]
    tcp: bool,
}

/// Sends the mark; prints the HTTP status, or `sent` for TCP.
pub(crate) fn run(args: &Args) -> ExitCode {
    match send(args) {
        Ok(outcome) => {
            println!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the probe could not reach {}:{}: {error}", args.host, args.port);
            ExitCode::FAILURE
        }
    }
}

fn send(args: &Args) -> std::io::Result<String> {
    let address = (args.host.as_str(), args.port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    if args.tcp {
        stream.write_all(format!("{}\r\n", args.mark).as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = [0; 256];
        // Whether and what a TCP application answers is its own affair.
        let _ = stream.read(&mut answer);
        return Ok("sent".to_owned());
    }
    // In the body as well: HTTP/2 would compress it away in a header.
    write!(
        stream,
        "POST /bowline-verify/{mark} HTTP/1.1\r\nhost: {host}:{port}\r\nx-bowline-mark: {mark}\r\n\
         content-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{mark}",
        length = args.mark.len(),
        mark = args.mark,
        host = args.host,
        port = args.port,
    )?;
    let mut status = String::new();
    BufReader::new(stream.take(64 * 1024)).read_line(&mut status)?;
    match status.split(' ').nth(1) {
        Some(code) => Ok(code.to_owned()),
        None => Err(std::io::Error::other("no HTTP answer")),
    }
}
