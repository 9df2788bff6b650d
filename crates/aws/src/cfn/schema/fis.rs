//! FIS's types.

use super::shape::{INT, JSON, STR, Shape, list, map, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::records;

const TARGET: Shape = object(&[
    optional(
        "Filters",
        list(&object(&[required("Path", STR.len(0, 256)), required("Values", list(&STR.len(0, 128)))])),
    ),
    optional("Parameters", map(&STR.len(1, 1024))),
    optional("ResourceArns", list(&STR.len(20, 2048)).items(0, 5)),
    optional("ResourceTags", map(&STR.len(0, 256))),
    required("ResourceType", STR.len(0, 64)),
    required("SelectionMode", STR.len(0, 64)),
]);

const ACTION: Shape = object(&[
    required("ActionId", STR.len(0, 64)),
    optional("Description", STR.len(0, 512)),
    optional("Parameters", map(&STR.len(0, 1024))),
    optional("StartAfter", list(&STR.len(0, 64))),
    optional("Targets", map(&STR.len(0, 64))),
]);

const LOG_CONFIGURATION: Shape = object(&[
    optional("CloudWatchLogsConfiguration", object(&[required("LogGroupArn", STR.len(20, 2048))])),
    required("LogSchemaVersion", INT.range(1.0, 2.0)),
    optional(
        "S3Configuration",
        object(&[required("BucketName", STR.len(3, 63)), optional("Prefix", STR.len(1, 1024))]),
    ),
]);

pub(super) static EXPERIMENT_TEMPLATE: ResourceType = resource(
    "AWS::FIS::ExperimentTemplate",
    &[
        optional("Actions", map(&ACTION)),
        required("Description", STR.len(1, 512)),
        optional(
            "ExperimentOptions",
            object(&[
                optional("AccountTargeting", STR.one_of(&["multi-account", "single-account"])),
                optional("EmptyTargetResolutionMode", STR.one_of(&["fail", "skip"])),
            ]),
        ),
        optional("ExperimentReportConfiguration", JSON),
        optional("LogConfiguration", LOG_CONFIGURATION),
        required("RoleArn", STR.len(20, 2048)),
        required(
            "StopConditions",
            list(&object(&[required("Source", STR.len(0, 64)), optional("Value", STR.len(20, 2048))]))
                .items(1, 5),
        ),
        optional("Tags", map(&STR.len(0, 256))),
        required("Targets", map(&TARGET)),
    ],
)
.camel_case()
.attributes(&["Id"])
.identified_by(records::experiment_template);
