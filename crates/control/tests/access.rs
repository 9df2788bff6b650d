//! IAM's resources of templates become the rows that the API tells.

use std::path::Path;

use bowline_aws::cfn::{Inputs, Template};
use bowline_control::{
    control_plane::{AccessKeyError, ControlConfig, ControlPlane},
    iam::KeyOwner,
    stack::{ApplyError, record::StackTemplate},
};

async fn start(state_dir: &Path) -> ControlPlane {
    let config = ControlConfig::new(state_dir);
    ControlPlane::start(config).await.expect("it starts")
}

fn apply(control: &ControlPlane, stack: &str, text: &str) -> Result<Vec<String>, ApplyError> {
    let template = Template::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    let inputs = Inputs { stack_name: stack.into(), ..Inputs::default() };
    let resolved = template.resolve(&inputs).unwrap_or_else(|faults| panic!("{faults}"));
    let made_from =
        StackTemplate { files: vec![("template".into(), text.into())], parameters: Default::default() };
    let notes = control.apply_stack(&resolved, &made_from)?;
    Ok(notes.into_iter().map(|note| note.message).collect())
}

const TEMPLATE: &str = r#"
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: worker
      Path: /app/
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Principal: {Service: ecs-tasks.amazonaws.com}, Action: sts:AssumeRole}]
      ManagedPolicyArns: [arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy]
      Policies:
        - PolicyName: own
          PolicyDocument: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "ecs:*", Resource: "*"}]}
  Managed:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      ManagedPolicyName: managed
      Roles: [!Ref Role]
      PolicyDocument: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "ecs:List*", Resource: "*"}]}
  User:
    Type: AWS::IAM::User
    Properties: {UserName: ann}
  Inline:
    Type: AWS::IAM::Policy
    Properties:
      PolicyName: beside
      Users: [!Ref User]
      PolicyDocument: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "ecs:*", Resource: "*"}]}
"#;

#[tokio::test]
async fn a_template_makes_and_unmakes_roles_users_and_policies() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let notes = apply(&control, "access", TEMPLATE).expect("applies");
    assert!(notes.is_empty(), "{notes:?}");
    let before = control.snapshot();
    let role = before.iam_roles.get("worker").expect("is there");
    assert_eq!(role.arn.as_str(), "arn:aws:iam::000000000000:role/app/worker");
    assert!(role.grants.inline.contains_key("own"));
    assert_eq!(role.grants.attached.len(), 2, "{:?}", role.grants.attached);
    assert!(before.iam_users.get("ann").expect("is there").grants.inline.contains_key("beside"));

    apply(&control, "access", TEMPLATE).expect("applies again");
    let again = control.snapshot();
    assert_eq!(again.iam_roles.get("worker"), Some(role));
    let managed = "arn:aws:iam::000000000000:policy/managed";
    assert_eq!(again.iam_policies.get(managed).expect("is there").versions.len(), 1);

    // What leaves the template leaves the role; another document is another version.
    let without = TEMPLATE
        .replace("      ManagedPolicyArns: [arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy]\n", "")
        .replace("PolicyName: own", "PolicyName: other")
        .replace("ecs:List*", "ecs:Describe*");
    apply(&control, "access", &without).expect("applies");
    let after = control.snapshot();
    let changed = after.iam_roles.get("worker").expect("is there");
    assert_eq!(changed.id, role.id);
    assert_eq!(changed.grants.inline.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(changed.grants.attached.iter().collect::<Vec<_>>(), [managed]);
    assert_eq!(after.iam_policies.get(managed).expect("is there").default_version, 2);
}

#[tokio::test]
async fn a_template_with_faulty_policies_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    let generation = control.snapshot().generation;
    let faulty =
        TEMPLATE.replace("Effect: Allow, Action: \"ecs:List*\"", "Effect: Perhaps, Action: \"ecs:List*\"");
    let error = apply(&control, "access", &faulty).expect_err("the effect is none");
    let ApplyError::Faults(faults) = &error else { panic!("{error}") };
    assert_eq!(faults[0].logical_id, "Managed");
    assert_eq!(control.snapshot().generation, generation);
    // What another stack has is not taken over.
    apply(&control, "access", TEMPLATE).expect("applies");
    let error = apply(&control, "second", TEMPLATE).expect_err("the names are taken");
    assert!(error.to_string().contains("worker exists already"), "{error}");
}

#[tokio::test]
async fn keys_are_made_listed_and_removed_and_outlive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = start(directory.path()).await;
    assert!(matches!(control.create_access_key(Some("ann")), Err(AccessKeyError::NoUser(_))));
    apply(&control, "access", TEMPLATE).expect("applies");
    let (of_root, secret) = control.create_access_key(None).expect("is made");
    assert_eq!(secret.expose().len(), 40);
    let (of_user, _) = control.create_access_key(Some("ann")).expect("is made");
    control.create_access_key(Some("ann")).expect("a second");
    assert!(matches!(control.create_access_key(Some("ann")), Err(AccessKeyError::TooMany)));
    control.shutdown().await;

    let control = start(directory.path()).await;
    assert_eq!(control.access_keys().len(), 3);
    assert_eq!(of_user.owner, KeyOwner::User("ann".into()));
    control.delete_access_key(&of_root.id).expect("is removed");
    assert!(matches!(control.delete_access_key(&of_root.id), Err(AccessKeyError::NoKey(_))));
    let file = std::fs::read(directory.path().join("store.redb")).expect("is there");
    let shown = file.windows(40).any(|window| window == secret.expose().as_bytes());
    assert!(!shown, "a secret is in the store in the clear");
}
