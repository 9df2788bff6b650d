//! Each kind of fault: its place, its words, what is suggested.

use bowline_aws::cfn::{Inputs, Template};

use crate::{brief, resolve};

/// The one fault of a template, as `code | message | help`.
fn fault(text: &str) -> String {
    let faults = resolve(text, &[]).map(|_| ()).expect_err(text);
    let faults: Vec<String> = faults
        .iter()
        .map(|it| format!("{} | {} | {}", it.code, it.message, it.help.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(faults.len(), 1, "{text}\n{faults:#?}");
    faults.concat()
}

/// The one fault of a resource's properties.
fn property(resource_type: &str, properties: &str) -> String {
    fault(&format!("Resources: {{A: {{Type: '{resource_type}', Properties: {properties}}}}}"))
}

#[test]
fn every_fault_is_reported_at_once() {
    let text = "
AWSTemplateFormatVersion: 2010-09-09
Ressources: {}
Resources:
  A:
    Type: AWS::ECS::Clustr
  B:
    Type: AWS::ECS::Cluster
    DependsOn: [C, Missing]
    Condition: Never
    Properties:
      Clustername: x
      ClusterSettings: {Name: a}
      ServiceConnectDefaults: {Namespace: !Ref Nowhere}
      Tags: [{Key: !GetAtt C.Arm, Value: !Sub '${Gone.Arn}'}]
  C:
    Type: AWS::ECS::Cluster
    Properties: {ClusterName: !FindInMap [M, a, b]}
Outputs:
  X: {Value: !ToJsonString it}
";
    let faults = Template::parse(text).expect_err("nearly everything");
    assert_eq!(
        brief(&faults),
        [
            "3:1 unknown-section",
            "6:11 unknown-type",
            "9:20 unknown-resource",
            "10:16 unknown-condition",
            "12:7 unknown-property",
            "13:25 wrong-type",
            "14:48 unknown-reference",
            "15:28 unknown-attribute",
            "15:47 unknown-resource",
            "18:43 unknown-map-key",
            "20:28 unsupported-function",
        ]
    );
}

#[test]
fn names_are_suggested_or_listed() {
    assert_eq!(
        fault("Resources: {A: {Type: AWS::ECS::Clustr}}"),
        "unknown-type | the resource type `AWS::ECS::Clustr` is not known here | did you mean `AWS::ECS::Cluster`?"
    );
    let unknown = fault("Resources: {A: {Type: 'AWS::RDS::DBInstance'}}");
    assert!(unknown.contains("known are types of `AWS::ACMPCA`"), "{unknown}");
    let custom = fault("Resources: {A: {Type: 'Custom::Thing'}}");
    assert!(custom.contains("its function would run in AWS"), "{custom}");
    assert_eq!(
        fault("Resources: {A: {Type: AWS::ECS::Cluster, ClusterName: x}}"),
        "unknown-attribute | a resource has no attribute `ClusterName` | `ClusterName` is a property of \
         AWS::ECS::Cluster: indent it below `Properties`"
    );
    assert_eq!(
        property("AWS::ECS::Cluster", "{ServiceConnectDefaults: {Namespac: x}}"),
        "unknown-property | `Namespac` is no property of `ServiceConnectDefaults` of AWS::ECS::Cluster | \
         did you mean `Namespace`?"
    );
}

#[test]
fn values_are_checked() {
    let target = |port: &str| {
        property("AWS::ElasticLoadBalancingV2::TargetGroup", &format!("{{Protocol: HTTP, Port: {port}}}"))
    };
    assert_eq!(target("99999"), "range | 99999 is out of range: from 1 to 65535 is allowed | -");
    assert_eq!(target("http"), "wrong-type | expected a whole number, found a string (`http`) | -");
    assert_eq!(target("1.5"), "wrong-type | expected a whole number, found a number (`1.5`) | -");
    let null = target("null");
    assert!(
        null.starts_with("wrong-type | expected a whole number, found nothing | CloudFormation refuses null"),
        "{null}"
    );
    assert_eq!(
        property("AWS::ElasticLoadBalancingV2::TargetGroup", "{Protocol: HTPS, Port: 1}"),
        "not-allowed | `HTPS` is not allowed here | did you mean `HTTPS`?"
    );
    assert_eq!(
        property("AWS::ECS::Cluster", "{Tags: x}"),
        "wrong-type | expected a list, found a string (`x`) | begin the line with `- ` to make it a list of one"
    );
    assert_eq!(
        property("AWS::ECS::Cluster", "{ClusterName: 'a b'}"),
        "pattern | `a b` does not have the form this property wants | the pattern is ^[a-zA-Z0-9_-]{1,255}$"
    );
    assert_eq!(
        property("AWS::ServiceDiscovery::HttpNamespace", "{}"),
        "missing-property | the property `Name` is missing | AWS::ServiceDiscovery::HttpNamespace needs it: a string"
    );
    assert_eq!(
        property("AWS::EC2::VPC", "{EnableDnsSupport: maybe}"),
        "wrong-type | expected a boolean, found a string (`maybe`) | -"
    );
}

#[test]
fn values_are_checked_after_evaluation_too() {
    let text = "
Parameters: {Port: {Type: Number, Default: 80}}
Resources:
  G: {Type: 'AWS::ElasticLoadBalancingV2::TargetGroup', Properties: {Protocol: HTTP, Port: !Ref Port}}
";
    assert!(resolve(text, &[]).is_ok());
    let faults = resolve(text, &[("Port", "70000")]).expect_err("out of range");
    assert_eq!(brief(&faults), ["4:97 range"]);
}

#[test]
fn branches_of_if_are_checked_before_evaluation() {
    let text = "
Conditions: {C: !Equals [a, a]}
Resources: {A: {Type: AWS::EC2::VPC, Properties: {EnableDnsSupport: !If [C, true, perhaps]}}}
";
    assert_eq!(brief(&Template::parse(text).expect_err("one branch is no boolean")), ["3:83 wrong-type"]);
}

#[test]
fn an_import_is_the_export_of_another_stack() {
    let text = "Resources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: !ImportValue net}}}";
    let template = Template::parse(text).expect("reads");
    let faults = template.resolve(&Inputs::default()).expect_err("nothing is exported");
    assert!(faults.to_string().contains("No export named net found."), "{faults}");
    let exports = [("net".to_owned(), "10.0.0.0/16".to_owned())].into();
    let stack = template.resolve(&Inputs { exports, ..Inputs::default() }).expect("resolves");
    let bowline_aws::cfn::ResourceBody::Record(vpc) = &stack.resources[0].body else { panic!("a record") };
    assert_eq!(vpc["CidrBlock"], "10.0.0.0/16");
}

#[test]
fn functions_that_need_aws_are_refused_by_name() {
    for (expression, words) in [
        ("!Transform {Name: x}", "Fn::Transform is not supported"),
        ("!ToJsonString {a: b}", "needs the transform AWS::LanguageExtensions"),
        ("{'Fn::Length': [a]}", "needs the transform AWS::LanguageExtensions"),
        ("{'Fn::Jion': ['', []]}", "did you mean `Fn::Join`?"),
        ("!Equals [a, b]", "a condition function stands only in the section `Conditions`"),
    ] {
        let fault = property("AWS::EC2::VPC", &format!("{{CidrBlock: {expression}}}"));
        assert!(fault.contains(words), "{expression}: {fault}");
    }
    let transform = fault("Transform: AWS::Serverless-2016-10-31\nResources: {A: {Type: AWS::ECS::Cluster}}");
    assert!(transform.contains("`AWS::Serverless-2016-10-31` is not supported"), "{transform}");
    let tag = fault("Resources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: !Rfe x}}}");
    assert_eq!(tag, "unknown-tag | no intrinsic function is written `!Rfe` | did you mean `Ref`?");
}

#[test]
fn malformed_calls_say_what_the_function_takes() {
    for (expression, words) in [
        ("!Join [a]", "Fn::Join takes [delimiter, list]"),
        ("!Join ['', a]", "Fn::Join wants a list"),
        ("!Select [0]", "Fn::Select takes [index, list]"),
        ("!Split ['', a]", "the delimiter of Fn::Split is empty"),
        ("!Sub '${'", "without its `}`"),
        ("!Sub [a]", "Fn::Sub takes a string, or [string, map of variables]"),
        ("!If [C, a]", "Fn::If takes [condition, value if true, value if false]"),
        ("!GetAtt Other", "Fn::GetAtt takes `Resource.Attribute`"),
        ("!FindInMap [M]", "Fn::FindInMap takes"),
        ("!Cidr [a]", "Fn::Cidr takes"),
        ("{Ref: A, Other: b}", "`Ref` must be the only key"),
    ] {
        let text = format!(
            "Resources: {{B: {{Type: AWS::IAM::Policy, Properties: {{PolicyName: p, PolicyDocument: {{X: {expression}}}}}}}, A: {{Type: AWS::EC2::VPC}}}}"
        );
        let faults = fault(&text);
        assert!(faults.contains(words), "{expression}: {faults}");
    }
}

#[test]
fn evaluation_faults_name_the_value() {
    let parameter =
        |expression: &str| property("AWS::SSM::Parameter", &format!("{{Type: String, Value: {expression}}}"));
    assert_eq!(
        parameter("!Select [3, [a, b]]"),
        "evaluation | Fn::Select wants item 3 (from 0) of a list of 2 | -"
    );
    assert_eq!(
        parameter("!Sub '${AWS::NotificationARNs}'"),
        "evaluation | `${AWS::NotificationARNs}` is a list, and Fn::Sub inserts strings only | -"
    );
    assert!(parameter("!Select [0, !Cidr [10.0.0.0/30, 9, 1]]").contains("has no room"));
}

#[test]
fn cycles_are_shown_the_way_round() {
    let text = "
Resources:
  A: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref B}}
  B: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Sub 'x${C}'}}
  C: {Type: AWS::SSM::Parameter, DependsOn: A, Properties: {Type: String, Value: c}}
  D: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref A}}
";
    let faults = Template::parse(text).expect_err("a cycle");
    let messages: Vec<&str> = faults.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages, ["circular dependency: A → B → C → A"]);
    let own = property("AWS::SSM::Parameter", "{Type: String, Value: !Ref A}");
    assert_eq!(own, "circular-dependency | `A` refers to itself | -");
    let condition = fault(
        "Conditions: {A: !Not [!Condition B], B: !Not [!Condition C], C: !Condition B}\nResources: {X: {Type: AWS::ECS::Cluster}}"
            .replace("C: !Condition B", "C: !Not [!Condition C]")
            .as_str(),
    );
    assert_eq!(condition, "circular-condition | the condition `C` depends on itself | -");
}

#[test]
fn parameters_keep_their_constraints() {
    let with = |declaration: &str, value: &str| {
        let text =
            format!("Parameters: {{P: {{{declaration}}}}}\nResources: {{A: {{Type: AWS::ECS::Cluster}}}}");
        match resolve(&text, &[("P", value)]) {
            Ok(_) => "ok".to_owned(),
            Err(faults) => {
                faults.iter().map(|it| format!("{}: {}", it.code, it.message)).collect::<Vec<_>>().join("; ")
            }
        }
    };
    assert_eq!(with("Type: Number, MinValue: 1, MaxValue: 9", "5"), "ok");
    assert_eq!(with("Type: Number, MaxValue: 9", "10"), "range: the value given `10` is more than 9");
    assert_eq!(with("Type: Number", "ten"), "wrong-type: the value given `ten` is no number");
    assert_eq!(with("Type: 'List<Number>'", "1,x"), "wrong-type: the value given `1,x` is no number");
    assert_eq!(
        with("Type: String, AllowedValues: [a, b]", "c"),
        "not-allowed: the value given `c` is not allowed"
    );
    assert_eq!(
        with("Type: String, AllowedPattern: '[a-z]+'", "ab1"),
        "pattern: the value given `ab1` does not have the form wanted"
    );
    assert_eq!(
        with("Type: String, MinLength: 3", "ab"),
        "length: the value given `ab` is shorter than 3 characters"
    );
    assert_eq!(
        with("Type: String, MaxLength: 3, NoEcho: true", "secret"),
        "length: the value given is longer than 3 characters"
    );
    assert_eq!(with("Type: Strnig", "x"), "unknown-type: there is no parameter type `Strnig`");
    assert_eq!(with("Type: Number, Default: x", "1"), "wrong-type: the default `x` is no number");
    assert_eq!(with("Type: 'AWS::EC2::VPC::Id'", "vpc-1"), "ok");
    assert_eq!(with("Type: 'List<AWS::EC2::Subnet::Id>'", "subnet-1,subnet-2"), "ok");
    assert_eq!(with("Type: 'AWS::SSM::Parameter::Value<String>', Default: /a/b", "/c"), "ok");
}

#[test]
fn parameters_must_be_given_and_declared() {
    let text = "Parameters: {Needed: {Type: String}}\nResources: {A: {Type: AWS::ECS::Cluster, Properties: {ClusterName: !Ref Needed}}}";
    let template = Template::parse(text).expect("in order");
    assert_eq!(template.required_parameters().collect::<Vec<_>>(), ["Needed"]);
    let inputs = Inputs { parameters: [("Neded".to_owned(), "x".to_owned())].into(), ..Inputs::default() };
    let faults = template.resolve(&inputs).expect_err("another name");
    let helps: Vec<&str> = faults.iter().filter_map(|it| it.help.as_deref()).collect();
    assert_eq!(helps, ["did you mean `Needed`?", "pass --parameter Needed=VALUE"]);
}

#[test]
fn a_no_echo_value_is_never_quoted() {
    let text = "
Parameters: {Key: {Type: String, NoEcho: true}}
Resources:
  A: {Type: AWS::ECS::Cluster, Properties: {ClusterName: !Sub 'x ${Key}'}}
  P: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref Key}}
  Q: {Type: AWS::EC2::VPC, Properties: {EnableDnsSupport: !GetAtt P.Value}}
  B: {Type: 'AWS::ElasticLoadBalancingV2::TargetGroup', Properties: {Protocol: !Ref Key, Port: !Ref Key}}
";
    let faults = resolve(text, &[("Key", "hunter2")]).expect_err("no valid names");
    assert_eq!(faults.len(), 4);
    assert!(!faults.to_string().contains("hunter2"), "{faults}");
}

#[test]
fn ecs_rules_across_resources() {
    let text = "
Resources:
  App:
    Type: AWS::ECS::TaskDefinition
    Properties:
      NetworkMode: awsvpc
      ContainerDefinitions:
        - {Name: web, Image: nginx, PortMappings: [{Name: http, ContainerPort: 80}]}
        - {Name: web, Image: nginx, DependsOn: [{ContainerName: db, Condition: START}]}
  Service:
    Type: AWS::ECS::Service
    Properties:
      TaskDefinition: !Ref App
      Cluster: !Ref Cluster
      LoadBalancers: [{ContainerName: wed, ContainerPort: 80}]
      ServiceConnectConfiguration:
        Enabled: true
        AccessLogConfiguration: {Format: JSON}
        Services: [{PortName: htp}, {PortName: http, Timeout: {PerRequestTimeoutSeconds: 5}}]
  Cluster: {Type: AWS::ECS::Cluster}
  Wrong:
    Type: AWS::ECS::Service
    Properties: {TaskDefinition: !Ref Service}
  Listener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties: {LoadBalancerArn: x, Protocol: HTTPS, Port: 443, DefaultActions: [{Type: forward}]}
  Authority:
    Type: AWS::ACMPCA::CertificateAuthority
    Properties: {Type: ROOT, KeyAlgorithm: RSA_2048, SigningAlgorithm: SHA256WITHECDSA, Subject: {}}
  Idle:
    Type: AWS::ECS::TaskDefinition
    Properties: {ContainerDefinitions: [{Name: a, Image: b, Essential: false}]}
";
    let faults = Template::parse(text).expect_err("each breaks a rule");
    assert_eq!(
        brief(&faults),
        [
            "9:18 duplicate-name",
            "9:65 unknown-container",
            "10:3 missing-property",
            "15:39 unknown-container",
            "17:9 missing-property",
            "18:34 missing-property",
            "19:31 unknown-port-name",
            "19:90 not-allowed",
            "23:39 wrong-type",
            "24:3 missing-property",
            "26:84 missing-property",
            "29:72 not-allowed",
            "32:42 not-allowed",
        ]
    );
}

#[test]
fn limits_are_kept() {
    let deep = format!("Resources: {}{}", "[".repeat(70), "]".repeat(70));
    assert!(fault(&deep).starts_with("too-deep"));
    assert!(fault(&format!("{{\"Resources\": {}", "[".repeat(70))).contains("nested deeper"));
    assert!(fault(&" ".repeat(bowline_aws::cfn::TEMPLATE_BYTES_MAX + 1)).starts_with("too-large"));
    let many: String = (0..=500).map(|i| format!("  R{i}: {{Type: AWS::ECS::Cluster}}\n")).collect();
    assert!(fault(&format!("Resources:\n{many}")).starts_with("too-many-resources"));
    let mut doubling = String::from("a");
    for _ in 0..30 {
        doubling = format!("!Sub ['${{V}}${{V}}', {{V: {doubling}}}]");
    }
    let big = property("AWS::SSM::Parameter", &format!("{{Type: String, Value: {doubling}}}"));
    assert!(big.contains("evaluates to more than"), "{big}");
}

#[test]
fn documents_that_are_no_template() {
    assert_eq!(fault(""), "empty | the template is empty | -");
    assert!(fault("just text").contains("a template is a map"));
    assert!(fault("Resources: {}").contains("has no resources"));
    assert!(fault("a: 1\n---\nb: 2\n").contains("one YAML document"));
    assert!(
        fault("Resources: {A: {Type: AWS::ECS::Cluster}}\nResources: {}").contains("for the second time")
    );
    assert!(fault("a: [1\nb: }").starts_with("syntax"));
    assert!(fault("Resources:\n  A: {<<: {Type: x}}").contains("merge key"));
    assert!(
        fault("AWSTemplateFormatVersion: '2011'\nResources: {A: {Type: AWS::ECS::Cluster}}")
            .contains("2010-09-09")
    );
    assert!(fault("Resources: {a-b: {Type: AWS::ECS::Cluster}}").starts_with("logical-id"));
    assert!(fault("Resources: {A: {Properties: {}}}").starts_with("missing-type"));
}
