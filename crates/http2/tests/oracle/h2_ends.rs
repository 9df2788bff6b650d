//! The client and the server of the `h2` crate.

use std::{collections::VecDeque, future::poll_fn, rc::Rc};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http_body::Frame;

use crate::{
    exchange::{Ending, Exchange, Message},
    pipe::Choppy,
};

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut content = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        content.extend_from_slice(&data);
    }
    Ok((content, body.trailers().await?))
}

/// Sends all that the message has; an error says that the peer does not want it.
async fn write(mut stream: SendStream<Bytes>, message: &Message, seed: usize) -> Result<(), h2::Error> {
    let mut frames: VecDeque<Frame<Bytes>> = message.body(seed).frames;
    while let Some(frame) = frames.pop_front() {
        if message.pauses {
            tokio::task::yield_now().await;
        }
        match frame.into_data() {
            Ok(mut data) => {
                while !data.is_empty() {
                    stream.reserve_capacity(data.len());
                    let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return Ok(()) };
                    let piece = data.split_to(room?.min(data.len()));
                    stream.send_data(piece, false)?;
                }
            }
            Err(frame) => return stream.send_trailers(frame.into_trailers().unwrap()),
        }
    }
    stream.send_data(Bytes::new(), true)
}

pub(crate) async fn ask(io: Choppy, plan: Rc<[Exchange]>) {
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    let driver = tokio::task::spawn_local(connection);
    let mut asking = Vec::new();
    for number in 0..plan.len() {
        let (sender, plan) = (sender.clone(), Rc::clone(&plan));
        asking.push(tokio::task::spawn_local(async move {
            let Exchange { request, response, ending } = &plan[number];
            let mut sender = sender.ready().await.unwrap();
            let (answer, stream) = sender.send_request(request.request(number), false).unwrap();
            drop(sender);
            if *ending == Ending::Cancelled {
                tokio::task::yield_now().await;
                return;
            }
            let (answer, written) = tokio::join!(answer, write(stream, request, number));
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    assert_eq!(*ending, Ending::Reset, "{error:?}");
                    assert_eq!(error.reason(), Some(Reason::HTTP_1_1_REQUIRED));
                    return;
                }
            };
            written.unwrap();
            assert_ne!(*ending, Ending::Reset);
            response.check(answer.headers());
            if *ending == Ending::Well {
                let (content, trailers) = read(answer.into_body()).await.unwrap();
                response.check_content(number + 1, &content, trailers.as_ref());
            }
        }));
    }
    for asking in asking {
        asking.await.unwrap();
    }
    drop(sender);
    driver.await.unwrap().unwrap();
}

pub(crate) async fn serve(io: Choppy, plan: Rc<[Exchange]>) {
    let mut builder = h2::server::Builder::new();
    let mut connection = builder
        .initial_window_size(70_000)
        .max_concurrent_streams(5)
        .handshake::<_, Bytes>(io)
        .await
        .unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let plan = Rc::clone(&plan);
        tokio::task::spawn_local(async move {
            let number: usize = request.uri().path()[1..].parse().unwrap();
            let Exchange { request: asked, response, ending } = &plan[number];
            asked.check(request.headers());
            match read(request.into_body()).await {
                Ok((content, trailers)) => asked.check_content(number, &content, trailers.as_ref()),
                Err(_) => {
                    assert!(matches!(ending, Ending::Dropped | Ending::Cancelled), "{ending:?}");
                    return;
                }
            }
            if *ending == Ending::Reset {
                respond.send_reset(Reason::HTTP_1_1_REQUIRED);
                return;
            }
            let Ok(stream) = respond.send_response(response.response(), false) else { return };
            let written = write(stream, response, number + 1).await;
            assert!(written.is_ok() || *ending != Ending::Well, "{written:?}");
        });
    }
}
