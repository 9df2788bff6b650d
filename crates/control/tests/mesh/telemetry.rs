//! Proxies report what they counted, over the connections of their certificates.

use std::time::Duration;

use bowline_control::telemetry::Side;
use bowline_discovery::telemetry::{
    MetricReport, Security as WireSecurity, SeriesIncrement, Side as WireSide,
    telemetry_client::TelemetryClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{LIMIT, Mesh};

/// As a proxy tells of `count` calls of `name` that went well.
fn report(sequence: u64, name: &str, count: u64) -> MetricReport {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let until_ms = u64::try_from(now.as_millis()).expect("before the year 584,000,000");
    let row = SeriesIncrement {
        side: WireSide::Outbound.into(),
        security: WireSecurity::MutualTls.into(),
        discovery_name: name.into(),
        responses: vec![0, 0, count, 0, 0, 0],
        ..SeriesIncrement::default()
    };
    let (process, from_ms) = (vec![7], until_ms - 1_000);
    MetricReport { process, sequence, from_ms, until_ms, series: vec![row], access_log_dropped: 0 }
}

/// Tells the reports one after another, over one stream; the last acknowledged.
async fn tell(channel: Channel, reports: Vec<MetricReport>) -> u64 {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = TelemetryClient::new(channel);
    let mut acks = client.report(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
    let mut last = 0;
    for report in reports {
        sender.send(report).await.expect("the stream stands");
        let ack = tokio::time::timeout(LIMIT, acks.message()).await.expect("in time").expect("it is taken");
        last = ack.expect("an answer").sequence;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_told_of_the_service_whose_certificate_it_came_with() {
    let state = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(state.path(), 1).await;
    let services = ["service-a", "service-b"];
    for service in services {
        let task = mesh.tasks_of(service).remove(0);
        let credentials = mesh.by_token(&task).await.expect("a certificate");
        // Both say the very same; the second one repeats itself over another stream.
        let told =
            tell(mesh.place.channel(Some(&credentials)), vec![report(1, "x", 5), report(2, "x", 7)]).await;
        assert_eq!(told, 2);
        let told = tell(mesh.place.channel(Some(&credentials)), vec![report(2, "x", 7)]).await;
        assert_eq!(told, 2, "it is acknowledged, and counts once");
    }
    let view = mesh.control.telemetry_view(Duration::from_secs(60));
    let edges: Vec<_> = view
        .edges
        .iter()
        .map(|view| (view.edge.workload.name.as_str(), view.edge.side, view.responses[2], view.success_rate))
        .collect();
    let expected = services.map(|service| (service, Side::Outbound, 12, Some(1.0)));
    assert_eq!(edges, expected);
    mesh.stop().await;
}
