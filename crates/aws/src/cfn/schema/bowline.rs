//! Bowline's own types, for what AWS has no field for.

use super::shape::{COMMAND, STR, Shape, list, map, object, optional, required};
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
