//! One connection through a relay.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_model::fault::{ALL, PathHarm};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, interval, timeout, timeout_at},
};

use super::{
    counts::{Counts, add},
    delay::{Delay, From},
    link::Link,
    rogue::Rogue,
};

/// Bytes read at a time.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// Longest that connecting to the called side may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// So often it is looked whether the caller of a connection that nothing is read from has gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whom a listener stands before.
#[derive(Debug)]
pub(super) struct Target {
    /// The true address.
    pub(super) address: SocketAddr,
    /// Where the lossy link leads to that address.
    pub(super) over_link: Option<SocketAddr>,
    /// Who answers in its place.
    pub(super) rogue: Option<Rogue>,
}

/// What connections of a relay share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) harm: PathHarm,
    pub(super) per_million: u32,
    /// Whether the harm is over.
    pub(super) over: watch::Receiver<bool>,
    pub(super) counts: Arc<Counts>,
    /// Bytes that may be under way in all connections.
    pub(super) budget: Arc<Semaphore>,
    pub(super) link: Option<Link>,
    /// When the relay began.
    pub(super) begun: Instant,
}

impl Shared {
    fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Returns when the harm is over.
    async fn over(&self) {
        // Whoever could tell of it has ended: as well.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }
}

/// Does with a connection what is to be done.
pub(super) async fn carry(caller: TcpStream, target: &Target, shared: &Shared) {
    add(&shared.counts.connections, 1);
    let is_harmed = !shared.is_over() && random_below(u64::from(ALL)) < u64::from(shared.per_million);
    // A connection that breaks off is its two ends' affair: they have been told.
    let _ = match is_harmed {
        false => pass(caller, target.address, &shared.counts).await,
        true => {
            add(&shared.counts.harmed, 1);
            harm(caller, target, shared).await
        }
    };
}

async fn harm(caller: TcpStream, target: &Target, shared: &Shared) -> io::Result<()> {
    match &shared.harm {
        PathHarm::Refuse => Ok(()),
        PathHarm::Reset { after_bytes: 0 } => {
            reset(&caller);
            Ok(())
        }
        PathHarm::Reset { after_bytes } => {
            between(caller, target.address, async |caller, called| {
                let (caller_reads, caller_writes) = caller.split();
                let (called_reads, called_writes) = called.split();
                let counts = &shared.counts;
                tokio::try_join!(
                    copy(caller_reads, called_writes, &counts.bytes_to_called),
                    copy_limited(
                        called_reads,
                        caller_writes,
                        *after_bytes,
                        &shared.over,
                        &counts.bytes_to_caller,
                    ),
                )
                .map(|_| ())
            })
            .await
        }
        PathHarm::Stall => {
            tokio::select! {
                () = shared.over() => pass(caller, target.address, &shared.counts).await,
                () = hung_up(&caller) => Ok(()),
            }
        }
        PathHarm::OneWay { after } => {
            let from = shared.begun + *after;
            between(caller, target.address, async |caller, called| {
                let (caller_reads, caller_writes) = caller.split();
                let (called_reads, called_writes) = called.split();
                let counts = &shared.counts;
                let there = async {
                    copy(caller_reads, called_writes, &counts.bytes_to_called).await?;
                    match shared.is_over() {
                        true => Ok(()),
                        // It has given up waiting for an answer.
                        false => Err(io::ErrorKind::ConnectionAborted.into()),
                    }
                };
                let back = async {
                    let (mut reads, mut writes) = (called_reads, caller_writes);
                    if copy_before(from, &mut reads, &mut writes, &counts.bytes_to_caller).await? {
                        return Ok(());
                    }
                    shared.over().await;
                    copy(reads, writes, &counts.bytes_to_caller).await
                };
                tokio::try_join!(there, back).map(|_| ())
            })
            .await
        }
        PathHarm::Delay { each_way, jitter, handshake_only } => {
            let delay = Delay::new(*each_way, *jitter, *handshake_only, Arc::clone(&shared.budget));
            between(caller, target.address, async |caller, called| {
                let (caller_reads, caller_writes) = caller.split();
                let (called_reads, called_writes) = called.split();
                let counts = &shared.counts;
                let both = async {
                    tokio::try_join!(
                        delay.pass(From::Caller, caller_reads, called_writes, &counts.bytes_to_called),
                        delay.pass(From::Called, called_reads, caller_writes, &counts.bytes_to_caller),
                    )
                };
                let end = async {
                    shared.over().await;
                    delay.end();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    result = both => result.map(|_| ()),
                    () = end => Ok(()),
                }
            })
            .await
        }
        PathHarm::Loss { .. } => {
            let (Some(link), Some(address)) = (&shared.link, target.over_link) else {
                return Err(io::Error::other("there is no link"));
            };
            let called = timeout(CONNECT_LIMIT, link.connect(address)).await??;
            join(caller, called, &shared.counts).await
        }
        PathHarm::Rogue(_) => {
            let Some(rogue) = &target.rogue else { return Err(io::Error::other("nobody answers")) };
            tokio::select! {
                result = rogue.serve(caller, &shared.counts) => result,
                // Nothing of what it said can be taken back: the caller has to begin anew.
                () = shared.over() => Ok(()),
            }
        }
    }
}

/// Passes everything on.
pub(super) async fn pass(caller: TcpStream, address: SocketAddr, counts: &Counts) -> io::Result<()> {
    match connect(address).await {
        Ok(called) => join(caller, called, counts).await,
        Err(error) => {
            reset(&caller);
            Err(error)
        }
    }
}

async fn join(mut caller: TcpStream, mut called: TcpStream, counts: &Counts) -> io::Result<()> {
    let result = copy_both(&mut caller, &mut called, counts).await;
    broken_off(&result, &caller, &called);
    result
}

async fn copy_both(caller: &mut TcpStream, called: &mut TcpStream, counts: &Counts) -> io::Result<()> {
    let (caller_reads, caller_writes) = caller.split();
    let (called_reads, called_writes) = called.split();
    tokio::try_join!(
        copy(caller_reads, called_writes, &counts.bytes_to_called),
        copy(called_reads, caller_writes, &counts.bytes_to_caller),
    )
    .map(|_| ())
}

/// Connects to the called side and does `work` between both; a connection that breaks off on one side is reset on both.
async fn between(
    mut caller: TcpStream,
    address: SocketAddr,
    work: impl AsyncFnOnce(&mut TcpStream, &mut TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let mut called = match connect(address).await {
        Ok(called) => called,
        Err(error) => {
            reset(&caller);
            return Err(error);
        }
    };
    let result = work(&mut caller, &mut called).await;
    broken_off(&result, &caller, &called);
    result
}

fn broken_off(result: &io::Result<()>, caller: &TcpStream, called: &TcpStream) {
    if result.is_err() {
        reset(caller);
        reset(called);
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// When it is dropped, the other side gets RST.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Passes one direction on until its end.
async fn copy(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(&buffer[..count]).await?;
        counter.fetch_add(count as u64, Relaxed);
    }
}

/// As [`copy`], but reads no more from then on. Whether it has come to its end.
async fn copy_before(
    from: Instant,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    counter: &AtomicU64,
) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK_BYTES];
    // A timeout that is over lets through what is there already.
    while Instant::now() < from {
        let Ok(read) = timeout_at(from, reader.read(&mut buffer)).await else { break };
        let count = read?;
        if count == 0 {
            return writer.shutdown().await.map(|()| true);
        }
        writer.write_all(&buffer[..count]).await?;
        counter.fetch_add(count as u64, Relaxed);
    }
    Ok(false)
}

/// As [`copy`], but breaks off after so many bytes if that is not over by then.
async fn copy_limited(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    limit: u64,
    over: &watch::Receiver<bool>,
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut left = limit;
    while !*over.borrow() {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let count = reader.read(&mut buffer[..room]).await?;
        if count == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(&buffer[..count]).await?;
        counter.fetch_add(count as u64, Relaxed);
        left = left.saturating_sub(count as u64);
        if left == 0 && !*over.borrow() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
    copy(reader, writer, counter).await
}

/// Returns when the other side has closed or broken off, though nothing is read.
async fn hung_up(stream: &TcpStream) {
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
        let result = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if result.is_err() || !polled[0].revents().is_empty() {
            return;
        }
    }
}

/// A number below `bound`, which is above zero; zero where there are no random numbers.
pub(super) fn random_below(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        // The bias is below 2^-40 for every bound that is used.
        Ok(()) => u64::from_ne_bytes(bytes) % bound.max(1),
        Err(_) => 0,
    }
}
