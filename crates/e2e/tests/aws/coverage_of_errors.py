"""Which operations and modelled errors no case can cause, and why. Every other one must be caused by a case.

What is served stands in docs/src/aws-coverage.md, which a test makes from the code.
"""

import pathlib
import re

import botocore.session

PAGE = pathlib.Path(__file__).parents[4] / "docs/src/aws-coverage.md"

_NO_FAILURE = "the server's own failure"
_ONE_WRITER = "changes are made one after the other, and are done when they are answered"
_NOT_PUBLIC = "public DNS namespaces are refused as InvalidInput: their names are not this machine's to give"
_NO_SERVICE_POLICY = "of AWS's policies, those for services' own roles are not there"
_NO_OTHER_KEYS = "every key is symmetric and KMS's own, which can be rotated"
_IN_EVERY_STATE = "a key's state does not matter"
_NO_KEY_STORE = "there are no custom key stores: whichever is named is not found"
_NO_INPUT = "what is wrong is said as ValidationError, as AWS does"

# Errors that nothing here can cause, whatever the operation.
NEVER = {
    "ecs": {
        "AccessDeniedException": "every case signs as the account's root, which may do everything",
        "BlockedException": "no account is blocked",
        "ClusterContainsCapacityProviderException": "capacity providers of a cluster's own are not served",
        "ClusterContainsContainerInstancesException": "the machine leaves a cluster with the cluster",
        "PlatformTaskDefinitionIncompatibilityException": "one machine is every platform",
        "ServerException": _NO_FAILURE,
        "UpdateInProgressException": _ONE_WRITER,
    },
    "kms": {
        "CloudHsmClusterInvalidConfigurationException": _NO_KEY_STORE,
        "CustomKeyStoreInvalidStateException": _NO_KEY_STORE,
        "DependencyTimeoutException": _NO_FAILURE,
        "KMSInternalException": _NO_FAILURE,
        "KeyUnavailableException": "a key is there, with its material, or not found",
        "XksKeyAlreadyInUseException": _NO_KEY_STORE,
        "XksKeyInvalidConfigurationException": _NO_KEY_STORE,
        "XksKeyNotFoundException": _NO_KEY_STORE,
    },
    "secretsmanager": {
        "InternalServiceError": _NO_FAILURE,
        "PreconditionNotMetException": "nothing has to be done before a secret is made or changed",
    },
    "servicediscovery": {
        "RequestLimitExceeded": "discovery has no limit of its own",
        "ResourceLimitExceeded": "AWS's quotas of namespaces, services and instances are not kept",
    },
    "iam": {
        "ConcurrentModificationException": _ONE_WRITER,
        "EntityTemporarilyUnmodifiableException": _ONE_WRITER,
        "ServiceFailureException": _NO_FAILURE,
    },
    "sts": {
        "ExpiredTokenException": "an expired token is refused before the operation is called, as ExpiredToken",
        "RegionDisabledException": "one region is served, whatever is signed for",
    },
    "application-autoscaling": {
        "ConcurrentUpdateException": _ONE_WRITER,
        "FailedResourceAccessException": "alarms are this server's own",
        "InternalServiceException": _NO_FAILURE,
    },
    "cloudwatch": {
        "ConcurrentModificationException": _ONE_WRITER,
        "ConflictException": _ONE_WRITER,
        "InternalServiceFault": _NO_FAILURE,
        "ResourceConflict": "no composite alarm needs another alarm",
    },
    "logs": {
        "AccessDeniedException": "every case signs as the account's root, which may do everything",
        "DataAlreadyAcceptedException": "no sequence token is asked for, as on AWS since 2023",
        "InvalidOperationException": "there are no transformers and no delegated administrators",
        "InvalidSequenceTokenException": "no sequence token is asked for, as on AWS since 2023",
        "OperationAbortedException": _ONE_WRITER,
        "ServiceUnavailableException": _NO_FAILURE,
        "UnrecognizedClientException": "who is not known is refused before the operation is called",
    },
    "cloudformation": {
        "LimitExceededException": "AWS's quota of 2000 stacks is not kept",
        "StackSetNotFoundException": "stack sets are not served",
    },
    "acm-pca": {
        "ConcurrentModificationException": _ONE_WRITER,
        "LockoutPreventedException": "whoever may write policies may do so whatever the authority's policy says",
        "RequestFailedException": _NO_FAILURE,
        "RequestInProgressException": _ONE_WRITER,
    },
    "acm": {
        "AccessDeniedException": "every case signs as the account's root, which may do everything",
        "ConflictException": _ONE_WRITER,
        "TagPolicyException": "there is no organization",
        "ThrottlingException": "no case asks so often",
    },
    "xray": {"ThrottledException": "no case asks so often"},
    "cloudtrail": {
        "NoManagementAccountSLRExistsException": "there is no organization",
        "OperationNotPermittedException": "there is one trail, of this account",
        "UnsupportedOperationException": "what is not served has no operation",
    },
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

# UnsupportedFeatureException is in many models; these ask for a feature that is not here.
UNSUPPORTED_FEATURE = {
    "ContinueServiceDeployment",
    "CreateCapacityProvider",
    "CreateService",
    "UpdateCapacityProvider",
    "UpdateService",
}

_TOLD_AS_ERRORS = "what cannot be read is told in Errors"
_NO_POLICY = "it takes no policy"
_NAMED_BY_ARN = "what is not there is told as a failure, whatever its ARN names"

# Errors of an operation's model that this operation alone does not have here. None: it never succeeds.
NOT_OF_OPERATION = {
    "fis": {
        "UpdateSafetyLeverState": {"ConflictException": "experiments stop faster than a case can ask"},
    },
    "logs": {
        "CreateLogGroup": {"LimitExceededException": "5,000 groups are too many for a case"},
        "DeleteLogStream": {"ValidationException": "streams are not protected"},
        "GetLogRecord": {"LimitExceededException": "a record is read at once"},
        "StartQuery": {"LimitExceededException": "queries are answered faster than a case can ask them"},
    },
    "ecs": {
        "DescribeServiceDeployments": {
            "ClusterNotFoundException": _NAMED_BY_ARN,
            "ServiceNotFoundException": _NAMED_BY_ARN,
        },
        "DescribeServiceRevisions": {
            "ClusterNotFoundException": _NAMED_BY_ARN,
            "ServiceNotFoundException": _NAMED_BY_ARN,
        },
        "ExecuteCommand": {None: "a session of Systems Manager is not here: bowline exec"},
        "GetTaskProtection": {"ResourceNotFoundException": "what is not there is told as a failure"},
        "RegisterTaskDefinition": {"LimitExceededException": "AWS's limit is a million revisions"},
        "UpdateTaskProtection": {"ResourceNotFoundException": "what is not there is told as a failure"},
        "StartTask": {"NamespaceNotFoundException": "a task's namespace is its cluster's, which is there"},
    },
    "kms": {
        "CreateGrant": {"LimitExceededException": "1,000 grants are too many for a case"},
        "CreateKey": {"InvalidArnException": "no ARN is asked for"},
        "DeleteAlias": {"KMSInvalidStateException": _IN_EVERY_STATE},
        "DisableKeyRotation": {"UnsupportedOperationException": _NO_OTHER_KEYS},
        "EnableKey": {"LimitExceededException": "there is no quota of enabled keys"},
        "EnableKeyRotation": {"UnsupportedOperationException": _NO_OTHER_KEYS},
        "GenerateDataKey": {"InvalidKeyUsageException": _NO_OTHER_KEYS},
        "GenerateDataKeyWithoutPlaintext": {"InvalidKeyUsageException": _NO_OTHER_KEYS},
        "GetKeyPolicy": {"KMSInvalidStateException": _IN_EVERY_STATE},
        "GetKeyRotationStatus": {"UnsupportedOperationException": _NO_OTHER_KEYS},
        "ListKeyPolicies": {"KMSInvalidStateException": _IN_EVERY_STATE},
        "ListKeyRotations": {"UnsupportedOperationException": _NO_OTHER_KEYS},
        "ListRetirableGrants": {"NotFoundException": "a principal without grants has none to list"},
        "PutKeyPolicy": {
            "KMSInvalidStateException": _IN_EVERY_STATE,
            "UnsupportedOperationException": _NO_OTHER_KEYS,
        },
        "RetireGrant": {"KMSInvalidStateException": _IN_EVERY_STATE},
        "RevokeGrant": {"KMSInvalidStateException": _IN_EVERY_STATE},
        "RotateKeyOnDemand": {
            "ConflictException": _ONE_WRITER,
            "UnsupportedOperationException": _NO_OTHER_KEYS,
        },
    },
    "secretsmanager": {
        "BatchGetSecretValue": {
            "DecryptionFailure": _TOLD_AS_ERRORS,
            "InvalidRequestException": _TOLD_AS_ERRORS,
            "ResourceNotFoundException": _TOLD_AS_ERRORS,
        },
        "CreateSecret": {
            "DecryptionFailure": _NO_FAILURE,
            "LimitExceededException": "10,000 secrets are too many for a case",
            "MalformedPolicyDocumentException": _NO_POLICY,
            "ResourceNotFoundException": "a KMS key that is not there is an EncryptionFailure",
        },
        "GetRandomPassword": {"InvalidRequestException": "there is no state that it would not fit"},
        "ListSecrets": {"InvalidRequestException": "there is no state that it would not fit"},
        "PutSecretValue": {"DecryptionFailure": _NO_FAILURE},
        "RestoreSecret": {"InvalidRequestException": "a secret that is not deleted is as if restored"},
        "UpdateSecret": {
            "DecryptionFailure": _NO_FAILURE,
            "MalformedPolicyDocumentException": _NO_POLICY,
        },
        "ValidateResourcePolicy": {
            "InvalidRequestException": "a policy can be validated for a secret that is deleted",
        },
    },
    "servicediscovery": {
        "CreatePublicDnsNamespace": {
            None: _NOT_PUBLIC,
            "NamespaceAlreadyExists": _NOT_PUBLIC,
            "DuplicateRequest": _NOT_PUBLIC,
            "TooManyTagsException": _NOT_PUBLIC,
        },
        "DeleteNamespace": {"DuplicateRequest": _ONE_WRITER},
        "DeregisterInstance": {"DuplicateRequest": _ONE_WRITER, "ResourceInUse": _ONE_WRITER},
        "RegisterInstance": {"ResourceInUse": _ONE_WRITER},
        "UpdateHttpNamespace": {"ResourceInUse": _ONE_WRITER},
        "UpdatePrivateDnsNamespace": {"ResourceInUse": _ONE_WRITER},
        "UpdatePublicDnsNamespace": {
            None: _NOT_PUBLIC,
            "DuplicateRequest": _NOT_PUBLIC,
            "ResourceInUse": _NOT_PUBLIC,
        },
        "UpdateService": {"DuplicateRequest": _ONE_WRITER},
    },
    "iam": {
        "AddRoleToInstanceProfile": {"EntityAlreadyExistsException": "the second role is LimitExceeded, as on AWS"},
        "AttachRolePolicy": {"PolicyNotAttachableException": _NO_SERVICE_POLICY},
        "AttachUserPolicy": {"PolicyNotAttachableException": _NO_SERVICE_POLICY},
        "CreateServiceLinkedRole": {"NoSuchEntityException": "any service may have a role"},
        "ListAttachedRolePolicies": {"InvalidInputException": _NO_INPUT},
        "ListAttachedUserPolicies": {"InvalidInputException": _NO_INPUT},
        "PutRolePermissionsBoundary": {"PolicyNotAttachableException": _NO_SERVICE_POLICY},
        "PutUserPermissionsBoundary": {"PolicyNotAttachableException": _NO_SERVICE_POLICY},
        "UpdateAccessKey": {"InvalidInputException": _NO_INPUT},
        "UpdateRoleDescription": {"UnmodifiableEntityException": "of a service's role, the description can be changed"},
    },
    "cloudformation": {
        "DeleteChangeSet": {"InvalidChangeSetStatusException": _ONE_WRITER},
        "ExecuteChangeSet": {
            "InsufficientCapabilitiesException": "CreateChangeSet has demanded what the template needs",
        },
    },
    "application-autoscaling": {
        "PutScheduledAction": {"LimitExceededException": "200 scheduled actions take too long to put"},
        "RegisterScalableTarget": {"LimitExceededException": "3,000 services are too many for a case"},
    },
    "xray": {"GetEncryptionConfig": {"InvalidRequestException": "nothing is asked that could be wrong"}},
    "cloudwatch": {"PutMetricAlarm": {"LimitExceededFault": "5,000 alarms are too many for a case"}},
    "acm-pca": {
        "CreateCertificateAuthority": {"InvalidPolicyException": "what is said of S3 is recorded: no bucket's policy is asked"},
        "CreateCertificateAuthorityAuditReport": {None: "audit reports are written to S3, which is not here"},
        "DescribeCertificateAuthorityAuditReport": {
            None: "audit reports are written to S3, which is not here",
            "InvalidArgsException": "an id of another length is a ValidationException",
        },
        "IssueCertificate": {"LimitExceededException": "20,000 certificates take too long to issue"},
        "RevokeCertificate": {"LimitExceededException": "10,000 revocations take too long"},
        "UpdateCertificateAuthority": {"InvalidPolicyException": "what is said of S3 is recorded: no bucket's policy is asked"},
    },
    "acm": {
        "ImportCertificate": {
            "LimitExceededException": "2,500 certificates take too long to import",
        },
        "DeleteCertificate": {"ResourceInUseException": "what uses certificates is a template's: a test of the crate control"},
        "RequestCertificate": {"LimitExceededException": "2,500 certificates take too long to request"},
        "UpdateCertificateOptions": {"LimitExceededException": "options have no quota"},
    },
}

# Operations of IAM that have LimitExceeded in their models, and add nothing that has a quota here.
WITHOUT_QUOTA = {
    "CreateServiceLinkedRole",
    "DeleteAccessKey",
    "DeleteInstanceProfile",
    "DeletePolicy",
    "DeletePolicyVersion",
    "DeleteRole",
    "DeleteRolePolicy",
    "DeleteServiceLinkedRole",
    "DeleteUser",
    "DeleteUserPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "RemoveRoleFromInstanceProfile",
    "SetDefaultPolicyVersion",
    "UpdateAccessKey",
    "UpdateUser",
}


def served():
    """(service, operation) of everything that is served."""
    found, service = [], None
    for line in PAGE.read_text().splitlines():
        if heading := re.match(r"## ([\w-]+) \(\d+\)", line):
            service = heading[1]
        elif row := re.match(r"\| (\w+) \| (?:read|write|data) \|", line):
            found.append((service, row[1]))
    assert len(found) >= 150, f"{PAGE} was not understood"
    return found


def missing(seen):
    """A line for each operation and modelled error that no case has met, or that was met against the tables."""
    session = botocore.session.get_session()
    models = {}
    lines = []
    for service, operation in served():
        model = models.setdefault(service, session.get_service_model(service)).operation_model(operation)
        found = seen.get((service, operation), set())
        excuses = NEVER.get(service, {}) | NOT_OF_OPERATION.get(service, {}).get(operation, {})
        named = f"{service} {operation}"
        if (None in found) == (None in excuses):
            lines.append(f"{named}: {'a' if None in found else 'no'} case of it succeeds")
        for shape in model.error_shapes:
            met = shape.error_code in found
            excused = (
                shape.name in excuses
                or (service == "ecs" and shape.name == "ClientException" and operation not in CLIENT_EXCEPTION)
                or (
                    service == "ecs"
                    and shape.name == "UnsupportedFeatureException"
                    and operation not in UNSUPPORTED_FEATURE
                )
                or (service == "iam" and shape.name == "LimitExceededException" and operation in WITHOUT_QUOTA)
            )
            if not met and not excused:
                lines.append(f"{named}: no case of {shape.name}")
            if met and excused:
                lines.append(f"{named}: {shape.name} has a case now; take it out of the tables")
    return lines
