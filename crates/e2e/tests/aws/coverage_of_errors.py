"""Which modelled errors no case can cause, and why. Every other one must be caused by a case."""

import botocore.session

# Errors that nothing here can cause, whatever the operation.
NEVER = {
    "AccessDeniedException": "every case signs as the account's root, which may do everything",
    "BlockedException": "no account is blocked",
    "ClusterContainsCapacityProviderException": "capacity providers of a cluster's own are not served",
    "ClusterContainsContainerInstancesException": "the machine leaves a cluster with the cluster",
    "PlatformTaskDefinitionIncompatibilityException": "one machine is every platform",
    "ServerException": "the server's own failure",
    "UpdateInProgressException": "changes are done when they are answered",
}

# ClientException is in every operation's model; these have it, the others say what is wrong by another code.
CLIENT_EXCEPTION = {
    "CreateCapacityProvider",
    "CreateService",
    "DeleteCapacityProvider",
    "DeregisterTaskDefinition",
    "DescribeTaskDefinition",
    "RegisterTaskDefinition",
    "RunTask",
    "StartTask",
    "UpdateService",
}

# Operations that are refused whatever is asked, and where that is said.
REFUSED = {"ExecuteCommand": "a session of Systems Manager is not here: bowline exec"}

# UnsupportedFeatureException is in many models; these ask for a feature that is not here.
UNSUPPORTED_FEATURE = {
    "CreateCapacityProvider",
    "CreateService",
    "StopServiceDeployment",
    "UpdateCapacityProvider",
    "UpdateService",
}

_NAMED_BY_ARN = "what is not there is told as a failure, whatever its ARN names"

# Errors of an operation's model that this operation alone does not have here.
NOT_OF_OPERATION = {
    "DescribeServiceDeployments": {
        "ClusterNotFoundException": _NAMED_BY_ARN,
        "ServiceNotFoundException": _NAMED_BY_ARN,
    },
    "DescribeServiceRevisions": {
        "ClusterNotFoundException": _NAMED_BY_ARN,
        "ServiceNotFoundException": _NAMED_BY_ARN,
    },
    "GetTaskProtection": {
        "ResourceNotFoundException": "what is not there is told as a failure",
    },
    "RegisterTaskDefinition": {"LimitExceededException": "AWS's limit is a million revisions"},
    "UpdateTaskProtection": {
        "ResourceNotFoundException": "what is not there is told as a failure",
    },
    "StartTask": {"NamespaceNotFoundException": "a task's namespace is its cluster's, which is there"},
}


def missing(operations, seen):
    """A line for each operation and modelled error that no case has met, or that was met against the tables."""
    model = botocore.session.get_session().get_service_model("ecs")
    lines = []
    for operation in operations:
        found = seen.get(operation, set())
        if None not in found and operation not in REFUSED:
            lines.append(f"{operation}: no case of it succeeds")
        for shape in model.operation_model(operation).error_shapes:
            excused = (
                shape.name in NEVER
                or shape.name in NOT_OF_OPERATION.get(operation, ())
                or (shape.name == "ClientException" and operation not in CLIENT_EXCEPTION)
                or (shape.name == "UnsupportedFeatureException" and operation not in UNSUPPORTED_FEATURE)
            )
            if shape.name not in found and not excused:
                lines.append(f"{operation}: no case of {shape.name}")
            if shape.name in found and excused:
                lines.append(f"{operation}: {shape.name} has a case now; take it out of the tables")
    return lines
