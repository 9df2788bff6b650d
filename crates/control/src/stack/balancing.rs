//! Load balancers, target groups, listeners and rules of a stack.

use std::time::Duration;

use bowline_aws::{
    cfn::{ResourceBody, StackResource},
    elbv2,
};
use bowline_model::{
    arn::Arn,
    load_balancer::{
        GatewayAction, GatewayCondition, GatewayListener, GatewayProtocol, GatewayRule, LoadBalancer,
        TargetGroup, TargetHealthCheck,
    },
    task_definition::AppProtocol,
};

use super::Applying;
use crate::registry::Registry;

impl Applying<'_> {
    pub(super) fn load_balancer(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &elbv2::LoadBalancer,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let name = body.name.clone().unwrap_or_else(|| resource.logical_id.clone());
        let dns_name = resource
            .attribute("DNSName")
            .map_or_else(|| format!("{}.elb.localhost", name.to_ascii_lowercase()), str::to_owned);
        self.made("load-balancers", arn.as_str());
        registry.load_balancers.put(arn.as_str().to_owned(), LoadBalancer { arn, name, dns_name });
    }

    pub(super) fn target_group(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &elbv2::TargetGroup,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let tcp =
            matches!(body.protocol, Some(elbv2::TargetGroupProtocol::Tcp | elbv2::TargetGroupProtocol::Tls));
        let protocol = match (tcp, body.protocol_version) {
            (true, _) => AppProtocol::Tcp,
            (false, Some(elbv2::ProtocolVersion::Http2)) => AppProtocol::Http2,
            (false, Some(elbv2::ProtocolVersion::Grpc)) => AppProtocol::Grpc,
            (false, _) => AppProtocol::Http,
        };
        let check_by_tcp = match body.health_check_protocol {
            Some(elbv2::HealthCheckProtocol::Tcp) => true,
            Some(_) => false,
            None => tcp,
        };
        let seconds = |value: Option<i64>, default| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        let count = |value: Option<i64>, default| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
        };
        let health_check = body.health_check_enabled.unwrap_or(true).then(|| TargetHealthCheck {
            path: if check_by_tcp {
                String::new()
            } else {
                body.health_check_path.clone().unwrap_or_else(|| "/".into())
            },
            interval: seconds(body.health_check_interval_seconds, 30),
            timeout: seconds(body.health_check_timeout_seconds, 5),
            healthy_threshold: count(body.healthy_threshold_count, 5),
            unhealthy_threshold: count(body.unhealthy_threshold_count, 2),
            matcher: body
                .matcher
                .as_ref()
                .and_then(|matcher| matcher.http_code.clone())
                .unwrap_or_else(|| "200".into()),
        });
        let name = body.name.clone().unwrap_or_else(|| resource.logical_id.clone());
        self.made("target-groups", arn.as_str());
        registry
            .target_groups
            .put(arn.as_str().to_owned(), TargetGroup { arn, name, protocol, health_check });
    }

    pub(super) fn listener(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &elbv2::Listener,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let Ok(load_balancer) = body.load_balancer_arn.parse() else {
            return self.fault(resource, format!("LoadBalancerArn {:?} is no ARN", body.load_balancer_arn));
        };
        let protocol = match body.protocol {
            Some(elbv2::ListenerProtocol::Http) => GatewayProtocol::Http,
            Some(elbv2::ListenerProtocol::Https) => {
                GatewayProtocol::Https { tls13_only: tls13_only(body.ssl_policy.as_deref()) }
            }
            Some(elbv2::ListenerProtocol::Tcp) => GatewayProtocol::Tcp,
            other => {
                return self.fault(
                    resource,
                    format!("a listener of protocol {other:?} is not here: HTTP, HTTPS or TCP"),
                );
            }
        };
        let Some(port) = body.port else { return self.fault(resource, "a listener needs a Port") };
        match action(&body.default_actions) {
            Err(message) => self.fault(resource, format!("DefaultActions: {message}")),
            Ok(default_action) => {
                self.made("listeners", arn.as_str());
                let certificates = self.certificates_of(&arn, body);
                let listener = GatewayListener {
                    arn: arn.clone(),
                    load_balancer,
                    port,
                    protocol,
                    certificates,
                    default_action,
                };
                registry.listeners.put(arn.as_str().to_owned(), listener);
            }
        }
    }

    /// What the listener shows: its own first, then what the stack adds to it.
    fn certificates_of(&self, listener: &Arn, body: &elbv2::Listener) -> Vec<String> {
        let added = self.stack.resources.iter().filter_map(|resource| match &resource.body {
            ResourceBody::ListenerCertificate(more) if more.listener_arn == listener.as_str() => Some(more),
            _ => None,
        });
        let added = added.flat_map(|more| &more.certificates);
        let mut all: Vec<String> = Vec::new();
        for arn in body.certificates.iter().chain(added).filter_map(|used| used.certificate_arn.clone()) {
            if !all.contains(&arn) {
                all.push(arn);
            }
        }
        all
    }

    pub(super) fn rule(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &elbv2::ListenerRule,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        let Ok(listener) = body.listener_arn.parse() else {
            return self.fault(resource, format!("ListenerArn {:?} is no ARN", body.listener_arn));
        };
        if !body.transforms.is_empty() {
            self.fault(resource, "Transforms are not here");
        }
        let conditions: Result<Vec<_>, _> = body.conditions.iter().map(condition).collect();
        match (action(&body.actions), conditions) {
            (Ok(action), Ok(conditions)) => {
                let priority = u32::try_from(body.priority).unwrap_or(u32::MAX);
                self.made("rules", arn.as_str());
                registry.rules.put(
                    arn.as_str().to_owned(),
                    GatewayRule { arn, listener, priority, conditions, action },
                );
            }
            (Err(message), _) => self.fault(resource, format!("Actions: {message}")),
            (_, Err(message)) => self.fault(resource, format!("Conditions: {message}")),
        }
    }
}

/// Whether a security policy leaves only TLS 1.3
/// (`ELBSecurityPolicy-TLS13-1-3-2021-06` and its variants).
fn tls13_only(policy: Option<&str>) -> bool {
    policy.is_some_and(|policy| policy.contains("-TLS13-1-3-"))
}

fn action(actions: &[elbv2::Action]) -> Result<GatewayAction, String> {
    let mut ordered: Vec<_> = actions.iter().collect();
    ordered.sort_by_key(|action| action.order.unwrap_or(0));
    let [action] = ordered.as_slice() else {
        return Err("exactly one action is possible here: no authentication before it".into());
    };
    match action.r#type {
        elbv2::ActionType::Forward => {
            let configured = action.forward_config.iter().flat_map(|config| &config.target_groups);
            let weighted = configured.filter_map(|tuple| {
                let weight = tuple.weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
                Some((tuple.target_group_arn.clone()?, weight))
            });
            let mut targets: Vec<(String, u32)> = weighted.collect();
            if targets.is_empty() {
                targets.extend(action.target_group_arn.clone().map(|group| (group, 1)));
            }
            let parsed: Result<Vec<(Arn, u32)>, _> =
                targets.into_iter().map(|(group, weight)| Ok((group.parse()?, weight))).collect();
            let parsed = parsed.map_err(|error: bowline_model::arn::InvalidArn| error.to_string())?;
            if parsed.is_empty() {
                Err("forward names no target group".into())
            } else {
                Ok(GatewayAction::Forward(parsed))
            }
        }
        elbv2::ActionType::Redirect => {
            let config = action.redirect_config.as_ref().ok_or("redirect needs RedirectConfig")?;
            let or =
                |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
            Ok(GatewayAction::Redirect {
                protocol: or(&config.protocol, "#{protocol}"),
                host: or(&config.host, "#{host}"),
                port: or(&config.port, "#{port}"),
                path: or(&config.path, "/#{path}"),
                query: or(&config.query, "#{query}"),
                status: match config.status_code {
                    elbv2::StatusCode::Http301 => 301,
                    elbv2::StatusCode::Http302 => 302,
                },
            })
        }
        elbv2::ActionType::FixedResponse => {
            let config =
                action.fixed_response_config.as_ref().ok_or("fixed-response needs FixedResponseConfig")?;
            Ok(GatewayAction::FixedResponse {
                status: config
                    .status_code
                    .parse()
                    .map_err(|_| format!("{:?} is no status", config.status_code))?,
                content_type: config.content_type.clone().unwrap_or_else(|| "text/plain".into()),
                body: config.message_body.clone().unwrap_or_default(),
            })
        }
        other => Err(format!("an action of type {other:?} is not here")),
    }
}

fn condition(condition: &elbv2::RuleCondition) -> Result<GatewayCondition, String> {
    if !condition.regex_values.is_empty() {
        return Err("RegexValues are not here: use wildcards".into());
    }
    let field = condition.field.as_deref().unwrap_or_default();
    let values = |nested: Option<&Vec<String>>| {
        nested.filter(|values| !values.is_empty()).unwrap_or(&condition.values).clone()
    };
    match field {
        "host-header" => Ok(GatewayCondition::Hosts(values(
            condition.host_header_config.as_ref().map(|config| &config.values),
        ))),
        "path-pattern" => Ok(GatewayCondition::Paths(values(
            condition.path_pattern_config.as_ref().map(|config| &config.values),
        ))),
        "http-request-method" => Ok(GatewayCondition::Methods(values(
            condition.http_request_method_config.as_ref().map(|config| &config.values),
        ))),
        "http-header" => match &condition.http_header_config {
            Some(elbv2::HttpHeaderConfig { http_header_name: Some(name), values, .. })
                if values.len() == 1 && !values[0].contains(['*', '?']) =>
            {
                Ok(GatewayCondition::Header { name: name.clone(), value: values[0].clone() })
            }
            _ => Err("http-header takes one exact value here".into()),
        },
        "query-string" => {
            let config = condition.query_string_config.as_ref();
            match config.map(|config| config.values.as_slice()) {
                Some([elbv2::QueryStringKeyValue { key: Some(key), value: Some(value) }])
                    if !value.contains(['*', '?']) =>
                {
                    Ok(GatewayCondition::Query { name: key.clone(), value: value.clone() })
                }
                _ => Err("query-string takes one key with an exact value here".into()),
            }
        }
        other => Err(format!("a condition on {other:?} is not here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_policies() {
        assert!(tls13_only(Some("ELBSecurityPolicy-TLS13-1-3-2021-06")));
        assert!(!tls13_only(Some("ELBSecurityPolicy-TLS13-1-2-2021-06")));
        assert!(!tls13_only(None));
    }
}
