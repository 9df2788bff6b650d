//! Rules between properties and between resources, which ECS and its neighbours apply on creation
//! and which a table of properties cannot say.
//!
//! They run twice: on the template as written, so that their faults come with all others, and on
//! the evaluated properties. What is not known yet is passed over.

use std::collections::HashMap;

use super::diagnostic::{Diagnostic, Report, Span};
use super::intrinsic::{self, Call};
use super::template::{Resource, Template};
use super::tree::{Node, Path};

/// What the rules look at.
pub(super) trait View {
    fn template(&self) -> &Template;

    /// The resource's properties, if it is created.
    fn properties(&self, resource: &Resource) -> Option<&Node>;
}

/// The template as written.
pub(super) struct Declared<'t>(pub(super) &'t Template);

impl View for Declared<'_> {
    fn template(&self) -> &Template {
        self.0
    }

    fn properties(&self, resource: &Resource) -> Option<&Node> {
        self.0.resource(&resource.logical_id).map(|found| &found.properties)
    }
}

/// The properties as evaluated.
pub(super) struct Evaluated<'t> {
    pub(super) template: &'t Template,
    pub(super) properties: &'t HashMap<&'t str, Node>,
}

impl View for Evaluated<'_> {
    fn template(&self) -> &Template {
        self.template
    }

    fn properties(&self, resource: &Resource) -> Option<&Node> {
        self.properties.get(resource.logical_id.as_str())
    }
}

pub(super) const TASK_DEFINITION: &str = "AWS::ECS::TaskDefinition";
pub(super) const LOCAL_COMMAND: &str = "Bowline::ServiceConnect::LocalCommand";

pub(super) fn check(view: &dyn View, report: &mut Report) {
    for resource in &view.template().resources {
        let (Some(known), Some(properties)) = (resource.resource_type, view.properties(resource)) else {
            continue;
        };
        let mut checker = Checker { view, resource, properties, report };
        match known.name {
            TASK_DEFINITION => checker.task_definition(),
            "AWS::ECS::Service" => checker.service(),
            LOCAL_COMMAND => checker.local_command(),
            "AWS::ElasticLoadBalancingV2::Listener" => checker.listener(),
            "AWS::ElasticLoadBalancingV2::ListenerRule" => checker.actions("Actions"),
            "AWS::ACMPCA::CertificateAuthority" => checker.certificate_authority(),
            "AWS::ElasticLoadBalancingV2::TargetGroup" => checker.target_group(),
            _ => {}
        }
    }
}

struct Checker<'c> {
    view: &'c dyn View,
    resource: &'c Resource,
    properties: &'c Node,
    report: &'c mut Report,
}

impl Checker<'_> {
    fn fault(&mut self, code: &'static str, span: Span, property: &str, message: String, help: &str) {
        let section = Path::Root.key("Resources");
        let path = section.key(&self.resource.logical_id);
        let path = path.key("Properties");
        let path = path.key(property);
        self.report.push(Diagnostic::error(code, span, path, message).help(help));
    }

    fn text(&self, property: &str) -> Option<&str> {
        self.properties.get(property)?.text()
    }

    /// The resource of the template that a property refers to, as written.
    fn target(&self, property: &str) -> Option<&Resource> {
        let template = self.view.template();
        let written = template.resource(&self.resource.logical_id)?.properties.get(property)?;
        match intrinsic::parse(written, false)?.ok()? {
            Call::Ref(name) | Call::GetAtt { resource: name, .. } => template.resource(name),
            _ => None,
        }
    }

    fn task_definition(&mut self) {
        let containers = self.properties.get("ContainerDefinitions").and_then(Node::list).unwrap_or_default();
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut port_names: HashMap<&str, Span> = HashMap::new();
        let mut duplicates = Vec::new();
        for container in containers {
            if let Some(name) = container.get("Name")
                && let Some(text) = name.text()
                && names.insert(text, name.span).is_some()
            {
                duplicates.push((name.span, format!("a second container named `{text}`")));
            }
            for mapping in container.get("PortMappings").and_then(Node::list).unwrap_or_default() {
                if let Some(name) = mapping.get("Name")
                    && let Some(text) = name.text()
                    && port_names.insert(text, name.span).is_some()
                {
                    duplicates.push((name.span, format!("a second port mapping named `{text}`")));
                }
            }
        }
        for (span, message) in duplicates {
            self.fault(
                "duplicate-name",
                span,
                "ContainerDefinitions",
                message,
                "names are unique in a task definition",
            );
        }
        let inessential = |it: &Node| it.get("Essential").and_then(Node::text) == Some("false");
        if let Some(first) = containers.first()
            && containers.iter().all(inessential)
        {
            let message = "no container is essential: the task would have no end".to_owned();
            let help = "leave `Essential` out of at least one container";
            self.fault("not-allowed", first.span, "ContainerDefinitions", message, help);
        }
        // A dependency on a container that does not exist would never be fulfilled.
        let known = containers.iter().all(|it| it.get("Name").is_some_and(|name| name.text().is_some()));
        for container in containers.iter().filter(|_| known) {
            for dependency in container.get("DependsOn").and_then(Node::list).unwrap_or_default() {
                if let Some(name) = dependency.get("ContainerName")
                    && let Some(text) = name.text()
                    && !names.contains_key(text)
                {
                    let message = format!("no container is named `{text}`");
                    let allowed = super::suggest::listed(names.keys().copied());
                    self.fault(
                        "unknown-container",
                        name.span,
                        "ContainerDefinitions",
                        message,
                        &format!("allowed: {allowed}"),
                    );
                }
            }
        }
        let fargate = self.properties.get("RequiresCompatibilities").and_then(Node::list).unwrap_or_default();
        if let Some(fargate) = fargate.iter().find(|it| it.text() == Some("FARGATE")) {
            let span = fargate.span;
            if let Some(mode) = self.properties.get("NetworkMode")
                && let Some(text) = mode.text()
                && text != "awsvpc"
            {
                let message = format!("Fargate wants the network mode `awsvpc`, not `{text}`");
                self.fault("not-allowed", mode.span, "NetworkMode", message, "set `NetworkMode: awsvpc`");
            }
            for property in ["Cpu", "Memory"] {
                if self.properties.get(property).is_none() {
                    let message = format!("Fargate wants `{property}` at the level of the task");
                    let help = "for example `Cpu: 256` and `Memory: 512`";
                    self.fault("missing-property", span, property, message, help);
                }
            }
        }
    }

    fn service(&mut self) {
        let span = self.resource.span;
        let definition = self
            .target("TaskDefinition")
            .filter(|it| it.resource_type.is_some_and(|known| known.name == TASK_DEFINITION));
        let definition = definition.and_then(|it| self.view.properties(it)).cloned();
        let external = self.properties.get("DeploymentController").and_then(|it| it.get("Type")?.text())
            == Some("EXTERNAL");
        if self.properties.get("TaskDefinition").is_none() && !external {
            let message = "the property `TaskDefinition` is missing".to_owned();
            self.fault(
                "missing-property",
                span,
                "TaskDefinition",
                message,
                "AWS::ECS::Service needs it: a string",
            );
        }
        if self.properties.get("TaskDefinition").is_some()
            && let Some(target) = self.target("TaskDefinition")
            && let Some(known) = target.resource_type
            && known.name != TASK_DEFINITION
        {
            let message = format!("`{}` is an {}, not a task definition", target.logical_id, known.name);
            let at = self.properties.get("TaskDefinition").map_or(span, |it| it.span);
            self.fault(
                "wrong-type",
                at,
                "TaskDefinition",
                message,
                "refer to a resource of type AWS::ECS::TaskDefinition",
            );
        }
        self.service_connect();
        let Some(definition) = definition else { return };
        let awsvpc = definition.get("NetworkMode").and_then(Node::text) == Some("awsvpc");
        if awsvpc && self.properties.get("NetworkConfiguration").is_none() {
            let message = "the property `NetworkConfiguration` is missing: the task definition's network mode is `awsvpc`";
            let help = "add NetworkConfiguration with AwsvpcConfiguration and its Subnets";
            self.fault("missing-property", span, "NetworkConfiguration", message.to_owned(), help);
        }
        self.port_names(&definition);
        self.load_balancers(&definition);
    }

    /// Service Connect needs a namespace, from the service or from its cluster, and its access log a
    /// place to go.
    fn service_connect(&mut self) {
        let Some(connect) = self.properties.get("ServiceConnectConfiguration") else { return };
        if let Some(access_log) = connect.get("AccessLogConfiguration")
            && connect.get("LogConfiguration").is_none()
        {
            let message = "the access log needs a LogConfiguration".to_owned();
            let help = "add `LogConfiguration`, which says where the proxy's logs go";
            self.fault("missing-property", access_log.span, "ServiceConnectConfiguration", message, help);
        }
        let enabled = connect.get("Enabled").and_then(Node::text) == Some("true");
        let Some(cluster) = self.target("Cluster").and_then(|it| self.view.properties(it)) else { return };
        if enabled && connect.get("Namespace").is_none() && cluster.get("ServiceConnectDefaults").is_none() {
            let message = "Service Connect has no namespace: neither the service nor its cluster names one";
            let help = "set `Namespace` here, or `ServiceConnectDefaults` of the cluster";
            self.fault(
                "missing-property",
                connect.span,
                "ServiceConnectConfiguration",
                message.to_owned(),
                help,
            );
        }
    }

    /// TCP has no requests, so none of them can take too long; ECS refuses the limit.
    fn tcp_timeout(&mut self, service: &Node, mappings: &[&Node]) {
        let limit = service.get("Timeout").and_then(|it| it.get("PerRequestTimeoutSeconds"));
        let port = service.get("PortName").and_then(Node::text);
        let mapping =
            mappings.iter().find(|it| port.is_some() && it.get("Name").and_then(Node::text) == port);
        if let Some(limit) = limit
            && mapping.is_some_and(|it| it.get("AppProtocol").is_none())
        {
            let message = "a TCP port takes no PerRequestTimeoutSeconds".to_owned();
            let help = "give the port mapping an `AppProtocol` (http, http2 or grpc), or leave the limit out";
            self.fault("not-allowed", limit.span, "ServiceConnectConfiguration", message, help);
        }
    }

    /// A load balancer's target is a port of a container of the task definition.
    fn load_balancers(&mut self, definition: &Node) {
        let Some(containers) = definition.get("ContainerDefinitions").and_then(Node::list) else { return };
        let names: Option<Vec<&str>> = containers.iter().map(|it| it.get("Name")?.text()).collect();
        let Some(names) = names else { return };
        for balancer in self.properties.get("LoadBalancers").and_then(Node::list).unwrap_or_default() {
            if let Some(name) = balancer.get("ContainerName")
                && let Some(text) = name.text()
                && !names.contains(&text)
            {
                let message = format!("the task definition has no container `{text}`");
                let help = format!("it has {}", super::suggest::listed(names.iter().copied()));
                self.fault("unknown-container", name.span, "LoadBalancers", message, &help);
            }
        }
    }

    /// Every `PortName` of Service Connect is the name of a port mapping.
    fn port_names(&mut self, definition: &Node) {
        let Some(containers) = definition.get("ContainerDefinitions").and_then(Node::list) else { return };
        let mappings: Vec<&Node> = containers
            .iter()
            .flat_map(|it| it.get("PortMappings").and_then(Node::list).unwrap_or_default())
            .collect();
        let known = !containers.iter().chain(mappings.iter().copied()).any(|it| {
            intrinsic::is_call(it)
                || it.get("Name").is_some_and(|name| name.text().is_none())
                || it.get("PortMappings").is_some_and(|mappings| mappings.list().is_none())
        });
        let names: Vec<&str> = mappings.iter().filter_map(|it| it.get("Name")?.text()).collect();
        let services =
            self.properties.get("ServiceConnectConfiguration").and_then(|it| it.get("Services")?.list());
        for service in services.unwrap_or_default().iter().filter(|_| known) {
            self.tcp_timeout(service, &mappings);
            if let Some(name) = service.get("PortName")
                && let Some(text) = name.text()
                && !names.contains(&text)
            {
                let message = format!("no port mapping of the task definition is named `{text}`");
                let help = match super::suggest::nearest(text, names.iter().copied()) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None if names.is_empty() => {
                        "give a port mapping of the task definition a `Name`".to_owned()
                    }
                    None => format!("allowed: {}", super::suggest::listed(names.iter().copied())),
                };
                self.fault("unknown-port-name", name.span, "ServiceConnectConfiguration", message, &help);
            }
        }
    }

    /// Each action has the configuration that its type wants.
    fn actions(&mut self, property: &str) {
        for action in self.properties.get(property).and_then(Node::list).unwrap_or_default() {
            let wanted: &[&str] = match action.get("Type").and_then(Node::text) {
                Some("forward") => &["TargetGroupArn", "ForwardConfig"],
                Some("redirect") => &["RedirectConfig"],
                Some("fixed-response") => &["FixedResponseConfig"],
                _ => continue,
            };
            if !wanted.iter().any(|name| action.get(name).is_some()) {
                let kind = action.get("Type").and_then(Node::text).unwrap_or_default();
                let message = format!("the action `{kind}` does not say what to do");
                let help = format!("it needs {}", wanted.join(" or "));
                self.fault("missing-property", action.span, property, message, &help);
            }
        }
    }

    /// The authority signs with its own key.
    fn certificate_authority(&mut self) {
        let (Some(key), Some(signing)) = (self.text("KeyAlgorithm"), self.properties.get("SigningAlgorithm"))
        else {
            return;
        };
        let Some(algorithm) = signing.text() else { return };
        let family = if key.starts_with("EC_") {
            "ECDSA"
        } else if key.starts_with("RSA_") {
            "RSA"
        } else {
            return;
        };
        if !algorithm.ends_with(&format!("WITH{family}")) {
            let message = format!("a key of `{key}` cannot sign with `{algorithm}`");
            let help = format!("for example SHA256WITH{family}");
            self.fault("not-allowed", signing.span, "SigningAlgorithm", message, &help);
        }
    }

    fn listener(&mut self) {
        self.actions("DefaultActions");
        let balancer = self.target("LoadBalancerArn").and_then(|it| self.view.properties(it));
        let gateway = balancer.and_then(|it| it.get("Type")?.text()) == Some("gateway");
        for property in ["Port", "Protocol"] {
            if !gateway && self.properties.get(property).is_none() {
                let message = format!("the property `{property}` is missing");
                let help = "every listener but that of a gateway load balancer needs it";
                self.fault("missing-property", self.resource.span, property, message, help);
            }
        }
        let secure = matches!(self.text("Protocol"), Some("HTTPS" | "TLS"));
        if secure && self.properties.get("Certificates").is_none() {
            let message =
                format!("an {} listener needs a certificate", self.text("Protocol").unwrap_or_default());
            let help =
                "add `Certificates` with the CertificateArn of an AWS::CertificateManager::Certificate";
            self.fault("missing-property", self.resource.span, "Certificates", message, help);
        }
    }

    fn target_group(&mut self) {
        let lambda = self.text("TargetType") == Some("lambda");
        for property in ["Port", "Protocol"] {
            if !lambda && self.properties.get(property).is_none() {
                let message = format!("the property `{property}` is missing");
                self.fault(
                    "missing-property",
                    self.resource.span,
                    property,
                    message,
                    "a target group needs it, unless its target is a function",
                );
            }
        }
    }

    /// A local command stands in for containers that a task definition of the template has.
    fn local_command(&mut self) {
        let Some(written) = self.properties.get("TaskDefinition") else { return };
        let (span, name) = (written.span, written.text().map(str::to_owned));
        let template = self.view.template();
        let definitions: Vec<(&Resource, &Node)> = template
            .resources
            .iter()
            .filter(|it| it.resource_type.is_some_and(|known| known.name == TASK_DEFINITION))
            .filter_map(|it| Some((it, self.view.properties(it)?)))
            .collect();
        let found = match (self.target("TaskDefinition"), &name) {
            (Some(target), _) => definitions.iter().find(|it| it.0.logical_id == target.logical_id),
            (None, Some(name)) => {
                let family = name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name);
                let family_of =
                    |properties: &Node| properties.get("Family").and_then(Node::text).map(str::to_owned);
                let found = definitions
                    .iter()
                    .find(|it| it.0.logical_id == *name || family_of(it.1).as_deref() == Some(family));
                let known = definitions.iter().all(|it| family_of(it.1).is_some());
                if found.is_none() && known {
                    let message =
                        format!("no task definition of the template is `{name}`, by logical id or family");
                    let names: Vec<&str> = definitions.iter().map(|it| it.0.logical_id.as_str()).collect();
                    let help = match super::suggest::nearest(name, names.iter().copied()) {
                        Some(nearest) => format!("did you mean `{nearest}`?"),
                        None => format!("the template has {}", super::suggest::listed(names)),
                    };
                    return self.fault("unknown-resource", span, "TaskDefinition", message, &help);
                }
                found
            }
            _ => None,
        };
        let Some(containers) = found.and_then(|it| it.1.get("ContainerDefinitions")?.list()) else { return };
        let names: Option<Vec<&str>> = containers.iter().map(|it| it.get("Name")?.text()).collect();
        let Some(names) = names else { return };
        for container in self.properties.get("Containers").and_then(Node::list).unwrap_or_default() {
            if let Some(name) = container.get("Name")
                && let Some(text) = name.text()
                && !names.contains(&text)
            {
                let message = format!("the task definition has no container `{text}`");
                let help = format!("it has {}", super::suggest::listed(names.iter().copied()));
                self.fault("unknown-container", name.span, "Containers", message, &help);
            }
        }
    }
}
