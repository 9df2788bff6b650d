//! Amazon ECS: clusters and services.

use super::ecs_task_definition::LOG_CONFIGURATION;
use super::shape::{BOOL, INT, JSON, NUM, STR, Shape, TAG, list, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::ecs;
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

pub(super) const CLUSTER_SETTINGS: Shape = object(&[optional("Name", STR), optional("Value", STR)]);

pub(super) const CLUSTER_CONFIGURATION: Shape = object(&[
    optional("ExecuteCommandConfiguration", EXECUTE_COMMAND_CONFIGURATION),
    optional("ManagedStorageConfiguration", MANAGED_STORAGE_CONFIGURATION),
]);

pub(super) const EXECUTE_COMMAND_CONFIGURATION: Shape = object(&[
    optional("KmsKeyId", STR),
    optional("LogConfiguration", EXECUTE_COMMAND_LOG_CONFIGURATION),
    optional("Logging", STR.one_of(&["DEFAULT", "NONE", "OVERRIDE"])),
]);

pub(super) const EXECUTE_COMMAND_LOG_CONFIGURATION: Shape = object(&[
    optional("CloudWatchEncryptionEnabled", BOOL),
    optional("CloudWatchLogGroupName", STR),
    optional("S3BucketName", STR),
    optional("S3EncryptionEnabled", BOOL),
    optional("S3KeyPrefix", STR),
]);

pub(super) const MANAGED_STORAGE_CONFIGURATION: Shape =
    object(&[optional("FargateEphemeralStorageKmsKeyId", STR), optional("KmsKeyId", STR)]);

pub(super) const CAPACITY_PROVIDER_STRATEGY_ITEM: Shape = object(&[
    optional("Base", INT.range(0.0, 100000.0)),
    optional("CapacityProvider", STR),
    optional("Weight", INT.range(0.0, 1000.0)),
]);

pub(super) const SERVICE_CONNECT_DEFAULTS: Shape = object(&[optional("Namespace", STR)]);

pub(super) static CLUSTER: ResourceType = resource(
    "AWS::ECS::Cluster",
    &[
        optional("CapacityProviders", list(&STR)),
        optional("ClusterName", STR.pattern("^[a-zA-Z0-9_-]{1,255}$")),
        optional("ClusterSettings", list(&CLUSTER_SETTINGS)).api("settings"),
        optional("Configuration", CLUSTER_CONFIGURATION),
        optional("DefaultCapacityProviderStrategy", list(&CAPACITY_PROVIDER_STRATEGY_ITEM)),
        optional("ServiceConnectDefaults", SERVICE_CONNECT_DEFAULTS),
        optional("Tags", list(&TAG).items(0, 50)),
    ],
)
.camel_case()
.attributes(&["Arn"])
.identified_by(ecs::ecs_cluster)
.typed_as(|value| Ok(ResourceBody::EcsCluster(from_json(value)?)));

pub(super) const DEPLOYMENT_CONFIGURATION: Shape = object(&[
    optional("Alarms", DEPLOYMENT_ALARMS),
    optional("BakeTimeInMinutes", INT.range(0.0, 1440.0)),
    optional("CanaryConfiguration", CANARY_CONFIGURATION),
    optional("DeploymentCircuitBreaker", DEPLOYMENT_CIRCUIT_BREAKER),
    optional("EarlySuccessCriteria", DEPLOYMENT_EARLY_SUCCESS_CRITERIA),
    optional("LifecycleHooks", list(&DEPLOYMENT_LIFECYCLE_HOOK)),
    optional("LinearConfiguration", LINEAR_CONFIGURATION),
    optional("MaximumPercent", INT),
    optional("MinimumHealthyPercent", INT),
    optional("Strategy", STR.one_of(&["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"])),
]);

pub(super) const DEPLOYMENT_ALARMS: Shape =
    object(&[required("AlarmNames", list(&STR)), required("Enable", BOOL), required("Rollback", BOOL)]);

pub(super) const CANARY_CONFIGURATION: Shape = object(&[
    optional("CanaryBakeTimeInMinutes", INT.range(0.0, 1440.0)),
    optional("CanaryPercent", NUM.range(0.1, 100.0)),
]);

pub(super) const DEPLOYMENT_CIRCUIT_BREAKER: Shape = object(&[
    required("Enable", BOOL),
    optional("ResetOnHealthyTask", BOOL),
    required("Rollback", BOOL),
    optional("ThresholdConfiguration", THRESHOLD_CONFIGURATION),
]);

pub(super) const THRESHOLD_CONFIGURATION: Shape = object(&[
    required("Type", STR.one_of(&["COUNT", "BOUNDED_PERCENT", "UNBOUNDED_PERCENT"])),
    required("Value", INT),
]);

pub(super) const DEPLOYMENT_EARLY_SUCCESS_CRITERIA: Shape = object(&[
    optional("Enable", BOOL),
    optional("HealthyPercent", INT.range(0.0, 100.0)),
    optional("SourceServiceRevisionCleanup", STR.one_of(&["BLOCKING", "DEFERRED"])),
]);

pub(super) const DEPLOYMENT_LIFECYCLE_HOOK: Shape = object(&[
    optional("HookDetails", JSON),
    optional("HookTargetArn", STR),
    required(
        "LifecycleStages",
        list(&STR.one_of(&[
            "RECONCILE_SERVICE",
            "PRE_SCALE_UP",
            "POST_SCALE_UP",
            "TEST_TRAFFIC_SHIFT",
            "POST_TEST_TRAFFIC_SHIFT",
            "PRE_PRODUCTION_TRAFFIC_SHIFT",
            "PRODUCTION_TRAFFIC_SHIFT",
            "POST_PRODUCTION_TRAFFIC_SHIFT",
        ]))
        .items(1, u32::MAX),
    ),
    optional("RoleArn", STR),
    optional("TargetType", STR.one_of(&["AWS_LAMBDA", "PAUSE"])),
    optional("TimeoutConfiguration", HOOK_TIMEOUT_CONFIG),
]);

pub(super) const HOOK_TIMEOUT_CONFIG: Shape = object(&[
    optional("Action", STR.one_of(&["ROLLBACK", "CONTINUE"])),
    optional("TimeoutInMinutes", INT.range(1.0, 20160.0)),
]);

pub(super) const LINEAR_CONFIGURATION: Shape = object(&[
    optional("StepBakeTimeInMinutes", INT.range(0.0, 1440.0)),
    optional("StepPercent", NUM.range(3.0, 100.0)),
]);

pub(super) const DEPLOYMENT_CONTROLLER: Shape =
    object(&[optional("Type", STR.one_of(&["CODE_DEPLOY", "ECS", "EXTERNAL"]))]);

pub(super) const FORCE_NEW_DEPLOYMENT: Shape = object(&[
    required("EnableForceNewDeployment", BOOL),
    optional("ForceNewDeploymentNonce", STR.len(1, 255)),
]);

pub(super) const GATEWAY_CONNECTOR: Shape = object(&[
    optional("Filters", GATEWAY_CONNECTOR_FILTERS),
    optional("HealthCheck", GATEWAY_CONNECTOR_HEALTH_CHECK),
    required("PortName", STR),
]);

pub(super) const GATEWAY_CONNECTOR_FILTERS: Shape =
    object(&[optional("AccessTypes", list(&STR.one_of(&["PUBLIC", "PRIVATE"])).items(0, 2))]);

pub(super) const GATEWAY_CONNECTOR_HEALTH_CHECK: Shape = object(&[
    optional("HealthCheckIntervalSeconds", INT),
    optional("HealthCheckPath", STR),
    optional("HealthCheckPort", INT),
    optional("HealthCheckProtocol", STR.one_of(&["HTTP", "HTTPS"])),
    optional("HealthCheckTimeoutSeconds", INT),
    optional("HealthyThresholdCount", INT),
    optional("Matcher", GATEWAY_CONNECTOR_HEALTH_CHECK_MATCHER),
    optional("UnhealthyThresholdCount", INT),
]);

pub(super) const GATEWAY_CONNECTOR_HEALTH_CHECK_MATCHER: Shape =
    object(&[optional("GrpcCode", STR), optional("HttpCode", STR)]);

pub(super) const LOAD_BALANCER: Shape = object(&[
    optional("AdvancedConfiguration", ADVANCED_CONFIGURATION),
    optional("ContainerName", STR),
    optional("ContainerPort", INT.range(0.0, 65535.0)),
    optional("LoadBalancerName", STR),
    optional("TargetGroupArn", STR),
]);

pub(super) const ADVANCED_CONFIGURATION: Shape = object(&[
    required("AlternateTargetGroupArn", STR),
    optional("ProductionListenerRule", STR),
    optional("RoleArn", STR),
    optional("TestListenerRule", STR),
]);

pub(super) const MONITORING_CONFIGURATION: Shape =
    object(&[required("MetricConfigurations", list(&METRIC_CONFIGURATION).items(1, 2))]);

pub(super) const METRIC_CONFIGURATION: Shape = object(&[
    required("MetricNames", list(&STR.one_of(&["CPUUtilization", "MemoryUtilization"])).items(1, 2)),
    required("ResolutionSeconds", INT.range(20.0, 60.0)),
]);

pub(super) const NETWORK_CONFIGURATION: Shape =
    object(&[optional("AwsvpcConfiguration", AWS_VPC_CONFIGURATION)]);

pub(super) const AWS_VPC_CONFIGURATION: Shape = object(&[
    optional("AssignPublicIp", STR.one_of(&["DISABLED", "ENABLED"])),
    optional("SecurityGroups", list(&STR).items(0, 5)),
    required("Subnets", list(&STR).items(0, 16)),
]);

pub(super) const PLACEMENT_CONSTRAINT: Shape =
    object(&[optional("Expression", STR), required("Type", STR.one_of(&["distinctInstance", "memberOf"]))]);

pub(super) const PLACEMENT_STRATEGY: Shape =
    object(&[optional("Field", STR), required("Type", STR.one_of(&["binpack", "random", "spread"]))]);

pub(super) const SERVICE_CONNECT_CONFIGURATION: Shape = object(&[
    optional("AccessLogConfiguration", SERVICE_CONNECT_ACCESS_LOG_CONFIGURATION),
    optional("ContainerConfigurations", list(&SERVICE_CONNECT_CONTAINER_CONFIGURATION).items(0, 10)),
    required("Enabled", BOOL),
    optional("EncryptionConfiguration", SERVICE_CONNECT_ENCRYPTION_CONFIGURATION),
    optional("LogConfiguration", LOG_CONFIGURATION),
    optional("Namespace", STR),
    optional("Services", list(&SERVICE_CONNECT_SERVICE)),
]);

/// Not of AWS.
pub(super) const SERVICE_CONNECT_ENCRYPTION_CONFIGURATION: Shape = object(&[
    optional("CertificateArn", STR),
    optional("ClientCertificateArn", STR),
    optional("Mode", STR.one_of(&["TLS", "MUTUAL_TLS"])),
]);

pub(super) const SERVICE_CONNECT_ACCESS_LOG_CONFIGURATION: Shape = object(&[
    required("Format", STR.one_of(&["TEXT", "JSON"])),
    optional("IncludeQueryParameters", STR.one_of(&["DISABLED", "ENABLED"])),
]);

pub(super) const SERVICE_CONNECT_CONTAINER_CONFIGURATION: Shape =
    object(&[optional("LogLevel", STR.one_of(&["debug", "info"]))]);

pub(super) const SERVICE_CONNECT_SERVICE: Shape = object(&[
    optional("ClientAliases", list(&SERVICE_CONNECT_CLIENT_ALIAS).items(0, 1)),
    optional("DiscoveryName", STR.pattern("^[a-z0-9_][a-z0-9_-]{0,63}$")),
    optional("IngressPortOverride", INT.range(0.0, 65535.0)),
    required("PortName", STR),
    optional("Timeout", TIMEOUT_CONFIGURATION),
    optional("Tls", SERVICE_CONNECT_TLS_CONFIGURATION),
]);

pub(super) const SERVICE_CONNECT_CLIENT_ALIAS: Shape = object(&[
    optional("DnsName", STR.len(1, 127)),
    required("Port", INT.range(1.0, 65535.0)),
    optional("TestTrafficRules", SERVICE_CONNECT_TEST_TRAFFIC_RULES),
]);

pub(super) const SERVICE_CONNECT_TEST_TRAFFIC_RULES: Shape =
    object(&[required("Header", SERVICE_CONNECT_TEST_TRAFFIC_RULES_HEADER)]);

pub(super) const SERVICE_CONNECT_TEST_TRAFFIC_RULES_HEADER: Shape =
    object(&[required("Name", STR), optional("Value", SERVICE_CONNECT_TEST_TRAFFIC_RULES_HEADER_VALUE)]);

pub(super) const SERVICE_CONNECT_TEST_TRAFFIC_RULES_HEADER_VALUE: Shape = object(&[required("Exact", STR)]);

pub(super) const TIMEOUT_CONFIGURATION: Shape = object(&[
    optional("IdleTimeoutSeconds", INT.range(0.0, 2147483647.0)),
    optional("PerRequestTimeoutSeconds", INT.range(0.0, 2147483647.0)),
]);

pub(super) const SERVICE_CONNECT_TLS_CONFIGURATION: Shape = object(&[
    required("IssuerCertificateAuthority", SERVICE_CONNECT_TLS_CERTIFICATE_AUTHORITY),
    optional("KmsKey", STR),
    optional("RoleArn", STR),
]);

pub(super) const SERVICE_CONNECT_TLS_CERTIFICATE_AUTHORITY: Shape =
    object(&[optional("AwsPcaAuthorityArn", STR)]);

pub(super) const SERVICE_REGISTRY: Shape = object(&[
    optional("ContainerName", STR),
    optional("ContainerPort", INT.range(0.0, 65535.0)),
    optional("Port", INT.range(0.0, 65535.0)),
    optional("RegistryArn", STR),
]);

pub(super) const SERVICE_VOLUME_CONFIGURATION: Shape =
    object(&[optional("ManagedEBSVolume", SERVICE_MANAGED_EBS_VOLUME_CONFIGURATION), required("Name", STR)]);

pub(super) const SERVICE_MANAGED_EBS_VOLUME_CONFIGURATION: Shape = object(&[
    optional("Encrypted", BOOL),
    optional("FilesystemType", STR.one_of(&["ext3", "ext4", "ntfs", "xfs"])),
    optional("Iops", INT),
    optional("KmsKeyId", STR),
    required("RoleArn", STR),
    optional("SizeInGiB", INT),
    optional("SnapshotId", STR),
    optional("TagSpecifications", list(&EBS_TAG_SPECIFICATION)),
    optional("Throughput", INT),
    optional("VolumeInitializationRate", INT),
    optional("VolumeType", STR),
]);

pub(super) const EBS_TAG_SPECIFICATION: Shape = object(&[
    optional("PropagateTags", STR.one_of(&["SERVICE", "TASK_DEFINITION"])),
    required("ResourceType", STR.one_of(&["volume"])),
    optional("Tags", list(&TAG).items(0, 50)),
]);

pub(super) const VPC_LATTICE_CONFIGURATION: Shape = object(&[
    optional("AdvancedConfiguration", VPC_LATTICE_ADVANCED_CONFIGURATION),
    required("PortName", STR),
    required("RoleArn", STR),
    required("TargetGroupArn", STR),
]);

pub(super) const VPC_LATTICE_ADVANCED_CONFIGURATION: Shape = object(&[
    optional("AlternateTargetGroupArn", STR),
    optional("ProductionListenerRule", STR),
    optional("TestListenerRule", STR),
]);

pub(super) static SERVICE: ResourceType = resource(
    "AWS::ECS::Service",
    &[
        optional("AvailabilityZoneRebalancing", STR.one_of(&["ENABLED", "DISABLED"])),
        optional("CapacityProviderStrategy", list(&CAPACITY_PROVIDER_STRATEGY_ITEM)),
        optional("Cluster", STR),
        optional("DeploymentConfiguration", DEPLOYMENT_CONFIGURATION),
        optional("DeploymentController", DEPLOYMENT_CONTROLLER),
        optional("DesiredCount", INT.range(0.0, f64::MAX)),
        optional("EnableECSManagedTags", BOOL),
        optional("EnableExecuteCommand", BOOL),
        optional("ForceNewDeployment", FORCE_NEW_DEPLOYMENT),
        optional("GatewayConnectors", list(&GATEWAY_CONNECTOR).items(0, 1)),
        optional("HealthCheckGracePeriodSeconds", INT),
        optional("LaunchType", STR.one_of(&["EC2", "FARGATE", "EXTERNAL"])),
        optional("LoadBalancers", list(&LOAD_BALANCER)),
        optional("Monitoring", MONITORING_CONFIGURATION),
        optional("NetworkConfiguration", NETWORK_CONFIGURATION),
        optional("PlacementConstraints", list(&PLACEMENT_CONSTRAINT)),
        optional("PlacementStrategies", list(&PLACEMENT_STRATEGY)).api("placementStrategy"),
        optional("PlatformVersion", STR),
        optional("PropagateTags", STR.one_of(&["SERVICE", "TASK_DEFINITION"])),
        optional("Role", STR),
        optional("SchedulingStrategy", STR.one_of(&["DAEMON", "REPLICA"])),
        optional("ServiceConnectConfiguration", SERVICE_CONNECT_CONFIGURATION),
        optional("ServiceName", STR.pattern("^[a-zA-Z0-9_-]{1,255}$")),
        optional("ServiceRegistries", list(&SERVICE_REGISTRY)),
        optional("Tags", list(&TAG).items(0, 50)),
        optional("TaskDefinition", STR),
        optional("VolumeConfigurations", list(&SERVICE_VOLUME_CONFIGURATION)),
        optional("VpcLatticeConfigurations", list(&VPC_LATTICE_CONFIGURATION)),
    ],
)
.camel_case()
.attributes(&["ServiceArn", "Name"])
.identified_by(ecs::ecs_service)
.typed_as(|value| Ok(ResourceBody::EcsService(from_json(value)?)));
