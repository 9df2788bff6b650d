//! Bytes that come later, in their order.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    connection::CHUNK_BYTES,
    counts::add,
    records::{Records, Seen},
};

/// Bytes of a direction that may be under way.
const DIRECTION_BYTES_MAX: usize = 256 * 1024;
/// Bytes of all connections that may be under way.
pub(super) const BUDGET_BYTES: usize = 128 << 20;
/// Pieces of a direction that may be under way.
const PIECES_MAX: usize = 1024;

/// How bytes of a connection are delayed, for both of its directions.
#[derive(Debug)]
pub(super) struct Delay {
    each_way: Duration,
    jitter: Duration,
    handshake_only: bool,
    /// The caller's part, up to its second flight.
    caller: Mutex<Records>,
    /// The called side has got all of the caller's second flight that has come so far.
    second_flight: AtomicBool,
    over: watch::Sender<bool>,
    budget: Arc<Semaphore>,
}

/// Whose bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Caller,
    Called,
}

struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    answers_second_flight: bool,
    _room: OwnedSemaphorePermit,
    _budget: OwnedSemaphorePermit,
}

impl Delay {
    pub(super) fn new(
        each_way: Duration,
        jitter: Duration,
        handshake_only: bool,
        budget: Arc<Semaphore>,
    ) -> Self {
        Self {
            each_way,
            jitter,
            handshake_only,
            caller: Mutex::default(),
            second_flight: AtomicBool::new(false),
            over: watch::channel(false).0,
            budget,
        }
    }

    /// From now on nothing is delayed, not even what is under way.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Passes one direction on until its end.
    pub(super) async fn pass(
        &self,
        from: From,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        counter: &std::sync::atomic::AtomicU64,
    ) -> io::Result<()> {
        let (pieces, mut due_pieces) = mpsc::channel(PIECES_MAX);
        let read = async move {
            let room = Arc::new(Semaphore::new(DIRECTION_BYTES_MAX));
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut last_due = Instant::now();
            loop {
                let count = reader.read(&mut buffer).await?;
                if count == 0 {
                    return Ok(());
                }
                let answers_second_flight = from == From::Called && self.second_flight.load(SeqCst);
                last_due = last_due.max(Instant::now() + self.length());
                // A chunk is smaller than either of them.
                let taken = u32::try_from(count).unwrap_or(u32::MAX);
                let closed = |_| io::Error::other("the relay is ending");
                let piece = Piece {
                    due: last_due,
                    bytes: buffer[..count].to_vec(),
                    answers_second_flight,
                    _room: Arc::clone(&room).acquire_many_owned(taken).await.map_err(closed)?,
                    _budget: Arc::clone(&self.budget).acquire_many_owned(taken).await.map_err(closed)?,
                };
                if pieces.send(piece).await.is_err() {
                    return Ok(());
                }
            }
        };
        let write = async {
            let mut over = self.over.subscribe();
            while let Some(piece) = due_pieces.recv().await {
                tokio::select! {
                    _ = over.wait_for(|over| *over) => {}
                    () = sleep_until(piece.due) => {}
                }
                writer.write_all(&piece.bytes).await?;
                add(counter, piece.bytes.len());
                if self.handshake_only {
                    self.delivered(from, &piece);
                }
            }
            writer.shutdown().await
        };
        tokio::try_join!(read, write).map(|_| ())
    }

    /// How long the next bytes take.
    fn length(&self) -> Duration {
        if *self.over.borrow() {
            return Duration::ZERO;
        }
        let spread = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 4);
        let shift = Duration::from_micros(super::connection::random_below(2 * spread + 1));
        (self.each_way + shift).saturating_sub(Duration::from_micros(spread))
    }

    fn delivered(&self, from: From, piece: &Piece) {
        match from {
            From::Caller if !self.second_flight.load(SeqCst) => {
                let seen = self.caller.lock().unwrap_or_else(PoisonError::into_inner).take(&piece.bytes);
                match seen {
                    Seen::Hello => {}
                    Seen::Encrypted => self.second_flight.store(true, SeqCst),
                    // There is no handshake.
                    Seen::Other => self.end(),
                }
            }
            From::Called if piece.answers_second_flight => self.end(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn delay(each_way: u64, jitter: u64, handshake_only: bool) -> Arc<Delay> {
        let millis = Duration::from_millis;
        let budget = Arc::new(Semaphore::new(BUDGET_BYTES));
        Arc::new(Delay::new(millis(each_way), millis(jitter), handshake_only, budget))
    }

    fn pass(delay: &Arc<Delay>, from: From) -> (tokio::io::DuplexStream, tokio::io::DuplexStream) {
        let (near, reader) = duplex(1 << 20);
        let (writer, far) = duplex(1 << 20);
        let delay = Arc::clone(delay);
        tokio::spawn(async move {
            let counter = std::sync::atomic::AtomicU64::new(0);
            delay.pass(from, reader, writer, &counter).await
        });
        (near, far)
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_come_later_and_in_order() {
        let delay = delay(100, 40, false);
        let (mut near, mut far) = pass(&delay, From::Caller);
        let begin = Instant::now();
        let mut read = [0; 1];
        for number in 0..50u8 {
            near.write_all(&[number]).await.expect("room");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for number in 0..50u8 {
            far.read_exact(&mut read).await.expect("a byte");
            assert_eq!(read, [number]);
            let sent = Duration::from_millis(u64::from(number));
            assert!(begin.elapsed() >= sent + Duration::from_millis(60), "{number}");
        }
        assert!(begin.elapsed() < Duration::from_millis(200));
        drop(near);
        assert_eq!(far.read(&mut read).await.expect("the end"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_comes_at_once_when_it_is_over() {
        let delay = delay(30_000, 0, false);
        let (mut near, mut far) = pass(&delay, From::Caller);
        let begin = Instant::now();
        near.write_all(b"x").await.expect("room");
        tokio::time::sleep(Duration::from_secs(1)).await;
        delay.end();
        let mut read = [0; 1];
        far.read_exact(&mut read).await.expect("a byte");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_handshake_is_delayed() {
        let delay = delay(1_000, 0, true);
        let (mut caller, mut at_called) = pass(&delay, From::Caller);
        let (mut called, mut at_caller) = pass(&delay, From::Called);
        let record = |kind: u8| vec![kind, 3, 3, 0, 1, 0];
        let mut read = [0; 6];
        let mut take = async |near: &mut tokio::io::DuplexStream, far: &mut tokio::io::DuplexStream, kind| {
            let begin = Instant::now();
            near.write_all(&record(kind)).await.expect("room");
            far.read_exact(&mut read).await.expect("a record");
            begin.elapsed().as_secs()
        };
        assert_eq!(take(&mut caller, &mut at_called, 22).await, 1, "ClientHello");
        assert_eq!(take(&mut called, &mut at_caller, 22).await, 1, "ServerHello");
        assert_eq!(take(&mut called, &mut at_caller, 23).await, 1, "the server's Finished");
        assert_eq!(take(&mut caller, &mut at_called, 23).await, 1, "the client's Finished");
        assert_eq!(take(&mut called, &mut at_caller, 23).await, 1, "what answers it");
        // The end is noticed once what answers has been written.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(take(&mut caller, &mut at_called, 23).await, 0, "a request");
        assert_eq!(take(&mut called, &mut at_caller, 23).await, 0, "its answer");
    }
}
