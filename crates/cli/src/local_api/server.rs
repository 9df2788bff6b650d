//! The side of `bowline up`.

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use bowline_model::task::TaskId;
use bowline_plumbing::fd_message;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::{UnixListener, UnixStream},
};

use super::{ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, Request, Response, Stdio, socket_path, write_line};

/// Answers requests for as long as the returned guard lives.
pub(crate) fn serve<H, F>(state_dir: &Path, handler: H) -> anyhow::Result<Server>
where
    H: Fn(Request, Option<Stdio>) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let path = socket_path(state_dir);
    // Whoever left it is gone: the state directory's lock is ours.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let handler = Arc::new(handler);
    let acceptor = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            connections.spawn(answer(stream, Arc::clone(&handler)));
        }
    });
    Ok(Server { path, acceptor })
}

/// Keeps the local API open; dropping it removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    acceptor: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer<H, F>(stream: UnixStream, handler: Arc<H>)
where
    H: Fn(Request, Option<Stdio>) -> F,
    F: Future<Output = Response>,
{
    let mut diverted = BTreeSet::new();
    answer_each(stream, &*handler, &mut diverted).await;
    // Whoever has led sidecars elsewhere is gone, killed perhaps, and what stood there with it.
    for (task, cluster) in diverted {
        handler(Request::EndDivert { task, cluster }, None).await;
    }
}

/// Answers one request after the other. What is left of `diverted` at the end has not been ended.
async fn answer_each<H, F>(stream: UnixStream, handler: &H, diverted: &mut BTreeSet<(TaskId, String)>)
where
    H: Fn(Request, Option<Stdio>) -> F,
    F: Future<Output = Response>,
{
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        match (&mut stream).take(REQUEST_BYTES_MAX).read_line(&mut line).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        let request = serde_json::from_str(&line);
        match &request {
            Ok(Request::Divert { task, cluster, .. }) => {
                diverted.insert((task.clone(), cluster.clone()));
            }
            Ok(Request::EndDivert { task, cluster }) => {
                diverted.remove(&(task.clone(), cluster.clone()));
            }
            _ => {}
        }
        let response = match request {
            Ok(request @ Request::Exec { .. }) => match receive_stdio(&mut stream).await {
                Ok(stdio) => handler(request, Some(stdio)).await,
                Err(error) => {
                    Response::Error { message: format!("no standard input and output came: {error}") }
                }
            },
            Ok(request) => handler(request, None).await,
            Err(error) => Response::Error { message: format!("the request cannot be read: {error}") },
        };
        if write_answer(stream.get_mut(), &response).await.is_err() {
            return;
        }
    }
}

/// What is longer than who has asked would read is not sent: half of it could not be read.
async fn write_answer(stream: &mut UnixStream, response: &Response) -> io::Result<()> {
    let json = serde_json::to_vec(response)?;
    if json.len() as u64 >= ANSWER_BYTES_MAX {
        let message =
            format!("the answer is too long, {} MiB: ask for less, by naming services", json.len() >> 20);
        return write_line(stream, &Response::Error { message }).await;
    }
    stream.write_all(&json).await?;
    stream.write_all(b"\n").await
}

/// Asks for the descriptors of a command and takes them. Nothing is sent before it was asked for,
/// so nothing of theirs can have been read ahead.
async fn receive_stdio(stream: &mut BufReader<UnixStream>) -> io::Result<Stdio> {
    write_line(stream.get_mut(), &Response::Ready).await?;
    let socket = stream.get_ref();
    loop {
        socket.readable().await?;
        let received = socket.try_io(Interest::READABLE, || fd_message::receive::<()>(socket));
        match received {
            Ok(Some(((), fds))) => {
                return fds.try_into().map_err(|_| io::Error::other("three descriptors are needed"));
            }
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use tokio::sync::mpsc;

    use super::*;
    use crate::local_api::Client;

    #[tokio::test]
    async fn whoever_goes_leaves_no_sidecar_led_elsewhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let (asked, mut requests) = mpsc::unbounded_channel();
        let _server = serve(directory.path(), move |request, _| {
            let _ = asked.send(request);
            std::future::ready(Response::Done)
        })
        .expect("serves");
        let mut client = Client::connect(directory.path()).await.expect("connects");
        let task = TaskId::from_random([7; 16]);
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        for cluster in ["ended", "left"] {
            let divert = Request::Divert { task: task.clone(), cluster: cluster.into(), to, seconds: 15 };
            client.call(&divert).await.expect("led");
        }
        client.call(&Request::EndDivert { task, cluster: "ended".into() }).await.expect("led back");
        drop(client);
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let request = tokio::time::timeout(Duration::from_secs(10), requests.recv()).await;
            if let Request::EndDivert { cluster, .. } = request.expect("in time").expect("open") {
                ended.push(cluster);
            }
        }
        assert_eq!(ended, ["ended", "left"]);
        assert!(requests.try_recv().is_err());
    }
}
