//! Which requests proxies trace.

use bowline_discovery::{resource::Resource, v1};

use crate::{registry::Registry, xray::sampling};

/// Name of the only resource that says what to sample.
const TRACING: &str = "tracing";

/// What every proxy samples by: X-Ray's rules, of which the first that a request matches decides. Calls that failed are
/// told of in any case.
pub(crate) fn resource(registry: &Registry) -> Resource {
    Resource::Tracing(v1::Tracing {
        name: TRACING.into(),
        rules: sampling::published(registry),
        failures: true,
    })
}
