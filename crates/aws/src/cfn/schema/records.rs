//! Further types that are kept as records: logs, secrets, keys, parameters, scaling, alarms.

use super::shape::{BOOL, INT, JSON, NUM, STR, TAG, list, map, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::records;

pub(super) static LOG_GROUP: ResourceType = resource(
    "AWS::Logs::LogGroup",
    &[
        optional("BearerTokenAuthenticationEnabled", BOOL),
        optional("DataProtectionPolicy", JSON),
        optional("DeletionProtectionEnabled", BOOL),
        optional("FieldIndexPolicies", list(&JSON)),
        optional(
            "KmsKeyId",
            STR.pattern(r"^arn:[a-z0-9-]+:kms:[a-z0-9-]+:\d{12}:(key|alias)/.+\z").len(0, 256),
        ),
        optional("LogGroupClass", STR.one_of(&["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"])),
        optional("LogGroupName", STR.pattern(r"^[.\-_/#A-Za-z0-9]{1,512}\z").len(1, 512)),
        optional("ResourcePolicyDocument", JSON),
        optional(
            "RetentionInDays",
            INT.one_of(&[
                "1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400", "545", "731",
                "1096", "1827", "2192", "2557", "2922", "3288", "3653",
            ]),
        ),
        optional("Tags", list(&TAG)),
    ],
)
.attributes(&["Arn"])
.identified_by(records::log_group);

pub(super) static METRIC_FILTER: ResourceType = resource(
    "AWS::Logs::MetricFilter",
    &[
        optional("ApplyOnTransformedLogs", BOOL),
        optional("EmitSystemFieldDimensions", list(&STR)),
        optional("FieldSelectionCriteria", STR.len(0, 2000)),
        optional("FilterName", STR.pattern("^[^:*]{1,512}$").len(1, 512)),
        required("FilterPattern", STR.len(0, 1024)),
        required("LogGroupName", STR.pattern(r"^[.\-_/#A-Za-z0-9]{1,512}\z").len(1, 512)),
        required("MetricTransformations", list(&JSON).items(1, 1)),
    ],
)
.attributes(&[])
.identified_by(records::metric_filter);

pub(super) static SECRET: ResourceType = resource(
    "AWS::SecretsManager::Secret",
    &[
        optional("Description", STR.len(0, 2048)),
        optional("GenerateSecretString", JSON),
        optional("KmsKeyId", STR.len(0, 2048)),
        optional("Name", STR.len(0, 512)),
        optional("ReplicaRegions", list(&JSON)),
        optional("SecretString", STR.len(1, 65536)),
        optional("Tags", list(&TAG)),
        optional("Type", STR.len(0, 256)),
    ],
)
.attributes(&["Id"])
.identified_by(records::secret);

pub(super) static SECRET_POLICY: ResourceType = resource(
    "AWS::SecretsManager::ResourcePolicy",
    &[
        optional("BlockPublicPolicy", BOOL),
        required("ResourcePolicy", JSON),
        required("SecretId", STR.len(1, 2048)),
    ],
)
.attributes(&["Id"])
.identified_by(records::of_secret);

pub(super) static SECRET_ROTATION: ResourceType = resource(
    "AWS::SecretsManager::RotationSchedule",
    &[
        optional("HostedRotationLambda", JSON),
        optional("RotateImmediatelyOnUpdate", BOOL),
        optional("RotationLambdaARN", STR.len(0, 2048)),
        optional("RotationRules", JSON),
        required("SecretId", STR.len(1, 2048)),
    ],
)
.attributes(&["Id"])
.identified_by(records::of_secret);

pub(super) static KEY: ResourceType = resource(
    "AWS::KMS::Key",
    &[
        optional("BypassPolicyLockoutSafetyCheck", BOOL),
        optional("Description", STR.len(0, 8192)),
        optional("EnableKeyRotation", BOOL),
        optional("Enabled", BOOL),
        optional("KeyPolicy", JSON),
        optional(
            "KeySpec",
            STR.one_of(&[
                "SYMMETRIC_DEFAULT",
                "RSA_2048",
                "RSA_3072",
                "RSA_4096",
                "ECC_NIST_P256",
                "ECC_NIST_P384",
                "ECC_NIST_P521",
                "ECC_SECG_P256K1",
                "HMAC_224",
                "HMAC_256",
                "HMAC_384",
                "HMAC_512",
                "SM2",
                "ML_DSA_44",
                "ML_DSA_65",
                "ML_DSA_87",
                "ECC_NIST_EDWARDS25519",
            ]),
        ),
        optional(
            "KeyUsage",
            STR.one_of(&["ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"]),
        ),
        optional("MultiRegion", BOOL),
        optional("Origin", STR.one_of(&["AWS_KMS", "EXTERNAL"])),
        optional("PendingWindowInDays", INT.range(7.0, 30.0)),
        optional("RotationPeriodInDays", INT.range(90.0, 2560.0)),
        optional("Tags", list(&TAG)),
    ],
)
.attributes(&["Arn", "KeyId"])
.identified_by(records::kms_key);

pub(super) static ALIAS: ResourceType = resource(
    "AWS::KMS::Alias",
    &[
        required("AliasName", STR.pattern("^(alias/)[a-zA-Z0-9:/_-]+$").len(1, 256)),
        required("TargetKeyId", STR.len(1, 256)),
    ],
)
.attributes(&[])
.identified_by(records::kms_alias);

pub(super) static PARAMETER: ResourceType = resource(
    "AWS::SSM::Parameter",
    &[
        optional("AllowedPattern", STR.len(0, 1024)),
        optional("DataType", STR.one_of(&["text", "aws:ec2:image"]).len(0, 128)),
        optional("Description", STR.len(0, 1024)),
        optional("Name", STR.len(1, 2048)),
        optional("Policies", STR.len(1, 4096)),
        optional("Tags", map(&STR)),
        optional("Tier", STR.one_of(&["Standard", "Advanced", "Intelligent-Tiering"])),
        required("Type", STR.one_of(&["String", "StringList"])),
        required("Value", STR),
    ],
)
.attributes(&["Type", "Value"])
.identified_by(records::ssm_parameter);

pub(super) static METADATA: ResourceType =
    resource("AWS::CDK::Metadata", &[optional("Analytics", STR), optional("Modules", STR)])
        .attributes(&["Id"]);

pub(super) static SCALABLE_TARGET: ResourceType = resource(
    "AWS::ApplicationAutoScaling::ScalableTarget",
    &[
        required("MaxCapacity", INT),
        required("MinCapacity", INT),
        required("ResourceId", STR.len(1, 1600)),
        optional("RoleARN", STR.len(1, 1600)),
        required(
            "ScalableDimension",
            STR.one_of(&[
                "appstream:fleet:DesiredCapacity",
                "cassandra:table:ReadCapacityUnits",
                "cassandra:table:WriteCapacityUnits",
                "comprehend:document-classifier-endpoint:DesiredInferenceUnits",
                "comprehend:entity-recognizer-endpoint:DesiredInferenceUnits",
                "custom-resource:ResourceType:Property",
                "dynamodb:index:ReadCapacityUnits",
                "dynamodb:index:WriteCapacityUnits",
                "dynamodb:table:ReadCapacityUnits",
                "dynamodb:table:WriteCapacityUnits",
                "ec2:capacity-reservation:AvailableInstances",
                "ec2:spot-fleet-request:TargetCapacity",
                "ecs:service:DesiredCount",
                "elasticache:cache-cluster:Nodes",
                "elasticache:replication-group:NodeGroups",
                "elasticache:replication-group:Replicas",
                "elasticmapreduce:instancegroup:InstanceCount",
                "kafka:broker-storage:VolumeSize",
                "lambda:function:ProvisionedConcurrency",
                "neptune:cluster:ReadReplicaCount",
                "rds:cluster:ReadReplicaCount",
                "sagemaker:inference-component:DesiredCopyCount",
                "sagemaker:variant:DesiredInstanceCount",
                "sagemaker:variant:DesiredProvisionedConcurrency",
                "workspaces:workspacespool:DesiredUserSessions",
            ]),
        ),
        optional("ScheduledActions", list(&JSON)),
        required(
            "ServiceNamespace",
            STR.one_of(&[
                "appstream",
                "cassandra",
                "comprehend",
                "custom-resource",
                "dynamodb",
                "ec2",
                "ecs",
                "elasticache",
                "elasticmapreduce",
                "kafka",
                "lambda",
                "neptune",
                "rds",
                "sagemaker",
                "workspaces",
            ]),
        ),
        optional("SuspendedState", JSON),
        optional("Tags", list(&TAG)),
    ],
)
.attributes(&["Id"])
.identified_by(records::scalable_target);

pub(super) static SCALING_POLICY: ResourceType = resource(
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    &[
        required("PolicyName", STR.pattern(r"^[^\x00-\x1f\x7f-\x9f]+$").len(1, 256)),
        required("PolicyType", STR.one_of(&["PredictiveScaling", "StepScaling", "TargetTrackingScaling"])),
        optional("PredictiveScalingPolicyConfiguration", JSON),
        optional("ResourceId", STR.len(1, 1600)),
        optional(
            "ScalableDimension",
            STR.one_of(&[
                "appstream:fleet:DesiredCapacity",
                "cassandra:table:ReadCapacityUnits",
                "cassandra:table:WriteCapacityUnits",
                "comprehend:document-classifier-endpoint:DesiredInferenceUnits",
                "comprehend:entity-recognizer-endpoint:DesiredInferenceUnits",
                "custom-resource:ResourceType:Property",
                "dynamodb:index:ReadCapacityUnits",
                "dynamodb:index:WriteCapacityUnits",
                "dynamodb:table:ReadCapacityUnits",
                "dynamodb:table:WriteCapacityUnits",
                "ec2:spot-fleet-request:TargetCapacity",
                "ecs:service:DesiredCount",
                "elasticache:cache-cluster:Nodes",
                "elasticache:replication-group:NodeGroups",
                "elasticache:replication-group:Replicas",
                "elasticmapreduce:instancegroup:InstanceCount",
                "kafka:broker-storage:VolumeSize",
                "lambda:function:ProvisionedConcurrency",
                "neptune:cluster:ReadReplicaCount",
                "rds:cluster:ReadReplicaCount",
                "sagemaker:inference-component:DesiredCopyCount",
                "sagemaker:variant:DesiredInstanceCount",
                "sagemaker:variant:DesiredProvisionedConcurrency",
                "workspaces:workspacespool:DesiredUserSessions",
            ]),
        ),
        optional("ScalingTargetId", STR),
        optional(
            "ServiceNamespace",
            STR.one_of(&[
                "appstream",
                "cassandra",
                "comprehend",
                "custom-resource",
                "dynamodb",
                "ec2",
                "ecs",
                "elasticache",
                "elasticmapreduce",
                "kafka",
                "lambda",
                "neptune",
                "rds",
                "sagemaker",
                "workspaces",
            ]),
        ),
        optional("StepScalingPolicyConfiguration", JSON),
        optional("TargetTrackingScalingPolicyConfiguration", JSON),
    ],
)
.attributes(&["Arn"])
.identified_by(records::scaling_policy);

pub(super) static ALARM: ResourceType = resource(
    "AWS::CloudWatch::Alarm",
    &[
        optional("ActionConfiguration", JSON),
        optional("ActionsEnabled", BOOL),
        optional("AlarmActions", list(&STR.len(1, 1024))),
        optional("AlarmDescription", STR.len(0, 1024)),
        optional("AlarmName", STR.len(0, 255)),
        optional(
            "ComparisonOperator",
            STR.one_of(&[
                "GreaterThanOrEqualToThreshold",
                "GreaterThanThreshold",
                "GreaterThanUpperThreshold",
                "LessThanLowerOrGreaterThanUpperThreshold",
                "LessThanLowerThreshold",
                "LessThanOrEqualToThreshold",
                "LessThanThreshold",
            ]),
        ),
        optional("DatapointsToAlarm", INT.range(1.0, f64::MAX)),
        optional("Dimensions", list(&JSON).items(0, 30)),
        optional("EvaluateLowSampleCountPercentile", STR.len(1, 255)),
        optional("EvaluationCriteria", JSON),
        optional("EvaluationInterval", INT.range(10.0, 3600.0)),
        optional("EvaluationPeriods", INT.range(1.0, f64::MAX)),
        optional("EvaluationWindow", JSON),
        optional("ExtendedStatistic", STR),
        optional("InsufficientDataActions", list(&STR.len(1, 1024))),
        optional("MetricName", STR.len(1, 255)),
        optional("Metrics", list(&JSON)),
        optional("Namespace", STR.pattern("^[^:]").len(1, 255)),
        optional("OKActions", list(&STR.len(1, 1024))),
        optional("Period", INT.range(1.0, f64::MAX)),
        optional("Statistic", STR.one_of(&["Average", "Maximum", "Minimum", "SampleCount", "Sum"])),
        optional("Tags", list(&TAG).items(0, 50)),
        optional("Threshold", NUM),
        optional("ThresholdMetricId", STR.len(1, 255)),
        optional(
            "TreatMissingData",
            STR.one_of(&["breaching", "ignore", "missing", "notBreaching"]).len(1, 255),
        ),
        optional(
            "Unit",
            STR.one_of(&[
                "Bits",
                "Bits/Second",
                "Bytes",
                "Bytes/Second",
                "Count",
                "Count/Second",
                "Gigabits",
                "Gigabits/Second",
                "Gigabytes",
                "Gigabytes/Second",
                "Kilobits",
                "Kilobits/Second",
                "Kilobytes",
                "Kilobytes/Second",
                "Megabits",
                "Megabits/Second",
                "Megabytes",
                "Megabytes/Second",
                "Microseconds",
                "Milliseconds",
                "None",
                "Percent",
                "Seconds",
                "Terabits",
                "Terabits/Second",
                "Terabytes",
                "Terabytes/Second",
            ]),
        ),
        optional("WarmUpConfiguration", JSON),
    ],
)
.attributes(&["Arn"])
.identified_by(records::alarm);

/// The code of a Lambda function never runs here; CDK's custom resources bring one along.
pub(super) static FUNCTION: ResourceType = resource(
    "AWS::Lambda::Function",
    &[
        optional("Architectures", list(&STR)),
        required("Code", JSON),
        optional("Description", STR.len(0, 256)),
        optional("Environment", JSON),
        optional("FunctionName", STR),
        optional("Handler", STR),
        optional("Layers", list(&STR)),
        optional("LoggingConfig", JSON),
        optional("MemorySize", INT),
        required("Role", STR),
        optional("Runtime", STR),
        optional("Tags", list(&TAG)),
        optional("Timeout", INT),
        optional("VpcConfig", JSON),
    ],
)
.attributes(&["Arn"])
.identified_by(records::lambda_function);

/// CDK's custom resource that empties a VPC's default security group. Bowline denies what no rule
/// allows, so there is nothing to empty.
pub(super) static VPC_RESTRICT_DEFAULT_SG: ResourceType = resource(
    "Custom::VpcRestrictDefaultSG",
    &[
        optional("Account", STR),
        required("DefaultSecurityGroupId", STR),
        required("ServiceToken", STR),
        optional("ServiceTimeout", INT),
    ],
);
