//! Tells the control plane of spans: in batches, at least once, numbered so that what is told twice is kept once.

use std::{sync::Arc, time::Duration};

use bowline_discovery::{
    telemetry::{ReportAck, telemetry_client::TelemetryClient},
    tonic::{self, Streaming},
};
use bowline_model::trace::BATCH_MAX;
use bowline_plumbing::backoff::Backoff;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{EndedSpan, queue::Backlog};
use crate::{
    certificates::chain_text,
    control_plane::{ControlPlane, ControlPlaneError},
    shared::Shared,
};

/// Longest time that a span waits for others to go with it.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last batches of a proxy that ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Tells spans for as long as the process lives.
pub(crate) struct SpanSender {
    control_plane: ControlPlane,
    backlog: Backlog,
    handed: mpsc::Receiver<Box<EndedSpan>>,
}

impl SpanSender {
    /// One that takes a proxy's spans. `None` if somebody does already.
    pub(crate) fn of(control_plane: ControlPlane, shared: &Arc<Shared>) -> Option<Self> {
        let handed = shared.spans.open()?;
        Some(Self { control_plane, backlog: Backlog::new(Arc::clone(&shared.metrics)), handed })
    }

    /// Until `ending` is told, and the last batch has been taken or has had its time.
    pub(crate) async fn run(self, mut certified: watch::Receiver<bool>, mut ending: watch::Receiver<bool>) {
        let Self { control_plane, backlog, mut handed } = self;
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
        let telling = async {
            while certified.wait_for(|certified| *certified).await.is_ok() {
                match follow(&control_plane, &backlog, &mut backoff, false).await {
                    Ok(()) => tracing::debug!("the control plane closed the stream of spans"),
                    // The stream of resources has said as much, louder.
                    Err(error) => tracing::debug!(error = %chain_text(&error), "spans wait"),
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        };
        tokio::select! {
            () = collect(&mut handed, &backlog) => {}
            () = telling => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        while let Ok(span) = handed.try_recv() {
            backlog.push(std::iter::once(span.told()));
        }
        if backlog.next().is_none() {
            return;
        }
        match timeout(LAST_WORDS, follow(&control_plane, &backlog, &mut backoff, true)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(error = %chain_text(&error), "the last spans were not told"),
            Err(_) => tracing::info!("the last spans were not told in time"),
        }
    }
}

/// Makes text of what workers hand over.
async fn collect(handed: &mut mpsc::Receiver<Box<EndedSpan>>, backlog: &Backlog) {
    let mut spans = Vec::with_capacity(BATCH_MAX);
    while handed.recv_many(&mut spans, BATCH_MAX).await > 0 {
        backlog.push(spans.drain(..).map(|span| span.told()));
    }
}

/// One stream: until it ends, or, if these are the `last` ones, until there is nothing more to tell.
async fn follow(
    control_plane: &ControlPlane,
    backlog: &Backlog,
    backoff: &mut Backoff,
    last: bool,
) -> Result<(), ControlPlaneError> {
    let mut client = TelemetryClient::new(control_plane.channel(true)?);
    let (batches, outgoing) = mpsc::channel(1);
    let opened = timeout(ACK_TIMEOUT, client.trace(ReceiverStream::new(outgoing)));
    let opened = opened.await.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no stream of spans")));
    let mut acks = opened?.into_inner();
    loop {
        let Some(batch) = backlog.next() else {
            if last {
                return Ok(());
            }
            wait(backlog, &mut acks).await?;
            continue;
        };
        let sequence = batch.sequence;
        if batches.send(batch).await.is_err() {
            return Ok(());
        }
        let ack = acknowledgement(&mut acks, sequence).await.inspect_err(|status| {
            // Told again they would be refused again, and all that come after them never told.
            if matches!(status.code(), tonic::Code::InvalidArgument | tonic::Code::OutOfRange) {
                tracing::warn!(%status, "the control plane refuses spans: they are lost");
                backlog.give_up();
            }
        })?;
        backlog.acknowledged(ack.sequence);
        backoff.reset();
        if !last && !backlog.is_full() {
            wait(backlog, &mut acks).await?;
        }
    }
}

/// Until there is a whole batch, or a while is over, or the stream.
async fn wait(backlog: &Backlog, acks: &mut Streaming<ReportAck>) -> Result<(), ControlPlaneError> {
    tokio::select! {
        () = tokio::time::sleep(INTERVAL) => Ok(()),
        () = backlog.full.notified() => Ok(()),
        // Nobody has asked for that: the stream has ended.
        ended = acks.message() => {
            ended?;
            Err(tonic::Status::unavailable("the stream of spans ended").into())
        }
    }
}

async fn acknowledgement(acks: &mut Streaming<ReportAck>, sequence: u64) -> Result<ReportAck, tonic::Status> {
    let waiting = async {
        loop {
            match acks.message().await? {
                Some(ack) if ack.sequence >= sequence => return Ok(ack),
                Some(_) => {}
                None => return Err(tonic::Status::unavailable("the stream of spans ended")),
            }
        }
    };
    timeout(ACK_TIMEOUT, waiting)
        .await
        .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("spans were not acknowledged in time")))
}
