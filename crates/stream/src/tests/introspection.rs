//! The Introspection service over real connections.

use bowline_discovery::introspection::{
    FromProxy, Hello, LogLevelSet, ToProxy, from_proxy::Report, introspection_client::IntrospectionClient,
    to_proxy::Order,
};

use super::*;

struct Stream {
    reports: mpsc::Sender<FromProxy>,
    orders: Streaming<ToProxy>,
}

async fn open(channel: Channel) -> Result<Stream, Status> {
    let (reports, receiver) = mpsc::channel(4);
    let mut client = IntrospectionClient::new(channel);
    let call = client.introspect(ReceiverStream::new(receiver));
    let orders = timeout(PATIENCE, call).await.expect("in time")?.into_inner();
    Ok(Stream { reports, orders })
}

impl Stream {
    async fn tell(&self, report: Report) {
        self.reports.send(FromProxy { report: Some(report) }).await.expect("the stream stands");
    }

    async fn order(&mut self) -> Result<Option<ToProxy>, Status> {
        timeout(PATIENCE, self.orders.message()).await.expect("in time")
    }
}

#[tokio::test]
async fn a_proxy_that_says_who_it_is_is_asked_and_answers_for_its_own_task() {
    let fixture = start();
    let mut one = open(fixture.connect_as(A).await).await.expect("a stream");
    one.tell(Report::Hello(Hello { version: "1.2.3".into(), started_ms: 7 })).await;
    let known = || fixture.directory.introspection.processes();
    timeout(PATIENCE, async {
        while known().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("known in time");
    assert_eq!(known()[&task(A)].version, "1.2.3");
    let (a, directory) = (task(A), Arc::clone(&fixture.directory));
    let asking = tokio::spawn(async move {
        directory.introspection.set_log_level(&a, "debug", Duration::from_secs(1)).await
    });
    let order = one.order().await.expect("the stream stands").expect("an order");
    let Some(Order::LogLevel(order)) = order.order else { panic!("{order:?}") };
    let set = LogLevelSet { id: order.id, filter: "bowline=debug".into(), ..LogLevelSet::default() };
    one.tell(Report::LogLevel(set)).await;
    assert_eq!(asking.await.expect("no panic").expect("answered").filter, "bowline=debug");
    drop(one);
    timeout(PATIENCE, async {
        while !known().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("forgotten with its stream");
}

#[tokio::test]
async fn nobody_is_asked_without_a_certificate_of_a_living_task_or_a_word_of_who_it_is() {
    let fixture = start();
    let refused = |code: Code, result: Result<Stream, Status>| {
        assert_eq!(result.err().map(|status| status.code()), Some(code));
    };
    refused(Code::Unauthenticated, open(fixture.connect(None).await).await);
    refused(Code::PermissionDenied, open(fixture.connect_as("spiffe://test/unknown").await).await);
    let mut mute = open(fixture.connect_as(A).await).await.expect("a stream");
    mute.tell(Report::LogLevel(LogLevelSet::default())).await;
    assert_eq!(mute.order().await.expect_err("refused").code(), Code::InvalidArgument);
    assert!(fixture.directory.introspection.processes().is_empty());
}
