//! The side of all other commands.

use std::{io, os::fd::BorrowedFd, path::Path};

use anyhow::{Context, bail};
use bowline_plumbing::fd_message;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::UnixStream,
};

use super::{ANSWER_BYTES_MAX, Request, Response, socket_path, write_line};
use crate::inspection::{Inspect, Inspected};

/// A connection to a running `bowline up`.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the one that holds `state_dir`.
    pub(crate) async fn connect(state_dir: &Path) -> anyhow::Result<Self> {
        let path = socket_path(state_dir);
        match UnixStream::connect(&path).await {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                bail!(
                    "no Bowline runs on the state directory {}: start one with `bowline up TEMPLATE`, or name its \
                     directory with --state-dir",
                    state_dir.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot connect to {}", path.display())),
        }
    }

    /// Runs a command in a task with these as its standard input, output and error. Its exit code.
    pub(crate) async fn exec(
        &mut self,
        request: &Request,
        stdio: [BorrowedFd<'_>; 3],
    ) -> anyhow::Result<i32> {
        let Response::Ready = self.call(request).await? else {
            bail!("Bowline gave another answer than was asked for");
        };
        fd_message::send(self.stream.get_ref(), &(), &stdio)?;
        match self.response().await? {
            Response::Exited { exit_code } => Ok(exit_code),
            _ => bail!("Bowline gave another answer than was asked for"),
        }
    }

    /// Asks, and turns an error answer into an error.
    pub(crate) async fn call(&mut self, request: &Request) -> anyhow::Result<Response> {
        write_line(self.stream.get_mut(), request).await?;
        self.response().await
    }

    /// Asks what bears on proxies.
    pub(crate) async fn inspect(&mut self, asked: Inspect) -> anyhow::Result<Inspected> {
        match self.call(&Request::Inspect(asked)).await? {
            Response::Inspected(answer) => Ok(answer),
            _ => bail!("Bowline gave another answer than was asked for"),
        }
    }

    async fn response(&mut self) -> anyhow::Result<Response> {
        let mut line = String::new();
        let count = (&mut self.stream).take(ANSWER_BYTES_MAX).read_line(&mut line).await?;
        if count == 0 {
            bail!("Bowline ended before it answered");
        }
        match serde_json::from_str(&line)? {
            Response::Error { message } => bail!(message),
            response => Ok(response),
        }
    }

    /// Returns when the other side has ended.
    pub(crate) async fn closed(mut self) {
        let mut rest = Vec::new();
        // An error ends the connection like its end does.
        let _ = (&mut self.stream).take(ANSWER_BYTES_MAX).read_to_end(&mut rest).await;
    }
}
