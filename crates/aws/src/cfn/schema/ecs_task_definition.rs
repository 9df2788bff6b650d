//! Amazon ECS: task definitions.

use super::ecs::SERVICE_CONNECT_CONFIGURATION;
use super::shape::{BOOL, INT, STR, Shape, TAG, list, map, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::ecs;
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

pub(super) const CONTAINER_DEFINITION: Shape = object(&[
    optional("Command", list(&STR)),
    optional("Cpu", INT),
    optional("CredentialSpecs", list(&STR)),
    optional("DependsOn", list(&CONTAINER_DEPENDENCY)),
    optional("DisableNetworking", BOOL),
    optional("DnsSearchDomains", list(&STR)),
    optional("DnsServers", list(&STR)),
    optional("DockerLabels", map(&STR)),
    optional("DockerSecurityOptions", list(&STR)),
    optional("EntryPoint", list(&STR)),
    optional("Environment", list(&KEY_VALUE_PAIR)),
    optional("EnvironmentFiles", list(&ENVIRONMENT_FILE)),
    optional("Essential", BOOL),
    optional("ExtraHosts", list(&HOST_ENTRY)),
    optional("FirelensConfiguration", FIRELENS_CONFIGURATION),
    optional("HealthCheck", HEALTH_CHECK),
    optional("Hostname", STR),
    required("Image", STR),
    optional("Interactive", BOOL),
    optional("Links", list(&STR)),
    optional("LinuxParameters", LINUX_PARAMETERS),
    optional("LogConfiguration", LOG_CONFIGURATION),
    optional("Memory", INT),
    optional("MemoryReservation", INT),
    optional("MountPoints", list(&MOUNT_POINT)),
    required("Name", STR.pattern("^[a-zA-Z0-9_-]{1,255}$")),
    optional("PortMappings", list(&PORT_MAPPING)),
    optional("Privileged", BOOL),
    optional("PseudoTerminal", BOOL),
    optional("ReadonlyRootFilesystem", BOOL),
    optional("RepositoryCredentials", REPOSITORY_CREDENTIALS),
    optional("ResourceRequirements", list(&RESOURCE_REQUIREMENT)),
    optional("RestartPolicy", RESTART_POLICY),
    optional("Secrets", list(&SECRET)),
    optional("StartTimeout", INT),
    optional("StopTimeout", INT),
    optional("SystemControls", list(&SYSTEM_CONTROL)),
    optional("Ulimits", list(&ULIMIT)),
    optional("User", STR),
    optional("VersionConsistency", STR.one_of(&["enabled", "disabled"])),
    optional("VolumesFrom", list(&VOLUME_FROM)),
    optional("WorkingDirectory", STR),
]);

pub(super) const CONTAINER_DEPENDENCY: Shape = object(&[
    required("Condition", STR.one_of(&["COMPLETE", "HEALTHY", "START", "SUCCESS"])),
    required("ContainerName", STR),
]);

pub(super) const KEY_VALUE_PAIR: Shape = object(&[optional("Name", STR), optional("Value", STR)]);

pub(super) const ENVIRONMENT_FILE: Shape =
    object(&[optional("Type", STR.one_of(&["s3"])), optional("Value", STR)]);

pub(super) const HOST_ENTRY: Shape = object(&[optional("Hostname", STR), optional("IpAddress", STR)]);

pub(super) const FIRELENS_CONFIGURATION: Shape =
    object(&[optional("Options", map(&STR)), optional("Type", STR.one_of(&["fluentbit", "fluentd"]))]);

pub(super) const HEALTH_CHECK: Shape = object(&[
    required("Command", list(&STR)),
    optional("Interval", INT.range(5.0, 300.0)),
    optional("Retries", INT.range(1.0, 10.0)),
    optional("StartPeriod", INT.range(0.0, 300.0)),
    optional("Timeout", INT.range(2.0, 120.0)),
]);

pub(super) const LINUX_PARAMETERS: Shape = object(&[
    optional("Capabilities", KERNEL_CAPABILITIES),
    optional("Devices", list(&DEVICE)),
    optional("InitProcessEnabled", BOOL),
    optional("MaxSwap", INT),
    optional("SharedMemorySize", INT),
    optional("Swappiness", INT),
    optional("Tmpfs", list(&TMPFS)),
]);

pub(super) const KERNEL_CAPABILITIES: Shape =
    object(&[optional("Add", list(&STR)), optional("Drop", list(&STR))]);

pub(super) const DEVICE: Shape = object(&[
    optional("ContainerPath", STR),
    optional("HostPath", STR),
    optional("Permissions", list(&STR.one_of(&["mknod", "read", "write"]))),
]);

pub(super) const TMPFS: Shape =
    object(&[optional("ContainerPath", STR), optional("MountOptions", list(&STR)), required("Size", INT)]);

pub(super) const LOG_CONFIGURATION: Shape = object(&[
    required("LogDriver", STR),
    optional("Options", map(&STR)),
    optional("SecretOptions", list(&SECRET)),
]);

pub(super) const SECRET: Shape = object(&[required("Name", STR), required("ValueFrom", STR)]);

pub(super) const MOUNT_POINT: Shape =
    object(&[optional("ContainerPath", STR), optional("ReadOnly", BOOL), optional("SourceVolume", STR)]);

pub(super) const PORT_MAPPING: Shape = object(&[
    optional("AppProtocol", STR.one_of(&["http", "http2", "grpc"])),
    optional("ContainerPort", INT.range(0.0, 65535.0)),
    optional("ContainerPortRange", STR),
    optional("HostPort", INT.range(0.0, 65535.0)),
    optional("Name", STR.pattern("^[a-z0-9_][a-z0-9_-]{0,63}$")),
    optional("Protocol", STR.one_of(&["tcp", "udp"])),
]);

pub(super) const REPOSITORY_CREDENTIALS: Shape = object(&[optional("CredentialsParameter", STR)]);

pub(super) const RESOURCE_REQUIREMENT: Shape = object(&[
    optional("SharingStrategy", SHARING_STRATEGY),
    required("Type", STR.one_of(&["GPU", "InferenceAccelerator", "NeuronDevice"])),
    optional("Value", STR),
]);

pub(super) const SHARING_STRATEGY: Shape = object(&[required("NvidiaMps", NVIDIA_MPS_ALLOCATION)]);

pub(super) const NVIDIA_MPS_ALLOCATION: Shape = object(&[
    optional("MaxComputePercent", INT.range(1.0, 100.0)),
    required("Memory", INT.range(1.0, f64::MAX)),
]);

pub(super) const RESTART_POLICY: Shape = object(&[
    optional("Enabled", BOOL),
    optional("IgnoredExitCodes", list(&INT)),
    optional("RestartAttemptPeriod", INT),
]);

pub(super) const SYSTEM_CONTROL: Shape = object(&[optional("Namespace", STR), optional("Value", STR)]);

pub(super) const ULIMIT: Shape = object(&[
    required("HardLimit", INT),
    required(
        "Name",
        STR.one_of(&[
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ]),
    ),
    required("SoftLimit", INT),
]);

pub(super) const VOLUME_FROM: Shape = object(&[optional("ReadOnly", BOOL), optional("SourceContainer", STR)]);

pub(super) const EPHEMERAL_STORAGE: Shape = object(&[optional("SizeInGiB", INT)]);

pub(super) const INFERENCE_ACCELERATOR: Shape =
    object(&[optional("DeviceName", STR), optional("DeviceType", STR)]);

pub(super) const TASK_DEFINITION_PLACEMENT_CONSTRAINT: Shape =
    object(&[optional("Expression", STR), required("Type", STR.one_of(&["memberOf"]))]);

pub(super) const PROXY_CONFIGURATION: Shape = object(&[
    required("ContainerName", STR),
    optional("ProxyConfigurationProperties", list(&KEY_VALUE_PAIR)).api("properties"),
    optional("Type", STR.one_of(&["APPMESH"])),
]);

pub(super) const RUNTIME_PLATFORM: Shape = object(&[
    optional("CpuArchitecture", STR.one_of(&["ARM64", "X86_64"])),
    optional(
        "OperatingSystemFamily",
        STR.one_of(&[
            "LINUX",
            "WINDOWS_SERVER_2004_CORE",
            "WINDOWS_SERVER_2016_FULL",
            "WINDOWS_SERVER_2019_CORE",
            "WINDOWS_SERVER_2019_FULL",
            "WINDOWS_SERVER_2022_CORE",
            "WINDOWS_SERVER_2022_FULL",
            "WINDOWS_SERVER_2025_CORE",
            "WINDOWS_SERVER_2025_FULL",
            "WINDOWS_SERVER_20H2_CORE",
        ]),
    ),
]);

pub(super) const VOLUME: Shape = object(&[
    optional("ConfiguredAtLaunch", BOOL),
    optional("DockerVolumeConfiguration", DOCKER_VOLUME_CONFIGURATION),
    optional("EFSVolumeConfiguration", EFS_VOLUME_CONFIGURATION).api("efsVolumeConfiguration"),
    optional("FSxWindowsFileServerVolumeConfiguration", FSX_WINDOWS_FILE_SERVER_VOLUME_CONFIGURATION)
        .api("fsxWindowsFileServerVolumeConfiguration"),
    optional("Host", HOST_VOLUME_PROPERTIES),
    optional("Name", STR),
    optional("S3FilesVolumeConfiguration", S3_FILES_VOLUME_CONFIGURATION).api("s3filesVolumeConfiguration"),
]);

pub(super) const DOCKER_VOLUME_CONFIGURATION: Shape = object(&[
    optional("Autoprovision", BOOL),
    optional("Driver", STR),
    optional("DriverOpts", map(&STR)),
    optional("Labels", map(&STR)),
    optional("Scope", STR.one_of(&["shared", "task"])),
]);

pub(super) const EFS_VOLUME_CONFIGURATION: Shape = object(&[
    optional("AuthorizationConfig", AUTHORIZATION_CONFIG),
    required("FilesystemId", STR).api("fileSystemId"),
    optional("RootDirectory", STR),
    optional("TransitEncryption", STR.one_of(&["ENABLED", "DISABLED"])),
    optional("TransitEncryptionPort", INT.range(0.0, 65535.0)),
]);

pub(super) const AUTHORIZATION_CONFIG: Shape = object(&[
    optional("AccessPointId", STR),
    optional("IAM", STR.one_of(&["ENABLED", "DISABLED"])).api("iam"),
]);

pub(super) const FSX_WINDOWS_FILE_SERVER_VOLUME_CONFIGURATION: Shape = object(&[
    optional("AuthorizationConfig", FSX_AUTHORIZATION_CONFIG),
    required("FileSystemId", STR),
    required("RootDirectory", STR),
]);

pub(super) const FSX_AUTHORIZATION_CONFIG: Shape =
    object(&[required("CredentialsParameter", STR), required("Domain", STR)]);

pub(super) const HOST_VOLUME_PROPERTIES: Shape = object(&[optional("SourcePath", STR)]);

pub(super) const S3_FILES_VOLUME_CONFIGURATION: Shape = object(&[
    optional("AccessPointArn", STR),
    required("FileSystemArn", STR),
    optional("RootDirectory", STR),
    optional("TransitEncryptionPort", INT.range(0.0, 65535.0)),
]);

pub(super) static TASK_DEFINITION: ResourceType = resource(
    "AWS::ECS::TaskDefinition",
    &[
        required("ContainerDefinitions", list(&CONTAINER_DEFINITION).items(1, 10)),
        optional("Cpu", STR),
        optional("EnableFaultInjection", BOOL),
        optional("EphemeralStorage", EPHEMERAL_STORAGE),
        optional("ExecutionRoleArn", STR),
        optional("Family", STR.pattern("^[a-zA-Z0-9_-]{1,255}$")),
        optional("InferenceAccelerators", list(&INFERENCE_ACCELERATOR)),
        optional("IpcMode", STR.one_of(&["host", "none", "task"])),
        optional("Memory", STR),
        optional("NetworkMode", STR.one_of(&["awsvpc", "bridge", "host", "none"])),
        optional("PidMode", STR.one_of(&["host", "task"])),
        optional("PlacementConstraints", list(&TASK_DEFINITION_PLACEMENT_CONSTRAINT)),
        optional("ProxyConfiguration", PROXY_CONFIGURATION),
        optional(
            "RequiresCompatibilities",
            list(&STR.one_of(&["EC2", "EXTERNAL", "FARGATE", "MANAGED_INSTANCES"])),
        ),
        optional("RuntimePlatform", RUNTIME_PLATFORM),
        // Not of AWS.
        optional("ServiceConnectConfiguration", SERVICE_CONNECT_CONFIGURATION),
        optional("Tags", list(&TAG).items(0, 50)),
        optional("TaskRoleArn", STR),
        optional("Volumes", list(&VOLUME)),
    ],
)
.camel_case()
.attributes(&["TaskDefinitionArn"])
.identified_by(ecs::ecs_task_definition)
.typed_as(|value| Ok(ResourceBody::EcsTaskDefinition(from_json(value)?)));
