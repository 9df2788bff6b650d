//! The threads that proxies live on.

use std::io;

use bowline_plumbing::local_thread;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_local,
};

use crate::proxy::Proxy;

/// A proxy that is to live, with its token, until the other end of the channel is gone.
type Born = (Proxy, String, watch::Receiver<u64>);

/// The threads. A proxy stays on one of them.
pub(crate) struct Crowd {
    next: usize,
    threads: Vec<mpsc::UnboundedSender<Born>>,
}

impl Crowd {
    /// Starts so many.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let threads: io::Result<_> = (0..threads.max(1)).map(|_| start()).collect();
        Ok(Self { next: 0, threads: threads? })
    }

    /// Lets a proxy live on the next of them.
    pub(crate) fn add(&mut self, proxy: Proxy, token: String, rounds: watch::Receiver<u64>) {
        self.next = (self.next + 1) % self.threads.len();
        // It is there until this is dropped.
        let _ = self.threads[self.next].send((proxy, token, rounds));
    }
}

fn start() -> io::Result<mpsc::UnboundedSender<Born>> {
    let (sender, mut born) = mpsc::unbounded_channel::<Born>();
    local_thread::start("proxies".into(), || async move {
        while let Some((proxy, token, rounds)) = born.recv().await {
            spawn_local(proxy.run(token, rounds));
        }
        // Its proxies live until the process is over.
        std::future::pending::<()>().await;
    })?;
    Ok(sender)
}
