//! Elastic Load Balancing v2: load balancers, target groups, listeners, rules.

use super::shape::{BOOL, INT, STR, Shape, TAG, list, map, object, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::elbv2;
use crate::cfn::stack::ResourceBody;
use crate::protocol::from_json;

const LOAD_BALANCER_ATTRIBUTE: Shape = object(&[optional("Key", STR), optional("Value", STR)]);

const MINIMUM_LOAD_BALANCER_CAPACITY: Shape = object(&[required("CapacityUnits", INT)]);

const SUBNET_MAPPING: Shape = object(&[
    optional("AllocationId", STR),
    optional("IPv6Address", STR),
    optional("PrivateIPv4Address", STR),
    optional("SourceNatIpv6Prefix", STR),
    required("SubnetId", STR),
]);

pub(super) static LOAD_BALANCER: ResourceType = resource(
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    &[
        optional("EnableCapacityReservationProvisionStabilize", BOOL),
        optional("EnablePrefixForIpv6SourceNat", STR.one_of(&["off", "on"])),
        optional("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic", STR),
        optional("IpAddressType", STR.one_of(&["dualstack", "dualstack-without-public-ipv4", "ipv4"])),
        optional("Ipv4IpamPoolId", STR),
        optional("LoadBalancerAttributes", list(&LOAD_BALANCER_ATTRIBUTE)),
        optional("MinimumLoadBalancerCapacity", MINIMUM_LOAD_BALANCER_CAPACITY),
        optional("Name", STR.pattern("^[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$")),
        optional("Scheme", STR.one_of(&["internal", "internet-facing"])),
        optional("SecurityGroups", list(&STR)),
        optional("SubnetMappings", list(&SUBNET_MAPPING)),
        optional("Subnets", list(&STR)),
        optional("Tags", list(&TAG)),
        optional("Type", STR.one_of(&["application", "gateway", "network"])),
    ],
)
.attributes(&[
    "LoadBalancerName",
    "LoadBalancerFullName",
    "CanonicalHostedZoneID",
    "LoadBalancerArn",
    "DNSName",
    "SecurityGroups",
])
.identified_by(elbv2::load_balancer)
.typed_as(|value| Ok(ResourceBody::LoadBalancer(from_json(value)?)));

const MATCHER: Shape = object(&[optional("GrpcCode", STR), optional("HttpCode", STR)]);

const TARGET_GROUP_ATTRIBUTE: Shape = object(&[optional("Key", STR), optional("Value", STR)]);

const TARGET_DESCRIPTION: Shape = object(&[
    optional("AvailabilityZone", STR),
    required("Id", STR),
    optional("Port", INT.range(1.0, 65535.0)),
    optional("QuicServerId", STR.len(1, 256)),
]);

pub(super) static TARGET_GROUP: ResourceType = resource(
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    &[
        optional("HealthCheckEnabled", BOOL),
        optional("HealthCheckIntervalSeconds", INT.range(5.0, 300.0)),
        optional("HealthCheckPath", STR.len(1, 1024)),
        optional("HealthCheckPort", STR),
        optional(
            "HealthCheckProtocol",
            STR.one_of(&["GENEVE", "HTTP", "HTTPS", "QUIC", "TCP", "TCP_QUIC", "TCP_UDP", "TLS", "UDP"]),
        ),
        optional("HealthCheckTimeoutSeconds", INT.range(2.0, 120.0)),
        optional("HealthyThresholdCount", INT.range(2.0, 10.0)),
        optional("IpAddressType", STR.one_of(&["ipv4", "ipv6"])),
        optional("Matcher", MATCHER),
        optional("Name", STR.pattern("^[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$")),
        optional("Port", INT.range(1.0, 65535.0)),
        optional(
            "Protocol",
            STR.one_of(&["GENEVE", "HTTP", "HTTPS", "QUIC", "TCP", "TCP_QUIC", "TCP_UDP", "TLS", "UDP"]),
        ),
        optional("ProtocolVersion", STR.one_of(&["HTTP1", "HTTP2", "GRPC"])),
        optional("Tags", list(&TAG)),
        optional("TargetControlPort", INT.range(1.0, 65535.0)),
        optional("TargetGroupAttributes", list(&TARGET_GROUP_ATTRIBUTE)),
        optional("TargetType", STR.one_of(&["alb", "instance", "ip", "lambda"])),
        optional("Targets", list(&TARGET_DESCRIPTION)),
        optional("UnhealthyThresholdCount", INT.range(2.0, 10.0)),
        optional("VpcId", STR),
    ],
)
.attributes(&["TargetGroupArn", "TargetGroupName", "TargetGroupFullName"])
.identified_by(elbv2::target_group)
.typed_as(|value| Ok(ResourceBody::TargetGroup(from_json(value)?)));

const CERTIFICATE: Shape = object(&[optional("CertificateArn", STR)]);

const ACTION: Shape = object(&[
    optional("AuthenticateCognitoConfig", AUTHENTICATE_COGNITO_CONFIG),
    optional("AuthenticateOidcConfig", AUTHENTICATE_OIDC_CONFIG),
    optional("FixedResponseConfig", FIXED_RESPONSE_CONFIG),
    optional("ForwardConfig", FORWARD_CONFIG),
    optional("JwtValidationConfig", JWT_VALIDATION_CONFIG),
    optional("Order", INT.range(1.0, 50000.0)),
    optional("RedirectConfig", REDIRECT_CONFIG),
    optional("TargetGroupArn", STR),
    required(
        "Type",
        STR.one_of(&[
            "authenticate-cognito",
            "authenticate-oidc",
            "fixed-response",
            "forward",
            "jwt-validation",
            "redirect",
        ]),
    ),
]);

const AUTHENTICATE_COGNITO_CONFIG: Shape = object(&[
    optional("AuthenticationRequestExtraParams", map(&STR)),
    optional("OnUnauthenticatedRequest", STR.one_of(&["allow", "authenticate", "deny"])),
    optional("Scope", STR),
    optional("SessionCookieName", STR),
    optional("SessionTimeout", INT),
    required("UserPoolArn", STR),
    required("UserPoolClientId", STR),
    required("UserPoolDomain", STR),
]);

const AUTHENTICATE_OIDC_CONFIG: Shape = object(&[
    optional("AuthenticationRequestExtraParams", map(&STR)),
    required("AuthorizationEndpoint", STR),
    required("ClientId", STR),
    optional("ClientSecret", STR),
    required("Issuer", STR),
    optional("OnUnauthenticatedRequest", STR.one_of(&["allow", "authenticate", "deny"])),
    optional("Scope", STR),
    optional("SessionCookieName", STR),
    optional("SessionTimeout", INT),
    required("TokenEndpoint", STR),
    optional("UseExistingClientSecret", BOOL),
    required("UserInfoEndpoint", STR),
]);

const FIXED_RESPONSE_CONFIG: Shape = object(&[
    optional("ContentType", STR.len(0, 32)),
    optional("MessageBody", STR.len(0, 1024)),
    required("StatusCode", STR.pattern(r"^(2|4|5)\d\d$")),
]);

const FORWARD_CONFIG: Shape = object(&[
    optional("TargetGroupStickinessConfig", TARGET_GROUP_STICKINESS_CONFIG),
    optional("TargetGroups", list(&TARGET_GROUP_TUPLE)),
]);

const TARGET_GROUP_STICKINESS_CONFIG: Shape =
    object(&[optional("DurationSeconds", INT), optional("Enabled", BOOL)]);

const TARGET_GROUP_TUPLE: Shape =
    object(&[optional("TargetGroupArn", STR), optional("Weight", INT.range(0.0, 999.0))]);

const JWT_VALIDATION_CONFIG: Shape = object(&[
    optional("AdditionalClaims", list(&JWT_VALIDATION_ACTION_ADDITIONAL_CLAIM)),
    required("Issuer", STR),
    required("JwksEndpoint", STR),
]);

const JWT_VALIDATION_ACTION_ADDITIONAL_CLAIM: Shape = object(&[
    required("Format", STR.one_of(&["single-string", "space-separated-values", "string-array"])),
    required("Name", STR),
    required("Values", list(&STR)),
]);

const REDIRECT_CONFIG: Shape = object(&[
    optional("Host", STR.len(1, 128)),
    optional("Path", STR.len(1, 128)),
    optional("Port", STR),
    optional("Protocol", STR.pattern(r"^(HTTPS?|#\{protocol\})$")),
    optional("Query", STR.len(0, 128)),
    required("StatusCode", STR.one_of(&["HTTP_301", "HTTP_302"])),
]);

const LISTENER_ATTRIBUTE: Shape = object(&[optional("Key", STR), optional("Value", STR)]);

const MUTUAL_AUTHENTICATION: Shape = object(&[
    optional("AdvertiseTrustStoreCaNames", STR.one_of(&["off", "on"])),
    optional("IgnoreClientCertificateExpiry", BOOL),
    optional("Mode", STR.one_of(&["off", "verify", "passthrough"])),
    optional("TrustStoreArn", STR),
]);

pub(super) static LISTENER: ResourceType = resource(
    "AWS::ElasticLoadBalancingV2::Listener",
    &[
        optional("AlpnPolicy", list(&STR)),
        optional("Certificates", list(&CERTIFICATE)),
        required("DefaultActions", list(&ACTION)),
        optional("ListenerAttributes", list(&LISTENER_ATTRIBUTE)),
        required("LoadBalancerArn", STR),
        optional("MutualAuthentication", MUTUAL_AUTHENTICATION),
        optional("Port", INT.range(1.0, 65535.0)),
        optional(
            "Protocol",
            STR.one_of(&["GENEVE", "HTTP", "HTTPS", "QUIC", "TCP", "TCP_QUIC", "TCP_UDP", "TLS", "UDP"]),
        ),
        optional("SslPolicy", STR),
        optional("Tags", list(&TAG).items(1, u32::MAX)),
    ],
)
.attributes(&["ListenerArn"])
.identified_by(elbv2::listener)
.typed_as(|value| Ok(ResourceBody::Listener(from_json(value)?)));

const RULE_CONDITION: Shape = object(&[
    optional("Field", STR.len(0, 64)),
    optional("HostHeaderConfig", HOST_HEADER_CONFIG),
    optional("HttpHeaderConfig", HTTP_HEADER_CONFIG),
    optional("HttpRequestMethodConfig", HTTP_REQUEST_METHOD_CONFIG),
    optional("PathPatternConfig", PATH_PATTERN_CONFIG),
    optional("QueryStringConfig", QUERY_STRING_CONFIG),
    optional("RegexValues", list(&STR)),
    optional("SourceIpConfig", SOURCE_IP_CONFIG),
    optional("Values", list(&STR)),
]);

const HOST_HEADER_CONFIG: Shape =
    object(&[optional("RegexValues", list(&STR)), optional("Values", list(&STR))]);

const HTTP_HEADER_CONFIG: Shape = object(&[
    optional("HttpHeaderName", STR),
    optional("RegexValues", list(&STR)),
    optional("Values", list(&STR)),
]);

const HTTP_REQUEST_METHOD_CONFIG: Shape = object(&[optional("Values", list(&STR))]);

const PATH_PATTERN_CONFIG: Shape =
    object(&[optional("RegexValues", list(&STR)), optional("Values", list(&STR))]);

const QUERY_STRING_CONFIG: Shape = object(&[optional("Values", list(&QUERY_STRING_KEY_VALUE))]);

const QUERY_STRING_KEY_VALUE: Shape = object(&[optional("Key", STR), optional("Value", STR)]);

const SOURCE_IP_CONFIG: Shape =
    object(&[optional("IpAddressType", STR.one_of(&["ipv4", "ipv6"])), optional("Values", list(&STR))]);

const TRANSFORM: Shape = object(&[
    optional("HostHeaderRewriteConfig", REWRITE_CONFIG_OBJECT),
    required("Type", STR.one_of(&["host-header-rewrite", "url-rewrite"])),
    optional("UrlRewriteConfig", REWRITE_CONFIG_OBJECT),
]);

const REWRITE_CONFIG_OBJECT: Shape = object(&[required("Rewrites", list(&REWRITE_CONFIG))]);

const REWRITE_CONFIG: Shape = object(&[required("Regex", STR), required("Replace", STR)]);

pub(super) static LISTENER_RULE: ResourceType = resource(
    "AWS::ElasticLoadBalancingV2::ListenerRule",
    &[
        required("Actions", list(&ACTION)),
        required("Conditions", list(&RULE_CONDITION)),
        required("ListenerArn", STR),
        required("Priority", INT.range(1.0, 50000.0)),
        optional("Tags", list(&TAG).items(1, u32::MAX)),
        optional("Transforms", list(&TRANSFORM)),
    ],
)
.attributes(&["RuleArn", "IsDefault"])
.identified_by(elbv2::listener_rule)
.typed_as(|value| Ok(ResourceBody::ListenerRule(from_json(value)?)));

pub(super) static LISTENER_CERTIFICATE: ResourceType = resource(
    "AWS::ElasticLoadBalancingV2::ListenerCertificate",
    &[required("Certificates", list(&CERTIFICATE)), required("ListenerArn", STR)],
)
.attributes(&["Id"])
.identified_by(elbv2::listener_certificate)
.typed_as(|value| Ok(ResourceBody::ListenerCertificate(from_json(value)?)));
