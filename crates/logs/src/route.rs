//! From a task's spec to its sources, and from these to what they are delivered by.

mod pipeline;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bowline_model::{
    log_driver::{Buffering, CONTAINER_OF_PROXY, JsonFile, LogConfiguration, LogDriver, bytes, container_id},
    task::{ProxyRole, Secret, TaskId, TaskSpec},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use pipeline::{Pipeline, Place};

use crate::{
    fluent_bit::{ConfigError, FluentBit, Input},
    spool::SpoolLimits,
};

/// The directory under the agent's state where spools are, one directory a task.
pub const SPOOLS: &str = "spool";

/// Longest `fluent-bit.conf`.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The spool of what a log router's inputs take.
pub const INPUTS: &str = "inputs";

const ROUTES: &str = "routes.json";

/// Part of a task that has lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceName {
    /// A container.
    Container(String),
    /// The sidecar, or a gateway's proxy.
    Proxy,
    /// The launcher.
    Launcher,
    /// The log router's inputs.
    Inputs,
}

impl SourceName {
    /// The spool's directory, in the task's.
    pub fn directory(&self) -> String {
        match self {
            Self::Container(name) => {
                let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '.' };
                let name_of: String = name.chars().map(safe).take(100).collect();
                // Names that differ only beyond that, or by what is no safe character, must not meet.
                let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
                format!("container-{name_of}-{hash:016x}")
            }
            Self::Proxy => "proxy".into(),
            Self::Launcher => "launcher".into(),
            Self::Inputs => INPUTS.into(),
        }
    }
}

/// What a shim does with a source's lines.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// They wait in a spool until they are delivered.
    Spool(SpoolLimits, Buffering),
    /// They are written to Docker's files at once.
    JsonFile(JsonFile),
    /// Nothing: driver `none`.
    Nothing,
}

/// What a shim does with the lines of each of a task's sources.
pub fn plans(spec: &TaskSpec) -> Vec<(SourceName, Plan)> {
    let plan =
        |configuration: Option<&LogConfiguration>| match configuration.map(|c| (&c.driver, c.buffering())) {
            None => Plan::Spool(SpoolLimits::default(), Buffering::default()),
            Some((LogDriver::JsonFile(limits), _)) => Plan::JsonFile(*limits),
            Some((LogDriver::None, _)) => Plan::Nothing,
            Some((LogDriver::AwsFireLens(firelens), buffering)) => {
                let said = firelens
                    .options
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("storage.total_limit_size"));
                let limit = said.and_then(|(_, text)| bytes(text));
                Plan::Spool(limit.map_or_else(SpoolLimits::default, SpoolLimits::of_total), buffering)
            }
            Some((_, buffering)) => Plan::Spool(SpoolLimits::default(), buffering),
        };
    let mut plans: Vec<_> = spec
        .containers
        .iter()
        .map(|container| {
            let configuration = container.log.as_ref().map(|log| &log.configuration);
            (SourceName::Container(container.name.clone()), plan(configuration))
        })
        .collect();
    if spec.proxy.is_some() {
        // What a sidecar says must never make it wait.
        let of_proxy = match plan(spec.proxy_log.as_ref().map(|log| &log.configuration)) {
            Plan::Spool(limits, buffering) => Plan::Spool(limits, Buffering { blocking: false, ..buffering }),
            other => other,
        };
        plans.push((SourceName::Proxy, of_proxy));
    }
    plans.push((SourceName::Launcher, plan(None)));
    if spec.containers.iter().any(|container| container.firelens.is_some()) {
        plans.push((
            SourceName::Inputs,
            Plan::Spool(SpoolLimits::default(), Buffering { blocking: true, ..Buffering::default() }),
        ));
    }
    plans
}

/// A task's sources with their drivers, as it is kept beside the spools: whoever delivers next knows them by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRoutes {
    /// The task.
    pub task: TaskId,
    /// Its ARN.
    pub task_arn: String,
    /// Its cluster's name.
    pub cluster: String,
    /// `FAMILY:REVISION`.
    pub definition: String,
    /// Where lines go that nothing is said of: `/bowline/CLUSTER/SERVICE`.
    pub default_group: String,
    /// The sources.
    pub sources: Vec<SourceRoute>,
    /// The log router.
    pub router: Option<LogRouter>,
}

/// A source with its driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRoute {
    /// The source.
    pub source: SourceName,
    /// What the container is called in streams and records.
    pub container: String,
    /// The container's image.
    pub image: String,
    /// The driver; `None` is Bowline's own place.
    pub configuration: Option<LogConfiguration>,
}

/// A task's log router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRouter {
    /// The container's name.
    pub container: String,
    /// Records say which task and container they are of.
    pub metadata: bool,
    /// `fluent-bit.conf`: its path and its text.
    pub file: Option<(PathBuf, String)>,
    /// The container's environment, secrets excepted.
    pub environment: BTreeMap<String, String>,
    /// Variables that are secrets.
    pub secret_variables: Vec<String>,
}

/// Values that are in no file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteSecrets {
    /// Of `secretOptions`, by source.
    pub options: BTreeMap<SourceName, BTreeMap<String, Secret>>,
    /// Of the log router's environment.
    pub variables: BTreeMap<String, Secret>,
}

/// Why a task's lines cannot be routed.
#[derive(Debug, Error)]
pub enum RouteError {
    /// The log router's file is nowhere.
    #[error("the log router's file is not on this machine: looked for {0}")]
    NoFile(String),
    /// It cannot be read.
    #[error("the log router's file {} cannot be read: {source}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A driver's options are wrong with the values of its secrets.
    #[error("container {container}: {source}")]
    Driver {
        /// The container.
        container: String,
        /// What is wrong.
        source: bowline_model::log_driver::LogDriverError,
    },
    /// A receiver cannot be used.
    #[error("container {container}: {source}")]
    Receiver {
        /// The container.
        container: String,
        /// What is wrong.
        source: io::Error,
    },
    /// Values of secrets are not known, as after a restart, until the control plane says them again.
    #[error("values of secret options are not known yet")]
    SecretsMissing,
    /// The task's directory cannot be made.
    #[error("the directory of the task's logs: {0}")]
    Directory(#[from] io::Error),
}

impl TaskRoutes {
    /// The routes of a task. The log router's file is read: `directories` is where a relative one, or one of an image,
    /// is looked for.
    ///
    /// # Errors
    /// The log router's file is not there or cannot be read.
    pub fn of(spec: &TaskSpec, directories: &[PathBuf]) -> Result<Self, RouteError> {
        let name = spec.group.split_once(':').map_or(spec.group.as_str(), |(_, name)| name);
        let mut sources: Vec<_> = spec
            .containers
            .iter()
            .map(|container| SourceRoute {
                source: SourceName::Container(container.name.clone()),
                container: container.name.clone(),
                image: container.image.clone(),
                configuration: container.log.as_ref().map(|log| log.configuration.clone()),
            })
            .collect();
        if let Some(proxy) = &spec.proxy {
            let configuration = spec.proxy_log.as_ref().map(|log| log.configuration.clone());
            let own = configuration.is_none() || proxy.role == ProxyRole::Gateway;
            let container = if own { "proxy" } else { CONTAINER_OF_PROXY }.to_owned();
            sources.push(SourceRoute {
                source: SourceName::Proxy,
                container,
                image: String::new(),
                configuration,
            });
        }
        let plain = |source: SourceName, container: &str| SourceRoute {
            source,
            container: container.to_owned(),
            image: String::new(),
            configuration: None,
        };
        sources.push(plain(SourceName::Launcher, "launcher"));
        let mut router = None;
        if let Some((container, firelens)) =
            spec.containers.iter().find_map(|container| Some((container, container.firelens.as_ref()?)))
        {
            router = Some(LogRouter {
                container: container.name.clone(),
                metadata: firelens.metadata,
                file: read_file(&firelens.config_files, directories)?,
                environment: container.environment.clone(),
                secret_variables: container.secrets.keys().cloned().collect(),
            });
            sources.push(plain(SourceName::Inputs, &container.name));
        }
        Ok(Self {
            task: spec.id.clone(),
            task_arn: spec.arn.to_string(),
            cluster: spec.cluster.clone(),
            definition: format!("{}:{}", spec.family, spec.revision),
            default_group: format!("/bowline/{}/{name}", spec.cluster),
            sources,
            router,
        })
    }

    /// Reads those kept in a task's directory.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(directory.join(ROUTES))?).map_err(io::Error::other)
    }

    /// Keeps them in a task's directory, for its owner alone.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let temporary = directory.join("routes.json.new");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, directory.join(ROUTES))
    }

    /// The log router's file, read with the values of its environment.
    pub(crate) fn fluent_bit(&self, secrets: &RouteSecrets) -> Result<FluentBit, RouteError> {
        let Some(router) = &self.router else { return Ok(FluentBit::default()) };
        let Some((path, text)) = &router.file else { return Ok(FluentBit::default()) };
        let variable = |name: &str| {
            let secret = secrets.variables.get(name).map(|secret| secret.expose().to_owned());
            secret.or_else(|| router.environment.get(name).cloned())
        };
        Ok(FluentBit::parse(&path.display().to_string(), text, &variable)?)
    }

    /// What listens in the task for applications that log by themselves: what the file says, and FireLens' own port.
    pub(crate) fn inputs(&self, config: &FluentBit) -> Vec<Input> {
        if self.router.is_none() {
            return Vec::new();
        }
        let mut inputs = config.inputs.clone();
        if !inputs.iter().any(|input| input.port == crate::input::FORWARD_PORT) {
            inputs.push(Input {
                kind: crate::fluent_bit::InputKind::Forward,
                listen: std::net::Ipv4Addr::LOCALHOST,
                port: crate::input::FORWARD_PORT,
                tag: String::new(),
            });
        }
        inputs
    }

    /// Whether values are wanted that no file has.
    pub(crate) fn wants_secrets(&self) -> bool {
        let options = self.sources.iter().filter_map(|source| source.configuration.as_ref());
        options.into_iter().any(|configuration| !configuration.secret_options.is_empty())
            || self.router.as_ref().is_some_and(|router| !router.secret_variables.is_empty())
    }

    pub(crate) fn container_id(&self, container: &str) -> String {
        container_id(&self.task, container)
    }
}

impl RouteSecrets {
    /// Those that a task's spec has.
    pub fn of(spec: &TaskSpec) -> Self {
        let containers = spec
            .containers
            .iter()
            .filter_map(|container| {
                let secrets = container.log.as_ref()?.secrets.clone();
                Some((SourceName::Container(container.name.clone()), secrets))
            })
            .chain(spec.proxy_log.iter().map(|log| (SourceName::Proxy, log.secrets.clone())));
        let router = spec.containers.iter().find(|container| container.firelens.is_some());
        Self {
            options: containers.collect(),
            variables: router.map(|router| router.secrets.clone()).unwrap_or_default(),
        }
    }
}

/// The first of the places that is a file.
fn read_file(places: &[PathBuf], directories: &[PathBuf]) -> Result<Option<(PathBuf, String)>, RouteError> {
    if places.is_empty() {
        return Ok(None);
    }
    let mut looked_for = Vec::new();
    for place in places {
        // A path of the image is, here, that very path, or a file beside the template.
        let relative = place.strip_prefix("/").unwrap_or(place);
        let beside = directories.iter().flat_map(|directory| {
            let by_name = place.file_name().map(|name| directory.join(name));
            [Some(directory.join(relative)), by_name].into_iter().flatten()
        });
        let exact = place.is_absolute().then(|| place.clone());
        looked_for.extend(exact.into_iter().chain(beside));
    }
    looked_for.dedup();
    let Some(path) = looked_for.iter().find(|path| path.is_file()) else {
        let places: Vec<_> = looked_for.iter().map(|path| path.display().to_string()).collect();
        return Err(RouteError::NoFile(places.join(", ")));
    };
    let read = || {
        use io::Read;
        let mut text = String::new();
        fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|source| RouteError::File { path: path.clone(), source })?;
    Ok(Some((path.clone(), text)))
}
