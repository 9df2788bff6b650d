//! A Redis outside the mesh, plain and with TLS, registered in Cloud Map through the endpoint: a
//! running task calls it by name, in plain Redis, and nobody else's name is one of its own.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bowline_e2e::{
    command::{Outcome, eventually, run_limited},
    mesh::bowline,
    server::{TestServer, aws_clients},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

/// A redis-server of this machine, outside of the mesh. Dropping it kills it.
struct Redis {
    child: Child,
    port: String,
}

impl Redis {
    /// With `tls` it speaks nothing else, and believes clients of its own CA only, if they show a
    /// certificate at all.
    fn start(directory: &Path, tls: bool) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
        let port = free.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).current_dir(directory);
        match tls {
            false => command.args(["--port", &port]),
            true => {
                command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "optional"]).args([
                    "--tls-cert-file",
                    "server.pem",
                    "--tls-key-file",
                    "server.key",
                    "--tls-ca-cert-file",
                    "ca.pem",
                ])
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server starts");
        let redis = Self { child, port };
        let tls = if tls { ["--tls", "--insecure"].as_slice() } else { &[] };
        eventually("redis-server answers", LIMIT, || {
            let mut ping = Command::new("redis-cli");
            ping.args(["-p", &redis.port]).args(tls).arg("ping");
            run_limited(&mut ping, LIMIT).stdout.starts_with("PONG").then_some(())
        });
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An own CA and a certificate for `redis.example`, by openssl.
fn certificates(directory: &Path) -> String {
    let script = "
        set -e
        curve='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'
        openssl req -x509 $curve -subj '/CN=own CA' -keyout ca.key -out ca.pem
        openssl req $curve -subj /CN=redis -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:redis.example\\n' > names
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem
    ";
    let outcome = run_limited(Command::new("sh").args(["-c", script]).current_dir(directory), LIMIT);
    assert!(outcome.success(), "{outcome:?}");
    std::fs::read_to_string(directory.join("ca.pem")).expect("the CA")
}

struct Aws {
    server: TestServer,
    cli: std::path::PathBuf,
}

impl Aws {
    fn run(&self, service: &str, operation: &str, input: &Value) -> Outcome {
        let mut command = Command::new(&self.cli);
        command
            .args([service, operation, "--endpoint-url", &self.server.endpoint, "--output", "json"])
            .args(["--cli-input-json", &input.to_string()])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1");
        run_limited(&mut command, LIMIT)
    }

    fn ok(&self, service: &str, operation: &str, input: &Value) -> Value {
        let outcome = self.run(service, operation, input);
        assert!(outcome.success(), "{operation}: {outcome:?}\n{}", self.server.log());
        serde_json::from_str(&outcome.stdout).unwrap_or_default()
    }

    /// The id of a new HTTP namespace.
    fn namespace(&self, name: &str) -> String {
        let started = self.ok("servicediscovery", "create-http-namespace", &json!({"Name": name}));
        let operation =
            self.ok("servicediscovery", "get-operation", &json!({"OperationId": started["OperationId"]}));
        operation["Operation"]["Targets"]["NAMESPACE"].as_str().expect("an id").to_owned()
    }

    /// A new service; its id and ARN.
    fn service(&self, namespace: &str, name: &str, tags: &Value) -> (String, String) {
        let input = json!({"Name": name, "NamespaceId": namespace, "Tags": tags});
        let made = self.ok("servicediscovery", "create-service", &input);
        let text = |member: &str| made["Service"][member].as_str().expect("text").to_owned();
        (text("Id"), text("Arn"))
    }

    fn register(&self, service: &str, redis: &Redis) {
        let attributes = json!({"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": redis.port});
        let input = json!({"ServiceId": service, "InstanceId": "redis", "Attributes": attributes});
        self.ok("servicediscovery", "register-instance", &input);
    }
}

#[test]
fn a_redis_registered_by_hand_is_called_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = directory.path().join("state");
    let state_dir = state.to_str().expect("UTF-8");
    let ca = certificates(directory.path());
    let (plain, tls) = (Redis::start(directory.path(), false), Redis::start(directory.path(), true));
    let server = TestServer::start(["--state-dir", state_dir, "--exec", "caller=sleep 1000"]);
    let aws = Aws { server, cli: aws_clients().join("bin/aws") };

    let (shop, other) = (aws.namespace("shop"), aws.namespace("other"));
    let cluster = json!({"clusterName": "shop", "serviceConnectDefaults": {"namespace": "shop"}});
    aws.ok("ecs", "create-cluster", &cluster);
    let definition = json!({
        "family": "caller", "networkMode": "awsvpc",
        "containerDefinitions": [{"name": "caller", "image": "example/caller"}],
    });
    aws.ok("ecs", "register-task-definition", &definition);
    let caller = json!({
        "cluster": "shop", "serviceName": "caller", "taskDefinition": "caller", "desiredCount": 1,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        "serviceConnectConfiguration": {"enabled": true, "namespace": "shop"},
    });
    aws.ok("ecs", "create-service", &caller);
    let exec = |command: &[&str]| {
        let mut bowline = Command::new(bowline());
        bowline.args(["exec", "--state-dir", state_dir, "caller", "--"]).args(command);
        run_limited(&mut bowline, LIMIT)
    };
    eventually("the task runs", LIMIT, || exec(&["true"]).success().then_some(()));
    let redis = |host: &str, redis: &Redis, command: &[&str]| {
        let arguments = [&["redis-cli", "-h", host, "-p", &redis.port], command].concat();
        exec(&arguments)
    };
    let answers = |host: &str, server: &Redis| redis(host, server, &["ping"]).stdout.starts_with("PONG");
    let until = |what: &str, host: &str, server: &Redis, wanted: bool| {
        eventually(what, LIMIT, || (answers(host, server) == wanted).then_some(()));
    };
    assert!(!exec(&["redis-cli", "-h", "127.0.0.1", "-p", &plain.port, "ping"]).stdout.contains("PONG"));

    // The name appears in the running task, without egress.
    let (cache, _) = aws.service(&shop, "cache", &json!([]));
    assert!(!answers("cache", &plain));
    aws.register(&cache, &plain);
    until("the plain Redis answers", "cache", &plain, true);
    let set = redis("cache.shop", &plain, &["set", "message", "by name"]);
    assert_eq!(set.stdout.trim(), "OK", "{set:?}");

    // A namespace that is not the task's is none of its business.
    let (lonely, _) = aws.service(&other, "lonely", &json!([]));
    aws.register(&lonely, &plain);

    // With TLS: the task speaks plain Redis all the same.
    let tags = json!([
        {"Key": "bowline:tls", "Value": "ca"}, {"Key": "bowline:sni", "Value": "redis.example"},
    ]);
    let (secure, arn) = aws.service(&shop, "secure", &tags);
    let early =
        json!({"ServiceId": secure, "InstanceId": "redis", "Attributes": {"AWS_INSTANCE_IPV4": "127.0.0.1"}});
    let early = aws.run("servicediscovery", "register-instance", &early);
    assert!(early.stderr.contains("bowline:ca"), "without its CA it cannot be used: {early:?}");
    let attributes = json!({"ServiceId": secure, "Attributes": {"bowline:ca": ca}});
    aws.ok("servicediscovery", "update-service-attributes", &attributes);
    aws.register(&secure, &tls);
    until("the Redis with TLS answers", "secure", &tls, true);
    let set = redis("secure.shop", &tls, &["set", "message", "over TLS"]);
    assert_eq!(set.stdout.trim(), "OK", "{set:?}");

    // A name that its certificate does not have, and a setting that nobody understands: refused.
    let tag = |key: &str, value: &str| {
        let input = json!({"ResourceARN": arn, "Tags": [{"Key": key, "Value": value}]});
        aws.ok("servicediscovery", "tag-resource", &input);
    };
    tag("bowline:sni", "other.example");
    until("another name is refused", "secure", &tls, false);
    tag("bowline:sni", "redis.example");
    until("the right name again", "secure", &tls, true);
    tag("bowline:tls", "maybe");
    until("an unusable setting is refused", "secure", &tls, false);

    assert!(!answers("lonely", &plain) && !answers("lonely.other", &plain));
    assert!(answers("cache", &plain), "the twin of what is refused");
    let input = json!({"ServiceId": cache, "InstanceId": "redis"});
    aws.ok("servicediscovery", "deregister-instance", &input);
    until("a name that is gone is refused", "cache", &plain, false);
    assert!(!exec(&["grep", "-w", "cache", "/etc/hosts"]).success());
    assert_eq!(aws.server.interrupt(), Some(0));
}
