//! A command within a task, its standard streams in this process's hands.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use bowline_chaos::system::{Exit, Running, SystemError};
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::unix::pipe::{Receiver, Sender},
    task::JoinHandle,
};

use crate::local_api::{Client, Request};

/// How much of what a command wrote to standard error last is kept, bytes.
const STDERR_MAX: usize = 4 * 1024;

/// Starts what an [`Request::Exec`] asks for.
pub(crate) async fn start(state_dir: &Path, request: Request) -> anyhow::Result<Running> {
    let mut client = Client::connect(state_dir).await?;
    let (stdin, input) = std::io::pipe()?;
    let (output, stdout) = std::io::pipe()?;
    let (errors, stderr) = std::io::pipe()?;
    let input = Sender::from_owned_fd(OwnedFd::from(input))?;
    let output = Receiver::from_owned_fd(OwnedFd::from(output))?;
    let errors = tokio::spawn(tail(Receiver::from_owned_fd(OwnedFd::from(errors))?));
    // The task's ends are closed here when the command is over: until then they would keep the readers waiting.
    let under_way = tokio::spawn(async move {
        let (stdin, stdout, stderr) = (stdin, stdout, stderr);
        client.exec(&request, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).await
    });
    let under_way = AbortOnDrop(under_way);
    let exit = async move {
        match under_way.await {
            Ok(Ok(code)) => Ok(Exit { code, stderr: errors.await.unwrap_or_default() }),
            Ok(Err(error)) => Err(SystemError::new(format!("{error:#}"))),
            Err(error) => Err(SystemError::new(error.to_string())),
        }
    };
    Ok(Running { input: Box::new(input), output: Box::new(BufReader::new(output)), exit: Box::pin(exit) })
}

/// The last of what comes.
async fn tail(mut errors: Receiver) -> String {
    let mut kept = Vec::new();
    let mut part = [0; 1024];
    while let Ok(count @ 1..) = errors.read(&mut part).await {
        kept.extend_from_slice(&part[..count]);
        if let Some(over) = kept.len().checked_sub(STDERR_MAX) {
            kept.drain(..over);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// A task that ends with who waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
