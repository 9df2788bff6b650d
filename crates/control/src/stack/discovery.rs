//! Cloud Map's resources of a template.

use bowline_aws::{
    cfn::StackResource,
    servicediscovery::{HttpNamespace, PrivateDnsNamespace, Service},
};

use super::Applying;
use crate::{
    cloud_map::{
        namespaces::{self, NamespaceSpec, PrivateDns},
        services::{self, ServiceSpec},
    },
    registry::Registry,
};

impl Applying<'_> {
    pub(super) fn http_namespace(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &HttpNamespace,
    ) {
        let spec = NamespaceSpec {
            name: body.name.clone(),
            description: body.description.clone(),
            tags: body.tags.clone(),
            ..NamespaceSpec::default()
        };
        self.namespace(registry, resource, spec);
    }

    pub(super) fn private_dns_namespace(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &PrivateDnsNamespace,
    ) {
        let soa = body.properties.as_ref().and_then(|properties| properties.dns_properties.as_ref());
        let dns = PrivateDns {
            vpc: Some(body.vpc.clone()),
            soa_ttl: soa.and_then(|dns| dns.soa.as_ref()).and_then(|soa| soa.ttl),
            hosted_zone_id: resource.attribute("HostedZoneId").map(str::to_owned),
        };
        let spec = NamespaceSpec {
            name: body.name.clone(),
            description: body.description.clone(),
            tags: body.tags.clone(),
            private_dns: Some(dns),
            creator_request_id: None,
        };
        self.namespace(registry, resource, spec);
    }

    fn namespace(&mut self, registry: &mut Registry, resource: &StackResource, spec: NamespaceSpec) {
        let Some(arn) = self.arn(resource) else { return };
        self.made("namespaces", &spec.name);
        // A template may give the name of one of its namespaces to another of them.
        let own = ("namespaces".to_owned(), spec.name.clone());
        let before = registry.stacks.get(&self.stack.name);
        let replaces = before.is_some_and(|before| before.resources.contains(&own));
        if replaces && registry.namespaces.get(&spec.name).is_some_and(|present| present.arn != arn) {
            registry.namespaces.remove(&spec.name);
        }
        if let Err(error) = namespaces::put(registry, arn, spec, self.now) {
            self.fault(resource, error.to_string());
        }
    }

    pub(super) fn discovery_service(
        &mut self,
        registry: &mut Registry,
        resource: &StackResource,
        body: &Service,
    ) {
        let Some(arn) = self.arn(resource) else { return };
        self.made("discovery-services", arn.resource_name());
        let of_dns = body.dns_config.as_ref().and_then(|dns| dns.namespace_id.clone());
        let Some(namespace) = body.namespace_id.clone().or(of_dns) else {
            self.fault(resource, "it needs NamespaceId");
            return;
        };
        let spec = ServiceSpec {
            name: body.name.clone().unwrap_or_default(),
            namespace,
            description: body.description.clone(),
            dns_config: body.dns_config.clone(),
            health_check_config: body.health_check_config.clone(),
            health_check_custom: body.health_check_custom_config.is_some(),
            service_type: body.r#type,
            attributes: body.service_attributes.clone(),
            tags: body.tags.clone(),
            creator_request_id: None,
        };
        if let Err(error) = services::put(registry, arn, spec, self.now) {
            self.fault(resource, error.to_string());
        }
    }
}
