//! What plain and quoted scalars, JSON, and YAML's own constructs mean.

use crate::{brief, evaluate, resolve};

#[test]
fn quoted_scalars_stay_strings_and_account_ids_stay_whole() {
    assert_eq!(evaluate("", "'012345678901'"), "012345678901");
    assert_eq!(evaluate("", "012345678901"), "012345678901");
    assert_eq!(evaluate("", "123456789012"), "123456789012");
    assert_eq!(evaluate("", "1.10"), "1.10");
    assert_eq!(evaluate("", "12e4567"), "12e4567");
    assert_eq!(evaluate("", "22:22"), "22:22");
    assert_eq!(evaluate("", "!!str yes"), "yes");
    assert_eq!(evaluate("", "'yes'"), "yes");
}

#[test]
fn plain_scalars_are_read_as_yaml_1_1() {
    for word in ["yes", "Yes", "on", "ON", "true", "True"] {
        assert_eq!(evaluate("", word), "true", "{word}");
    }
    for word in ["no", "off", "FALSE"] {
        assert_eq!(evaluate("", word), "false", "{word}");
    }
    let port = |text: &str| {
        let text = format!(
            "Resources: {{G: {{Type: 'AWS::ElasticLoadBalancingV2::TargetGroup', Properties: {{Protocol: HTTP, Port: {text}}}}}}}"
        );
        let stack = resolve(&text, &[]).unwrap_or_else(|it| panic!("{it}"));
        let warnings = brief(&stack.warnings);
        let value = serde_json::to_value(&stack.resources[0].body).expect("plain data");
        (value["properties"]["Port"].clone(), warnings.len())
    };
    assert_eq!(port("0777"), (511.into(), 1));
    assert_eq!(port("0x1F"), (31.into(), 0));
    assert_eq!(port("'80'"), (80.into(), 0));
    assert_eq!(port("80.0"), (80.into(), 0));
}

#[test]
fn a_short_function_takes_text_never_a_boolean() {
    assert_eq!(evaluate("Parameters: {on: {Type: String, Default: x}}", "!Ref on"), "x");
}

#[test]
fn json_is_read_with_its_own_rules() {
    let text = "{\n\t\"Resources\": {\n\t\t\"A\": {\"Type\": \"AWS::SSM::Parameter\", \"Properties\": {\n\
                \"Type\": \"String\", \"Value\": \"\\ud83d\\ude00 \\/ yes\"}}}}";
    let stack = resolve(text, &[]).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(stack.resources[0].attribute("Value"), Some("😀 / yes"));
    let faults = resolve("{\"Resources\": {\"A\": {\"Type\": \"AWS::ECS::Cluster\",}}}", &[]).map(|_| ());
    // YAML's flow mappings allow the comma, so this is read as YAML.
    assert!(faults.is_ok());
    let faults = resolve("{\"Resources\": \n  {\"A\" \"B\"}}", &[]).expect_err("no colon");
    assert_eq!(brief(&faults), ["2:8 syntax"]);
}

#[test]
fn aliases_are_expanded_with_a_warning() {
    let text = "
Metadata: {Shared: &tags [{Key: team, Value: mesh}]}
Resources:
  A: {Type: AWS::ECS::Cluster, Properties: {Tags: *tags}}
";
    let stack = resolve(text, &[]).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(stack.resources[0].tags["team"], "mesh");
    assert_eq!(brief(&stack.warnings), ["4:51 yaml-alias"]);
}

#[test]
fn aliases_do_not_explode() {
    let mut text = String::from("Metadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let previous = format!("*a{}", i - 1);
        text.push_str(&format!("  a{i}: &a{i} [{}]\n", vec![previous; 10].join(", ")));
    }
    let faults = resolve(&text, &[]).expect_err("ten thousand million values");
    assert!(faults.iter().any(|it| it.code == "too-large"), "{faults}");
}
