"""Which modelled errors no case can cause, and why. Every other one must be caused by a case."""

import botocore.session

# Errors that nothing here can cause, whatever the operation.
NEVER = {
    "AccessDeniedException": "every case signs as the account's root, which may do everything",
    "BlockedException": "no account is blocked",
    "ClusterContainsCapacityProviderException": "capacity providers of a cluster's own are not served",
    "ClusterContainsContainerInstancesException": "container instances are not served",
    "PlatformTaskDefinitionIncompatibilityException": "one machine is every platform",
    "ResourceInUseException": "changes are done when they are answered",
    "ServerException": "the server's own failure",
    "UnsupportedFeatureException": "what is not served has no operation",
    "UpdateInProgressException": "changes are done when they are answered",
}

# ClientException is in every operation's model; these have it, the others say what is wrong by another code.
CLIENT_EXCEPTION = {
    "CreateService",
    "DeregisterTaskDefinition",
    "DescribeTaskDefinition",
    "RegisterTaskDefinition",
    "RunTask",
    "StartTask",
    "UpdateService",
}

_NAMED_BY_ARN = "what is not there is told as a failure, whatever its ARN names"

# Errors of an operation's model that this operation alone does not have here.
NOT_OF_OPERATION = {
    "DescribeCapacityProviders": {"ClusterNotFoundException": "a cluster's own providers are not served"},
    "DescribeServiceDeployments": {
        "ClusterNotFoundException": _NAMED_BY_ARN,
        "ServiceNotFoundException": _NAMED_BY_ARN,
    },
    "DescribeServiceRevisions": {
        "ClusterNotFoundException": _NAMED_BY_ARN,
        "ServiceNotFoundException": _NAMED_BY_ARN,
    },
    "RegisterTaskDefinition": {"LimitExceededException": "AWS's limit is a million revisions"},
    "StartTask": {"NamespaceNotFoundException": "a task's namespace is its cluster's, which is there"},
}


def missing(operations, seen):
    """A line for each operation and modelled error that no case has met, or that was met against the tables."""
    model = botocore.session.get_session().get_service_model("ecs")
    lines = []
    for operation in operations:
        found = seen.get(operation, set())
        if None not in found:
            lines.append(f"{operation}: no case of it succeeds")
        for shape in model.operation_model(operation).error_shapes:
            excused = (
                shape.name in NEVER
                or shape.name in NOT_OF_OPERATION.get(operation, ())
                or (shape.name == "ClientException" and operation not in CLIENT_EXCEPTION)
            )
            if shape.name not in found and not excused:
                lines.append(f"{operation}: no case of {shape.name}")
            if shape.name in found and excused:
                lines.append(f"{operation}: {shape.name} has a case now; take it out of the tables")
    return lines
