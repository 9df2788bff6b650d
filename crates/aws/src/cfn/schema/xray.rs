//! X-Ray's types.

use super::shape::{INT, JSON, NUM, STR, Shape, TAG, list, map, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::records;

/// `SamplingRuleRecord` and `SamplingRuleUpdate` are of AWS's older way to say the same, and are recorded.
const RULE: Shape = object(&[
    optional("Attributes", map(&STR.len(1, 32))),
    required("FixedRate", NUM.range(0.0, 1.0)),
    required("HTTPMethod", STR.len(0, 10)),
    required("Host", STR.len(0, 64)),
    required("Priority", INT.range(1.0, 9999.0)),
    required("ReservoirSize", INT.range(0.0, f64::MAX)),
    required("ResourceARN", STR.len(0, 500)),
    optional("RuleARN", STR),
    optional("RuleName", STR.len(1, 32)),
    optional("SamplingRateBoost", JSON),
    required("ServiceName", STR.len(0, 64)),
    required("ServiceType", STR.len(0, 64)),
    required("URLPath", STR.len(0, 128)),
    optional("Version", INT.range(1.0, f64::MAX)),
]);

pub(super) static SAMPLING_RULE: ResourceType = resource(
    "AWS::XRay::SamplingRule",
    &[
        optional("RuleName", STR.len(1, 32)),
        optional("SamplingRule", RULE),
        optional("SamplingRuleRecord", JSON),
        optional("SamplingRuleUpdate", JSON),
        optional("Tags", list(&TAG).items(0, 200)),
    ],
)
.attributes(&["RuleARN"])
.identified_by(records::sampling_rule);
