//! Which requests proxies trace.

use bowline_discovery::{resource::Resource, v1};
use bowline_model::sampling::SamplingPolicy;

/// Name of the only resource that says what to sample.
const TRACING: &str = "tracing";

/// What every proxy samples by: the first of the rules that a request matches decides.
pub(crate) fn resource(policy: &SamplingPolicy) -> Resource {
    let rules = policy.rules.iter().map(|rule| v1::SamplingRule {
        name: rule.name.clone(),
        host: rule.host.clone(),
        method: rule.method.clone(),
        path: rule.path.clone(),
        discovery_name: rule.discovery_name.clone(),
        reservoir: rule.reservoir,
        per_million: rule.per_million,
    });
    Resource::Tracing(v1::Tracing { name: TRACING.into(), rules: rules.collect(), failures: policy.failures })
}
