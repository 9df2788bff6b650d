//! Amazon EC2 networking, kept as records.

use super::shape::{BOOL, INT, JSON, STR, TAG, list, optional, required};
use super::{ResourceType, resource};
use crate::cfn::physical::ec2;

pub(super) static VPC: ResourceType = resource(
    "AWS::EC2::VPC",
    &[
        optional("CidrBlock", STR),
        optional("EnableDnsHostnames", BOOL),
        optional("EnableDnsSupport", BOOL),
        optional("InstanceTenancy", STR.one_of(&["dedicated", "default", "host"])),
        optional("Ipv4IpamPoolId", STR),
        optional("Ipv4NetmaskLength", INT),
        optional("Tags", list(&TAG)),
        optional("VpcEncryptionControl", JSON),
    ],
)
.attributes(&["DefaultNetworkAcl", "DefaultSecurityGroup", "Ipv6CidrBlocks", "VpcId", "CidrBlock"])
.identified_by(ec2::vpc);

pub(super) static SUBNET: ResourceType = resource(
    "AWS::EC2::Subnet",
    &[
        optional("AssignIpv6AddressOnCreation", BOOL),
        optional("AvailabilityZone", STR),
        optional("AvailabilityZoneId", STR),
        optional("CidrBlock", STR),
        optional("EnableDns64", BOOL),
        optional("EnableLniAtDeviceIndex", INT),
        optional("Ipv4IpamPoolId", STR),
        optional("Ipv4NetmaskLength", INT),
        optional("Ipv6CidrBlock", STR),
        optional("Ipv6IpamPoolId", STR),
        optional("Ipv6Native", BOOL),
        optional("Ipv6NetmaskLength", INT),
        optional("MapPublicIpOnLaunch", BOOL),
        optional("OutpostArn", STR),
        optional("PrivateDnsNameOptionsOnLaunch", JSON),
        optional("Tags", list(&TAG)),
        required("VpcId", STR),
    ],
)
.attributes(&["SubnetId", "Ipv6CidrBlocks", "AvailabilityZone", "CidrBlock", "VpcId"])
.identified_by(ec2::subnet);

pub(super) static SECURITY_GROUP: ResourceType = resource(
    "AWS::EC2::SecurityGroup",
    &[
        required("GroupDescription", STR.pattern(r"^[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]*$").len(0, 255)),
        optional("GroupName", STR),
        optional("SecurityGroupEgress", list(&JSON)),
        optional("SecurityGroupIngress", list(&JSON)),
        optional("Tags", list(&TAG)),
        optional("VpcId", STR),
    ],
)
.attributes(&["Id", "GroupId", "VpcId"])
.identified_by(ec2::security_group);

pub(super) static SECURITY_GROUP_INGRESS: ResourceType = resource(
    "AWS::EC2::SecurityGroupIngress",
    &[
        optional("CidrIp", STR),
        optional("CidrIpv6", STR),
        optional("Description", STR),
        optional("FromPort", INT.range(-1.0, f64::MAX)),
        optional("GroupId", STR),
        optional("GroupName", STR),
        required("IpProtocol", STR),
        optional("SourcePrefixListId", STR),
        optional("SourceSecurityGroupId", STR),
        optional("SourceSecurityGroupName", STR),
        optional("SourceSecurityGroupOwnerId", STR),
        optional("ToPort", INT.range(-1.0, f64::MAX)),
    ],
)
.attributes(&["Id"])
.identified_by(ec2::security_group_ingress);

pub(super) static SECURITY_GROUP_EGRESS: ResourceType = resource(
    "AWS::EC2::SecurityGroupEgress",
    &[
        optional("CidrIp", STR),
        optional("CidrIpv6", STR),
        optional("Description", STR),
        optional("DestinationPrefixListId", STR),
        optional("DestinationSecurityGroupId", STR),
        optional("FromPort", INT.range(-1.0, f64::MAX)),
        required("GroupId", STR),
        required("IpProtocol", STR),
        optional("ToPort", INT.range(-1.0, f64::MAX)),
    ],
)
.attributes(&["Id"])
.identified_by(ec2::security_group_egress);

pub(super) static ROUTE_TABLE: ResourceType =
    resource("AWS::EC2::RouteTable", &[optional("Tags", list(&TAG)), required("VpcId", STR)])
        .attributes(&["RouteTableId"])
        .identified_by(ec2::route_table);

pub(super) static ROUTE: ResourceType = resource(
    "AWS::EC2::Route",
    &[
        optional("CarrierGatewayId", STR),
        optional("CoreNetworkArn", STR),
        optional("DestinationCidrBlock", STR),
        optional("DestinationIpv6CidrBlock", STR),
        optional("DestinationPrefixListId", STR),
        optional("EgressOnlyInternetGatewayId", STR),
        optional("GatewayId", STR),
        optional("InstanceId", STR),
        optional("LocalGatewayId", STR),
        optional("NatGatewayId", STR),
        optional("NetworkInterfaceId", STR),
        optional("OdbNetworkArn", STR),
        required("RouteTableId", STR),
        optional("TransitGatewayId", STR),
        optional("VpcEndpointId", STR),
        optional("VpcPeeringConnectionId", STR),
    ],
)
.attributes(&["CidrBlock"])
.identified_by(ec2::route);

pub(super) static SUBNET_ROUTE_TABLE_ASSOCIATION: ResourceType = resource(
    "AWS::EC2::SubnetRouteTableAssociation",
    &[required("RouteTableId", STR), required("SubnetId", STR)],
)
.attributes(&["Id"])
.identified_by(ec2::subnet_route_table_association);

pub(super) static INTERNET_GATEWAY: ResourceType =
    resource("AWS::EC2::InternetGateway", &[optional("Tags", list(&TAG))])
        .attributes(&["InternetGatewayId"])
        .identified_by(ec2::internet_gateway);

pub(super) static VPC_GATEWAY_ATTACHMENT: ResourceType = resource(
    "AWS::EC2::VPCGatewayAttachment",
    &[optional("InternetGatewayId", STR), required("VpcId", STR), optional("VpnGatewayId", STR)],
)
.attributes(&["AttachmentType"])
.identified_by(ec2::vpc_gateway_attachment);

pub(super) static NAT_GATEWAY: ResourceType = resource(
    "AWS::EC2::NatGateway",
    &[
        optional("AllocationId", STR),
        optional("AvailabilityMode", STR.one_of(&["regional", "zonal"])),
        optional("AvailabilityZoneAddresses", list(&JSON)),
        optional("ConnectivityType", STR.one_of(&["private", "public"])),
        optional("MaxDrainDurationSeconds", INT),
        optional("PrivateIpAddress", STR),
        optional("SecondaryAllocationIds", list(&STR)),
        optional("SecondaryPrivateIpAddressCount", INT.range(1.0, 31.0)),
        optional("SecondaryPrivateIpAddresses", list(&STR)),
        optional("SubnetId", STR),
        optional("Tags", list(&TAG)),
        optional("VpcId", STR),
    ],
)
.attributes(&["NatGatewayId"])
.identified_by(ec2::nat_gateway);

pub(super) static EIP: ResourceType = resource(
    "AWS::EC2::EIP",
    &[
        optional("Address", STR),
        optional("Domain", STR),
        optional("InstanceId", STR),
        optional("IpamPoolId", STR),
        optional("NetworkBorderGroup", STR),
        optional("PublicIpv4Pool", STR),
        optional("Tags", list(&TAG)),
        optional("TransferAddress", STR),
    ],
)
.attributes(&["PublicIp", "AllocationId"])
.identified_by(ec2::eip);

pub(super) static VPC_PEERING_CONNECTION: ResourceType = resource(
    "AWS::EC2::VPCPeeringConnection",
    &[
        optional("AssumeRoleRegion", STR),
        optional("PeerOwnerId", STR),
        optional("PeerRegion", STR),
        optional("PeerRoleArn", STR),
        required("PeerVpcId", STR),
        optional("Tags", list(&TAG)),
        required("VpcId", STR),
    ],
)
.attributes(&["Id"])
.identified_by(ec2::vpc_peering_connection);

pub(super) static NETWORK_ACL: ResourceType =
    resource("AWS::EC2::NetworkAcl", &[optional("Tags", list(&TAG)), required("VpcId", STR)])
        .attributes(&["Id"])
        .identified_by(ec2::network_acl);

pub(super) static NETWORK_ACL_ENTRY: ResourceType = resource(
    "AWS::EC2::NetworkAclEntry",
    &[
        optional("CidrBlock", STR),
        optional("Egress", BOOL),
        optional("Icmp", JSON),
        optional("Ipv6CidrBlock", STR),
        required("NetworkAclId", STR),
        optional("PortRange", JSON),
        required("Protocol", INT),
        required("RuleAction", STR),
        required("RuleNumber", INT),
    ],
)
.attributes(&["Id"])
.identified_by(ec2::network_acl_entry);

pub(super) static SUBNET_NETWORK_ACL_ASSOCIATION: ResourceType = resource(
    "AWS::EC2::SubnetNetworkAclAssociation",
    &[required("NetworkAclId", STR), required("SubnetId", STR)],
)
.attributes(&["AssociationId"])
.identified_by(ec2::subnet_network_acl_association);

pub(super) static VPC_ENDPOINT: ResourceType = resource(
    "AWS::EC2::VPCEndpoint",
    &[
        optional("DnsOptions", JSON),
        optional("IpAddressType", STR.one_of(&["ipv4", "ipv6", "dualstack", "not-specified"])),
        optional("PolicyDocument", JSON),
        optional("PrivateDnsEnabled", BOOL),
        optional("ResourceConfigurationArn", STR),
        optional("RouteTableIds", list(&STR)),
        optional("SecurityGroupIds", list(&STR)),
        optional("ServiceName", STR),
        optional("ServiceNetworkArn", STR),
        optional("ServiceRegion", STR),
        optional("SubnetIds", list(&STR)),
        optional("Tags", list(&TAG)),
        optional(
            "VpcEndpointType",
            STR.one_of(&[
                "Interface",
                "Gateway",
                "GatewayLoadBalancer",
                "ServiceNetwork",
                "Resource",
                "Tunnel",
            ]),
        ),
        required("VpcId", STR),
    ],
)
.attributes(&["Id"])
.identified_by(ec2::vpc_endpoint);

pub(super) static FLOW_LOG: ResourceType = resource(
    "AWS::EC2::FlowLog",
    &[
        optional("DeliverCrossAccountRole", STR),
        optional("DeliverLogsPermissionArn", STR),
        optional("DestinationOptions", JSON),
        optional("LogDestination", STR),
        optional("LogDestinationType", STR.one_of(&["cloud-watch-logs", "s3", "kinesis-data-firehose"])),
        optional("LogFormat", STR),
        optional("LogGroupName", STR),
        optional("MaxAggregationInterval", INT),
        required("ResourceId", STR),
        required(
            "ResourceType",
            STR.one_of(&[
                "NetworkInterface",
                "Subnet",
                "VPC",
                "TransitGateway",
                "TransitGatewayAttachment",
                "RegionalNatGateway",
            ]),
        ),
        optional("TagFieldSpecifications", list(&JSON).items(1, 3)),
        optional("Tags", list(&TAG)),
        optional("TrafficType", STR.one_of(&["ACCEPT", "ALL", "REJECT"])),
    ],
)
.attributes(&["Id"])
.identified_by(ec2::flow_log);
