// Chapter 13, "Creating Secure Endpoints for ECS Services", its CDK example
// and its steps 1 to 5 together, with the smallest corrections that CDK
// demands: a container for the task definition, `serviceName` in place of
// `serviceUrl` (which does not exist), `taskDefinition` kept in variables, and
// DNS records for the discovery services.
const cdk = require('aws-cdk-lib');
const ec2 = require('aws-cdk-lib/aws-ec2');
const ecs = require('aws-cdk-lib/aws-ecs');
const servicediscovery = require('aws-cdk-lib/aws-servicediscovery');

class SecureEndpointsStack extends cdk.Stack {
  constructor(scope, id, props) {
    super(scope, id, props);

    // Define VPC
    const vpc = new ec2.Vpc(this, 'MyVpc', {
      maxAzs: 2,
    });

    // Define ECS cluster
    const cluster = new ecs.Cluster(this, 'MyCluster', {
      vpc,
    });

    // Create ECS services
    const taskDefinition1 = new ecs.FargateTaskDefinition(this, 'TaskDefinition1');
    const taskDefinition2 = new ecs.FargateTaskDefinition(this, 'TaskDefinition2');

    // Create a PrivateDnsNamespace
    const namespace = new servicediscovery.PrivateDnsNamespace(this, 'MyNamespace', {
      vpc,
      name: 'secure-endpoints.local',
    });

    // Register ECS services with Amazon Service Discovery
    const sdService1 = new servicediscovery.Service(this, 'Service1SD', {
      namespace,
      name: 'service1',
    });
    const sdService2 = new servicediscovery.Service(this, 'Service2SD', {
      namespace,
      name: 'service2',
    });

    // Service 1 communicates with Service 2
    taskDefinition1.addContainer('Service1Container', {
      image: ecs.ContainerImage.fromRegistry('service1-image'),
      environment: {
        SERVICE_URL: sdService2.serviceName + '.' + namespace.namespaceName,
      },
    });

    // Service 2 communicates with Service 1
    taskDefinition2.addContainer('Service2Container', {
      image: ecs.ContainerImage.fromRegistry('service2-image'),
      environment: {
        SERVICE_URL: sdService1.serviceName + '.' + namespace.namespaceName,
      },
    });

    const service1 = new ecs.FargateService(this, 'Service1', {
      cluster,
      taskDefinition: taskDefinition1,
    });
    const service2 = new ecs.FargateService(this, 'Service2', {
      cluster,
      taskDefinition: taskDefinition2,
    });

    // Security group for Service 1
    const sgService1 = new ec2.SecurityGroup(this, 'Service1SG', {
      vpc,
    });
    service1.connections.allowFrom(sgService1, ec2.Port.allTraffic());

    // Security group for Service 2
    const sgService2 = new ec2.SecurityGroup(this, 'Service2SG', {
      vpc,
    });
    service2.connections.allowFrom(sgService2, ec2.Port.allTraffic());

    // Output service URL
    new cdk.CfnOutput(this, 'ServiceURL', {
      value: sdService1.serviceName,
    });
  }
}

module.exports = { SecureEndpointsStack };
