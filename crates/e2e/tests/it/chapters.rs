//! The CDK programs of the two reference chapters, as synthesised.

use bowline_e2e::mesh::{MeshOptions, TestMesh, repository};

fn synthesised(name: &str) -> MeshOptions {
    let mut options = MeshOptions::example("cdk");
    options.template = repository().join("examples/cdk/templates").join(format!("{name}.json"));
    options
}

#[test]
fn chapter_11_comes_up() {
    let mesh = TestMesh::up(&synthesised("Chapter11Stack"));
    assert_eq!(mesh.topology["services"].as_array().map(Vec::len), Some(0));
    assert_eq!(mesh.interrupt(), Some(0));
}

#[test]
fn chapter_13_comes_up() {
    let options = synthesised("SecureEndpointsStack")
        .argument("--exec")
        .argument("Service1Container=sleep 1000")
        .argument("--exec")
        .argument("Service2Container=sleep 1000");
    let mesh = TestMesh::up(&options);
    let services = mesh.topology["services"].as_array().expect("services");
    assert_eq!(services.len(), 2);
    for service in services {
        assert_eq!(service["tasks"][0]["status"], "RUNNING", "{service:#}");
    }
    assert_eq!(mesh.interrupt(), Some(0));
}
