//! Bowline's own types, for what AWS has no field for.

use super::shape::{COMMAND, INT, STR, Shape, list, map, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

const CONTAINER: Shape = object(&[
    required("Name", STR.len(1, 255)),
    required("Command", COMMAND.items(1, 1024)),
    optional("WorkingDirectory", STR.len(1, 4096)),
    optional("Build", STR.len(1, 65536)),
    optional("Environment", map(&STR)),
]);

pub(super) static LOCAL_COMMAND: ResourceType = resource(
    "Bowline::ServiceConnect::LocalCommand",
    &[required("TaskDefinition", STR.len(1, 2048)), required("Containers", list(&CONTAINER).items(1, 10))],
)
.typed_as(|value| Ok(ResourceBody::LocalCommand(from_json(value)?)));

const RULE: Shape = object(&[
    optional("Name", STR.len(1, 255)),
    required("Effect", STR.one_of(&["ALLOW", "DENY", "AUDIT"])),
    optional("SpiffeIds", list(&STR.len(1, 2048)).items(1, 1000)),
    optional("Namespaces", list(&STR.len(1, 1024)).items(1, 1000)),
    optional("Methods", list(&STR.len(1, 64).pattern("^[A-Z-]+$")).items(1, 50)),
    optional("Paths", list(&STR.len(1, 1024)).items(1, 1000)),
    optional("Ports", list(&INT.range(1.0, 65535.0)).items(1, 1000)),
    optional("SourceCidrs", list(&STR.len(1, 64)).items(1, 1000)),
]);

pub(super) static AUTHORIZATION_POLICY: ResourceType = resource(
    "Bowline::ServiceConnect::AuthorizationPolicy",
    &[
        optional("Name", STR.len(1, 255)),
        optional("Namespace", STR.len(1, 1024)),
        optional("Services", list(&STR.len(1, 2048)).items(1, 1000)),
        optional("Default", STR.one_of(&["NAMESPACE", "NOBODY"])),
        optional("Rules", list(&RULE).items(1, 1000)),
    ],
)
.typed_as(|value| Ok(ResourceBody::AuthorizationPolicy(from_json(value)?)));
