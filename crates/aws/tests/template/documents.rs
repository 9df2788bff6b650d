//! Whole templates: the reference chapters', CDK's, the examples', several files as one.

use std::path::Path;

use bowline_aws::cfn::{Inputs, ResourceBody, Revision, Severity, Template};

use crate::{brief, resolve};

#[test]
fn the_private_vpc_chapter_is_told_its_one_mistake() {
    let text = include_str!("../fixtures/private-vpc-chapter.yaml");
    let faults = resolve(text, &[]).expect_err("a cluster has no VPC");
    assert_eq!(brief(&faults), ["13:7 unknown-property"]);
    let fault = faults.iter().next().expect("one fault");
    assert_eq!(fault.path, "Resources.MyCluster.Properties.Vpc");
    assert_eq!(fault.message, "`Vpc` is no property of AWS::ECS::Cluster");

    let stack =
        resolve(&text.replace("      Vpc: !Ref MyVpc\n", ""), &[]).expect("that was its only mistake");
    assert_eq!(stack.resources.len(), 3);
}

#[test]
fn the_secure_endpoints_chapter_is_told_all_its_mistakes_at_once() {
    let faults =
        Template::parse(include_str!("../fixtures/secure-endpoints-chapter.yaml")).expect_err("it has some");
    let messages: Vec<&str> = faults.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "`MaxAZs` is no property of AWS::EC2::VPC",
            "the property `ContainerDefinitions` is missing",
            "Fargate wants `Cpu` at the level of the task",
            "Fargate wants `Memory` at the level of the task",
            "the property `NetworkConfiguration` is missing: the task definition's network mode is `awsvpc`",
            "AWS::ServiceDiscovery::Service has no attribute `DnsRecord`",
        ]
    );
}

#[test]
fn faults_render_with_the_line_and_a_caret() {
    let text = "Resources:\n  Mesh:\n    Type: AWS::ECS::Cluster\n    Properties:\n      ClustrName: mesh\n";
    let faults = Template::parse_many(&[("mesh.yaml", text)]).expect_err("a typing mistake");
    let expected = "\
error[unknown-property]: `ClustrName` is no property of AWS::ECS::Cluster
 --> mesh.yaml:5:7
  |
5 |       ClustrName: mesh
  |       ^^^^^^^^^^
  = at: Resources.Mesh.Properties.ClustrName
  = help: did you mean `ClusterName`?
";
    assert_eq!(faults.to_string(), expected);
    let json = serde_json::to_value(&faults).expect("plain data");
    assert_eq!(
        json,
        serde_json::json!([{
            "severity": "error", "code": "unknown-property", "file": "mesh.yaml", "line": 5, "column": 7,
            "path": "Resources.Mesh.Properties.ClustrName",
            "message": "`ClustrName` is no property of AWS::ECS::Cluster", "help": "did you mean `ClusterName`?",
        }])
    );
}

#[test]
fn terminal_escapes_of_a_template_are_not_echoed() {
    let faults = resolve("Resources:\n  A:\n    Type: \"\\e[31mX\"\n", &[]).expect_err("no such type");
    assert!(!faults.to_string().contains('\u{1b}'), "{faults}");
}

#[test]
fn a_template_that_cdk_synthesised_reads() {
    let stack = resolve(include_str!("../fixtures/cdk-secure-endpoints.json"), &[])
        .unwrap_or_else(|it| panic!("{it}"));
    assert!(stack.warnings.iter().all(|it| it.severity == Severity::Note), "{}", stack.warnings);
    let service = stack
        .resources
        .iter()
        .find_map(|it| match &it.body {
            ResourceBody::EcsService(service) => Some(service),
            _ => None,
        })
        .expect("CDK made a service");
    let connect = service.service_connect_configuration.as_ref().expect("with Service Connect");
    assert_eq!(connect.services[0].client_aliases[0].dns_name.as_deref(), Some("api"));
    let image = stack
        .resources
        .iter()
        .find_map(|it| match &it.body {
            ResourceBody::EcsTaskDefinition(definition) => {
                Some(definition.container_definitions[0].image.clone())
            }
            _ => None,
        })
        .expect("CDK made a task definition");
    assert!(
        image.starts_with("000000000000.dkr.ecr.us-east-1.amazonaws.com/cdk-hnb659fds-container-assets-"),
        "{image}"
    );
}

#[test]
fn the_examples_read_without_a_remark() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut read = 0;
    for entry in std::fs::read_dir(examples).expect("the workspace has examples") {
        let directory = entry.expect("readable").path();
        let Ok(template) = std::fs::read_to_string(directory.join("template.yaml")) else { continue };
        let local = std::fs::read_to_string(directory.join("template.bowline.yaml")).unwrap_or_default();
        let mut files = vec![("template.yaml", template.as_str())];
        if !local.is_empty() {
            files.push(("template.bowline.yaml", local.as_str()));
        }
        let stack = Template::parse_many(&files)
            .and_then(|it| it.resolve(&Inputs::default()))
            .unwrap_or_else(|faults| panic!("{}\n{faults}", directory.display()));
        assert!(stack.warnings.is_empty(), "{}\n{}", directory.display(), stack.warnings);
        read += 1;
    }
    assert!(read >= 2, "the examples were found");
}

const APP: &str = "
Resources:
  App:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions: [{Name: web, Image: nginx, PortMappings: [{Name: http, ContainerPort: 80}]}]
";

#[test]
fn a_second_file_adds_what_only_bowline_reads() {
    let local = "
Resources:
  Local:
    Type: Bowline::ServiceConnect::LocalCommand
    Properties:
      TaskDefinition: App
      Containers:
        - {Name: web, Command: ./web --port 80, Environment: {PORT: 80}}
";
    let template = Template::parse_many(&[("a.yaml", APP), ("b.yaml", local)]).expect("both are in order");
    let stack = template.resolve(&Inputs::default()).unwrap_or_else(|it| panic!("{it}"));
    let resource = stack.resource("Local").expect("from the second file");
    assert_eq!(resource.position.to_string(), "b.yaml:3:3");
    assert_eq!(resource.depends_on, ["App"]);
    let ResourceBody::LocalCommand(command) = &resource.body else { panic!("{:?}", resource.body) };
    assert!(command.family().starts_with("bowline-App-"), "{command:?}");
    assert_eq!(command.containers[0].command, ["/bin/sh", "-c", "./web --port 80"]);
    assert_eq!(command.containers[0].environment["PORT"], "80");

    let wrong = local.replace("TaskDefinition: App", "TaskDefinition: Ap").replace("Local:", "App:");
    let faults = Template::parse_many(&[("a.yaml", APP), ("b.yaml", &wrong)]).expect_err("the name is taken");
    let first = faults.iter().next().expect("a fault");
    assert_eq!((first.code, faults.location(first).to_string().as_str()), ("duplicate-name", "b.yaml:3:3"));
}

#[test]
fn a_local_command_must_fit_its_task_definition() {
    let local = "
Resources:
  Local:
    Type: Bowline::ServiceConnect::LocalCommand
    Properties:
      TaskDefinition: !Ref App
      Containers: [{Name: wed, Command: [./web]}]
";
    let faults = Template::parse_many(&[("a.yaml", APP), ("b.yaml", local)]).expect_err("no such container");
    assert_eq!(brief(&faults), ["7:27 unknown-container"]);
}

#[test]
fn an_authorization_policy_is_read_and_its_values_are_checked() {
    let policy = "
Resources:
  Callers:
    Type: Bowline::ServiceConnect::AuthorizationPolicy
    Properties:
      Namespace: shop
      Services: [cart]
      Default: NOBODY
      Rules:
        - {Name: own, Effect: ALLOW, Namespaces: [shop], Methods: [GET], Paths: ['/a*'], Ports: [80]}
        - {Effect: DENY, SourceCidrs: [192.0.2.0/24]}
";
    let template = Template::parse(policy).unwrap_or_else(|faults| panic!("{faults}"));
    let stack = template.resolve(&Inputs::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let ResourceBody::AuthorizationPolicy(read) = &stack.resources[0].body else { panic!("{stack:?}") };
    assert_eq!(
        (read.default.as_deref(), read.services.as_slice()),
        (Some("NOBODY"), &["cart".to_owned()][..])
    );
    assert_eq!((read.rules[0].ports.as_slice(), &*read.rules[1].effect), (&[80][..], "DENY"));
    for (right, wrong) in
        [("ALLOW", "PERMIT"), ("Ports: [80]", "Ports: [0]"), ("[GET]", "[get]"), ("NOBODY", "ALL")]
    {
        assert!(Template::parse(&policy.replace(right, wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn a_traffic_policy_has_app_meshs_names_and_ranges() {
    let policy = "
Resources:
  Careful:
    Type: Bowline::ServiceConnect::TrafficPolicy
    Properties:
      DiscoveryName: cart
      Timeout: {HTTP: {PerRequest: {Unit: ms, Value: 250}}, TCP: {Idle: {Unit: s, Value: 9}}}
      RetryPolicy: {MaxRetries: 2, HttpRetryEvents: [gateway-error], TcpRetryEvents: [connection-error]}
      OutlierDetection: {MaxServerErrors: 3, Latency: {FactorPercent: 400}}
      ConnectionPool: {GRPC: {MaxRequests: 9}}
";
    let read = |text: &str| {
        let template = Template::parse(text)?;
        template.resolve(&Inputs::default())
    };
    let stack = read(policy).unwrap_or_else(|faults| panic!("{faults}"));
    let ResourceBody::TrafficPolicy(read_policy) = &stack.resources[0].body else { panic!("{stack:?}") };
    let timeout = read_policy.timeout.as_ref().expect("timeouts");
    let per_request = timeout.http.as_ref().and_then(|http| http.per_request.as_ref());
    assert_eq!(per_request.map(|time| time.to_std().as_millis()), Some(250));
    let pool = read_policy.connection_pool.as_ref().expect("a pool");
    assert_eq!(pool.grpc.as_ref().and_then(|grpc| grpc.max_requests), Some(9));
    for (right, wrong) in [
        ("Unit: ms", "Unit: minutes"),
        ("gateway-error", "any-error"),
        ("MaxRequests: 9", "MaxRequests: 0"),
        ("GRPC: {MaxRequests: 9}", "GRPC: {MaxConnections: 9}"),
        ("FactorPercent: 400", "FactorPercent: 40"),
        ("DiscoveryName: cart", "Name: cart"),
    ] {
        assert!(read(&policy.replace(right, wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn ids_are_a_function_of_account_region_stack_and_name() {
    let template = Template::parse(APP).expect("in order");
    let id = |inputs: &Inputs| template.resolve(inputs).expect("in order").resources[0].physical_id.clone();
    let base = Inputs::default();
    let first = id(&base);
    assert_eq!(first, id(&base));
    assert!(first.starts_with("arn:aws:ecs:us-east-1:000000000000:task-definition/bowline-App-"), "{first}");
    assert!(first.ends_with(":1"));
    for other in [
        Inputs { region: "eu-west-1".into(), ..base.clone() },
        Inputs { account_id: "123456789012".into(), ..base.clone() },
        Inputs { stack_name: "other".into(), ..base.clone() },
        Inputs {
            revision: Revision::new(|definition| definition.container_definitions.len() as u32 + 6),
            ..base.clone()
        },
    ] {
        assert_ne!(first, id(&other), "{other:?}");
    }
    assert!(id(&Inputs { region: "cn-north-1".into(), ..base }).starts_with("arn:aws-cn:ecs:"));
}

#[test]
fn references_have_the_values_that_aws_documents() {
    let text = "
Resources:
  Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: mesh}}
  App:
    Type: AWS::ECS::TaskDefinition
    Properties: {Family: app, ContainerDefinitions: [{Name: web, Image: nginx}]}
  Service:
    Type: AWS::ECS::Service
    DependsOn: Listener
    Properties: {ServiceName: web, Cluster: !GetAtt Cluster.Arn, TaskDefinition: !Ref App}
  Balancer: {Type: 'AWS::ElasticLoadBalancingV2::LoadBalancer', Properties: {Name: Edge}}
  Group: {Type: 'AWS::ElasticLoadBalancingV2::TargetGroup', Properties: {Name: web, Port: 80, Protocol: HTTP}}
  Listener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Balancer
      Port: 80
      Protocol: HTTP
      DefaultActions: [{Type: forward, TargetGroupArn: !Ref Group}]
  Authority:
    Type: AWS::ACMPCA::CertificateAuthority
    Properties: {Type: ROOT, KeyAlgorithm: EC_prime256v1, SigningAlgorithm: SHA256WITHECDSA, Subject: {CommonName: mesh}}
Outputs:
  Cluster: {Value: !Ref Cluster}
  Service: {Value: !Ref Service}
  ServiceName: {Value: !GetAtt Service.Name}
  Dns: {Value: !GetAtt Balancer.DNSName, Export: {Name: !Sub '${AWS::StackName}-dns'}}
  Listener: {Value: !Ref Listener}
  Authority: {Value: !Ref Authority}
  Csr: {Value: !GetAtt Authority.CertificateSigningRequest}
";
    let stack = resolve(text, &[]).unwrap_or_else(|it| panic!("{it}"));
    let output =
        |name: &str| stack.outputs.iter().find(|it| it.name == name).expect("declared").value.as_str();
    assert_eq!(output("Cluster"), "mesh");
    assert_eq!(output("Service"), "arn:aws:ecs:us-east-1:000000000000:service/mesh/web");
    assert_eq!(output("ServiceName"), "web");
    assert_eq!(output("Dns"), "edge.elb.localhost");
    assert_eq!(stack.outputs[3].export_name.as_deref(), Some("bowline-dns"));
    let balancer = &stack.resource("Balancer").expect("declared").physical_id;
    assert!(output("Listener").starts_with(&balancer.replace(":loadbalancer/", ":listener/")));
    assert!(output("Authority").starts_with("arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/"));
    assert_eq!(
        output("Csr"),
        format!("{{{{resolve:acm-pca:{}:CertificateSigningRequest}}}}", output("Authority"))
    );
    let order: Vec<&str> = stack.resources.iter().map(|it| it.logical_id.as_str()).collect();
    assert_eq!(order, ["Cluster", "App", "Balancer", "Group", "Listener", "Service", "Authority"]);
    assert_eq!(stack.by_physical_id("mesh").expect("by name").logical_id, "Cluster");
}

#[test]
fn ecs_shapes_have_the_names_of_the_api() {
    let text = "
Resources:
  App:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Cpu: 256
      ContainerDefinitions:
        - Name: web
          Image: nginx
          Cpu: '128'
          Essential: 'true'
          DockerLabels: {Some.Key: v}
          LogConfiguration: {LogDriver: awslogs, Options: {awslogs-group: !Ref Logs}}
      Volumes:
        - {Name: data, EFSVolumeConfiguration: {FilesystemId: fs-1, AuthorizationConfig: {IAM: ENABLED}}}
  Logs: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: /app}}
";
    let stack = resolve(text, &[]).unwrap_or_else(|it| panic!("{it}"));
    let ResourceBody::EcsTaskDefinition(definition) = &stack.resource("App").expect("declared").body else {
        panic!("a task definition");
    };
    let json = serde_json::to_value(definition).expect("plain data");
    let container = &json["containerDefinitions"][0];
    assert_eq!(json["cpu"], "256");
    assert_eq!(container["cpu"], 128);
    assert_eq!(container["essential"], true);
    assert_eq!(container["dockerLabels"]["Some.Key"], "v");
    assert_eq!(container["logConfiguration"]["options"]["awslogs-group"], "/app");
    let volume = &json["volumes"][0]["efsVolumeConfiguration"];
    assert_eq!(
        (&volume["fileSystemId"], &volume["authorizationConfig"]["iam"]),
        (&"fs-1".into(), &"ENABLED".into())
    );
}
