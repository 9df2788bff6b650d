//! What is called on a connection: resources by the thread that serves it, all else by the control plane's own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_discovery::{
    identity::identity_server::IdentityServer, introspection::introspection_server::IntrospectionServer,
    telemetry::telemetry_server::TelemetryServer,
};
use bowline_http2::{Body, Reason, server::Reset};
use bowline_plumbing::drain::DrainWatch;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tokio::{runtime::Handle, task::JoinSet};
use tonic::{Status, service::Routes};
use tower::ServiceExt as _;

use self::{
    discovery::DiscoveryService, identity::IdentityService, introspection::IntrospectionService,
    telemetry::TelemetryService,
};
use crate::{MESSAGE_BYTES_MAX, connection::Connection, directory::Directory, relay, responses::Responses};

pub(crate) mod discovery;
mod identity;
mod introspection;
mod telemetry;

/// All of them.
#[derive(Clone)]
pub(crate) struct Services {
    discovery: DiscoveryService,
    others: Routes,
    /// Where the others run: they write to the store, and read a lot.
    runtime: Handle,
}

/// What a call is answered with.
pub(crate) enum Answer {
    /// Resources.
    Responses(Responses),
    /// What another service answers.
    Other(tonic::body::Body),
}

impl Services {
    /// The services of a directory, within a tokio runtime.
    pub(crate) fn new(directory: &Arc<dyn Directory>, drain: &DrainWatch) -> Self {
        let (directory, drain) = (|| Arc::clone(directory), || drain.clone());
        let discovery = DiscoveryService { directory: directory(), drain: drain() };
        let telemetry = TelemetryServer::new(TelemetryService { directory: directory(), drain: drain() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let introspection =
            IntrospectionServer::new(IntrospectionService { directory: directory(), drain: drain() })
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let identity = IdentityServer::new(IdentityService { directory: directory() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let others = Routes::new(identity).add_service(telemetry).add_service(introspection).prepare();
        Self { discovery, others, runtime: Handle::current() }
    }

    /// Answers a call of a connection.
    pub(crate) async fn call(
        self,
        connection: Arc<Connection>,
        mut request: Request<Body>,
    ) -> Result<Response<Answer>, Reset> {
        if request.uri().path() == DiscoveryService::DELTA {
            let opened = self.discovery.open(connection, request.into_body());
            return Ok(match opened {
                Ok(responses) => responses.into_http().map(Answer::Responses),
                Err(status) => status.into_http().map(Answer::Other),
            });
        }
        request.extensions_mut().insert(connection);
        // One that its client gives up is not answered any further: a set's tasks end with it.
        let mut answering = JoinSet::new();
        answering.spawn_on(self.others.oneshot(request.map(relay::sendable)), &self.runtime);
        match answering.join_next().await {
            Some(Ok(Ok(response))) => Ok(response.map(Answer::Other)),
            // It has panicked, or the runtime stops.
            _ => Err(Reset(Reason::INTERNAL_ERROR)),
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Self::Responses(responses) => responses.poll_next(context).map(|frame| frame.map(Ok)),
            Self::Other(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Responses(responses) => responses.is_over(),
            Self::Other(body) => body.is_end_stream(),
        }
    }
}
