// Two Fargate services, one of which calls the other by name through Service Connect.
const cdk = require('aws-cdk-lib');
const ec2 = require('aws-cdk-lib/aws-ec2');
const ecs = require('aws-cdk-lib/aws-ecs');
const servicediscovery = require('aws-cdk-lib/aws-servicediscovery');

const SERVER = `
import http.server

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'hello from the responder'
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(('', 8080), Hello).serve_forever()
`;

class MeshStack extends cdk.Stack {
  constructor(scope, id, props) {
    super(scope, id, props);

    const vpc = new ec2.Vpc(this, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const cluster = new ecs.Cluster(this, 'Cluster', { vpc, clusterName: 'cdk-mesh' });
    const namespace = new servicediscovery.PrivateDnsNamespace(this, 'Namespace', { vpc, name: 'mesh.internal' });

    const callerGroup = new ec2.SecurityGroup(this, 'CallerGroup', { vpc, description: 'the caller' });
    const responderGroup = new ec2.SecurityGroup(this, 'ResponderGroup', { vpc, description: 'the responder' });
    responderGroup.addIngressRule(callerGroup, ec2.Port.tcp(8080), 'calls of the caller');

    const image = ecs.ContainerImage.fromRegistry('public.ecr.aws/docker/library/python:3-slim');
    const responderTask = new ecs.FargateTaskDefinition(this, 'ResponderTask', { family: 'cdk-responder' });
    responderTask.addContainer('responder', {
      image,
      command: ['python3', '-c', SERVER],
      portMappings: [{ name: 'http', containerPort: 8080, appProtocol: ecs.AppProtocol.http }],
    });
    const callerTask = new ecs.FargateTaskDefinition(this, 'CallerTask', { family: 'cdk-caller' });
    callerTask.addContainer('caller', { image, command: ['sleep', '1000000'] });

    const responder = new ecs.FargateService(this, 'Responder', {
      cluster,
      serviceName: 'responder',
      taskDefinition: responderTask,
      desiredCount: Number(this.node.tryGetContext('responders') ?? 1),
      minHealthyPercent: 100,
      securityGroups: [responderGroup],
      enableExecuteCommand: true,
      serviceConnectConfiguration: {
        namespace: namespace.namespaceArn,
        services: [{ portMappingName: 'http', dnsName: 'responder', port: 80 }],
      },
    });
    const caller = new ecs.FargateService(this, 'Caller', {
      cluster,
      serviceName: 'caller',
      taskDefinition: callerTask,
      minHealthyPercent: 100,
      securityGroups: [callerGroup],
      enableExecuteCommand: true,
      serviceConnectConfiguration: { namespace: namespace.namespaceArn },
    });
    // A task knows the names that there were when it began.
    caller.node.addDependency(responder);

    new cdk.CfnOutput(this, 'ClusterName', { value: cluster.clusterName });
  }
}

module.exports = { MeshStack };

// `cdk deploy` runs this file. Nothing of `cdk bootstrap` is needed: there are no assets, and the
// caller's own credentials do it.
if (require.main === module) {
  const app = new cdk.App();
  new MeshStack(app, 'CdkMesh', { synthesizer: new cdk.LegacyStackSynthesizer() });
}
