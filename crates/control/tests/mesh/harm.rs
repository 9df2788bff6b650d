//! Faults of the control plane itself: who feels them, and that nothing is left.

use std::time::Duration;

use bowline_control::control_plane::ChaosError;
use bowline_plumbing::wall_clock;

use super::Mesh;

const LATER: Duration = Duration::from_secs(600);
const LIFETIME: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_no_certificates_has_a_short_lived_one_and_gets_others_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 1).await;
    let (a, b) = (mesh.tasks_of("service-a"), mesh.tasks_of("service-b"));
    let (proxy, other) = (mesh.proxy(&b[0]).await, mesh.proxy(&a[0]).await);
    let lives_short = || {
        let record = mesh.control.certificate_of(&b[0]).expect("it has one");
        record.not_after <= wall_clock::now() + LIFETIME
    };
    assert!(!lives_short());
    let until = wall_clock::now() + LATER;
    let harmed = mesh.control.withhold_certificates(&b, LIFETIME, until).await.expect("it is in force");
    assert!(lives_short());
    mesh.place.renewed(&proxy.credentials).await.expect_err("none are issued to it");
    assert_eq!(harmed.met(), 1);
    mesh.place.renewed(&other.credentials).await.expect("others get theirs");
    let second = mesh.control.withhold_certificates(&b, LIFETIME, until).await;
    assert!(second.is_err(), "it cannot get a short-lived one first: {second:?}");
    mesh.control.end_harm(&harmed).await.expect("it ends");
    mesh.place.renewed(&proxy.credentials).await.expect("they are issued again");
    assert!(!lives_short(), "and live as long as ever");

    let soon = wall_clock::now() + Duration::from_secs(4);
    let harmed = mesh.control.withhold_certificates(&b, LIFETIME, soon).await.expect("it is in force");
    mesh.place.renewed(&proxy.credentials).await.expect_err("none are issued to it");
    tokio::time::sleep(soon.since(wall_clock::now()) + Duration::from_millis(10)).await;
    mesh.place.renewed(&proxy.credentials).await.expect("its deadline has ended it");
    mesh.control.end_harm(&harmed).await.expect("what is over can be ended");
    drop((proxy, other));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_made_and_when_it_has_room_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(&directory.path().join("state"), 1).await;
    let b = mesh.tasks_of("service-b");
    let proxy = mesh.proxy(&b[0]).await;
    let before = mesh.control.snapshot();
    let until = wall_clock::now() + LATER;
    mesh.control.fill_disk(until).expect("it is full");
    assert!(matches!(mesh.control.fill_disk(until), Err(ChaosError::Conflict(_))));
    for _ in 0..3 {
        mesh.place.renewed(&proxy.credentials).await.expect_err("it could not be recorded");
    }
    assert!(mesh.control.writes_refused() > 0);
    assert!(mesh.control.snapshot().certificates.is_same(&before.certificates));
    mesh.control.empty_disk();
    mesh.place.renewed(&proxy.credentials).await.expect("it is recorded");
    assert!(!mesh.control.snapshot().certificates.is_same(&before.certificates));
    mesh.control.fill_disk(wall_clock::now() + Duration::from_secs(2)).expect("it is full");
    mesh.place.renewed(&proxy.credentials).await.expect_err("it could not be recorded");
    tokio::time::sleep(Duration::from_millis(2_010)).await;
    mesh.place.renewed(&proxy.credentials).await.expect("its deadline has ended it");
    drop(proxy);
    mesh.stop().await;
}
