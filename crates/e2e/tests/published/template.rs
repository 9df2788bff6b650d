//! Templates: services of one namespace, a load balancer before one of them, policies.

use std::{fmt::Write as _, path::Path};

/// What all templates begin with.
const BASE: &str = "
Resources:
  Namespace:
    Type: AWS::ServiceDiscovery::HttpNamespace
    Properties: {Name: shop}
  Cluster:
    Type: AWS::ECS::Cluster
    Properties: {ClusterName: c}
";

/// Before `cart`: port 80 leads there, and a rule of it for `/weighted*` divides by its own weights.
const LOAD_BALANCER: &str = "
  Front:
    Type: AWS::ElasticLoadBalancingV2::LoadBalancer
    Properties: {Name: front, Type: application, Subnets: [subnet-1, subnet-2]}
  Carts:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties: {Name: carts, VpcId: vpc-1, TargetType: ip, Protocol: HTTP, Port: 8080, HealthCheckEnabled: false}
  Listener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Front
      Port: 80
      Protocol: HTTP
      DefaultActions: [{Type: fixed-response, FixedResponseConfig: {StatusCode: '404'}}]
  ToCarts:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      ListenerArn: !Ref Listener
      Priority: 1
      Conditions: [{Field: path-pattern, PathPatternConfig: {Values: ['/cart*']}}]
      Actions: [{Type: forward, TargetGroupArn: !Ref Carts}]
";

/// A template under construction.
pub(crate) struct Template(String);

impl Template {
    pub(crate) fn new() -> Self {
        Self(BASE.to_owned())
    }

    /// The template of an example.
    pub(crate) fn example(name: &str) -> Self {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let path = examples.join(name).join("template.yaml");
        Self(std::fs::read_to_string(path).expect("the example is there"))
    }

    /// A service that offers its own name on port 8080; `deployment` is its deployment's
    /// configuration, `version` a variable that makes another task definition.
    pub(crate) fn service(mut self, name: &str, count: usize, version: &str, deployment: &str) -> Self {
        let id = name.replace('-', "");
        let balanced = match name {
            "cart" if self.0.contains("Carts:") => {
                "LoadBalancers: [{ContainerName: app, ContainerPort: 8080, TargetGroupArn: !Ref Carts}]"
            }
            _ => "LoadBalancers: []",
        };
        write!(
            self.0,
            "
  Task{id}:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: {name}
      RequiresCompatibilities: [FARGATE]
      NetworkMode: awsvpc
      Cpu: '256'
      Memory: '512'
      ContainerDefinitions:
        - Name: app
          Image: app
          Environment: [{{Name: VERSION, Value: '{version}'}}]
          PortMappings: [{{Name: http, ContainerPort: 8080, AppProtocol: http}}]
  Service{id}:
    Type: AWS::ECS::Service
    Properties:
      ServiceName: {name}
      Cluster: !Ref Cluster
      TaskDefinition: !Ref Task{id}
      LaunchType: FARGATE
      DesiredCount: {count}
      DeploymentConfiguration: {deployment}
      NetworkConfiguration: {{AwsvpcConfiguration: {{Subnets: [subnet-1]}}}}
      {balanced}
      ServiceConnectConfiguration:
        Enabled: true
        Namespace: !GetAtt Namespace.Arn
        Services:
          - {{PortName: http, DiscoveryName: {name}, ClientAliases: [{{DnsName: {name}, Port: 80}}]}}
"
        )
        .expect("memory");
        self
    }

    /// A load balancer, of a service `cart` that comes after it.
    pub(crate) fn load_balancer(mut self) -> Self {
        self.0.push_str(LOAD_BALANCER);
        self
    }

    /// A policy of a discovery name; its properties are YAML in one line each.
    pub(crate) fn policy(mut self, discovery_name: &str, properties: &[&str]) -> Self {
        let id = discovery_name.replace('-', "");
        write!(
            self.0,
            "
  Policy{id}:
    Type: Bowline::ServiceConnect::TrafficPolicy
    Properties:
      DiscoveryName: {discovery_name}
"
        )
        .expect("memory");
        for property in properties {
            writeln!(self.0, "      {property}").expect("memory");
        }
        self
    }

    /// The same with another text in the place of one that must be there.
    pub(crate) fn with(self, text: &str, other: &str) -> Self {
        assert!(self.0.contains(text), "{text:?}");
        Self(self.0.replace(text, other))
    }

    /// Tasks are placed in two subnets, of zones `a` and `b`.
    pub(crate) fn in_two_zones(self) -> Self {
        let mut two = self.with("Subnets: [subnet-1]}", "Subnets: [!Ref Suba, !Ref Subb]}");
        for zone in ["a", "b"] {
            let properties = format!("{{VpcId: vpc-1, AvailabilityZone: us-east-1{zone}}}");
            write!(two.0, "\n  Sub{zone}:\n    Type: AWS::EC2::Subnet\n    Properties: {properties}\n")
                .expect("memory");
        }
        two
    }

    /// Port 80 is a network load balancer's: every connection goes to `cart`.
    pub(crate) fn network_load_balancer(self) -> Self {
        let (listener, rule) = LOAD_BALANCER.split_once("  ToCarts:").expect("the rule");
        let listener = listener.split_once("      Protocol: HTTP").expect("the protocol").1;
        let tcp =
            "\n      Protocol: TCP\n      DefaultActions: [{Type: forward, TargetGroupArn: !Ref Carts}]\n";
        self.with(rule, "")
            .with("  ToCarts:", "")
            .with(listener, tcp)
            .with("      Protocol: HTTP\n      Protocol", "      Protocol")
            .with("Type: application", "Type: network")
    }

    pub(crate) fn text(&self) -> String {
        self.0.clone()
    }
}
