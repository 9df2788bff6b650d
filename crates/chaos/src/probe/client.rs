//! A probe as the runner sees it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::{
    experiment::{Outcome, Sample},
    task::TaskId,
};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinHandle,
    time,
};

use super::{LASTING_MAX, Line, Load, Order, clock};
use crate::{
    scope::Edge,
    system::{Exit, System, SystemError},
};

/// Longest line of a probe, bytes.
const LINE_MAX: u64 = 4_096;
/// Most requests of a run that are kept.
const SAMPLES_MAX: usize = 2_000_000;
/// How much longer than a request may take the last lines of a probe may.
const ENDING: Duration = Duration::from_secs(5);

/// Why there is no load, or no knowing what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The probe was not started.
    #[error("the probe does not run: {0}")]
    NotStarted(SystemError),
    /// The probe ended before it was told to, or told nothing that can be understood.
    #[error("the probe ended before its time: {0}")]
    Ended(String),
    /// More requests than are kept, or than could be told of.
    #[error("{0} requests were sent of which nothing is known")]
    Dropped(u64),
}

#[derive(Debug, Default)]
struct Told {
    samples: Vec<Sample>,
    dropped: u64,
    ended: bool,
}

/// A load under way. Dropping it ends the probe.
pub struct LoadRun {
    origin: Duration,
    timeout: Duration,
    told: Arc<Mutex<Told>>,
    input: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    reader: JoinHandle<Result<(), String>>,
}

impl std::fmt::Debug for LoadRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadRun").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl LoadRun {
    /// Starts a load along an edge from a task, for `lasting` at most. Returns when the first request was answered or
    /// given up.
    ///
    /// # Errors
    /// The probe does not run.
    pub async fn start(
        system: &dyn System,
        task: &TaskId,
        edge: &Edge,
        load: Load,
        lasting: Duration,
    ) -> Result<Self, LoadError> {
        let order = Order {
            host: edge.alias.names.first().cloned().unwrap_or_default(),
            port: edge.alias.port,
            path: edge.path.clone(),
            http2: matches!(edge.alias.protocol.as_str(), "HTTP2" | "GRPC"),
            load,
            lasting: lasting.min(LASTING_MAX),
        };
        let mut order = serde_json::to_vec(&order).map_err(|error| LoadError::Ended(error.to_string()))?;
        order.push(b'\n');
        let program = system.program().map_err(LoadError::NotStarted)?;
        let command = vec![program, "chaos-probe".to_owned()];
        let mut running = system.run(task.clone(), None, command).await.map_err(LoadError::NotStarted)?;
        let sent = async {
            running.input.write_all(&order).await?;
            running.input.flush().await
        };
        let sent = sent.await;
        let (output, exit) = (running.output, running.exit);
        if let Err(error) = sent {
            let why = exit.await.err().map_or_else(|| error.to_string(), |error| error.to_string());
            return Err(LoadError::Ended(why));
        }
        let origin = clock();
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = Arc::clone(&told);
        let mut reader = tokio::spawn(async move {
            let read = read_all(output, &shared, origin).await;
            let ended = shared.lock().unwrap_or_else(PoisonError::into_inner).ended;
            match exit.await {
                _ if ended => Ok(()),
                Err(error) => Err(error.to_string()),
                Ok(Exit { code, stderr }) => {
                    Err(read.err().unwrap_or_else(|| format!("it exited with {code}: {}", stderr.trim())))
                }
            }
        });
        loop {
            if !told.lock().unwrap_or_else(PoisonError::into_inner).samples.is_empty() {
                break;
            }
            let patience = time::sleep(Duration::from_millis(5));
            tokio::select! {
                () = patience => {}
                ended = &mut reader => {
                    let why = ended.unwrap_or_else(|error| Err(error.to_string()));
                    return Err(LoadError::Ended(why.err().unwrap_or_else(|| "it sent nothing".to_owned())));
                }
            }
        }
        Ok(Self { origin, timeout: load.timeout, told, input: Some(running.input), reader })
    }

    /// Now, from the load's beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        clock().saturating_sub(self.origin)
    }

    /// Requests that were due at `from` or later and of which it is known what became of them, in the order in which that
    /// came to be known.
    #[must_use]
    pub fn samples_since(&self, from: Duration) -> Vec<Sample> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // A request is known of at most its limit after it was due: what is far back is not looked at.
        let after = from.saturating_sub(self.timeout + ENDING);
        let begin = told.samples.iter().rposition(|sample| sample.at < after).map_or(0, |at| at + 1);
        told.samples[begin..].iter().filter(|sample| sample.at >= from).cloned().collect()
    }

    /// The last outcome that is known.
    #[must_use]
    pub fn last(&self) -> Option<Outcome> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.samples.last().map(|sample| sample.outcome.clone())
    }

    /// Whether the probe has ended by itself.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.reader.is_finished()
    }

    /// Ends the load: all requests.
    ///
    /// # Errors
    /// The probe ended before its time, or not all is known.
    pub async fn finish(mut self) -> Result<Vec<Sample>, LoadError> {
        drop(self.input.take());
        let limit = self.timeout + ENDING;
        match time::timeout(limit, &mut self.reader).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(why))) => return Err(LoadError::Ended(why)),
            Ok(Err(error)) => return Err(LoadError::Ended(error.to_string())),
            Err(_) => return Err(LoadError::Ended(format!("it did not end within {limit:?}"))),
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.dropped {
            0 => Ok(std::mem::take(&mut told.samples)),
            dropped => Err(LoadError::Dropped(dropped)),
        }
    }
}

impl Drop for LoadRun {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_all(
    mut output: Box<dyn tokio::io::AsyncBufRead + Send + Unpin>,
    told: &Mutex<Told>,
    origin: Duration,
) -> Result<(), String> {
    let mut line = String::new();
    loop {
        line.clear();
        match (&mut output).take(LINE_MAX).read_line(&mut line).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        let read = serde_json::from_str::<Line>(&line);
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(Line::Sample(_)) if told.samples.len() >= SAMPLES_MAX => told.dropped += 1,
            Ok(Line::Sample(sample)) => told.samples.push(sample.sample(origin)),
            Ok(Line::Ended { dropped }) => {
                told.dropped += dropped;
                told.ended = true;
            }
            Err(_) => return Err(format!("it wrote {:?}", line.chars().take(80).collect::<String>())),
        }
    }
}
