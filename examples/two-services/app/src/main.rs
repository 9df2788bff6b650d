//! Services A and B of the TLS demo: one binary, and its environment says which of the two it is.
//!
//! It speaks plain HTTP and knows nothing of certificates, of Service Connect or of Bowline: it binds
//! `0.0.0.0`, and calls the other service by its name. That is the point of the example. What it
//! answers is described in the README beside it.

mod config;
mod metrics;
mod peer;
mod server;

use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

/// One thread is enough: the work per request is two small reads of `/proc`.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("two-services: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_env(|name| std::env::var(name).ok())?;
    // Signals are taken before the port is opened: who sees the port open may send SIGTERM at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = config.address;
    let listener =
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("{} listening on http://{}", config.service, listener.local_addr()?);
    match &config.peer {
        Some(peer) => println!("{} calls {}", config.service, peer.url),
        None => println!("{} has no other service to call", config.service),
    }
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    server::serve(listener, config, stop).await;
    Ok(())
}
