//! AWS Cloud Map: namespaces and services.

use super::shape::{INT, STR, Shape, TAG, list, map, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::servicediscovery;
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

const PROPERTIES: Shape = object(&[optional("DnsProperties", PRIVATE_DNS_PROPERTIES_MUTABLE)]);

const PRIVATE_DNS_PROPERTIES_MUTABLE: Shape = object(&[optional("SOA", SOA)]);

const SOA: Shape = object(&[optional("TTL", INT.range(0.0, 2147483647.0))]);

pub(super) static PRIVATE_DNS_NAMESPACE: ResourceType = resource(
    "AWS::ServiceDiscovery::PrivateDnsNamespace",
    &[
        optional("Description", STR.len(0, 1024)),
        required("Name", STR.len(1, 1024)),
        optional("Properties", PROPERTIES),
        optional("Tags", list(&TAG).items(0, 200)),
        required("Vpc", STR.len(0, 64)),
    ],
)
.attributes(&["Id", "HostedZoneId", "Arn"])
.identified_by(servicediscovery::private_dns_namespace)
.typed_as(|value| Ok(ResourceBody::PrivateDnsNamespace(from_json(value)?)));

pub(super) static HTTP_NAMESPACE: ResourceType = resource(
    "AWS::ServiceDiscovery::HttpNamespace",
    &[
        optional("Description", STR.len(0, 1024)),
        required("Name", STR.len(1, 1024)),
        optional("Tags", list(&TAG).items(0, 200)),
    ],
)
.attributes(&["Id", "Arn"])
.identified_by(servicediscovery::http_namespace)
.typed_as(|value| Ok(ResourceBody::HttpNamespace(from_json(value)?)));

const DNS_CONFIG: Shape = object(&[
    required("DnsRecords", list(&DNS_RECORD)),
    optional("NamespaceId", STR.len(0, 64)),
    optional("RoutingPolicy", STR.one_of(&["MULTIVALUE", "WEIGHTED"])),
]);

const DNS_RECORD: Shape = object(&[
    required("TTL", INT.range(0.0, 2147483647.0)),
    required("Type", STR.one_of(&["A", "AAAA", "CNAME", "SRV"])),
]);

const HEALTH_CHECK_CONFIG: Shape = object(&[
    optional("FailureThreshold", INT.range(1.0, 10.0)),
    optional("ResourcePath", STR.len(0, 255)),
    required("Type", STR.one_of(&["HTTP", "HTTPS", "TCP"])),
]);

const HEALTH_CHECK_CUSTOM_CONFIG: Shape = object(&[optional("FailureThreshold", INT.range(1.0, 10.0))]);

pub(super) static SERVICE: ResourceType = resource(
    "AWS::ServiceDiscovery::Service",
    &[
        optional("Description", STR.len(0, 1024)),
        optional("DnsConfig", DNS_CONFIG),
        optional("HealthCheckConfig", HEALTH_CHECK_CONFIG),
        optional("HealthCheckCustomConfig", HEALTH_CHECK_CUSTOM_CONFIG),
        optional("Name", STR),
        optional("NamespaceId", STR.len(0, 255)),
        optional("ServiceAttributes", map(&STR)),
        optional("Tags", list(&TAG).items(0, 200)),
        optional("Type", STR.one_of(&["HTTP"])),
    ],
)
.attributes(&["Id", "Arn", "Name"])
.identified_by(servicediscovery::discovery_service)
.typed_as(|value| Ok(ResourceBody::DiscoveryService(from_json(value)?)));
