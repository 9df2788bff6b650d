//! What a task reaches beyond its aliases: with a machine and another one
//! beside it made of network namespaces, so that "outside" is not this machine.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bowline_e2e::{
    command::eventually,
    mesh::{MeshOptions, TestMesh},
};

/// A task that only calls.
const TEMPLATE: &str = "
Resources:
  Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: egress}}
  Namespace: {Type: AWS::ServiceDiscovery::HttpNamespace, Properties: {Name: egress}}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: caller
      NetworkMode: awsvpc
      ContainerDefinitions: [{Name: caller, Image: example/caller}]
  Service:
    Type: AWS::ECS::Service
    Properties:
      ServiceName: caller
      Cluster: !Ref Cluster
      TaskDefinition: !Ref Task
      DesiredCount: 1
      NetworkConfiguration: {AwsvpcConfiguration: {Subnets: [subnet-1]}}
      ServiceConnectConfiguration: {Enabled: true, Namespace: !GetAtt Namespace.Arn}
";

/// What the application met, by place; and the mesh it ran in.
fn outcomes(directory: &Path, egress: &str) -> (BTreeMap<String, String>, TestMesh) {
    let files = [
        ("template.yaml", TEMPLATE),
        ("machine.sh", include_str!("egress/machine.sh")),
        ("elsewhere.py", include_str!("egress/elsewhere.py")),
        ("application.py", include_str!("egress/application.py")),
    ];
    for (name, text) in files {
        fs::write(directory.join(name), text).expect("written");
    }
    let here = directory.to_str().expect("UTF-8");
    let state = directory.join("state");
    let mut options = MeshOptions::example("cdk").state_dir(&state);
    options.template = directory.join("template.yaml");
    options.arguments = ["--egress", egress, "--exec", &format!("caller=python3 {here}/application.py")]
        .map(str::to_owned)
        .to_vec();
    let machine = format!("{here}/machine.sh");
    options.through =
        ["unshare", "--map-root-user", "--net", "--mount", "sh", &machine, here].map(str::to_owned).to_vec();
    let mesh = TestMesh::up(&options);
    let lines = eventually("the application has tried all", Duration::from_secs(60), || {
        let lines = tried(&state);
        lines.iter().any(|line| line == "all").then_some(lines)
    });
    let outcomes = lines
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(place, outcome)| (place.to_owned(), outcome.to_owned()))
        .collect();
    (outcomes, mesh)
}

/// What the application has printed so far.
fn tried(state: &Path) -> Vec<String> {
    logs(state).lines().filter_map(|line| Some(line.split_once("TRIED ")?.1.to_owned())).collect()
}

/// All logs of all tasks.
fn logs(state: &Path) -> String {
    let tasks = fs::read_dir(state.join("tasks")).into_iter().flatten().flatten();
    let files = tasks.flat_map(|task| fs::read_dir(task.path()).into_iter().flatten().flatten());
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| fs::read_to_string(path).unwrap_or_default())
        .collect()
}

#[test]
fn a_task_reaches_what_the_host_reaches_but_not_the_host() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (outcomes, mesh) = outcomes(temporary.path(), "allow");
    let logs = logs(&temporary.path().join("state"));
    let expected = [
        ("192.0.2.2:80", "other"),
        ("outside.test:80", "other"),
        ("missing.test:80", "no such name"),
        // Nobody listens there.
        ("192.0.2.2:81", "ConnectionResetError"),
        // This machine's own addresses: of the link, its second, and one of its loopback.
        ("192.0.2.1:80", "ConnectionResetError"),
        ("192.0.2.3:80", "ConnectionResetError"),
        ("203.0.113.7:80", "ConnectionResetError"),
        ("127.0.0.1:80", "ConnectionRefusedError"),
        // The other machine has this address.
        ("169.254.169.254:80", "ConnectionRefusedError"),
    ];
    for (place, outcome) in expected {
        assert_eq!(outcomes.get(place).map(String::as_str), Some(outcome), "{place}: {outcomes:#?}\n{logs}");
    }
    assert!(logs.contains("egress to 192.0.2.2:80 allowed"), "{logs}");
    assert!(logs.contains("egress to 192.0.2.1:80 denied"), "{logs}");
    assert!(logs.contains("egress to 169.254.169.254:80 (tcp) denied"), "{logs}");
    let warnings = &mesh.service("caller")["tasks"][0]["warnings"];
    assert!(!warnings.to_string().contains("egress"), "{warnings}");
    assert_eq!(mesh.interrupt(), Some(0));
}

#[test]
fn without_egress_a_task_reaches_nothing() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (outcomes, mesh) = outcomes(temporary.path(), "deny");
    for place in ["192.0.2.2:80", "192.0.2.1:80", "203.0.113.7:80", "127.0.0.1:80", "169.254.169.254:80"] {
        assert_eq!(outcomes.get(place).map(String::as_str), Some("ConnectionRefusedError"), "{outcomes:#?}");
    }
    assert_eq!(outcomes["outside.test:80"], "no such name");
    let logs = logs(&temporary.path().join("state"));
    assert!(logs.contains("egress to 192.0.2.2:80 (tcp) denied"), "{logs}");
    assert_eq!(mesh.interrupt(), Some(0));
}
