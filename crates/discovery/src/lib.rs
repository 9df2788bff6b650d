//! The stream between Bowline's control plane and its proxies.
//!
//! - [`resource`]: the resource types, as messages ([`v1`]) and as a closed
//!   enum that both sides switch over ([`resource::Resource`]).
//! - [`xds`]: Envoy's delta discovery messages and service.
//! - [`identity`]: the service that turns a token or a certificate into a
//!   fresh certificate.
//! - [`telemetry`]: the service that proxies tell their counters.
//! - [`introspection`]: the service by which the control plane looks into proxies.
//! - [`codec`]: how messages become bytes.
//! - [`text_enum`]: how enumerations are written in `bowline proxy --config`.
//!
//! The Rust under `generated` is committed; `tools/protogen` makes it from
//! `proto`, so that building needs no protoc.

pub mod codec;
pub mod resource;
pub mod text_enum;

/// The resource types' messages.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    include!("generated/bowline.discovery.v1.rs");
}

/// The Identity service.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod identity {
    include!("generated/bowline.identity.v1.rs");

    /// `info` of HPKE in [`FetchResponse`].
    pub const FETCH_PURPOSE: &[u8] = b"bowline fetched certificate";
}

/// The Telemetry service.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod telemetry {
    include!("generated/bowline.telemetry.v1.rs");
}

/// The Introspection service.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod introspection {
    include!("generated/bowline.introspection.v1.rs");
}

/// Envoy's aggregated delta discovery, as far as Bowline speaks it.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod xds {
    include!("generated/envoy.service.discovery.v3.rs");
}

/// OpenTelemetry's protocol (OTLP), as far as it is sent from here.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod opentelemetry {
    pub mod proto {
        pub mod collector {
            pub mod metrics {
                pub mod v1 {
                    include!("generated/opentelemetry.proto.collector.metrics.v1.rs");
                }
            }
            pub mod trace {
                pub mod v1 {
                    include!("generated/opentelemetry.proto.collector.trace.v1.rs");
                }
            }
        }
        pub mod common {
            pub mod v1 {
                include!("generated/opentelemetry.proto.common.v1.rs");
            }
        }
        pub mod metrics {
            pub mod v1 {
                include!("generated/opentelemetry.proto.metrics.v1.rs");
            }
        }
        pub mod resource {
            pub mod v1 {
                include!("generated/opentelemetry.proto.resource.v1.rs");
            }
        }
        pub mod trace {
            pub mod v1 {
                include!("generated/opentelemetry.proto.trace.v1.rs");
            }
        }
    }
}

pub use prost;
pub use prost_types;
pub use tonic;
