//! Our client and our server.

use std::rc::Rc;

use bowline_http2::{Body, Config, Error, Reason, client, server};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;

use crate::{
    exchange::{Ending, Exchange, Scripted},
    pipe::Choppy,
};

fn config() -> Config {
    // Small, so that windows matter.
    Config { stream_window: 70_000, connection_window: 100_000, ..Config::default() }
}

async fn read(mut body: Body) -> Result<(Vec<u8>, Option<HeaderMap>), Error> {
    let (mut content, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => content.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((content, trailers))
}

pub(crate) async fn ask(io: Choppy, plan: Rc<[Exchange]>) {
    let (sender, driver) = client::handshake(io, config());
    let driver = tokio::task::spawn_local(driver);
    // Before that there is no limit, and a server may refuse what is over its own.
    while !sender.is_settled() {
        tokio::task::yield_now().await;
    }
    let mut asking = Vec::new();
    for number in 0..plan.len() {
        let (sender, plan) = (sender.clone(), Rc::clone(&plan));
        asking.push(tokio::task::spawn_local(async move {
            let Exchange { request, response, ending } = &plan[number];
            let asked = request.request(number).map(|()| request.body(number));
            let future = sender.try_send_request(asked);
            if *ending == Ending::Cancelled {
                tokio::task::yield_now().await;
                return;
            }
            let answer = match future.await {
                Ok(answer) => answer,
                Err(error) => {
                    assert_eq!(*ending, Ending::Reset, "{error:?}");
                    assert_eq!(error.error().remote_reason(), Some(Reason::HTTP_1_1_REQUIRED));
                    return;
                }
            };
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
    assert_eq!(sender.in_flight(), 0);
    assert!(!sender.is_closed());
    drop(sender);
    driver.await.unwrap().unwrap();
}

async fn answer(request: Request<Body>, plan: Rc<[Exchange]>) -> Result<Response<Scripted>, server::Reset> {
    let number: usize = request.uri().path()[1..].parse().unwrap();
    let Exchange { request: asked, response, ending } = &plan[number];
    asked.check(request.headers());
    match read(request.into_body()).await {
        Ok((content, trailers)) => asked.check_content(number, &content, trailers.as_ref()),
        Err(_) => assert!(matches!(ending, Ending::Dropped | Ending::Cancelled), "{ending:?}"),
    }
    match ending {
        Ending::Reset => Err(server::Reset(Reason::HTTP_1_1_REQUIRED)),
        _ => Ok(response.response().map(|()| response.body(number + 1))),
    }
}

pub(crate) async fn serve(io: Choppy, plan: Rc<[Exchange]>) {
    let (connection, _shutdown) =
        server::serve(io, config(), move |request| answer(request, Rc::clone(&plan)));
    // The client may go away without a word.
    let _ = connection.await;
}
