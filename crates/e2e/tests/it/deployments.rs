//! Deployments under load: a blue/green shift, a canary that is bad, scaling, and a rollback of ten
//! tasks. Whoever calls notices none of it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bowline_e2e::{
    command::{eventually, run_limited},
    load::Load,
    mesh::{MeshOptions, TestMesh, bowline},
    server::aws_clients,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// Tells its version; a bad one fails at everything but its health check.
const APPLICATION: &str = "
import http.server, os
VERSION = os.environ.get('VERSION', 'idle')
class Tell(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = VERSION.encode()
        is_bad = VERSION.startswith('bad') and self.path != '/health'
        self.send_response(500 if is_bad else 200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(('0.0.0.0', 8080), Tell).serve_forever()
";

/// Calls a URL on four connections until a file is there, and prints what it got: how many times which
/// status and body.
const CALLER: &str = "
import http.client, json, os, sys, threading, collections
host, path, stop = sys.argv[1:]
counts, lock = collections.Counter(), threading.Lock()
def call():
    own, connection = collections.Counter(), None
    while not os.path.exists(stop):
        try:
            connection = connection or http.client.HTTPConnection(host, timeout=20)
            connection.request('GET', path)
            answer = connection.getresponse()
            own[f'{answer.status} {answer.read().decode()}'] += 1
        except Exception as error:
            own[f'failed: {error!r}'] += 1
            connection = None
    with lock:
        counts.update(own)
threads = [threading.Thread(target=call) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(counts))
";

fn template() -> Value {
    let task = json!({"Type": "AWS::ECS::TaskDefinition", "Properties": task_definition("v1", true)});
    let service = |name: &str, count: u32, balancers: Value| {
        json!({"Type": "AWS::ECS::Service", "DependsOn": ["Rule"], "Properties": {
            "ServiceName": name, "Cluster": {"Ref": "Cluster"}, "TaskDefinition": {"Ref": "Task"},
            "DesiredCount": count, "LoadBalancers": balancers,
            "NetworkConfiguration": {"AwsvpcConfiguration": {"Subnets": ["subnet-1"]}},
            "ServiceConnectConfiguration": {
                "Enabled": true, "Namespace": {"Fn::GetAtt": ["Namespace", "Arn"]},
                "Services": [{
                    "PortName": "http", "DiscoveryName": name,
                    "ClientAliases": [{"Port": 80, "DnsName": name}],
                }],
            },
        }})
    };
    let target_group = json!({"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {
        "TargetType": "ip", "Protocol": "HTTP", "Port": 8080, "VpcId": "vpc-1", "HealthCheckPath": "/health",
    }});
    let balanced = json!([{
        "ContainerName": "tell", "ContainerPort": 8080, "TargetGroupArn": {"Ref": "Blue"},
        "AdvancedConfiguration": {
            "AlternateTargetGroupArn": {"Ref": "Green"}, "ProductionListenerRule": {"Ref": "Rule"},
            "RoleArn": "arn:aws:iam::000000000000:role/balancers",
        },
    }]);
    json!({"Resources": {
        "Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "shifting"}},
        "Namespace": {"Type": "AWS::ServiceDiscovery::HttpNamespace", "Properties": {"Name": "shifting"}},
        "Balancer": {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer", "Properties": {
            "Name": "shifting", "Type": "application", "Subnets": ["subnet-1", "subnet-2"],
        }},
        "Listener": {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": {
            "LoadBalancerArn": {"Ref": "Balancer"}, "Port": 80, "Protocol": "HTTP",
            "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
        }},
        "Blue": target_group.clone(),
        "Green": target_group,
        "Rule": {"Type": "AWS::ElasticLoadBalancingV2::ListenerRule", "Properties": {
            "ListenerArn": {"Ref": "Listener"}, "Priority": 1,
            "Conditions": [{"Field": "path-pattern", "Values": ["/*"]}],
            "Actions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Blue"}}],
        }},
        "Task": task,
        "Caller": service("caller", 1, json!([])),
        "Back": service("back", 2, balanced),
        // Only what is safe to try again is, and a bad version is known by its 500s.
        "Careful": {"Type": "Bowline::ServiceConnect::TrafficPolicy", "Properties": {
            "DiscoveryName": "back",
            "RetryPolicy": {"MaxRetries": 2, "HttpRetryEvents": ["server-error", "stream-error"],
                            "TcpRetryEvents": ["connection-error"]},
        }},
    }})
}

/// As a template writes it, or as the API does.
fn task_definition(version: &str, is_template: bool) -> Value {
    let properties = json!({
        "Family": "tell", "NetworkMode": "awsvpc",
        "ContainerDefinitions": [{
            "Name": "tell", "Image": "example/tell", "StopTimeout": 2,
            "Environment": [{"Name": "VERSION", "Value": version}],
            "PortMappings": [{"Name": "http", "ContainerPort": 8080, "AppProtocol": "http"}],
            "HealthCheck": {
                "Command": ["CMD-SHELL", "curl -fsS http://127.0.0.1:8080/health"], "Interval": 5, "Retries": 3,
            },
        }],
    });
    if is_template { properties } else { lower_camel(&properties) }
}

fn lower_camel(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let lower = |name: &str| name[..1].to_ascii_lowercase() + &name[1..];
            Value::Object(fields.iter().map(|(name, value)| (lower(name), lower_camel(value))).collect())
        }
        Value::Array(items) => items.iter().map(lower_camel).collect(),
        other => other.clone(),
    }
}

struct Shifting {
    mesh: TestMesh,
    directory: tempfile::TempDir,
}

/// Calls from a task, by its sidecar, and from outside, by the gateway.
struct Calls {
    from_task: Child,
    stop: PathBuf,
    from_outside: Load,
}

impl Shifting {
    fn up() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (program, file) = (directory.path().join("tell.py"), directory.path().join("template.json"));
        std::fs::write(&program, APPLICATION).expect("written");
        std::fs::write(directory.path().join("call.py"), CALLER).expect("written");
        std::fs::write(&file, template().to_string()).expect("written");
        // Times in seconds since the epoch, as they come.
        let config = "[default]\ncli_timestamp_format = wire\n";
        std::fs::write(directory.path().join("config"), config).expect("written");
        let mut options = MeshOptions::example("two-services").state_dir(&directory.path().join("state"));
        options.template = file;
        options.arguments = vec!["--exec".into(), format!("tell=python3 {}", program.display())];
        Self { mesh: TestMesh::up(&options), directory }
    }

    fn ecs(&self, operation: &str, input: &Value) -> Value {
        self.aws("ecs", operation, input)
    }

    fn aws(&self, service: &str, operation: &str, input: &Value) -> Value {
        let endpoint = self.mesh.topology["endpoint"].as_str().expect("the AWS endpoint");
        let mut command = Command::new(aws_clients().join("bin/aws"));
        command
            .args([service, operation, "--endpoint-url", endpoint, "--output", "json"])
            .args(["--cli-input-json", &input.to_string()])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_CONFIG_FILE", self.directory.path().join("config"))
            .env("AWS_DEFAULT_REGION", "us-east-1");
        let outcome = run_limited(&mut command, LIMIT);
        assert!(outcome.success(), "{operation}: {outcome:?}\n{}", self.mesh.log());
        serde_json::from_str(&outcome.stdout).unwrap_or_default()
    }

    /// Deploys another version of `back`; gives the service deployment's ARN.
    fn deploy(&self, version: &str, configuration: &Value) -> String {
        let made = self.ecs("register-task-definition", &task_definition(version, false));
        let updated = self.ecs(
            "update-service",
            &json!({
                "cluster": "shifting", "service": "back",
                "taskDefinition": made["taskDefinition"]["taskDefinitionArn"],
                "deploymentConfiguration": configuration,
            }),
        );
        updated["service"]["currentServiceDeployment"].as_str().expect("a deployment").to_owned()
    }

    fn deployment(&self, arn: &str) -> Value {
        let told = self.ecs("describe-service-deployments", &json!({"serviceDeploymentArns": [arn]}));
        told["serviceDeployments"][0].clone()
    }

    /// Waits until a deployment has a status.
    fn ends(&self, arn: &str, status: &str) -> Value {
        eventually(&format!("the deployment is {status}"), LIMIT, || {
            let deployment = self.deployment(arn);
            (deployment["status"] == status).then_some(deployment)
        })
    }

    /// Waits until as many tasks serve as are wanted, and no more run.
    fn has(&self, count: u64) {
        eventually(&format!("{count} tasks"), LIMIT, || {
            let services = json!({"cluster": "shifting", "services": ["back"]});
            let service = &self.ecs("describe-services", &services)["services"][0];
            let is_steady = service["deployments"].as_array().is_some_and(|all| all.len() == 1)
                && service["deployments"][0]["rolloutState"] == "COMPLETED";
            (is_steady && service["runningCount"] == count && service["pendingCount"] == 0).then_some(())
        });
    }

    fn exec(&self, program: &[&str]) -> Command {
        let mut command = Command::new(bowline());
        command.args(["exec", "--state-dir"]).arg(self.mesh.state_dir()).args(["caller", "--"]).args(program);
        command
    }

    fn url(&self) -> String {
        let listener = &self.mesh.topology["gateways"][0]["listeners"][0];
        format!("http://{}/", listener["address"].as_str().expect("an address"))
    }

    fn call_all_the_time(&self) -> Calls {
        let stop = self.directory.path().join("stop");
        let _ = std::fs::remove_file(&stop);
        let script = self.directory.path().join("call.py");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let from_task = self
            .exec(&["python3", &text(&script), "back", "/", &text(&stop)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bowline starts");
        let ca = self.mesh.topology["gatewayCa"].as_str().expect("the CA's file");
        Calls { from_task, stop, from_outside: Load::start(ca, &self.url(), 2, LIMIT * 3) }
    }
}

impl Calls {
    /// Ends them. All must have succeeded; gives how many answers came from which version.
    fn all_succeeded(self) -> std::collections::BTreeMap<String, u64> {
        std::fs::write(&self.stop, "").expect("written");
        let output = self.from_task.wait_with_output().expect("it ends");
        let counts: std::collections::BTreeMap<String, u64> =
            serde_json::from_slice(&output.stdout).expect("counts");
        let outside = self.from_outside.stop();
        assert!(outside.succeeded > 100 && outside.failures.is_empty(), "{outside:?}");
        assert!(counts.keys().all(|what| what.starts_with("200 ")), "{counts:?}");
        eprintln!("from outside {}, from the task {counts:?}", outside.succeeded);
        counts.into_iter().map(|(what, times)| (what[4..].to_owned(), times)).collect()
    }
}

#[test]
fn nobody_notices_deployments_scaling_and_rollbacks() {
    let shifting = Shifting::up();
    shifting.has(2);

    // Blue/green.
    let calls = shifting.call_all_the_time();
    let blue_green = json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0});
    shifting.ends(&shifting.deploy("v2", &blue_green), "SUCCESSFUL");
    shifting.has(2);
    let versions = calls.all_succeeded();
    assert!(versions["v1"] > 0 && versions["v2"] > 0, "{versions:?}");

    // A canary that answers 500 to all that it is given. Its sidecars tell of it, the alarm goes off, and
    // the deployment is taken back by itself. (An alarm that was in ALARM before would be ignored: what tasks
    // that stopped have refused, and callers tried again, must not set it off.)
    let alarm = json!({
        "AlarmName": "errors", "Namespace": "AWS/ECS", "MetricName": "ServiceConnectErrorCount",
        "Dimensions": [{"Name": "ClusterName", "Value": "shifting"}, {"Name": "ServiceName", "Value": "back"}],
        "Statistic": "Sum", "Period": 10, "EvaluationPeriods": 1, "Threshold": 4.0,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    });
    shifting.aws("cloudwatch", "put-metric-alarm", &alarm);
    let calls = shifting.call_all_the_time();
    let bad = shifting.deploy(
        "bad",
        &json!({
            "strategy": "CANARY",
            "canaryConfiguration": {"canaryPercent": 10, "canaryBakeTimeInMinutes": 60},
            "alarms": {"alarmNames": ["errors"], "enable": true, "rollback": true},
        }),
    );
    let undone = shifting.ends(&bad, "ROLLBACK_SUCCESSFUL");
    assert_eq!(undone["alarms"]["triggeredAlarmNames"], json!(["errors"]), "{undone}");
    shifting.has(2);
    calls.all_succeeded();

    // Two tasks, ten, two.
    let calls = shifting.call_all_the_time();
    let scale = |count: u64| {
        let wanted = json!({"cluster": "shifting", "service": "back", "desiredCount": count});
        shifting.ecs("update-service", &wanted);
        shifting.has(count);
    };
    scale(10);
    scale(2);
    scale(10);
    calls.all_succeeded();

    // Ten tasks taken back while the new ones bake.
    let calls = shifting.call_all_the_time();
    let baking = shifting.deploy("v3", &json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60}));
    eventually("the new ones bake", LIMIT, || {
        (shifting.deployment(&baking)["lifecycleStage"] == "BAKE_TIME").then_some(())
    });
    shifting.ecs("stop-service-deployment", &json!({"serviceDeploymentArn": baking, "stopType": "ROLLBACK"}));
    let back = shifting.ends(&baking, "ROLLBACK_SUCCESSFUL");
    let seconds = |moment: &Value| moment.as_f64().expect("seconds since the epoch");
    let took = seconds(&back["finishedAt"]) - seconds(&back["rollback"]["startedAt"]);
    calls.all_succeeded();
    eprintln!("ten tasks were taken back in {took:.1} s");
    // Under 5 s where nothing else runs; a machine that is busy takes its time.
    assert!((0.0..15.0).contains(&took), "{took}");
    assert_eq!(shifting.mesh.interrupt(), Some(0));
}
