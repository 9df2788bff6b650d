//! Why a control plane does not start, or its AWS endpoint is not served.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

use super::{LogStoreError, MetricStoreError, TraceStoreError};
use crate::{
    api::tls::EndpointTlsError, audit::AuditError, authorities::AuthoritiesError, master_key::MasterKeyError,
    registry::RegistryError, state_lock::StateLockError, store::StoreError,
};

/// Why a control plane does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another process holds the state directory.
    #[error(transparent)]
    Lock(#[from] StateLockError),
    /// The store cannot be opened.
    #[error("the store in {} cannot be opened", .path.display())]
    Store {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The master key is missing, unreadable or another one.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The master key cannot be tried.
    #[error("the master key cannot be tried")]
    Canary(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The audit trail is not as it was written. It is left as it is.
    #[error(
        "nothing is started on an audit trail that was tampered with: move the directory {} away, as evidence, \
         and start again to begin another trail", .dir.display()
    )]
    AuditTampered {
        /// The trail's directory.
        dir: PathBuf,
        /// What was found, and where.
        source: AuditError,
    },
    /// The audit trail cannot be opened, so calls could not be recorded.
    #[error("the audit trail in {} cannot be opened", .dir.display())]
    Audit {
        /// The trail's directory.
        dir: PathBuf,
        /// Why.
        source: AuditError,
    },
    /// Metrics cannot be kept.
    #[error(transparent)]
    Metrics(#[from] MetricStoreError),
    /// Traces cannot be kept.
    #[error(transparent)]
    Traces(#[from] TraceStoreError),
    /// Logs cannot be kept.
    #[error(transparent)]
    Logs(#[from] LogStoreError),
    /// A certificate authority cannot be made or opened.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The DNS server cannot be started.
    #[error("the DNS server cannot listen on {addresses}")]
    Dns {
        /// Where it should.
        addresses: String,
        /// Why.
        source: io::Error,
    },
    /// X-Ray's daemon cannot listen.
    #[error("X-Ray's daemon cannot listen on {address}")]
    XrayDaemon {
        /// Where it should.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The stream's servers cannot listen.
    #[error("cannot listen for proxies on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Why the AWS endpoint is not served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Others could reach it, and read along.
    #[error("the AWS endpoint on {0} needs TLS: only on loopback does it speak plaintext")]
    Plaintext(SocketAddr),
    /// It has no certificate.
    #[error(transparent)]
    Tls(#[from] EndpointTlsError),
    /// The listener cannot be used.
    #[error("the AWS endpoint's socket cannot be used")]
    Listener(#[from] io::Error),
}
