// Chapter 11, "Establishing Secure Communication between ECS and Private VPC",
// with the smallest corrections that CDK demands: the import of `ecs`, and an
// id in place of the placeholder `peer-vpc-id`.
const cdk = require('aws-cdk-lib');
const ec2 = require('aws-cdk-lib/aws-ec2');
const ecs = require('aws-cdk-lib/aws-ecs');

class Chapter11Stack extends cdk.Stack {
  constructor(scope, id, props) {
    super(scope, id, props);

    // Create a VPC
    const vpc = new ec2.Vpc(this, 'MyVpc', {
      maxAzs: 2, // Ensure high availability across multiple Availability Zones
    });

    // Define ECS cluster
    const cluster = new ecs.Cluster(this, 'MyCluster', {
      vpc,
    });

    // Create a VPC peering connection
    const peeringConnection = new ec2.CfnVPCPeeringConnection(this, 'MyPeeringConnection', {
      peerVpcId: 'vpc-0123456789abcdef0',
      vpcId: vpc.vpcId,
    });
  }
}

module.exports = { Chapter11Stack };
