//! What ECS brings: discovery names as services, tasks as instances.

use std::sync::Arc;

use bowline_model::{
    arn::Arn,
    task::{DesiredStatus, HealthStatus, InboundSocket, PublishedSocket, TaskId, TaskReport, TaskStatus},
};
use serde_json::{Value, json};

use super::{CloudMap, text, texts};
use crate::registry::{Registry, TaskOwner, TaskRecord};

impl CloudMap {
    /// A cluster and a task definition with a port named `http`.
    fn with_ecs() -> Self {
        let map = Self::new();
        map.0.ok("ecs", "CreateCluster", json!({"clusterName": "c"}));
        let container = json!({
            "name": "app", "image": "app",
            "portMappings": [{"containerPort": 8080, "name": "http", "appProtocol": "http"}],
        });
        let definition =
            json!({"family": "shop", "networkMode": "awsvpc", "containerDefinitions": [container]});
        map.0.ok("ecs", "RegisterTaskDefinition", definition);
        map
    }

    fn ecs_service(&self, name: &str, more: Value) -> Arn {
        let mut request =
            json!({"cluster": "c", "serviceName": name, "taskDefinition": "shop", "desiredCount": 1});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&self.0.ok("ecs", "CreateService", request)["service"]["serviceArn"]).parse().unwrap()
    }

    /// A task of the service that serves.
    fn task(&self, service: &Arn, number: u8) -> TaskId {
        let id = TaskId::from_random([number; 16]);
        let now = self.0.now();
        self.0.change(|registry| {
            let row = registry.services.get(service.as_str()).unwrap().clone();
            let report = TaskReport {
                id: id.clone(),
                at: now,
                status: TaskStatus::Running,
                health: HealthStatus::Unknown,
                containers: Vec::new(),
                inbound: vec![InboundSocket {
                    port_name: "http".into(),
                    container_port: 8080,
                    address: format!("127.0.0.1:{}", 20_000 + u16::from(number)).parse().unwrap(),
                }],
                published: vec![PublishedSocket {
                    container_port: 8080,
                    address: format!("127.0.0.1:{}", 30_000 + u16::from(number)).parse().unwrap(),
                }],
                proxy_ready: true,
                stopped_reason: None,
                stop_code: None,
                shim_pid: None,
                warnings: Vec::new(),
            };
            let arn = row.arn.as_str().replace(":service/c/", &format!(":task/c/{id}/"));
            let task = TaskRecord {
                id: id.clone(),
                arn: arn.parse().unwrap(),
                owner: TaskOwner::Service {
                    service: row.arn.clone(),
                    task_definition: row.task_definition.clone(),
                    deployment: row.deployment.clone(),
                },
                created_at: now,
                desired: DesiredStatus::Running,
                draining_since: None,
                was_healthy: true,
                health_checked: false,
                stop_reason: None,
                capacity_provider: None,
                zone: None,
                protected_until: None,
                tags: Vec::new(),
                proxied: true,
                started_at: Some(now),
                serving_since: Some(now),
                report: Some(Arc::new(report)),
            };
            registry.tasks.put(id.as_str(), task);
        });
        id
    }

    fn change_task(&self, id: &TaskId, change: impl FnOnce(&mut TaskRecord)) {
        self.0.change(|registry: &mut Registry| registry.tasks.update(id.as_str(), change));
    }
}

fn connect() -> Value {
    json!({"serviceConnectConfiguration": {
        "enabled": true, "namespace": "shop",
        "services": [{"portName": "http", "discoveryName": "web", "clientAliases": [{"port": 80}]}],
    }})
}

fn discover() -> Value {
    json!({"NamespaceName": "shop", "ServiceName": "web"})
}

#[test]
fn a_discovery_name_of_service_connect_is_a_service() {
    let map = CloudMap::with_ecs();
    let namespace = map.http_namespace("shop");
    let owner = map.ecs_service("frontend", connect());
    let listed = map.ok("ListServices", json!({}));
    assert_eq!(texts(&listed["Services"], "Name"), ["web"]);
    let id = text(&listed["Services"][0]["Id"]);
    let told = map.ok("GetService", json!({"Id": id}))["Service"].clone();
    assert_eq!((told["NamespaceId"].as_str(), told["InstanceCount"].as_u64()), (Some(&*namespace), Some(0)));
    let tags = map.ok("ListTagsForResource", json!({"ResourceARN": told["Arn"]}));
    assert_eq!(tags["Tags"], json!([{"Key": "AmazonECSManaged", "Value": "true"}]));
    let revision = || map.ok("DiscoverInstancesRevision", discover())["InstancesRevision"].as_u64().unwrap();
    let empty = revision();

    let first = map.task(&owner, 1);
    let one = revision();
    assert!(one > empty);
    let second = map.task(&owner, 2);
    assert_eq!(map.discovered(discover()), [first.as_str(), second.as_str()]);
    let two = revision();
    assert!(two > one);
    map.http_namespace("unrelated");
    assert_eq!(revision(), two, "nothing came or went");
    let instance = map.ok("GetInstance", json!({"ServiceId": id, "InstanceId": first.as_str()}));
    assert_eq!(
        instance["Instance"]["Attributes"],
        json!({
            "AVAILABILITY_ZONE": "us-east-1a", "AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": "20001",
            "ECS_CLUSTER_NAME": "c", "ECS_SERVICE_NAME": "frontend", "ECS_TASK_DEFINITION_FAMILY": "shop",
            "REGION": "us-east-1",
        })
    );
    let health = map.ok("GetInstancesHealthStatus", json!({"ServiceId": id}));
    assert_eq!(health["Status"][first.as_str()], "HEALTHY");

    // One that is on its way out takes no new requests.
    map.change_task(&first, |task| task.draining_since = Some(task.created_at));
    assert_eq!(map.discovered(discover()), [second.as_str()]);
    assert!(revision() > two);
}

#[test]
fn what_ecs_manages_is_changed_there() {
    let map = CloudMap::with_ecs();
    let namespace = map.http_namespace("shop");
    map.ecs_service("frontend", connect());
    let listed = map.ok("ListServices", json!({}));
    let (id, arn) = (listed["Services"][0]["Id"].clone(), listed["Services"][0]["Arn"].clone());
    for (name, request) in [
        ("DeleteService", json!({"Id": id})),
        ("UpdateService", json!({"Id": id, "Service": {}})),
        ("UpdateServiceAttributes", json!({"ServiceId": id, "Attributes": {"a": "b"}})),
        ("RegisterInstance", json!({"ServiceId": id, "InstanceId": "i", "Attributes": {}})),
        ("DeregisterInstance", json!({"ServiceId": id, "InstanceId": "i"})),
        ("TagResource", json!({"ResourceARN": arn, "Tags": []})),
    ] {
        let fault = map.fault(name, request);
        assert_eq!(fault.code, "InvalidInput", "{name}");
        assert!(fault.message.contains("service/c/frontend"), "{}", fault.message);
    }
    let taken = json!({"Name": "web", "NamespaceId": namespace});
    assert_eq!(map.code("CreateService", taken), "ServiceAlreadyExists");
    assert_eq!(map.code("DeleteNamespace", json!({"Id": namespace})), "ResourceInUse");
    map.0.ok("ecs", "DeleteService", json!({"cluster": "c", "service": "frontend", "force": true}));
    map.ok("DeleteNamespace", json!({"Id": namespace}));
}

#[test]
fn a_name_of_cloud_map_is_not_service_connects() {
    let map = CloudMap::with_ecs();
    map.service(&map.http_namespace("shop"), "web");
    let mut request =
        json!({"cluster": "c", "serviceName": "frontend", "taskDefinition": "shop", "desiredCount": 1});
    request.as_object_mut().unwrap().extend(connect().as_object().unwrap().clone());
    let fault = map.0.fault("ecs", "CreateService", request);
    assert_eq!(fault.code, "InvalidParameterException");
    assert!(fault.message.contains("srv-"), "{}", fault.message);
}

#[test]
fn service_registries_make_tasks_instances() {
    let map = CloudMap::with_ecs();
    let made = map.ok("CreateService", {
        let namespace = map.private_namespace("shop");
        let dns = json!({"DnsRecords": [{"Type": "A", "TTL": 10}]});
        json!({"Name": "web", "NamespaceId": namespace, "DnsConfig": dns, "HealthCheckCustomConfig": {}})
    });
    let (id, arn) = (text(&made["Service"]["Id"]), made["Service"]["Arn"].clone());
    let owner = map.ecs_service("frontend", json!({"serviceRegistries": [{"registryArn": arn}]}));
    let task = map.task(&owner, 3);
    map.register(&id, "by-hand", json!({"AWS_INSTANCE_IPV4": "192.0.2.1"}));
    assert_eq!(map.discovered(discover()), [task.as_str(), "by-hand"]);
    let told = map.ok("GetInstance", json!({"ServiceId": id, "InstanceId": task.as_str()}));
    assert_eq!(told["Instance"]["Attributes"]["AWS_INSTANCE_PORT"], "30003");
    assert_eq!(map.code("DeleteService", json!({"Id": id})), "ResourceInUse");
    map.change_task(&task, |task| task.desired = DesiredStatus::Stopped);
    assert_eq!(map.discovered(discover()), ["by-hand"]);
}
