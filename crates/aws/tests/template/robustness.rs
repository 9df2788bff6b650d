//! Nothing that is read makes the reader panic.

use bowline_aws::cfn::{Inputs, Template};
use proptest::prelude::*;

const SEEDS: &[&str] = &[
    include_str!("../fixtures/secure-endpoints-chapter.yaml"),
    include_str!("../../../../examples/two-services/template.yaml"),
    "Conditions: {C: !Not [!Equals [!Ref P, !Sub '${AWS::Region}']]}\nParameters: {P: {Type: Number, Default: 1}}\n\
     Mappings: {M: {a: {b: [c]}}}\nResources:\n  A: {Type: AWS::SSM::Parameter, Condition: C, Properties: {Type: String, \
     Value: !Select [0, !FindInMap [M, a, !Join ['', [b]]]]}}\n  B: &x {Type: AWS::EC2::VPC, Properties: {CidrBlock: \
     !Select [0, !Cidr [10.0.0.0/8, 256, 8]]}}\n  D: *x\nOutputs: {O: {Value: !GetAtt A.Value}}\n",
    "{\"Resources\": {\"A\": {\"Type\": \"AWS::ECS::Cluster\", \"Properties\": {\"ClusterName\": {\"Fn::If\": [\"C\", 1, \
     {\"Ref\": \"AWS::NoValue\"}]}}}}, \"Conditions\": {\"C\": {\"Fn::Equals\": [0, -1.5e3]}}}",
];

fn read(text: &str) {
    match Template::parse(text).and_then(|template| template.resolve(&Inputs::default())) {
        Ok(stack) => {
            let _ = stack.warnings.to_string();
        }
        Err(faults) => {
            let rendered = faults.to_string();
            assert!(faults.has_errors() && !rendered.is_empty());
            let _ = serde_json::to_string(&faults).expect("plain data");
        }
    }
}

/// Pieces that mean something to the reader.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "!Ref ",
            "!Sub ",
            "!GetAtt ",
            "!If ",
            "!Select ",
            "!Join ",
            "!Cidr ",
            "!Split ",
            "'Fn::Sub': ",
            "Ref: ",
            "${",
            "}",
            "{",
            "[",
            "]",
            ",",
            ": ",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "&a ",
            "*a",
            "<<: ",
            "|\n",
            ">\n",
            "'",
            "\"",
            "#",
            "\t",
            "null",
            "~",
            "0777",
            "-1",
            "1e999",
            "1.5",
            "99999999999999999999",
            "yes",
            "Resources:",
            "Outputs:",
            "Conditions:",
            "Type: AWS::ECS::Service",
            "Properties:",
            "AWS::NoValue",
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "\u{feff}",
            "\u{85}",
            "\0",
            "!!binary ",
            "!<tag:x> ",
            "? ",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-zA-Z0-9]{1,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_does_not_panic(text in ".{0,200}") {
        read(&text);
    }

    #[test]
    fn arbitrary_pieces_do_not_panic(pieces in proptest::collection::vec(piece(), 0..60)) {
        read(&pieces.concat());
    }

    #[test]
    fn mutated_templates_do_not_panic(
        seed in proptest::sample::select(SEEDS.to_vec()),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..12, piece()), 1..6),
    ) {
        let mut chars: Vec<char> = seed.chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, inserted.chars());
        }
        read(&chars.into_iter().collect::<String>());
    }
}
