//! EC2: a prefix and 17 hexadecimal digits.

use serde_json::Value;

use super::{Facts, HEX, Identity};

/// `Ref` and one attribute, both the id.
fn id(facts: &Facts<'_>, prefix: &str, attribute: &str) -> Identity {
    let id = facts.ec2_id(prefix);
    Identity::new(id.clone()).with(attribute, id)
}

pub(in crate::cfn) fn vpc(facts: &Facts<'_>) -> Identity {
    id(facts, "vpc-", "VpcId")
        .with("CidrBlock", facts.text("CidrBlock").unwrap_or_default())
        .with("DefaultSecurityGroup", format!("sg-{}", facts.random("default-security-group", HEX, 17)))
        .with("DefaultNetworkAcl", format!("acl-{}", facts.random("default-network-acl", HEX, 17)))
        .with("Ipv6CidrBlocks", Vec::<Value>::new())
}

pub(in crate::cfn) fn subnet(facts: &Facts<'_>) -> Identity {
    let zone =
        facts.text("AvailabilityZone").map_or_else(|| format!("{}a", facts.inputs.region), str::to_owned);
    let blocks: Vec<Value> = facts.text("Ipv6CidrBlock").map(Value::from).into_iter().collect();
    id(facts, "subnet-", "SubnetId")
        .with("AvailabilityZone", zone)
        .with("CidrBlock", facts.text("CidrBlock").unwrap_or_default())
        .with("VpcId", facts.text("VpcId").unwrap_or_default())
        .with("Ipv6CidrBlocks", blocks)
}

pub(in crate::cfn) fn security_group(facts: &Facts<'_>) -> Identity {
    let id = facts.ec2_id("sg-");
    Identity::new(id.clone())
        .with("GroupId", id.clone())
        .with("Id", id)
        .with("VpcId", facts.text("VpcId").unwrap_or_default())
}

pub(in crate::cfn) fn security_group_ingress(facts: &Facts<'_>) -> Identity {
    id(facts, "sgr-", "Id")
}

pub(in crate::cfn) fn security_group_egress(facts: &Facts<'_>) -> Identity {
    id(facts, "sgr-", "Id")
}

pub(in crate::cfn) fn route_table(facts: &Facts<'_>) -> Identity {
    id(facts, "rtb-", "RouteTableId")
}

pub(in crate::cfn) fn route(facts: &Facts<'_>) -> Identity {
    let block = ["DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"]
        .iter()
        .find_map(|property| facts.text(property))
        .unwrap_or_default();
    Identity::new(format!("{}|{block}", facts.text("RouteTableId").unwrap_or_default()))
        .with("CidrBlock", block)
}

pub(in crate::cfn) fn subnet_route_table_association(facts: &Facts<'_>) -> Identity {
    id(facts, "rtbassoc-", "Id")
}

pub(in crate::cfn) fn internet_gateway(facts: &Facts<'_>) -> Identity {
    id(facts, "igw-", "InternetGatewayId")
}

pub(in crate::cfn) fn vpc_gateway_attachment(facts: &Facts<'_>) -> Identity {
    let kind = if facts.text("VpnGatewayId").is_some() { "VGW" } else { "IGW" };
    Identity::new(format!("{kind}|{}", facts.text("VpcId").unwrap_or_default())).with("AttachmentType", kind)
}

pub(in crate::cfn) fn nat_gateway(facts: &Facts<'_>) -> Identity {
    id(facts, "nat-", "NatGatewayId")
}

pub(in crate::cfn) fn eip(facts: &Facts<'_>) -> Identity {
    // TEST-NET-2 (RFC 5737): an address that is nobody's.
    let host = facts.random("address", HEX, 2);
    let address = format!("198.51.100.{}", u8::from_str_radix(&host, 16).unwrap_or(1));
    id(facts, "eipalloc-", "AllocationId").with("PublicIp", address.clone()).referring_to(address)
}

pub(in crate::cfn) fn vpc_peering_connection(facts: &Facts<'_>) -> Identity {
    id(facts, "pcx-", "Id")
}

pub(in crate::cfn) fn network_acl(facts: &Facts<'_>) -> Identity {
    id(facts, "acl-", "Id")
}

pub(in crate::cfn) fn network_acl_entry(facts: &Facts<'_>) -> Identity {
    let name = facts.generated_name(255);
    Identity::new(name.clone()).with("Id", name)
}

pub(in crate::cfn) fn subnet_network_acl_association(facts: &Facts<'_>) -> Identity {
    id(facts, "aclassoc-", "AssociationId")
}

pub(in crate::cfn) fn vpc_endpoint(facts: &Facts<'_>) -> Identity {
    id(facts, "vpce-", "Id")
}

pub(in crate::cfn) fn flow_log(facts: &Facts<'_>) -> Identity {
    id(facts, "fl-", "Id")
}

impl Identity {
    fn referring_to(self, reference: String) -> Self {
        Identity { reference, ..self }
    }
}
