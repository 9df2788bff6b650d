//! What a task is promised.

use crate::machine::*;

#[tokio::test]
async fn an_app_on_all_addresses_and_an_alias_have_the_same_port() {
    let mut machine = Machine::new();
    let spec = app_task("0.0.0.0", 8201, &["198.18.1.1:8201"], &[("198.18.1.1", "service-b-sc")]);
    machine.desire(std::slice::from_ref(&spec));
    let report = machine.running(&spec.id).await;
    let inbound = report.inbound[0].address;
    let own = ask(inbound, "pid");
    assert_eq!(ask(inbound, "ask service-b-sc:8201 pid"), own, "the alias leads through the sidecar");
    assert!(ask(inbound, "read /etc/hosts").contains("198.18.1.1\tservice-b-sc"));
    machine.desire(&[]);
    let report = machine.stopped(&spec.id).await;
    assert_eq!(report.stopped_reason, None);
}
