//! A CDK app, as it was synthesised for a bootstrapped account, deployed through the aws CLI.
//!
//! `examples/cdk/templates/CdkMesh.json` is made from `examples/cdk/mesh.js` by `npm run synth`
//! there.

use std::{path::Path, process::Command, time::Duration};

use bowline_e2e::{
    command::{Outcome, eventually, run_limited},
    leftovers,
    mesh::{bowline, repository},
    server::TestServer,
};
use serde_json::Value;

const STACK: [&str; 2] = ["--stack-name", "CdkMesh"];

/// Longest that one command may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A command of the aws CLI, which must succeed; what it printed.
fn aws(server: &TestServer, command: &[&str], more: &[&str]) -> Value {
    let outcome = server.aws(&[command, more].concat(), LIMIT);
    assert!(outcome.success(), "{command:?}: {}{}\n{}", outcome.stdout, outcome.stderr, server.log());
    serde_json::from_str(&outcome.stdout).unwrap_or_default()
}

/// Waits for the stack: asked first by us, since the CLI's own waiters ask every 30 seconds.
fn wait(server: &TestServer, waiter: &str, id: &str) {
    let wanted = waiter.trim_start_matches("stack-").replace('-', "_").to_uppercase();
    eventually(waiter, LIMIT, || {
        let told = aws(server, &["cloudformation", "describe-stacks"], &["--stack-name", id]);
        let status = told["Stacks"][0]["StackStatus"].as_str().unwrap_or_default().to_owned();
        assert!(!status.contains("FAILED") && !status.contains("ROLLBACK"), "{told:#}\n{}", server.log());
        (status == wanted).then_some(())
    });
    aws(server, &["cloudformation", "wait", waiter], &["--stack-name", id]);
}

fn call_the_responder(state: &Path) -> Outcome {
    let mut exec = Command::new(bowline());
    exec.args(["exec", "--state-dir"]).arg(state).args(["caller", "--", "curl", "-sS", "http://responder/"]);
    run_limited(&mut exec, Duration::from_secs(60))
}

#[test]
fn a_synthesised_app_is_deployed_updated_and_deleted_by_the_aws_cli() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let server = TestServer::start(["--state-dir", state.to_str().expect("UTF-8")]);
    let template = repository().join("examples/cdk/templates/CdkMesh.json");
    let body = format!("file://{}", template.display());
    let from = ["--template-body", &body, "--capabilities", "CAPABILITY_IAM"];
    let made = aws(&server, &["cloudformation", "create-stack"], &[STACK.as_slice(), &from].concat());
    let id = made["StackId"].as_str().expect("the stack's id");
    wait(&server, "stack-create-complete", id);
    let answer = call_the_responder(&state);
    assert_eq!(answer.stdout, "hello from the responder", "{answer:?}\n{}", server.log());

    let mut verify = Command::new(bowline());
    verify.args(["verify", "-o", "json", "--state-dir"]).arg(&state);
    let evidence = run_limited(&mut verify, Duration::from_secs(120));
    let evidence: Value = serde_json::from_str(&evidence.stdout).expect("JSON");
    let pair = &evidence["pairs"][0];
    assert_eq!((&pair["caller"], &pair["callee"]), (&"caller".into(), &"responder".into()), "{evidence:#}");
    assert_eq!((&pair["tlsVersion"], &pair["markOccurrences"]), (&"TLSv1.3".into(), &0.into()), "{pair:#}");

    // A second task, by a change set.
    let mut more: Value =
        serde_json::from_str(&std::fs::read_to_string(&template).expect("the template")).expect("JSON");
    let resources = more["Resources"].as_object_mut().expect("resources");
    let (logical_id, responder) = resources
        .iter_mut()
        .find(|(id, resource)| resource["Type"] == "AWS::ECS::Service" && id.starts_with("Responder"))
        .expect("the responder");
    responder["Properties"]["DesiredCount"] = 2.into();
    let logical_id = logical_id.clone();
    let changed = directory.path().join("changed.json");
    std::fs::write(&changed, more.to_string()).expect("written");
    let body = format!("file://{}", changed.display());
    let named = [STACK.as_slice(), &["--change-set-name", "second-task"]].concat();
    let from = ["--template-body", &body, "--capabilities", "CAPABILITY_IAM"];
    aws(&server, &["cloudformation", "create-change-set"], &[named.as_slice(), &from].concat());
    aws(&server, &["cloudformation", "wait", "change-set-create-complete"], &named);
    let set = aws(&server, &["cloudformation", "describe-change-set"], &named);
    assert_eq!(set["Changes"].as_array().map(Vec::len), Some(1), "{set:#}");
    assert_eq!(set["Changes"][0]["ResourceChange"]["LogicalResourceId"], logical_id.as_str());
    aws(&server, &["cloudformation", "execute-change-set"], &named);
    wait(&server, "stack-update-complete", id);
    let services =
        aws(&server, &["ecs", "describe-services", "--cluster", "cdk-mesh", "--services", "responder"], &[]);
    assert_eq!(services["services"][0]["runningCount"], 2, "{services:#}");
    assert!(call_the_responder(&state).success());

    aws(&server, &["cloudformation", "delete-stack"], &STACK);
    wait(&server, "stack-delete-complete", id);
    for (command, key) in [
        (["ecs", "list-clusters"], "clusterArns"),
        (["servicediscovery", "list-namespaces"], "Namespaces"),
        (["servicediscovery", "list-services"], "Services"),
        (["iam", "list-roles"], "Roles"),
    ] {
        assert_eq!(aws(&server, &command, &[])[key], Value::Array(Vec::new()), "{command:?}");
    }
    assert_eq!(server.interrupt(), Some(0));
    assert_eq!(leftovers::processes_of(&state), Vec::<u32>::new());
}
