//! Certificates of Certificate Manager that services show in the place of the mesh's.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bowline_discovery::{
    resource::{Resource, ResourceType},
    v1,
};
use bowline_model::{clock::Timestamp, task::TaskId};
use bowline_stream::directory::{Directory, IssueError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::Endpoint;
use crate::{
    acm::{
        rollover::{self, ANNOUNCED_FOR, OVERLAP},
        serving,
    },
    publish::{
        PublishOptions,
        scope::{self, Reach},
    },
    revocation::{BarRecord, BarSubject, RevocationReason},
};

/// A certificate without names, signed by its own key; and one with a name, under a root.
struct Pem {
    certificate: String,
    key: String,
    chain: Option<String>,
}

fn without_names() -> Pem {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "web.n");
    Pem { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem(), chain: None }
}

fn under_a_root(name: &str) -> Pem {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(vec![]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "root");
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();
    Pem { certificate, key: key.serialize_pem(), chain: Some(root_pem) }
}

struct Mesh(Endpoint);

impl Mesh {
    fn new() -> Self {
        let api = Endpoint::new();
        api.ok(
            "ecs",
            "CreateCluster",
            json!({"clusterName": "c", "serviceConnectDefaults": {"namespace": "n"}}),
        );
        let containers = json!([{"name": "web", "image": "busybox",
            "portMappings": [{"name": "http", "containerPort": 8080, "appProtocol": "http"}]}]);
        api.ok(
            "ecs",
            "RegisterTaskDefinition",
            json!({"family": "web", "networkMode": "awsvpc", "containerDefinitions": containers}),
        );
        Self(api)
    }

    fn import(&self, pem: &Pem, again: Option<&str>) -> String {
        let mut request = json!({"Certificate": STANDARD.encode(&pem.certificate), "PrivateKey": STANDARD.encode(&pem.key)});
        if let Some(chain) = &pem.chain {
            request["CertificateChain"] = STANDARD.encode(chain).into();
        }
        if let Some(arn) = again {
            request["CertificateArn"] = arn.into();
        }
        let answer = self.0.ok("acm", "ImportCertificate", request);
        answer["CertificateArn"].as_str().unwrap().to_owned()
    }

    fn service(&self, name: &str, encryption: Value) {
        let connect = json!({"enabled": true, "encryptionConfiguration": encryption, "services": [
            {"portName": "http", "discoveryName": name, "clientAliases": [{"port": 80, "dnsName": name}]}]});
        self.0.ok(
            "ecs",
            "CreateService",
            json!({"cluster": "c", "serviceName": name, "taskDefinition": "web", "desiredCount": 1,
                "serviceConnectConfiguration": connect}),
        );
        self.0.finish_stack();
    }

    /// All tasks of all deployments run.
    fn complete(&self) {
        let now = self.0.now();
        self.0.change(|registry| {
            let services: Vec<_> = registry.services.values().cloned().collect();
            for service in services {
                crate::ecs::service::complete_deployment(registry, &service, now);
            }
        });
    }

    fn task(&self, service: &str) -> TaskId {
        let registry = self.0.core.registry();
        let row = registry.services.values().find(|row| row.name == service).unwrap();
        registry.tasks_of_service(&row.arn)[0].id.clone()
    }

    fn resource(&self, service: &str, kind: ResourceType, name: &str) -> Option<Resource> {
        let resources = self.0.core.resources(&self.task(service)).unwrap();
        resources.get(kind, name).map(|versioned| (*versioned.resource).clone())
    }

    fn listener(&self, service: &str) -> v1::InboundBind {
        match self.resource(service, ResourceType::Listener, "inbound:http") {
            Some(Resource::Listener(v1::Listener {
                bind: Some(v1::listener::Bind::Inbound(bind)), ..
            })) => bind,
            other => panic!("{other:?}"),
        }
    }

    /// The identity that `caller` shows to `callee`.
    fn shown_by_caller(&self, caller: &str, callee: &str) -> String {
        match self.resource(caller, ResourceType::Cluster, &format!("{callee}.n")) {
            Some(Resource::Cluster(v1::Cluster { kind: Some(v1::cluster::Kind::Mesh(mesh)), .. })) => {
                mesh.identity
            }
            other => panic!("{other:?}"),
        }
    }

    fn believed(&self, arn: &str) -> v1::ImportedCertificate {
        let mut all = serving::believed(&self.0.core.registry());
        all.retain(|row| row.name == arn);
        all.pop().unwrap_or_else(|| panic!("{arn} is not believed"))
    }

    fn id(&self, service: &str) -> String {
        let registry = self.0.core.registry();
        let row = registry.services.values().find(|row| row.name == service).unwrap();
        registry.identity_of_service(row).to_string()
    }

    /// Version of the certificate that the service's sidecars are to show.
    fn version(&self, service: &str, arn: &str) -> String {
        match self.resource(service, ResourceType::Identity, &serving::identity_name(arn)) {
            Some(Resource::Identity(v1::Identity {
                source: Some(v1::identity::Source::Fetched(fetched)),
                ..
            })) => fetched.version,
            other => panic!("{other:?}"),
        }
    }
}

fn version(pem: &Pem) -> String {
    rollover::version_of(&crate::x509::pem::certificates(pem.certificate.as_bytes()).unwrap()[0])
}

#[test]
fn a_services_sidecars_alone_get_its_certificate_with_the_key() {
    let mesh = Mesh::new();
    let pem = without_names();
    let arn = mesh.import(&pem, None);
    mesh.service("web", json!({"certificateArn": arn}));
    mesh.service("other", json!({}));
    let name = serving::identity_name(&arn);
    assert_eq!(
        (mesh.listener("web").identity, mesh.listener("other").identity),
        (name.clone(), String::new())
    );
    assert_eq!(mesh.version("web", &arn), version(&pem));
    assert_eq!(mesh.resource("other", ResourceType::Identity, &name), None);

    let core = &mesh.0.core;
    let fetched = core.fetch(&mesh.task("web"), &name).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rollover::version_of(&fetched.chain_der[0]), version(&pem));
    let own = KeyPair::from_pem(&pem.key).unwrap();
    let given = KeyPair::try_from(fetched.key.as_slice()).unwrap();
    assert_eq!(given.public_key_raw(), own.public_key_raw());
    for (task, name) in [("other", name.as_str()), ("web", "acm:x"), ("web", arn.as_str()), ("web", "mesh")] {
        assert_eq!(core.fetch(&mesh.task(task), name).err(), Some(IssueError::Unknown), "{task} {name}");
    }

    // It is in use, and stays.
    let told = mesh.0.ok("acm", "DescribeCertificate", json!({"CertificateArn": arn}));
    let service = core.registry().services.values().find(|row| row.name == "web").unwrap().arn.to_string();
    assert_eq!(told["Certificate"]["InUseBy"], json!([service]));
    let fault = mesh.0.fault("acm", "DeleteCertificate", json!({"CertificateArn": arn}));
    assert_eq!(fault.code, "ResourceInUseException");
}

#[test]
fn it_is_believed_by_its_key_or_by_its_chain_for_its_service_alone() {
    let mesh = Mesh::new();
    let [pinned, chained] = [mesh.import(&without_names(), None), mesh.import(&under_a_root("web2.n"), None)];
    mesh.service("web", json!({"certificateArn": pinned}));
    mesh.service("web2", json!({"certificateArn": chained}));
    let row = mesh.believed(&pinned);
    assert_eq!((row.spki_sha256.len(), row.chains.len()), (1, 0));
    assert_eq!((row.server_ids, row.client_id.as_str()), (vec![mesh.id("web")], ""));
    let row = mesh.believed(&chained);
    assert_eq!((row.spki_sha256.len(), row.chains.len()), (0, 1));
    assert_eq!(row.chains[0].dns_names, ["web2.n"]);
    assert_eq!(row.server_ids, [mesh.id("web2")]);
    // Everyone in the mesh is told, and of none that no service names.
    assert!(mesh.resource("web", ResourceType::ImportedCertificate, &chained).is_some());
    let unused = mesh.import(&without_names(), None);
    assert_eq!(mesh.resource("web", ResourceType::ImportedCertificate, &unused), None);
}

#[test]
fn a_revoked_services_certificate_stands_for_it_no_more() {
    let mesh = Mesh::new();
    let arn = mesh.import(&without_names(), None);
    mesh.service("web", json!({"certificateArn": arn}));
    mesh.service("other", json!({}));
    let service = mesh.0.core.registry().services.values().find(|row| row.name == "web").unwrap().arn.clone();
    let believed = |mesh: &Mesh| match mesh.resource("other", ResourceType::ImportedCertificate, &arn) {
        Some(Resource::ImportedCertificate(row)) => row.server_ids,
        other => panic!("{other:?}"),
    };
    assert_eq!(believed(&mesh), [mesh.id("web")]);
    let subject = BarSubject::Service(service);
    let since = mesh.0.now();
    mesh.0.change(|registry| {
        let bar = BarRecord { subject: subject.clone(), reason: RevocationReason::KeyCompromise, since };
        registry.bars.put(subject.key(), bar);
    });
    // The streams are told of a change in that table alone.
    assert_eq!(believed(&mesh), [""; 0]);
    let name = serving::identity_name(&arn);
    assert_eq!(mesh.0.core.fetch(&mesh.task("web"), &name).err(), Some(IssueError::Revoked));
}

#[test]
fn a_client_certificate_is_shown_by_whom_it_stands_for() {
    let mesh = Mesh::new();
    let [backend, frontend, own, shared] = [(); 4].map(|()| mesh.import(&without_names(), None));
    // As the notes have it: the called service names what its callers show.
    mesh.service("backend", json!({"certificateArn": backend, "clientCertificateArn": frontend}));
    mesh.service("frontend", json!({"certificateArn": frontend}));
    // What nobody has as a certificate of its own is the caller's that names it.
    mesh.service("caller", json!({"clientCertificateArn": own}));
    mesh.service("one", json!({"clientCertificateArn": shared}));
    mesh.service("two", json!({"clientCertificateArn": shared}));
    mesh.service("plain", json!({}));
    mesh.service("tls", json!({"mode": "TLS"}));
    let name = |arn: &str| serving::identity_name(arn);
    assert_eq!(mesh.shown_by_caller("frontend", "backend"), "", "not all of its sidecars know of it");
    mesh.complete();
    for (caller, callee, shown) in [
        ("frontend", "backend", name(&frontend)),
        ("frontend", "plain", String::new()),
        ("plain", "backend", String::new()),
        ("caller", "plain", name(&own)),
        ("caller", "backend", name(&own)),
        ("caller", "tls", String::new()),
        ("one", "plain", String::new()),
        ("one", "two", String::new()),
    ] {
        assert_eq!(mesh.shown_by_caller(caller, callee), shown, "{caller} calls {callee}");
    }
    assert_eq!(mesh.believed(&frontend).client_id, mesh.id("frontend"));
    assert_eq!(mesh.believed(&own).client_id, mesh.id("caller"));
    assert_eq!(mesh.believed(&shared).client_id, "", "it could be either's");
    assert_eq!(mesh.believed(&backend).client_id, "", "callers do not show it");
    // Who shows it has it.
    let held = |service: &str, arn: &str| mesh.0.core.fetch(&mesh.task(service), &name(arn)).is_ok();
    assert!(held("frontend", &frontend) && held("caller", &own) && held("backend", &backend));
    assert!(!held("backend", &frontend) && !held("one", &shared) && !held("plain", &own));
}

#[test]
fn another_certificate_is_believed_before_it_is_shown_and_the_old_one_until_all_show_it() {
    let mesh = Mesh::new();
    let [first, second] = [without_names(), under_a_root("web.n")];
    let arn = mesh.import(&first, None);
    mesh.service("web", json!({"certificateArn": arn}));
    assert_eq!(mesh.import(&second, Some(&arn)), arn);
    let begun = mesh.0.now();
    let at = |after: Duration| {
        mesh.0.change(|registry| rollover::sweep(registry, begun + after));
        let row = mesh.believed(&arn);
        (mesh.version("web", &arn) == version(&second), row.spki_sha256.len(), row.chains.len())
    };
    // (shown, the first is believed, the second is believed)
    assert_eq!(at(Duration::ZERO), (false, 1, 1));
    assert_eq!(at(ANNOUNCED_FOR), (true, 1, 1));
    assert_eq!(at(ANNOUNCED_FOR + OVERLAP - Duration::from_secs(1)), (true, 1, 1));
    assert_eq!(at(ANNOUNCED_FOR + OVERLAP), (true, 0, 1));
    // The same one again is no other.
    mesh.import(&second, Some(&arn));
    assert_eq!(at(Duration::ZERO), (true, 0, 1));
    // What GetCertificate tells is the latest at any time.
    let got = mesh.0.ok("acm", "GetCertificate", json!({"CertificateArn": arn}));
    assert_eq!(got["Certificate"].as_str().unwrap().trim(), second.certificate.trim());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whenever others come, and whenever somebody looks: what is shown is believed, and has been
    /// for as long as peers need to learn of it; and in the end only the last one is.
    #[test]
    fn what_is_shown_is_believed(steps in proptest::collection::vec((0_u64..90, proptest::bool::ANY), 1..12)) {
        let certificate = |number: u8| crate::acm::AcmCertificate {
            certificate_der: vec![number],
            ..crate::acm::testing::certificate()
        };
        let believes = |row: &crate::acm::AcmCertificate, version: &str| {
            let earlier = row.rollover.iter().flat_map(|rollover| &rollover.earlier);
            let mut all = earlier.map(|it| &it.certificate_der).chain([&row.certificate_der]);
            all.any(|der| rollover::version_of(der) == version)
        };
        let mut now = Timestamp::from_secs(1_000);
        let mut registry = crate::registry::Registry::default();
        registry.acm_certificates.put("arn", certificate(0));
        let (mut number, mut since) = (0, now);
        for (seconds, another) in steps {
            now = now + Duration::from_secs(seconds);
            rollover::sweep(&mut registry, now);
            if another {
                number += 1;
                since = now;
                let mut after = certificate(number);
                rollover::begin(registry.acm_certificates.get("arn").unwrap(), &mut after, now);
                registry.acm_certificates.put("arn", after);
            }
            let row = registry.acm_certificates.get("arn").unwrap();
            let shown = rollover::shown_version(row);
            proptest::prop_assert!(believes(row, &shown));
            let latest = shown == rollover::version_of(&row.certificate_der);
            proptest::prop_assert!(!latest || number == 0 || now.since(since) >= ANNOUNCED_FOR);
            let again = rollover::again_in(&registry, now);
            proptest::prop_assert_eq!(again.is_some(), row.rollover.is_some());
        }
        for _ in 0..2 {
            now = now + OVERLAP;
            rollover::sweep(&mut registry, now);
        }
        let row = registry.acm_certificates.get("arn").unwrap();
        proptest::prop_assert!(row.rollover.is_none());
    }
}

#[test]
fn a_gateway_shows_the_listeners_certificates_and_its_own_for_its_own_name() {
    let mesh = Mesh::new();
    let [first, second] = ["a.example", "b.example"].map(|name| mesh.import(&under_a_root(name), None));
    let template = json!({"Resources": {
        "Alb": {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer", "Properties": {"Name": "alb"}},
        "Https": {"Type": "AWS::ElasticLoadBalancingV2::Listener", "Properties": {
            "LoadBalancerArn": {"Ref": "Alb"}, "Port": 443, "Protocol": "HTTPS",
            "Certificates": [{"CertificateArn": first}],
            "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]}},
        "More": {"Type": "AWS::ElasticLoadBalancingV2::ListenerCertificate", "Properties": {
            "ListenerArn": {"Ref": "Https"}, "Certificates": [{"CertificateArn": second}]}},
    }});
    mesh.0.ok(
        "cloudformation",
        "CreateStack",
        json!({"StackName": "s", "TemplateBody": template.to_string()}),
    );
    mesh.0.finish_stack();
    let registry = mesh.0.core.registry();
    let balancer = registry.load_balancers.values().next().unwrap();
    let task = registry.tasks_of_gateway(&balancer.arn)[0].clone();
    let set = crate::publish::resources(&registry, &PublishOptions::default(), &task).unwrap();
    let shown = set.iter().find_map(|(_, _, versioned)| match &*versioned.resource {
        Resource::Listener(v1::Listener { bind: Some(v1::listener::Bind::Public(bind)), .. }) => {
            bind.tls.clone()
        }
        _ => None,
    });
    let shown = shown.unwrap();
    assert_eq!(shown.identity, serving::identity_name(&first));
    assert_eq!(shown.more_identities, [serving::identity_name(&second), "public:alb".into()]);
    for arn in [&first, &second] {
        let fetched = mesh.0.core.fetch(&task.id, &serving::identity_name(arn));
        assert!(fetched.is_ok());
        let told = mesh.0.ok("acm", "DescribeCertificate", json!({"CertificateArn": arn}));
        assert_eq!(told["Certificate"]["InUseBy"], json!([balancer.arn.to_string()]));
    }
}

/// A revocation bars its task: that must not make everything be published anew for every proxy.
#[test]
fn who_is_barred_bears_on_proxies_only_where_a_certificate_is_shown() {
    let bears = |mesh: &Mesh| {
        let before = mesh.0.core.registry();
        let task = mesh.task("web");
        mesh.0.change(|registry| {
            let subject = BarSubject::Task(task.clone());
            let record = BarRecord {
                subject: subject.clone(),
                reason: RevocationReason::default(),
                since: Timestamp::from_secs(1),
            };
            registry.bars.put(subject.key(), record);
        });
        scope::reach(&before, &mesh.0.core.registry()) == Reach::Everybody
    };
    let plain = Mesh::new();
    plain.service("web", json!({"mode": "MUTUAL_TLS"}));
    assert!(!bears(&plain), "nothing depends on it");
    let showing = Mesh::new();
    let arn = showing.import(&without_names(), None);
    showing.service("web", json!({"mode": "MUTUAL_TLS", "certificateArn": arn}));
    assert!(bears(&showing), "a barred service's certificate is believed no more");
}
