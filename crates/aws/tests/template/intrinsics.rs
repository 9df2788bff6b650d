//! Each intrinsic function, short and long.

use bowline_aws::cfn::{Inputs, Template};

use crate::{evaluate, record, resolve};

#[test]
fn ref_yields_parameters_resources_and_pseudo_parameters() {
    let parameter = "Parameters: {P: {Type: String, Default: value}}";
    assert_eq!(evaluate(parameter, "!Ref P"), "value");
    assert_eq!(evaluate(parameter, "{Ref: P}"), "value");
    assert!(evaluate("", "!Ref Other").starts_with("bowline-Other-"));
    for (name, value) in [
        ("AWS::Region", "us-east-1"),
        ("AWS::AccountId", "000000000000"),
        ("AWS::Partition", "aws"),
        ("AWS::StackName", "bowline"),
        ("AWS::URLSuffix", "amazonaws.com"),
    ] {
        assert_eq!(evaluate("", &format!("!Ref {name}")), value);
    }
    assert!(
        evaluate("", "!Ref AWS::StackId")
            .starts_with("arn:aws:cloudformation:us-east-1:000000000000:stack/bowline/")
    );
}

#[test]
fn get_att_takes_a_string_or_a_list() {
    let arn = evaluate("", "!GetAtt Other.Arn");
    assert!(arn.starts_with("arn:aws:ecs:us-east-1:000000000000:cluster/bowline-Other-"), "{arn}");
    assert_eq!(evaluate("", "{'Fn::GetAtt': [Other, Arn]}"), arn);
    assert_eq!(evaluate("", "!GetAtt [Other, Arn]"), arn);
    assert_eq!(evaluate("Parameters: {A: {Type: String, Default: Arn}}", "!GetAtt [Other, !Ref A]"), arn);
}

#[test]
fn sub_inserts_names_attributes_variables_and_literals() {
    assert_eq!(evaluate("", "!Sub 'a ${AWS::Region} ${!Literal} $x'"), "a us-east-1 ${Literal} $x");
    assert_eq!(evaluate("", "!Sub '${Other.Arn}'"), evaluate("", "!GetAtt Other.Arn"));
    assert_eq!(evaluate("", "!Sub ['${V}-${AWS::Region}', {V: !Join ['', [x, y]]}]"), "xy-us-east-1");
    assert_eq!(evaluate("", "{'Fn::Sub': '${AWS::Partition}'}"), "aws");
}

#[test]
fn text_and_list_functions() {
    let list = "Parameters: {L: {Type: CommaDelimitedList, Default: 'a, b,c'}, N: {Type: 'List<Number>', Default: '1,2'}}";
    assert_eq!(evaluate("", "!Join ['-', [a, 1, !Ref AWS::Region]]"), "a-1-us-east-1");
    assert_eq!(evaluate(list, "!Join [':', !Ref L]"), "a:b:c");
    assert_eq!(evaluate(list, "!Select [1, !Ref L]"), "b");
    assert_eq!(evaluate(list, "!Select ['1', !Ref N]"), "2");
    assert_eq!(evaluate("", "!Select [2, !Split ['/', a/b/c]]"), "c");
    assert_eq!(evaluate("", "{'Fn::Base64': hello}"), "aGVsbG8=");
    assert_eq!(evaluate("", "!Base64 {'Fn::Sub': 'a'}"), "YQ==");
    assert_eq!(evaluate("", "!Select [1, !GetAZs '']"), "us-east-1b");
    assert_eq!(evaluate("", "!Select [1, !Cidr [10.0.0.0/16, 2, 8]]"), "10.0.1.0/24");
}

#[test]
fn no_value_leaves_an_item_out() {
    assert_eq!(evaluate("", "!Join [',', [a, !Ref AWS::NoValue, b]]"), "a,b");
    let text = "Resources: {C: {Type: AWS::ECS::Cluster, Properties: {ClusterName: !Ref 'AWS::NoValue'}}}";
    let stack = resolve(text, &[]).expect("in order");
    assert!(stack.resources[0].physical_id.starts_with("bowline-C-"));
}

#[test]
fn find_in_map_reads_the_mapping() {
    let mapping = "Mappings: {M: {us-east-1: {Size: big, List: [x, y]}}}";
    assert_eq!(evaluate(mapping, "!FindInMap [M, !Ref AWS::Region, Size]"), "big");
    assert_eq!(evaluate(mapping, "!Select [1, !FindInMap [M, us-east-1, List]]"), "y");
}

#[test]
fn conditions_compare_combine_and_choose() {
    let conditions = "
Parameters: {Stage: {Type: String, Default: prod}, Flag: {Type: String, Default: 'true'}}
Conditions:
  Prod: !Equals [!Ref Stage, prod]
  Flagged: !Equals [!Ref Flag, true]
  Both: !And [!Condition Prod, {Condition: Flagged}]
  Either: !Or [!Condition Dev, !Condition Flagged]
  Dev: !Not [!Condition Prod]
";
    for (name, expected) in [("Prod", "y"), ("Flagged", "y"), ("Both", "y"), ("Either", "y"), ("Dev", "n")] {
        assert_eq!(evaluate(conditions, &format!("!If [{name}, 'y', 'n']")), expected, "{name}");
    }
}

#[test]
fn a_resource_or_output_whose_condition_does_not_hold_is_left_out() {
    let text = "
Parameters: {Make: {Type: String, Default: 'no', AllowedValues: ['yes', 'no']}}
Conditions: {Made: !Equals [!Ref Make, 'yes']}
Resources:
  Always: {Type: AWS::ECS::Cluster, DependsOn: Sometimes}
  Sometimes: {Type: AWS::ECS::Cluster, Condition: Made}
Outputs:
  Name: {Condition: Made, Value: !Ref Sometimes}
";
    let stack = resolve(text, &[]).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!((stack.resources.len(), stack.outputs.len()), (1, 0));
    let stack = resolve(text, &[("Make", "yes")]).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!((stack.resources.len(), stack.outputs.len()), (2, 1));
    assert_eq!(stack.resources[1].depends_on, ["Sometimes"]);

    let dangling = text.replace("Condition: Made, Value", "Value");
    let faults = resolve(&dangling, &[]).expect_err("the output needs it");
    assert_eq!(crate::brief(&faults), ["8:22 unresolved-reference"]);
}

#[test]
fn branches_that_are_not_taken_do_not_order() {
    let text = "
Conditions: {Yes: !Equals [a, a]}
Resources:
  A: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !If [Yes, a, !Ref B]}}
  B: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref A}}
";
    let stack = resolve(text, &[]).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(stack.resources[0].logical_id, "A");
    let faults = resolve(&text.replace("[a, a]", "[a, b]"), &[]).expect_err("now they wait for each other");
    assert_eq!(crate::brief(&faults), ["4:3 circular-dependency"]);
}

#[test]
fn pseudo_parameters_follow_the_inputs() {
    let text = "Resources: {A: {Type: AWS::EC2::VPC, Properties: {CidrBlock: !Select [0, !Ref AWS::NotificationARNs]}}}";
    let template = Template::parse(text).unwrap_or_else(|it| panic!("{it}"));
    let inputs = Inputs { notification_arns: vec!["arn".to_owned()], ..Inputs::default() };
    let stack = template.resolve(&inputs).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(record(&stack, "A")["CidrBlock"], "arn");
}
