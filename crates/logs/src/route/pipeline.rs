//! What the records of a spool are delivered by: one pipeline for each place that they go to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_model::log_driver::{
    AwsLogs, CloudWatchOutput, ForwardOutput, HttpOutput, LogDriver, Output, OutputRule, RetryLimit,
};
use regex_lite::Regex;

use super::{RouteError, RouteSecrets, SourceName, SourceRoute, TaskRoutes};
use crate::{fluent_bit::FluentBit, shape::Shape};

/// How often records are sent where the router's file does not say.
const FLUSH: Duration = Duration::from_secs(1);
/// How often lines are put into the store of this machine.
const FLUSH_LOCAL: Duration = Duration::from_millis(200);

/// A place that a source's records go to.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) source: SourceName,
    /// Names the cursor: the same for the same place after a restart.
    pub(crate) name: String,
    pub(crate) driver: &'static str,
    /// Tags that go there; `None`: all.
    pub(crate) matches: Option<String>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) place: Place,
    pub(crate) retry: RetryLimit,
    pub(crate) flush: Duration,
}

/// Where records go.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Lines, to a stream.
    Lines {
        group: String,
        stream: String,
        create_group: bool,
        multiline: Option<Regex>,
    },
    Http(HttpOutput),
    Forward(ForwardOutput),
    CloudWatch(CloudWatchOutput),
    /// The router's own stream, as Fluent Bit's `stdout` writes.
    Stdout {
        group: String,
        stream: String,
        create_group: bool,
    },
    Null,
}

impl TaskRoutes {
    /// The pipelines of all sources.
    pub(crate) fn pipelines(&self, secrets: &RouteSecrets) -> Result<Vec<Pipeline>, RouteError> {
        let config = self.fluent_bit(secrets)?;
        let filters = Arc::new(config.filters.clone());
        let mut pipelines = Vec::new();
        for source in &self.sources {
            let shape = |tag: String| Shape {
                tag,
                container_id: self.container_id(&source.container),
                container: source.container.clone(),
                metadata: self.router.as_ref().filter(|router| router.metadata).map(|_| self.metadata()),
                filters: Arc::clone(&filters),
            };
            match source.configuration.as_ref().map(|configuration| &configuration.driver) {
                None if source.source == SourceName::Inputs => {
                    let shape = Arc::new(shape(String::new()));
                    self.of_file(&config, source, &shape, &mut pipelines);
                }
                None => {
                    let stream = format!("{}/{}", source.container, self.task);
                    let group = self.default_group.clone();
                    let place = Place::Lines { group, stream, create_group: true, multiline: None };
                    pipelines.push(pipeline(source, "default", "default", shape(String::new()), place));
                }
                Some(LogDriver::AwsLogs(awslogs)) => {
                    let place = Place::Lines {
                        group: awslogs.group.clone(),
                        stream: awslogs.stream(&source.container, &self.task),
                        create_group: awslogs.create_group,
                        // It was looked at when it was registered.
                        multiline: awslogs.multiline.as_deref().and_then(|pattern| Regex::new(pattern).ok()),
                    };
                    pipelines.push(pipeline(source, "awslogs", "awslogs", shape(String::new()), place));
                }
                Some(LogDriver::Fluentd(fluentd)) => {
                    let id = self.container_id(&source.container);
                    let shape = Shape {
                        // Docker's driver knows nothing of the task, and names containers with a slash.
                        metadata: None,
                        filters: Arc::default(),
                        container: format!("/{}", source.container),
                        ..shape(fluentd.tag.fill(&id, &source.container, &source.image))
                    };
                    let place = Place::Forward(ForwardOutput {
                        host: fluentd.host.clone(),
                        port: fluentd.port,
                        acknowledged: fluentd.acknowledged,
                        tag: None,
                        whole_seconds: !fluentd.sub_second,
                        gzip: false,
                        tls: None,
                    });
                    pipelines.push(pipeline(source, "fluentd", "fluentd", shape, place));
                }
                Some(LogDriver::AwsFireLens(firelens)) => {
                    let none = BTreeMap::new();
                    let values = secrets.options.get(&source.source).unwrap_or(&none);
                    let route = firelens.route(values).map_err(|error| RouteError::Driver {
                        container: source.container.clone(),
                        source: error,
                    })?;
                    let own = || format!("{}-firelens-{}", source.container, self.task);
                    let shape = Arc::new(shape(route.tag.unwrap_or_else(own)));
                    if let Some(rule) = route.output {
                        // It is this container's: its `Match`, which FireLens writes, matches it.
                        let rule = OutputRule { matches: None, ..rule };
                        pipelines.push(self.of_rule("own", &rule, source, &shape, &config));
                    }
                    self.of_file(&config, source, &shape, &mut pipelines);
                }
                Some(LogDriver::JsonFile(_) | LogDriver::None) => {}
            }
        }
        Ok(pipelines)
    }

    /// Every output of the file that may be meant.
    fn of_file(
        &self,
        config: &FluentBit,
        source: &SourceRoute,
        shape: &Arc<Shape>,
        pipelines: &mut Vec<Pipeline>,
    ) {
        for (number, rule) in config.outputs.iter().enumerate() {
            pipelines.push(self.of_rule(&format!("file-{number}"), rule, source, shape, config));
        }
    }

    fn of_rule(
        &self,
        name: &str,
        rule: &OutputRule,
        source: &SourceRoute,
        shape: &Arc<Shape>,
        config: &FluentBit,
    ) -> Pipeline {
        let place = match &rule.output {
            Output::Http(http) => Place::Http(http.clone()),
            Output::Forward(forward) => Place::Forward(forward.clone()),
            Output::CloudWatchLogs(cloudwatch) => Place::CloudWatch(cloudwatch.clone()),
            Output::Stdout => {
                let (group, stream, create_group) = self.stream_of_router();
                Place::Stdout { group, stream, create_group }
            }
            Output::Null => Place::Null,
        };
        Pipeline {
            source: source.source.clone(),
            name: name.to_owned(),
            driver: "awsfirelens",
            matches: rule.matches.clone(),
            shape: Arc::clone(shape),
            place,
            retry: rule.retry,
            flush: config.flush.unwrap_or(FLUSH),
        }
    }

    /// Where the router's own lines go.
    fn stream_of_router(&self) -> (String, String, bool) {
        let container = self.router.as_ref().map_or("log_router", |router| router.container.as_str());
        let own = self.sources.iter().find_map(|source| match &source.configuration.as_ref()?.driver {
            LogDriver::AwsLogs(awslogs) if source.container == container => Some(awslogs),
            _ => None,
        });
        match own {
            Some(awslogs @ AwsLogs { group, create_group, .. }) => {
                (group.clone(), awslogs.stream(container, &self.task), *create_group)
            }
            None => (self.default_group.clone(), format!("{container}/{}", self.task), true),
        }
    }

    /// `enable-ecs-log-metadata`.
    fn metadata(&self) -> [(&'static str, String); 3] {
        [
            ("ecs_cluster", self.cluster.clone()),
            ("ecs_task_arn", self.task_arn.clone()),
            ("ecs_task_definition", self.definition.clone()),
        ]
    }
}

fn pipeline(source: &SourceRoute, name: &str, driver: &'static str, shape: Shape, place: Place) -> Pipeline {
    let flush = match &place {
        Place::Lines { .. } => FLUSH_LOCAL,
        _ => FLUSH,
    };
    Pipeline {
        source: source.source.clone(),
        name: name.to_owned(),
        driver,
        matches: None,
        shape: Arc::new(shape),
        place,
        retry: RetryLimit::Unlimited,
        flush,
    }
}
