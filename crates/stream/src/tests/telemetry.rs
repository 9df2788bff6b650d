//! The Telemetry service over real connections.

use bowline_discovery::telemetry::{ReportAck, telemetry_client::TelemetryClient};

use super::*;

struct Reports {
    reports: mpsc::Sender<MetricReport>,
    acks: Streaming<ReportAck>,
}

async fn open(channel: Channel) -> Result<Reports, Status> {
    let (reports, receiver) = mpsc::channel(4);
    let mut client = TelemetryClient::new(channel);
    let call = client.report(ReceiverStream::new(receiver));
    let acks = timeout(PATIENCE, call).await.expect("in time")?.into_inner();
    Ok(Reports { reports, acks })
}

impl Reports {
    async fn tell(&mut self, sequence: u64) -> Result<Option<ReportAck>, Status> {
        let report = MetricReport { process: vec![1], sequence, ..MetricReport::default() };
        self.reports.send(report).await.expect("the stream stands");
        timeout(PATIENCE, self.acks.message()).await.expect("in time")
    }
}

#[tokio::test]
async fn a_report_is_its_certificates_tasks_and_is_acknowledged() {
    let fixture = start();
    let mut one = open(fixture.connect_as(A).await).await.expect("a stream");
    let mut other = open(fixture.connect_as(B).await).await.expect("a stream");
    for sequence in 1..=3 {
        let ack = one.tell(sequence).await.expect("it is taken").expect("an answer");
        assert_eq!((ack.sequence, ack.interval_ms), (sequence, 1_000));
    }
    other.tell(9).await.expect("it is taken").expect("an answer");
    let told: Vec<_> = fixture.directory.reports.lock().expect("nothing panicked").clone();
    let told: Vec<_> = told.into_iter().map(|(task, report)| (task, report.sequence)).collect();
    assert_eq!(told, [(task(A), 1), (task(A), 2), (task(A), 3), (task(B), 9)]);
}

#[tokio::test]
async fn nobody_reports_without_a_certificate_of_a_living_task() {
    let fixture = start();
    let refused = |code: Code, result: Result<Reports, Status>| {
        assert_eq!(result.err().map(|status| status.code()), Some(code));
    };
    refused(Code::Unauthenticated, open(fixture.connect(None).await).await);
    refused(Code::PermissionDenied, open(fixture.connect_as("spiffe://test/unknown").await).await);
    // Nor does one whose task ends under way.
    let mut one = open(fixture.connect_as(A).await).await.expect("a stream");
    one.tell(1).await.expect("it is taken");
    fixture.directory.change(|world| drop(world.tasks.remove(A)));
    assert_eq!(one.tell(2).await.expect_err("the task is over").code(), Code::PermissionDenied);
    assert_eq!(fixture.directory.reports.lock().expect("nothing panicked").len(), 1);
}

#[tokio::test]
async fn what_is_no_report_ends_the_stream() {
    let fixture = start();
    let mut one = open(fixture.connect_as(A).await).await.expect("a stream");
    assert_eq!(one.tell(0).await.expect_err("it has no number").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_drain_ends_streams_of_reports() {
    let fixture = start();
    let mut one = open(fixture.connect_as(A).await).await.expect("a stream");
    one.tell(1).await.expect("it is taken");
    let Fixture { trigger, .. } = fixture;
    let _draining = tokio::spawn(trigger.drain());
    let ended = timeout(PATIENCE, one.acks.message()).await.expect("in time");
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
}

struct Batches {
    batches: mpsc::Sender<SpanBatch>,
    acks: Streaming<ReportAck>,
}

async fn trace(channel: Channel) -> Result<Batches, Status> {
    let (batches, receiver) = mpsc::channel(4);
    let mut client = TelemetryClient::new(channel);
    let call = client.trace(ReceiverStream::new(receiver));
    let acks = timeout(PATIENCE, call).await.expect("in time")?.into_inner();
    Ok(Batches { batches, acks })
}

impl Batches {
    async fn tell(&mut self, sequence: u64) -> Result<Option<ReportAck>, Status> {
        let batch = SpanBatch { process: vec![1], sequence, ..SpanBatch::default() };
        self.batches.send(batch).await.expect("the stream stands");
        timeout(PATIENCE, self.acks.message()).await.expect("in time")
    }
}

#[tokio::test]
async fn spans_are_their_certificates_tasks_and_what_is_none_ends_the_stream() {
    let fixture = start();
    let refused = trace(fixture.connect(None).await).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::Unauthenticated));
    let mut one = trace(fixture.connect_as(A).await).await.expect("a stream");
    let mut other = trace(fixture.connect_as(B).await).await.expect("a stream");
    for sequence in [1, 2] {
        let ack = one.tell(sequence).await.expect("it is taken").expect("an answer");
        assert_eq!((ack.sequence, ack.interval_ms), (sequence, 0));
    }
    other.tell(7).await.expect("it is taken").expect("an answer");
    let told = fixture.directory.spans.lock().expect("nothing panicked").clone();
    let told: Vec<_> = told.into_iter().map(|(task, batch)| (task, batch.sequence)).collect();
    assert_eq!(told, [(task(A), 1), (task(A), 2), (task(B), 7)]);
    assert_eq!(one.tell(0).await.expect_err("it has no number").code(), Code::InvalidArgument);
    fixture.directory.change(|world| drop(world.tasks.remove(B)));
    assert_eq!(other.tell(8).await.expect_err("the task is over").code(), Code::PermissionDenied);
}
