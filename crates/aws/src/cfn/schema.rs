//! The resource types that are read: one table entry each.
//!
//! To add a type: write its entry (`resource(name, properties)`) in the file of its service, say
//! how it is identified (`identified_by`, see `physical`) and what it becomes (`typed_as`; without
//! it, a record), and list it in [`ALL`]. The tests hold every entry to its promises.

mod acm;
mod acmpca;
mod bowline;
mod ec2;
mod ecs;
mod ecs_task_definition;
mod elbv2;
mod fis;
mod iam;
mod records;
mod servicediscovery;
mod shape;
mod traffic;
mod xray;

use serde_json::Value;

use super::physical::{self, Facts, Identity};
use super::stack::ResourceBody;
use crate::protocol::Violation;

pub(super) use shape::{Case, Property, Shape, check, free_json, number, to_json};

/// What is known of a resource type.
#[derive(Debug)]
pub(super) struct ResourceType {
    pub(super) name: &'static str,
    pub(super) properties: Shape,
    /// What `Fn::GetAtt` yields, apart from what only `identify` computes.
    pub(super) attributes: &'static [&'static str],
    pub(super) case: Case,
    pub(super) identify: fn(&Facts<'_>) -> Identity,
    pub(super) body: fn(Value) -> Result<ResourceBody, Violation>,
}

const fn resource(name: &'static str, properties: &'static [Property]) -> ResourceType {
    ResourceType {
        name,
        properties: shape::object(properties),
        attributes: &[],
        case: Case::Pascal,
        identify: physical::by_name,
        body: |value| Ok(ResourceBody::Record(value)),
    }
}

impl ResourceType {
    const fn attributes(self, attributes: &'static [&'static str]) -> Self {
        ResourceType { attributes, ..self }
    }

    /// The body has the names of the service's JSON API.
    const fn camel_case(self) -> Self {
        ResourceType { case: Case::Camel, ..self }
    }

    const fn identified_by(self, identify: fn(&Facts<'_>) -> Identity) -> Self {
        ResourceType { identify, ..self }
    }

    const fn typed_as(self, body: fn(Value) -> Result<ResourceBody, Violation>) -> Self {
        ResourceType { body, ..self }
    }
}

/// The type of that name.
pub(super) fn find(name: &str) -> Option<&'static ResourceType> {
    ALL.iter().copied().find(|resource| resource.name == name)
}

/// The names of all types.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|resource| resource.name)
}

static ALL: &[&ResourceType] = &[
    &acm::CERTIFICATE,
    &acmpca::CERTIFICATE,
    &acmpca::CERTIFICATE_AUTHORITY,
    &acmpca::CERTIFICATE_AUTHORITY_ACTIVATION,
    &bowline::AUTHORIZATION_POLICY,
    &bowline::LOCAL_COMMAND,
    &traffic::TRAFFIC_POLICY,
    &ec2::EIP,
    &ec2::FLOW_LOG,
    &ec2::INTERNET_GATEWAY,
    &ec2::NAT_GATEWAY,
    &ec2::NETWORK_ACL,
    &ec2::NETWORK_ACL_ENTRY,
    &ec2::ROUTE,
    &ec2::ROUTE_TABLE,
    &ec2::SECURITY_GROUP,
    &ec2::SECURITY_GROUP_EGRESS,
    &ec2::SECURITY_GROUP_INGRESS,
    &ec2::SUBNET,
    &ec2::SUBNET_NETWORK_ACL_ASSOCIATION,
    &ec2::SUBNET_ROUTE_TABLE_ASSOCIATION,
    &ec2::VPC,
    &ec2::VPC_ENDPOINT,
    &ec2::VPC_GATEWAY_ATTACHMENT,
    &ec2::VPC_PEERING_CONNECTION,
    &ecs::CLUSTER,
    &ecs::SERVICE,
    &ecs_task_definition::TASK_DEFINITION,
    &elbv2::LISTENER,
    &elbv2::LISTENER_CERTIFICATE,
    &elbv2::LISTENER_RULE,
    &elbv2::LOAD_BALANCER,
    &elbv2::TARGET_GROUP,
    &fis::EXPERIMENT_TEMPLATE,
    &iam::INSTANCE_PROFILE,
    &iam::MANAGED_POLICY,
    &iam::POLICY,
    &iam::ROLE,
    &iam::USER,
    &records::ALARM,
    &records::ALIAS,
    &records::FUNCTION,
    &records::KEY,
    &records::LOG_GROUP,
    &records::METADATA,
    &records::METRIC_FILTER,
    &records::PARAMETER,
    &records::SCALABLE_TARGET,
    &records::SCALING_POLICY,
    &records::SECRET,
    &records::SECRET_POLICY,
    &records::SECRET_ROTATION,
    &records::VPC_RESTRICT_DEFAULT_SG,
    &servicediscovery::HTTP_NAMESPACE,
    &servicediscovery::PRIVATE_DNS_NAMESPACE,
    &servicediscovery::SERVICE,
    &xray::SAMPLING_RULE,
];

#[cfg(test)]
mod tests {
    use super::super::stack::Inputs;
    use super::super::tree::{Entry, Kind, Node};
    use super::*;
    use crate::cfn::diagnostic::Span;

    #[test]
    fn every_pattern_compiles() {
        let mut found = Vec::new();
        ALL.iter().for_each(|resource| shape::patterns(&resource.properties, &mut found));
        assert!(found.len() > 20, "the walk finds the patterns");
        for pattern in found {
            assert!(regex_lite::Regex::new(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn every_name_is_unique_and_found() {
        for resource in ALL {
            assert!(std::ptr::eq(find(resource.name).expect("listed"), *resource), "{}", resource.name);
        }
    }

    /// What the tables let through, the structs must take, and take whole: serialized again, no
    /// property is missing or has another name.
    #[test]
    fn every_table_agrees_with_its_struct() {
        for resource in ALL {
            for pick in 0..30 {
                let node = shape::sample(&resource.properties, pick, true);
                let value = to_json(&resource.properties, &node, resource.case);
                let body = (resource.body)(value.clone())
                    .unwrap_or_else(|fault| panic!("{}: {fault}", resource.name));
                let back = serde_json::to_value(&body).expect("plain data");
                assert_eq!(back["properties"], value, "{}", resource.name);
            }
        }
    }

    /// With the least that the table demands, and the names that `identify` fills in, a body is
    /// made too.
    #[test]
    fn the_required_properties_are_enough() {
        let inputs = Inputs::default();
        for resource in ALL {
            let mut node = shape::sample(&resource.properties, 0, false);
            let facts = Facts { inputs: &inputs, resource, logical_id: "It", properties: &node };
            let identity = (resource.identify)(&facts);
            if let Kind::Map(entries) = &mut node.kind {
                entries.extend(identity.defaults.iter().map(|(name, value)| Entry {
                    key: (*name).to_owned(),
                    key_span: Span::default(),
                    value: Node::string(value, Span::default()),
                }));
            }
            let value = to_json(&resource.properties, &node, resource.case);
            (resource.body)(value).unwrap_or_else(|fault| panic!("{}: {fault}", resource.name));
        }
    }

    /// `Fn::GetAtt` is checked against the table and answered by `identify`: they must agree.
    #[test]
    fn every_attribute_of_the_tables_has_a_value() {
        let properties = Node::new(Kind::Map(Vec::new()), Span::default());
        let inputs = Inputs::default();
        for resource in ALL {
            let facts = Facts { inputs: &inputs, resource, logical_id: "It", properties: &properties };
            let identity = (resource.identify)(&facts);
            for attribute in resource.attributes {
                assert!(identity.attributes.contains_key(*attribute), "{} has no {attribute}", resource.name);
            }
        }
    }
}
