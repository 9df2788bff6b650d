//! `logConfiguration`: where a container's lines, or its sidecar's, go.
//!
//! Sources: Amazon ECS API reference, `LogConfiguration`; Docker's documentation of its log drivers.

mod datetime;
mod figures;
mod forwarding;
mod metadata;
mod output;
mod size;
mod value;

use std::{collections::BTreeMap, time::Duration};

use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use figures::{DriverFigures, LogFigures};
pub use forwarding::{Fluentd, TagTemplate};
pub use metadata::{CONTAINER_OF_PROXY, container_id};
pub use output::{
    BodyFormat, CloudWatchOutput, DateFormat, ForwardOutput, HttpOutput, OUTPUTS, Output, OutputError,
    OutputRule, RetryLimit, TlsSettings, matches_tag,
};
pub use size::bytes;
pub use value::is_on;

use crate::task::Secret;

/// Drivers of `logDriver` that are here.
pub const DRIVERS: [&str; 5] = ["awsfirelens", "awslogs", "fluentd", "json-file", "none"];

/// Drivers that AWS has, and that are not here.
const ELSEWHERE: [&str; 5] = ["gelf", "journald", "splunk", "syslog", "logentries"];

/// `max-buffer-size` of a container that does not say: ECS's 10 MiB.
pub const BUFFER_BYTES: u64 = 10 * 1024 * 1024;

/// A container's log driver, as it was registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfiguration {
    /// The driver with its options.
    pub driver: LogDriver,
    /// `secretOptions`: the option and what its value is fetched by. Their values are not here.
    #[serde(default)]
    pub secret_options: BTreeMap<String, String>,
}

/// A driver with its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// CloudWatch Logs.
    #[serde(rename = "awslogs")]
    AwsLogs(AwsLogs),
    /// The task's log router.
    #[serde(rename = "awsfirelens")]
    AwsFireLens(AwsFireLens),
    /// A server that speaks Fluentd's forward protocol.
    Fluentd(Fluentd),
    /// Docker's JSON files.
    JsonFile(JsonFile),
    /// Nowhere.
    None,
}

/// `awslogs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsLogs {
    /// `awslogs-group`.
    pub group: String,
    /// `awslogs-region`: kept, and all the same here.
    pub region: Option<String>,
    /// `awslogs-stream-prefix`: streams are `PREFIX/CONTAINER/TASK`, else the container's id.
    pub stream_prefix: Option<String>,
    /// `awslogs-create-group`; AWS's default is false.
    pub create_group: bool,
    /// A line that matches begins a new event: `awslogs-multiline-pattern`, or what `awslogs-datetime-format` means.
    pub multiline: Option<String>,
    /// What happens to a container that writes faster than its lines are taken.
    pub buffering: Buffering,
}

/// `mode` and `max-buffer-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffering {
    /// `blocking`: the container waits, and loses nothing. Else lines that there is no room for are dropped, and counted.
    pub blocking: bool,
    /// Bytes of lines that may wait to be written.
    pub bytes_max: u64,
}

impl Default for Buffering {
    /// ECS's default since June 2025: non-blocking, 10 MiB.
    fn default() -> Self {
        Self { blocking: false, bytes_max: BUFFER_BYTES }
    }
}

/// `awsfirelens`: options as the log router takes them, Fluent Bit's, or `Name: firelens` with a `Tag`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsFireLens {
    /// Every option as it was given, secret ones excepted.
    pub options: BTreeMap<String, String>,
}

/// What a container's lines are tagged by, and where they go beside what the log router's file says.
#[derive(Clone, Debug, PartialEq)]
pub struct FireLensRoute {
    /// `Tag`; without, lines are tagged `CONTAINER-firelens-TASK`, as FireLens does.
    pub tag: Option<String>,
    /// What the options say; `None` where only the router's file does.
    pub output: Option<OutputRule>,
    /// `log-driver-buffer-limit` and `mode`.
    pub buffering: Buffering,
}

/// `json-file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JsonFile {
    /// `max-size`, in bytes. Docker's default is none; here it is 100 MiB.
    pub bytes_max: u64,
    /// `max-file`; 1 by default.
    pub files_max: u32,
}

/// `firelensConfiguration`: this container is the task's log router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FireLensConfiguration {
    /// `enable-ecs-log-metadata`; AWS's default is true.
    pub metadata: bool,
    /// `config-file-value`, with `config-file-type` `file`.
    pub config_file: Option<String>,
}

/// Why a `logConfiguration` is refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LogDriverError {
    /// The driver is AWS's, and not here.
    #[error(
        "Log driver {0} is not supported on this platform: allowed are {drivers}",
        drivers = DRIVERS.join(", ")
    )]
    NotHere(String),
    /// There is no such driver.
    #[error("Unknown log driver '{0}': allowed are {drivers}", drivers = DRIVERS.join(", "))]
    UnknownDriver(String),
    /// Options that must be there are not.
    #[error("Log driver {driver} requires options: {missing}")]
    Missing {
        /// The driver.
        driver: &'static str,
        /// What is missing.
        missing: String,
    },
    /// An option is none of the driver's.
    #[error("Log driver {driver} disallows options: {option} (allowed are {allowed})")]
    UnknownOption {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
        /// What there is.
        allowed: String,
    },
    /// An option's value is none.
    #[error("Log driver {driver} option {option}: {reason}")]
    Value {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
        /// What is wrong, and what is right.
        reason: String,
    },
    /// What `awsfirelens` gives to the log router is none of its outputs.
    #[error("Log driver awsfirelens: {0}")]
    Output(#[from] OutputError),
    /// `firelensConfiguration` says what is not here.
    #[error("firelensConfiguration: {0}")]
    FireLens(String),
}

const AWSLOGS: [&str; 8] = [
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-group",
    "awslogs-multiline-pattern",
    "awslogs-region",
    "awslogs-stream-prefix",
    "max-buffer-size",
    "mode",
];
const JSON_FILE: [&str; 9] = [
    "compress",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "max-file",
    "max-size",
    "mode",
];
/// Options of `awsfirelens` that are the log driver's own, not the router's.
const FIRELENS_OWN: [&str; 4] = ["log-driver-buffer-limit", "max-buffer-size", "mode", "Tag"];

impl LogConfiguration {
    /// Reads `logDriver`, `options` and `secretOptions`.
    ///
    /// # Errors
    /// See [`LogDriverError`].
    pub fn parse(
        driver: &str,
        options: &BTreeMap<String, String>,
        secret_options: BTreeMap<String, String>,
    ) -> Result<Self, LogDriverError> {
        let driver = match driver {
            "awslogs" => LogDriver::AwsLogs(AwsLogs::parse(&with_secrets(options, &secret_options))?),
            "awsfirelens" => {
                let firelens = AwsFireLens { options: options.clone() };
                // Any value will do to see whether the router has such an option.
                firelens.route_of(&with_secrets(options, &secret_options))?;
                LogDriver::AwsFireLens(firelens)
            }
            "fluentd" => LogDriver::Fluentd(Fluentd::parse(&with_secrets(options, &secret_options))?),
            "json-file" => LogDriver::JsonFile(JsonFile::parse(options)?),
            "none" => {
                allowed("none", options, &[])?;
                LogDriver::None
            }
            other if ELSEWHERE.contains(&other) => return Err(LogDriverError::NotHere(other.to_owned())),
            other => return Err(LogDriverError::UnknownDriver(other.to_owned())),
        };
        Ok(Self { driver, secret_options })
    }

    /// What happens to a container that writes faster than its lines are taken.
    pub fn buffering(&self) -> Buffering {
        match &self.driver {
            LogDriver::AwsLogs(awslogs) => awslogs.buffering,
            LogDriver::AwsFireLens(firelens) => {
                buffering("awsfirelens", &firelens.options).unwrap_or_default()
            }
            LogDriver::Fluentd(fluentd) => fluentd.buffering,
            LogDriver::JsonFile(_) | LogDriver::None => Buffering::default(),
        }
    }

    /// The driver's name.
    pub fn driver_name(&self) -> &'static str {
        match &self.driver {
            LogDriver::AwsLogs(_) => "awslogs",
            LogDriver::AwsFireLens(_) => "awsfirelens",
            LogDriver::Fluentd(_) => "fluentd",
            LogDriver::JsonFile(_) => "json-file",
            LogDriver::None => "none",
        }
    }
}

fn with_secrets(
    options: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = options.clone();
    all.extend(secrets.keys().map(|name| (name.clone(), "secret".to_owned())));
    all
}

impl AwsLogs {
    fn parse(options: &BTreeMap<String, String>) -> Result<Self, LogDriverError> {
        const DRIVER: &str = "awslogs";
        allowed(DRIVER, options, &AWSLOGS)?;
        let given = |name: &str| options.get(name).filter(|value| !value.is_empty()).cloned();
        let missing: Vec<_> =
            ["awslogs-group", "awslogs-region"].into_iter().filter(|name| given(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(LogDriverError::Missing { driver: DRIVER, missing: missing.join(", ") });
        }
        let format = given("awslogs-datetime-format");
        let pattern = given("awslogs-multiline-pattern");
        if format.is_some() && pattern.is_some() {
            return Err(LogDriverError::Value {
                driver: DRIVER,
                option: "awslogs-multiline-pattern".into(),
                reason: "you cannot configure both awslogs-datetime-format and awslogs-multiline-pattern"
                    .into(),
            });
        }
        let multiline = match (format, pattern) {
            (Some(format), _) => Some(datetime::pattern(&format)),
            (None, pattern) => pattern,
        };
        if let Some(Err(error)) = multiline.as_deref().map(Regex::new) {
            return Err(LogDriverError::Value {
                driver: DRIVER,
                option: "awslogs-multiline-pattern".into(),
                reason: format!("it is no regular expression: {error}"),
            });
        }
        Ok(Self {
            group: given("awslogs-group").unwrap_or_default(),
            region: given("awslogs-region"),
            stream_prefix: given("awslogs-stream-prefix"),
            create_group: boolean(DRIVER, options, "awslogs-create-group", false)?,
            multiline,
            buffering: buffering(DRIVER, options)?,
        })
    }

    /// The stream of a task's container: `PREFIX/CONTAINER/TASK`, else the container's id (ECS's documentation).
    pub fn stream(&self, container: &str, task: &crate::task::TaskId) -> String {
        match &self.stream_prefix {
            Some(prefix) => format!("{prefix}/{container}/{task}"),
            None => container_id(task, container),
        }
    }
}

impl AwsFireLens {
    /// What the options mean, with the values of the secret ones.
    ///
    /// # Errors
    /// The options are none of the router's.
    pub fn route(&self, secrets: &BTreeMap<String, Secret>) -> Result<FireLensRoute, LogDriverError> {
        let mut options = self.options.clone();
        options.extend(secrets.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
        self.route_of(&options)
    }

    fn route_of(&self, options: &BTreeMap<String, String>) -> Result<FireLensRoute, LogDriverError> {
        let find = |wanted: &str| {
            options.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
        };
        let buffering = buffering("awsfirelens", options)?;
        let tag = find("Tag");
        let name = find("Name");
        let output = match name.as_deref() {
            None | Some("firelens") => {
                let known = |name: &str| {
                    name.eq_ignore_ascii_case("Name")
                        || FIRELENS_OWN.iter().any(|own| own.eq_ignore_ascii_case(name))
                };
                if let Some(unknown) = options.keys().find(|name| !known(name)) {
                    return Err(LogDriverError::UnknownOption {
                        driver: "awsfirelens",
                        option: unknown.clone(),
                        allowed: format!("with Name firelens or none: {}", FIRELENS_OWN.join(", ")),
                    });
                }
                None
            }
            Some(_) => {
                let own = |name: &str| FIRELENS_OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
                let pairs: Vec<_> = options
                    .iter()
                    .filter(|(name, _)| !own(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                Some(OutputRule::parse(&pairs)?)
            }
        };
        Ok(FireLensRoute { tag, output, buffering })
    }
}

impl JsonFile {
    fn parse(options: &BTreeMap<String, String>) -> Result<Self, LogDriverError> {
        const DRIVER: &str = "json-file";
        allowed(DRIVER, options, &JSON_FILE)?;
        let bytes_max = match options.get("max-size").map(String::as_str) {
            None | Some("-1") => 100 * 1024 * 1024,
            Some(text) => bytes(text)
                .filter(|bytes| *bytes > 0)
                .ok_or_else(|| invalid(DRIVER, "max-size", "it is a size: 10m"))?,
        };
        let files_max = match options.get("max-file") {
            None => Some(1),
            Some(text) => text.parse::<u32>().ok(),
        };
        let files_max = files_max
            .filter(|count| (1..=1_000).contains(count))
            .ok_or_else(|| invalid(DRIVER, "max-file", "it is a number from 1 to 1000"))?;
        Ok(Self { bytes_max, files_max })
    }
}

impl FireLensConfiguration {
    /// Reads `firelensConfiguration`. Both types are served by the same router, but Fluentd's own files are not read.
    ///
    /// # Errors
    /// An option is none, or the file would come from S3.
    pub fn parse(is_fluentd: bool, options: &BTreeMap<String, String>) -> Result<Self, LogDriverError> {
        const KNOWN: [&str; 3] = ["config-file-type", "config-file-value", "enable-ecs-log-metadata"];
        if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(LogDriverError::FireLens(format!(
                "there is no option {unknown}: allowed are {}",
                KNOWN.join(", ")
            )));
        }
        let value = options.get("config-file-value").filter(|value| !value.is_empty()).cloned();
        match (options.get("config-file-type").map(String::as_str), &value) {
            (None, None) => {}
            (Some("file"), Some(_)) if is_fluentd => {
                let reason = "a configuration of Fluentd is not read here: use type fluentbit";
                return Err(LogDriverError::FireLens(reason.into()));
            }
            (Some("file"), Some(_)) => {}
            (Some("s3"), _) => {
                let reason = "config-file-type s3 is not here: allowed is file";
                return Err(LogDriverError::FireLens(reason.into()));
            }
            (Some(other), Some(_)) => {
                return Err(LogDriverError::FireLens(format!(
                    "config-file-type is s3 or file, not {other:?}"
                )));
            }
            _ => {
                let reason = "config-file-type and config-file-value go together";
                return Err(LogDriverError::FireLens(reason.into()));
            }
        }
        let metadata =
            options.get("enable-ecs-log-metadata").map_or(Some(true), |text| match text.as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            });
        let metadata = metadata
            .ok_or_else(|| LogDriverError::FireLens("enable-ecs-log-metadata is true or false".into()))?;
        Ok(Self { metadata, config_file: value })
    }
}

fn invalid(driver: &'static str, option: &str, reason: &str) -> LogDriverError {
    LogDriverError::Value { driver, option: option.to_owned(), reason: reason.to_owned() }
}

fn allowed(
    driver: &'static str,
    options: &BTreeMap<String, String>,
    known: &[&str],
) -> Result<(), LogDriverError> {
    match options.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(LogDriverError::UnknownOption {
            driver,
            option: unknown.clone(),
            allowed: if known.is_empty() { "none".into() } else { known.join(", ") },
        }),
        None => Ok(()),
    }
}

fn boolean(
    driver: &'static str,
    options: &BTreeMap<String, String>,
    name: &str,
    default: bool,
) -> Result<bool, LogDriverError> {
    match options.get(name).map(String::as_str) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(invalid(driver, name, "it is true or false")),
    }
}

fn buffering(driver: &'static str, options: &BTreeMap<String, String>) -> Result<Buffering, LogDriverError> {
    let default = Buffering::default();
    let blocking = match options.get("mode").map(String::as_str) {
        None => default.blocking,
        Some("blocking") => true,
        Some("non-blocking") => false,
        Some(_) => return Err(invalid(driver, "mode", "it is blocking or non-blocking")),
    };
    let bytes_max = match options.get("max-buffer-size") {
        None => default.bytes_max,
        Some(text) => bytes(text)
            .filter(|bytes| (1..=1 << 30).contains(bytes))
            .ok_or_else(|| invalid(driver, "max-buffer-size", "it is a size of at most 1g: 25m"))?,
    };
    Ok(Buffering { blocking, bytes_max })
}

fn millis(
    driver: &'static str,
    options: &BTreeMap<String, String>,
    name: &str,
    default: Duration,
) -> Result<Duration, LogDriverError> {
    let Some(text) = options.get(name) else { return Ok(default) };
    size::duration(text).ok_or_else(|| invalid(driver, name, "it is a time: 500ms, 1s"))
}

#[cfg(test)]
mod tests;
