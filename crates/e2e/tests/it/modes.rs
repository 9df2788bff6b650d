//! Services in both modes, and certificates that were imported in the place of the mesh's.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_e2e::{
    command::{Outcome, eventually, run_limited},
    mesh::{MeshOptions, TestMesh, bowline},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Tells each caller what it was told of it.
const APPLICATION: &str = "
import http.server, json
class Tell(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8080), Tell).serve_forever()
";

fn template(services: &[(&str, &str)]) -> String {
    let mut text = "
Resources:
  Cluster: {Type: AWS::ECS::Cluster, Properties: {ClusterName: modes}}
  Namespace: {Type: AWS::ServiceDiscovery::HttpNamespace, Properties: {Name: modes}}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: tell
      NetworkMode: awsvpc
      ContainerDefinitions:
        - Name: tell
          Image: example/tell
          PortMappings: [{Name: http, ContainerPort: 8080, AppProtocol: http}]
"
    .to_owned();
    for (name, encryption) in services {
        text.push_str(&format!(
            "
  Service{name}:
    Type: AWS::ECS::Service
    Properties:
      ServiceName: {name}
      Cluster: !Ref Cluster
      TaskDefinition: !Ref Task
      DesiredCount: 1
      NetworkConfiguration: {{AwsvpcConfiguration: {{Subnets: [subnet-1]}}}}
      ServiceConnectConfiguration:
        Enabled: true
        Namespace: !GetAtt Namespace.Arn
        Services: [{{PortName: http, DiscoveryName: {name}, ClientAliases: [{{Port: 80, DnsName: {name}}}]}}]
        {encryption}
"
        ));
    }
    text
}

fn up(directory: &Path, services: &[(&str, &str)]) -> TestMesh {
    let (program, file) = (directory.join("application.py"), directory.join("template.yaml"));
    std::fs::write(&program, APPLICATION).expect("written");
    std::fs::write(&file, template(services)).expect("written");
    let mut options = MeshOptions::example("two-services").state_dir(&directory.join("state"));
    options.template = file;
    options.arguments = vec!["--exec".into(), format!("tell=python3 {}", program.display())];
    TestMesh::up(&options)
}

/// What `from`'s application gets when it calls `to`: the status and the body.
fn call(state: &Path, from: &str, to: &str) -> (String, String) {
    let mut command = Command::new(bowline());
    command.args(["exec", "--state-dir"]).arg(state);
    let url = format!("http://{to}/");
    command.args([from, "--", "curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", &url]);
    let outcome = run_limited(&mut command, LIMIT);
    let (body, status) = outcome.stdout.rsplit_once('\n').unwrap_or_default();
    (status.to_owned(), format!("{body}{}", outcome.stderr))
}

/// What the called application is told of its caller. The applications have no health check, so
/// the first calls may come before they listen.
fn told(mesh: &TestMesh, from: &str, to: &str) -> Value {
    let body = eventually("the application answers", LIMIT, || {
        let (status, body) = call(mesh.state_dir(), from, to);
        (status == "200").then_some(body)
    });
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"))
}

/// Where the tasks of a service that run take calls from other sidecars.
fn inbound(mesh: &TestMesh, service: &str) -> Vec<SocketAddr> {
    let status = mesh.status();
    let services = status["services"].as_array().expect("services");
    let service = services.iter().find(|row| row["name"] == service).expect("the service");
    let tasks = service["tasks"].as_array().expect("tasks").iter();
    tasks
        .filter(|task| task["status"] == "RUNNING")
        .map(|task| task["inbound"][0]["address"].as_str().expect("an address").parse().expect("an address"))
        .collect()
}

/// What openssl says of a port, as a client with no certificate.
fn s_client(address: SocketAddr) -> String {
    let mut command = Command::new("timeout");
    let address = address.to_string();
    command.args(["5", "openssl", "s_client", "-connect", &address, "-alpn", "h2", "-tls1_3", "-ign_eof"]);
    command.stdin(std::process::Stdio::null());
    let outcome = run_limited(&mut command, LIMIT);
    format!("{}{}", outcome.stdout, outcome.stderr)
}

fn verify(mesh: &TestMesh) -> (Outcome, Vec<Value>) {
    let outcome = mesh.run(&["verify", "--capture", "relay", "-o", "json"]);
    let evidence: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
    let pairs = evidence["pairs"].as_array().cloned().unwrap_or_default();
    (outcome, pairs)
}

#[test]
fn a_service_says_whether_its_callers_prove_who_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let services = [
        ("caller", ""),
        ("one", "EncryptionConfiguration: {Mode: TLS}"),
        ("both", "EncryptionConfiguration: {Mode: MUTUAL_TLS}"),
    ];
    let mesh = up(directory.path(), &services);
    let headers = told(&mesh, "caller", "one");
    for name in ["x-forwarded-client-cert", "x-ssl-client-verify", "x-ssl-client-spiffe-id"] {
        assert!(headers[name].is_null(), "{headers}");
    }
    let headers = told(&mesh, "caller", "both");
    let identity = mesh.service("caller")["identity"].as_str().expect("an id");
    assert_eq!(headers["x-ssl-client-spiffe-id"], identity, "{headers}");
    assert!(headers["x-forwarded-client-cert"].as_str().is_some_and(|text| text.contains(identity)));
    // As an outsider without a certificate sees it.
    let refused = "certificate required";
    assert!(!s_client(inbound(&mesh, "one")[0]).contains(refused));
    assert!(s_client(inbound(&mesh, "both")[0]).contains(refused));
    let (outcome, pairs) = verify(&mesh);
    assert!(outcome.success() && !pairs.is_empty(), "{outcome:?}");
    for pair in pairs {
        let mode = if pair["callee"] == "one" { "TLS" } else { "MUTUAL_TLS" };
        let served = if mode == "TLS" { "served" } else { "refused" };
        assert_eq!((&pair["mode"], &pair["withoutCertificate"]), (&mode.into(), &served.into()), "{pair}");
    }
}

/// `openssl genrsa`, `req -new`, `x509 -req`, as the notes have it.
fn make_certificate(directory: &Path, name: &str) -> (String, String) {
    let path = |kind: &str| directory.join(format!("{name}.{kind}")).to_string_lossy().into_owned();
    let (key, csr, certificate) = (path("key"), path("csr"), path("crt"));
    let subject = format!("/C=US/ST=CA/L=SanFrancisco/O=MyCompany/OU=Backend/CN={name}.my-namespace.local");
    for arguments in [
        vec!["genrsa", "-out", &key, "4096"],
        vec!["req", "-new", "-key", &key, "-out", &csr, "-subj", &subject],
        vec!["x509", "-req", "-days", "365", "-in", &csr, "-signkey", &key, "-out", &certificate],
    ] {
        let outcome = run_limited(Command::new("openssl").args(&arguments), LIMIT);
        assert!(outcome.success(), "{outcome:?}");
    }
    (certificate, key)
}

fn import(mesh: &TestMesh, (certificate, key): &(String, String), again: Option<&str>) -> String {
    let (certificate, key) = (format!("fileb://{certificate}"), format!("fileb://{key}"));
    let mut arguments =
        vec!["acm", "import-certificate", "--certificate", &certificate, "--private-key", &key];
    if let Some(arn) = again {
        arguments.extend(["--certificate-arn", arn]);
    }
    mesh.aws(&arguments)["CertificateArn"].as_str().expect("an ARN").to_owned()
}

/// The body of a certificate's PEM, as openssl prints it, too.
fn body_of(path: &str) -> String {
    let text = std::fs::read_to_string(path).expect("read");
    text.lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_imported_certificate_serves_and_is_replaced_without_a_failed_request() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = up(directory.path(), &[("frontend", ""), ("backend", "")]);
    let [backend, frontend, next] =
        ["backend", "frontend", "next"].map(|name| make_certificate(directory.path(), name));
    let (arn, client) = (import(&mesh, &backend, None), import(&mesh, &frontend, None));
    // The AWS CLI lets no unknown member through, but any tag.
    let configure = |service: &str, encryption: &str| {
        let services = mesh.aws(&["ecs", "list-services", "--cluster", "modes"]);
        let arns = services["serviceArns"].as_array().expect("ARNs").clone();
        let found = arns.iter().filter_map(Value::as_str).find(|arn| arn.ends_with(&format!("/{service}")));
        let tags = format!(r#"[{{"key": "Bowline:ServiceConnect", "value": {encryption:?}}}]"#);
        mesh.aws(&["ecs", "tag-resource", "--resource-arn", found.expect("an ARN"), "--tags", &tags]);
        mesh.aws(&[
            "ecs",
            "update-service",
            "--cluster",
            "modes",
            "--service",
            service,
            "--force-new-deployment",
        ]);
    };
    configure("frontend", &format!(r#"{{"encryptionConfiguration":{{"certificateArn":"{client}"}}}}"#));
    configure(
        "backend",
        &format!(
            r#"{{"encryptionConfiguration":{{"certificateArn":"{arn}","clientCertificateArn":"{client}","mode":"MUTUAL_TLS"}}}}"#
        ),
    );
    let shows = |of: &(String, String)| {
        let body = body_of(&of.0);
        let all = inbound(&mesh, "backend");
        (!all.is_empty() && all.iter().all(|address| s_client(*address).contains(&body))).then_some(())
    };
    eventually("the imported certificate is shown", Duration::from_secs(120), || shows(&backend));
    // The caller shows the one that the called service names.
    let hash = run_limited(
        Command::new("openssl").args(["x509", "-in", &frontend.0, "-noout", "-fingerprint", "-sha256"]),
        LIMIT,
    );
    let hash = hash.stdout.split_once('=').expect("a fingerprint").1.trim().replace(':', "").to_lowercase();
    eventually("the caller's is shown", LIMIT, || {
        let headers = told(&mesh, "frontend", "backend");
        let text = headers["x-forwarded-client-cert"].as_str().unwrap_or_default().to_owned();
        (text.contains(&format!("Hash={hash}")) && text.contains("/svc/frontend")).then_some(())
    });

    let certs = mesh.run(&["certs"]).stdout;
    assert!(certs.contains(&format!("‼ {arn}")) && certs.contains("it is pinned"), "{certs}");
    let (outcome, pairs) = verify(&mesh);
    assert!(outcome.success() && pairs.len() == 2, "{outcome:?}");

    // The same ARN, another certificate: live, without new tasks.
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let load = {
        let (stop, answered, state) = (Arc::clone(&stop), Arc::clone(&answered), mesh.state_dir().to_owned());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let (status, body) = call(&state, "frontend", "backend");
                assert_eq!(status, "200", "{body}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let tasks = inbound(&mesh, "backend");
    assert_eq!(import(&mesh, &next, Some(&arn)), arn);
    eventually("the next certificate is shown", LIMIT, || shows(&next));
    assert_eq!(inbound(&mesh, "backend"), tasks);
    let before = answered.load(Ordering::Relaxed);
    eventually("requests go on", LIMIT, || {
        assert!(!load.is_finished(), "a request failed");
        (answered.load(Ordering::Relaxed) > before + 3).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    load.join().expect("no request failed");
}
