//! Our server as others' clients see it: curl and nghttp2's h2load, over TCP.

#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, net::SocketAddr, process::Command, sync::mpsc, thread};

use bowline_http2::{Body, Config, server};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{net::TcpListener, task::LocalSet};

async fn answer(request: Request<Body>) -> Result<Response<Full<Bytes>>, server::Reset> {
    let path = request.uri().path().to_owned();
    let Ok(content) = request.into_body().collect().await else {
        return Err(server::Reset(bowline_http2::Reason::CANCEL));
    };
    let content = content.to_bytes();
    let content = if path == "/echo" { content } else { Bytes::from(vec![b'x'; 100_000]) };
    Ok(Response::new(Full::new(content)))
}

/// Serves until the process ends.
fn serve() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(async move {
                    let (connection, _shutdown) = server::serve(stream, Config::default(), answer);
                    // How a client leaves is its own affair.
                    let _ = connection.await;
                });
            }
            #[expect(unreachable_code, reason = "gives the future its type")]
            Ok::<(), Infallible>(())
        })
    });
    told.recv().unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}: run scripts/install-components");
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_gets_what_it_asks_for() {
    let address = serve();
    let mut command = Command::new("curl");
    command.args(["--silent", "--http2-prior-knowledge", "--max-time", "20"]);
    command.args(["--write-out", " %{http_version} %{http_code}", "--data", "some content"]);
    assert_eq!(run(command.arg(format!("http://{address}/echo"))), "some content 2 200");
}

#[test]
fn h2load_gets_every_answer() {
    let address = serve();
    let mut command = Command::new("h2load");
    command.args(["-n", "3000", "-c", "3", "-m", "100", "-w", "20", "-W", "22"]);
    let told = run(command.arg(format!("http://{address}/")));
    assert!(told.contains("3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
}
