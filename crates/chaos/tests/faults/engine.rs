//! Faults begin whole or not at all, and end once.

use std::{sync::Arc, time::Duration};

use bowline_model::fault::{
    ControlPlaneHarm, FAULTS_MAX, FaultError, FaultInjector, FaultKind, FaultOrder, FaultyCertificate,
    SidecarHarm, TaskHarm, Victims,
};
use tokio::time::sleep;

use crate::ground::{FakeGround, injector, order, task};

fn freeze(tasks: &[u8]) -> FaultOrder {
    let harm = TaskHarm::Freeze { victims: Victims::Containers };
    order(FaultKind::Task { tasks: tasks.iter().copied().map(task).collect(), harm })
}

fn expired(number: u8) -> FaultOrder {
    order(FaultKind::Certificate { tasks: vec![task(number)], shows: FaultyCertificate::Expired })
}

fn spoof(name: &str) -> FaultOrder {
    order(FaultKind::Name { name: name.to_owned(), address: [192, 0, 2, 1].into() })
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_at_its_deadline() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let fault = injector.begin(freeze(&[1, 2])).await.expect("it begins");
    assert_eq!(ground.done().len(), 2);
    assert_eq!(injector.faults(), std::slice::from_ref(&fault));
    assert_eq!(fault.ends_at.since(fault.began_at), Duration::from_secs(10));
    sleep(Duration::from_millis(9_900)).await;
    assert_eq!(ground.done().len(), 2);
    sleep(Duration::from_millis(200)).await;
    assert!(ground.done().is_empty());
    assert!(injector.faults().is_empty());
    assert_eq!(injector.evidence(&fault.id).await, Ok(bowline_chaos::evidence::Evidence::default()));
    injector.end(fault.id).await.expect("what is over can be ended");
    assert_eq!(*ground.undone.lock().expect("whole"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_has_one_thing_wrong_at_a_time_and_tells_what_came_in_the_end() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let sidecar = |harm| order(FaultKind::Sidecar { tasks: vec![task(1), task(2)], harm });
    let answers = || sidecar(SidecarHarm::Answers { status: 503, after: Duration::ZERO });
    let fault = injector.begin(FaultOrder { per_million: 5, ..answers() }).await.expect("it begins");
    assert_eq!(ground.done().len(), 1);
    assert_eq!(injector.evidence(&fault.id).await.map(|seen| seen.arrived), Ok(0));
    let slow = || sidecar(SidecarHarm::Clock { ahead_ms: -5 });
    assert!(matches!(injector.begin(slow()).await, Err(FaultError::Invalid(_))));
    injector.end(fault.id.clone()).await.expect("it ends");
    assert!(ground.done().is_empty());
    assert_eq!(injector.evidence(&fault.id).await.map(|seen| seen.arrived), Ok(7));
    injector.begin(slow()).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_one_task_is_undone_for_all() {
    let ground = Arc::new(FakeGround::new());
    ground.fails.lock().expect("whole").insert("harm 02".to_owned());
    let injector = injector(&ground);
    let error = injector.begin(freeze(&[1, 2, 3])).await.expect_err("the second task fails");
    assert_eq!(error, FaultError::Failed("harm 02".to_owned()));
    assert!(ground.done().is_empty());
    assert!(injector.faults().is_empty());
    ground.fails.lock().expect("whole").clear();
    injector.begin(freeze(&[1, 2, 3])).await.expect("nothing is in the way");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_before_anything_is_done() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let refused = async |order| injector.begin(order).await.expect_err("refused");
    assert!(matches!(refused(freeze(&[1, 200])).await, FaultError::NotFound(_)));
    assert!(matches!(refused(freeze(&[1, 1])).await, FaultError::Invalid(_)));
    assert!(matches!(refused(freeze(&[])).await, FaultError::Invalid(_)));
    let path = order(FaultKind::Path {
        callers: vec![task(1)],
        cluster: "nowhere".to_owned(),
        called: Vec::new(),
        harm: bowline_model::fault::PathHarm::Stall,
    });
    assert!(matches!(refused(path).await, FaultError::NotFound(_)));
    assert!(ground.done().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_two_faults_have_one_certificate() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let first = injector.begin(expired(1)).await.expect("it begins");
    assert!(matches!(injector.begin(expired(1)).await, Err(FaultError::Invalid(_))));
    injector.begin(expired(2)).await.expect("another task's");
    injector.end(first.id).await.expect("it ends");
    injector.begin(expired(1)).await.expect("the first is over");
}

#[tokio::test(start_paused = true)]
async fn a_control_planes_fault_has_its_claims_and_its_evidence_also_when_it_is_over() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let harm = |harm| order(FaultKind::ControlPlane(harm));
    let garbage = |numbers: &[u8]| {
        harm(ControlPlaneHarm::Garbage { tasks: numbers.iter().copied().map(task).collect() })
    };
    let fault = injector.begin(garbage(&[1, 2])).await.expect("it begins");
    assert_eq!(ground.done().len(), 1);
    assert!(matches!(injector.begin(garbage(&[2])).await, Err(FaultError::Invalid(_))));
    let others = [garbage(&[3]), harm(ControlPlaneHarm::DiskFull), harm(ControlPlaneHarm::Killed)];
    for other in others {
        injector.begin(other.clone()).await.expect("it has nothing of the first");
        assert!(matches!(injector.begin(other).await, Err(FaultError::Invalid(_))));
    }
    assert!(matches!(injector.begin(garbage(&[101])).await, Err(FaultError::NotFound(_))));
    assert_eq!(injector.evidence(&fault.id).await.expect("it is known").refused, 7);
    injector.end(fault.id.clone()).await.expect("it ends");
    assert_eq!(injector.evidence(&fault.id).await.expect("it is known").refused, 7);
    assert_eq!(ground.done().len(), 3);
    injector.begin(garbage(&[2])).await.expect("nothing is in the way");
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_faults_and_no_more() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    for number in 0..FAULTS_MAX {
        injector.begin(spoof(&format!("n{number}.example"))).await.expect("there is room");
    }
    assert_eq!(injector.begin(spoof("more.example")).await, Err(FaultError::TooMany));
    let first = injector.faults().first().expect("a fault").id.clone();
    injector.end(first).await.expect("it ends");
    injector.begin(spoof("more.example")).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_undone_is_in_force_and_can_be_ended_again() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let fault = injector.begin(expired(1)).await.expect("it begins");
    *ground.undo_fails.lock().expect("whole") = 1;
    injector.end(fault.id.clone()).await.expect_err("undoing fails");
    assert_eq!(injector.faults().len(), 1);
    injector.end(fault.id).await.expect("it can be undone now");
    assert!(injector.faults().is_empty() && ground.done().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_ends_it_second_waits_for_the_end_too() {
    let ground = Arc::new(FakeGround::new());
    let injector = injector(&ground);
    let fault = injector.begin(freeze(&[1, 2, 3])).await.expect("it begins");
    let (one, two) = tokio::join!(injector.end(fault.id.clone()), async {
        injector.end(fault.id.clone()).await?;
        assert!(ground.done().is_empty());
        Ok::<_, FaultError>(())
    });
    one.and(two).expect("both");
    assert_eq!(*ground.undone.lock().expect("whole"), 3);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_wait_for_its_beginning_leaves_a_whole_fault() {
    let ground = Arc::new(FakeGround { takes: Duration::from_secs(1), ..FakeGround::new() });
    let injector = injector(&ground);
    let waited = tokio::time::timeout(Duration::from_millis(10), injector.begin(freeze(&[1, 2]))).await;
    assert!(waited.is_err());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(injector.faults().len(), 1);
    sleep(Duration::from_secs(10)).await;
    assert!(injector.faults().is_empty() && ground.done().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_to_begin_than_it_lasts_is_undone() {
    let ground = Arc::new(FakeGround { takes: Duration::from_secs(11), ..FakeGround::new() });
    let injector = injector(&ground);
    assert!(matches!(injector.begin(freeze(&[1])).await, Err(FaultError::Failed(_))));
    assert!(injector.faults().is_empty() && ground.done().is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_the_close_all_ends_and_none_begins() {
    let ground = Arc::new(FakeGround { takes: Duration::from_secs(1), ..FakeGround::new() });
    let injector = injector(&ground);
    injector.begin(freeze(&[1])).await.expect("it begins");
    let beginning = tokio::spawn({
        let injector = injector.clone();
        async move { injector.begin(freeze(&[2])).await }
    });
    sleep(Duration::from_millis(100)).await;
    injector.close().await;
    beginning.await.expect("whole").expect("it was let in before");
    assert!(injector.faults().is_empty() && ground.done().is_empty());
    assert!(matches!(injector.begin(freeze(&[1])).await, Err(FaultError::Failed(_))));
}
