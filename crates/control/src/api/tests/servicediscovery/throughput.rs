//! How fast discovery is: `cargo test --release -p bowline-control -- --ignored --nocapture discovers_per_second`.

use std::time::{Duration, Instant};

use bowline_aws::protocol::{self, Document, OperationName, Protocol, SERVICES};
use serde_json::json;

use super::CloudMap;
use crate::api::{call::Call, operation};

#[test]
#[ignore = "a measurement"]
fn discovers_per_second() {
    for instances in [1, 10, 100] {
        let map = CloudMap::new();
        for number in 0..100 {
            let namespace = map.http_namespace(&format!("shop{number}"));
            map.service(&namespace, "web");
        }
        let service = map.service(&map.http_namespace("shop"), "web");
        for number in 0..instances {
            let attributes = json!({
                "AWS_INSTANCE_IPV4": "192.0.2.1", "AWS_INSTANCE_PORT": "8080", "AVAILABILITY_ZONE": "us-east-1a",
                "ECS_CLUSTER_NAME": "c", "ECS_SERVICE_NAME": "s", "ECS_TASK_DEFINITION_FAMILY": "f",
            });
            map.register(&service, &format!("instance-{number}"), attributes);
        }
        let request = Document::Map(vec![
            ("NamespaceName".into(), Document::Text("shop".into())),
            ("ServiceName".into(), Document::Text("web".into())),
        ]);
        let known = SERVICES.iter().find(|known| known.name == "servicediscovery").unwrap();
        let operation = operation::find(known, "DiscoverInstances").unwrap();
        for protocol in [Protocol::Json11, Protocol::Cbor] {
            let name = OperationName { service: known, operation: "DiscoverInstances".into(), protocol };
            let (started, mut count, mut bytes) = (Instant::now(), 0_u32, 0);
            while started.elapsed() < Duration::from_millis(500) {
                let scope = map.0.core.registry().settings().scope.clone();
                let origin = super::super::origin();
                let call = Call {
                    core: &map.0.core,
                    caller: &map.0.caller,
                    scope,
                    now: map.0.now(),
                    origin: &origin,
                };
                let document = (operation.call)(&call, &request).unwrap();
                bytes = protocol::write(&name, "id", &document).body.len();
                count += 1;
            }
            let each = started.elapsed() / count;
            println!("{instances} instances, {protocol:?}: {each:?} a call ({bytes} bytes)");
        }
    }
}
